//! Bad input, field by field: each refusal names the field, the limit where there is one, and a code.

use std::time::Duration;

use bytes::Bytes;
use pactum_core::event::{Event, PhaseTwoAnswer};
use pactum_core::id::{
    BranchId, Epoch, NodeId, ResourceId, ScopeId, SessionId, StoreId, XidNumber,
};
use pactum_core::lock::key::{EncodedKey, KeyKind, KeyValue, LockKey};
use pactum_core::rejection::{Limit, Rejection};
use pactum_core::step::{Outcome, Reply, ReplyTo};
use pactum_core::transaction::{BranchMode, ParkReason, Resolution, RollbackCause, Status};
use prost::Message as _;

use super::*;
use crate::v1::{self, ErrorCode};

const STORE: StoreId = StoreId(7);
const REPLY: ReplyTo = ReplyTo { session: SessionId(1), correlation: 2 };
const NODE: NodeId = NodeId(3);

fn identity() -> Identity {
    Identity::new("bank".parse().unwrap(), STORE, Epoch(1))
}

fn reader() -> RequestReader {
    let limits = RequestLimits {
        transaction_timeout_max: Duration::from_secs(3600),
        branches_per_transaction_max: 3,
        locks_per_branch_max: 2,
        phase_one_assumed_allowed: false,
    };
    RequestReader::new(&identity(), limits)
}

fn key(table: &str) -> EncodedKey {
    let values = vec![KeyValue::Integer(1)];
    LockKey { table: table.to_owned(), kind: KeyKind::Row, values }.encode().unwrap()
}

fn lock() -> v1::Lock {
    let key = Bytes::copy_from_slice(key("account").as_bytes());
    v1::Lock { key, mode: v1::LockMode::Exclusive.into() }
}

fn begin() -> v1::BeginRequest {
    v1::BeginRequest { name: "transfer".into(), timeout_ms: 1000, ..Default::default() }
}

fn register() -> v1::RegisterRequest {
    v1::RegisterRequest {
        xid: "bank:5".into(),
        store_id: STORE.to_bytes().to_vec().into(),
        branch_id: 9,
        resource_id: "bank-a".into(),
        mode: v1::BranchMode::At.into(),
        locks: vec![lock()],
        ..Default::default()
    }
}

/// What was refused, in one line: `code field limit`.
fn refusal<T>(result: Result<T, v1::Error>) -> String {
    match result {
        Ok(_) => "accepted".to_owned(),
        Err(error) => {
            assert!(!error.message.is_empty());
            assert!(error.message.len() < 600, "a message stays short: {}", error.message);
            format!("{} {} {}", code_name(error.code()), error.field, error.limit)
        }
    }
}

fn begin_refusal(change: impl FnOnce(&mut v1::BeginRequest)) -> String {
    let mut request = begin();
    change(&mut request);
    refusal(reader().begin(request, None, REPLY))
}

fn register_refusal(change: impl FnOnce(&mut v1::RegisterRequest)) -> String {
    let mut request = register();
    change(&mut request);
    refusal(reader().register(&request, SessionId(1), REPLY))
}

#[test]
fn a_begin_is_checked_field_by_field() {
    assert_eq!(begin_refusal(|_| ()), "accepted");
    assert_eq!(begin_refusal(|r| r.name.clear()), "TX0001 name 128");
    assert_eq!(begin_refusal(|r| r.name = "n".repeat(128)), "accepted");
    assert_eq!(begin_refusal(|r| r.name = "n".repeat(129)), "TX0001 name 128");
    assert_eq!(begin_refusal(|r| r.timeout_ms = 0), "TX0001 timeout_ms 3600000");
    assert_eq!(begin_refusal(|r| r.timeout_ms = 3_600_000), "accepted");
    assert_eq!(begin_refusal(|r| r.timeout_ms = 3_600_001), "TX0001 timeout_ms 3600000");
    // What -1 becomes on its way.
    assert_eq!(begin_refusal(|r| r.timeout_ms = u64::MAX), "TX0001 timeout_ms 3600000");
    assert_eq!(begin_refusal(|r| r.idempotency_key = "k".repeat(64)), "accepted");
    let long = begin_refusal(|r| r.idempotency_key = "k".repeat(65));
    assert_eq!(long, "TX0001 idempotency_key 64");
    assert_eq!(begin_refusal(|r| r.outer_xid = "bank:1".into()), "accepted");
    assert_eq!(begin_refusal(|r| r.outer_xid = "bank".into()), "TX0001 outer_xid 0");
    assert_eq!(begin_refusal(|r| r.outer_xid = "shop:1".into()), "TX0007 outer_xid 0");
}

#[test]
fn an_xid_must_be_well_formed_and_ours() {
    let get = |xid: &str, store: &[u8]| {
        let (xid, store_id) = (xid.to_owned(), Bytes::copy_from_slice(store));
        let request = v1::GetRequest { xid, store_id, wait: 0 };
        reader().get(&request, REPLY)
    };
    for malformed in ["", "bank", "bank:", "bank:0", "bank:01", "bank:-1", "bänk:1", "bank:1 "] {
        assert_eq!(refusal(get(malformed, &[])), "TX0001 xid 0", "{malformed:?}");
    }
    let endless = "9".repeat(1_000_000);
    assert_eq!(refusal(get(&endless, &[])), "TX0001 xid 0");
    assert_eq!(refusal(get("shop:1", &[])), "TX0007 xid 0");
    assert_eq!(refusal(get("bank:1", &[7])), "TX0001 store_id 16");
    assert_eq!(refusal(get("bank:1", &StoreId(8).to_bytes())), "TX0007 store_id 0");

    let named = |store: &[u8]| match get("bank:1", store).unwrap() {
        Event::OutcomeRequested { target, .. } => target.store_named,
        other => panic!("{other:?}"),
    };
    assert!(!named(&[]), "a request without a store never hears `rolled back` for the unknown");
    assert!(named(&STORE.to_bytes()));
}

#[test]
fn a_registration_is_checked_field_by_field() {
    assert_eq!(register_refusal(|_| ()), "accepted");
    assert_eq!(register_refusal(|r| r.xid.clear()), "TX0001 xid 0");
    assert_eq!(register_refusal(|r| r.branch_id = 0), "TX0001 branch_id 9223372036854775807");
    assert_eq!(register_refusal(|r| r.branch_id = 1 << 63), "TX0001 branch_id 9223372036854775807");
    assert_eq!(register_refusal(|r| r.resource_id.clear()), "TX0001 resource_id 128");
    assert_eq!(register_refusal(|r| r.resource_id = "two words".into()), "TX0001 resource_id 128");
    assert_eq!(register_refusal(|r| r.resource_id = "r".repeat(129)), "TX0001 resource_id 128");
    assert_eq!(register_refusal(|r| r.mode = 0), "TX0001 mode 0");
    assert_eq!(register_refusal(|r| r.mode = 99), "TX0001 mode 0");
    assert_eq!(register_refusal(|r| r.scopes = vec![7, 0]), "TX0001 scopes 0");
    assert_eq!(register_refusal(|r| r.scopes = vec![7, 8, 7]), "TX0001 scopes 0");
    assert_eq!(register_refusal(|r| r.scopes = (1..=17).collect()), "TX0001 scopes 16");
    assert_eq!(register_refusal(|r| r.scopes = (1..=16).collect()), "accepted");
    assert_eq!(register_refusal(|r| r.wait_ms = u32::MAX), "TX0001 wait_ms 3600000");
    assert_eq!(register_refusal(|r| r.phase_one_assumed = true), "TX0001 phase_one_assumed 0");
    assert_eq!(register_refusal(|r| r.action = "a".into()), "TX0001 action 0");
    assert_eq!(register_refusal(|r| r.payload = Bytes::from_static(b"p")), "TX0001 payload 0");

    let tcc = |action: usize, payload: usize| {
        register_refusal(|r| {
            r.mode = v1::BranchMode::Tcc.into();
            r.action = "a".repeat(action);
            r.payload = vec![0; payload].into();
        })
    };
    assert_eq!(tcc(0, 0), "TX0001 action 128");
    assert_eq!(tcc(128, 65_536), "accepted");
    assert_eq!(tcc(129, 0), "TX0001 action 128");
    assert_eq!(tcc(1, 65_537), "TX0001 payload 65536");
}

#[test]
fn lock_keys_have_an_end() {
    let locks = |locks: Vec<v1::Lock>| register_refusal(|r| r.locks = locks);
    let key = |bytes: usize| v1::Lock { key: vec![0; bytes].into(), ..lock() };
    assert_eq!(locks(vec![lock(), lock()]), "accepted");
    assert_eq!(locks(vec![lock(); 3]), "TX0002 locks 2");
    assert_eq!(locks(vec![key(4096)]), "TX0001 locks.key 0", "long enough, but not a key");
    assert_eq!(locks(vec![key(4097)]), "TX0001 locks.key 4096");
    assert_eq!(locks(vec![key(600_000), key(600_000)]), "TX0002 locks 1048576");
    assert_eq!(locks(vec![v1::Lock { mode: 0, ..lock() }]), "TX0001 locks.mode 0");
    assert_eq!(locks(vec![v1::Lock { key: Bytes::new(), ..lock() }]), "TX0001 locks.key 0");
    let mut cut = lock();
    cut.key.truncate(cut.key.len() - 1);
    assert_eq!(locks(vec![cut]), "TX0001 locks.key 0");
    assert_eq!(locks(Vec::new()), "accepted", "not every branch locks something");
    let lock_only = register_refusal(|r| (r.lock_only, r.locks) = (true, Vec::new()));
    assert_eq!(lock_only, "TX0001 locks 0");
}

#[test]
fn claims_checks_vetoes_and_commits_are_checked() {
    let (xid, resource_id) = ("bank:5".to_owned(), "bank-a".to_owned());
    let claim = v1::ClaimRequest { xid: xid.clone(), resource_id, ..Default::default() };
    assert_eq!(refusal(reader().claim(&claim, SessionId(1), REPLY)), "TX0001 locks 0");
    let claim = v1::ClaimRequest { locks: vec![lock()], ..claim };
    assert_eq!(refusal(reader().claim(&claim, SessionId(1), REPLY)), "accepted");

    let check = v1::CheckRequest {
        resource_id: "bank-a".into(),
        locks: vec![lock()],
        ..Default::default()
    };
    match reader().check(&check, SessionId(1), REPLY).unwrap() {
        Event::KeysRequested(request) => assert_eq!(request.target, None, "guarded, outside any"),
        other => panic!("{other:?}"),
    }
    let check = v1::CheckRequest { xid: "bank".into(), ..check };
    assert_eq!(refusal(reader().check(&check, SessionId(1), REPLY)), "TX0001 xid 0");

    let veto = v1::VetoRequest { xid: xid.clone(), reason: "r".repeat(513), ..Default::default() };
    assert_eq!(refusal(reader().veto(&veto, REPLY)), "TX0001 reason 512");

    let commit = |ids: Vec<u64>, wait| {
        let request = v1::CommitRequest {
            xid: xid.clone(),
            done_branch_ids: ids,
            wait,
            ..Default::default()
        };
        refusal(reader().commit(request, REPLY))
    };
    assert_eq!(commit(vec![1, 2, 3], 0), "accepted");
    assert_eq!(commit(vec![1, 2, 3, 4], 0), "TX0002 done_branch_ids 3");
    assert_eq!(commit(vec![0], 0), "TX0001 done_branch_ids 9223372036854775807");
    assert_eq!(commit(vec![], 9), "TX0001 wait 0");
}

#[test]
fn hellos_and_attaches_are_checked() {
    let hello = v1::Hello {
        protocol_version: crate::PROTOCOL_VERSION,
        node_id: NODE.to_bytes().to_vec().into(),
        ..Default::default()
    };
    let refused = |change: &dyn Fn(&mut v1::Hello)| {
        let mut hello = hello.clone();
        change(&mut hello);
        refusal(reader().hello(hello))
    };
    assert_eq!(refused(&|_| ()), "accepted");
    assert_eq!(refused(&|h| h.protocol_version = 0), "TX0016 protocol_version 1");
    assert_eq!(refused(&|h| h.node_id = Bytes::from_static(b"short")), "TX0001 node_id 16");
    assert_eq!(refused(&|h| h.agent_version = "v".repeat(65)), "TX0001 agent_version 64");
    assert_eq!(refused(&|h| h.capabilities = vec![String::new(); 65]), "TX0001 capabilities 64");
    assert_eq!(refused(&|h| h.capabilities = vec!["c".repeat(65)]), "TX0001 capabilities 64");

    let resource = |kind: v1::ResourceKind, uid: usize| {
        let resource_uid = vec![1; uid].into();
        let resource = v1::Resource {
            resource_id: "bank-a".into(),
            kind: kind.into(),
            resource_uid,
            actions: Vec::new(),
        };
        refusal(reader().resource(&resource))
    };
    assert_eq!(resource(v1::ResourceKind::Database, 16), "accepted");
    assert_eq!(resource(v1::ResourceKind::Database, 0), "TX0001 resource_uid 16");
    assert_eq!(resource(v1::ResourceKind::Service, 0), "accepted");
    assert_eq!(resource(v1::ResourceKind::Service, 16), "TX0001 resource_uid 0");
    assert_eq!(resource(v1::ResourceKind::Unspecified, 0), "TX0001 kind 0");
}

#[test]
fn work_results_are_checked_and_a_large_report_loses_its_rows_only() {
    let result = |kind: v1::WorkKind, result: Option<v1::work_result::Result>| {
        let kind = kind.into();
        let result = v1::WorkResult { xid: "bank:5".into(), branch_id: 9, kind, result };
        reader().work_result(result, SessionId(1))
    };
    let done = || Some(v1::work_result::Result::Done(v1::Done {}));
    let failed = || Some(v1::work_result::Result::Failed(v1::Failed {}));
    assert_eq!(refusal(result(v1::WorkKind::Unspecified, done())), "TX0001 kind 0");
    assert_eq!(refusal(result(v1::WorkKind::Commit, None)), "TX0001 result 0");
    assert_eq!(refusal(result(v1::WorkKind::Rollback, failed())), "TX0001 result 0");
    assert_eq!(refusal(result(v1::WorkKind::Commit, done())), "accepted");
    let asked = result(v1::WorkKind::AskPhaseOne, failed()).unwrap();
    assert!(matches!(asked, WorkAnswer::PhaseOne(XidNumber(5), BranchId(9), Some(_))));
    let resource: ResourceId = "bank-a".parse().unwrap();
    assert!(asked.clone().into_event(NODE, |_, _| Some(resource)).is_some());
    assert!(asked.into_event(NODE, |_, _| None).is_none(), "an answer to no question");

    let row = v1::RowReport { table: "t".repeat(1000), ..Default::default() };
    let report = v1::ParkReport {
        reason: v1::ParkReason::DirtyWrite.into(),
        message: "someone wrote".into(),
        rows: vec![row; 100],
        rows_left_out: 1,
    };
    let parked = result(v1::WorkKind::Rollback, Some(v1::work_result::Result::Parked(report)));
    let WorkAnswer::PhaseTwo(Event::PhaseTwoAnswered { answer, .. }) = parked.unwrap() else {
        panic!("an answer to phase two");
    };
    let PhaseTwoAnswer::Parked { reason, report } = answer else { panic!("parked") };
    assert_eq!(reason, ParkReason::DirtyWrite);
    assert!(report.len() <= PARK_REPORT_BYTES_MAX);
    let report = v1::ParkReport::decode(&report[..]).unwrap();
    assert_eq!((report.rows.len(), report.rows_left_out), (0, 101));
    assert_eq!(report.message, "someone wrote");
}

#[test]
fn a_later_keeps_its_reason_up_to_a_length() {
    let later = |after_ms, reason: &str| {
        let result = v1::WorkResult {
            xid: "bank:1".to_owned(),
            branch_id: 1,
            kind: v1::WorkKind::Commit.into(),
            result: Some(v1::work_result::Result::Later(v1::Later {
                after_ms,
                reason: reason.to_owned(),
            })),
        };
        let answer = reader().work_result(result, SessionId(1)).unwrap();
        let WorkAnswer::PhaseTwo(Event::PhaseTwoAnswered { answer, .. }) = answer else {
            panic!("an answer to phase two");
        };
        let PhaseTwoAnswer::Later { after, reason } = answer else { panic!("later") };
        (after, reason.map(|reason| reason.to_string()))
    };
    assert_eq!(later(0, ""), (None, None));
    let busy = (Some(Duration::from_millis(7)), Some("busy".to_owned()));
    assert_eq!(later(7, "busy"), busy);
    let (_, cut) = later(0, &"ü".repeat(1_000));
    assert_eq!(cut, Some("ü".repeat(512)));
}

#[test]
fn a_resolution_needs_a_word_and_a_reason() {
    let resolve = |resolution: i32, reason: &str| {
        let (xid, reason) = ("bank:4".to_owned(), reason.to_owned());
        let request = v1::ResolveBranchRequest { xid, branch_id: 9, resolution, reason };
        reader().resolve(&request, REPLY).map_err(|error| error.field)
    };
    let keep = v1::Resolution::Keep.into();
    let Ok(Event::ResolveRequested(asked)) = resolve(keep, "agreed with sales") else {
        panic!("it is well-formed");
    };
    assert_eq!((asked.target.xid, asked.branch), (XidNumber(4), BranchId(9)));
    assert_eq!((asked.resolution, &*asked.reason), (Resolution::Keep, "agreed with sales"));
    for (resolution, reason, field) in [
        (0, "why", "resolution"),
        (99, "why", "resolution"),
        (keep, "", "reason"),
        (keep, " \n", "reason"),
        (keep, &"x".repeat(1025), "reason"),
    ] {
        assert_eq!(resolve(resolution, reason).unwrap_err(), field);
    }
    for resolution in [Resolution::Retry, Resolution::Restore, Resolution::Keep] {
        let wire = v1::Resolution::from(resolution).into();
        assert_eq!(super::resolution(wire), Ok(Some(resolution)));
    }
}

/// One of each rejection, by code, field, limit, holder and delay.
#[test]
fn every_rejection_has_its_place_in_the_table() {
    let outcome = Outcome { status: Status::RollingBack(RollbackCause::TimedOut), parked: 0 };
    let (resource, key) = ("bank-a".parse::<ResourceId>().unwrap(), key("account"));
    let delay = Duration::from_millis(20);
    let branch = BranchId(9);
    let holder = XidNumber(4);
    let conflict =
        |holder| Rejection::LockConflict { holder, key: key.clone(), retry_after: delay };
    let limit = |limit| Rejection::Limit { limit, max: 5 };
    let not_resolvable =
        Rejection::NotResolvable { branch, resolution: Resolution::Keep, mode: BranchMode::Xa };
    let no_database = Rejection::NoDatabase { resource: resource.clone(), mode: BranchMode::At };
    let table = [
        (Rejection::NotReady, "TX0014  0 `` 50"),
        (Rejection::NotBegun, "TX0014  0 `` 10"),
        (Rejection::Expired, "TX0006 xid 0 `` 0"),
        (Rejection::UnknownTransaction, "TX0005 xid 0 `` 0"),
        (Rejection::LostState(branch), "TX0012 done_branch_ids 0 `` 0"),
        (Rejection::NotActive(outcome), "TX0004 xid 0 `` 0"),
        (Rejection::NotAttached(resource.clone()), "TX0010 resource_id 0 `` 0"),
        (Rejection::BranchMismatch(branch), "TX0009 branch_id 0 `` 0"),
        (Rejection::BranchFailed(branch), "TX0009 branch_id 0 `` 0"),
        (Rejection::BranchDone(branch), "TX0009 result 0 `` 0"),
        (Rejection::WrongResource(branch, resource.clone()), "TX0009 resource_id 0 `` 0"),
        (Rejection::ForeignBranchId(branch), "TX0001 branch_id 0 `` 0"),
        (no_database, "TX0001 mode 0 `` 0"),
        (Rejection::UnknownBranch(branch), "TX0008 branch_id 0 `` 0"),
        (limit(Limit::BranchesPerTransaction), "TX0002 branch_id 5 `` 0"),
        (limit(Limit::LocksPerBranch), "TX0002 locks 5 `` 0"),
        (limit(Limit::ActiveTransactions), "TX0002 active_transactions_max 5 `` 1000"),
        (limit(Limit::UndoneScopes), "TX0002 scope 5 `` 0"),
        (Rejection::ScopeRolledBack(ScopeId(3)), "TX0019 scopes 0 `` 0"),
        (Rejection::NotDelegable(branch), "TX0020 delegate_to 0 `` 0"),
        (limit(Limit::Waiters), "TX0002 waiters_max 5 `` 1000"),
        (Rejection::HeldByOuter { holder, key: key.clone() }, "TX0003 locks 0 `bank:4` 0"),
        (conflict(Some(holder)), "TX0003 locks 0 `bank:4` 20"),
        (conflict(None), "TX0003 locks 0 `` 20"),
        (Rejection::ResourceBound { id: resource.clone(), uid: None }, "TX0011 resource_id 0 `` 0"),
        (Rejection::UnknownResource(resource), "TX0001 resource_id 0 `` 0"),
        (Rejection::ResourceBusy { branches: 1, sessions: 2 }, "TX0017 resource_id 0 `` 0"),
        (Rejection::NotParked(branch), "TX0018 branch_id 0 `` 0"),
        (not_resolvable, "TX0018 resolution 0 `` 0"),
        (Rejection::Invariant("GT-1"), "TX0015  0 `` 0"),
    ];
    for (rejected, expected) in table {
        let error = rejection(&"bank".parse().unwrap(), &rejected);
        let shown = format!(
            "{} {} {} `{}` {}",
            code_name(error.code()),
            error.field,
            error.limit,
            error.holder,
            error.retry_after_ms
        );
        assert_eq!(shown, expected, "{rejected:?}");
        let starts_low = !error.message.starts_with(|first: char| first.is_uppercase());
        assert!(starts_low && !error.message.ends_with('.'), "{}", error.message);
        let tells = error.code() == ErrorCode::NotActive;
        assert_eq!(error.outcome.is_some(), tells);
    }
}

/// A key of the longest names must not make a message that no one can read, or take.
#[test]
fn a_conflict_on_a_long_key_stays_a_short_message() {
    let key = LockKey {
        table: "t".repeat(512),
        kind: KeyKind::Row,
        values: vec![KeyValue::Text("v".repeat(3000))],
    };
    let key = key.encode().unwrap();
    let conflict =
        Rejection::LockConflict { holder: None, key, retry_after: Duration::from_millis(1) };
    let error = rejection(&"bank".parse().unwrap(), &conflict);
    assert!(error.message.len() < 600, "{} bytes", error.message.len());
}

#[test]
fn outcomes_survive_the_wire() {
    use RollbackCause::*;
    let causes = [
        Requested,
        TimedOut,
        Vetoed,
        Deadlock,
        PhaseOneUnknown,
        PhaseOneFailed,
        ManagerLost,
        Unrecorded,
        ScopeNotUndone,
    ];
    let rolled = causes.into_iter().flat_map(|c| [Status::RollingBack(c), Status::RolledBack(c)]);
    let undecided = [Status::Active, Status::Delegated];
    let statuses = rolled.chain(undecided).chain([Status::Committing, Status::Committed]);
    for status in statuses {
        let outcome = Outcome { status, parked: 2 };
        assert_eq!(Outcome::try_from(v1::Outcome::from(outcome)), Ok(outcome));
    }
    assert!(Outcome::try_from(v1::Outcome::default()).is_err(), "unspecified is not an outcome");
    for branch_mode in [BranchMode::At, BranchMode::Tcc, BranchMode::Saga, BranchMode::Xa] {
        assert_eq!(mode(v1::BranchMode::from(branch_mode).into()), Ok(branch_mode));
    }
}

#[test]
fn an_answer_of_the_wrong_kind_is_an_internal_error() {
    let reply = identity().begun(Reply::KeysFree);
    let Some(v1::begin_reply::Result::Error(error)) = reply.result else { panic!("an error") };
    assert_eq!(error.code(), ErrorCode::Internal);
}
