//! What an application or another session does to a branch at the wrong moment.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pactum_testkit::wait::wait_for;
use sqlx::{Executor, IntoArguments};

use super::world::{TAKE, TestDatabase, World};
use crate::branch::{Answer, Task};
use crate::link::fake::Said;
use crate::xa::{XaConnection, XaError};

const BOUND: Duration = Duration::from_secs(10);
const ROLLBACK: Task = Task::Rollback { phase_one_done: true };

/// Goal: nobody else's work becomes a part of the branch. Method: every connection of the pool has an
/// open transaction that the application forgot.
pub(super) async fn a_connection_inside_a_transaction_begins_no_branch<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    for work in ["SELECT balance FROM account", "UPDATE account SET balance = 999 WHERE id = 2"] {
        let world = World::<DB>::new().await;
        let mut connections = Vec::new();
        for _ in 0..5 {
            connections.push(world.pool.acquire().await.unwrap());
        }
        for connection in &mut connections {
            DB::sql(connection).run("BEGIN").await.unwrap();
        }
        DB::sql(&mut connections[0]).run(work).await.unwrap();
        for connection in &mut connections[1..] {
            DB::sql(connection).run("SELECT balance FROM account").await.unwrap();
        }
        drop(connections);
        let mut refused = 0;
        for _ in 0..10 {
            let context = world.context();
            match world.xa.begin_in(&context).await {
                Ok(transaction) => transaction.rollback().await,
                Err(XaError::LeftOpen) => refused += 1,
                Err(other) => panic!("{work}: {other:?}"),
            }
            assert!(matches!(world.fake.said().last(), Some(Said::Failed(_))));
        }
        assert_eq!(refused, 5, "{work}");
        // Each was closed, and its forgotten transaction with it.
        let context = world.context();
        world.prepared(&context).await;
        assert_eq!(world.fake.commit(context.xid()).await, [Answer::Done]);
        assert_eq!(world.balance().await, 70);
        let other = world.query("SELECT balance FROM account WHERE id = 2").await;
        assert_eq!(other[0][0].as_integer(), Some(20));
    }
}

/// The same decision from several agents at once, and the janitor's, are one.
pub(super) async fn a_decision_done_by_several_at_once_is_done_once<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let mut left = 100;
    for round in 0..30 {
        let context = world.context();
        let branch = world.prepared(&context).await;
        let task = if round % 2 == 0 { Task::Commit } else { ROLLBACK };
        let tell = |task| world.fake.work(context.xid(), branch, task);
        let (a, b, c, d, asked) =
            tokio::join!(tell(task), tell(task), tell(task), tell(task), tell(Task::AskPhaseOne));
        for answer in [a, b, c, d] {
            assert!(matches!(answer, Answer::Done | Answer::Later { .. }), "{task:?}: {answer:?}");
        }
        assert!(!matches!(asked, Answer::Parked(_)), "{asked:?}");
        assert_eq!(world.fake.work(context.xid(), branch, task).await, Answer::Done);
        left -= if task == Task::Commit { 30 } else { 0 };
        assert_eq!((world.balance().await, world.listed().await), (left, 0));
    }
}

/// Polls `future` so many times, and drops it. Whether it ended.
async fn dropped_after<F: Future>(polls: usize, future: F) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(move |context: &mut Context<'_>| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending => {
                if left == 0 {
                    return Poll::Ready(false);
                }
                Poll::Pending
            }
        }
    })
    .await
}

/// Goal: whatever await the commit is dropped at, the branch is prepared or not, the coordinator learns
/// which, and nothing stays behind.
pub(super) async fn a_commit_that_is_dropped_anywhere_can_be_finished<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    for polls in 0..12 {
        let context = world.context();
        let transaction = world.begun(&context).await;
        let branch = transaction.connection.name.key.branch;
        let ended = dropped_after(polls, transaction.commit()).await;
        let asked = wait_for("the end of its phase one", BOUND, async || {
            let answer = world.fake.work(context.xid(), branch, Task::AskPhaseOne).await;
            assert!(!matches!(answer, Answer::Parked(_)), "{polls}: {answer:?}");
            matches!(answer, Answer::Done | Answer::Failed).then_some(answer)
        });
        let asked = asked.await.unwrap();
        assert!(!ended || asked == Answer::Done, "{polls}");
        if world.fake.said().contains(&Said::Failed(branch)) {
            assert_eq!(asked, Answer::Failed, "{polls}: it said that nothing is prepared");
        }
        assert_eq!(world.listed().await, usize::from(asked == Answer::Done), "{polls}");
        assert_eq!(world.fake.work(context.xid(), branch, ROLLBACK).await, Answer::Done);
        assert_eq!((world.balance().await, world.listed().await), (100, 0), "{polls}");
    }
    world.behind(TAKE).await;
}
