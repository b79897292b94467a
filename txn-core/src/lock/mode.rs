//! What goes together on one key: shared, exclusive, and the intents that a lock inside a table
//! leaves on the table itself.
//!
//! ```text
//!                    intent shared   intent exclusive   shared   exclusive
//! intent shared           yes              yes            yes       no
//! intent exclusive        yes              yes            no        no
//! shared                  yes              no             yes       no
//! exclusive               no               no             no        no
//! ```
//!
//! (The multiple-granularity matrix of Gray, Lorie, Putzolu and Traiger, 1976, without SIX.)

use crate::id::ResourceNumber;
use crate::lock::key::{EncodedKey, LockMode};
use crate::lock::{LockRequest, ResourceKey};

/// How a key is held, intents included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Grip {
    IntentShared = 0,
    IntentExclusive = 1,
    Shared = 2,
    Exclusive = 3,
}

impl Grip {
    pub(crate) const ALL: [Grip; 4] =
        [Grip::IntentShared, Grip::IntentExclusive, Grip::Shared, Grip::Exclusive];

    /// Whether two transactions may hold these on one key at the same time.
    pub(crate) fn goes_with(self, other: Grip) -> bool {
        use Grip::{Exclusive, IntentExclusive, IntentShared, Shared};
        match (self, other) {
            (Exclusive, _) | (_, Exclusive) => false,
            (IntentShared, _) | (_, IntentShared) => true,
            (IntentExclusive, IntentExclusive) | (Shared, Shared) => true,
            (IntentExclusive, Shared) | (Shared, IntentExclusive) => false,
        }
    }

    /// Whether one who holds a key like this has all that `other` would give.
    pub(crate) fn covers(self, other: Grip) -> bool {
        use Grip::{Exclusive, IntentExclusive, IntentShared, Shared};
        match (self, other) {
            (Exclusive, _) | (_, IntentShared) => true,
            (IntentExclusive, IntentExclusive) | (Shared, Shared) => true,
            (IntentShared, _) | (_, Exclusive) => false,
            (IntentExclusive, Shared) | (Shared, IntentExclusive) => false,
        }
    }
}

impl From<LockMode> for Grip {
    fn from(mode: LockMode) -> Self {
        match mode {
            LockMode::Shared => Grip::Shared,
            LockMode::Exclusive => Grip::Exclusive,
        }
    }
}

/// A set of grips: what one waiter wants of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct GripSet(u8);

impl GripSet {
    pub(crate) fn insert(&mut self, grip: Grip) {
        self.0 |= 1 << grip as u8;
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Grip> {
        Grip::ALL.into_iter().filter(move |grip| self.0 & (1 << *grip as u8) != 0)
    }

    pub(crate) fn goes_with(self, other: Grip) -> bool {
        self.iter().all(|grip| grip.goes_with(other))
    }
}

/// A place in a resource that can be held: a row or unique value, or a whole table. Borrowed from
/// the key, because the lock table is asked many times for each key that it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot<'a> {
    /// A row or a unique value.
    Inside(&'a EncodedKey),
    /// A table, by the bytes with which all of its keys begin.
    Table(&'a [u8]),
}

impl<'a> Spot<'a> {
    pub(crate) fn of(key: &'a EncodedKey) -> Self {
        if key.is_table() { Spot::Table(key.table_bytes()) } else { Spot::Inside(key) }
    }

    /// What tells it from every other place of the resource.
    pub(crate) fn bytes(self) -> &'a [u8] {
        match self {
            Spot::Inside(key) => key.as_bytes(),
            Spot::Table(bytes) => bytes,
        }
    }

    /// The key that stands for it.
    pub(crate) fn key(self, resource: ResourceNumber) -> ResourceKey {
        let key = match self {
            Spot::Inside(key) => key.clone(),
            Spot::Table(bytes) => EncodedKey::of_table(bytes),
        };
        ResourceKey { resource, key }
    }
}

/// What a registration holds: its locks, and once for each table that they lie in an intent.
pub(crate) fn grips(locks: &[LockRequest]) -> impl Iterator<Item = (Spot<'_>, Grip)> {
    locks.iter().enumerate().flat_map(|(place, lock)| {
        let spot = Spot::of(&lock.key);
        let intent = match spot {
            Spot::Inside(key) if is_first_of_its_table(locks, place) => {
                Some((Spot::Table(key.table_bytes()), intent(lock.mode)))
            }
            Spot::Inside(_) | Spot::Table(_) => None,
        };
        std::iter::once((spot, Grip::from(lock.mode))).chain(intent)
    })
}

/// Looks backwards: a branch touches few tables, and mostly one after the other.
fn is_first_of_its_table(locks: &[LockRequest], place: usize) -> bool {
    let lock = &locks[place];
    !locks[..place].iter().rev().any(|other| {
        other.mode == lock.mode
            && other.key.table_bytes() == lock.key.table_bytes()
            && !other.key.is_table()
    })
}

fn intent(mode: LockMode) -> Grip {
    match mode {
        LockMode::Shared => Grip::IntentShared,
        LockMode::Exclusive => Grip::IntentExclusive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_is_symmetric_and_exclusive_goes_with_nothing() {
        for a in Grip::ALL {
            assert!(!a.goes_with(Grip::Exclusive));
            for b in Grip::ALL {
                assert_eq!(a.goes_with(b), b.goes_with(a), "{a:?} {b:?}");
            }
        }
        assert!(Grip::Shared.goes_with(Grip::Shared));
        assert!(!Grip::Shared.goes_with(Grip::IntentExclusive));
        assert!(Grip::IntentExclusive.goes_with(Grip::IntentExclusive));
    }
}
