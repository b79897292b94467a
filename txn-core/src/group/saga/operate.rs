//! What a person says to a saga. Each word is stored with its reason, before anything follows from it.

use std::sync::Arc;

use super::advance::row_of;
use super::undo::undone;
use super::{FoundSaga, standing, tell, tell_after};
use crate::event::{Event, Operate, Resolve};
use crate::group::Group;
use crate::rejection::Rejection;
use crate::saga::{
    Attempt, LiveSaga, SAGA_WORDS_MAX, SagaRow, SagaVerb, SagaWord, Slot, StepRow, StepState,
};
use crate::step::{Reply, ReplyTo, Step, Volatile, Write};
use crate::time::Now;
use crate::transaction::{GlobalTransaction, Resolution, RollbackCause, Status};

impl Group {
    pub(in crate::group) fn operate_requested(&self, operate: &Operate, at: Now) -> Step {
        let reply = operate.reply;
        let path = operate.step.clone().unwrap_or_else(|| Arc::from(""));
        let refused =
            |why| Step::rejected(reply, Rejection::StepState { step: Arc::clone(&path), why });
        let (txn, saga) = match self.find_saga(operate.target) {
            Err(rejection) => return Step::rejected(reply, rejection),
            Ok(FoundSaga::Ended(_)) => return refused("its saga has ended"),
            Ok(FoundSaga::Live(txn, saga)) => (txn, saga),
        };
        let slot = operate.step.as_ref().map(|path| saga.graph.slot(path));
        if slot == Some(None) {
            return refused("the saga has no step of this path");
        }
        let slot = slot.flatten();
        let mut step = Step::default();
        let word = Word { verb: operate.verb, slot, reason: &operate.reason };
        if word.is_repeat(saga) {
            tell(&mut step, reply, standing(txn, saga));
            return step;
        }
        let said = match (operate.verb, slot) {
            (SagaVerb::Pause, None) => {
                say(&mut step, saga, &word, Pace::Paused, at);
                Ok(())
            }
            (SagaVerb::Resume, None) => {
                say(&mut step, saga, &word, Pace::Running, at);
                self.go_on(&mut step, txn, saga, at);
                Ok(())
            }
            (SagaVerb::Cancel, None) => self.cancel(&mut step, txn, saga, &word, at),
            (SagaVerb::Retry, slot) => self.retry_steps(&mut step, (txn, saga), slot, &word, at),
            (SagaVerb::Skip, Some(slot)) => skip(&mut step, txn, saga, slot, &word, at),
            (SagaVerb::Force, Some(slot)) => {
                let result = Arc::clone(&operate.result);
                force(&mut step, txn, (saga, slot), result, &word, at)
            }
            (SagaVerb::Skip | SagaVerb::Force, None) => Err("name a step"),
            (SagaVerb::Pause | SagaVerb::Resume | SagaVerb::Cancel, Some(_)) => {
                Err("this is said of a whole saga: name no step")
            }
        };
        if let Err(why) = said {
            return refused(why);
        }
        tell_after(&mut step, operate.target, reply);
        step
    }

    fn cancel(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        saga: &LiveSaga,
        word: &Word<'_>,
        at: Now,
    ) -> Result<(), &'static str> {
        match txn.row.status {
            Status::Active => {
                say(step, saga, word, Pace::of(saga), at);
                self.turn_saga_back(step, txn, RollbackCause::Requested, at);
                Ok(())
            }
            // A repeat.
            Status::RollingBack(_) => Ok(()),
            Status::Delegated | Status::Committing | Status::Committed | Status::RolledBack(_) => {
                Err("its saga has ended")
            }
        }
    }

    /// Tries again what is parked, and what pauses between attempts: at once, or at the resume.
    fn retry_steps(
        &self,
        step: &mut Step,
        (txn, saga): (&GlobalTransaction, &LiveSaga),
        only: Option<Slot>,
        word: &Word<'_>,
        at: Now,
    ) -> Result<(), &'static str> {
        let retried = self.tried_again(step, (txn, saga), only, at);
        if retried == 0 && only.is_some() {
            return Err("it is not parked, and nothing of it can be tried again now");
        }
        // Only what unparks a step is a decision.
        if step.is_stored() {
            say(step, saga, word, Pace::of(saga), at);
        }
        Ok(())
    }

    fn tried_again(
        &self,
        step: &mut Step,
        (txn, saga): (&GlobalTransaction, &LiveSaga),
        only: Option<Slot>,
        at: Now,
    ) -> u32 {
        let wanted = |slot: Slot| only.is_none_or(|only| only == slot);
        let mut retried = 0;
        for row in saga.run.parked().filter(|row| wanted(row.slot)) {
            let row = row_of(saga, row.slot, StepState::Open);
            step.store(Write::PutStep(Arc::new(row)));
            retried += 1;
        }
        let waiting = saga.attempts.iter().filter(|(slot, _)| wanted(**slot));
        for (slot, attempt) in waiting {
            if attempt.is_held(at.mono) || (saga.row.paused && attempt.under_way) {
                continue;
            }
            if saga.row.paused {
                // The resume sends what is due.
                let attempt = Attempt { next_at: at.mono, ..attempt.clone() };
                step.note(Volatile::StepAttempted(txn.row.number, *slot, attempt));
            } else {
                self.send_again(step, txn, saga, *slot, at);
            }
            retried += 1;
        }
        step.follow(Event::SagaMoved(txn.row.number));
        retried
    }

    /// `retry` of a whole transaction, said of a saga.
    pub(in crate::group) fn retry_saga(
        &self,
        txn: &GlobalTransaction,
        saga: &LiveSaga,
        reply: ReplyTo,
        at: Now,
    ) -> Step {
        let mut step = Step::default();
        let retried = self.tried_again(&mut step, (txn, saga), None, at);
        step.reply(reply, Reply::Retried(retried));
        step
    }

    /// `resolve` of a branch, said of a step: to try again, or to leave things as they are.
    pub(in crate::group) fn resolve_step(&self, request: &Resolve, at: Now) -> Step {
        let reply = request.reply;
        let found = self.saga(request.target.xid).zip(Slot::of_branch(request.branch));
        let Some(((txn, saga), slot)) = found else {
            return Step::rejected(reply, Rejection::UnknownBranch(request.branch));
        };
        let state = saga.run.row(slot).map(|row| row.state);
        let parked = matches!(state, Some(StepState::Parked(_) | StepState::UndoParked(_)));
        if !parked {
            return Step::rejected(reply, Rejection::NotParked(request.branch));
        }
        let (verb, reason) = (SagaVerb::Retry, &request.reason);
        let mut step = Step::default();
        let said = match request.resolution {
            Resolution::Retry => {
                let word = Word { verb, slot: Some(slot), reason };
                self.retry_steps(&mut step, (txn, saga), Some(slot), &word, at)
            }
            Resolution::Keep => {
                let word = Word { verb: SagaVerb::Skip, slot: Some(slot), reason };
                skip(&mut step, txn, saga, slot, &word, at)
            }
            Resolution::Restore => {
                let (branch, resolution) = (request.branch, request.resolution);
                let mode = crate::transaction::BranchMode::Saga;
                let rejection = Rejection::NotResolvable { branch, resolution, mode };
                return Step::rejected(reply, rejection);
            }
        };
        match said {
            Ok(()) => step.reply(reply, Reply::Resolved),
            Err(_) => return Step::rejected(reply, Rejection::NotParked(request.branch)),
        }
        step
    }

    /// Does what came due while the saga was stopped.
    fn go_on(&self, step: &mut Step, txn: &GlobalTransaction, saga: &LiveSaga, at: Now) {
        let due = saga.attempts.iter().filter(|(_, attempt)| attempt.next_at <= at.mono);
        for (slot, attempt) in due {
            let Some(node) = saga.graph.action(*slot) else { continue };
            self.attempt_over(step, txn, (saga, node), (*slot, attempt), at);
        }
        step.follow(Event::SagaMoved(txn.row.number));
    }
}

struct Word<'a> {
    verb: SagaVerb,
    slot: Option<Slot>,
    reason: &'a Arc<str>,
}

impl Word<'_> {
    /// The answer to the first may have been lost. To try again is no repeat: what was tried may have
    /// come to nothing since.
    fn is_repeat(&self, saga: &LiveSaga) -> bool {
        let last = saga.row.words.last();
        self.verb != SagaVerb::Retry
            && last.is_some_and(|last| {
                (last.verb, last.slot, &last.reason) == (self.verb, self.slot, self.reason)
            })
    }
}

/// Whether a saga starts anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Running,
    Paused,
}

impl Pace {
    fn of(saga: &LiveSaga) -> Pace {
        if saga.row.paused { Pace::Paused } else { Pace::Running }
    }
}

/// Stores what was said.
fn say(step: &mut Step, saga: &LiveSaga, word: &Word<'_>, pace: Pace, at: Now) {
    let said =
        SagaWord { verb: word.verb, slot: word.slot, reason: Arc::clone(word.reason), at: at.wall };
    let known = &saga.row.words;
    let spare = (known.len() + 1).saturating_sub(SAGA_WORDS_MAX);
    let words = known.iter().skip(spare).cloned().chain([said]).collect();
    let row = SagaRow { paused: pace == Pace::Paused, words, ..saga.row.clone() };
    step.store(Write::PutSaga(row));
}

/// Passes over a step, or over its compensation.
fn skip(
    step: &mut Step,
    txn: &GlobalTransaction,
    saga: &LiveSaga,
    slot: Slot,
    word: &Word<'_>,
    at: Now,
) -> Result<(), &'static str> {
    if saga.run.is_back() {
        if !saga.run.is_undoing(slot) {
            return Err("it is undone, or its turn has not come");
        }
        say(step, saga, word, Pace::of(saga), at);
        undone(step, saga, slot);
        return Ok(());
    }
    if txn.row.status != Status::Active || !saga.run.is_running(&saga.graph, slot) {
        return Err("it is over, or its turn has not come");
    }
    say(step, saga, word, Pace::of(saga), at);
    step.store(Write::PutStep(Arc::new(row_of(saga, slot, StepState::Skipped))));
    step.follow(Event::SagaMoved(saga.row.xid));
    Ok(())
}

/// Takes a step for done, whatever its handler says.
fn force(
    step: &mut Step,
    txn: &GlobalTransaction,
    (saga, slot): (&LiveSaga, Slot),
    result: Arc<[u8]>,
    word: &Word<'_>,
    at: Now,
) -> Result<(), &'static str> {
    if saga.run.is_back() {
        return skip(step, txn, saga, slot, word, at);
    }
    if txn.row.status != Status::Active || !saga.run.is_running(&saga.graph, slot) {
        return Err("it is over, or its turn has not come");
    }
    say(step, saga, word, Pace::of(saga), at);
    // Whether its action took place, nobody knows better than before.
    let row = row_of(saga, slot, StepState::Done);
    let row = StepRow { result: Some(result), error: None, ..row };
    step.store(Write::PutStep(Arc::new(row)));
    step.follow(Event::SagaMoved(saga.row.xid));
    Ok(())
}
