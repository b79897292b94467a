//! Ended transactions: kept so that a late retry gets the true answer, then dropped in order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::Group;
use crate::event::Timer;
use crate::id::XidNumber;
use crate::recovery::Ended;
use crate::step::{Step, Write};
use crate::time::{Now, WallTime};
use crate::transaction::Status;

/// How often the history is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many transactions leave in one step: a batch must stay small beside the work of others.
const PRUNED_PER_STEP_MAX: usize = 10_000;
/// The pause before the next step where one was not enough. Together with the size of a step it
/// drops more than a coordinator can end.
const PRUNE_PAUSE: Duration = Duration::from_millis(50);

/// Ended transactions in memory: what they came to, and the order in which they ended.
#[derive(Clone, Debug)]
pub(super) struct History {
    ended: BTreeMap<XidNumber, Entry>,
    order: VecDeque<(WallTime, XidNumber)>,
    horizon: XidNumber,
}

#[derive(Clone, Debug)]
struct Entry {
    status: Status,
    idempotency_key: Option<Arc<str>>,
}

impl History {
    pub(super) fn new(horizon: XidNumber) -> Self {
        History { ended: BTreeMap::new(), order: VecDeque::new(), horizon }
    }

    pub(super) fn len(&self) -> usize {
        self.ended.len()
    }

    pub(super) fn horizon(&self) -> XidNumber {
        self.horizon
    }

    pub(super) fn status(&self, xid: XidNumber) -> Option<Status> {
        self.ended.get(&xid).map(|entry| entry.status)
    }

    pub(super) fn push(&mut self, ended: Ended) {
        let Ended { xid, status, at, idempotency_key } = ended;
        self.ended.insert(xid, Entry { status, idempotency_key });
        self.order.push_back((at, xid));
    }

    /// Drops what was pruned; returns the begin keys that are free again.
    pub(super) fn prune(&mut self, xids: &[XidNumber], horizon: XidNumber) -> Vec<Arc<str>> {
        self.horizon = self.horizon.max(horizon);
        let mut keys = Vec::new();
        for xid in xids {
            if self.order.front().is_some_and(|(_, first)| first == xid) {
                self.order.pop_front();
            }
            keys.extend(self.ended.remove(xid).and_then(|entry| entry.idempotency_key));
        }
        keys
    }

    /// What is to leave now: the oldest beyond the rows, and those beyond the age.
    fn due(&self, now: WallTime, keep: Duration, rows_max: usize) -> Vec<XidNumber> {
        let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        let beyond = self.order.len().saturating_sub(rows_max);
        let leaves = |(place, (at, _)): &(usize, &(WallTime, XidNumber))| {
            *place < beyond || at.0.saturating_add(keep_ms) <= now.0
        };
        let oldest_first = self.order.iter().enumerate().take(PRUNED_PER_STEP_MAX);
        oldest_first.take_while(leaves).map(|(_, (_, xid))| *xid).collect()
    }
}

impl Group {
    pub(super) fn prune_history(&self, at: Now) -> Step {
        let mut step = Step::default();
        let policy = self.policy();
        let xids = self.history.due(at.wall, policy.history_keep, policy.history_rows_max);
        let pause = if xids.len() < PRUNED_PER_STEP_MAX { LOOK_EVERY } else { PRUNE_PAUSE };
        if let Some(greatest) = xids.iter().max() {
            let horizon = self.history.horizon.max(*greatest);
            step.store(Write::Prune { xids, horizon });
        }
        step.timers.push((at.mono.after(pause), Timer::History));
        step
    }
}
