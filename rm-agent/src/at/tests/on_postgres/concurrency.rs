//! Other sessions: rows that change while a statement waits for them, statements that are cut short,
//! connections that die.

use std::time::Duration;

use pactum_core::id::BranchId;
use pactum_proto::v1::ParkReason;
use pactum_testkit::server::{Kind, Server};
use sqlx::postgres::PgDatabaseError;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};

use super::World;
use crate::at::AtError;
use crate::at::tests::world::{WorldOn, options, take};
use crate::branch::{Answer, Task};
use crate::db::Driver;
use crate::link::fake::Said;

const BANK: &str = "CREATE TABLE account (id bigint PRIMARY KEY, balance bigint NOT NULL); \
     INSERT INTO account VALUES (1, 100), (2, 50)";
const CHANGE: &str = "UPDATE account SET balance = balance - 30 WHERE id = 1";
const MAYBE: Task = Task::Rollback { phase_one_done: false };

/// Waits until there is a session of this database of which this holds.
async fn until_a_session(pool: &PgPool, condition: &str) {
    let asked = format!(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
         AND pid <> pg_backend_pid() AND {condition})"
    );
    let found = async || -> bool {
        sqlx::query_scalar(AssertSqlSafe(asked.as_str())).fetch_one(pool).await.unwrap()
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, async { while !found().await {} }).await.expect(condition);
}

pub(super) async fn until_somebody_waits(pool: &PgPool) {
    until_a_session(pool, "wait_event_type = 'Lock'").await;
}

/// Another session that has changed rows and not committed.
pub(super) async fn writer(
    world: &World,
    statement: &'static str,
) -> Transaction<'static, Postgres> {
    let mut other = world.pool.begin().await.unwrap();
    sqlx::query(statement).execute(&mut *other).await.unwrap();
    other
}

/// A statement that waited for another session's change images the row as that one left it.
#[tokio::test]
async fn an_update_that_waited_undoes_to_what_it_met() {
    for (behind, met) in [
        ("UPDATE account SET balance = 500 WHERE id = 1", "470"),
        ("UPDATE account SET balance = 500 WHERE id = 1 OR id = 2", "470"),
    ] {
        let world = World::new(BANK).await;
        let context = world.context();
        let other = writer(&world, behind).await;
        let change = world.run(&context, &[CHANGE]);
        let meanwhile = async {
            until_somebody_waits(&world.pool).await;
            other.commit().await.unwrap();
        };
        let (changed, ()) = tokio::join!(change, meanwhile);
        changed.unwrap();
        let balance = "SELECT balance::text FROM account WHERE id = 1";
        assert_eq!(world.value(balance).await, format!("'{met}'"));
        assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
        assert_eq!(world.value(balance).await, "'500'");
    }
}

/// What no longer meets the condition after the wait is neither changed nor imaged.
#[tokio::test]
async fn rows_that_slip_away_while_a_statement_waits_are_not_in_its_image() {
    for (statement, behind) in [
        (
            "UPDATE account SET balance = 0 WHERE balance >= 50",
            "UPDATE account SET balance = 1 WHERE id = 1",
        ),
        ("UPDATE account SET balance = 0 WHERE balance >= 50", "DELETE FROM account WHERE id = 1"),
        ("DELETE FROM account WHERE balance >= 50", "UPDATE account SET balance = 1 WHERE id = 1"),
        ("DELETE FROM account WHERE balance >= 50", "DELETE FROM account WHERE id = 1"),
    ] {
        let world = World::new(BANK).await;
        let context = world.context();
        let other = writer(&world, behind).await;
        let change = world.run(&context, std::slice::from_ref(&statement));
        let meanwhile = async {
            until_somebody_waits(&world.pool).await;
            other.commit().await.unwrap();
        };
        let (changed, ()) = tokio::join!(change, meanwhile);
        changed.unwrap();
        assert_eq!(
            world.fake.locks(context.xid()),
            ["public.account[\"2\"]"],
            "{statement} {behind}"
        );
        assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
        assert_eq!(world.value("SELECT balance::text FROM account WHERE id = 2").await, "'50'");
    }
}

/// Rows that come between the image and the change are in no image: nothing of it may be committed.
#[tokio::test]
async fn a_change_of_rows_that_its_image_did_not_show_fails() {
    let schema = format!(
        "{BANK}; CREATE TABLE item (id int PRIMARY KEY, sku text UNIQUE, n int); \
         CREATE TABLE bonus (account bigint, amount bigint); INSERT INTO bonus VALUES (1, 5)"
    );
    for (behind, statement) in [
        // The upsert finds nothing in its way, waits for the insert, and then finds it there.
        (
            "INSERT INTO item VALUES (1, 'a', 1)",
            "INSERT INTO item VALUES (2, 'a', 2) ON CONFLICT (sku) DO UPDATE SET n = 9",
        ),
        // The image waits for the row, and sees no bonus that came meanwhile; the change does.
        (
            "WITH new AS (INSERT INTO bonus VALUES (2, 7)) UPDATE account SET balance = 1 WHERE id = 1",
            "UPDATE account SET balance = b.amount FROM bonus b WHERE b.account = id",
        ),
    ] {
        let world = World::new(&schema).await;
        let context = world.context();
        let other = writer(&world, behind).await;
        let change = world.run(&context, std::slice::from_ref(&statement));
        let meanwhile = async {
            until_somebody_waits(&world.pool).await;
            other.commit().await.unwrap();
        };
        let (changed, ()) = tokio::join!(change, meanwhile);
        let Err(error @ AtError::Drifted(_)) = changed else { panic!("{statement}: {changed:?}") };
        assert!(error.is_retryable());
        assert!(world.fake.registrations(context.xid()).is_empty());
        assert_eq!(world.value("SELECT count(*)::text FROM item WHERE n = 9").await, "'0'");
        // Once it is there, it is in the image.
        world.undo(&[statement]).await;

        // The form that may run again does so by itself.
        let world = World::new(&schema).await;
        let other = writer(&world, behind).await;
        let context = world.context();
        let change =
            context.clone().scope(async { sqlx::query(statement).execute(&world.at).await });
        let meanwhile = async {
            until_somebody_waits(&world.pool).await;
            other.commit().await.unwrap();
            world.dump().await
        };
        let (changed, between) = tokio::join!(change, meanwhile);
        assert!(changed.unwrap().rows_affected() > 0);
        assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
        let now = world.dump().await;
        assert_eq!(now.len(), between.len(), "{statement}: {now:?}");
    }
}

/// A row that another session holds is not waited for past the deadline, and a shorter limit of the
/// session's stays.
#[tokio::test]
async fn no_statement_waits_past_the_deadline() {
    let world = World::new(BANK).await;
    let other = writer(&world, "UPDATE account SET balance = 500 WHERE id = 1").await;
    let context = world.context_for(Duration::from_millis(300));
    let error = world.run(&context, &[CHANGE]).await.unwrap_err();
    assert!(matches!(error, AtError::DeadlinePassed), "{error}");
    let body = world.at.transaction_in::<_, (), AtError>(&context, |_| unreachable!());
    assert!(matches!(body.await, Err(AtError::DeadlinePassed)));
    other.rollback().await.unwrap();

    let limit = "SELECT current_setting('statement_timeout')";
    let mut connection = world.pool.acquire().await.unwrap();
    let mut shown = Vec::new();
    for before in ["0", "20s", "2min", "1h"] {
        let set = format!("SET statement_timeout = '{before}'");
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut *connection).await.unwrap();
        for left in [Some(Duration::from_millis(59_999)), None] {
            let begin = <Postgres as Driver>::begin(left);
            let begun = Transaction::<Postgres>::begin(&mut *connection, Some(begin)).await;
            let mut tx = begun.unwrap();
            let within: String = sqlx::query_scalar(limit).fetch_one(&mut *tx).await.unwrap();
            tx.rollback().await.unwrap();
            shown.push(within);
        }
        let after: String = sqlx::query_scalar(limit).fetch_one(&mut *connection).await.unwrap();
        assert_eq!(after, before);
    }
    assert_eq!(shown, ["1min", "0", "20s", "20s", "1min", "2min", "1min", "1h"]);
}

/// Goal: the agent's own statements are held to the deadline as those of the application, and say so.
/// Method: somebody keeps the table of the barrier rows.
#[tokio::test]
async fn a_commit_that_waited_to_the_deadline_says_that_it_passed() {
    let world = World::new(BANK).await;
    let lock = "LOCK TABLE pactum_barrier IN EXCLUSIVE MODE";
    let other = writer(&world, lock).await;
    let error = world.run(&world.context_for(Duration::from_millis(500)), &[CHANGE]).await;
    assert!(matches!(error, Err(AtError::DeadlinePassed)), "{error:?}");
    other.rollback().await.unwrap();
}

/// Goal: repeating has an end, and a body that dealt with the failure is not run again. Method: a
/// function that always fails as a conflict of versions does.
#[tokio::test]
async fn a_statement_that_is_always_broken_off_is_an_error_in_the_end() {
    let world = World::new(&format!(
        "{BANK}; CREATE FUNCTION lose() RETURNS bigint STABLE LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END $$"
    ))
    .await;
    for (goes_on, expected) in [(false, 6), (true, 1)] {
        let (context, mut runs) = (world.context(), 0);
        let body = world.at.transaction_in::<_, (), AtError>(&context, |tx| {
            runs += 1;
            Box::pin(async move {
                let lost = sqlx::query("UPDATE account SET balance = lose() WHERE id = 1");
                let lost = lost.execute(&mut **tx).await.unwrap_err();
                if goes_on {
                    sqlx::query("SELECT 1").execute(&mut **tx).await.unwrap_err();
                }
                Err(take(lost))
            })
        });
        let error = body.await.unwrap_err();
        assert_eq!(runs, expected);
        assert!(error.is_retryable());
        let AtError::Database(error) = error else { panic!("{error:?}") };
        assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("40001"));
    }
    // Its error may be of any type, if ours is in it.
    type Any = Box<dyn std::error::Error + Send + Sync>;
    type Fail = fn(sqlx::Error) -> Any;
    let fails: [(Fail, u32); 3] =
        [(|lost| lost.into(), 6), (|lost| take(lost).into(), 6), (|_| "no such order".into(), 1)];
    for (fail, expected) in fails {
        let (context, mut runs) = (world.context(), 0);
        let body = world.at.transaction_in::<_, (), Any>(&context, |tx| {
            runs += 1;
            Box::pin(async move {
                let lost = sqlx::query("UPDATE account SET balance = lose() WHERE id = 1");
                let lost = lost.execute(&mut **tx).await.unwrap_err();
                let error = lost.as_database_error().unwrap();
                assert!(error.try_downcast_ref::<PgDatabaseError>().is_some());
                Err(fail(lost))
            })
        });
        body.await.unwrap_err();
        assert_eq!(runs, expected);
    }
    // What is wrong with the statement itself stays so.
    let wrong = sqlx::query("UPDATE account SET balance = 1 / 0").execute(&world.at).await;
    assert!(!take(wrong.unwrap_err()).is_retryable());
}

#[tokio::test]
async fn a_statement_that_is_cut_short_can_only_be_rolled_back() {
    let world = World::new(BANK).await;
    let before = world.dump().await;
    let other = writer(&world, "UPDATE account SET balance = 1 WHERE id = 1").await;
    let mut tx = world.at.begin_in(&world.context()).await.unwrap();
    {
        let change = sqlx::query(CHANGE).execute(&mut *tx);
        tokio::select! {
            _ = change => panic!("the row is locked"),
            () = until_somebody_waits(&world.pool) => {}
        }
    }
    other.rollback().await.unwrap();
    let next = sqlx::query("SELECT 1").execute(&mut *tx).await.map_err(take).unwrap_err();
    assert!(matches!(next, AtError::OnlyRollback { .. }), "{next}");
    let refused = tx.commit().await;
    assert!(matches!(refused, Err(AtError::OnlyRollback { .. })), "{refused:?}");
    assert_eq!(world.dump().await, before);
    // Nothing is left open: the row can be locked at once.
    world.behind("BEGIN; SELECT 1 FROM account FOR UPDATE NOWAIT; COMMIT").await;
    world.undo(&[CHANGE]).await;
}

#[tokio::test]
async fn a_statement_that_the_database_refuses_needs_a_savepoint_to_go_on() {
    let world = World::new(BANK).await;
    let before = world.dump().await;
    let context = world.context();
    let mut tx = world.at.begin_in(&context).await.unwrap();
    sqlx::query(CHANGE).execute(&mut *tx).await.unwrap();
    let mut inner = tx.savepoint().await.unwrap();
    sqlx::query("DELETE FROM account WHERE id = 2").execute(&mut *inner).await.unwrap();
    let twice = sqlx::query("INSERT INTO account VALUES (1, 1)").execute(&mut *inner).await;
    assert!(twice.unwrap_err().as_database_error().unwrap().is_unique_violation());
    let next = sqlx::query("SELECT 1").execute(&mut *inner).await.map_err(take).unwrap_err();
    assert!(matches!(next, AtError::OnlyRollback { .. }), "{next}");
    inner.rollback().await.unwrap();
    let mut kept = tx.savepoint().await.unwrap();
    sqlx::query("INSERT INTO account VALUES (3, 3)").execute(&mut *kept).await.unwrap();
    kept.release().await.unwrap();
    // Dropped unfinished, with a failure in it.
    let mut dropped = tx.savepoint().await.unwrap();
    sqlx::query("UPDATE account SET balance = 1 / 0").execute(&mut *dropped).await.unwrap_err();
    drop(dropped);
    tx.commit().await.unwrap();
    assert_eq!(world.fake.locks(context.xid()), ["public.account[\"1\"]", "public.account[\"3\"]"]);
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
    assert_eq!(world.dump().await, before);

    // Without one only a rollback is left, in a guarded transaction too.
    for context in [Some(world.context()), None] {
        let mut tx = match &context {
            Some(context) => world.at.begin_in(context).await.unwrap(),
            None => world.at.begin().await.unwrap(),
        };
        sqlx::query(CHANGE).execute(&mut *tx).await.unwrap();
        sqlx::query("UPDATE account SET balance = NULL").execute(&mut *tx).await.unwrap_err();
        let error = tx.commit().await.unwrap_err();
        assert!(matches!(error, AtError::OnlyRollback { .. }), "{error}");

        // Nor is it taken for done where the failure went past the agent.
        let mut tx = match &context {
            Some(context) => world.at.begin_in(context).await.unwrap(),
            None => world.at.begin().await.unwrap(),
        };
        sqlx::query(CHANGE).execute(&mut *tx).await.unwrap();
        sqlx::query("SELECT 1 / 0").execute(tx.bypass()).await.unwrap_err();
        assert!(tx.commit().await.is_err());
        assert_eq!(world.dump().await, before);
    }
}

#[tokio::test]
async fn a_guarded_transaction_yields_to_the_holder_of_a_lock() {
    let world = World::new(BANK).await;
    let holder = world.context();
    world.run(&holder, &[CHANGE]).await.unwrap();
    let mut tx = world.at.begin().await.unwrap();
    sqlx::query(CHANGE).execute(&mut *tx).await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, AtError::LockConflict { .. }), "{error}");
    let balance = "SELECT balance::text FROM account WHERE id = 1";
    assert_eq!(world.value(balance).await, "'70'");

    // The form that waits goes on when the lock is free, on what the rollback left.
    let waiting = sqlx::query(CHANGE).execute(&world.at);
    let free = async {
        while world.fake.last_check().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.fake.roll_back(holder.xid()).await, vec![Answer::Done]);
    };
    let (done, ()) = tokio::join!(waiting, free);
    assert_eq!(done.unwrap().rows_affected(), 1);
    assert_eq!(world.value(balance).await, "'70'");
    world.undo(&["UPDATE account SET balance = 1 WHERE id = 1"]).await;
}

/// The registration may wait while the local transaction holds its row: the other one's rollback
/// does not need it.
#[tokio::test]
async fn a_branch_waits_inside_for_a_lock_that_comes_free() {
    let world = World::new(&format!(
        "{BANK}; CREATE TABLE u (id int PRIMARY KEY, k int UNIQUE); INSERT INTO u VALUES (1, 7)"
    ))
    .await;
    let holder = world.context();
    world.run(&holder, &["UPDATE u SET k = 8 WHERE id = 1"]).await.unwrap();
    let context = world.context();
    // 7 is free in the database, and its global lock is not.
    let insert = world.run(&context, &["INSERT INTO u VALUES (2, 7)"]);
    let free = async {
        let written = "state = 'idle in transaction' AND query LIKE '%INSERT INTO pactum_barrier%'";
        until_a_session(&world.pool, written).await;
        assert_eq!(world.fake.commit(holder.xid()).await, vec![Answer::Done]);
    };
    let (done, ()) = tokio::join!(insert, free);
    done.unwrap();
    assert_eq!(world.fake.claims_waited(), 0);
}

#[tokio::test]
async fn phase_two_comes_again_where_rows_are_locked() {
    let options = options().local_lock_wait_max(Duration::from_millis(300));
    let world = World::with(BANK, options).await;
    let context = world.context();
    world.run(&context, &[CHANGE]).await.unwrap();
    let other = writer(&world, "UPDATE account SET balance = balance WHERE id = 1").await;
    let branch = BranchId(1);
    let task = Task::Rollback { phase_one_done: true };
    let answer = world.fake.work(context.xid(), branch, task).await;
    assert!(matches!(answer, Answer::Later { .. }), "{answer:?}");
    other.rollback().await.unwrap();
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
}

/// The connection dies in the middle of COMMIT, and nothing was committed.
#[tokio::test]
async fn a_local_commit_that_died_before_it_took_place_is_reported_failed() {
    let world = World::new(&format!(
        "{BANK}; CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'"
    ))
    .await;
    world
        .behind(
            "CREATE CONSTRAINT TRIGGER die AFTER INSERT ON pactum_barrier DEFERRABLE \
             INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.state = 'open') EXECUTE FUNCTION die()",
        )
        .await;
    let before = world.dump().await;
    let context = world.context();
    let error = world.run(&context, &[CHANGE]).await.unwrap_err();
    assert!(matches!(error, AtError::LocalCommit(_)), "{error}");
    assert_eq!(world.fake.said(), [Said::Failed(BranchId(1))]);
    assert_eq!(world.barrier().await, ["tombstone"]);
    assert_eq!(world.dump().await, before);
    assert_eq!(world.fake.work(context.xid(), BranchId(1), MAYBE).await, Answer::Done);
}

/// The connection dies in the middle of COMMIT, after it took place: the server waits for a standby
/// that does not exist.
#[tokio::test]
async fn a_local_commit_that_died_after_it_took_place_is_reported_done() {
    let server = Server::start(Kind::Postgres).await.unwrap();
    let database = server.database("standby").await.unwrap();
    let pool = super::pool(&database).await;
    let world: World = WorldOn::over(database, pool, BANK, options()).await;
    let context = world.context();
    let mut tx = world.at.begin_in(&context).await.unwrap();
    sqlx::query(CHANGE).execute(&mut *tx).await.unwrap();
    let process: i32 =
        sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *tx).await.unwrap();
    world.behind("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    world.behind("SELECT pg_reload_conf()").await;
    // The server has heard of it when somebody else's commit no longer ends.
    let pool = world.pool.clone();
    let probe = tokio::spawn(async move {
        loop {
            let again = sqlx::query("UPDATE account SET balance = balance WHERE id = 2");
            again.execute(&pool).await.unwrap();
        }
    });
    let waits = "wait_event = 'SyncRep'";
    until_a_session(&world.pool, waits).await;
    let meanwhile = async {
        until_a_session(&world.pool, &format!("{waits} AND pid = {process}")).await;
        world.behind(&format!("SELECT pg_terminate_backend({process})")).await;
    };
    let (committed, ()) = tokio::join!(tx.commit(), meanwhile);
    committed.unwrap();
    probe.abort();
    assert_eq!(world.fake.said(), [Said::Done(BranchId(1))]);
    world.behind("ALTER SYSTEM RESET synchronous_standby_names").await;
    world.behind("SELECT pg_reload_conf()").await;
    assert_eq!(world.value("SELECT balance::text FROM account WHERE id = 1").await, "'70'");
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
}

/// A connection that dies between statements leaves nothing, and phase two, whose connections died
/// too, goes on with others.
#[tokio::test]
async fn connections_that_were_ended_are_replaced() {
    let world = World::new(BANK).await;
    let before = world.dump().await;
    let kept = world.context();
    world.run(&kept, &[CHANGE]).await.unwrap();
    let mut tx = world.at.begin_in(&world.context()).await.unwrap();
    sqlx::query("DELETE FROM account WHERE id = 2").execute(&mut *tx).await.unwrap();
    world
        .behind(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
    assert!(tx.commit().await.is_err());
    assert_eq!(world.fake.roll_back(kept.xid()).await, vec![Answer::Done]);
    assert_eq!(world.dump().await, before);
}

#[tokio::test]
async fn a_schema_that_changed_is_noticed_in_both_phases() {
    let world = World::new(&format!("{BANK}; CREATE TABLE other (id bigint PRIMARY KEY)")).await;
    world.undo(&[CHANGE]).await;
    for change in [
        "ALTER TABLE account ADD COLUMN note text DEFAULT 'n'",
        "ALTER TABLE account ALTER COLUMN note TYPE varchar(5)",
        "CREATE UNIQUE INDEX i ON account (note, id)",
        "DROP INDEX i",
        "ALTER TABLE account ADD FOREIGN KEY (id) REFERENCES other NOT VALID",
        "ALTER TABLE account DROP CONSTRAINT account_id_fkey",
        "CREATE TABLE child (id bigint REFERENCES account ON DELETE CASCADE)",
        "DROP TABLE child",
        "ALTER TABLE account ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE account RENAME COLUMN note TO remark",
        "BEGIN; ALTER TABLE account RENAME TO gone; CREATE TABLE account (LIKE gone INCLUDING ALL); \
         INSERT INTO account SELECT * FROM gone; DROP TABLE gone; COMMIT",
    ] {
        world.behind(change).await;
        let context = world.context();
        let error = world.run(&context, &[CHANGE]).await;
        let error = error.map_err(|error| matches!(error, AtError::SchemaChanged(_)));
        assert_eq!(error, Err(true), "{change}");
        assert!(world.fake.registrations(context.xid()).is_empty(), "{change}");
        world.undo(&[CHANGE]).await;
    }
    // What only keeps the database in order is no change.
    for harmless in ["ANALYZE account", "VACUUM account", "CREATE INDEX j ON other (id)"] {
        world.behind(harmless).await;
        world.undo(&[CHANGE]).await;
    }
    for (change, word) in [
        ("ALTER TABLE account ADD COLUMN more int", "more"),
        ("ALTER TABLE account ALTER COLUMN balance TYPE numeric", "has changed"),
        ("ALTER TABLE account RENAME TO accounts", "is gone"),
    ] {
        world
            .behind("CREATE TABLE IF NOT EXISTS account (id bigint PRIMARY KEY, balance bigint)")
            .await;
        world.behind("INSERT INTO account VALUES (1, 9) ON CONFLICT DO NOTHING").await;
        let context = world.context();
        let schema_changed = world.run(&context, &[CHANGE]).await;
        if schema_changed.is_err() {
            world.run(&context, &[CHANGE]).await.unwrap();
        }
        world.behind(change).await;
        let before = world.dump().await;
        let branch = world.fake.registrations(context.xid())[0].branch;
        let task = Task::Rollback { phase_one_done: true };
        let answer = world.fake.work(context.xid(), branch, task).await;
        let Answer::Parked(report) = answer else { panic!("{change}: {answer:?}") };
        assert_eq!(report.reason(), ParkReason::SchemaChanged);
        assert!(report.message.contains(word), "{}", report.message);
        assert_eq!(world.dump().await, before);
        world.fake.release(context.xid(), None);
    }
}

/// The form that runs again does so by itself, also where a statement was prepared for a type that its
/// column no longer has.
#[tokio::test]
async fn plans_are_made_anew_after_a_change_of_the_schema() {
    let world = World::new(BANK).await;
    let statement = "UPDATE account SET balance = balance + 1 WHERE id = 1 RETURNING *, balance";
    for change in [
        "SELECT 1",
        "ALTER TABLE account ALTER COLUMN balance TYPE numeric",
        "ALTER TABLE account ADD COLUMN note text",
        "ALTER TABLE account ALTER COLUMN balance TYPE int",
        "ALTER TABLE account DROP COLUMN note",
    ] {
        world.behind(change).await;
        let context = world.context();
        let done =
            context.clone().scope(async { sqlx::query(statement).fetch_all(&world.at).await });
        let done = done.await.unwrap_or_else(|error| panic!("{change}: {error}"));
        assert_eq!(done.len(), 1, "{change}");
        assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done], "{change}");
        assert_eq!(world.value("SELECT balance::text FROM account WHERE id = 1").await, "'100'");
    }
}
