//! What became of a transaction, as its coordinator says: what the sweep, the purge and the janitor ask
//! about what stayed behind.
//!
//! Easy to get wrong: *unrecorded* and *unknown*. Both say that the coordinator has no record of the
//! transaction, and of what left a trace here there must have been one.

use pactum_core::step::Outcome;
use pactum_core::transaction::{RollbackCause, Status};
use pactum_proto::v1::ErrorCode;

use crate::session::CallError;

/// See the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Not decided, or left to a branch that decides.
    Undecided,
    Committing,
    Committed,
    RollingBack,
    RolledBack,
    /// Rolled back, as far as the coordinator can tell: it never stored anything of it.
    Unrecorded,
    /// It ended longer ago than the coordinator's history reaches.
    Expired,
    Unknown,
    /// It belongs to another coordinator's store.
    Foreign,
}

/// Why nothing can be done by itself about a trace of a transaction of which the coordinator has no record.
pub(crate) const LOST: &str = "the coordinator knows nothing of its transaction: it lost state";
/// The same for one that has expired.
pub(crate) const EXPIRED: &str =
    "its transaction ended longer ago than the coordinator's history reaches";
/// The same for another store's.
pub(crate) const FOREIGN: &str = "its transaction belongs to another coordinator's store";

impl Fate {
    /// Reads the coordinator's answer.
    ///
    /// # Errors
    /// It did not say what became of the transaction.
    pub(crate) fn read(answer: Result<Outcome, CallError>) -> Result<Fate, CallError> {
        match answer {
            Ok(outcome) => Ok(match outcome.status {
                Status::Active | Status::Delegated => Fate::Undecided,
                Status::Committing => Fate::Committing,
                Status::Committed => Fate::Committed,
                Status::RollingBack(_) => Fate::RollingBack,
                Status::RolledBack(RollbackCause::Unrecorded) => Fate::Unrecorded,
                Status::RolledBack(_) => Fate::RolledBack,
            }),
            Err(error) => match error.code() {
                Some(ErrorCode::UnknownTransaction) => Ok(Fate::Unknown),
                Some(ErrorCode::Expired) => Ok(Fate::Expired),
                Some(ErrorCode::Foreign) => Ok(Fate::Foreign),
                Some(_) | None => Err(error),
            },
        }
    }
}
