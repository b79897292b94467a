//! Phase two: exact or nothing, again and again, whatever was done to rows and undo log.

use pactum_core::id::{BranchId, StoreId};
use pactum_proto::v1::{ParkReason, ParkReport};

use super::world::World;
use crate::at::AtError;
use crate::branch::{Answer, Task};
use crate::context::TransactionContext;
use crate::link::fake::{STORE, Said};

pub(super) const BANK: &str = "CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT, balance INTEGER); \
     INSERT INTO account VALUES (1, 'A', 100), (2, 'B', 50), (3, 'C', 0)";
pub(super) const ROLLBACK: Task = Task::Rollback { phase_one_done: true };
const MAYBE: Task = Task::Rollback { phase_one_done: false };

#[track_caller]
pub(super) fn parked(answer: Answer, reason: ParkReason) -> ParkReport {
    let Answer::Parked(report) = answer else { panic!("not parked: {answer:?}") };
    assert_eq!(report.reason(), reason, "{report:?}");
    report
}

/// A world with one branch of three changes, and its transaction.
pub(super) async fn changed() -> (World, TransactionContext, BranchId) {
    let world = World::new(BANK).await;
    let context = world.context();
    world
        .run(
            &context,
            &[
                "UPDATE account SET balance = balance - 30 WHERE id = 1",
                "DELETE FROM account WHERE id = 2",
                "INSERT INTO account VALUES (4, 'D', 30)",
            ],
        )
        .await
        .unwrap();
    let branch = world.fake.registrations(context.xid())[0].branch;
    (world, context, branch)
}

#[tokio::test]
async fn a_dirty_write_changes_nothing_and_shows_all_three() {
    for (dirty, key, column, shown) in [
        ("UPDATE account SET balance = 71 WHERE id = 1", "id=1", "balance", "100 70 71"),
        ("UPDATE account SET owner = 'X' WHERE id = 1", "id=1", "owner", "'A' 'A' 'X'"),
        (
            "UPDATE account SET balance = 70.0 || '' WHERE id = 1",
            "id=1",
            "balance",
            "100 70 '70.0'",
        ),
        ("DELETE FROM account WHERE id = 1", "id=1", "balance", "100 70 -"),
        ("INSERT INTO account VALUES (2, 'B', 51)", "id=2", "balance", "50 - 51"),
        ("UPDATE account SET balance = 31 WHERE id = 4", "id=4", "balance", "- 30 31"),
    ] {
        // The column has no type, so that the number and its text differ.
        let world = World::new(&BANK.replace("balance INTEGER", "balance")).await;
        let context = world.context();
        world
            .run(
                &context,
                &[
                    "UPDATE account SET balance = balance - 30 WHERE id = 1",
                    "DELETE FROM account WHERE id = 2",
                    "INSERT INTO account VALUES (4, 'D', 30)",
                ],
            )
            .await
            .unwrap();
        world.behind(dirty).await;
        let before = world.dump().await;
        let branch = world.fake.registrations(context.xid())[0].branch;
        for _ in 0..2 {
            let answer = world.fake.work(context.xid(), branch, ROLLBACK).await;
            let report = parked(answer, ParkReason::DirtyWrite);
            assert_eq!(report.rows.len(), 1, "{dirty}");
            assert_eq!(report.rows[0].key, key, "{dirty}");
            let found = report.rows[0].columns.iter().find(|found| found.column == column);
            let found = found.unwrap_or_else(|| panic!("{dirty}: {report:?}"));
            let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let all = [text(&found.before), text(&found.after), text(&found.current)].join(" ");
            assert_eq!(all, shown, "{dirty}");
            assert_eq!(world.dump().await, before, "{dirty}");
            assert_eq!(world.barrier().await, ["open"], "{dirty}");
        }
    }
}

#[tokio::test]
async fn a_row_put_back_by_hand_lets_the_retry_end_it() {
    let (world, context, branch) = changed().await;
    world.behind("UPDATE account SET balance = 999 WHERE id = 1").await;
    parked(world.fake.work(context.xid(), branch, ROLLBACK).await, ParkReason::DirtyWrite);
    world.behind("UPDATE account SET balance = 70 WHERE id = 1").await;
    assert_eq!(world.fake.work(context.xid(), branch, ROLLBACK).await, Answer::Done);
    assert_eq!(world.value("SELECT group_concat(balance) FROM account").await, "'100,50,0'");
}

/// What a row was between two changes of one branch is no excuse for a foreign write.
#[tokio::test]
async fn a_dirty_write_that_equals_a_step_in_between_is_noticed() {
    let world = World::new(BANK).await;
    let context = world.context();
    let set = |balance: &str| format!("UPDATE account SET balance = {balance} WHERE id = 1");
    world.run(&context, &[&set("90"), &set("80")]).await.unwrap();
    let branch = world.fake.registrations(context.xid())[0].branch;
    world.behind(&set("90")).await;
    parked(world.fake.work(context.xid(), branch, ROLLBACK).await, ParkReason::DirtyWrite);
    assert_eq!(world.value("SELECT balance FROM account WHERE id = 1").await, "90");
}

#[tokio::test]
async fn rows_that_are_restored_already_are_left_alone() {
    let (world, context, branch) = changed().await;
    // An operator did a part of it by hand.
    world.behind("INSERT INTO account VALUES (2, 'B', 50); DELETE FROM account WHERE id = 4").await;
    assert_eq!(world.fake.work(context.xid(), branch, ROLLBACK).await, Answer::Done);
    assert_eq!(world.value("SELECT group_concat(balance) FROM account").await, "'100,50,0'");
}

#[tokio::test]
async fn repeats_of_every_task_change_nothing() {
    let (world, context, branch) = changed().await;
    let xid = context.xid();
    let after = world.dump().await;
    for _ in 0..2 {
        assert_eq!(world.fake.work(xid, branch, Task::AskPhaseOne).await, Answer::Done);
        assert_eq!(world.dump().await, after);
    }
    for _ in 0..2 {
        assert_eq!(world.fake.work(xid, branch, ROLLBACK).await, Answer::Done);
        assert_eq!(world.barrier().await, ["undone"]);
    }
    assert_eq!(world.fake.work(xid, branch, MAYBE).await, Answer::Done);
    let restored = world.dump().await;
    // Somebody else's later change of the same row is none of a repeat's business.
    world.behind("UPDATE account SET balance = 5 WHERE id = 1").await;
    assert_eq!(world.fake.work(xid, branch, ROLLBACK).await, Answer::Done);
    assert_eq!(world.value("SELECT balance FROM account WHERE id = 1").await, "5");
    assert_ne!(world.dump().await, restored);
    assert_eq!(world.value("SELECT length(body) FROM pactum_barrier").await, "0");
}

#[tokio::test]
async fn commits_are_deleted_in_batches_and_repeats_are_absorbed() {
    let world = World::new("CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    let mut works = Vec::new();
    for id in 0..300 {
        let context = world.context();
        world.run(&context, &[&format!("INSERT INTO t VALUES ({id})")]).await.unwrap();
        let branch = world.fake.registrations(context.xid())[0].branch;
        works.push((context.xid().clone(), branch));
    }
    let kept = world.context();
    world.run(&kept, &["INSERT INTO t VALUES (1000)"]).await.unwrap();
    let mixed: Vec<_> = works.iter().chain(&works[..3]).cloned().collect();
    assert_eq!(world.fake.commit_batch(mixed).await, vec![Answer::Done; 303]);
    assert_eq!(world.barrier().await, ["open"], "the branch that was not named stays");
    assert_eq!(world.fake.commit_batch(works.clone()).await, vec![Answer::Done; 300]);
    // A repeated rollback order for a committed branch finds its evidence gone, and says so.
    let (xid, branch) = &works[0];
    parked(world.fake.work(xid, *branch, ROLLBACK).await, ParkReason::EvidenceLost);
    assert_eq!(world.value("SELECT count(*) FROM t").await, "301");
}

#[tokio::test]
async fn a_commit_of_what_was_undone_is_not_done() {
    let (world, context, branch) = changed().await;
    assert_eq!(world.fake.work(context.xid(), branch, ROLLBACK).await, Answer::Done);
    let answer = world.fake.work(context.xid(), branch, Task::Commit).await;
    parked(answer, ParkReason::Invariant);
    assert_eq!(world.barrier().await, ["undone"]);
}

#[tokio::test]
async fn a_rollback_that_comes_first_leaves_a_tombstone_that_refuses_a_late_phase_one() {
    for task in [MAYBE, Task::AskPhaseOne] {
        let world = World::new(BANK).await;
        let before = world.dump().await;
        let context = world.context();
        // The branch that will be registered next.
        let expected = if task == MAYBE { Answer::Done } else { Answer::Failed };
        for _ in 0..2 {
            assert_eq!(world.fake.work(context.xid(), BranchId(1), task).await, expected);
        }
        assert_eq!(world.barrier().await, ["tombstone"]);
        let late = world.run(&context, &["UPDATE account SET balance = 0"]).await.unwrap_err();
        assert!(matches!(late, AtError::RolledBack), "{late}");
        assert!(!late.is_retryable());
        assert_eq!(world.dump().await, before);
        assert_eq!(world.fake.said(), [Said::Failed(BranchId(1))]);
        assert_eq!(world.barrier().await, ["tombstone"]);
        assert_eq!(world.fake.work(context.xid(), BranchId(1), ROLLBACK).await, Answer::Done);
    }
}

#[tokio::test]
async fn an_undo_log_that_should_be_there_and_is_not_is_evidence_lost() {
    let (world, context, branch) = changed().await;
    let after = world.dump().await;
    world.behind("DELETE FROM pactum_barrier").await;
    let answer = world.fake.work(context.xid(), branch, ROLLBACK).await;
    parked(answer, ParkReason::EvidenceLost);
    assert_eq!(world.dump().await, after);
    assert!(world.barrier().await.is_empty(), "no tombstone hides that the evidence is gone");
}

#[tokio::test]
async fn an_undo_log_changed_by_hand_is_not_used() {
    for tampering in [
        "body = replace(body, '100', '900')",
        "body = substr(body, 1, length(body) / 2)",
        "body = ''",
        "body = body || ' '",
        "checksum = checksum + 1",
        "format = 2",
        "body = CAST(body AS BLOB)",
        "store_id = 'nobody'",
        "mode = 'tcc'",
        "branch_id = branch_id + 1, xid = xid",
    ] {
        let (world, context, branch) = changed().await;
        let after = world.dump().await;
        world.behind(&format!("UPDATE pactum_barrier SET {tampering}")).await;
        let branch =
            if tampering.starts_with("branch_id") { BranchId(branch.0 + 1) } else { branch };
        let answer = world.fake.work(context.xid(), branch, ROLLBACK).await;
        parked(answer, ParkReason::EvidenceTampered);
        assert_eq!(world.dump().await, after, "{tampering}");
    }
}

/// The checksum is right, and the content is still none that this agent wrote.
#[tokio::test]
async fn a_log_of_another_version_or_shape_is_not_used() {
    let (world, context, branch) = changed().await;
    let after = world.dump().await;
    let context_key = crate::branch::BranchKey { xid: context.xid().clone(), branch };
    for (format, body) in [(2, "{}"), (1, "{}"), (1, "not json")] {
        world.behind("DELETE FROM pactum_barrier").await;
        let mut connection = world.pool.acquire().await.unwrap();
        let row = crate::barrier::OpenRow {
            key: context_key.clone(),
            store: STORE,
            mode: crate::barrier::Mode::At,
            format,
            body: body.to_owned(),
        };
        let wall = pactum_core::time::WallTime(1);
        let mut sql = crate::db::SqliteSql(&mut connection);
        let written = crate::barrier::insert_open(&mut sql, &row, wall, ("1", &[])).await;
        assert!(written.unwrap());
        drop(connection);
        let answer = world.fake.work(context.xid(), branch, ROLLBACK).await;
        parked(answer, ParkReason::EvidenceTampered);
        assert_eq!(world.dump().await, after);
    }
}

#[tokio::test]
async fn a_schema_that_changed_parks_with_both_descriptions() {
    for (change, words) in [
        ("ALTER TABLE account ADD COLUMN note", "note"),
        ("ALTER TABLE account RENAME COLUMN owner TO holder", "holder"),
        ("ALTER TABLE account DROP COLUMN owner", "(id, balance)"),
        ("DROP TABLE account", "table `account` is gone"),
        ("ALTER TABLE account RENAME TO accounts", "table `account` is gone"),
        (
            "CREATE TRIGGER spy AFTER UPDATE ON account BEGIN DELETE FROM account; END",
            "trigger `spy`",
        ),
    ] {
        let (world, context, branch) = changed().await;
        world.behind(change).await;
        let before = world.dump().await;
        let answer = world.fake.work(context.xid(), branch, ROLLBACK).await;
        let report = parked(answer, ParkReason::SchemaChanged);
        assert!(report.message.contains(words), "{}", report.message);
        assert_eq!(world.dump().await, before);
    }
    // What does not touch the columns is no obstacle.
    let (world, context, branch) = changed().await;
    world.behind("CREATE INDEX i ON account (balance); CREATE TABLE other (x)").await;
    assert_eq!(world.fake.work(context.xid(), branch, ROLLBACK).await, Answer::Done);
}

/// A coordinator whose store was made anew may use an XID again.
#[tokio::test]
async fn a_row_of_another_store_is_never_touched() {
    let world = World::new(BANK).await;
    let foreign = world.foreign_context();
    world.run(&foreign, &["UPDATE account SET balance = 1 WHERE id = 1"]).await.unwrap();
    let after = world.dump().await;
    let branch = world.fake.registrations(foreign.xid())[0].branch;
    for task in [ROLLBACK, MAYBE, Task::AskPhaseOne] {
        let answer = world.fake.work(foreign.xid(), branch, task).await;
        parked(answer, ParkReason::EvidenceTampered);
    }
    parked(world.fake.work(foreign.xid(), branch, Task::Commit).await, ParkReason::Invariant);
    assert_eq!(world.dump().await, after);
    assert_eq!(world.barrier().await, ["open"]);
    let own = world.fake.work_for(StoreId(0xbad), foreign.xid(), branch, ROLLBACK).await;
    assert_eq!(own, Answer::Done);
}

#[tokio::test]
async fn a_database_that_is_written_to_is_asked_again_later() {
    let options =
        super::world::options().local_lock_wait_max(std::time::Duration::from_millis(200));
    let world = World::with(BANK, options).await;
    let context = world.context();
    world.run(&context, &["UPDATE account SET balance = 1"]).await.unwrap();
    let branch = world.fake.registrations(context.xid())[0].branch;
    let writer = world.pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    for task in [ROLLBACK, MAYBE, Task::AskPhaseOne, Task::Commit] {
        let answer = world.fake.work(context.xid(), branch, task).await;
        let Answer::Later { after, reason } = answer else { panic!("{task:?}: {answer:?}") };
        assert!(after.is_some(), "{reason}");
    }
    drop(writer);
    let own = world.at.begin().await.unwrap();
    let answer = world.fake.work(context.xid(), branch, ROLLBACK).await;
    assert!(matches!(answer, Answer::Later { .. }), "phase one is still open: {answer:?}");
    drop(own);
    assert_eq!(world.fake.work(context.xid(), branch, ROLLBACK).await, Answer::Done);
}

#[tokio::test]
async fn what_the_database_refuses_to_restore_parks() {
    // A unique value that was taken behind the lock; a child that came behind the lock; a parent
    // that went.
    for (schema, statement, behind) in [
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE); INSERT INTO t VALUES (1, 'e')",
            "UPDATE t SET u = 'f'",
            "INSERT INTO t VALUES (2, 'e')",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE c (id INTEGER PRIMARY KEY, \
             t INTEGER REFERENCES t)",
            "INSERT INTO t VALUES (1)",
            "INSERT INTO c VALUES (1, 1)",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE c (id INTEGER PRIMARY KEY, \
             t INTEGER REFERENCES t ON DELETE CASCADE)",
            "INSERT INTO t VALUES (1)",
            "INSERT INTO c VALUES (1, 1)",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE c (id INTEGER PRIMARY KEY, \
             t INTEGER REFERENCES t); INSERT INTO t VALUES (1); INSERT INTO c VALUES (1, 1)",
            "DELETE FROM c",
            "DELETE FROM t",
        ),
    ] {
        let world = World::new(schema).await;
        let context = world.context();
        world.run(&context, &[statement]).await.unwrap();
        world.behind(behind).await;
        let before = world.dump().await;
        let branch = world.fake.registrations(context.xid())[0].branch;
        let answer = world.fake.work(context.xid(), branch, ROLLBACK).await;
        let report = parked(answer, ParkReason::DirtyWrite);
        assert!(report.message.contains("nothing was restored"), "{}", report.message);
        assert_eq!(world.dump().await, before, "{statement}");
        assert_eq!(world.barrier().await, ["open"]);
    }
}

/// The columns are the same by name and type, and still a restored row does not come out as it was.
#[tokio::test]
async fn a_restore_that_is_not_exact_is_not_kept() {
    let schema = |factor: u8| {
        format!(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, g INTEGER AS (a * {factor})); \
             INSERT INTO t (id, a) VALUES (1, 10)"
        )
    };
    let world = World::new(&schema(2)).await;
    let context = world.context();
    world.run(&context, &["DELETE FROM t"]).await.unwrap();
    world.behind(&format!("DROP TABLE t; {}; DELETE FROM t", schema(3))).await;
    let branch = world.fake.registrations(context.xid())[0].branch;
    let answer = world.fake.work(context.xid(), branch, ROLLBACK).await;
    let report = parked(answer, ParkReason::Invariant);
    assert_eq!(report.rows[0].columns.len(), 3);
    assert_eq!(world.value("SELECT count(*) FROM t").await, "0");
    assert_eq!(world.barrier().await, ["open"]);
}

/// A parent and its children of one branch go together, also where the database would cascade.
#[tokio::test]
async fn a_parent_inserted_with_its_children_is_undone() {
    let world = World::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE c (id INTEGER PRIMARY KEY, \
         t INTEGER REFERENCES t ON DELETE CASCADE ON UPDATE CASCADE)",
    )
    .await;
    world
        .undo(&["INSERT INTO t VALUES (1), (2)", "INSERT INTO c VALUES (1, 1), (2, 2), (3, 1)"])
        .await;
}
