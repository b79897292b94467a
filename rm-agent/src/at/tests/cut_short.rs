//! Futures that are dropped at any of their awaits. The servers' tests call this for each of them.

use std::pin::pin;
use std::task::Poll;

use sqlx::{AssertSqlSafe, Executor, IntoArguments};

use super::world::{TestDatabase, WorldOn};
use crate::at::connection::AtConnection;
use crate::branch::{Answer, Task};

const SCHEMA: &str = "CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE, x INT); \
     INSERT INTO t VALUES (1, 1, 0), (2, 2, 0), (3, 3, 0)";

/// Runs a future until it was woken so often; `None` if it was not done by then.
async fn polled<F: Future>(future: F, mut times: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(move |context| {
        if times == 0 {
            return Poll::Ready(None);
        }
        times -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// Goal: a change that was dropped on the way is undone with its savepoint, or fails the local commit;
/// what is committed is undone exactly. Method: one await further each time, until nothing is dropped.
pub(super) async fn a_change_may_be_dropped_at_any_await<DB: TestDatabase>(statements: &[&str])
where
    for<'c> &'c mut AtConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = WorldOn::<DB>::new(SCHEMA).await;
    let before = world.dump().await;
    for statement in statements {
        for in_savepoint in [false, true] {
            for times in 0_u32.. {
                let context = world.context();
                let mut tx = world.at.begin_in(&context).await.unwrap();
                let query = sqlx::query(AssertSqlSafe(*statement));
                let done = if in_savepoint {
                    let mut savepoint = tx.savepoint().await.unwrap();
                    polled(query.execute(&mut *savepoint), times).await
                } else {
                    polled(query.execute(&mut *tx), times).await
                };
                let case = format!("{statement}, {times}, in a savepoint: {in_savepoint}");
                let other = sqlx::query("UPDATE t SET x = x + 100 WHERE id = 2");
                let goes_on = other.execute(&mut *tx).await.is_ok();
                let may_be_over = done.is_none() && (!in_savepoint || !DB::SURVIVES_DROPS);
                assert!(goes_on || may_be_over, "{case}");
                let is_committed = tx.commit().await.is_ok();
                assert_eq!(is_committed, goes_on, "{case}");
                if is_committed {
                    assert_ne!(world.dump().await, before, "{case}");
                    assert_eq!(world.fake.roll_back(context.xid()).await, [Answer::Done], "{case}");
                }
                assert_eq!(world.dump().await, before, "{case}");
                assert!(world.fake.registrations(context.xid()).is_empty(), "{case}");
                if done.is_some() {
                    break;
                }
            }
        }
    }
}

/// Goal: a local commit that was dropped on the way took place or did not, is told as failed only if
/// it did not, and leaves no open transaction. Method: as above.
pub(super) async fn a_commit_may_be_dropped_at_any_await<DB: TestDatabase>()
where
    for<'c> &'c mut AtConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = WorldOn::<DB>::new(SCHEMA).await;
    let before = world.dump().await;
    for times in 0_u32.. {
        let context = world.context();
        let mut tx = world.at.begin_in(&context).await.unwrap();
        let update = sqlx::query("UPDATE t SET x = x + 1, u = u + 10 WHERE id <> 2");
        update.execute(&mut *tx).await.unwrap();
        let done = polled(tx.commit(), times).await;
        // Waits until nobody holds the rows.
        world.behind("UPDATE t SET x = x WHERE id > 0").await;
        let is_there = world.dump().await != before;
        let registered = world.fake.registrations(context.xid());
        assert!(!is_there || !registered.is_empty(), "{times}: nobody would undo it");
        for branch in registered {
            let task = Task::Rollback { phase_one_done: false };
            let answer = world.fake.work(context.xid(), branch.branch, task).await;
            assert_eq!(answer, Answer::Done, "{times}");
        }
        world.fake.release(context.xid(), None);
        assert_eq!(world.dump().await, before, "{times}");
        if done.is_some() {
            break;
        }
    }
}

/// Goal: what else was dropped on the way (a read, a savepoint, a begin) leaves no connection on which
/// another statement gets its answer. Method: as above; each statement has its own count of rows.
pub(super) async fn a_read_may_be_dropped_at_any_await<DB: TestDatabase>()
where
    for<'c> &'c mut AtConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    const ONE: &str = "SELECT id FROM t WHERE id <= 1";
    const TWO: &str = "SELECT id FROM t WHERE id <= 2";
    let world = WorldOn::<DB>::new(SCHEMA).await;
    for times in 0_u32.. {
        let context = world.context();
        let whole = async {
            sqlx::query(ONE).fetch_all(&world.at).await.unwrap();
            let mut tx = world.at.begin_in(&context).await.unwrap();
            sqlx::query(ONE).fetch_all(&mut *tx).await.unwrap();
            tx.rollback().await.unwrap();
        };
        let whole = polled(whole, times).await;
        assert_eq!(sqlx::query(TWO).fetch_all(&world.at).await.unwrap().len(), 2, "{times}");

        let mut tx = world.at.begin_in(&context).await.unwrap();
        let inside = async {
            let mut savepoint = tx.savepoint().await.unwrap();
            sqlx::query(ONE).fetch_all(&mut *savepoint).await.unwrap();
            savepoint.rollback().await.unwrap();
        };
        let inside = polled(inside, times).await;
        let next = sqlx::query(TWO).fetch_all(&mut *tx).await;
        match &next {
            Ok(rows) => assert_eq!(rows.len(), 2, "{times}"),
            Err(error) => assert!(inside.is_none() && !DB::SURVIVES_DROPS, "{times}: {error}"),
        }
        assert_eq!(tx.rollback().await.is_ok(), next.is_ok(), "{times}");
        if whole.is_some() && inside.is_some() {
            break;
        }
    }
}
