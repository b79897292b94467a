//! The rules of Pactum, pure: no I/O, no clock, no randomness, no `async`.

pub mod decide;
pub mod event;
pub mod fence;
pub mod group;
pub mod id;
pub mod invariants;
pub mod lock;
pub mod policy;
pub mod recovery;
pub mod rejection;
pub mod restore;
pub mod retry;
pub mod saga;
pub mod step;
pub mod time;
pub mod transaction;
pub mod xa;
