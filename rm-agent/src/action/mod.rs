//! What TCC and saga share: handlers that an application registers by name, called in phase two with
//! what phase one left in the barrier row.
//!
//! ```text
//! pool.rs         what an application holds: a database, and the actions registered on it
//! phase_one.rs    one local transaction of a try or an action: barrier row, handler, commit
//! participant.rs  what the coordinator asks, in local transactions of its own
//!   confirming.rs   many commits: side by side, or in turns on SQLite
//!   acting.rs       the action of a declared saga's step
//!   calling.rs      a handler called with a limit, and whatever it does wrong
//! handler.rs      a registered handler, and what it may answer; registry.rs: by name
//! upkeep.rs       old rows purged and asked about
//! options.rs, error.rs, report.rs
//! ```
//!
//! What to do about a call is decided by [`pactum_core::fence`]; here it is done.
//!
//! A handler gets the connection with the local transaction open and the barrier row in it, so what it
//! writes and what the barrier says are committed together. Easy to get wrong: whoever has the
//! connection can end that transaction (COMMIT, ROLLBACK, or on MySQL any DDL); a handler must not.

mod acting;
mod calling;
mod confirming;
mod error;
mod handler;
mod options;
mod participant;
mod phase_one;
mod pool;
mod registry;
mod report;
#[cfg(test)]
mod tests;
mod upkeep;

pub use error::{ActionError, PhaseOneError};
pub use handler::{Chance, Handled};
pub use options::ActionOptions;
pub use pool::{ActionDatabase, ActionPool};

pub(crate) use calling::{Call, call};
pub(crate) use handler::{Direction, Handler, Kept, Left, Stopped};
pub(crate) use phase_one::{Local, NotCommitted, Opened, write_body};
pub(crate) use pool::Shared;
pub(crate) use registry::Registry;
pub(crate) use report::{handled_answer, later, parked, stopped_answer, too_late, unknown};
