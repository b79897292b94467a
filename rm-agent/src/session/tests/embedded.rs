//! The agent's end of the wire against the coordinator's: both must mean the same by each frame.

use std::sync::Mutex;

use pactum_coordinator::Embedded;
use pactum_core::id::ScopeId;
use pactum_core::lock::key::{EncodedKey, KeyKind, KeyValue, LockKey, LockMode};
use pactum_core::transaction::BranchMode;
use pactum_core::transaction::{RollbackCause, Status};
use tokio::sync::Notify;

use super::*;
use crate::branch::Task;
use crate::context::{OnePhase, OnePhaseEnd};
use crate::session::{Opinion, Question, wire};
use crate::{Agent, AgentOptions, BeginOptions, Decision, GlobalTransaction, RunError, Wait};

async fn agent(coordinator: &Embedded) -> Agent {
    Agent::connect(AgentOptions::new(coordinator.url())).await.unwrap()
}

async fn begin(agent: &Agent) -> GlobalTransaction {
    agent.begin("t", BeginOptions::default()).await.unwrap()
}

fn lock(id: i64) -> Vec<(EncodedKey, LockMode)> {
    let values = vec![KeyValue::Integer(id)];
    let key = LockKey { table: "account".to_owned(), kind: KeyKind::Row, values };
    vec![(key.encode().unwrap(), LockMode::Exclusive)]
}

/// Registers a branch of `transaction` with a lock, and reports its phase one as done.
async fn branch(agent: &Agent, transaction: &GlobalTransaction, id: i64) -> BranchId {
    let session = agent.session();
    let branch = session.next_branch_id().await.unwrap();
    let registration = Registration { locks: lock(id), ..registration(branch.0) };
    session.register(transaction.context(), &registration).await.unwrap();
    session.phase_one_done(transaction.context(), &bank(), branch);
    branch
}

/// A participant that does everything, and tells what it was asked.
#[derive(Default)]
struct Recording {
    asked: Mutex<Vec<Work>>,
    news: Notify,
}

#[async_trait::async_trait]
impl Participant for Recording {
    fn rollbacks_at_once(&self) -> usize {
        2
    }

    async fn commit(&self, batch: Vec<Work>) -> Vec<(BranchKey, Answer)> {
        self.asked.lock().unwrap().extend(batch.iter().cloned());
        self.news.notify_one();
        batch.into_iter().map(|work| (work.key, Answer::Done)).collect()
    }

    async fn settle(&self, work: Work) -> Answer {
        self.asked.lock().unwrap().push(work);
        self.news.notify_one();
        Answer::Done
    }
}

impl Recording {
    async fn tasks_of(&self, branch: BranchId) -> Vec<Task> {
        loop {
            let tasks: Vec<_> = {
                let asked = self.asked.lock().unwrap();
                asked.iter().filter(|work| work.key.branch == branch).map(|w| w.task).collect()
            };
            if !tasks.is_empty() {
                return tasks;
            }
            self.news.notified().await;
        }
    }
}

async fn attached(coordinator: &Embedded) -> (Agent, Arc<Recording>) {
    let agent = agent(coordinator).await;
    let participant = Arc::new(Recording::default());
    agent
        .session()
        .attach(bank(), Some(UID), vec![(BranchMode::At, participant.clone())])
        .await
        .unwrap();
    (agent, participant)
}

#[tokio::test]
async fn branches_are_committed_and_rolled_back_and_their_locks_come_free() {
    let coordinator = Embedded::start().await.unwrap();
    let (agent, participant) = attached(&coordinator).await;

    let first = begin(&agent).await;
    let committed = branch(&agent, &first, 1).await;
    let second = begin(&agent).await;
    let taken = Registration { locks: lock(1), ..registration(999) };
    let conflict = agent.session().register(second.context(), &taken).await.unwrap_err();
    assert_eq!(conflict.code(), Some(v1::ErrorCode::LockConflict));
    let outcome = first.commit().await.unwrap();
    assert_eq!((outcome.decision, outcome.completed), (Decision::Committed, true));
    assert_eq!(participant.tasks_of(committed).await, [Task::Commit]);

    let undone = branch(&agent, &second, 1).await;
    let outcome = second.rollback().await;
    assert_eq!(outcome.decision, Decision::RolledBack(RollbackCause::Requested));
    assert!(outcome.completed);
    let tasks = participant.tasks_of(undone).await;
    assert_eq!(tasks, [Task::Rollback { phase_one_done: true }]);

    agent.session().check(None, &bank(), &lock(1), Duration::ZERO, false).await.unwrap();
    agent.shutdown().await;
}

#[tokio::test]
async fn claims_failed_reports_and_vetoes_mean_the_same_on_both_ends() {
    let coordinator = Embedded::start().await.unwrap();
    let (agent, _participant) = attached(&coordinator).await;
    let session = agent.session();

    let transaction = begin(&agent).await;
    let context = transaction.context().clone();
    let wait = Duration::from_secs(1);
    let claim = session.claim(&context, &bank(), &lock(1), wait).await.unwrap();
    let other = begin(&agent).await;
    let taken = Registration { locks: lock(1), ..registration(0) };
    let taken = Registration { branch: session.next_branch_id().await.unwrap(), ..taken };
    let conflict = session.register(other.context(), &taken).await.unwrap_err();
    assert_eq!(conflict.code(), Some(v1::ErrorCode::LockConflict));

    // The claim becomes a branch, whose local commit then fails for certain: its lock comes free.
    let claimed = session.next_branch_id().await.unwrap();
    let using = Registration { claim: Some(claim), branch: claimed, ..taken.clone() };
    session.register(&context, &using).await.unwrap();
    session.phase_one_failed(&context, &bank(), claimed);
    let waiting = Registration { wait, ..taken };
    session.register(other.context(), &waiting).await.unwrap();

    session.veto(other.context(), "no").await;
    let outcome = other.commit().await.unwrap();
    assert_eq!(outcome.decision, Decision::RolledBack(RollbackCause::Vetoed));
    let outcome = transaction.commit().await.unwrap();
    assert_eq!(outcome.decision, Decision::Committed, "a failed branch is not a veto");
}

/// Goal: a killed coordinator costs time and no outcome. Method: kill it with a branch done and the
/// commit not asked for; ask while it is away; start it again.
#[tokio::test]
async fn a_commit_over_a_killed_coordinator_is_decided_when_it_is_back() {
    let mut coordinator = Embedded::start().await.unwrap();
    let (agent, participant) = attached(&coordinator).await;
    let transaction = begin(&agent).await;
    let done = branch(&agent, &transaction, 1).await;
    let empty = begin(&agent).await;
    coordinator.kill().await;
    let committing = tokio::spawn(transaction.commit());
    coordinator.restart().await.unwrap();
    let outcome = committing.await.unwrap().unwrap();
    assert!(outcome.is_committed());
    assert_eq!(participant.tasks_of(done).await, [Task::Commit]);

    // Nothing of this one was ever stored, so it is rolled back and not unknown.
    let outcome = empty.commit().await.unwrap();
    assert_eq!(outcome.decision, Decision::RolledBack(RollbackCause::Unrecorded));
    agent.shutdown().await;
}

#[tokio::test]
async fn the_closure_form_ends_as_the_coordinator_says() {
    let coordinator = Embedded::start().await.unwrap();
    let agent = agent(&coordinator).await;
    let finished = agent.global("t").wait(Wait::Decided).run(async |_| Ok::<_, String>(7)).await;
    let finished = finished.unwrap();
    assert_eq!(finished.value, 7);
    assert!(finished.transaction().unwrap().completed().await.unwrap().is_committed());

    let late = agent.global("t").timeout(Duration::from_millis(1)).run(async |context| {
        tokio::time::sleep_until(context.deadline()).await;
        Ok::<_, String>(())
    });
    let Err(RunError::RolledBack(outcome)) = late.await else { panic!("it was too late") };
    assert_eq!(outcome.decision, Decision::RolledBack(RollbackCause::TimedOut));

    let refused = agent.global("t").timeout(Duration::ZERO).run(async |_| Ok::<_, String>(()));
    let Err(RunError::Begin(error)) = refused.await else { panic!("no transaction lives 0 ms") };
    assert_eq!(error.code(), Some(v1::ErrorCode::InvalidArgument));
}

/// What the sweep relies on: an outcome is not asked for by its manager, and *unknown* is no outcome.
#[tokio::test]
async fn anybody_hears_what_became_of_a_transaction_by_its_number() {
    let coordinator = Embedded::start().await.unwrap();
    let (agent, _participant) = attached(&coordinator).await;
    let session = agent.session();
    let store = agent.store().unwrap();

    let first = begin(&agent).await;
    branch(&agent, &first, 1).await;
    let xid = first.xid().clone();
    let status = session.outcome_of(&xid, store).await.unwrap().status;
    assert_eq!(status, Status::Active);
    assert!(first.commit().await.unwrap().completed);
    let status = session.outcome_of(&xid, store).await.unwrap().status;
    assert_eq!(status, Status::Committed);

    let second = begin(&agent).await;
    branch(&agent, &second, 1).await;
    let xid = second.xid().clone();
    assert!(second.rollback().await.completed);
    let status = session.outcome_of(&xid, store).await.unwrap().status;
    assert_eq!(status, Status::RolledBack(RollbackCause::Requested));

    let mut never = xid.clone();
    never.number.0 = i64::MAX.cast_unsigned();
    let unknown = session.outcome_of(&never, store).await.unwrap_err();
    assert_eq!(unknown.code(), Some(v1::ErrorCode::UnknownTransaction));
    never.number.0 = 1;
    let expired = session.outcome_of(&never, store).await.unwrap_err();
    assert_eq!(expired.code(), Some(v1::ErrorCode::Expired));
    let foreign = session.outcome_of(&xid, StoreId(1)).await.unwrap_err();
    assert_eq!(foreign.code(), Some(v1::ErrorCode::Foreign));
    agent.shutdown().await;
}

#[tokio::test]
async fn a_scope_rolls_back_and_the_rest_commits() {
    let coordinator = Embedded::start().await.unwrap();
    let (agent, participant) = attached(&coordinator).await;
    let session = agent.session();
    let transaction = begin(&agent).await;
    let kept = branch(&agent, &transaction, 1).await;
    let scope = ScopeId(u64::MAX);
    let inside = transaction.context().nested(scope).unwrap();
    let lost = registration(session.next_branch_id().await.unwrap().0);
    session.register(&inside, &lost).await.unwrap();

    let told = session.rollback_scope(transaction.context(), scope, v1::Wait::Completed).await;
    let told = told.unwrap();
    assert_eq!((told.undone, told.transaction.status), (true, Status::Active));
    let tasks = participant.tasks_of(lost.branch).await;
    assert_eq!(tasks, [Task::Rollback { phase_one_done: false }]);
    let late = registration(session.next_branch_id().await.unwrap().0);
    let refused = session.register(&inside, &late).await.unwrap_err();
    assert_eq!(refused.code(), Some(v1::ErrorCode::ScopeRolledBack));

    let outcome = transaction.commit().await.unwrap();
    assert_eq!((outcome.decision, outcome.completed), (Decision::Committed, true));
    assert_eq!(participant.tasks_of(kept).await, [Task::Commit]);
    agent.shutdown().await;
}

#[tokio::test]
async fn a_commit_is_left_to_the_only_branch_or_refused_at_once() {
    let coordinator = Embedded::start().await.unwrap();
    let (agent, _participant) = attached(&coordinator).await;
    let session = agent.session();
    let transaction = begin(&agent).await;
    let context = transaction.context();
    let branch = session.next_branch_id().await.unwrap();
    let xa = Registration { mode: BranchMode::Xa, ..registration(branch.0) };
    session.register(context, &xa).await.unwrap();
    let other = session.next_branch_id().await.unwrap();
    session.register(context, &registration(other.0)).await.unwrap();

    let refused = session.commit(context, Some(branch), v1::Wait::Completed).await.unwrap_err();
    assert_eq!(refused.code(), Some(v1::ErrorCode::NotDelegable));
    session.phase_one_failed(context, &bank(), other);
    let delegated = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            match session.commit(context, Some(branch), v1::Wait::Completed).await {
                Ok(outcome) => return outcome.status(),
                // The report that frees the way is still under way.
                Err(error) => assert_eq!(error.code(), Some(v1::ErrorCode::NotDelegable)),
            }
        }
    });
    assert_eq!(delegated.await.unwrap(), v1::TransactionStatus::Delegated);
    session.phase_one_done(context, &bank(), branch);
    let request = Request::Get(v1::GetRequest {
        xid: context.xid().to_string(),
        store_id: wire::store(context),
        wait: v1::Wait::Completed.into(),
    });
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    let ended = session.ask_outcome(context, request, until).await.unwrap();
    assert_eq!(ended.status(), v1::TransactionStatus::Committed);
    agent.shutdown().await;
}

#[tokio::test]
async fn participants_are_asked_before_anything_is_tried() {
    let coordinator = Embedded::start().await.unwrap();
    let (agent, participant) = attached(&coordinator).await;
    let session = agent.session();
    let transaction = begin(&agent).await;
    let question = Question { resource: bank(), mode: BranchMode::At, action: None };
    let opinion = session.can_commit(transaction.context(), std::slice::from_ref(&question)).await;
    assert_eq!(opinion.unwrap(), Opinion::Yes);
    assert!(participant.asked.lock().unwrap().iter().all(|work| work.task == Task::CanCommit));

    // This process does not work on the bank in that mode, and nobody else works on it.
    let elsewhere = Question { mode: BranchMode::Xa, ..question };
    let opinion = session.can_commit(transaction.context(), &[elsewhere]).await.unwrap();
    assert!(matches!(opinion, Opinion::Unknown { .. }), "{opinion:?}");
    agent.shutdown().await;
}

/// The only branch of a transaction, left open for the manager beside it.
struct Open {
    agent: Agent,
    context: TransactionContext,
    branch: BranchId,
    commits: bool,
}

#[async_trait::async_trait]
impl OnePhase for Open {
    async fn prepare(self: Box<Self>) -> Result<(), String> {
        self.agent.session().phase_one_done(&self.context, &bank(), self.branch);
        Ok(())
    }

    async fn commit_one_phase(self: Box<Self>) -> OnePhaseEnd {
        let session = self.agent.session();
        if self.commits {
            session.phase_one_done(&self.context, &bank(), self.branch);
            OnePhaseEnd::Committed
        } else {
            session.phase_one_failed(&self.context, &bank(), self.branch);
            OnePhaseEnd::RolledBack("planted".to_owned())
        }
    }

    async fn roll_back(self: Box<Self>) {
        self.agent.session().phase_one_failed(&self.context, &bank(), self.branch);
    }
}

/// Goal: a delegated decision is the branch's, and a branch in company is prepared and takes part in
/// phase two. Method: one open XA branch that commits, one that does not, one beside another branch.
#[tokio::test]
async fn the_local_commit_of_the_only_branch_is_the_decision() {
    let coordinator = Embedded::start().await.unwrap();
    let (agent, participant) = attached(&coordinator).await;
    agent
        .session()
        .attach(bank(), Some(UID), vec![(BranchMode::Xa, participant.clone())])
        .await
        .unwrap();
    let open = async |commits: bool| {
        let transaction = begin(&agent).await;
        let context = transaction.context().clone();
        let branch = agent.session().next_branch_id().await.unwrap();
        let registration =
            Registration { mode: BranchMode::Xa, locks: Vec::new(), ..registration(branch.0) };
        agent.session().register(&context, &registration).await.unwrap();
        let open = Open { agent: agent.clone(), context: context.clone(), branch, commits };
        assert!(context.may_delegate());
        assert!(context.record_delegatable(branch, Box::new(open)).is_ok());
        (transaction, branch)
    };

    let (transaction, alone) = open(true).await;
    assert_eq!(transaction.commit().await.unwrap().decision, Decision::Committed);
    let (transaction, _) = open(false).await;
    let outcome = transaction.commit().await.unwrap();
    assert_eq!(outcome.decision, Decision::RolledBack(RollbackCause::PhaseOneFailed));

    let (transaction, prepared) = open(true).await;
    let beside = branch(&agent, &transaction, 1).await;
    let outcome = transaction.commit().await.unwrap();
    assert_eq!((outcome.decision, outcome.completed), (Decision::Committed, true));
    assert_eq!(participant.tasks_of(prepared).await, [Task::Commit]);
    assert_eq!(participant.tasks_of(beside).await, [Task::Commit]);
    let asked = participant.asked.lock().unwrap();
    assert!(asked.iter().all(|work| work.key.branch != alone), "it has no phase two");
}
