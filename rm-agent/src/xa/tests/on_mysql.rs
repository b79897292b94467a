//! XA on a real MariaDB server.

use sqlx::MySql;

use super::world::{TAKE, World};
use crate::branch::{Answer, Task};
use crate::db::{MySqlSql, Sql as _};
use crate::link::fake::Said;
use crate::xa::XaError;

super::on!(life, MySql:
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

super::on!(one_phase, MySql:
    a_branch_left_open_commits_without_being_prepared,
    a_branch_left_open_is_prepared_or_rolled_back,
    a_session_that_ends_before_the_commit_commits_nothing,
    a_commit_without_an_answer_is_looked_up,
    only_the_first_branch_is_left_open_and_never_too_many,
);

#[tokio::test]
async fn only_what_is_ours_and_decided_is_finished() {
    super::tidying::only_what_is_ours_and_decided_is_finished::<MySql>(
        "XA START 'order-17'; INSERT INTO account VALUES (9, 9); XA END 'order-17'; \
         XA PREPARE 'order-17'",
        "XA COMMIT 'order-17'",
    )
    .await;
}

#[tokio::test]
async fn rows_go_when_their_transaction_has_ended() {
    super::tidying::rows_go_when_their_transaction_has_ended::<MySql>().await;
}

/// Nobody else can finish it, and that is no outcome.
#[tokio::test]
async fn a_branch_whose_connection_still_lives_is_finished_later() {
    let world = World::<MySql>::new().await;
    let context = world.context();
    let mut transaction = world.begun(&context).await;
    let name = transaction.connection.name.clone();
    let text = world.xa.0.support.prepare(&name);
    MySqlSql(&mut transaction.connection.held).run(&text).await.unwrap();
    for task in [Task::Commit, Task::Rollback { phase_one_done: true }] {
        let answer = world.fake.work(context.xid(), name.key.branch, task).await;
        assert!(matches!(answer, Answer::Later { .. }), "{answer:?}");
    }
    transaction.commit().await.unwrap();
    assert_eq!(world.fake.commit(context.xid()).await, [Answer::Done]);
    assert_eq!(world.balance().await, 70);
}

/// It would commit the branch at once; the server refuses it by itself.
#[tokio::test]
async fn a_statement_that_commits_by_itself_is_refused() {
    let world = World::<MySql>::new().await;
    let context = world.context();
    let mut transaction = world.begun(&context).await;
    let error = world.execute(&mut transaction, "CREATE TABLE other (id INT)").await.unwrap_err();
    assert!(matches!(error, XaError::Database(_)), "{error:?}");
    transaction.rollback().await;
    assert_eq!((world.balance().await, world.listed().await), (100, 0));
}

/// What was set for a branch does not stay.
#[tokio::test]
async fn a_connection_goes_back_as_it_was() {
    let world = World::<MySql>::new().await;
    let asked = "SELECT @@GLOBAL.innodb_lock_wait_timeout = @@SESSION.innodb_lock_wait_timeout";
    for _ in 0..6 {
        let context = world.context();
        let mut transaction = world.begun(&context).await;
        world.execute(&mut transaction, TAKE).await.unwrap();
        transaction.rollback().await;
        assert_eq!(world.query(asked).await[0][0].as_integer(), Some(1));
    }
}

#[tokio::test]
async fn a_connection_inside_a_transaction_begins_no_branch() {
    super::hostile::a_connection_inside_a_transaction_begins_no_branch::<MySql>().await;
}

#[tokio::test]
async fn a_decision_done_by_several_at_once_is_done_once() {
    super::hostile::a_decision_done_by_several_at_once_is_done_once::<MySql>().await;
}

#[tokio::test]
async fn a_commit_that_is_dropped_anywhere_can_be_finished() {
    super::hostile::a_commit_that_is_dropped_anywhere_can_be_finished::<MySql>().await;
}

/// Goal: a deadlock ends one branch and leaves the other whole; what the server has rolled back is never
/// taken for prepared.
#[tokio::test]
async fn a_branch_that_lost_a_deadlock_is_not_prepared() {
    let world = World::<MySql>::new().await;
    for forgets in [false, true] {
        let (mine, yours) = (world.context(), world.context());
        let mut first = world.xa.begin_in(&mine).await.unwrap();
        let mut second = world.xa.begin_in(&yours).await.unwrap();
        world.execute(&mut first, TAKE).await.unwrap();
        let two = "UPDATE account SET balance = balance + 1 WHERE id = 2";
        world.execute(&mut second, two).await.unwrap();
        let (a, b) = tokio::join!(world.execute(&mut first, two), world.execute(&mut second, TAKE));
        assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
        let (winner, mut loser, won) =
            if a.is_ok() { (first, second, mine) } else { (second, first, yours) };
        if forgets {
            loser.connection.broken = None;
        }
        let branch = loser.connection.name.key.branch;
        let lost = loser.commit().await;
        assert!(lost.is_err());
        assert_eq!(world.fake.said().last(), Some(&Said::Failed(branch)));
        winner.commit().await.unwrap();
        assert_eq!(world.listed().await, 1);
        assert_eq!(world.fake.roll_back(won.xid()).await, [Answer::Done]);
        assert_eq!((world.balance().await, world.listed().await), (100, 0));
    }
}
