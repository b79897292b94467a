use pactum_proto::v1::{
    BoundResource, ColumnReport, Outcome, ParkReport, Resolved, RowReport, SummaryReply,
    Transaction,
};

use super::*;

fn transaction() -> Transaction {
    Transaction {
        xid: "default:42".to_owned(),
        name: "transfer".to_owned(),
        outcome: Some(Outcome {
            status: TransactionStatus::RollingBack.into(),
            cause: RollbackCause::TimedOut.into(),
            parked: 1,
        }),
        begun_at_unix_ms: 1_700_000_000_123,
        timeout_ms: 60_000,
        ended_at_unix_ms: 0,
        branch_count: 2,
        undone_scopes: vec![],
    }
}

fn branches() -> Vec<Branch> {
    let column = |before: Option<&str>, after: Option<&str>, current: Option<&str>| ColumnReport {
        column: "balance".to_owned(),
        before: before.map(Into::into),
        after: after.map(Into::into),
        current: current.map(Into::into),
    };
    let row = |key: &str, column| RowReport {
        table: "account".to_owned(),
        key: key.to_owned(),
        columns: vec![column],
    };
    let done = Branch {
        branch_id: 7,
        sequence: 0,
        resource_id: "bank-a".to_owned(),
        mode: BranchMode::At.into(),
        phase_one: PhaseOneKnowledge::Done.into(),
        phase_two: PhaseTwoState::Done.into(),
        attempt: 1,
        scopes: Vec::new(),
        scope_undone: false,
        action: String::new(),
        locks: vec![],
        park_report: None,
        last_reason: String::new(),
        resolutions: vec![],
    };
    let report = ParkReport {
        reason: ParkReason::DirtyWrite.into(),
        message: "1 row was changed behind the agent's back".to_owned(),
        rows: vec![
            row("7", column(Some("100"), Some("70"), Some("a\nb"))),
            row("1234", column(None, Some("70"), None)),
        ],
        rows_left_out: 3,
    };
    let resolved = |resolution: Resolution, reason: &str| Resolved {
        resolution: resolution.into(),
        reason: reason.to_owned(),
        at_unix_ms: 1_700_000_000_000,
        parked: ParkReason::SchemaChanged.into(),
    };
    let parked = Branch {
        branch_id: 8,
        sequence: 1,
        resource_id: "bank-b".to_owned(),
        phase_two: PhaseTwoState::Parked.into(),
        attempt: 3,
        locks: vec!["account[7]".to_owned(), "account[1234]".to_owned()],
        park_report: Some(report),
        resolutions: vec![resolved(Resolution::Retry, ""), resolved(Resolution::Keep, "a\nb")],
        ..done.clone()
    };
    vec![done, parked]
}

#[test]
fn a_branch_shows_the_scopes_that_it_lies_in_and_whether_they_are_gone() {
    let undone = Branch { scopes: vec![0xa, u64::MAX], scope_undone: true, ..branches().remove(0) };
    let transaction = Transaction {
        outcome: Some(Outcome {
            status: TransactionStatus::Delegated.into(),
            ..Outcome::default()
        }),
        undone_scopes: vec![u64::MAX],
        ..transaction()
    };
    let shown = text::transaction(&transaction, std::slice::from_ref(&undone));
    assert!(shown.contains("  status    delegated\n"), "{shown}");
    assert!(shown.contains("  undone    ffffffffffffffff\n"), "{shown}");
    let path = "  scope     000000000000000a > ffffffffffffffff (rolled back)\n";
    assert!(shown.contains(path), "{shown}");
    let value = json::transaction(&transaction, &[undone]);
    assert_eq!(value["undone_scopes"], serde_json::json!(["ffffffffffffffff"]));
    let scopes = serde_json::json!(["000000000000000a", "ffffffffffffffff"]);
    assert_eq!(value["branches"][0]["scopes"], scopes);
    assert_eq!(value["branches"][0]["scope_undone"], true);
}

#[test]
fn a_parked_transaction_shows_the_row_before_after_and_now() {
    let expected = "\
global transaction default:42
  name      transfer
  status    rolling back (timed out), needs attention: 1 parked
  begun     2023-11-14T22:13:20.123Z
  timeout   1m
  branches  2

branch 7  AT on bank-a, number 0
  phase one done
  phase two done, tried once

branch 8  AT on bank-b, number 1
  phase one done
  phase two parked: dirty write, tried 3 times
  locks     account[7], account[1234]
  report    1 row was changed behind the agent's back
    TABLE    KEY   COLUMN   BEFORE    AFTER  CURRENT
    account  7     balance  100       70     a\u{fffd}b
    account  1234  balance  (no row)  70     (no row)
    and 3 more rows that differ
  resolved  2023-11-14T22:13:20.000Z retry, when parked: schema changed
  resolved  2023-11-14T22:13:20.000Z keep, when parked: schema changed: a\u{fffd}b

Mend what the report shows, then: pactum tx retry default:42
Or decide about a branch: pactum tx resolve default:42 BRANCH restore|keep|retry --reason TEXT
The steps are in docs/operating.md.
";
    assert_eq!(text::transaction(&transaction(), &branches()), expected);
}

#[test]
fn a_branch_that_waits_says_why() {
    let mut waiting = branches().remove(0);
    waiting.phase_two = PhaseTwoState::Pending.into();
    waiting.last_reason = "the row is\nlocked".to_owned();
    let shown = text::transaction(&transaction(), &[waiting.clone()]);
    let expected = "  phase two pending, tried once, later: the row is\u{fffd}locked\n";
    assert!(shown.contains(expected), "{shown}");
    assert_eq!(
        json::transaction(&transaction(), &[waiting])["branches"][0]["last_reason"],
        "the row is\nlocked"
    );
}

#[test]
fn json_carries_the_same_with_absent_values_as_null() {
    let value = json::transaction(&transaction(), &branches());
    assert_eq!(value["status"], "rolling back");
    assert_eq!(value["cause"], "timed out");
    assert_eq!(value["ended_at"], serde_json::Value::Null);
    let report = &value["branches"][1]["park_report"];
    assert_eq!(report["reason"], "dirty write");
    assert_eq!(report["rows"][1]["columns"][0]["before"], serde_json::Value::Null);
    assert_eq!(report["rows"][0]["columns"][0]["current"], "a\nb");
    assert_eq!(value["branches"][0]["park_report"], serde_json::Value::Null);
    assert_eq!(value["branches"][0]["last_reason"], serde_json::Value::Null);
    let resolved = &value["branches"][1]["resolutions"][1];
    assert_eq!((&resolved["resolution"], &resolved["reason"]), (&"keep".into(), &"a\nb".into()));
    assert_eq!(resolved["parked"], "schema changed");
    assert_eq!(value["branches"][1]["branch_id"], "8");
}

#[test]
fn lists_align_and_say_when_they_are_empty() {
    let ended = Transaction {
        xid: "default:7".to_owned(),
        outcome: Some(Outcome {
            status: TransactionStatus::Committed.into(),
            ..Outcome::default()
        }),
        name: String::new(),
        ..transaction()
    };
    let expected = "\
XID         STATUS                                               BRANCHES  BEGUN                     NAME
default:42  rolling back (timed out), needs attention: 1 parked  2         2023-11-14T22:13:20.123Z  transfer
default:7   committed                                            2         2023-11-14T22:13:20.123Z
";
    assert_eq!(text::transactions(&[transaction(), ended]), expected);
    assert_eq!(text::transactions(&[]), "no such global transactions\n");
    let bound = BoundResource {
        resource_id: "bank-a".to_owned(),
        kind: ResourceKind::Database.into(),
        resource_uid: vec![0xab; 2].into(),
        sessions: 1,
        unfinished_branches: 0,
    };
    let expected = "\
RESOURCE  KIND      SESSIONS  UNFINISHED  UID
bank-a    database  1         0           abab
";
    assert_eq!(text::resources(&[bound]), expected);
    assert_eq!(text::resources(&[]), "no resources are bound\n");
}

#[test]
fn a_summary_names_the_store() {
    let reply =
        SummaryReply { store_id: vec![1, 255].into(), locks: 12, ..SummaryReply::default() };
    let shown = text::summary(&reply);
    assert!(shown.contains("store            01ff"), "{shown}");
    assert!(shown.contains("locks            12"), "{shown}");
    assert_eq!(json::summary(&reply)["locks"], 12);
}

#[test]
fn moments_far_away_do_not_panic() {
    assert_eq!(moment(0), "");
    assert_eq!(moment(1), "1970-01-01T00:00:00.001Z");
    for odd in [u64::MAX, 253_402_300_800_000] {
        assert!(!moment(odd).contains("1970"), "{}", moment(odd));
    }
}
