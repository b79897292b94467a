//! XA mode: the database's own prepared transactions, for statements that need no undo log.
//!
//! ```text
//! phase one   pool.rs          register, and the barrier row first
//!             connection.rs    the executor: refuses what would end the branch, notes plain reads
//!             transaction.rs   prepare, and what became of it
//!             one_phase.rs     or left open, where its manager may commit it in one phase
//!             held.rs          connections that must not go back to their pool
//!             texts.rs         what is known of statements by their text
//! phase two   phase_two.rs     what the coordinator asks
//!             prepared.rs      looked for, finished, buried; the rule is `pactum_core::xa`
//! upkeep      janitor.rs       what stayed behind;  upkeep.rs  now and then
//! both        support.rs       what a database needs for all of it; AT's pool has it too
//!             name.rs          what tells ours from everybody else's
//!             dialect.rs       what is said to a database: postgres.rs, mysql.rs
//!             check.rs         whether it can do this at all
//! ```
//!
//! See `docs/xa.md` for the protocol step by step.

mod check;
mod connection;
mod dialect;
mod error;
mod held;
mod janitor;
mod mysql;
mod name;
mod one_phase;
mod options;
mod phase_two;
mod pool;
mod postgres;
mod prepared;
mod support;
#[cfg(test)]
mod tests;
mod texts;
mod transaction;
mod upkeep;

pub use connection::XaConnection;
pub use error::XaError;
pub(crate) use name::Name;
pub use options::XaOptions;
pub use pool::XaPool;
pub(crate) use support::{Branch, Support};
pub use transaction::XaTransaction;
pub(crate) use transaction::settle;
pub(crate) use upkeep::rounds;
