//! Global locks: what they are taken on, who holds them, who waits for them.
//!
//! - [`key`]: the key and its canonical encoding.
//! - [`mode`]: shared, exclusive and the intents on tables; what goes together.
//! - `holders`: who holds one key, and how.
//! - [`table`]: who holds what; availability.
//! - [`wait`]: who waits, claims, reservations, and the wait graph.

mod holders;
pub mod key;
pub mod mode;
pub mod table;
pub mod wait;

use crate::id::ResourceNumber;
use key::{EncodedKey, LockMode};

/// One lock that a registration asks for, inside its resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockRequest {
    /// On what.
    pub key: EncodedKey,
    /// How.
    pub mode: LockMode,
}

/// A key within the group: the resource and the key inside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// Where.
    pub resource: ResourceNumber,
    /// What.
    pub key: EncodedKey,
}
