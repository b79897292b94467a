//! A coordinator in memory: a lock table, the branches, and what was reported about them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pactum_core::id::{BranchId, ResourceId, ResourceUid, StoreId, Xid};
use pactum_core::lock::key::{EncodedKey, LockMode};
use pactum_core::step::Outcome;
use pactum_core::transaction::{BranchMode, Resolution};
use pactum_proto::v1;
use tokio::sync::Notify;

use crate::branch::{Answer, BranchKey, Task, Work};
use crate::context::TransactionContext;
use crate::link::Link;
use crate::session::{CallError, Claim, Participant, Registration};

pub(crate) const STORE: StoreId = StoreId(0x5707);

/// What a branch's agent said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Done(BranchId),
    Failed(BranchId),
    Veto,
}

#[derive(Default)]
struct State {
    last_branch: u64,
    last_claim: u64,
    branches: Vec<(Xid, Registration)>,
    claims: BTreeMap<u64, (Xid, Vec<(EncodedKey, LockMode)>)>,
    said: Vec<Said>,
    checks: Vec<Vec<(EncodedKey, LockMode)>>,
    claims_waited: u64,
    next_answer: Option<CallError>,
    outcomes: BTreeMap<Xid, Result<Outcome, CallError>>,
    asked: Vec<Xid>,
    participants: BTreeMap<BranchMode, Arc<dyn Participant>>,
    uid: Option<ResourceUid>,
    waits_inside: bool,
}

/// See the module's head.
#[derive(Default)]
pub(crate) struct Fake {
    state: Mutex<State>,
    released: Notify,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

fn overlap(a: &EncodedKey, b: &EncodedKey) -> bool {
    a == b || a.table() == *b || b.table() == *a
}

fn clash(a: &[(EncodedKey, LockMode)], b: &[(EncodedKey, LockMode)]) -> bool {
    let shared = |x: LockMode, y: LockMode| x == LockMode::Shared && y == LockMode::Shared;
    a.iter().any(|(x, mode)| b.iter().any(|(y, other)| overlap(x, y) && !shared(*mode, *other)))
}

impl State {
    fn holder(&self, xid: Option<&Xid>, locks: &[(EncodedKey, LockMode)]) -> Option<Xid> {
        let branches = self.branches.iter().map(|(holder, branch)| (holder, &branch.locks));
        let claims = self.claims.values().map(|(holder, locks)| (holder, locks));
        let mut held = branches.chain(claims);
        held.find(|(holder, held)| Some(*holder) != xid && clash(held, locks))
            .map(|(holder, _)| holder.clone())
    }
}

fn conflict(holder: &Xid) -> CallError {
    CallError::Refused(v1::Error {
        code: v1::ErrorCode::LockConflict.into(),
        holder: holder.to_string(),
        ..v1::Error::default()
    })
}

impl Fake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn said(&self) -> Vec<Said> {
        self.state().said.clone()
    }

    pub(crate) fn uid(&self) -> Option<ResourceUid> {
        self.state().uid
    }

    /// The database lets other writers go on, so a registration may wait.
    pub(crate) fn let_wait_inside(&self) {
        self.state().waits_inside = true;
    }

    /// The next registration or check gets this answer.
    pub(crate) fn answer_next(&self, error: CallError) {
        self.state().next_answer = Some(error);
    }

    /// What the coordinator says of a transaction that it is asked about.
    pub(crate) fn say(&self, xid: &Xid, outcome: Result<Outcome, CallError>) {
        self.state().outcomes.insert(xid.clone(), outcome);
    }

    /// The transactions that were asked about since the last call.
    pub(crate) fn asked_about(&self) -> Vec<Xid> {
        std::mem::take(&mut self.state().asked)
    }

    pub(crate) fn registrations(&self, xid: &Xid) -> Vec<Registration> {
        let of = |(holder, branch): &(Xid, Registration)| (holder == xid).then(|| branch.clone());
        self.state().branches.iter().filter_map(of).collect()
    }

    /// The locks of a transaction as text, sorted, shared ones marked.
    pub(crate) fn locks(&self, xid: &Xid) -> Vec<String> {
        let mut shown: Vec<String> =
            self.registrations(xid).iter().flat_map(|branch| show(&branch.locks)).collect();
        shown.sort();
        shown
    }

    /// How often locks were checked.
    pub(crate) fn checks_made(&self) -> usize {
        self.state().checks.len()
    }

    pub(crate) fn last_check(&self) -> Vec<String> {
        self.state().checks.last().map(|locks| show(locks)).unwrap_or_default()
    }

    pub(crate) fn claims_waited(&self) -> u64 {
        self.state().claims_waited
    }

    pub(crate) fn claims_left(&self) -> usize {
        self.state().claims.len()
    }

    pub(crate) async fn work(&self, xid: &Xid, branch: BranchId, task: Task) -> Answer {
        self.work_for(STORE, xid, branch, task).await
    }

    pub(crate) async fn work_for(
        &self,
        store: StoreId,
        xid: &Xid,
        branch: BranchId,
        task: Task,
    ) -> Answer {
        self.ask(Work { store, ..self.task(xid, branch, task) }).await
    }

    /// The same, once an operator has decided what shall become of the parked branch.
    pub(crate) async fn resolve(
        &self,
        xid: &Xid,
        branch: BranchId,
        task: Task,
        resolution: Resolution,
    ) -> Answer {
        let resolution = Some(resolution);
        self.ask(Work { resolution, ..self.task(xid, branch, task) }).await
    }

    /// The task of a branch, in the mode and with the action that it was registered with; one that
    /// never was belongs to the mode that was attached.
    pub(crate) fn task(&self, xid: &Xid, branch: BranchId, task: Task) -> Work {
        let state = self.state();
        let same = |(holder, registered): &&(Xid, Registration)| {
            holder == xid && registered.branch == branch
        };
        let registered = state.branches.iter().find(same).map(|(_, registered)| registered);
        let only = state.participants.keys().next().copied();
        Work {
            key: BranchKey { xid: xid.clone(), branch },
            store: STORE,
            task,
            attempt: 1,
            mode: registered.map(|branch| branch.mode).or(only).expect("a database is attached"),
            action: registered.and_then(|branch| branch.action.clone()),
            resolution: None,
            step: None,
        }
    }

    pub(crate) async fn ask(&self, work: Work) -> Answer {
        let participant = self.participant(work.mode);
        if work.task != Task::Commit {
            return participant.settle(work).await;
        }
        let key = work.key.clone();
        let mut answers = participant.commit(vec![work]).await;
        assert_eq!(answers.len(), 1);
        let (answered, answer) = answers.remove(0);
        assert_eq!(answered, key);
        answer
    }

    pub(crate) fn participant(&self, mode: BranchMode) -> Arc<dyn Participant> {
        self.state().participants.get(&mode).cloned().expect("a database is attached in this mode")
    }

    pub(crate) async fn commit_batch(&self, branches: Vec<(Xid, BranchId)>) -> Vec<Answer> {
        let work = |(xid, branch): (Xid, BranchId)| self.task(&xid, branch, Task::Commit);
        let batch: Vec<Work> = branches.into_iter().map(work).collect();
        let answers = self.participant(BranchMode::At).commit(batch).await;
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Decides to commit: locks go, then the branches are told.
    pub(crate) async fn commit(&self, xid: &Xid) -> Vec<Answer> {
        let branches = self.registrations(xid);
        // While it is known in which mode each was registered.
        let branches = branches.iter().filter(|branch| !branch.lock_only);
        let works: Vec<Work> =
            branches.map(|branch| self.task(xid, branch.branch, Task::Commit)).collect();
        self.release(xid, None);
        let mut answers = Vec::new();
        for work in works {
            answers.push(self.ask(work).await);
        }
        answers
    }

    /// Rolls back, newest branch first; each gives its locks back when it is done.
    pub(crate) async fn roll_back(&self, xid: &Xid) -> Vec<Answer> {
        let mut answers = Vec::new();
        for branch in self.registrations(xid).iter().rev() {
            if branch.lock_only {
                self.release(xid, Some(branch.branch));
                continue;
            }
            let task = Task::Rollback { phase_one_done: true };
            let answer = self.work(xid, branch.branch, task).await;
            let is_done = answer == Answer::Done;
            answers.push(answer);
            if !is_done {
                break;
            }
            self.release(xid, Some(branch.branch));
        }
        answers
    }

    pub(crate) fn release(&self, xid: &Xid, branch: Option<BranchId>) {
        self.state().branches.retain(|(holder, registered)| {
            holder != xid || branch.is_some_and(|branch| registered.branch != branch)
        });
        self.released.notify_waiters();
    }

    /// Waits until these keys are free for `xid`.
    async fn free(
        &self,
        xid: Option<&Xid>,
        locks: &[(EncodedKey, LockMode)],
        wait: Duration,
    ) -> Result<(), CallError> {
        let until = tokio::time::Instant::now() + wait;
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            let Some(holder) = self.state().holder(xid, locks) else { return Ok(()) };
            if tokio::time::timeout_at(until, released).await.is_err() {
                return Err(conflict(&holder));
            }
        }
    }
}

fn show(locks: &[(EncodedKey, LockMode)]) -> Vec<String> {
    let one = |(key, mode): &(EncodedKey, LockMode)| match mode {
        LockMode::Exclusive => format!("{key:?}"),
        LockMode::Shared => format!("{key:?} shared"),
    };
    locks.iter().map(one).collect()
}

#[async_trait]
impl Link for Fake {
    async fn attach(
        &self,
        _: ResourceId,
        uid: ResourceUid,
        modes: Vec<(BranchMode, Arc<dyn Participant>)>,
    ) -> Result<(), CallError> {
        let mut state = self.state();
        state.participants.extend(modes);
        state.uid = Some(uid);
        Ok(())
    }

    fn offer(&self, _: &ResourceId) {}

    async fn next_branch_id(&self) -> Result<BranchId, CallError> {
        let mut state = self.state();
        state.last_branch += 1;
        Ok(BranchId(state.last_branch))
    }

    async fn register(
        &self,
        context: &TransactionContext,
        registration: &Registration,
    ) -> Result<(), CallError> {
        if !registration.wait.is_zero() {
            assert!(self.state().waits_inside, "SQLite must not wait inside");
            // Whether it was granted is seen below, with everything else.
            self.free(Some(context.xid()), &registration.locks, registration.wait).await.ok();
        }
        let mut state = self.state();
        if let Some(error) = state.next_answer.take() {
            return Err(error);
        }
        if let Some(Claim(claim)) = registration.claim {
            assert!(state.claims.remove(&claim).is_some(), "the claim is there");
        }
        if let Some(holder) = state.holder(Some(context.xid()), &registration.locks) {
            return Err(conflict(&holder));
        }
        state.branches.push((context.xid().clone(), registration.clone()));
        Ok(())
    }

    async fn claim(
        &self,
        context: &TransactionContext,
        _: &ResourceId,
        locks: &[(EncodedKey, LockMode)],
        wait: Duration,
    ) -> Result<Claim, CallError> {
        self.state().claims_waited += 1;
        self.free(Some(context.xid()), locks, wait).await?;
        let mut state = self.state();
        state.last_claim += 1;
        let claim = state.last_claim;
        state.claims.insert(claim, (context.xid().clone(), locks.to_vec()));
        Ok(Claim(claim))
    }

    fn release_claim(&self, claim: Claim) {
        self.state().claims.remove(&claim.0);
        self.released.notify_waiters();
    }

    async fn check(
        &self,
        context: Option<&TransactionContext>,
        _: &ResourceId,
        locks: &[(EncodedKey, LockMode)],
        wait: Duration,
        holds_local_locks: bool,
    ) -> Result<(), CallError> {
        assert!(!holds_local_locks || wait.is_zero(), "SQLite must not wait inside");
        let next = {
            let mut state = self.state();
            state.checks.push(locks.to_vec());
            state.next_answer.take()
        };
        match next {
            Some(error) => Err(error),
            None => self.free(context.map(TransactionContext::xid), locks, wait).await,
        }
    }

    fn phase_one_done(&self, context: &TransactionContext, _: &ResourceId, branch: BranchId) {
        context.record_done(branch);
        self.state().said.push(Said::Done(branch));
    }

    fn phase_one_failed(&self, context: &TransactionContext, _: &ResourceId, branch: BranchId) {
        self.state().said.push(Said::Failed(branch));
        self.release(context.xid(), Some(branch));
    }

    async fn veto(&self, _: &TransactionContext, _: &str) {
        self.state().said.push(Said::Veto);
    }

    async fn outcome_of(&self, xid: &Xid, store: StoreId) -> Result<Outcome, CallError> {
        let mut state = self.state();
        state.asked.push(xid.clone());
        let refused = |code: v1::ErrorCode| {
            CallError::Refused(v1::Error { code: code.into(), ..v1::Error::default() })
        };
        if store != STORE {
            return Err(refused(v1::ErrorCode::Foreign));
        }
        let known = state.outcomes.get(xid);
        known.cloned().unwrap_or_else(|| Err(refused(v1::ErrorCode::UnknownTransaction)))
    }
}
