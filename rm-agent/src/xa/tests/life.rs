//! The life of a branch, on every database that has it.

use std::time::Duration;

use pactum_core::transaction::Resolution;
use pactum_proto::v1::{ErrorCode, ParkReason};
use sqlx::{Executor, IntoArguments};

use super::world::{TAKE, TestDatabase, World};
use crate::branch::{Answer, Task};
use crate::link::fake::Said;
use crate::session::CallError;
use crate::xa::{XaConnection, XaError};

const ROLLBACK: Task = Task::Rollback { phase_one_done: true };
const MAYBE: Task = Task::Rollback { phase_one_done: false };

fn park_reason(answer: &Answer) -> ParkReason {
    let Answer::Parked(report) = answer else { panic!("{answer:?}") };
    report.reason()
}

pub(super) async fn a_branch_is_prepared_then_committed<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let context = world.context();
    let branch = world.prepared(&context).await;
    assert_eq!(world.fake.said(), [Said::Done(branch)]);
    assert_eq!(world.listed().await, 1);
    assert_eq!(world.balance().await, 100, "nobody sees it yet");
    assert!(world.barrier().await.is_empty());
    assert_eq!(world.fake.work(context.xid(), branch, Task::AskPhaseOne).await, Answer::Done);
    // It may arrive again.
    for _ in 0..2 {
        assert_eq!(world.fake.work(context.xid(), branch, Task::Commit).await, Answer::Done);
        assert_eq!((world.balance().await, world.listed().await), (70, 0));
        assert_eq!(world.barrier().await, ["open"]);
    }
}

pub(super) async fn a_branch_is_prepared_then_rolled_back<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    for task in [ROLLBACK, MAYBE] {
        let context = world.context();
        let branch = world.prepared(&context).await;
        for _ in 0..2 {
            assert_eq!(world.fake.work(context.xid(), branch, task).await, Answer::Done);
            assert_eq!((world.balance().await, world.listed().await), (100, 0));
        }
    }
    assert_eq!(world.barrier().await, ["tombstone", "tombstone"]);
}

/// Goal: nothing that somebody else began is prepared with a branch. Method: connections go back to the
/// pool with a transaction open in which money was taken.
pub(super) async fn a_transaction_that_somebody_left_open_is_not_joined<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    world.behind(&format!("BEGIN; {TAKE}")).await;
    // Free ones may be handed out before it: all are taken, and held.
    let mut begun = Vec::new();
    let error = loop {
        match world.xa.begin_in(&world.context()).await {
            Ok(transaction) => begun.push(transaction),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, XaError::LeftOpen), "{error:?}");
    assert!(error.is_retryable());
    for transaction in begun {
        transaction.rollback().await;
    }
    let branch = world.prepared(&world.context()).await;
    assert!(world.fake.said().contains(&Said::Done(branch)));
    assert_eq!((world.balance().await, world.listed().await), (100, 1));
}

pub(super) async fn what_is_not_prepared_leaves_nothing<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let context = world.context();
    let rolled_back = world.begun(&context).await;
    let first = rolled_back.connection.name.key.branch;
    rolled_back.rollback().await;
    let dropped = world.begun(&context).await;
    let second = dropped.connection.name.key.branch;
    drop(dropped);
    assert_eq!(world.fake.said(), [Said::Failed(first), Said::Failed(second)]);
    // The dropped one's connection ends by itself, and its locks with it.
    world.behind(TAKE).await;
    assert_eq!((world.balance().await, world.listed().await), (70, 0));
    assert!(world.barrier().await.is_empty());
}

pub(super) async fn a_branch_that_only_read_needs_no_second_phase<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let context = world.context();
    let mut transaction = world.xa.begin_in(&context).await.unwrap();
    let branch = transaction.connection.name.key.branch;
    world.execute(&mut transaction, "SELECT balance FROM account WHERE id = 1").await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(world.fake.said(), [Said::Failed(branch)], "not a veto: it counts no more");
    assert_eq!(world.listed().await, 0);
    // One that asked for a lock keeps it until the decision.
    let mut transaction = world.xa.begin_in(&context).await.unwrap();
    let lock = "SELECT balance FROM account WHERE id = 1 FOR UPDATE";
    world.execute(&mut transaction, lock).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(world.listed().await, 1);
    assert_eq!(world.fake.commit(context.xid()).await, [Answer::Done]);
}

/// Both ways round: never success, parked, and settled by an operator's word only.
pub(super) async fn what_somebody_finished_by_hand_is_heuristic<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let dialect = world.xa.0.support.prepared.dialect;

    let context = world.context();
    let branch = world.prepared(&context).await;
    world.by_hand(&dialect.roll_back(&world.name(&context, branch))).await;
    for _ in 0..2 {
        let answer = world.fake.work(context.xid(), branch, Task::Commit).await;
        assert_eq!(park_reason(&answer), ParkReason::Heuristic);
    }
    let kept = world.fake.resolve(context.xid(), branch, Task::Commit, Resolution::Keep).await;
    assert_eq!(kept, Answer::Done);
    assert_eq!(world.balance().await, 100);

    let context = world.context();
    let branch = world.prepared(&context).await;
    world.by_hand(&dialect.commit(&world.name(&context, branch))).await;
    for task in [ROLLBACK, MAYBE] {
        let answer = world.fake.work(context.xid(), branch, task).await;
        assert_eq!(park_reason(&answer), ParkReason::Heuristic);
    }
    let kept = world.fake.resolve(context.xid(), branch, ROLLBACK, Resolution::Keep).await;
    assert_eq!(kept, Answer::Done);
    assert_eq!(world.balance().await, 70);

    // By hand, but as it was decided: that is what was asked for.
    let context = world.context();
    let branch = world.prepared(&context).await;
    world.by_hand(&dialect.commit(&world.name(&context, branch))).await;
    assert_eq!(world.fake.work(context.xid(), branch, Task::Commit).await, Answer::Done);
    let context = world.context();
    let branch = world.prepared(&context).await;
    world.by_hand(&dialect.roll_back(&world.name(&context, branch))).await;
    assert_eq!(world.fake.work(context.xid(), branch, ROLLBACK).await, Answer::Done);
}

pub(super) async fn a_late_branch_meets_the_tombstone<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let context = world.context();
    // The next id that the coordinator gives, asked about before its branch begins.
    let branch = pactum_core::id::BranchId(1);
    let answer = world.fake.work(context.xid(), branch, Task::AskPhaseOne).await;
    assert_eq!(answer, Answer::Failed);
    assert_eq!(world.barrier().await, ["tombstone"]);
    let late = world.xa.begin_in(&context).await;
    assert!(matches!(late, Err(XaError::RolledBack)), "{late:?}");
    assert_eq!(world.fake.said(), [Said::Failed(branch)]);
}

/// Its tombstone waits for the branch, and until then the answer is *later*.
pub(super) async fn a_rollback_of_an_open_branch_waits<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let context = world.context();
    let transaction = world.begun(&context).await;
    let branch = transaction.connection.name.key.branch;
    for task in [MAYBE, Task::AskPhaseOne] {
        let answer = world.fake.work(context.xid(), branch, task).await;
        assert!(matches!(answer, Answer::Later { .. }), "{answer:?}");
    }
    transaction.commit().await.unwrap();
    assert_eq!(world.fake.work(context.xid(), branch, MAYBE).await, Answer::Done);
    assert_eq!((world.balance().await, world.listed().await), (100, 0));
}

pub(super) async fn a_wait_for_a_branch_of_its_own_is_named<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let context = world.context();
    let first = world.prepared(&context).await;
    let mut second = world.xa.begin_in(&context).await.unwrap();
    let error = world.execute(&mut second, TAKE).await.unwrap_err();
    let XaError::BlockedByOwnBranch { branch, .. } = error else { panic!("{error:?}") };
    assert_eq!(branch, first);
    second.rollback().await;
    // Another transaction waits for somebody else's.
    let other = world.context();
    let mut third = world.xa.begin_in(&other).await.unwrap();
    let error = world.execute(&mut third, TAKE).await.unwrap_err();
    assert!(matches!(&error, XaError::Database(_)), "{error:?}");
    assert!(error.is_retryable());
    third.rollback().await;
    assert_eq!(world.fake.commit(context.xid()).await, [Answer::Done]);
}

pub(super) async fn what_would_end_the_branch_is_refused<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let context = world.context();
    let mut transaction = world.begun(&context).await;
    for sql in ["COMMIT", "ROLLBACK", "BEGIN", "SELECT 1; COMMIT"] {
        let raw = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *transaction).await;
        let error = XaError::from(raw.map(drop).unwrap_err());
        assert!(matches!(error, XaError::Refused { .. }), "{sql}: {error:?}");
    }
    // The branch goes on as if nothing had been asked.
    for sql in ["SAVEPOINT a", TAKE, "ROLLBACK TO SAVEPOINT a"] {
        world.execute(&mut transaction, sql).await.unwrap();
    }
    transaction.commit().await.unwrap();
    assert_eq!(world.fake.commit(context.xid()).await, [Answer::Done]);
    assert_eq!(world.balance().await, 70);
}

/// The session is gone before the prepare: nothing is prepared, and nothing can be any more.
pub(super) async fn a_session_that_ends_before_the_prepare_prepares_nothing<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let context = world.context();
    let mut transaction = world.begun(&context).await;
    let branch = transaction.connection.name.key.branch;
    let session = DB::sql(&mut transaction.connection.held).query(DB::SESSION, &[]).await.unwrap();
    DB::end_session(&world.pool, session[0][0].as_integer().unwrap()).await;
    let error = transaction.commit().await.unwrap_err();
    assert!(matches!(error, XaError::NotPrepared(_)), "{error:?}");
    assert_eq!(world.fake.said(), [Said::Failed(branch)]);
    assert_eq!(world.barrier().await, ["tombstone"]);
    assert_eq!((world.balance().await, world.listed().await), (100, 0));
}

/// The prepare took place, and its answer was lost with the connection.
pub(super) async fn a_prepare_without_an_answer_is_looked_up<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let context = world.context();
    let mut transaction = world.begun(&context).await;
    let name = transaction.connection.name.clone();
    let text = world.xa.0.support.prepare(&name);
    DB::sql(&mut transaction.connection.held).run(&text).await.unwrap();
    // What is sent now is refused: there is nothing left to prepare.
    transaction.commit().await.unwrap();
    assert_eq!(world.fake.said(), [Said::Done(name.key.branch)]);
    assert_eq!(world.fake.commit(context.xid()).await, [Answer::Done]);
    assert_eq!(world.balance().await, 70);
}

pub(super) async fn a_refused_registration_leaves_nothing<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let context = world.context();
    world.fake.answer_next(CallError::Refused(pactum_proto::v1::Error {
        code: ErrorCode::NotActive.into(),
        ..Default::default()
    }));
    let refused = world.xa.begin_in(&context).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::NotActive));
    assert!(world.fake.said().is_empty());
    world.fake.answer_next(CallError::NoAnswer("lost".into()));
    let unknown = world.xa.begin_in(&context).await.unwrap_err();
    assert!(unknown.is_retryable());
    assert!(matches!(world.fake.said()[..], [Said::Failed(_)]));
    assert!(world.barrier().await.is_empty());
    let late = crate::context::TransactionContext::new(
        context.xid().clone(),
        context.store_id(),
        Duration::ZERO,
    );
    let late = world.xa.begin_in(&late).await;
    assert!(matches!(late, Err(XaError::DeadlinePassed)), "{late:?}");
}
