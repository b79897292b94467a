//! Who holds which key, who queues on it, and for whom it is reserved.
//!
//! The table is rebuilt from the branch rows at recovery, so nothing here is stored. It answers
//! questions (`LockTable::taken`, `LockTable::against`) and records what `apply` tells it; who
//! gets a key next is decided in the group.
//!
//! A key is held by *transactions*, with a count for each way of holding it: it is free when the
//! last branch or claim that named it is done. The maps hash without a random seed, and nothing
//! iterates over them to decide anything.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::id::{ResourceNumber, XidNumber};
use crate::lock::holders::Holders;
use crate::lock::key::EncodedKey;
use crate::lock::mode::{Grip, GripSet, Spot, grips};
use crate::lock::wait::{Waiter, WaiterId};
use crate::lock::{LockRequest, ResourceKey};

/// The global locks of a group.
#[derive(Clone, Debug, Default)]
pub(crate) struct LockTable {
    resources: BTreeMap<ResourceNumber, Keys>,
}

/// The keys of one resource that are held or waited for. Tables stand apart, under the bytes that
/// their keys begin with, so that an intent is found without building the table's key.
#[derive(Clone, Debug, Default)]
struct Keys {
    inside: FxHashMap<EncodedKey, Entry>,
    tables: FxHashMap<Box<[u8]>, Entry>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    holders: Holders,
    /// Most keys are never waited for.
    queue: Option<Box<Queue>>,
}

#[derive(Clone, Debug, Default)]
struct Queue {
    /// In order of arrival.
    waiters: BTreeMap<WaiterId, Wish>,
    /// Waiters with row locks in their database that want this key too and could have it when they
    /// were last tried: if its next holder rolls back, they stand in the way of the undo.
    wanting: BTreeMap<WaiterId, Wish>,
    /// Waiters that were overtaken too often. Only those of a transaction: what is kept for somebody
    /// that is no node of the wait graph could close a cycle that nobody sees.
    reserved: BTreeMap<WaiterId, Wish>,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.waiters.is_empty() && self.wanting.is_empty() && self.reserved.is_empty()
    }
}

/// What a waiter wants of one key.
#[derive(Clone, Copy, Debug)]
struct Wish {
    xid: Option<XidNumber>,
    grips: GripSet,
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
    pub(crate) fn of(waiter: &Waiter) -> Self {
        Asker { xid: waiter.xid, arrival: Some(waiter.id) }
    }

    pub(crate) fn comes_after(self, waiter: WaiterId) -> bool {
        self.arrival.is_none_or(|arrival| waiter < arrival)
    }
}

impl Entry {
    /// The transactions that waited before `asker` and for which the key is kept. Nothing is kept from
    /// one that has it already: those who wait need its transaction to go on.
    fn keeps_from(&self, asker: Asker, grip: Grip) -> impl Iterator<Item = XidNumber> {
        let has_it = move || asker.xid.is_some_and(|xid| self.holders.cover(xid, grip));
        let queue = self.queue.iter().filter(move |_| !has_it());
        let before = queue.flat_map(|queue| &queue.reserved).filter(move |(waiter, wish)| {
            asker.comes_after(**waiter) && !wish.grips.goes_with(grip)
        });
        let others = before.filter_map(|(_, wish)| wish.xid);
        others.filter(move |xid| Some(*xid) != asker.xid)
    }

    fn admits(&self, asker: Asker, grip: Grip) -> bool {
        let stands_against = self.holders.stand_against(asker.xid, grip);
        !stands_against && self.keeps_from(asker, grip).next().is_none()
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
        for (spot, grip) in grips(locks) {
            let Some(entry) = self.entry(resource, spot) else { continue };
            if !entry.admits(asker, grip) {
                let holder = entry.holders.against(asker.xid, grip).next();
                taken.push(Taken { key: spot.key(resource), holder });
            }
        }
        taken
    }

    /// The first in the queue on a key that could have it now. A key that is held exclusively is
    /// free for its holder alone, whom [`LockTable::exclusive_holder`] names.
    pub(crate) fn first_admitted(&self, key: &ResourceKey) -> Option<WaiterId> {
        let entry = self.entry(key.resource, Spot::of(&key.key))?;
        let mut waiters = entry.queue.as_ref()?.waiters.iter();
        let admitted = |(id, wish): &(&WaiterId, &Wish)| {
            let asker = Asker { xid: wish.xid, arrival: Some(**id) };
            wish.grips.iter().all(|grip| entry.admits(asker, grip))
        };
        waiters.find(admitted).map(|(id, _)| *id)
    }

    pub(crate) fn exclusive_holder(&self, key: &ResourceKey) -> Option<XidNumber> {
        self.entry(key.resource, Spot::of(&key.key))?.holders.exclusive()
    }

    /// The transactions that stand between `asker` and these keys: holders, and those for whose waits
    /// a key is kept. These are the edges of the wait graph.
    pub(crate) fn against(
        &self,
        asker: Asker,
        resource: ResourceNumber,
        locks: &[LockRequest],
    ) -> BTreeSet<XidNumber> {
        let mut against = BTreeSet::new();
        for (spot, grip) in grips(locks) {
            let Some(entry) = self.entry(resource, spot) else { continue };
            against.extend(entry.holders.against(asker.xid, grip));
            against.extend(entry.keeps_from(asker, grip));
        }
        against
    }

    /// Whether another transaction holds one of these keys in a way that does not go with them.
    pub(crate) fn is_contested(
        &self,
        xid: XidNumber,
        resource: ResourceNumber,
        locks: &[LockRequest],
    ) -> bool {
        grips(locks).any(|(spot, grip)| {
            let entry = self.entry(resource, spot);
            entry.is_some_and(|entry| entry.holders.stand_against(Some(xid), grip))
        })
    }

    /// The first in the queue on a key.
    pub(crate) fn first_waiter(&self, key: &ResourceKey) -> Option<WaiterId> {
        let entry = self.entry(key.resource, Spot::of(&key.key))?;
        entry.queue.as_ref()?.waiters.keys().next().copied()
    }

    /// Those who want a key in a way that does not go with these locks: all that queue on it, and of
    /// the others those with row locks in their database.
    pub(crate) fn who_want(
        &self,
        resource: ResourceNumber,
        locks: &[LockRequest],
    ) -> BTreeSet<WaiterId> {
        let mut who = BTreeSet::new();
        for (spot, grip) in grips(locks) {
            let queue = self.entry(resource, spot).and_then(|entry| entry.queue.as_ref());
            let wishes =
                queue.into_iter().flat_map(|queue| queue.waiters.iter().chain(&queue.wanting));
            who.extend(wishes.filter(|(_, wish)| !wish.grips.goes_with(grip)).map(|(id, _)| *id));
        }
        who
    }

    /// The keys of these locks, tables included, that somebody queues on.
    pub(crate) fn waited_for(
        &self,
        resource: ResourceNumber,
        locks: &[LockRequest],
    ) -> Vec<ResourceKey> {
        let waited = |spot: Spot<'_>| {
            let queue = self.entry(resource, spot).and_then(|entry| entry.queue.as_ref());
            queue.is_some_and(|queue| !queue.waiters.is_empty())
        };
        grips(locks).filter(|(spot, _)| waited(*spot)).map(|(spot, _)| spot.key(resource)).collect()
    }

    /// How many keys are held or waited for, tables' intents included.
    pub(crate) fn held_count(&self) -> usize {
        self.resources.values().map(|keys| keys.inside.len() + keys.tables.len()).sum()
    }

    /// Every key that is held or waited for, with its holders in order and whether each holds it
    /// exclusively; for invariants and tests.
    pub(crate) fn holdings(&self) -> BTreeMap<ResourceKey, Vec<(XidNumber, bool)>> {
        let holders = |entry: &Entry| {
            entry.holders.iter().map(|(xid, held)| (xid, held.has(Grip::Exclusive))).collect()
        };
        let mut all = BTreeMap::new();
        for (resource, keys) in &self.resources {
            let inside = keys.inside.iter().map(|(key, entry)| (Spot::Inside(key), entry));
            let tables = keys.tables.iter().map(|(key, entry)| (Spot::Table(key), entry));
            all.extend(
                inside.chain(tables).map(|(spot, entry)| (spot.key(*resource), holders(entry))),
            );
        }
        all
    }

    pub(crate) fn acquire(
        &mut self,
        xid: XidNumber,
        resource: ResourceNumber,
        locks: &[LockRequest],
    ) {
        for (spot, grip) in grips(locks) {
            self.entry_or_new(resource, spot).holders.add(xid, grip);
        }
    }

    pub(crate) fn release(
        &mut self,
        xid: XidNumber,
        resource: ResourceNumber,
        locks: &[LockRequest],
    ) {
        for (spot, grip) in grips(locks) {
            self.change(resource, spot, |entry| entry.holders.take(xid, grip));
        }
    }

    /// Puts a waiter into the queues of the keys that are taken for it.
    pub(crate) fn enqueue(&mut self, waiter: &Waiter) {
        let taken: BTreeSet<&[u8]> =
            waiter.taken.iter().map(|taken| Spot::of(&taken.key).bytes()).collect();
        for (spot, wish) in wishes(waiter) {
            let queues = taken.contains(spot.bytes());
            if queues || waiter.holds_local_locks() {
                let queue = self.entry_or_new(waiter.resource, spot).queue.get_or_insert_default();
                let place = if queues { &mut queue.waiters } else { &mut queue.wanting };
                place.insert(waiter.id, wish);
            }
        }
    }

    pub(crate) fn dequeue(&mut self, waiter: &Waiter) {
        for (spot, _) in wishes(waiter) {
            self.change_queue(waiter.resource, spot, |queue| {
                queue.waiters.remove(&waiter.id);
                queue.wanting.remove(&waiter.id);
            });
        }
    }

    pub(crate) fn reserve(&mut self, waiter: &Waiter) {
        if waiter.xid.is_none() {
            return;
        }
        for (spot, wish) in wishes(waiter) {
            let queue = &mut self.entry_or_new(waiter.resource, spot).queue;
            queue.get_or_insert_default().reserved.insert(waiter.id, wish);
        }
    }

    pub(crate) fn unreserve(&mut self, waiter: &Waiter) {
        for (spot, _) in wishes(waiter) {
            self.change_queue(waiter.resource, spot, |queue| {
                queue.reserved.remove(&waiter.id);
            });
        }
    }

    fn entry(&self, resource: ResourceNumber, spot: Spot<'_>) -> Option<&Entry> {
        let keys = self.resources.get(&resource)?;
        match spot {
            Spot::Inside(key) => keys.inside.get(key),
            Spot::Table(bytes) => keys.tables.get(bytes),
        }
    }

    fn entry_or_new(&mut self, resource: ResourceNumber, spot: Spot<'_>) -> &mut Entry {
        let keys = self.resources.entry(resource).or_default();
        match spot {
            Spot::Inside(key) => keys.inside.entry(key.clone()).or_default(),
            Spot::Table(bytes) => {
                if !keys.tables.contains_key(bytes) {
                    keys.tables.insert(bytes.into(), Entry::default());
                }
                keys.tables.get_mut(bytes).expect("it was just put there")
            }
        }
    }

    fn change_queue(
        &mut self,
        resource: ResourceNumber,
        spot: Spot<'_>,
        change: impl FnOnce(&mut Queue),
    ) {
        self.change(resource, spot, |entry| {
            if let Some(queue) = &mut entry.queue {
                change(queue);
            }
        });
    }

    /// Changes what is known of a key, and forgets it once nobody holds it or waits for it.
    fn change(
        &mut self,
        resource: ResourceNumber,
        spot: Spot<'_>,
        change: impl FnOnce(&mut Entry),
    ) {
        let Some(keys) = self.resources.get_mut(&resource) else { return };
        let entry = match spot {
            Spot::Inside(key) => keys.inside.get_mut(key),
            Spot::Table(bytes) => keys.tables.get_mut(bytes),
        };
        let Some(entry) = entry else { return };
        change(entry);
        entry.queue.take_if(|queue| queue.is_empty());
        if entry.queue.is_some() || !entry.holders.is_empty() {
            return;
        }
        match spot {
            Spot::Inside(key) => drop(keys.inside.remove(key)),
            Spot::Table(bytes) => drop(keys.tables.remove(bytes)),
        }
    }
}

/// What a waiter wants, key by key.
fn wishes(waiter: &Waiter) -> Vec<(Spot<'_>, Wish)> {
    let mut wishes: Vec<(Spot<'_>, Wish)> = Vec::with_capacity(waiter.locks().len() + 1);
    let mut place_of: BTreeMap<&[u8], usize> = BTreeMap::new();
    for (spot, grip) in grips(waiter.locks()) {
        let place = *place_of.entry(spot.bytes()).or_insert(wishes.len());
        if place == wishes.len() {
            wishes.push((spot, Wish { xid: waiter.xid, grips: GripSet::default() }));
        }
        wishes[place].1.grips.insert(grip);
    }
    wishes
}

#[cfg(test)]
mod tests;
