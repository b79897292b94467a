//! Statements that AT cannot undo, in branches that fall back to XA: declared, or by their first statement.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use pactum_core::transaction::BranchMode;
use pactum_testkit::wait::{wait_for, wait_until};
use sqlx::{AssertSqlSafe, MySql, Row as _};

use super::world::World;
use crate::at::tests::world::{options, take};
use crate::at::{AtError, AtOptions, AtPool, AtTransaction, Fallback};
use crate::branch::{Answer, Environment, Task};
use crate::link::fake::{Fake, Said};

const SCHEMA: &str = "CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL); \
     CREATE TABLE entry (id INT PRIMARY KEY, note VARCHAR(9)); \
     CREATE TABLE loose (id INT PRIMARY KEY) ENGINE = MyISAM; \
     CREATE VIEW rich AS SELECT * FROM account; \
     INSERT INTO account VALUES (1, 100), (2, 20); INSERT INTO entry VALUES (1, 'old')";
const FUNCTION: &str = "CREATE FUNCTION take(n INT) RETURNS INT MODIFIES SQL DATA \
     BEGIN UPDATE account SET balance = balance - n WHERE id = 1; RETURN n; END";
/// Changes two tables, so AT refuses it.
const BOTH: &str = "UPDATE account a JOIN entry e ON e.id = a.id SET a.balance = 0, e.note = 'new'";
const TAKE: &str = "UPDATE account SET balance = balance - 30 WHERE id = 1";
const BALANCE: &str = "SELECT balance FROM account WHERE id = 1";
const BOUND: Duration = Duration::from_secs(20);
const ROLLBACK: Task = Task::Rollback { phase_one_done: false };

fn falling_back(fallback: Fallback) -> AtOptions {
    // A server's prepared transactions are all in one list, so each database needs a mark of its own.
    let environment = Environment { wall: options().environment.wall, ..Environment::real() };
    AtOptions { environment, ..options() }.fallback(fallback)
}

async fn world(fallback: Fallback) -> World {
    let world = World::with(SCHEMA, falling_back(fallback)).await;
    world.behind(FUNCTION).await;
    world
}

/// A world in which every branch is declared.
async fn declared(fallback: Fallback) -> World {
    let mut world = world(fallback).await;
    world.at = world.at.with_fallback().unwrap();
    world
}

async fn listed(world: &World) -> usize {
    world.at.0.xa.as_ref().unwrap().prepared.listed().await.unwrap().len()
}

async fn execute(tx: &mut AtTransaction<MySql>, sql: &str) -> Result<u64, AtError> {
    let done = sqlx::query(AssertSqlSafe(sql)).execute(&mut **tx).await;
    done.map(|done| done.rows_affected()).map_err(take)
}

fn refusal(error: AtError) -> String {
    let AtError::Refused(refused) = error else { panic!("{error:?}") };
    refused.to_string()
}

/// Goal: rows that AT captured and rows that it cannot are undone together, by the database. Method: a
/// tracked change before and after an UPDATE of two tables, in one local transaction that was declared.
#[tokio::test]
async fn a_declared_branch_with_an_untracked_statement_is_prepared() {
    let world = declared(Fallback::Xa).await;
    let before = world.dump().await;
    for commits in [false, true] {
        let context = world.context();
        let run = ["INSERT INTO account VALUES (3, 5)", BOTH, "DELETE FROM account WHERE id = 2"];
        world.run(&context, &run).await.unwrap();
        assert_eq!(world.dump().await, before, "nobody sees it yet");
        assert_eq!(listed(&world).await, 1);
        let branch = world.fake.registrations(context.xid())[0].clone();
        assert_eq!(branch.mode, BranchMode::Xa);
        let locks = world.fake.locks(context.xid()).join(" ");
        assert!(locks.contains("account") && locks.contains("entry"), "{locks}");
        assert_eq!(world.fake.said().last(), Some(&Said::Done(branch.branch)));
        let answers = match commits {
            true => world.fake.commit(context.xid()).await,
            false => world.fake.roll_back(context.xid()).await,
        };
        assert_eq!(answers, [Answer::Done]);
        assert_eq!(listed(&world).await, 0);
        assert_eq!(world.dump().await != before, commits);
    }
    assert_eq!(world.value("SELECT note FROM entry").await, "'new'");
    assert_eq!(world.barrier().await, ["tombstone", "open"]);
}

/// Nothing ran before it, so the local transaction can begin once more.
#[tokio::test]
async fn a_first_statement_falls_back_by_itself() {
    let world = world(Fallback::Xa).await;
    let before = world.dump().await;
    for commits in [false, true] {
        let context = world.context();
        world.run(&context, &[BOTH, "DELETE FROM account WHERE id = 2"]).await.unwrap();
        assert_eq!((world.dump().await, listed(&world).await), (before.clone(), 1));
        assert_eq!(world.fake.registrations(context.xid())[0].mode, BranchMode::Xa);
        let answers = match commits {
            true => world.fake.commit(context.xid()).await,
            false => world.fake.roll_back(context.xid()).await,
        };
        assert_eq!(answers, [Answer::Done]);
        assert_eq!(world.dump().await != before, commits);
    }
    // One that was refused for itself is nothing that ran.
    let context = world.context();
    let mut tx = world.at.begin_in(&context).await.unwrap();
    refusal(execute(&mut tx, "TRUNCATE entry").await.unwrap_err());
    execute(&mut tx, BOTH).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.fake.roll_back(context.xid()).await, [Answer::Done]);
}

#[tokio::test]
async fn a_single_statement_falls_back_too() {
    let world = world(Fallback::XaWithoutLocks).await;
    for (sql, balance) in [(BOTH, "0"), ("SELECT take(30)", "-30"), ("DO take(5)", "-35")] {
        let context = world.context();
        let run = async { sqlx::query(sql).execute(&world.at).await.map_err(take) };
        context.clone().scope(run).await.unwrap();
        assert_eq!(listed(&world).await, 1, "{sql}");
        assert_eq!(world.fake.commit(context.xid()).await, [Answer::Done]);
        assert_eq!(world.value(BALANCE).await, balance, "{sql}");
    }
}

/// What ran before it is not in a branch that could be prepared; the message says how it would be.
#[tokio::test]
async fn in_the_middle_it_is_refused_with_the_way_out() {
    let world = world(Fallback::Xa).await;
    let before = world.dump().await;
    for first in [TAKE, BALANCE, "bypass", "savepoint", "locks"] {
        let context = world.context();
        let mut tx = world.at.begin_in(&context).await.unwrap();
        match first {
            "bypass" => drop(sqlx::query(TAKE).execute(tx.bypass()).await.unwrap()),
            "savepoint" => drop(tx.set_mark().await.unwrap()),
            "locks" => drop(tx.lock_rows(sqlx::query(BALANCE)).await.unwrap()),
            sql => drop(execute(&mut tx, sql).await.unwrap()),
        }
        let refused = refusal(execute(&mut tx, BOTH).await.unwrap_err());
        assert!(refused.contains("`AtPool::with_fallback()`"), "{first}: {refused}");
        // It is as AT left it.
        execute(&mut tx, "DELETE FROM entry").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(world.fake.registrations(context.xid())[0].mode, BranchMode::At);
        assert_eq!(world.fake.roll_back(context.xid()).await, [Answer::Done], "{first}");
        if first == "bypass" {
            world.behind("UPDATE account SET balance = balance + 30 WHERE id = 1").await;
        }
        assert_eq!(world.dump().await, before, "{first}");
    }
    let undeclared = World::new(SCHEMA).await;
    let refused = refusal(undeclared.at.with_fallback().unwrap_err());
    assert!(refused.contains("AtOptions::fallback"), "{refused}");
}

#[tokio::test]
async fn the_tables_it_names_are_locked_for_everybody_else() {
    let world = world(Fallback::Xa).await;
    let holder = world.context();
    world.run(&holder, &["INSERT INTO entry VALUES (9, 'x')"]).await.unwrap();
    let context = world.context();
    let error = world.run(&context, &[BOTH]).await.unwrap_err();
    assert!(matches!(error, AtError::LockConflict { .. }), "{error:?}");
    assert_eq!(listed(&world).await, 0);
    assert_eq!(world.fake.roll_back(holder.xid()).await, [Answer::Done]);
    world.run(&context, &[BOTH]).await.unwrap();
    assert_eq!(world.fake.commit(context.xid()).await, [Answer::Done]);
}

#[tokio::test]
async fn what_names_no_table_is_refused_unless_that_is_allowed_by_name() {
    let unnamed = ["SELECT take(30)", "DO take(30)"];
    let strict = world(Fallback::Xa).await;
    for sql in unnamed {
        let refused = refusal(strict.run(&strict.context(), &[sql]).await.unwrap_err());
        assert!(refused.contains("Fallback::XaWithoutLocks"), "{sql}: {refused}");
    }
    let lenient = world(Fallback::XaWithoutLocks).await;
    for sql in unnamed {
        let context = lenient.context();
        lenient.run(&context, &[sql]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(listed(&lenient).await, 1);
        assert_eq!(lenient.fake.roll_back(context.xid()).await, [Answer::Done], "{sql}");
    }
    assert_eq!(lenient.value(BALANCE).await, "100");
}

#[tokio::test]
async fn what_could_not_be_locked_or_undone_stays_refused() {
    let world = declared(Fallback::XaWithoutLocks).await;
    let other = World::new("CREATE TABLE far (id INT PRIMARY KEY, balance INT)").await;
    let database = other.query("SELECT database()").await[0][0].as_text().unwrap().to_owned();
    let far = format!(
        "UPDATE account a JOIN `{database}`.far f USING (id) SET a.balance = 0, f.balance = 0"
    );
    for (sql, why) in [
        ("UPDATE rich SET balance = 0", "no plain table"),
        ("INSERT INTO loose SELECT id FROM account", "engine MyISAM"),
        (&far, "another database"),
    ] {
        let Err(error) = world.run(&world.context(), &[sql]).await else { panic!("{sql}") };
        let refused = refusal(error);
        assert!(refused.contains(why), "{sql}: {refused}");
    }
}

#[tokio::test]
async fn what_ends_the_transaction_or_belongs_to_none_stays_refused() {
    let world = declared(Fallback::XaWithoutLocks).await;
    let controls =
        ["COMMIT", "XA END 'x'", "DELETE FROM entry; COMMIT", "DROP TABLE entry", "TRUNCATE entry"];
    for sql in controls {
        let context = world.context();
        refusal(world.run(&context, &[sql]).await.unwrap_err());
    }
    // Outside of a global transaction there is nobody to decide.
    let mut guarded = world.at.begin().await.unwrap();
    refusal(execute(&mut guarded, BOTH).await.unwrap_err());
    execute(&mut guarded, TAKE).await.unwrap();
    guarded.commit().await.unwrap();
    assert_eq!(world.value(BALANCE).await, "70");
}

/// Declared, it is XA whatever runs in it; where nothing was changed there is no branch, and its
/// connection goes back as it was.
#[tokio::test]
async fn a_declared_branch_is_xa_if_it_changed_anything() {
    let world = declared(Fallback::Xa).await;
    let as_it_was = "SELECT @@GLOBAL.innodb_lock_wait_timeout = @@SESSION.innodb_lock_wait_timeout";
    for round in 0..7 {
        let context = world.context();
        world.run(&context, &[BALANCE, "DELETE FROM entry WHERE id = 7"]).await.unwrap();
        assert!(world.fake.registrations(context.xid()).is_empty());
        // Less than the session's own lock wait, so that it is set.
        let context = world.context_for(Duration::from_secs(20));
        let mut tx = world.at.begin_in(&context).await.unwrap();
        let lock_wait = sqlx::query("SELECT @@SESSION.innodb_lock_wait_timeout");
        let lock_wait: u64 = lock_wait.fetch_one(&mut *tx).await.unwrap().get(0);
        assert!(lock_wait <= 20);
        match round % 2 {
            0 => tx.rollback().await.unwrap(),
            _ => tx.commit().await.unwrap(),
        }
        let mut connections = Vec::new();
        for _ in 0..5 {
            let mut connection = world.pool.acquire().await.unwrap();
            let row = sqlx::query(as_it_was).fetch_one(&mut *connection).await.unwrap();
            assert_eq!(row.get::<i64, _>(0), 1);
            connections.push(connection);
        }
    }
    for _ in 0..7 {
        let context = world.context();
        world.run(&context, &[TAKE]).await.unwrap();
        assert_eq!(world.fake.registrations(context.xid())[0].mode, BranchMode::Xa);
        assert_eq!(world.fake.roll_back(context.xid()).await, [Answer::Done]);
    }
    assert_eq!(world.value(BALANCE).await, "100");
}

/// A statement that fails is undone by the database; what it named stays locked, and the branch goes on.
#[tokio::test]
async fn a_statement_that_fails_is_none_of_the_branch() {
    let world = declared(Fallback::Xa).await;
    let context = world.context();
    let mut tx = world.at.begin_in(&context).await.unwrap();
    let broken = "UPDATE account a JOIN entry e USING (id) SET a.balance = NULL, e.note = 'new'";
    assert!(execute(&mut tx, broken).await.is_err());
    let mut savepoint = tx.savepoint().await.unwrap();
    sqlx::query(BOTH).execute(&mut *savepoint).await.unwrap();
    savepoint.rollback().await.unwrap();
    execute(&mut tx, TAKE).await.unwrap();
    tx.commit().await.unwrap();
    let locks = world.fake.locks(context.xid()).join(" ");
    assert!(locks.contains("entry"), "{locks}");
    assert_eq!(world.fake.commit(context.xid()).await, [Answer::Done]);
    assert_eq!(world.value(BALANCE).await, "70");
    assert_eq!(world.value("SELECT note FROM entry").await, "'old'");
}

#[tokio::test]
async fn a_branch_that_is_dropped_leaves_nothing() {
    let world = declared(Fallback::Xa).await;
    let context = world.context();
    let mut tx = world.at.begin_in(&context).await.unwrap();
    execute(&mut tx, BOTH).await.unwrap();
    drop(tx);
    assert!(world.fake.said().is_empty(), "it was never registered");
    // Its connection ends by itself, and its locks with it.
    world.behind(TAKE).await;
    assert_eq!((world.value(BALANCE).await.as_str(), listed(&world).await), ("70", 0));
    assert_eq!(world.value("SELECT note FROM entry").await, "'old'");
}

/// Goal: whatever await the begin, the statement or the commit is dropped at, the branch is prepared or
/// not, the coordinator learns which, and nothing stays behind.
#[tokio::test]
async fn a_branch_may_be_dropped_at_any_await() {
    let world = world(Fallback::Xa).await;
    let before = world.dump().await;
    for times in 0_u32.. {
        let context = world.context();
        let done = {
            let mut whole = pin!(world.run(&context, &[BOTH]));
            let mut left = times;
            let polled = std::future::poll_fn(|cx| {
                if left == 0 {
                    return Poll::Ready(None);
                }
                left -= 1;
                whole.as_mut().poll(cx).map(Some)
            });
            polled.await
        };
        for branch in world.fake.registrations(context.xid()) {
            let answer = wait_for("its rollback", BOUND, async || {
                let answer = world.fake.work(context.xid(), branch.branch, ROLLBACK).await;
                (!matches!(answer, Answer::Later { .. })).then_some(answer)
            });
            assert_eq!(answer.await.unwrap(), Answer::Done, "{times}");
        }
        world.fake.release(context.xid(), None);
        // Waits until nobody holds the rows.
        world.behind("UPDATE account SET balance = balance").await;
        assert_eq!((world.dump().await, listed(&world).await), (before.clone(), 0), "{times}");
        if let Some(done) = done {
            return done.unwrap();
        }
    }
}

/// Goal: a session that dies between its barrier row and its prepare has prepared nothing, and nothing
/// can be any more. Method: the registration waits for a lock while the row is there to be seen.
#[tokio::test]
async fn a_session_that_ends_at_the_prepare_prepares_nothing() {
    let patient = falling_back(Fallback::Xa).lock_wait_max(BOUND);
    let world = World::with(SCHEMA, patient).await;
    let holder = world.context();
    world.run(&holder, &["INSERT INTO entry VALUES (9, 'x')"]).await.unwrap();
    let before = world.dump().await;
    let context = world.context();
    let mut tx = world.at.begin_in(&context).await.unwrap();
    execute(&mut tx, BOTH).await.unwrap();
    let session = sqlx::query("SELECT connection_id()").fetch_one(&mut *tx).await.unwrap();
    let session: u64 = session.get(0);
    let kill = async || {
        let seen = format!(
            "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED; \
             SELECT count(*) FROM pactum_barrier WHERE xid = '{}'",
            context.xid()
        );
        let is_written = async || {
            let mut connection = world.pool.acquire().await.unwrap();
            let rows = sqlx::raw_sql(AssertSqlSafe(seen.clone())).fetch_all(&mut *connection).await;
            rows.unwrap()[0].get::<i64, _>(0) == 1
        };
        wait_until("the row is written", BOUND, is_written).await.unwrap();
        world.behind(&format!("KILL {session}")).await;
        world.fake.release(holder.xid(), None);
    };
    let (committed, ()) = tokio::join!(tx.commit(), kill());
    let error = committed.unwrap_err();
    assert!(matches!(error, AtError::LocalCommit(_)), "{error:?}");
    let said = world.fake.said();
    assert!(matches!(said.last(), Some(Said::Failed(_))), "{said:?}");
    assert_eq!(
        world.value("SELECT state FROM pactum_barrier WHERE mode = 'xa'").await,
        "'tombstone'"
    );
    assert_eq!((world.dump().await, listed(&world).await), (before, 0));
}

/// The instance that prepared it is gone; another one finishes it, and may ask how it ended.
#[tokio::test]
async fn another_instance_does_the_second_phase() {
    let world = declared(Fallback::Xa).await;
    let other = Arc::new(Fake::default());
    let attached = AtPool::attach_over(
        other.clone(),
        "bank-a".parse().unwrap(),
        world.pool.clone(),
        falling_back(Fallback::Xa),
    );
    let _there = attached.await.unwrap();
    let participant = other.participant(BranchMode::Xa);
    for (task, balance) in [(ROLLBACK, "100"), (Task::Commit, "0")] {
        let context = world.context();
        world.run(&context, &[BOTH]).await.unwrap();
        let branch = world.fake.registrations(context.xid())[0].branch;
        let asked = world.fake.task(context.xid(), branch, Task::AskPhaseOne);
        assert_eq!(participant.settle(asked).await, Answer::Done);
        for _ in 0..2 {
            let work = world.fake.task(context.xid(), branch, task);
            let answer = match task {
                Task::Commit => participant.commit(vec![work]).await.remove(0).1,
                Task::Rollback { .. } | Task::AskPhaseOne | Task::CanCommit | Task::Act => {
                    participant.settle(work).await
                }
            };
            assert_eq!(answer, Answer::Done);
        }
        world.fake.release(context.xid(), None);
        assert_eq!(world.value(BALANCE).await, balance);
    }
}

/// A late branch meets the tombstone: its barrier row comes before its prepare.
#[tokio::test]
async fn a_branch_that_was_rolled_back_before_is_not_prepared() {
    let world = declared(Fallback::Xa).await;
    let context = world.context();
    let mut tx = world.at.begin_in(&context).await.unwrap();
    execute(&mut tx, BOTH).await.unwrap();
    let name = tx.connection.local.branch().unwrap().clone();
    let mut work = world.fake.task(context.xid(), name.key.branch, ROLLBACK);
    work.mode = BranchMode::Xa;
    let participant = world.fake.participant(BranchMode::Xa);
    assert_eq!(participant.settle(work).await, Answer::Done);
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, AtError::RolledBack), "{error:?}");
    assert_eq!((world.value(BALANCE).await.as_str(), listed(&world).await), ("100", 0));
}

/// Nobody else's work becomes a part of the branch.
#[tokio::test]
async fn a_connection_inside_a_transaction_begins_no_branch() {
    let world = declared(Fallback::Xa).await;
    world.everywhere(&format!("START TRANSACTION; {BALANCE}")).await;
    let are_back = async || world.pool.num_idle() == 5;
    wait_until("all connections are back", BOUND, are_back).await.unwrap();
    let mut refused = 0;
    for _ in 0..10 {
        match world.at.begin_in(&world.context()).await {
            Ok(tx) => tx.rollback().await.unwrap(),
            Err(AtError::LeftOpen) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 5);
}
