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
use crate::lock::key::LockMode;
use crate::lock::{LockRequest, ResourceKey};

/// How a key is held, intents included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
}

impl From<LockMode> for Grip {
    fn from(mode: LockMode) -> Self {
        match mode {
            LockMode::Shared => Grip::Shared,
            LockMode::Exclusive => Grip::Exclusive,
        }
    }
}

/// What a registration holds: its locks, and an intent on each table that they lie in.
pub(crate) fn grips(resource: ResourceNumber, locks: &[LockRequest]) -> Vec<(ResourceKey, Grip)> {
    let mut intents: Vec<(ResourceKey, Grip)> = Vec::new();
    let mut grips = Vec::with_capacity(locks.len() + 1);
    for lock in locks {
        let table = lock.key.table();
        if table != lock.key {
            let intent = match lock.mode {
                LockMode::Shared => Grip::IntentShared,
                LockMode::Exclusive => Grip::IntentExclusive,
            };
            let intent = (ResourceKey { resource, key: table }, intent);
            // A branch touches few tables, so a list beats a set.
            if !intents.contains(&intent) {
                intents.push(intent);
            }
        }
        grips.push((ResourceKey { resource, key: lock.key.clone() }, Grip::from(lock.mode)));
    }
    grips.extend(intents);
    grips
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
