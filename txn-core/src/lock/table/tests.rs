//! The lock table against a model that only knows who holds what, and looks at all of it each time.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Asker, LockTable};
use crate::event::{KeysFor, RequestKeys};
use crate::id::{ResourceNumber, SessionId, XidNumber};
use crate::lock::LockRequest;
use crate::lock::key::{EncodedKey, KeyKind, KeyValue, LockKey, LockMode};
use crate::lock::wait::{WaitFor, Waiter, WaiterId};
use crate::step::ReplyTo;

/// What is done to the table. Places in the lists are taken modulo their length.
#[derive(Clone, Debug)]
enum Act {
    Acquire { xid: u64, resource: u32, locks: Vec<LockRequest> },
    Release(usize),
    Wait { xid: Option<u64>, resource: u32, locks: Vec<LockRequest>, local: bool },
    Reserve(usize),
    Leave(usize),
}

/// A holding or a wait, as the model keeps it.
#[derive(Clone, Debug)]
struct Held {
    xid: XidNumber,
    resource: ResourceNumber,
    locks: Vec<LockRequest>,
}

#[derive(Default)]
struct Model {
    held: Vec<Held>,
    waiting: Vec<Waiter>,
    reserved: BTreeSet<WaiterId>,
}

/// Whether two locks of one resource cannot be held by two transactions at the same time.
fn stand_against(a: &LockRequest, b: &LockRequest) -> bool {
    let overlap = a.key == b.key
        || (a.key.is_table() && a.key == b.key.table())
        || (b.key.is_table() && b.key == a.key.table());
    overlap && (a.mode == LockMode::Exclusive || b.mode == LockMode::Exclusive)
}

impl Model {
    /// Whom `asker` must wait for to have these locks.
    fn against(&self, asker: Asker, resource: ResourceNumber, locks: &[LockRequest]) -> Against {
        let mut against = Against::default();
        for lock in locks {
            let others = self.held.iter().filter(|held| Some(held.xid) != asker.xid);
            for held in others.filter(|held| held.resource == resource) {
                if held.locks.iter().any(|other| stand_against(lock, other)) {
                    against.holders.insert(held.xid);
                }
            }
            for waiter in self.waiting.iter().filter(|waiter| self.reserved.contains(&waiter.id)) {
                let before = asker.arrival.is_none_or(|arrival| waiter.id < arrival);
                let other = waiter.xid.is_some() && waiter.xid != asker.xid;
                let wanted = waiter.locks().iter().any(|other| stand_against(lock, other));
                if before && other && wanted && waiter.resource == resource {
                    against.keepers.extend(waiter.xid);
                }
            }
        }
        against
    }

    /// Whether `xid` holds all of these already, each as it is wanted or more so.
    fn has(&self, xid: Option<XidNumber>, resource: ResourceNumber, locks: &[LockRequest]) -> bool {
        let own =
            self.held.iter().filter(|held| Some(held.xid) == xid && held.resource == resource);
        let own: Vec<&LockRequest> = own.flat_map(|held| &held.locks).collect();
        !own.is_empty()
            && locks
                .iter()
                .all(|lock| own.iter().any(|held| held.key == lock.key && held.mode >= lock.mode))
    }
}

#[derive(Debug, Default)]
struct Against {
    holders: BTreeSet<XidNumber>,
    keepers: BTreeSet<XidNumber>,
}

fn waiter(
    id: u64,
    xid: Option<u64>,
    resource: u32,
    locks: Vec<LockRequest>,
    local: bool,
) -> Waiter {
    let reply = ReplyTo { session: SessionId(0), correlation: id };
    let request = RequestKeys {
        purpose: KeysFor::Claim,
        target: None,
        session: SessionId(0),
        resource: "a".parse().unwrap(),
        locks: Arc::from(locks),
        wait: std::time::Duration::ZERO,
        holds_local_locks: local,
        reply,
    };
    Waiter {
        id: WaiterId(id),
        xid: xid.map(XidNumber),
        resource: ResourceNumber(resource),
        purpose: WaitFor::Keys(Box::new(request)),
        taken: Vec::new(),
        overtaken: 0,
    }
}

fn key() -> impl Strategy<Value = EncodedKey> {
    (0..2_u8, 0..4_i64).prop_map(|(table, row)| {
        let (kind, values) = match row {
            0 => (KeyKind::Table, vec![]),
            row => (KeyKind::Row, vec![KeyValue::Integer(row)]),
        };
        LockKey { table: table.to_string(), kind, values }.encode().unwrap()
    })
}

fn locks() -> impl Strategy<Value = Vec<LockRequest>> {
    let mode = prop_oneof![Just(LockMode::Shared), Just(LockMode::Exclusive)];
    vec((key(), mode).prop_map(|(key, mode)| LockRequest { key, mode }), 1..4)
}

fn act() -> impl Strategy<Value = Act> {
    let place = || 0..16_usize;
    prop_oneof![
        4 => (1..5_u64, 1..3_u32, locks())
            .prop_map(|(xid, resource, locks)| Act::Acquire { xid, resource, locks }),
        2 => place().prop_map(Act::Release),
        3 => (proptest::option::weighted(0.8, 1..5_u64), 1..3_u32, locks(), any::<bool>())
            .prop_map(|(xid, resource, locks, local)| Act::Wait { xid, resource, locks, local }),
        1 => place().prop_map(Act::Reserve),
        1 => place().prop_map(Act::Leave),
    ]
}

/// Does it to both, where the rules of the group would do it at all.
fn perform(act: Act, table: &mut LockTable, model: &mut Model, next: &mut u64) {
    match act {
        Act::Acquire { xid, resource, locks } => {
            let (xid, resource) = (XidNumber(xid), ResourceNumber(resource));
            let asker = Asker { xid: Some(xid), arrival: None };
            if table.taken(asker, resource, &locks).is_empty() {
                table.acquire(xid, resource, &locks);
                model.held.push(Held { xid, resource, locks });
            }
        }
        Act::Release(place) if !model.held.is_empty() => {
            let held = model.held.remove(place % model.held.len());
            table.release(held.xid, held.resource, &held.locks);
        }
        Act::Wait { xid, resource, locks, local } => {
            *next += 1;
            let mut waiter = waiter(*next, xid, resource, locks, local);
            let taken = table.taken(Asker::of(&waiter), waiter.resource, waiter.locks());
            if !taken.is_empty() {
                waiter.taken = taken.into_iter().map(|taken| taken.key).collect();
                table.enqueue(&waiter);
                model.waiting.push(waiter);
            }
        }
        Act::Reserve(place) if !model.waiting.is_empty() => {
            let waiter = &model.waiting[place % model.waiting.len()];
            table.reserve(waiter);
            model.reserved.insert(waiter.id);
        }
        Act::Leave(place) if !model.waiting.is_empty() => {
            let waiter = model.waiting.remove(place % model.waiting.len());
            table.dequeue(&waiter);
            if model.reserved.remove(&waiter.id) {
                table.unreserve(&waiter);
            }
        }
        Act::Release(_) | Act::Reserve(_) | Act::Leave(_) => {}
    }
}

/// One question, put to both.
fn compare(table: &LockTable, model: &Model, asker: Asker, resource: u32, locks: &[LockRequest]) {
    let resource = ResourceNumber(resource);
    let said = model.against(asker, resource, locks);
    let taken = table.taken(asker, resource, locks);
    let against = table.against(asker, resource, locks);
    if model.has(asker.xid, resource, locks) {
        assert_eq!(taken, [], "what one has is not taken from it");
        assert_eq!(against, BTreeSet::new());
        return;
    }
    assert!(said.holders.is_subset(&against), "{said:?} {against:?}");
    let all: BTreeSet<XidNumber> = said.holders.union(&said.keepers).copied().collect();
    assert!(against.is_subset(&all), "{said:?} {against:?}");
    assert_eq!(taken.is_empty(), against.is_empty());
    let contested = asker.xid.map(|xid| table.is_contested(xid, resource, locks));
    assert!(contested.is_none_or(|contested| contested != said.holders.is_empty()));
    for taken in taken {
        assert!(taken.holder.is_none_or(|holder| said.holders.contains(&holder)));
    }
}

/// The queue of every key: who comes first of those whom it admits.
fn compare_queues(table: &LockTable, model: &Model) {
    for waiter in &model.waiting {
        for key in &waiter.taken {
            let queued = |other: &&Waiter| other.taken.contains(key);
            let first = model.waiting.iter().filter(queued).find(|other| {
                let taken = table.taken(Asker::of(other), other.resource, other.locks());
                !taken.iter().any(|taken| taken.key == *key)
            });
            if table.exclusive_holder(key).is_none() {
                assert_eq!(table.first_admitted(key), first.map(|waiter| waiter.id));
            }
            assert_eq!(
                table.first_waiter(key),
                model.waiting.iter().find(queued).map(|waiter| waiter.id)
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_table_says_what_a_look_at_all_holders_says(
        acts in vec(act(), 0..40),
        questions in vec((proptest::option::of(1..6_u64), 1..3_u32, locks()), 1..6),
    ) {
        let (mut table, mut model, mut next) = (LockTable::default(), Model::default(), 0);
        for act in acts {
            perform(act, &mut table, &mut model, &mut next);
        }
        for (xid, resource, locks) in questions {
            let asker = Asker { xid: xid.map(XidNumber), arrival: None };
            compare(&table, &model, asker, resource, &locks);
        }
        for waiter in &model.waiting {
            compare(&table, &model, Asker::of(waiter), waiter.resource.0, waiter.locks());
        }
        compare_queues(&table, &model);
        let holders = table.holdings().values().flatten().map(|(xid, _)| *xid).collect::<BTreeSet<_>>();
        prop_assert_eq!(holders, model.held.iter().map(|held| held.xid).collect::<BTreeSet<_>>());

        // Whoever is done leaves nothing behind.
        for held in model.held {
            table.release(held.xid, held.resource, &held.locks);
        }
        for waiter in &model.waiting {
            table.dequeue(waiter);
            if model.reserved.contains(&waiter.id) {
                table.unreserve(waiter);
            }
        }
        prop_assert_eq!(table.held_count(), 0);
    }

    #[test]
    fn who_wants_a_key_is_found_though_it_queues_on_another(
        acts in vec(act(), 0..40),
        resource in 1..3_u32,
        locks in locks(),
    ) {
        let (mut table, mut model, mut next) = (LockTable::default(), Model::default(), 0);
        for act in acts {
            perform(act, &mut table, &mut model, &mut next);
        }
        let resource = ResourceNumber(resource);
        let found = table.who_want(resource, &locks);
        for waiter in model.waiting.iter().filter(|waiter| waiter.resource == resource) {
            let wants = waiter.locks().iter().any(|lock| {
                locks.iter().any(|other| stand_against(lock, other))
            });
            let local = waiter.holds_local_locks();
            prop_assert!(!wants || !local || found.contains(&waiter.id));
            prop_assert!(wants || !found.contains(&waiter.id));
        }
    }
}
