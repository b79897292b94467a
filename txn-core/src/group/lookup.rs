//! What is said of a transaction that a request names: live, ended, or unknown in one of the ways
//! that must not be mixed up.
//!
//! An unknown number means *rolled back* only above the history horizon, and only to a caller that
//! named this very store: a begin that was never stored was lost with us, so nothing of it exists.
//! So it may not be said of a number whose begin may still be on its way (`named`).
//! Below the horizon the outcome is past; a number never issued is no transaction at all.

use super::Group;
use crate::event::Target;
use crate::id::XidNumber;
use crate::rejection::Rejection;
use crate::step::Outcome;
use crate::transaction::{GlobalTransaction, RollbackCause, Status};

/// What a target turned out to be.
pub(super) enum Found<'a> {
    Live(&'a GlobalTransaction),
    Ended(Outcome),
    /// It was begun here and nothing of it was ever stored.
    Unrecorded,
}

impl Found<'_> {
    /// The outcome as it stands.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Found::Live(txn) => txn.outcome(),
            Found::Ended(outcome) => *outcome,
            Found::Unrecorded => {
                let status = Status::RolledBack(RollbackCause::Unrecorded);
                Outcome { status, parked: 0 }
            }
        }
    }
}

impl Group {
    pub(super) fn find(&self, target: Target) -> Result<Found<'_>, Rejection> {
        if let Some(txn) = self.transaction(target.xid) {
            return Ok(Found::Live(txn));
        }
        if let Some(status) = self.history.status(target.xid) {
            return Ok(Found::Ended(Outcome { status, parked: 0 }));
        }
        if target.xid <= self.history.horizon() {
            return Err(Rejection::Expired);
        }
        if self.sessions.may_yet_begin(target.xid) {
            return Err(Rejection::NotBegun);
        }
        if !target.store_named || !self.ids.may_have_issued(target.xid) {
            return Err(Rejection::UnknownTransaction);
        }
        Ok(Found::Unrecorded)
    }

    /// A transaction that has not ended, for what the group asks of itself.
    pub(super) fn live(&self, xid: XidNumber) -> Option<&GlobalTransaction> {
        self.transaction(xid)
    }
}
