//! Beginning a transaction, and the ids for it.
//!
//! A begin is volatile: the first branch's write carries it, so its answer waits for nothing. Its
//! number must come from a block that is reserved durably, or a restart could issue it again.

use super::Group;
use super::state::Ids;
use crate::event::{Begin, IdBlock, Timer};
use crate::id::{BranchId, NodeId, XidNumber};
use crate::rejection::{Limit, Rejection};
use crate::step::{Answer, Command, Release, Reply, ReplyTo, Step, Volatile};
use crate::time::Now;
use crate::transaction::TransactionRow;

/// Of how many blocks of branch ids it is kept that they are one node's: a node that never goes may
/// take blocks for ever.
const BLOCKS_KEPT_MAX: usize = 64;

impl Group {
    pub(super) fn begin(&self, begin: &Begin, at: Now) -> Step {
        let repeated = begin.idempotency_key.as_ref().and_then(|key| self.idempotency.get(key));
        if let Some(xid) = repeated {
            return self.begin_repeated(*xid, begin.reply, at);
        }
        let number = match self.next_number(begin.reply) {
            Ok(number) => number,
            Err(step) => return *step,
        };
        let mut step = began(
            TransactionRow {
                node: begin.node,
                idempotency_key: begin.idempotency_key.clone(),
                outer: begin.outer,
                ..TransactionRow::begun(number, begin.name.clone(), begin.timeout, at.wall)
            },
            at,
        );
        step.replies.push(Answer {
            to: begin.reply,
            reply: Reply::Begun { xid: number, remaining: begin.timeout },
            release: Release::AtOnce,
        });
        self.refill_ids(step)
    }

    /// The number of a new transaction, or the whole answer.
    pub(super) fn next_number(&self, reply: ReplyTo) -> Result<XidNumber, Box<Step>> {
        let max = self.policy().active_transactions_max;
        if self.active_count() >= max {
            let limit = Rejection::Limit { limit: Limit::ActiveTransactions, max: max as u64 };
            return Err(Box::new(Step::rejected(reply, limit)));
        }
        let number = self.ids.next_xid();
        let not_ready = || self.ask_for_ids(Step::rejected(reply, Rejection::NotReady));
        number.ok_or_else(|| Box::new(not_ready()))
    }

    /// A repeat waits like any reply: what it answers may stand in a batch that is still on its way.
    fn begin_repeated(&self, xid: XidNumber, reply: ReplyTo, at: Now) -> Step {
        let live = self.transaction(xid);
        let remaining = live.map(|txn| txn.deadline.since(at.mono)).unwrap_or_default();
        let mut step = Step::default();
        step.reply(reply, Reply::Begun { xid, remaining });
        step
    }

    pub(super) fn issue_branch_ids(&self, node: NodeId, reply: ReplyTo) -> Step {
        let IdBlock { first, end } = self.ids.branches;
        let block = IdBlock { first, end: end.min(first + self.policy().branch_id_block) };
        if block.first == block.end {
            return self.ask_for_ids(Step::rejected(reply, Rejection::NotReady));
        }
        let mut step = Step::default();
        step.note(Volatile::BranchIdsIssued(block, node));
        step.reply(reply, Reply::BranchIds(block));
        let left = end - block.end;
        if left < 8 * self.policy().branch_id_block { self.ask_for_ids(step) } else { step }
    }

    /// Asks for ids while some are left.
    pub(super) fn refill_ids(&self, step: Step) -> Step {
        if self.ids.runs_low() { self.ask_for_ids(step) } else { step }
    }

    pub(super) fn ask_for_ids(&self, mut step: Step) -> Step {
        if !self.ids.asked_for {
            step.note(Volatile::IdsAskedFor);
            step.commands.push(Command::ReserveIds);
        }
        step
    }
}

/// Begins a transaction, with its deadline.
pub(super) fn began(row: TransactionRow, at: Now) -> Step {
    let deadline = at.mono.after(row.timeout);
    let mut step = Step::default();
    step.timers.push((deadline, Timer::Deadline(row.number)));
    step.note(Volatile::Began { row, deadline });
    step
}

impl Ids {
    fn next_xid(&self) -> Option<XidNumber> {
        self.upcoming_xids(1).map(|block| XidNumber(block.first))
    }

    /// The next numbers, at most `count`; none if none are reserved.
    pub(super) fn upcoming_xids(&self, count: u64) -> Option<IdBlock> {
        let block = if self.xids.first < self.xids.end { self.xids } else { self.next_xids };
        let IdBlock { first, end } = block;
        (first < end).then(|| IdBlock { first, end: end.min(first + count) })
    }

    /// Whether the spare block is gone.
    fn runs_low(&self) -> bool {
        self.next_xids.first == self.next_xids.end
    }

    /// The numbers up to `end` were issued.
    pub(super) fn xids_issued(&mut self, end: u64) {
        if self.xids.first >= self.xids.end {
            self.xids = std::mem::take(&mut self.next_xids);
        }
        self.xids.first = end;
    }

    /// Blocks that were reserved: numbers of transactions stay in order of time, so the spare block
    /// is used after the current one.
    pub(super) fn add(&mut self, xids: IdBlock, branches: IdBlock) {
        if self.xids.first >= self.xids.end {
            self.xids = std::mem::take(&mut self.next_xids);
        }
        if self.xids.first >= self.xids.end {
            self.xids = xids;
        } else {
            self.next_xids = xids;
        }
        // What was left of the old blocks is given up: ids are plenty.
        self.branches = branches;
        self.asked_for = false;
    }

    pub(super) fn branches_issued(&mut self, block: IdBlock, node: NodeId) {
        self.branches.first = block.end;
        self.issued.insert(block.first, (block.end, node));
        let of_node = self.issued.iter().filter(|(_, (_, of))| *of == node);
        let mut of_node = of_node.map(|(first, _)| *first);
        if let Some(oldest) = of_node.next()
            && of_node.count() == BLOCKS_KEPT_MAX
        {
            self.issued.remove(&oldest);
        }
    }

    /// Forgets whose the blocks of a node were.
    pub(super) fn forget_node(&mut self, node: NodeId) {
        self.issued.retain(|_, (_, of)| *of != node);
    }

    /// Whether a node may name a branch so: ids that nobody was given will be somebody's, and what
    /// is known to be another node's is. Whose the ids of an earlier leadership were is not known
    /// any more; their owners come back with branches that they named then.
    pub(super) fn may_name(&self, node: NodeId, branch: BranchId) -> bool {
        let block = self.issued.range(..=branch.0).next_back();
        let owner = block.filter(|(_, (end, _))| branch.0 < *end).map(|(_, (_, owner))| *owner);
        branch.0 < self.branches.first && owner.is_none_or(|owner| owner == node)
    }

    /// Whether a number may have been issued by this store.
    pub(super) fn may_have_issued(&self, xid: XidNumber) -> bool {
        let unissued = [self.xids, self.next_xids].into_iter();
        let next = unissued.filter(|block| block.first < block.end).map(|block| block.first).min();
        next.is_none_or(|next| xid.0 < next)
    }
}
