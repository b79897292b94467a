//! Branches that are left open for their manager, on every database.

use std::time::Duration;

use pactum_core::id::BranchId;
use sqlx::{Executor, IntoArguments};

use super::world::{TAKE, TestDatabase, World};
use crate::branch::{Answer, Task};
use crate::context::{Delegatable, OnePhaseEnd, TransactionContext};
use crate::link::fake::Said;
use crate::xa::{XaConnection, XaError};

impl<DB: TestDatabase> World<DB>
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    /// A transaction that this process began.
    fn managed(&self) -> TransactionContext {
        let context = self.context();
        let (xid, store) = (context.xid().clone(), context.store_id());
        TransactionContext::managed(xid, store, Duration::from_secs(60))
    }

    /// A branch that has taken money, left open, with its session.
    async fn left_open(&self, context: &TransactionContext) -> (BranchId, i64) {
        let mut transaction = self.begun(context).await;
        let branch = transaction.connection.name.key.branch;
        let held = &mut transaction.connection.held;
        let session = DB::sql(held).query(DB::SESSION, &[]).await.unwrap();
        transaction.commit().await.unwrap();
        (branch, session[0][0].as_integer().unwrap())
    }

    /// Nothing is reported, prepared, or to be seen.
    async fn nothing_happened(&self) {
        assert_eq!(self.fake.said(), []);
        assert_eq!((self.balance().await, self.listed().await), (100, 0));
    }
}

/// The only one.
fn taken(context: &TransactionContext) -> Delegatable {
    let mut open = context.take_delegatable();
    assert_eq!(open.len(), 1);
    open.pop().unwrap()
}

pub(super) async fn a_branch_left_open_commits_without_being_prepared<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let context = world.managed();
    let (branch, _) = world.left_open(&context).await;
    world.nothing_happened().await;
    let answer = world.fake.work(context.xid(), branch, Task::AskPhaseOne).await;
    assert!(matches!(answer, Answer::Later { .. }), "{answer:?}");
    let open = taken(&context);
    assert_eq!(open.branch, branch);
    assert_eq!(open.executor.commit_one_phase().await, OnePhaseEnd::Committed);
    assert_eq!(world.fake.said(), [Said::Done(branch)]);
    assert_eq!((world.balance().await, world.listed().await), (70, 0));
    assert_eq!(world.barrier().await, ["open"]);
    let answer = world.fake.work(context.xid(), branch, Task::AskPhaseOne).await;
    assert_eq!(answer, Answer::Done, "it is committed");
}

pub(super) async fn a_branch_left_open_is_prepared_or_rolled_back<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let context = world.managed();
    let (first, _) = world.left_open(&context).await;
    taken(&context).executor.roll_back().await;
    assert_eq!(world.fake.said(), [Said::Failed(first)]);
    assert_eq!((world.balance().await, world.listed().await), (100, 0));

    let context = world.managed();
    let (second, _) = world.left_open(&context).await;
    taken(&context).executor.prepare().await.unwrap();
    assert_eq!(world.fake.said()[1..], [Said::Done(second)]);
    assert_eq!((world.balance().await, world.listed().await), (100, 1));
    let answer = world.fake.work(context.xid(), second, Task::Commit).await;
    assert_eq!((answer, world.balance().await), (Answer::Done, 70));
}

/// The session is gone before the commit: it never took place, and never will.
pub(super) async fn a_session_that_ends_before_the_commit_commits_nothing<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let context = world.managed();
    let (branch, session) = world.left_open(&context).await;
    DB::end_session(&world.pool, session).await;
    let end = taken(&context).executor.commit_one_phase().await;
    assert!(matches!(end, OnePhaseEnd::RolledBack(_)), "{end:?}");
    assert_eq!(world.fake.said(), [Said::Failed(branch)]);
    assert_eq!(world.barrier().await, ["tombstone"]);
    assert_eq!(world.balance().await, 100);
}

/// The commit took place, and its answer was lost with the connection.
pub(super) async fn a_commit_without_an_answer_is_looked_up<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let context = world.managed();
    let mut transaction = world.begun(&context).await;
    let name = transaction.connection.name.clone();
    let text = world.xa.0.support.commit_one_phase(&name);
    DB::sql(&mut transaction.connection.held).run(&text).await.unwrap();
    transaction.commit().await.unwrap();
    // What is sent now is refused: there is nothing left to commit.
    assert_eq!(taken(&context).executor.commit_one_phase().await, OnePhaseEnd::Committed);
    assert_eq!(world.fake.said(), [Said::Done(name.key.branch)]);
    assert_eq!(world.balance().await, 70);
}

/// Goal: what is left open can be no trap. It is the first branch only, never one of a transaction
/// that is being ended, and never of more than half of the pool; and who waits for it hears so.
pub(super) async fn only_the_first_branch_is_left_open_and_never_too_many<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let give = async |context: &TransactionContext, account: u32| {
        let mut transaction = world.xa.begin_in(context).await.unwrap();
        let sql = format!("UPDATE account SET balance = balance + 1 WHERE id = {account}");
        world.execute(&mut transaction, &sql).await.unwrap();
        transaction.commit().await.unwrap();
    };
    let context = world.managed();
    let (first, _) = world.left_open(&context).await;
    let mut blocked = world.xa.begin_in(&context).await.unwrap();
    let error = world.execute(&mut blocked, TAKE).await.unwrap_err();
    assert!(matches!(error, XaError::BlockedByOwnBranch { branch, .. } if branch == first));
    blocked.rollback().await;
    give(&context, 2).await;
    assert_eq!(world.listed().await, 1, "the second one is prepared");

    let ended = world.managed();
    assert!(ended.take_delegatable().is_empty());
    world.behind("INSERT INTO account VALUES (3, 0), (4, 0), (5, 0)").await;
    give(&ended, 3).await;
    assert_eq!(world.listed().await, 2);

    // Two of five connections may be kept.
    let (second, third) = (world.managed(), world.managed());
    give(&second, 4).await;
    assert_eq!(world.listed().await, 2);
    give(&third, 5).await;
    assert_eq!(world.listed().await, 3);
    taken(&second).executor.roll_back().await;
    taken(&context).executor.roll_back().await;
    assert!(third.take_delegatable().is_empty());
}
