//! AT mode: an application's plain SQL, undone exactly if the global transaction rolls back.
//!
//! ```text
//! phase one   pool.rs          what an application holds; single statements
//!             waiting.rs       transactions that run again, once a taken lock is free or after a setback
//!             transaction.rs   a local transaction, and savepoint.rs in it
//!             connection.rs    the executor: plans, and passes on;  told.rs  which error came back
//!             held.rs          what it runs on, and what a dropped future leaves of it
//!             change.rs        image, change, image, note;  locking.rs  reads that ask for locks
//!             ready.rs         from a statement's text to what is run for it
//!               plan/          what a statement is, by its text; refuses what cannot be undone
//!               table.rs       what must be known of a table
//!               keys.rs        which global locks a changed row takes
//!               undo.rs        the undo log and its stored form
//!             commit.rs        register, write the barrier row, commit
//!             fallback.rs      or prepare, after a statement that only the database can undo
//! phase two   phase_two.rs     what the coordinator asks
//!               restore.rs     rows back to what they were, or a dirty write
//!               reverse.rs     its writing
//!               report.rs      what a person sees of a parked branch
//! upkeep      upkeep.rs        now and then: old rows purged, and
//!                              open ones asked about, by `crate::barrier::sweep`
//! both        engine.rs        what a database must offer; a folder each: sqlite/, postgres/, mysql/
//!               build.rs       statements of ours in the making
//!             check.rs         the same plans for a script, and nothing run
//!             evidence.rs      barrier rows for people
//! ```
//!
//! See `docs/at.md` for what is supported, what is refused, and which anomalies remain.

mod build;
mod cache;
mod change;
mod check;
mod commit;
mod connection;
mod engine;
mod error;
mod evidence;
mod fallback;
mod held;
mod keys;
mod locking;
mod mysql;
mod options;
mod phase_two;
mod plan;
mod pool;
mod postgres;
mod ready;
mod report;
mod restore;
mod reverse;
mod savepoint;
mod sqlite;
mod table;
#[cfg(test)]
mod tests;
mod told;
mod transaction;
mod undo;
mod upkeep;
mod waiting;

pub use check::{CheckedStatement, Verdict, check_sql};
pub use connection::AtConnection;
pub use engine::AtDatabase;
pub(crate) use engine::{Statement, Step};
pub use error::AtError;
pub use evidence::{Evidence, evidence};
pub use options::{AtOptions, Fallback};
pub use plan::Refused;
pub(crate) use plan::only_reads;
pub use pool::AtPool;
pub use savepoint::{AtSavepoint, SavepointMark};
pub use told::Told;
pub use transaction::AtTransaction;
pub use undo::{UnreadableUndo, read_undo};
