//! What the janitor finishes, and what it never touches.

use pactum_core::step::Outcome;
use pactum_core::transaction::{RollbackCause, Status};
use pactum_proto::v1::ErrorCode;
use sqlx::{Executor, IntoArguments};

use super::world::{TestDatabase, World};
use crate::context::TransactionContext;
use crate::session::CallError;
use crate::xa::XaConnection;
use crate::xa::janitor::Tidied;

fn says<DB: TestDatabase>(world: &World<DB>, context: &TransactionContext, status: Status) {
    world.fake.say(context.xid(), Ok(Outcome { status, parked: 0 }));
}

/// `foreign` prepares a transaction that is none of ours, and `finish_foreign` commits it.
pub(super) async fn only_what_is_ours_and_decided_is_finished<DB: TestDatabase>(
    foreign: &str,
    finish_foreign: &str,
) where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let mut session = world.pool.acquire().await.unwrap();
    DB::sql(&mut session).run(foreign).await.unwrap();
    session.close().await.unwrap();

    let context = world.context();
    world.prepared(&context).await;
    let mut janitor = world.xa.janitor();
    // The first time nobody is asked: phase two is on its way.
    let first = janitor.round().await.unwrap();
    assert_eq!(first, Tidied { listed: 1, ..Tidied::default() });
    assert!(world.fake.asked_about().is_empty());

    says(&world, &context, Status::Active);
    assert_eq!(janitor.round().await.unwrap().finished, 0);
    for lost in [ErrorCode::UnknownTransaction, ErrorCode::Foreign, ErrorCode::Expired] {
        let error = pactum_proto::v1::Error { code: lost.into(), ..Default::default() };
        world.fake.say(context.xid(), Err(CallError::Refused(error)));
        let round = janitor.round().await.unwrap();
        assert_eq!((round.finished, round.told, round.listed), (0, 1, 1), "{lost:?}");
    }
    says(&world, &context, Status::RolledBack(RollbackCause::Unrecorded));
    assert_eq!(janitor.round().await.unwrap().told, 1);
    world.fake.say(context.xid(), Err(CallError::NoAnswer("away".into())));
    assert!(janitor.round().await.is_err());
    assert_eq!((world.listed().await, world.balance().await), (1, 100));

    says(&world, &context, Status::Committing);
    assert_eq!(janitor.round().await.unwrap().finished, 1);
    assert_eq!((world.listed().await, world.balance().await), (0, 70));

    let context = world.context();
    world.prepared(&context).await;
    says(&world, &context, Status::RolledBack(RollbackCause::Requested));
    janitor.round().await.unwrap();
    assert_eq!(janitor.round().await.unwrap().finished, 1);
    assert_eq!((world.listed().await, world.balance().await), (0, 70));

    // Still there, and only its owner finishes it.
    world.behind(finish_foreign).await;
}

pub(super) async fn rows_go_when_their_transaction_has_ended<DB: TestDatabase>()
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = World::<DB>::new().await;
    let context = world.context();
    world.prepared(&context).await;
    world.fake.commit(context.xid()).await;
    let mut janitor = world.xa.janitor();
    says(&world, &context, Status::Committed);
    assert_eq!(janitor.round().await.unwrap().deleted, 0, "it is not old enough");
    world.behind("UPDATE pactum_barrier SET changed_at = 1").await;
    says(&world, &context, Status::Committing);
    assert_eq!(janitor.round().await.unwrap().deleted, 0, "phase two may come again");
    says(&world, &context, Status::Committed);
    assert_eq!(janitor.round().await.unwrap().deleted, 1);
    assert!(world.barrier().await.is_empty());
}
