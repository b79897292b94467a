//! Who holds which key, who queues on it, and for whom it is reserved.
//!
//! The table is rebuilt from the branch rows at recovery, so nothing here is stored. It answers
//! questions ([`LockTable::taken`], [`LockTable::against`]) and records what `apply` tells it; who
//! gets a key next is decided in the group.
//!
//! A key is held by *transactions*, with a count for each way of holding it: it is free when the
//! last branch or claim that named it is done. The maps hash without a random seed, and nothing
//! iterates over them to decide anything.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::id::{ResourceNumber, XidNumber};
use crate::lock::mode::{Grip, grips};
use crate::lock::wait::WaiterId;
use crate::lock::{LockRequest, ResourceKey};

/// The global locks of a group.
#[derive(Debug, Default)]
pub(crate) struct LockTable {
    entries: FxHashMap<ResourceKey, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    holders: Holders,
    /// Most keys are never waited for.
    queue: Option<Box<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiters: BTreeSet<WaiterId>,
    /// Waiters that were overtaken too often, with their transactions.
    reserved: BTreeMap<WaiterId, Option<XidNumber>>,
}

/// The holders of a key. A row has one; a table's intents have many.
#[derive(Debug, Default)]
enum Holders {
    #[default]
    None,
    One(XidNumber, Counts),
    Many(Box<BTreeMap<XidNumber, Counts>>),
}

/// How often a transaction holds a key in each way: one for each of its branches and claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts([u32; 4]);

impl Counts {
    fn goes_with(self, grip: Grip) -> bool {
        Grip::ALL.iter().all(|held| self.0[*held as usize] == 0 || held.goes_with(grip))
    }

    fn is_empty(self) -> bool {
        self.0 == [0; 4]
    }
}

impl Holders {
    fn iter(&self) -> impl Iterator<Item = (XidNumber, Counts)> {
        let (one, many) = match self {
            Holders::None => (None, None),
            Holders::One(xid, counts) => (Some((*xid, *counts)), None),
            Holders::Many(holders) => {
                (None, Some(holders.iter().map(|(xid, counts)| (*xid, *counts))))
            }
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    fn change(&mut self, xid: XidNumber, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.take(xid).unwrap_or_default();
        change(&mut counts);
        if counts.is_empty() {
            return;
        }
        match self {
            Holders::None => *self = Holders::One(xid, counts),
            Holders::One(other, held) => {
                let both = BTreeMap::from([(*other, *held), (xid, counts)]);
                *self = Holders::Many(Box::new(both));
            }
            Holders::Many(holders) => {
                holders.insert(xid, counts);
            }
        }
    }

    fn take(&mut self, xid: XidNumber) -> Option<Counts> {
        match self {
            Holders::One(holder, counts) if *holder == xid => {
                let counts = *counts;
                *self = Holders::None;
                Some(counts)
            }
            Holders::None | Holders::One(..) => None,
            Holders::Many(holders) => {
                let counts = holders.remove(&xid);
                if holders.is_empty() {
                    *self = Holders::None;
                }
                counts
            }
        }
    }
}

/// A key that somebody cannot have now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) key: ResourceKey,
    /// `None`: it is kept for a waiter that was overtaken too often.
    pub(crate) holder: Option<XidNumber>,
}

/// Who asks for keys: a transaction or nobody, and its place in the order of arrival (none for a
/// newcomer, who comes after all that wait).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) xid: Option<XidNumber>,
    pub(crate) arrival: Option<WaiterId>,
}

impl Asker {
    fn comes_after(self, waiter: WaiterId) -> bool {
        self.arrival.is_none_or(|arrival| waiter < arrival)
    }
}

impl LockTable {
    /// The keys among these locks that `asker` cannot have now; empty if it can have all.
    pub(crate) fn taken(
        &self,
        asker: Asker,
        resource: ResourceNumber,
        locks: &[LockRequest],
    ) -> Vec<Taken> {
        let mut taken = Vec::new();
        for (key, grip) in grips(resource, locks) {
            if let Some(holder) = self.obstacle(asker, &key, grip) {
                taken.push(Taken { key, holder });
            }
        }
        taken
    }

    /// Whether `asker` could have this one of its keys now.
    pub(crate) fn is_free_for(
        &self,
        asker: Asker,
        key: &ResourceKey,
        locks: &[LockRequest],
    ) -> bool {
        let wanted = grips(key.resource, locks).into_iter().filter(|(wanted, _)| wanted == key);
        wanted.into_iter().all(|(key, grip)| self.obstacle(asker, &key, grip).is_none())
    }

    fn obstacle(&self, asker: Asker, key: &ResourceKey, grip: Grip) -> Option<Option<XidNumber>> {
        let entry = self.entries.get(key)?;
        let holder = entry
            .holders
            .iter()
            .find(|(xid, counts)| Some(*xid) != asker.xid && !counts.goes_with(grip));
        if let Some((xid, _)) = holder {
            return Some(Some(xid));
        }
        let queue = entry.queue.as_ref()?;
        let kept = queue.reserved.iter().any(|(waiter, xid)| {
            asker.comes_after(*waiter) && (xid.is_none() || *xid != asker.xid)
        });
        kept.then_some(None)
    }

    /// The transactions that stand between `asker` and these keys: holders, and waiters for whom a
    /// key is kept. These are the edges of the wait graph.
    pub(crate) fn against(
        &self,
        asker: Asker,
        resource: ResourceNumber,
        locks: &[LockRequest],
    ) -> BTreeSet<XidNumber> {
        let mut against = BTreeSet::new();
        for (key, grip) in grips(resource, locks) {
            let Some(entry) = self.entries.get(&key) else { continue };
            let holders = entry.holders.iter().filter(|(_, counts)| !counts.goes_with(grip));
            against.extend(holders.map(|(xid, _)| xid));
            if let Some(queue) = &entry.queue {
                let kept = queue.reserved.iter().filter(|(waiter, _)| asker.comes_after(**waiter));
                against.extend(kept.filter_map(|(_, xid)| *xid));
            }
        }
        if let Some(xid) = asker.xid {
            against.remove(&xid);
        }
        against
    }

    /// The first in the queue on a key.
    pub(crate) fn first_waiter(&self, key: &ResourceKey) -> Option<WaiterId> {
        self.entries.get(key)?.queue.as_ref()?.waiters.first().copied()
    }

    /// All in the queue on a key, in order of arrival.
    pub(crate) fn waiters(&self, key: &ResourceKey) -> impl Iterator<Item = WaiterId> {
        let queue = self.entries.get(key).and_then(|entry| entry.queue.as_ref());
        queue.into_iter().flat_map(|queue| queue.waiters.iter().copied())
    }

    /// The keys of these locks, tables included, that somebody queues on.
    pub(crate) fn waited_for(
        &self,
        resource: ResourceNumber,
        locks: &[LockRequest],
    ) -> Vec<ResourceKey> {
        let keys = grips(resource, locks).into_iter().map(|(key, _)| key);
        keys.filter(|key| self.first_waiter(key).is_some()).collect()
    }

    /// How many keys are held.
    pub(crate) fn held_count(&self) -> usize {
        self.entries.len()
    }

    /// Every held key with its holders and whether each holds it exclusively; for invariants.
    pub(crate) fn holdings(&self) -> impl Iterator<Item = (&ResourceKey, Vec<(XidNumber, bool)>)> {
        self.entries.iter().map(|(key, entry)| {
            let exclusively = |counts: Counts| counts.0[Grip::Exclusive as usize] > 0;
            let holders = entry.holders.iter();
            (key, holders.map(|(xid, counts)| (xid, exclusively(counts))).collect())
        })
    }

    pub(crate) fn acquire(
        &mut self,
        xid: XidNumber,
        resource: ResourceNumber,
        locks: &[LockRequest],
    ) {
        for (key, grip) in grips(resource, locks) {
            let entry = self.entries.entry(key).or_default();
            entry.holders.change(xid, |counts| counts.0[grip as usize] += 1);
        }
    }

    pub(crate) fn release(
        &mut self,
        xid: XidNumber,
        resource: ResourceNumber,
        locks: &[LockRequest],
    ) {
        for (key, grip) in grips(resource, locks) {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.holders.change(xid, |counts| {
                    let count = &mut counts.0[grip as usize];
                    assert!(*count > 0, "only an owner releases a lock (LK-3)");
                    *count -= 1;
                });
            }
            self.forget_if_unused(&key);
        }
    }

    pub(crate) fn enqueue(&mut self, waiter: WaiterId, key: &ResourceKey) {
        self.queue(key).waiters.insert(waiter);
    }

    pub(crate) fn dequeue(&mut self, waiter: WaiterId, key: &ResourceKey) {
        self.queue(key).waiters.remove(&waiter);
        self.forget_if_unused(key);
    }

    pub(crate) fn reserve(
        &mut self,
        waiter: WaiterId,
        xid: Option<XidNumber>,
        resource: ResourceNumber,
        locks: &[LockRequest],
    ) {
        for (key, _) in grips(resource, locks) {
            self.queue(&key).reserved.insert(waiter, xid);
        }
    }

    pub(crate) fn unreserve(
        &mut self,
        waiter: WaiterId,
        resource: ResourceNumber,
        locks: &[LockRequest],
    ) {
        for (key, _) in grips(resource, locks) {
            self.queue(&key).reserved.remove(&waiter);
            self.forget_if_unused(&key);
        }
    }

    fn queue(&mut self, key: &ResourceKey) -> &mut Queue {
        self.entries.entry(key.clone()).or_default().queue.get_or_insert_default()
    }

    fn forget_if_unused(&mut self, key: &ResourceKey) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.queue.take_if(|queue| queue.waiters.is_empty() && queue.reserved.is_empty());
        if entry.queue.is_none() && matches!(entry.holders, Holders::None) {
            self.entries.remove(key);
        }
    }
}
