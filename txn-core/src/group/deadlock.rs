//! Cycles that waiting can close, and whom they cost.
//!
//! ```text
//! T3 waits for a key of T1 ─▶ T1 waits for a key of T3: the youngest, T3, rolls back as a whole
//! ```
//!
//! Looked for at once, whenever an edge of the wait graph is new: a wait began or moved, a claim was
//! granted, a key was shared or came to be kept for someone. Cycles through a database's own locks
//! or a connection pool are invisible here; those end by the bound of the wait.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::Group;
use crate::event::Event;
use crate::id::XidNumber;
use crate::lock::table::Asker;
use crate::step::Step;
use crate::transaction::{RollbackCause, Status};

impl Group {
    /// Looks for a cycle through `xid`; its youngest transaction rolls back.
    pub(super) fn wait_graph_changed(&self, xid: XidNumber) -> Step {
        let mut step = Step::default();
        if let Some(victim) = self.cycle_through(xid).and_then(|cycle| cycle.into_iter().max()) {
            step.follow(Event::RollbackDue(victim, RollbackCause::Deadlock));
            // There may be another cycle through the same transaction.
            step.follow(Event::WaitGraphChanged(xid));
        }
        step
    }

    /// Whether all waits make sense: each for keys that are taken, none in a cycle, and none that
    /// would hold up an undo. Walks all of them: for tests.
    pub(crate) fn waits_hold(&self) -> Result<(), String> {
        for waiter in self.waiting.waiters() {
            let (asker, locks) = (Asker::of(waiter), waiter.locks());
            let taken = self.locks.taken(asker, waiter.resource, locks);
            let asleep = waiter.taken.iter().find(|key| !taken.iter().any(|is| is.key == **key));
            if let Some(key) = asleep {
                return Err(format!("{:?} waits for {key:?}, which it could have", waiter.id));
            }
            let against = self.locks.against(asker, waiter.resource, locks);
            if let Some(undoing) = self.undoing(waiter, &against) {
                return Err(format!("{:?} would hold up the undo of {undoing}", waiter.id));
            }
            if let Some(cycle) = waiter.xid.and_then(|xid| self.cycle_through(xid)) {
                return Err(format!("{cycle:?} wait for each other"));
            }
        }
        Ok(())
    }

    /// The transactions on a path of waits from `start` back to itself.
    fn cycle_through(&self, start: XidNumber) -> Option<Vec<XidNumber>> {
        let mut came_from: BTreeMap<XidNumber, XidNumber> = BTreeMap::new();
        let mut frontier = vec![start];
        while let Some(xid) = frontier.pop() {
            for next in self.waits_for(xid) {
                if next == start {
                    let path = std::iter::successors(Some(xid), |at| came_from.get(at).copied());
                    return Some(path.collect());
                }
                if let Entry::Vacant(new) = came_from.entry(next) {
                    new.insert(xid);
                    frontier.push(next);
                }
            }
        }
        None
    }

    /// The undecided transactions that `xid` waits for. One that is decided frees its keys by
    /// itself.
    fn waits_for(&self, xid: XidNumber) -> BTreeSet<XidNumber> {
        let mut all = BTreeSet::new();
        for waiter in self.waiting.of_transaction(xid) {
            all.extend(self.locks.against(Asker::of(waiter), waiter.resource, waiter.locks()));
        }
        all.retain(|other| self.live(*other).is_some_and(|txn| txn.row.status == Status::Active));
        all
    }
}
