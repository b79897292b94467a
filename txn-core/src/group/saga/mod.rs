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
use crate::saga::{LiveSaga, Standing};
use crate::step::{Outcome, Reply, ReplyTo, Step};
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

    /// Whether a target is a live saga: what only transaction managers and participants of others do is
    /// not for it.
    pub(super) fn is_saga(&self, target: Target) -> bool {
        self.saga(target.xid).is_some()
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
