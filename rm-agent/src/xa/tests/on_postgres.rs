//! XA on a real PostgreSQL server.

use sqlx::Postgres;

use super::world::{TAKE, World};
use crate::context::{OnePhaseEnd, TransactionContext};
use crate::link::fake::Said;
use crate::xa::XaError;

super::on!(life, Postgres:
    a_branch_is_prepared_then_committed,
    a_branch_is_prepared_then_rolled_back,
    what_is_not_prepared_leaves_nothing,
    a_transaction_that_somebody_left_open_is_not_joined,
    a_branch_that_only_read_needs_no_second_phase,
    what_somebody_finished_by_hand_is_heuristic,
    a_late_branch_meets_the_tombstone,
    a_rollback_of_an_open_branch_waits,
    a_wait_for_a_branch_of_its_own_is_named,
    what_would_end_the_branch_is_refused,
    a_session_that_ends_before_the_prepare_prepares_nothing,
    a_prepare_without_an_answer_is_looked_up,
    a_refused_registration_leaves_nothing,
);

super::on!(one_phase, Postgres:
    a_branch_left_open_commits_without_being_prepared,
    a_branch_left_open_is_prepared_or_rolled_back,
    a_session_that_ends_before_the_commit_commits_nothing,
    a_commit_without_an_answer_is_looked_up,
    only_the_first_branch_is_left_open_and_never_too_many,
);

#[tokio::test]
async fn only_what_is_ours_and_decided_is_finished() {
    super::tidying::only_what_is_ours_and_decided_is_finished::<Postgres>(
        "BEGIN; INSERT INTO account VALUES (9, 9); PREPARE TRANSACTION 'order-17'",
        "COMMIT PREPARED 'order-17'",
    )
    .await;
}

#[tokio::test]
async fn rows_go_when_their_transaction_has_ended() {
    super::tidying::rows_go_when_their_transaction_has_ended::<Postgres>().await;
}

/// The server would say that all is well: the transaction has failed, and nothing is prepared.
#[tokio::test]
async fn an_aborted_transaction_prepares_nothing() {
    let world = World::<Postgres>::new().await;
    let context = world.context();
    let mut transaction = world.begun(&context).await;
    let branch = transaction.connection.name.key.branch;
    let broken = sqlx::query("SELECT no_such_column FROM account");
    assert!(broken.execute(&mut *transaction).await.is_err());
    // The agent knows by itself; what is asked here is what the database would do.
    transaction.connection.broken = None;
    let error = transaction.commit().await.unwrap_err();
    assert!(matches!(error, XaError::NotPrepared(_)), "{error:?}");
    assert_eq!(world.fake.said(), [Said::Failed(branch)]);
    assert_eq!((world.balance().await, world.listed().await), (100, 0));
}

/// Its COMMIT would say that all is well, and roll back.
#[tokio::test]
async fn an_aborted_transaction_does_not_commit_in_one_phase() {
    let world = World::<Postgres>::new().await;
    let context = world.context();
    let (xid, store) = (context.xid().clone(), context.store_id());
    let context = TransactionContext::managed(xid, store, context.remaining());
    let mut transaction = world.begun(&context).await;
    let branch = transaction.connection.name.key.branch;
    let broken = sqlx::query("SELECT no_such_column FROM account");
    assert!(broken.execute(&mut *transaction).await.is_err());
    transaction.connection.broken = None;
    transaction.commit().await.unwrap();
    let open = context.take_delegatable().pop().unwrap();
    let end = open.executor.commit_one_phase().await;
    assert!(matches!(end, OnePhaseEnd::RolledBack(_)), "{end:?}");
    assert_eq!(world.fake.said(), [Said::Failed(branch)]);
    assert_eq!((world.balance().await, world.barrier().await), (100, vec!["tombstone".to_owned()]));
}

/// A COMMIT that got past the agent: the probe finds that the transaction is another one.
#[tokio::test]
async fn a_branch_that_was_committed_behind_the_agent_vetoes() {
    let world = World::<Postgres>::new().await;
    let context = world.context();
    let mut transaction = world.begun(&context).await;
    sqlx::raw_sql("COMMIT; BEGIN").execute(&mut *transaction.connection.held).await.unwrap();
    let error = transaction.commit().await.unwrap_err();
    assert!(matches!(error, XaError::OutcomeUnknown), "{error:?}");
    assert_eq!(world.fake.said(), [Said::Veto]);
    assert_eq!(world.balance().await, 70);
}

/// Temporary tables cannot be prepared.
#[tokio::test]
async fn what_the_server_cannot_prepare_fails_at_the_prepare() {
    let world = World::<Postgres>::new().await;
    let context = world.context();
    let mut transaction = world.begun(&context).await;
    world.execute(&mut transaction, "CREATE TEMP TABLE mine (id INT)").await.unwrap();
    let error = transaction.commit().await.unwrap_err();
    assert!(matches!(error, XaError::NotPrepared(_)), "{error:?}");
    assert_eq!((world.balance().await, world.listed().await), (100, 0));
}

/// What was set for a branch ends with it.
#[tokio::test]
async fn a_connection_goes_back_as_it_was() {
    let world = World::<Postgres>::new().await;
    let context = world.context();
    for _ in 0..6 {
        let mut transaction = world.begun(&context).await;
        world.execute(&mut transaction, TAKE).await.unwrap();
        transaction.commit().await.unwrap();
        world.fake.commit(context.xid()).await;
    }
    for _ in 0..5 {
        let rows = world.query("SELECT current_setting('lock_timeout')").await;
        assert_eq!(rows[0][0].as_text(), Some("0"));
    }
}

#[tokio::test]
async fn a_connection_inside_a_transaction_begins_no_branch() {
    super::hostile::a_connection_inside_a_transaction_begins_no_branch::<Postgres>().await;
}

#[tokio::test]
async fn a_decision_done_by_several_at_once_is_done_once() {
    super::hostile::a_decision_done_by_several_at_once_is_done_once::<Postgres>().await;
}

#[tokio::test]
async fn a_commit_that_is_dropped_anywhere_can_be_finished() {
    super::hostile::a_commit_that_is_dropped_anywhere_can_be_finished::<Postgres>().await;
}
