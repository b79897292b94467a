//! Where phase one can be disturbed: by DDL, by others, by a future that is dropped or a connection
//! that is killed.

use std::sync::Arc;
use std::time::Duration;

use pactum_core::id::BranchId;
use pactum_core::time::WallTime;
use pactum_testkit::wait::wait_until;
use sqlx::Row as _;

use super::world::World;
use crate::at::AtError;
use crate::at::commit::settle;
use crate::barrier::{Mode, OpenRow, insert_open};
use crate::branch::phase_one::PhaseOne;
use crate::branch::{Answer, BranchKey};
use crate::db::MySqlSql;
use crate::link::fake::Said;

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(9)); \
     INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'y'), (3, 3, 'z')";

#[tokio::test]
async fn a_change_of_the_definition_is_noticed_at_the_commit() {
    for change in [
        "ALTER TABLE t ADD COLUMN c INT",
        "ALTER TABLE t MODIFY b VARCHAR(10)",
        "ALTER TABLE t MODIFY b VARCHAR(9) COLLATE utf8mb4_bin",
        "CREATE UNIQUE INDEX u ON t (a)",
        "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (id, a)",
        "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES p (id)",
        "ALTER TABLE t ADD CHECK (a < 100)",
        "RENAME TABLE t TO gone; CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(8)); \
         INSERT INTO t SELECT * FROM gone",
    ] {
        let world = World::new(TABLE).await;
        world
            .behind("CREATE TABLE p (id INT PRIMARY KEY); INSERT INTO p VALUES (1), (2), (3), (4)")
            .await;
        let update = "UPDATE t SET a = a + 1 WHERE id = 3";
        world.undo(&[update]).await;
        world.behind(change).await;
        let error = world.run(&world.context(), &[update]).await.unwrap_err();
        assert!(matches!(error, AtError::SchemaChanged), "{change}: {error:?}");
        assert!(error.is_retryable());
        // And then it is planned anew.
        world.undo(&["UPDATE t SET b = 'new' WHERE id = 1"]).await;
    }
}

/// They are not part of the definition, and looked for once a second.
#[tokio::test]
async fn triggers_and_cascades_are_noticed_a_second_later() {
    for (change, words) in [
        ("CREATE TRIGGER spy BEFORE DELETE ON t FOR EACH ROW SET @x = 1", "trigger `spy`"),
        (
            "CREATE TABLE child (id INT PRIMARY KEY, t INT, FOREIGN KEY (t) REFERENCES t (id) ON \
             DELETE CASCADE)",
            "foreign key of `child`",
        ),
    ] {
        let world = World::new(TABLE).await;
        let delete = "DELETE FROM t WHERE id = 1";
        world.undo(&[delete]).await;
        world.behind(change).await;
        let noticed = async || {
            let context = world.context();
            let error = match world.run(&context, &[delete]).await {
                Err(error) => error,
                Ok(()) => {
                    assert_eq!(world.fake.commit(context.xid()).await, vec![Answer::Done]);
                    world.behind("INSERT INTO t VALUES (1, 1, 'x')").await;
                    return false;
                }
            };
            match error {
                AtError::SchemaChanged => false,
                AtError::Refused(refused) => {
                    assert!(refused.to_string().contains(words), "{refused}");
                    true
                }
                other => panic!("{change}: {other:?}"),
            }
        };
        wait_until("the change is noticed", Duration::from_secs(5), noticed).await.unwrap();
    }
}

/// A row that came between the image and the statement must not be changed without one.
#[tokio::test]
async fn rows_that_come_in_between_are_noticed_or_kept_away() {
    for (isolation, comes) in [("READ COMMITTED", true), ("REPEATABLE READ", false)] {
        let world = World::new(TABLE).await;
        world.everywhere(&format!("SET SESSION TRANSACTION ISOLATION LEVEL {isolation}")).await;
        let before = world.dump().await;
        let context = world.context();
        // Slow, but only the statement and not its image.
        let slow = ["UPDATE t SET a = a + 1 + SLEEP(0.2)"];
        let asleep = "SELECT count(*) FROM information_schema.processlist WHERE state = 'User sleep' \
                      AND db = database()";
        let insert = async || {
            let is_asleep = async || world.value(asleep).await != "0";
            wait_until("the statement runs", Duration::from_secs(5), is_asleep).await.unwrap();
            world.behind("INSERT INTO t VALUES (9, 9, 'new')").await;
        };
        let (changed, ()) = tokio::join!(world.run(&context, &slow), insert());
        if comes {
            let Err(error @ AtError::Drifted) = changed else { panic!("{changed:?}") };
            assert!(error.is_retryable());
            // The form that may run again does so by itself.
            world.behind("DELETE FROM t WHERE id = 9").await;
            let again =
                context.clone().scope(async { sqlx::query(slow[0]).execute(&world.at).await });
            let (changed, ()) = tokio::join!(again, insert());
            assert_eq!(changed.unwrap().rows_affected(), 4);
            assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
            assert_eq!(world.value("SELECT a FROM t WHERE id = 9").await, "9");
        } else {
            changed.unwrap();
            assert_eq!(world.value("SELECT a FROM t WHERE id = 9").await, "9");
            assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
        }
        world.behind("DELETE FROM t WHERE id = 9").await;
        assert_eq!(world.dump().await, before);
    }
}

#[tokio::test]
async fn a_cancelled_change_leaves_only_a_rollback() {
    let world = World::new(TABLE).await;
    let before = world.dump().await;
    let mut held = world.pool.begin().await.unwrap();
    sqlx::query("UPDATE t SET b = 'held' WHERE id = 2").execute(&mut *held).await.unwrap();
    let context = world.context();
    let mut transaction = world.at.begin_in(&context).await.unwrap();
    sqlx::query("UPDATE t SET a = 5 WHERE id = 1").execute(&mut *transaction).await.unwrap();
    {
        // It inserts at once, and waits for the unique value of a row that is held.
        let insert = sqlx::query("INSERT INTO t VALUES (7, 7, 'q'), (2, 1, 'dup')");
        let mut insert = Box::pin(insert.execute(&mut *transaction));
        let waiting = "SELECT count(*) FROM information_schema.processlist \
                       WHERE info LIKE 'INSERT INTO t VALUES (7%' AND db = database()";
        let is_waiting = async || world.value(waiting).await != "0";
        tokio::select! {
            done = &mut insert => panic!("it waits for the row: {done:?}"),
            waits = wait_until("the insert waits", Duration::from_secs(10), is_waiting) => waits.unwrap(),
        }
    }
    held.rollback().await.unwrap();
    let next = sqlx::query("UPDATE t SET a = 6 WHERE id = 1").execute(&mut *transaction).await;
    let error = AtError::from(next.unwrap_err());
    assert!(matches!(error, AtError::OnlyRollback { .. }), "{error:?}");
    assert!(matches!(transaction.commit().await, Err(AtError::OnlyRollback { .. })));
    assert_eq!(world.dump().await, before);
    assert!(world.fake.registrations(context.xid()).is_empty());
}

#[tokio::test]
async fn a_killed_connection_is_settled_by_the_barrier_row() {
    let world = World::new(TABLE).await;
    let before = world.dump().await;
    let context = world.context();
    let mut transaction = world.at.begin_in(&context).await.unwrap();
    sqlx::query("UPDATE t SET a = 5").execute(&mut *transaction).await.unwrap();
    let id = sqlx::query("SELECT connection_id()").fetch_one(transaction.bypass()).await.unwrap();
    let id: u64 = id.get_unchecked(0);
    // The statement is lost on the way, whatever it is.
    world.behind(&format!("KILL {id}")).await;
    let error = transaction.commit().await.unwrap_err();
    assert!(matches!(error, AtError::Database(_) | AtError::Busy(_)), "{error:?}");
    assert_eq!(world.dump().await, before);
    let said = world.fake.said();
    assert!(said.iter().all(|said| matches!(said, Said::Failed(_))), "{said:?}");
}

#[tokio::test]
async fn a_deadlock_or_timeout_ends_the_transaction() {
    let world = World::new(TABLE).await;
    let mut held = world.pool.begin().await.unwrap();
    sqlx::query("UPDATE t SET b = 'held' WHERE id = 2").execute(&mut *held).await.unwrap();
    let mut transaction = world.at.begin_in(&world.context()).await.unwrap();
    let set = "SET SESSION innodb_lock_wait_timeout = 1";
    sqlx::query(set).execute(transaction.bypass()).await.unwrap();
    sqlx::query("UPDATE t SET a = 5 WHERE id = 1").execute(&mut *transaction).await.unwrap();
    let late = sqlx::query("UPDATE t SET a = 5 WHERE id = 2").execute(&mut *transaction).await;
    assert!(late.unwrap_err().to_string().contains("1205"));
    assert!(matches!(transaction.commit().await, Err(AtError::OnlyRollback { .. })));
    // A statement that the server refused as a whole ends nothing.
    let context = world.context();
    let mut transaction = world.at.begin_in(&context).await.unwrap();
    for wrong in [
        "INSERT INTO t VALUES (1, 1, 'dup')",
        "INSERT INTO t VALUES (9, 9, 'much too long')",
        "UPDATE t SET missing = 1",
        "UPDATE t SET a = 'x' WHERE id = 1",
    ] {
        let refused = sqlx::query(wrong).execute(&mut *transaction).await;
        assert!(refused.is_err(), "{wrong}");
    }
    sqlx::query("UPDATE t SET a = 8 WHERE id = 1").execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
}

#[tokio::test]
async fn savepoints_keep_log_and_rows_in_step() {
    let world = World::new(TABLE).await;
    let before = world.dump().await;
    let context = world.context();
    let mut transaction = world.at.begin_in(&context).await.unwrap();
    sqlx::query("UPDATE t SET a = 10 WHERE id = 1").execute(&mut *transaction).await.unwrap();
    let mut kept = transaction.savepoint().await.unwrap();
    sqlx::query("DELETE FROM t WHERE id = 2").execute(&mut *kept).await.unwrap();
    let mut undone = kept.savepoint().await.unwrap();
    sqlx::query("UPDATE t SET a = 11").execute(&mut *undone).await.unwrap();
    undone.rollback().await.unwrap();
    kept.release().await.unwrap();
    let mut dropped = transaction.savepoint().await.unwrap();
    sqlx::query("INSERT INTO t VALUES (8, 8, '')").execute(&mut *dropped).await.unwrap();
    drop(dropped);
    transaction.commit().await.unwrap();
    assert_eq!(
        world.value("SELECT group_concat(id, ':', a ORDER BY id) FROM t").await,
        "'1:10,3:3'"
    );
    assert_eq!(world.fake.locks(context.xid()), ["t[1]", "t[2]"]);
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
    assert_eq!(world.dump().await, before);
}

#[tokio::test]
async fn locking_reads_check_and_hold() {
    let world = World::new(TABLE).await;
    let (first, second) = (world.context(), world.context());
    world.run(&first, &["UPDATE t SET a = 10 WHERE id = 1"]).await.unwrap();
    let mut transaction = world.at.begin_in(&second).await.unwrap();
    let free = "SELECT a AS id, b FROM t WHERE id = ? FOR UPDATE";
    let row = sqlx::query(free).bind(2).fetch_one(&mut *transaction).await.unwrap();
    assert_eq!(row.get::<i32, _>("id"), 2);
    assert_eq!(world.fake.last_check(), ["t[2]"]);
    let taken = sqlx::query(free).bind(1).fetch_one(&mut *transaction).await.unwrap_err();
    assert!(matches!(AtError::from(taken), AtError::LockConflict { .. }));
    let count = "SELECT count(*), ? FROM t WHERE a < ?";
    let counted = transaction.lock_rows(sqlx::query(count).bind("x").bind(3)).await.unwrap();
    assert_eq!(counted[0].get::<i64, _>(0), 1);
    assert_eq!(world.fake.last_check(), ["t[2]"]);
    let held = transaction.lock_rows_until_end(sqlx::query("SELECT * FROM t WHERE id = 3")).await;
    assert_eq!(held.unwrap().len(), 1);
    transaction.commit().await.unwrap();
    assert_eq!(world.fake.locks(second.xid()), ["t[3]"]);
}

#[tokio::test]
async fn single_statements_and_guarded_ones_wait_for_the_holder() {
    let world = World::new(TABLE).await;
    let first = world.context();
    world.run(&first, &["UPDATE t SET a = 10 WHERE id = 1"]).await.unwrap();
    let guarded = world.at.begin().await.unwrap();
    let mut guarded = guarded;
    sqlx::query("UPDATE t SET b = 'g' WHERE id = 1").execute(&mut *guarded).await.unwrap();
    assert!(matches!(guarded.commit().await, Err(AtError::LockConflict { .. })));
    let statement = async || {
        sqlx::query("UPDATE t SET b = ? WHERE id = ?").bind("s").bind(1).execute(&world.at).await
    };
    let (done, answers) = tokio::join!(statement(), world.fake.roll_back(first.xid()));
    assert_eq!(done.unwrap().rows_affected(), 1);
    assert_eq!(answers, vec![Answer::Done]);
    assert_eq!(world.value("SELECT concat(a, b) FROM t WHERE id = 1").await, "'1s'");
    let read = sqlx::query("SELECT count(*) FROM t").fetch_one(&world.at).await.unwrap();
    assert_eq!(read.get::<i64, _>(0), 3);
}

/// What was read before a row changed must not stand in for what the statement left.
#[tokio::test]
async fn an_old_snapshot_is_not_taken_for_an_image() {
    let world = World::new(TABLE).await;
    let context = world.context();
    let mut transaction = world.at.begin_in(&context).await.unwrap();
    sqlx::query("SELECT * FROM t").fetch_all(&mut *transaction).await.unwrap();
    world.behind("UPDATE t SET a = 77 WHERE id = 1").await;
    sqlx::query("UPDATE t SET a = a WHERE id = 1").execute(&mut *transaction).await.unwrap();
    sqlx::query("UPDATE t SET b = 'new' WHERE id = 1").execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    let body = world.value("SELECT body FROM pactum_barrier").await;
    assert!(body.contains(r#"{"before":[1,77,"x"],"set":{}}"#), "{body}");
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
    assert_eq!(world.value("SELECT concat(a, b) FROM t WHERE id = 1").await, "'77x'");
}

/// The answer to COMMIT is lost, and the connection with it: while the server still has the local
/// transaction open nobody may call it failed, and after its end the row says what became of it.
#[tokio::test]
async fn a_commit_without_an_answer_is_settled_by_the_barrier_row() {
    let world = World::new(TABLE).await;
    let context = world.context();
    for (number, commits) in [(1, true), (2, false)] {
        let branch = BranchId(number);
        let key = BranchKey { xid: context.xid().clone(), branch };
        let mut open = world.pool.begin().await.unwrap();
        let row = OpenRow {
            key: key.clone(),
            store: context.store_id(),
            mode: Mode::At,
            format: 1,
            body: String::new(),
        };
        let written =
            insert_open(&mut MySqlSql(&mut open), &row, WallTime(1), ("1 = 1", &[])).await;
        assert!(written.unwrap());
        let phase_one = PhaseOne {
            link: Arc::clone(&world.fake) as _,
            context: context.clone(),
            resource: world.at.resource().clone(),
            branch,
            armed: false,
        };
        let settling = settle(&world.at.0, &phase_one, sqlx::Error::WorkerCrashed);
        let ending = async {
            let waiting = "SELECT count(*) FROM information_schema.processlist WHERE db = database() \
                           AND info LIKE 'SELECT store_id%FOR UPDATE'";
            let looks = async || world.value(waiting).await != "0";
            wait_until("it waits for the row", Duration::from_secs(5), looks).await.unwrap();
            assert!(!world.fake.said().contains(&Said::Failed(branch)));
            if commits { open.commit().await } else { open.rollback().await }.unwrap();
        };
        let (settled, ()) = tokio::join!(settling, ending);
        assert_eq!(settled.is_ok(), commits, "{settled:?}");
        let expected = if commits { Said::Done(branch) } else { Said::Failed(branch) };
        assert_eq!(world.fake.said().last(), Some(&expected));
    }
    assert_eq!(world.barrier().await, ["open", "tombstone"]);
}
