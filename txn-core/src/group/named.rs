//! Transactions that a session has begun under numbers of its own block: a begin without a question.
//!
//! ```text
//! session ── XidsRequested ──▶   ◀── block ──     numbers that nobody else gets
//! session ── NamedBegun(number), RegisterRequested(number), … ──▶     in this order, on its stream
//! ```
//!
//! The block belongs to the session and ends with it. A session's events come in order, and its close
//! comes last; so as long as it is open a begin may be on its way, behind whatever another session
//! says of that number, and afterwards none can come. A number in between is *not begun yet*, which
//! is no outcome: ask again. Only then it is *unrecorded*, for ever.
//!
//! Which numbers of a block are used is kept nowhere: a transaction that was begun is live, in the
//! history, or below its horizon, and nothing begins there.
//!
//! Easy to get wrong: a begin that is refused must be kept as refused, or whoever asks for the
//! transaction would be told to ask again for as long as the session lasts.

use std::collections::BTreeSet;

use super::Group;
use super::begin::began;
use crate::event::{IdBlock, NamedBegin};
use crate::id::{SessionId, XidNumber};
use crate::rejection::Rejection;
use crate::step::{Reply, ReplyTo, Step, Volatile};
use crate::time::Now;
use crate::transaction::TransactionRow;

/// How many blocks a session has. 2: it asks for the next one while it uses up the last.
const BLOCKS_MAX: usize = 2;

/// The numbers that a session may begin under.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Names {
    /// Oldest first.
    blocks: Vec<IdBlock>,
    /// Numbers of the blocks whose begin was refused.
    refused: BTreeSet<XidNumber>,
}

impl Names {
    /// A further block; the oldest goes if there are too many.
    pub(super) fn add(&mut self, block: IdBlock) {
        if self.blocks.len() == BLOCKS_MAX {
            self.blocks.remove(0);
            let Names { blocks, refused } = self;
            refused.retain(|number| blocks.iter().any(|block| contains(*block, *number)));
        }
        self.blocks.push(block);
    }

    pub(super) fn refuse(&mut self, number: XidNumber) {
        self.refused.insert(number);
    }

    pub(super) fn may_begin(&self, number: XidNumber) -> bool {
        self.blocks.iter().any(|block| contains(*block, number)) && !self.refused.contains(&number)
    }
}

fn contains(block: IdBlock, number: XidNumber) -> bool {
    block.first <= number.0 && number.0 < block.end
}

impl Group {
    /// Nobody waits for an answer. A repeat changes nothing, and neither does a number that is not
    /// the session's to give.
    pub(super) fn named_begun(&self, begin: &NamedBegin, at: Now) -> Step {
        let number = begin.number;
        if self.was_begun(number) {
            return Step::default();
        }
        let Some(node) = self.sessions.may_begin(begin.session, number) else {
            return Step::default();
        };
        if self.active_count() >= self.policy().active_transactions_max {
            return self.never_begins(begin.session, number);
        }
        let row = TransactionRow {
            node: Some(node),
            outer: begin.outer,
            ..TransactionRow::begun(number, begin.name.clone(), begin.timeout, at.wall)
        };
        began(row, at)
    }

    /// Below the horizon nobody knows: what was begun there may have ended.
    fn was_begun(&self, number: XidNumber) -> bool {
        self.transaction(number).is_some()
            || self.history.status(number).is_some()
            || number <= self.history.horizon()
    }

    /// A begin was refused: from now on the number is *unrecorded*.
    pub(super) fn never_begins(&self, session: SessionId, number: XidNumber) -> Step {
        let mut step = Step::default();
        if self.sessions.may_begin(session, number).is_some() && !self.was_begun(number) {
            step.note(Volatile::NeverBegun(session, number));
        }
        step
    }

    pub(super) fn xids_requested(&self, session: SessionId, reply: ReplyTo) -> Step {
        if !self.sessions.is_open(session) {
            // It was closed while this was under way: nobody waits for the answer.
            return Step::rejected(reply, Rejection::NotReady);
        }
        let Some(block) = self.ids.upcoming_xids(self.policy().xid_block) else {
            return self.ask_for_ids(Step::rejected(reply, Rejection::NotReady));
        };
        let mut step = Step::default();
        step.note(Volatile::XidsIssued(block, session));
        step.reply(reply, Reply::Xids(block));
        self.refill_ids(step)
    }
}
