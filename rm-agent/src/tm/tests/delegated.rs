//! The one-phase commit: nothing before *delegated* is durable, nothing but the branch's word after.

use std::sync::{Arc, Mutex};

use super::*;
use crate::context::{OnePhase, OnePhaseEnd};

/// An open branch that does as it is told, and writes down what was called.
struct Open {
    prepares: bool,
    ends: OnePhaseEnd,
    called: Arc<Mutex<Vec<&'static str>>>,
}

#[async_trait::async_trait]
impl OnePhase for Open {
    async fn prepare(self: Box<Self>) -> Result<(), String> {
        self.called.lock().unwrap().push("prepare");
        if self.prepares { Ok(()) } else { Err("planted".to_owned()) }
    }

    async fn commit_one_phase(self: Box<Self>) -> OnePhaseEnd {
        self.called.lock().unwrap().push("commit");
        self.ends
    }

    async fn roll_back(self: Box<Self>) {
        self.called.lock().unwrap().push("roll back");
    }
}

struct World {
    fake: Fake,
    stream: FakeStream,
    agent: Agent,
    transaction: GlobalTransaction,
    called: Arc<Mutex<Vec<&'static str>>>,
}

impl World {
    async fn new(ends: OnePhaseEnd) -> World {
        let (fake, mut stream, agent) = Fake::agent().await;
        let transaction = begun(&mut stream, &agent).await;
        let world = World { fake, stream, agent, transaction, called: Arc::default() };
        world.open(100, true, ends);
        world
    }

    fn open(&self, branch: u64, prepares: bool, ends: OnePhaseEnd) {
        let open = Open { prepares, ends, called: Arc::clone(&self.called) };
        let context = self.transaction.context();
        assert!(context.record_delegatable(BranchId(branch), Box::new(open)).is_ok());
    }
}

fn delegated() -> Answer {
    outcome(v1::TransactionStatus::Delegated, v1::RollbackCause::Unspecified)
}

async fn asked_to_delegate(stream: &mut FakeStream) -> u64 {
    let (correlation, request) = stream.next().await;
    assert_eq!(commit(&request).delegate_to, 100);
    correlation
}

/// Answers the question how it ended.
async fn looked(stream: &mut FakeStream, answer: Answer) {
    let (correlation, request) = stream.next().await;
    assert!(matches!(request, Request::Get(_)), "{request:?}");
    stream.send(correlation, answer);
}

#[tokio::test(start_paused = true)]
async fn the_only_branch_commits_once_the_delegation_is_durable_and_not_before() {
    let World { fake: _fake, mut stream, agent: _agent, transaction, called } =
        World::new(OnePhaseEnd::Committed).await;
    let committing = tokio::spawn(transaction.commit());
    let correlation = asked_to_delegate(&mut stream).await;
    assert_eq!(stream.until_quiet().await, []);
    assert!(called.lock().unwrap().is_empty());
    stream.send(correlation, delegated());
    looked(&mut stream, committed()).await;
    assert!(committing.await.unwrap().unwrap().completed);
    assert_eq!(*called.lock().unwrap(), ["commit"]);
}

/// Goal: after the delegation the branch's word is the decision, also if the coordinator has not
/// heard it; only a branch that does not know is in doubt.
#[tokio::test(start_paused = true)]
async fn the_branchs_end_is_the_transactions_end() {
    let failed = Decision::RolledBack(RollbackCause::PhaseOneFailed);
    let reason = "planted".to_owned();
    for (ends, expected) in [
        (OnePhaseEnd::Committed, Some(Decision::Committed)),
        (OnePhaseEnd::RolledBack(reason.clone()), Some(failed)),
        (OnePhaseEnd::Unknown(reason), None),
    ] {
        let World { fake: _fake, mut stream, agent: _agent, transaction, .. } =
            World::new(ends).await;
        let committing = tokio::spawn(transaction.commit());
        let correlation = asked_to_delegate(&mut stream).await;
        stream.send(correlation, delegated());
        looked(&mut stream, delegated()).await;
        let ended = committing.await.unwrap();
        let in_doubt = match (ended, expected) {
            (Ok(outcome), Some(expected)) => {
                assert_eq!((outcome.decision, outcome.completed), (expected, false));
                continue;
            }
            (Err(in_doubt), None) => in_doubt,
            other => panic!("{other:?}"),
        };
        let asking = tokio::spawn(async move { in_doubt.ask().await });
        let (correlation, request) = stream.next().await;
        assert_eq!(commit(&request).delegate_to, 0);
        stream.send(correlation, committed());
        assert!(asking.await.unwrap().unwrap().is_committed());
    }
}

/// Goal: a branch that may have been delegated to is never prepared, since *prepared* would be heard
/// as *committed*.
#[tokio::test(start_paused = true)]
async fn without_a_clear_answer_the_branch_rolls_back_and_a_refusal_prepares_it() {
    for code in [v1::ErrorCode::Internal, v1::ErrorCode::LostState] {
        let World { fake: _fake, mut stream, agent: _agent, transaction, called } =
            World::new(OnePhaseEnd::Committed).await;
        let committing = tokio::spawn(transaction.commit());
        let correlation = asked_to_delegate(&mut stream).await;
        stream.send(correlation, fake::error(code));
        let (correlation, request) = stream.next().await;
        assert!(matches!(request, Request::Rollback(_)), "{request:?}");
        assert_eq!(*called.lock().unwrap(), ["roll back"]);
        stream.send(correlation, rolled_back(v1::RollbackCause::Requested));
        assert!(!committing.await.unwrap().unwrap().is_committed());
    }

    let World { fake, mut stream, agent: _agent, transaction, called } =
        World::new(OnePhaseEnd::Committed).await;
    let committing = tokio::spawn(transaction.commit());
    asked_to_delegate(&mut stream).await;
    fake.set_reachable(false);
    drop(stream);
    let outcome = committing.await.unwrap().unwrap();
    assert_eq!(outcome, Outcome::without_commit(RollbackCause::Requested));
    assert_eq!(*called.lock().unwrap(), ["roll back"]);

    let World { fake: _fake, mut stream, agent: _agent, transaction, called } =
        World::new(OnePhaseEnd::Committed).await;
    let committing = tokio::spawn(transaction.commit());
    let correlation = asked_to_delegate(&mut stream).await;
    stream.send(correlation, fake::error(v1::ErrorCode::NotDelegable));
    let (correlation, request) = stream.next().await;
    assert_eq!(commit(&request).delegate_to, 0);
    assert_eq!(*called.lock().unwrap(), ["prepare"]);
    stream.send(correlation, committed());
    assert!(committing.await.unwrap().unwrap().is_committed());
}

#[tokio::test(start_paused = true)]
async fn a_branch_in_company_is_prepared_and_one_that_cannot_be_stops_the_commit() {
    let world = World::new(OnePhaseEnd::Committed).await;
    world.transaction.context().record_done(BranchId(7));
    let World { fake: _fake, mut stream, agent: _agent, transaction, called } = world;
    let committing = tokio::spawn(transaction.commit());
    let (correlation, request) = stream.next().await;
    assert_eq!((commit(&request).delegate_to, &*commit(&request).done_branch_ids), (0, &[7][..]));
    stream.send(correlation, committed());
    assert!(committing.await.unwrap().unwrap().is_committed());
    assert_eq!(*called.lock().unwrap(), ["prepare"]);

    let world = World::new(OnePhaseEnd::Committed).await;
    world.open(101, false, OnePhaseEnd::Committed);
    world.open(102, true, OnePhaseEnd::Committed);
    let World { fake: _fake, mut stream, agent: _agent, transaction, called } = world;
    let committing = tokio::spawn(transaction.commit());
    let (correlation, request) = stream.next().await;
    let Request::Veto(veto) = request else { panic!("no veto: {request:?}") };
    assert_eq!(veto.reason, "branch 101 could not be prepared: planted");
    stream.send(correlation, rolled_back(v1::RollbackCause::Vetoed));
    assert!(!committing.await.unwrap().unwrap().is_committed());
    assert_eq!(*called.lock().unwrap(), ["prepare", "prepare", "roll back"]);
}

/// Goal: an end that has begun does not stop with its caller, and no second one overtakes it.
#[tokio::test(start_paused = true)]
async fn a_one_phase_commit_goes_on_when_its_caller_is_gone_and_a_rollback_ends_the_branch() {
    let World { fake: _fake, mut stream, agent, transaction, called } =
        World::new(OnePhaseEnd::Committed).await;
    let committing = tokio::spawn(transaction.commit());
    let correlation = asked_to_delegate(&mut stream).await;
    committing.abort();
    assert!(committing.await.unwrap_err().is_cancelled());
    assert_eq!(stream.until_quiet().await, []);
    stream.send(correlation, delegated());
    looked(&mut stream, committed()).await;
    assert_eq!(*called.lock().unwrap(), ["commit"]);
    drop(agent);

    for end in ["rollback", "drop"] {
        let World { fake: _fake, mut stream, agent: _agent, transaction, called } =
            World::new(OnePhaseEnd::Committed).await;
        if end == "drop" {
            drop(transaction);
        } else {
            tokio::spawn(transaction.rollback());
        }
        let (_, request) = stream.next().await;
        assert!(matches!(request, Request::Rollback(_)), "{request:?}");
        assert_eq!(*called.lock().unwrap(), ["roll back"], "{end}");
    }
}
