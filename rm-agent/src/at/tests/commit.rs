//! The order at the end of phase one, and every way in which it can stop.

use std::time::Duration;

use futures_util::FutureExt;
use pactum_core::id::BranchId;
use pactum_proto::v1;

use super::world::World;
use crate::at::AtError;
use crate::at::commit::{guarded_commit_failed, settle};
use crate::branch::phase_one::PhaseOne;
use crate::branch::{Answer, Task};
use crate::link::fake::Said;
use crate::session::CallError;

const BANK: &str = "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER); \
     INSERT INTO account VALUES (1, 100), (2, 50)";
const CHANGE: &str = "UPDATE account SET balance = balance - 30 WHERE id = 1";

#[tokio::test]
async fn phase_one_writes_its_rows_and_its_undo_log_together() {
    let world = World::new(BANK).await;
    let context = world.context();
    let mut tx = world.at.begin_in(&context).await.unwrap();
    sqlx::query(CHANGE).execute(&mut *tx).await.unwrap();
    assert!(world.barrier().await.is_empty(), "nothing before the commit");
    assert!(world.fake.registrations(context.xid()).is_empty());
    tx.commit().await.unwrap();
    assert_eq!(world.barrier().await, ["open"]);
    assert_eq!(world.fake.said(), [Said::Done(BranchId(1))]);
    assert_eq!(context.done_branches(), [BranchId(1)]);
    assert_eq!(world.fake.commit(context.xid()).await, vec![Answer::Done]);
    assert!(world.barrier().await.is_empty());
    assert_eq!(world.value("SELECT balance FROM account WHERE id = 1").await, "70");
}

#[tokio::test]
async fn a_refused_registration_reports_nothing_and_an_unanswered_one_reports_failed() {
    let world = World::new(BANK).await;
    let before = world.dump().await;
    let context = world.context();
    let refusal = v1::Error { code: v1::ErrorCode::NotActive.into(), ..v1::Error::default() };
    world.fake.answer_next(CallError::Refused(refusal));
    let error = world.run(&context, &[CHANGE]).await.unwrap_err();
    assert_eq!(error.code(), Some(v1::ErrorCode::NotActive));
    assert!(!error.is_retryable());
    assert!(world.fake.said().is_empty());

    world.fake.answer_next(CallError::NoAnswer("the stream broke".to_owned()));
    let error = world.run(&context, &[CHANGE]).await.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(world.fake.said(), [Said::Failed(BranchId(2))]);
    assert_eq!(world.dump().await, before);
    assert!(world.barrier().await.is_empty());
}

#[tokio::test]
async fn nothing_is_committed_after_the_deadline() {
    let world = World::new(BANK).await;
    let before = world.dump().await;
    let context = world.context_for(Duration::from_millis(40));
    let mut tx = world.at.begin_in(&context).await.unwrap();
    sqlx::query(CHANGE).execute(&mut *tx).await.unwrap();
    tokio::time::sleep_until(context.deadline()).await;
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, AtError::DeadlinePassed), "{error}");
    assert!(world.fake.registrations(context.xid()).is_empty());
    assert!(world.fake.said().is_empty(), "the coordinator was not even asked");
    assert_eq!(world.dump().await, before);
    let late = world.at.begin_in(&context).await;
    assert!(matches!(late, Err(AtError::DeadlinePassed)));
}

/// A foreign key that is looked at at COMMIT makes it fail, with the barrier row written.
#[tokio::test]
async fn a_local_commit_that_failed_for_certain_is_reported_failed() {
    let world = World::new(
        "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (id INTEGER PRIMARY KEY, \
         p INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
    )
    .await;
    let context = world.context();
    let error = world.run(&context, &["INSERT INTO c VALUES (1, 99)"]).await.unwrap_err();
    assert!(matches!(error, AtError::LocalCommit(_)), "{error}");
    assert_eq!(world.fake.said(), [Said::Failed(BranchId(1))]);
    assert!(world.fake.registrations(context.xid()).is_empty(), "its locks are free");
    assert_eq!(world.barrier().await, vec!["tombstone"]);
    assert_eq!(world.value("SELECT count(*) FROM c").await, "0");
    // And the connection is as good as new.
    world
        .run(&context, &["INSERT INTO p VALUES (99)", "INSERT INTO c VALUES (1, 99)"])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_local_commit_whose_outcome_cannot_be_learned_vetoes() {
    let schema = "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (id INTEGER PRIMARY KEY, \
                  p INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED)";
    let world = World::new(schema).await;
    let context = world.context_for(Duration::from_millis(600));
    let mut tx = world.at.begin_in(&context).await.unwrap();
    sqlx::query("INSERT INTO c VALUES (1, 99)").execute(&mut *tx).await.unwrap();
    // Somebody else is next in the queue for the database, and keeps it.
    let mut next = Box::pin(world.at.begin());
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut next).await.is_err());
    let done = tokio::sync::Notify::new();
    let commit = async {
        let outcome = tx.commit().await;
        done.notify_one();
        outcome
    };
    let keep = async {
        let kept = next.await.unwrap();
        done.notified().await;
        drop(kept);
    };
    let (outcome, ()) = tokio::join!(commit, keep);
    assert!(matches!(outcome, Err(AtError::OutcomeUnknown)), "{outcome:?}");
    assert_eq!(world.fake.said(), [Said::Veto]);
}

/// The answer to COMMIT was lost, and it took place.
#[tokio::test]
async fn a_local_commit_that_took_place_unheard_is_found_and_reported_done() {
    let world = World::new(BANK).await;
    let context = world.context();
    world.run(&context, &[CHANGE]).await.unwrap();
    let branch = BranchId(1);
    let phase_one = PhaseOne {
        link: world.fake.clone(),
        context: context.clone(),
        resource: world.at.resource().clone(),
        branch,
        armed: false,
    };
    let lost = || sqlx::Error::WorkerCrashed;
    settle(&world.at.0, &phase_one, lost()).await.unwrap();
    assert_eq!(world.fake.said(), [Said::Done(branch), Said::Done(branch)]);

    // And one that was undone meanwhile took place too; a tombstone says that it never did.
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
    settle(&world.at.0, &phase_one, lost()).await.unwrap();
    let buried = PhaseOne {
        link: world.fake.clone(),
        context: context.clone(),
        resource: world.at.resource().clone(),
        branch: BranchId(9),
        armed: false,
    };
    let task = Task::Rollback { phase_one_done: false };
    assert_eq!(world.fake.work(context.xid(), buried.branch, task).await, Answer::Done);
    let outcome = settle(&world.at.0, &buried, lost()).await;
    assert!(matches!(outcome, Err(AtError::LocalCommit(_))), "{outcome:?}");
}

/// The future of the commit is dropped at each of its awaits in turn. Whatever was committed, the
/// coordinator's question afterwards makes it final, and rows and undo log agree.
#[tokio::test]
async fn a_commit_that_is_cut_short_is_settled_by_asking() {
    let world = World::new(BANK).await;
    let before = world.dump().await;
    let (mut committed, mut failed, mut finished) = (0, 0, 0);
    for polls in 1..200 {
        let context = world.context();
        let mut tx = world.at.begin_in(&context).await.unwrap();
        sqlx::query(CHANGE).execute(&mut *tx).await.unwrap();
        let mut commit = Box::pin(tx.commit());
        let mut done = false;
        for _ in 0..polls {
            tokio::task::yield_now().await;
            if let Some(result) = commit.as_mut().now_or_never() {
                result.unwrap();
                done = true;
                break;
            }
        }
        drop(commit);
        let said = world.fake.said();
        let branch = BranchId(polls);
        if said.last() == Some(&Said::Failed(branch)) {
            failed += 1;
            assert!(world.fake.registrations(context.xid()).is_empty());
            let answer = world.fake.work(context.xid(), branch, Task::AskPhaseOne).await;
            assert_eq!(answer, Answer::Failed, "reported failed, and found committed");
        } else {
            let answer = world.fake.work(context.xid(), branch, Task::AskPhaseOne).await;
            match answer {
                Answer::Done => {
                    committed += u64::from(!done);
                    finished += u64::from(done);
                    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
                }
                Answer::Failed => {
                    assert!(!done);
                    world.fake.release(context.xid(), None);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(world.dump().await, before, "after {polls} polls");
    }
    assert!(failed > 0 && finished > 0, "{committed} {failed} {finished}");
}

/// Outside of a global transaction there is no barrier row to be looked up. What the database refused
/// failed; what broke off is not known, and must not be called failed.
#[tokio::test]
async fn a_guarded_commit_fails_for_certain_or_is_unknown() {
    let world = World::new(
        "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (id INTEGER PRIMARY KEY, \
         p INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
    )
    .await;
    let mut tx = world.at.begin().await.unwrap();
    sqlx::query("INSERT INTO c VALUES (1, 99)").execute(&mut *tx).await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, AtError::LocalCommit(_)), "{error}");
    assert_eq!(world.value("SELECT count(*) FROM c").await, "0");

    let broken = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
    for lost in [broken(), sqlx::Error::WorkerCrashed] {
        let error = guarded_commit_failed::<sqlx::Sqlite>(lost);
        assert!(matches!(error, AtError::GuardedOutcomeUnknown(_)), "{error}");
        assert!(!error.is_retryable(), "run again, it might be done twice");
    }
}
