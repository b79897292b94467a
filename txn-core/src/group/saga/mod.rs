//! Declared sagas: what the coordinator does by itself, step by step.
//!
//! ```text
//! submitted ─▶ rows ─▶ SagaMoved ─▶ next_steps ─▶ sent ── answered ─▶ a row ─▶ SagaMoved ─▶ … ─▶ Committed
//!                                                        │ failed for good
//!                                                        ▼
//!                          RollingBack ─▶ SagaMoved ─▶ undone one by one ─▶ a row each ─▶ RolledBack
//! ```
//!
//! A saga is a transaction with a `saga` in it. Its steps are no branches: what is stored of a step is one
//! row, once there is something to keep. Each answer is one batch: the row first, then whatever follows
//! from it is sent. `SagaMoved` follows in the same step of the group, so that it sees the row applied.
//!
//! - `submit`: defining, starting, asking; `advance`: what may be done now, and its sending.
//! - `act`: answers to actions, times that are over, events; `undo`: answers to compensations.
//! - `operate`: what a person says.
//!
//! Easy to get wrong: what an attempt without an answer means. It may have happened, or be happening; so it
//! is repeated under the same key or compensated, and never taken for failed.

mod act;
mod advance;
mod operate;
mod submit;
mod undo;

use super::Group;
use super::lookup::Found;
use crate::event::{Event, Target};
use crate::id::XidNumber;
use crate::rejection::Rejection;
use crate::saga::Slot;
use crate::saga::{LiveSaga, Standing};
use crate::step::{Outcome, Reply, ReplyTo, Step};
use crate::time::Now;
use crate::transaction::GlobalTransaction;

/// What a target turned out to be, where it must be a saga.
enum FoundSaga<'a> {
    Live(&'a GlobalTransaction, &'a LiveSaga),
    /// It has ended, and no more is in memory.
    Ended(Outcome),
}

impl Group {
    /// A saga that has not ended.
    #[must_use]
    pub fn saga(&self, xid: XidNumber) -> Option<(&GlobalTransaction, &LiveSaga)> {
        let txn = self.transaction(xid)?;
        Some((txn, txn.saga.as_deref()?))
    }

    /// The events of declared sagas.
    pub(super) fn of_sagas(&self, event: &Event, at: Now) -> Step {
        match event {
            Event::DefineRequested { defined, reply } => self.define(defined, *reply),
            Event::SubmitRequested(submit) => self.submit(submit, at),
            Event::SagaRequested { target, wait, reply } => {
                self.saga_requested(*target, *wait, *reply, at)
            }
            Event::StepAnswered { session, xid, slot, answer } => {
                self.step_answered((*session, *xid, *slot), answer, at)
            }
            Event::StepCompleted { target, slot, result, reply } => {
                self.step_completed(*target, *slot, result, *reply, at)
            }
            Event::SignalReceived { target, path, payload, reply } => {
                self.signal_received(*target, path, payload, *reply)
            }
            Event::OperateRequested(operate) => self.operate_requested(operate, at),
            Event::SagaMoved(xid) => self.saga_moved(*xid, at),
            Event::BeginRequested(..)
            | Event::NamedBegun(..)
            | Event::NamedBeginRefused { .. }
            | Event::CommitRequested { .. }
            | Event::RollbackRequested { .. }
            | Event::ScopeRollbackRequested { .. }
            | Event::Vetoed { .. }
            | Event::OutcomeRequested { .. }
            | Event::RegisterRequested(..)
            | Event::KeysRequested(..)
            | Event::ClaimReleased { .. }
            | Event::WaitCancelled { .. }
            | Event::PhaseOneReported(..)
            | Event::PhaseTwoAnswered { .. }
            | Event::SessionOpened { .. }
            | Event::AttachRequested { .. }
            | Event::BranchIdsRequested { .. }
            | Event::XidsRequested { .. }
            | Event::SessionClosed { .. }
            | Event::RetryRequested { .. }
            | Event::ResolveRequested(..)
            | Event::ForgetRequested { .. }
            | Event::IdsReserved { .. }
            | Event::TimerFired(..)
            | Event::KeysFreed(..)
            | Event::WaitGraphChanged(..)
            | Event::RollbackDue(..) => Step::default(),
        }
    }

    /// What is said to any transaction, and to a live saga it is: some of it means something else there,
    /// and what only managers and participants of other transactions do is not for it.
    pub(super) fn meant_for_saga(&self, event: &Event, at: Now) -> Option<Step> {
        // Almost always.
        if self.sagas.is_empty() {
            return None;
        }
        let not_for_it = |reply, target: Target| {
            let is_saga = self.sagas.contains(&target.xid);
            is_saga.then(|| Step::rejected(reply, Rejection::IsSaga(target.xid)))
        };
        match event {
            Event::CommitRequested { target, caller, .. }
            | Event::ScopeRollbackRequested { target, caller, .. } => {
                not_for_it(caller.reply, *target)
            }
            Event::RegisterRequested(register) => not_for_it(register.reply, register.target),
            Event::PhaseOneReported(report) => match report.reply {
                Some(reply) => not_for_it(reply, report.target),
                None => self.sagas.contains(&report.target.xid).then(Step::default),
            },
            Event::RetryRequested { target, reply } => {
                let (txn, saga) = self.saga(target.xid)?;
                Some(self.retry_saga(txn, saga, *reply, at))
            }
            Event::ResolveRequested(request) => {
                let is_saga = self.sagas.contains(&request.target.xid);
                is_saga.then(|| self.resolve_step(request, at))
            }
            Event::PhaseTwoAnswered { session, xid, branch, answer, .. } => {
                let slot = Slot::of_branch(*branch).filter(|_| self.sagas.contains(xid))?;
                Some(self.undo_answered((*session, *xid, slot), answer, at))
            }
            Event::BeginRequested(..)
            | Event::NamedBegun(..)
            | Event::NamedBeginRefused { .. }
            | Event::RollbackRequested { .. }
            | Event::Vetoed { .. }
            | Event::OutcomeRequested { .. }
            | Event::KeysRequested(..)
            | Event::ClaimReleased { .. }
            | Event::WaitCancelled { .. }
            | Event::SessionOpened { .. }
            | Event::AttachRequested { .. }
            | Event::BranchIdsRequested { .. }
            | Event::XidsRequested { .. }
            | Event::SessionClosed { .. }
            | Event::DefineRequested { .. }
            | Event::SubmitRequested(..)
            | Event::SagaRequested { .. }
            | Event::StepAnswered { .. }
            | Event::StepCompleted { .. }
            | Event::SignalReceived { .. }
            | Event::OperateRequested(..)
            | Event::SagaMoved(..)
            | Event::ForgetRequested { .. }
            | Event::IdsReserved { .. }
            | Event::TimerFired(..)
            | Event::KeysFreed(..)
            | Event::WaitGraphChanged(..)
            | Event::RollbackDue(..) => None,
        }
    }

    fn find_saga(&self, target: Target) -> Result<FoundSaga<'_>, Rejection> {
        match self.find(target)? {
            Found::Live(txn) => match &txn.saga {
                Some(saga) => Ok(FoundSaga::Live(txn, saga)),
                None => Err(Rejection::IsNoSaga(target.xid)),
            },
            Found::Ended(outcome) => Ok(FoundSaga::Ended(outcome)),
            Found::Unrecorded => Err(Rejection::UnknownTransaction),
        }
    }
}

/// Where a saga stands.
fn standing(txn: &GlobalTransaction, saga: &LiveSaga) -> Standing {
    saga.standing(txn.outcome())
}

/// Tells where a saga stands once the changes of this step are made, before what follows from them.
fn tell_after(step: &mut Step, target: Target, reply: ReplyTo) {
    step.follow_ups.insert(0, Event::SagaRequested { target, wait: None, reply });
}

fn tell(step: &mut Step, reply: ReplyTo, standing: Standing) {
    step.reply(reply, Reply::Saga(Box::new(standing)));
}
