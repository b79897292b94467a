//! The rules of Pactum, pure: no I/O, no clock, no randomness, no `async`.

pub mod id;
pub mod lock;
pub mod restore;
pub mod time;
