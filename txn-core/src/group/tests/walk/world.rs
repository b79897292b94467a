//! One state of the walk: a group, its store and the time.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::alphabet::Alphabet;
use crate::event::{Event, IdBlock};
use crate::group::Group;
use crate::group::tests::store::Rows;
use crate::id::{SessionId, XidNumber};
use crate::lock::wait::WaitFor;
use crate::step::{Change, ReplyTo, Step};
use crate::time::{Now, Timestamp, WallTime};
use crate::transaction::{PhaseOne, PhaseTwo, Wait};

/// How long a tick of the clock is: longer than anything that is waited for.
pub(super) const TICK: Duration = Duration::from_secs(3600);

#[derive(Clone)]
pub(super) struct World {
    pub(super) group: Group,
    pub(super) rows: Rows,
    pub(super) ticks: u32,
    /// The number of the next request.
    pub(super) request: u64,
}

impl World {
    pub(super) fn new(alphabet: &Alphabet) -> Self {
        let rows = Rows::default();
        let at = Now::default();
        let policy = alphabet.policy.clone();
        let (group, _) = Group::recover(policy, XidNumber(0), rows.found(), at);
        let mut world = World { group, rows, ticks: 0, request: 1 };
        world.reserve_ids(1);
        for event in alphabet.set_up() {
            let _ = world.handle(event);
        }
        world
    }

    pub(super) fn at(&self) -> Now {
        let now = TICK * self.ticks;
        let mono = Timestamp(u64::try_from(now.as_micros()).unwrap());
        Now { mono, wall: WallTime(u64::try_from(now.as_millis()).unwrap()) }
    }

    /// The same when all that is waited for is due.
    pub(super) fn later(&self) -> Self {
        World { ticks: self.ticks + 1, ..self.clone() }
    }

    /// The same after a restart: what was volatile is gone, and whoever waited hears *unknown*. Only
    /// while what has begun is stored, or its number would be another.
    pub(super) fn restarted(&self) -> Option<Self> {
        if self.group.transactions().any(|txn| !txn.stored) {
            return None;
        }
        let policy = self.group.policy().clone();
        let (rows, at) = (self.rows.clone(), self.at());
        let (group, _) = Group::recover(policy, rows.horizon, rows.found(), at);
        let mut world = World { group, rows, ..*self };
        world.reserve_ids(self.rows.greatest_xid() + 1);
        Some(world)
    }

    fn reserve_ids(&mut self, first: u64) {
        for first in [first, first + 1_000] {
            let xids = IdBlock { first, end: first + 100 };
            let branches = IdBlock { first: 1_000_000, end: u64::MAX };
            let _ = self.handle(Event::IdsReserved { xids, branches });
        }
    }

    pub(super) fn handle(&mut self, event: Event) -> Step {
        let step = self.group.handle(event, self.at());
        for change in &step.changes {
            if let Change::Stored(write) = change {
                self.rows.write(write);
            }
        }
        self.request += 1;
        step
    }

    /// The answer's address of the next request.
    pub(super) fn reply(&self) -> ReplyTo {
        ReplyTo { session: SessionId(0), correlation: self.request }
    }

    /// Everyone who was promised an answer.
    pub(super) fn outstanding(&self) -> Vec<ReplyTo> {
        let mut all: Vec<ReplyTo> =
            self.group.waiting.waiters().map(|waiter| waiter.reply()).collect();
        for txn in self.group.transactions.values() {
            all.extend(&txn.awaiting);
            all.extend(txn.awaiting_scope.iter().map(|(_, reply)| *reply));
            let closing = txn.closing.iter().flat_map(|closing| &closing.callers);
            all.extend(closing.map(|caller| caller.reply));
        }
        all.sort_unstable();
        all
    }

    /// What tells this state from others, as far as it can matter later.
    pub(super) fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let (group, now) = (&self.group, self.at().mono);
        self.ticks.hash(&mut hasher);
        for txn in group.transactions() {
            (txn.row.number, txn.row.status, txn.stored).hash(&mut hasher);
            (txn.deadline <= now, txn.awaiting.is_empty()).hash(&mut hasher);
            let closing = txn.closing.as_ref().map(|closing| {
                let completed = |wait: Wait| wait == Wait::Completed;
                let waits = closing.callers.iter().map(|caller| completed(caller.wait));
                (closing.until <= now, waits.collect::<BTreeSet<bool>>())
            });
            closing.hash(&mut hasher);
            let awaited: BTreeSet<_> = txn.awaiting_scope.iter().map(|(scope, _)| scope).collect();
            awaited.hash(&mut hasher);
            let undone = txn.row.undone_scopes.iter();
            let undone: BTreeSet<_> = undone
                .map(|undone| (undone.scope(), undone.path.len(), undone.requested))
                .collect();
            undone.hash(&mut hasher);
            if let Some(saga) = &txn.saga {
                saga.row.paused.hash(&mut hasher);
                for row in saga.run.rows() {
                    (row.slot, format!("{:?}", row.state), row.took_place).hash(&mut hasher);
                }
                for (slot, _) in saga.run.reached(&saga.graph) {
                    (slot, saga.run.may_be_under_way(slot), saga.run.is_undoing(slot))
                        .hash(&mut hasher);
                    saga.run.may_have_been_sent_before(slot).hash(&mut hasher);
                }
                for (slot, attempt) in &saga.attempts {
                    (slot, attempt.under_way, attempt.counted, attempt.sent.min(2))
                        .hash(&mut hasher);
                    (attempt.next_at <= now).hash(&mut hasher);
                }
            }
            for branch in &txn.branches {
                let row = &branch.row;
                (row.id, row.phase_one, row.phase_two, row.resolution()).hash(&mut hasher);
                (branch.next_attempt_at <= now).hash(&mut hasher);
            }
        }
        for row in self.rows.branches.values() {
            // What is stored of it counts while its transaction lives.
            if group.transaction(row.xid).is_some() {
                (row.phase_one == PhaseOne::Done, row.phase_two == PhaseTwo::Done)
                    .hash(&mut hasher);
            }
        }
        for waiter in group.waiting.waiters() {
            (waiter.xid, &waiter.taken, waiter.session()).hash(&mut hasher);
            waiter.overtaken.min(group.policy().overtaken_max).hash(&mut hasher);
            match &waiter.purpose {
                WaitFor::Branch(register) => Some(register.branch),
                WaitFor::Keys(_) => None,
            }
            .hash(&mut hasher);
        }
        for claim in group.waiting.claims() {
            (claim.xid, &claim.locks).hash(&mut hasher);
        }
        group.sessions.hash_into(&mut hasher);
        group.gone.iter().for_each(|(node, until)| (node, *until <= now).hash(&mut hasher));
        for (xid, row) in &self.rows.transactions {
            (row.status.is_ended().then_some((xid, row.status))).hash(&mut hasher);
        }
        hasher.finish()
    }
}
