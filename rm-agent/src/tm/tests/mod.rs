//! The transaction manager against a scripted coordinator.

mod delegated;
mod hooks;
mod nested;
mod propagation;
mod question;

use std::time::Duration;

use pactum_core::id::BranchId;
use pactum_core::transaction::RollbackCause;
use pactum_proto::v1;
use pactum_proto::v1::client_frame::Frame as Request;
use pactum_proto::v1::server_frame::Frame as Answer;

use super::*;
use crate::session::tests::fake::{self, Fake, FakeStream, committed, outcome, rolled_back};
use crate::{Agent, TransactionContext};

async fn begun(stream: &mut FakeStream, agent: &Agent) -> GlobalTransaction {
    let options = BeginOptions::default();
    let (transaction, _) = tokio::join!(agent.begin("t", options), stream.begin(7));
    transaction.unwrap()
}

/// A transaction that another process began.
fn received() -> TransactionContext {
    let store = pactum_core::id::StoreId(fake::STORE);
    TransactionContext::new("g:7".parse().unwrap(), store, Duration::from_secs(30))
}

fn commit(request: &Request) -> &v1::CommitRequest {
    let Request::Commit(commit) = request else { panic!("expected a commit, got {request:?}") };
    commit
}

#[tokio::test(start_paused = true)]
async fn ok_commits_and_names_the_branches_that_are_done() {
    let (_fake, mut stream, agent) = Fake::agent().await;
    let running = tokio::spawn(async move {
        let global = agent.global("transfer").timeout(Duration::from_secs(5)).wait(Wait::Decided);
        global
            .run(async |context: TransactionContext| {
                assert_eq!(TransactionContext::current().unwrap().xid(), context.xid());
                context.record_done(BranchId(100));
                Ok::<_, String>(context.remaining())
            })
            .await
    });
    let begin = stream.begin(7).await;
    assert_eq!((begin.name.as_str(), begin.timeout_ms), ("transfer", 5_000));
    assert_eq!(begin.outer_xid, "");
    let (correlation, request) = stream.next().await;
    assert_eq!(commit(&request).done_branch_ids, [100]);
    assert_eq!(commit(&request).xid, "g:7");
    assert_eq!(commit(&request).wait(), v1::Wait::Decided);
    let committing = v1::TransactionStatus::Committing;
    stream.send(correlation, outcome(committing, v1::RollbackCause::Unspecified));
    let finished = running.await.unwrap().unwrap();
    assert_eq!(finished.value, Duration::from_secs(5));
    let expected = Outcome { decision: Decision::Committed, completed: false, parked: 0 };
    assert_eq!(finished.outcome(), Some(expected));

    // The agent is gone with its closure, but the handle still asks: twice until it is completed.
    let handle = finished.transaction().unwrap().clone();
    let completing = tokio::spawn(async move { handle.completed().await });
    for answer in [outcome(committing, v1::RollbackCause::Unspecified), committed()] {
        let (correlation, Request::Get(get)) = stream.next().await else { panic!("no get") };
        assert_eq!(get.wait(), v1::Wait::Completed);
        stream.send(correlation, answer);
    }
    assert!(completing.await.unwrap().unwrap().completed);
}

#[tokio::test(start_paused = true)]
async fn a_commit_may_come_back_as_rolled_back_with_its_cause() {
    let (_fake, mut stream, agent) = Fake::agent().await;
    let running =
        tokio::spawn(async move { agent.global("t").run(async |_| Ok::<_, String>(())).await });
    stream.begin(7).await;
    let (correlation, _) = stream.next().await;
    stream.send(correlation, rolled_back(v1::RollbackCause::TimedOut));
    let Err(RunError::RolledBack(outcome)) = running.await.unwrap() else { panic!() };
    assert_eq!(outcome.decision, Decision::RolledBack(RollbackCause::TimedOut));
    assert!(outcome.completed);
}

/// Goal: whatever way a closure is left but by Ok, its transaction rolls back.
#[tokio::test(start_paused = true)]
async fn err_panic_and_drop_roll_back() {
    let (_fake, mut stream, agent) = Fake::agent().await;

    let failing = tokio::spawn({
        let agent = agent.clone();
        async move { agent.global("t").run(async |_| Err::<(), _>("no".to_owned())).await }
    });
    stream.begin(7).await;
    let (correlation, request) = stream.next().await;
    assert!(matches!(request, Request::Rollback(_)), "{request:?}");
    stream.send(correlation, rolled_back(v1::RollbackCause::Requested));
    let Err(RunError::Work { error, fate: Fate::RolledBack(outcome) }) = failing.await.unwrap()
    else {
        panic!()
    };
    assert_eq!(error, "no");
    assert_eq!(outcome.decision, Decision::RolledBack(RollbackCause::Requested));

    let panicking = tokio::spawn({
        let agent = agent.clone();
        async move {
            let work = async |_| -> Result<(), String> { panic!("planted") };
            agent.global("t").run(work).await
        }
    });
    stream.begin(8).await;
    let (_, Request::Rollback(rollback)) = stream.next().await else { panic!("no rollback") };
    assert_eq!(rollback.xid, "g:8");
    assert!(panicking.await.unwrap_err().is_panic());

    let transaction = begun(&mut stream, &agent).await;
    // On a thread without a runtime, as a destructor may be.
    std::thread::spawn(move || drop(transaction)).join().unwrap();
    assert!(matches!(stream.next().await.1, Request::Rollback(_)));
}

/// Goal: the answer that most often gets lost, the one to a commit, costs a repetition and no
/// certainty.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_commit_is_asked_for_again() {
    let (mut fake, mut stream, agent) = Fake::agent().await;
    let transaction = begun(&mut stream, &agent).await;
    transaction.context().record_done(BranchId(100));
    let committing = tokio::spawn(transaction.commit());
    let (_, first) = stream.next().await;
    drop(stream);
    let mut stream = fake.welcomed().await;
    let (correlation, second) = stream.next().await;
    assert_eq!(first, second);
    stream.send(correlation, fake::error(v1::ErrorCode::OutcomeUnknown));
    let (correlation, third) = stream.next().await;
    assert_eq!(commit(&third).done_branch_ids, [100]);
    stream.send(correlation, committed());
    assert!(committing.await.unwrap().unwrap().is_committed());
}

#[tokio::test(start_paused = true)]
async fn a_commit_without_an_answer_is_in_doubt_until_it_is_asked_again() {
    let (mut fake, mut stream, agent) = Fake::agent().await;
    let transaction = begun(&mut stream, &agent).await;
    let since = tokio::time::Instant::now();
    let committing = tokio::spawn(transaction.commit());
    stream.next().await;
    fake.set_reachable(false);
    drop(stream);
    let in_doubt = committing.await.unwrap().unwrap_err();
    assert_eq!(since.elapsed(), fake::ANSWER_WAIT_MAX);
    assert_eq!(in_doubt.xid().to_string(), "g:7");
    assert!(in_doubt.is_retryable());
    assert!(in_doubt.reason().to_string().contains("cannot be reached"), "{}", in_doubt.reason());
    let still = in_doubt.ask().await.unwrap_err();

    fake.set_reachable(true);
    let asking = tokio::spawn(async move { still.completed().await });
    let mut stream = fake.welcomed().await;
    let (correlation, request) = stream.next().await;
    commit(&request);
    stream.send(correlation, committed());
    let expected = Outcome { decision: Decision::Committed, completed: true, parked: 0 };
    assert_eq!(asking.await.unwrap().unwrap(), expected);
}

/// Goal: a coordinator that lost its state must not pass for one that rolled back.
#[tokio::test(start_paused = true)]
async fn lost_state_is_in_doubt_and_not_rolled_back() {
    for code in [
        v1::ErrorCode::LostState,
        v1::ErrorCode::UnknownTransaction,
        v1::ErrorCode::Expired,
        v1::ErrorCode::Foreign,
        v1::ErrorCode::Internal,
    ] {
        let (_fake, mut stream, agent) = Fake::agent().await;
        let transaction = begun(&mut stream, &agent).await;
        let committing = tokio::spawn(transaction.commit());
        let (correlation, _) = stream.next().await;
        stream.send(correlation, fake::error(code));
        let in_doubt = committing.await.unwrap().unwrap_err();
        assert_eq!(in_doubt.code(), Some(code));
        assert!(!in_doubt.is_retryable());
    }
}

#[tokio::test(start_paused = true)]
async fn a_veto_that_came_back_is_not_overruled_by_a_commit() {
    let (fake, mut stream, agent) = Fake::agent().await;
    let transaction = begun(&mut stream, &agent).await;
    transaction.context().record_veto("short of money");
    let committing = tokio::spawn(transaction.commit());
    let (correlation, Request::Veto(veto)) = stream.next().await else { panic!("no veto") };
    assert_eq!(veto.reason, "short of money");
    stream.send(correlation, rolled_back(v1::RollbackCause::Vetoed));
    let outcome = committing.await.unwrap().unwrap();
    assert_eq!(outcome.decision, Decision::RolledBack(RollbackCause::Vetoed));
    assert!(outcome.completed);

    // Also if the coordinator cannot hear it: no commit was asked for, so none can happen.
    let transaction = begun(&mut stream, &agent).await;
    transaction.context().record_veto("short of money");
    fake.set_reachable(false);
    drop(stream);
    let outcome = transaction.commit().await.unwrap();
    assert_eq!(outcome, Outcome::without_commit(RollbackCause::Vetoed));
}

#[tokio::test(start_paused = true)]
async fn a_rollback_without_an_answer_is_certain_and_not_completed() {
    let (fake, mut stream, agent) = Fake::agent().await;
    let transaction = begun(&mut stream, &agent).await;
    fake.set_reachable(false);
    drop(stream);
    let outcome = transaction.rollback().await;
    assert_eq!(outcome, Outcome::without_commit(RollbackCause::Requested));
}

#[tokio::test(start_paused = true)]
async fn a_commit_goes_on_when_its_caller_is_gone() {
    let (mut fake, mut stream, agent) = Fake::agent().await;
    let transaction = begun(&mut stream, &agent).await;
    let handle = transaction.handle();
    let committing = tokio::spawn(transaction.commit());
    let (correlation, request) = stream.next().await;
    commit(&request);
    committing.abort();
    let cancel = Request::CancelWait(v1::CancelWait { correlation });
    assert_eq!(stream.next().await, (0, cancel));
    commit(&stream.next().await.1);
    drop(stream);
    let mut stream = fake.welcomed().await;
    let (correlation, request) = stream.next().await;
    commit(&request);
    stream.send(correlation, committed());
    let asking = tokio::spawn(async move { handle.outcome().await });
    let (correlation, _) = stream.next().await;
    stream.send(correlation, committed());
    assert!(asking.await.unwrap().unwrap().unwrap().completed);
}

#[tokio::test(start_paused = true)]
async fn a_begin_that_lost_its_stream_is_repeated_under_its_key_and_counts_from_the_question() {
    let (mut fake, mut stream, agent) = Fake::agent().await;
    let beginning = tokio::spawn({
        let agent = agent.clone();
        async move { agent.begin("t", BeginOptions::default()).await }
    });
    let (_, Request::Begin(first)) = stream.next().await else { panic!("no begin") };
    drop(stream);
    let mut stream = fake.welcomed().await;
    let (correlation, Request::Begin(second)) = stream.next().await else { panic!("no begin") };
    assert_eq!(first, second);
    assert!(!first.idempotency_key.is_empty());
    tokio::time::advance(Duration::from_secs(3)).await;
    stream.send(correlation, Answer::Begun(fake::begun(7, 10_000)));
    let transaction = beginning.await.unwrap().unwrap();
    // The answer took three seconds, in which the coordinator's clock ran.
    let remaining = transaction.context().remaining();
    assert!(remaining <= Duration::from_secs(7), "{remaining:?}");

    let next = tokio::spawn(async move { agent.begin("t", BeginOptions::default()).await });
    let third = stream.begin(8).await;
    assert_ne!(third.idempotency_key, first.idempotency_key);
    drop((transaction, next.await));
}

/// Goal: a rollback whose future is dropped is not left to the deadline, wherever it was dropped.
/// Method: never polled; polled while there is no stream to send it on; polled once it is on its way.
#[tokio::test(start_paused = true)]
async fn a_rollback_or_veto_whose_future_is_dropped_is_asked_for_all_the_same() {
    use futures_util::FutureExt as _;

    let (mut fake, mut stream, agent) = Fake::agent().await;
    let transaction = begun(&mut stream, &agent).await;
    drop(transaction.rollback());
    let (correlation, request) = stream.next().await;
    assert!(matches!(request, Request::Rollback(_)), "{request:?}");
    stream.send(correlation, rolled_back(v1::RollbackCause::Requested));

    let transaction = begun(&mut stream, &agent).await;
    drop(transaction.veto("never polled"));
    let (correlation, request) = stream.next().await;
    assert!(matches!(request, Request::Rollback(_)), "{request:?}");
    stream.send(correlation, rolled_back(v1::RollbackCause::Requested));

    let transaction = begun(&mut stream, &agent).await;
    let vetoed = begun(&mut stream, &agent).await;
    drop(stream);
    while agent.session().connected(Duration::ZERO).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(transaction.rollback().now_or_never(), None);
    assert_eq!(vetoed.veto("planted").now_or_never(), None);
    let mut stream = fake.welcomed().await;
    let mut asked = [stream.next().await.1, stream.next().await.1];
    asked.sort_by_key(|request| matches!(request, Request::Veto(_)));
    assert!(matches!(&asked[0], Request::Rollback(_)), "{asked:?}");
    assert!(matches!(&asked[1], Request::Veto(veto) if veto.reason == "planted"), "{asked:?}");
}
