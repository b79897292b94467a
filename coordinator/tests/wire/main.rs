//! A coordinator over the real wire, on connections in memory and a paused clock, so that nothing
//! here waits for time or depends on it.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod admin;
mod attachment;
mod bad_input;
mod can_commit;
mod delegation;
mod durability;
mod lifecycle;
mod saga_durability;
mod sagas;
mod scopes;
mod session;
mod support;
