//! The transaction manager: begins a global transaction, and asks for its commit or rollback.
//!
//! ```text
//! agent.global("transfer").run(|context| async { … })     Ok → commit, Err and panic → roll back
//! agent.begin("transfer", options) ─▶ GlobalTransaction ─ commit() / rollback() / veto(reason)
//!                                            └ dropped unfinished ─▶ rolled back, in the background
//! ```
//!
//! ```text
//! global.rs, finished.rs      the closure form, and what it answers
//! propagation.rs, rules.rs    whether it begins, joins or nests; which errors roll back
//! transaction.rs, ending.rs   explicit handles, and how a transaction is ended
//! delegated.rs                ended by the one-phase commit of its only branch
//! scope.rs                    a part of one that can be rolled back by itself
//! hooks.rs, question.rs       who hears of begins and ends; asking before anything is tried
//! ```
//!
//! The answer to a commit is the decision, or *in doubt* while the coordinator is silent; never
//! *failed*. Both forms end in `ending.rs`.

mod delegated;
mod ending;
mod finished;
mod global;
mod hooks;
mod options;
mod outcome;
mod propagation;
mod question;
mod rules;
mod scope;
#[cfg(test)]
mod tests;
mod transaction;

pub use finished::{Ended, Fate, Finished, RunError, TransactionError};
pub use global::Global;
pub(crate) use hooks::HookList;
pub use hooks::Hooks;
pub use options::{BeginError, BeginOptions, Wait};
pub use outcome::{Decision, Outcome};
pub use propagation::Propagation;
pub(crate) use question::can_commit;
pub use question::{CanCommit, Question, QuestionError};
pub use rules::{ErrorRules, RollBackAlways};
pub use scope::{NestedScope, ScopeUndo, ScopeVetoed};
pub use transaction::{GlobalTransaction, InDoubt, TransactionHandle};
