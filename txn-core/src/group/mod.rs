//! A group: an independent world with one writer.
//!
//! ```text
//! handle(event) = step ─▶ changes ─▶ apply ─▶ follow-ups ─▶ step ─▶ … until nothing follows
//! ```
//!
//! [`Group::step`] looks and decides, [`Group::apply`] is the only state change. What one event
//! sets off in others (a commit frees keys, the first waiter in line gets them, its grant closes a
//! cycle) is a chain of small steps, so that each can look at the state that the one before left.
//!
//! - `state`: what a group knows; `apply`: how it changes.
//! - `lookup`: what is said of a transaction that a request names.
//! - `begin`, `named`, `registration`, `waiting`, `wait_end`, `deadlock`, `phase_one`, `decision`, `scope`,
//!   `delegation`, `phase_two`, `resolve`, `attachment`, `history`: one file for each part of the
//!   protocol; `saga`: declared sagas.

mod apply;
mod attachment;
mod begin;
mod deadlock;
mod decision;
mod delegation;
mod history;
mod lookup;
mod named;
mod phase_one;
mod phase_two;
mod registration;
mod resolve;
mod saga;
mod scope;
mod state;
mod wait_end;
mod waiting;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

pub use state::{Group, Summary};

use crate::event::{Event, Timer};
use crate::id::XidNumber;
use crate::invariants;
use crate::policy::Policy;
use crate::recovery::{self, Found};
use crate::rejection::Rejection;
use crate::step::{Change, Command, Reply, Step, Volatile, Write};
use crate::time::Now;
use crate::transaction::RollbackCause;

impl Group {
    /// A group from what its store held: locks are rebuilt, deadlines set. The step holds timers
    /// only: phase two goes on when sessions attach. A new store is the same with nothing found.
    pub fn recover(policy: Policy, horizon: XidNumber, found: Found, at: Now) -> (Group, Step) {
        let mut group = Group::new(policy, horizon);
        let plan = recovery::plan(&found, at.wall);
        let bindings = found.resources.into_iter().map(Write::PutResource);
        let definitions = found.definitions.into_iter().map(Write::PutDefinition);
        let transactions = found.unfinished.into_iter().map(Write::PutTransaction);
        let branches = found.branches.into_iter().map(Write::PutBranch);
        let sagas = found.sagas.into_iter().map(Write::PutSaga);
        let steps = found.steps.into_iter().map(|row| Write::PutStep(Arc::new(row)));
        let first = bindings.chain(definitions).chain(transactions);
        for write in first.chain(branches).chain(sagas).chain(steps) {
            group.apply(&Change::Stored(write));
        }
        for ended in found.history {
            group.remember(ended);
        }
        let mut step = Step::default();
        group.load_sagas(&mut step, at);
        for (xid, remaining) in plan.run_on {
            let deadline = at.mono.after(remaining);
            group.apply(&Change::Volatile(Volatile::DeadlineSet(xid, deadline)));
            step.timers.push((deadline, Timer::Deadline(xid)));
        }
        let grace = at.mono.after(group.policy().node_lost_grace);
        for node in plan.nodes_to_await {
            group.apply(&Change::Volatile(Volatile::NodeGone(node, grace)));
            step.timers.push((grace, Timer::NodeLost(node)));
        }
        step.timers.push((at.mono, Timer::History));
        step.commands.push(Command::ReserveIds);
        (group, step)
    }

    /// Steps the event and all that follows from it within the group, applying each change.
    pub fn handle(&mut self, event: Event, at: Now) -> Step {
        let mut total = Step::default();
        let mut queue = VecDeque::new();
        let mut next = Some(event);
        while let Some(event) = next {
            let mut step = self.step(&event, at);
            if let Err(rule) = invariants::permits(self, &step.changes) {
                step = refuse(&event, rule);
            }
            for change in &step.changes {
                self.apply(change);
            }
            queue.extend(std::mem::take(&mut step.follow_ups));
            next = queue.pop_front();
            total.absorb(step);
        }
        total
    }

    /// Decides what an event means. Looks, decides, changes nothing.
    pub fn step(&self, event: &Event, at: Now) -> Step {
        if let Some(step) = self.meant_for_saga(event, at) {
            return step;
        }
        match event {
            Event::BeginRequested(begin) => self.begin(begin, at),
            Event::NamedBegun(begin) => self.named_begun(begin, at),
            Event::NamedBeginRefused { session, number } => self.never_begins(*session, *number),
            Event::CommitRequested { target, done, delegate_to, caller } => {
                self.commit_requested(*target, done, *delegate_to, *caller, at)
            }
            Event::RollbackRequested { target, caller } => {
                self.rollback_requested(*target, *caller, RollbackCause::Requested, at)
            }
            Event::ScopeRollbackRequested { target, scope, caller } => {
                self.scope_rollback_requested(*target, *scope, *caller, at)
            }
            Event::Vetoed { target, scopes, caller } => match scopes.as_slice() {
                [] => self.rollback_requested(*target, *caller, RollbackCause::Vetoed, at),
                path => self.scope_vetoed(*target, path, *caller, at),
            },
            Event::OutcomeRequested { target, caller } => {
                self.outcome_requested(*target, *caller, at)
            }
            Event::RegisterRequested(register) => self.register_requested(register, at),
            Event::KeysRequested(request) => self.keys_requested(request, at),
            Event::ClaimReleased { session, claim } => self.claim_released(*session, *claim),
            Event::WaitCancelled { reply } => self.wait_cancelled(*reply),
            Event::PhaseOneReported(report) => self.phase_one_reported(report, at),
            Event::PhaseTwoAnswered { session, xid, branch, direction, answer } => {
                let of = (*session, *xid, *branch);
                self.phase_two_answered(of, *direction, answer, at)
            }
            Event::SessionOpened { session, node, reply } => {
                self.session_opened(*session, *node, *reply)
            }
            Event::AttachRequested { session, proofs, reply } => {
                self.attach_requested(*session, proofs, *reply, at)
            }
            Event::BranchIdsRequested { session, reply } => {
                self.branch_ids_requested(*session, *reply)
            }
            Event::XidsRequested { session, reply } => self.xids_requested(*session, *reply),
            Event::SessionClosed { session } => self.session_closed(*session, at),
            Event::RetryRequested { target, reply } => self.retry_requested(*target, *reply, at),
            Event::ResolveRequested(request) => self.resolve_requested(request, at),
            Event::ForgetRequested { resource, reply } => self.forget_requested(resource, *reply),
            Event::DefineRequested { .. }
            | Event::SubmitRequested(_)
            | Event::SagaRequested { .. }
            | Event::StepAnswered { .. }
            | Event::StepCompleted { .. }
            | Event::SignalReceived { .. }
            | Event::OperateRequested(_)
            | Event::SagaMoved(_) => self.of_sagas(event, at),
            Event::IdsReserved { xids, branches } => {
                let mut step = Step::default();
                step.note(Volatile::IdsReserved(*xids, *branches));
                step
            }
            Event::TimerFired(timer) => self.timer_fired(*timer, at),
            Event::KeysFreed(keys) => self.keys_freed(keys, at),
            Event::WaitGraphChanged(xid) => self.wait_graph_changed(*xid),
            Event::RollbackDue(xid, cause) => self.rollback_due(*xid, *cause, at),
        }
    }

    fn timer_fired(&self, timer: Timer, at: Now) -> Step {
        match timer {
            Timer::Deadline(xid) => self.deadline_passed(xid, at),
            Timer::Closing(xid) => self.closing_passed(xid, at),
            Timer::PhaseTwo(xid) => self.phase_two_due(xid, at),
            Timer::Step(xid, slot) => self.step_due(xid, slot, at),
            Timer::Saga(xid) => self.saga_moved(xid, at),
            Timer::Completion(xid, reply) => self.completion_wait_passed(xid, reply),
            Timer::WaitBound(waiter) => self.wait_bound_passed(waiter),
            Timer::ClaimKept(claim) => self.claim_kept_long_enough(claim),
            Timer::NodeLost(node) => self.node_lost(node, at),
            Timer::Resume(resource, from) => self.resume(resource, from, at),
            Timer::History => self.prune_history(at),
        }
    }
}

/// A step that would break a rule is dropped whole; whoever asked hears which rule it was. All others
/// that it would have answered still wait, for the state is as it was.
fn refuse(event: &Event, rule: &'static str) -> Step {
    let mut refused = Step { violations: vec![rule], ..Step::default() };
    if let Some(reply) = event.reply_to() {
        refused.reply(reply, Reply::Rejected(Rejection::Invariant(rule)));
    }
    refused
}
