//! What an operator decided about a parked branch: looked at again, overwritten, or kept.

use pactum_core::id::BranchId;
use pactum_core::transaction::Resolution;
use pactum_proto::v1::ParkReason;

use super::rollback::{BANK, ROLLBACK, changed, parked};
use super::world::World;
use crate::branch::{Answer, Task};
use crate::context::TransactionContext;

/// A world with one branch of these statements, and something that was done behind it.
pub(super) async fn dirty(
    schema: &str,
    statements: &[&str],
    behind: &str,
) -> (World, TransactionContext, BranchId, Vec<String>) {
    let world = World::new(schema).await;
    let before = world.dump().await;
    let context = world.context();
    world.run(&context, statements).await.unwrap();
    world.behind(behind).await;
    let branch = world.fake.registrations(context.xid())[0].branch;
    (world, context, branch, before)
}

#[tokio::test]
async fn restore_writes_the_before_images_over_whatever_is_there() {
    let statements = [
        "UPDATE account SET balance = balance - 30 WHERE id = 1",
        "UPDATE account SET balance = balance - 1, owner = 'Z' WHERE id = 1",
        "DELETE FROM account WHERE id = 2",
        "INSERT INTO account VALUES (4, 'D', 30)",
        "UPDATE account SET balance = 31 WHERE id = 4",
    ];
    for behind in [
        "UPDATE account SET balance = 1000 WHERE id = 1",
        "DELETE FROM account WHERE id = 1",
        "INSERT INTO account VALUES (2, 'somebody else', -5)",
        "UPDATE account SET owner = x'00', balance = NULL WHERE id = 4",
        "DELETE FROM account WHERE id = 4",
        "DELETE FROM account WHERE id <> 3; INSERT INTO account VALUES (2, 'E', 1), (4, 'F', 2)",
        // Its first step alone, undone by hand.
        "UPDATE account SET balance = 70, owner = 'A' WHERE id = 1",
    ] {
        let (world, context, branch, before) = dirty(BANK, &statements, behind).await;
        let xid = context.xid();
        let resolved = world.fake.resolve(xid, branch, ROLLBACK, Resolution::Restore).await;
        assert_eq!(resolved, Answer::Done, "{behind}");
        assert_eq!(world.dump().await, before, "{behind}");
        assert_eq!(world.barrier().await, ["undone"]);
        // The answer was lost, and the work comes again.
        world.behind("UPDATE account SET balance = 5 WHERE id = 1").await;
        for _ in 0..2 {
            let repeat = world.fake.resolve(xid, branch, ROLLBACK, Resolution::Restore).await;
            assert_eq!(repeat, Answer::Done);
            assert_eq!(world.fake.work(xid, branch, ROLLBACK).await, Answer::Done);
        }
        assert_eq!(world.value("SELECT balance FROM account WHERE id = 1").await, "5");
    }
}

/// The database's own rules hold over an operator's word: what they refuse, or would drag along,
/// stays as it is.
#[tokio::test]
async fn restore_stops_at_what_the_database_refuses_and_changes_nothing() {
    let parent = |acts: &str| {
        format!(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, code UNIQUE, x); INSERT INTO t VALUES \
             (1, 'a', 0); CREATE TABLE c (id INTEGER PRIMARY KEY, t REFERENCES t {acts})"
        )
    };
    for (schema, statement, behind) in [
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE); INSERT INTO t VALUES (1, 'e')"
                .to_owned(),
            "UPDATE t SET u = 'f'",
            "UPDATE t SET u = 'g'; INSERT INTO t VALUES (2, 'e')",
        ),
        (
            parent("ON DELETE CASCADE"),
            "INSERT INTO t VALUES (2, 'b', 0)",
            "UPDATE t SET x = 9; INSERT INTO c VALUES (1, 2)",
        ),
        (
            parent("(code) ON UPDATE CASCADE"),
            "UPDATE t SET x = 1",
            "UPDATE t SET code = 'b'; INSERT INTO c VALUES (1, 'b')",
        ),
        (
            parent(""),
            "INSERT INTO t VALUES (2, 'b', 0)",
            "UPDATE t SET x = 9; INSERT INTO c VALUES (1, 2)",
        ),
    ] {
        let (world, context, branch, _) = dirty(&schema, &[statement], behind).await;
        let found = world.dump().await;
        let resolved = world.fake.resolve(context.xid(), branch, ROLLBACK, Resolution::Restore);
        let report = parked(resolved.await, ParkReason::DirtyWrite);
        assert!(report.message.contains("nothing was restored"), "{}", report.message);
        assert_eq!(world.dump().await, found, "{behind}");
        assert_eq!(world.barrier().await, ["open"], "it can be tried again");
    }
}

#[tokio::test]
async fn retry_is_judged_like_the_first_time() {
    let statements = ["UPDATE account SET balance = 70 WHERE id = 1"];
    let behind = "UPDATE account SET balance = 71 WHERE id = 1";
    let (world, context, branch, before) = dirty(BANK, &statements, behind).await;
    let retry = || world.fake.resolve(context.xid(), branch, ROLLBACK, Resolution::Retry);
    parked(retry().await, ParkReason::DirtyWrite);
    world.behind("UPDATE account SET balance = 70 WHERE id = 1").await;
    assert_eq!(retry().await, Answer::Done);
    assert_eq!(world.dump().await, before);
}

#[tokio::test]
async fn keep_leaves_the_rows_and_is_done_for_good() {
    let statements = ["UPDATE account SET balance = 70 WHERE id = 1"];
    let behind = "UPDATE account SET balance = 71 WHERE id = 1";
    let (world, context, branch, _) = dirty(BANK, &statements, behind).await;
    let found = world.dump().await;
    let xid = context.xid();
    for _ in 0..2 {
        let kept = world.fake.resolve(xid, branch, ROLLBACK, Resolution::Keep).await;
        assert_eq!(kept, Answer::Done);
        assert_eq!(world.barrier().await, ["undone"]);
    }
    assert_eq!(world.fake.work(xid, branch, ROLLBACK).await, Answer::Done);
    assert_eq!(world.dump().await, found);
}

#[tokio::test]
async fn lost_evidence_can_be_kept_and_not_restored() {
    let (world, context, branch) = changed().await;
    let found = world.dump().await;
    let xid = context.xid();
    world.behind("DELETE FROM pactum_barrier").await;
    let restore = world.fake.resolve(xid, branch, ROLLBACK, Resolution::Restore).await;
    let report = parked(restore, ParkReason::EvidenceLost);
    assert!(report.message.contains("resolve it with `keep`"), "{}", report.message);
    assert!(world.barrier().await.is_empty());
    assert_eq!(world.fake.resolve(xid, branch, ROLLBACK, Resolution::Keep).await, Answer::Done);
    assert_eq!(world.fake.work(xid, branch, ROLLBACK).await, Answer::Done, "it left its mark");
    assert_eq!(world.dump().await, found);
}

#[tokio::test]
async fn tampered_evidence_can_be_kept_and_not_restored() {
    for (tampering, then) in [
        ("body = replace(body, '100', '900')", "undone"),
        ("body = ''", "undone"),
        ("format = 9", "undone"),
        ("checksum = 0", "undone"),
        // Whose it is cannot be told any more, so it is left alone.
        ("body = CAST(body AS BLOB)", "open"),
        ("store_id = 'nobody'", "open"),
        ("mode = 'tcc'", "open"),
    ] {
        let (world, context, branch) = changed().await;
        world.behind(&format!("UPDATE pactum_barrier SET {tampering}")).await;
        let found = world.dump().await;
        let xid = context.xid();
        let restore = world.fake.resolve(xid, branch, ROLLBACK, Resolution::Restore).await;
        let report = parked(restore, ParkReason::EvidenceTampered);
        assert!(report.message.contains("resolve it with `keep`"), "{}", report.message);
        let kept = world.fake.resolve(xid, branch, ROLLBACK, Resolution::Keep).await;
        assert_eq!(kept, Answer::Done, "{tampering}");
        assert_eq!(world.barrier().await, [then], "{tampering}");
        assert_eq!(world.dump().await, found, "{tampering}");
    }
}

#[tokio::test]
async fn a_changed_schema_is_not_restored_into_and_can_be_kept() {
    let (world, context, branch) = changed().await;
    world.behind("ALTER TABLE account ADD COLUMN note").await;
    let found = world.dump().await;
    let xid = context.xid();
    let restore = world.fake.resolve(xid, branch, ROLLBACK, Resolution::Restore).await;
    parked(restore, ParkReason::SchemaChanged);
    assert_eq!(world.fake.resolve(xid, branch, ROLLBACK, Resolution::Keep).await, Answer::Done);
    assert_eq!(world.dump().await, found);
}

#[tokio::test]
async fn a_commit_that_met_an_odd_row_can_be_kept() {
    let (world, context, branch) = changed().await;
    let xid = context.xid();
    world.behind("UPDATE pactum_barrier SET state = 'undone'").await;
    parked(world.fake.work(xid, branch, Task::Commit).await, ParkReason::Invariant);
    let kept = world.fake.resolve(xid, branch, Task::Commit, Resolution::Keep).await;
    assert_eq!(kept, Answer::Done);
    assert_eq!(world.barrier().await, ["undone"], "the odd row stays as evidence");
}

/// Many rows, read by few statements; of those that differ each is shown, and only those.
#[tokio::test]
async fn a_dirty_write_among_many_rows_is_found_and_shown() {
    let many = "CREATE TABLE t (a TEXT, b INTEGER, x, y, PRIMARY KEY (b, a)); WITH RECURSIVE n(i) AS \
                (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO t SELECT \
                'k' || (i % 7), i, i * 2, 'y' FROM n";
    let behind = "UPDATE t SET x = -1 WHERE b = 450; DELETE FROM t WHERE b = 451; \
                  UPDATE t SET y = 'z', x = 0 WHERE b = 1000";
    let (world, context, branch, before) = dirty(many, &["UPDATE t SET x = x + 1"], behind).await;
    let report =
        parked(world.fake.work(context.xid(), branch, ROLLBACK).await, ParkReason::DirtyWrite);
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let mut shown: Vec<String> = Vec::new();
    for row in &report.rows {
        for column in &row.columns {
            let [before, after, current] =
                [&column.before, &column.after, &column.current].map(text);
            shown.push(format!("{} {}: {before} {after} {current}", row.key, column.column));
        }
    }
    assert_eq!(
        shown,
        [
            "b=450, a='k2' x: 900 901 -1",
            "b=451, a='k3' a: 'k3' 'k3' -",
            "b=451, a='k3' b: 451 451 -",
            "b=451, a='k3' x: 902 903 -",
            "b=451, a='k3' y: 'y' 'y' -",
            "b=1000, a='k6' x: 2000 2001 0",
            "b=1000, a='k6' y: 'y' 'y' 'z'",
        ]
    );
    let resolved = world.fake.resolve(context.xid(), branch, ROLLBACK, Resolution::Restore).await;
    assert_eq!(resolved, Answer::Done);
    assert_eq!(world.dump().await, before);
}
