//! The transaction manager: begins a global transaction, and asks for its commit or rollback.
//!
//! ```text
//! agent.global("transfer").run(|context| async { … })     Ok → commit, Err and panic → roll back
//! agent.begin("transfer", options) ─▶ GlobalTransaction ─ commit() / rollback() / veto(reason)
//!                                            └ dropped unfinished ─▶ rolled back, in the background
//! ```
//!
//! The answer to a commit is the decision, or *in doubt* while the coordinator is silent; never
//! *failed*. Both forms end in `ending.rs`.

mod ending;
mod global;
mod options;
mod outcome;
#[cfg(test)]
mod tests;
mod transaction;

pub use global::{Finished, Global, RunError};
pub use options::{BeginError, BeginOptions, Wait};
pub use outcome::{Decision, Outcome};
pub use transaction::{GlobalTransaction, InDoubt, TransactionHandle};
