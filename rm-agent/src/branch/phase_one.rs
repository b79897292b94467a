//! A branch's phase one, from its registration to the report of how it ended, for every mode whose
//! barrier row lies in the branch's own local transaction.
//!
//! *Failed* frees what the branch holds, so it is said only when nothing can have been committed.
//! After an error of COMMIT that is learned on another connection: the barrier row is there, or a
//! tombstone in its place makes sure that it never will be.

use std::error::Error;
use std::sync::Arc;

use pactum_core::id::{BranchId, ResourceId};
use pactum_core::time::WallTime;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::BranchKey;
use super::lookup::{LOOKUP_WAIT_MAX, look_until};
use crate::barrier::{self, FindError, Mode, State};
use crate::context::TransactionContext;
use crate::db::LocalDatabase;
use crate::link::Link;
use crate::session::{CallError, Registration};

/// A registered branch whose local commit is still to come.
///
/// Dropped before [`PhaseOne::sent`], it says that nothing was committed. So its local transaction
/// must be dropped before it, and every other writer queues behind that rollback.
#[derive(Debug)]
pub(crate) struct PhaseOne {
    pub(crate) link: Arc<dyn Link>,
    pub(crate) context: TransactionContext,
    pub(crate) resource: ResourceId,
    pub(crate) branch: BranchId,
    /// Whether its drop says that it failed.
    pub(crate) armed: bool,
}

/// Why there is no registered branch.
pub(crate) enum Unregistered {
    /// The coordinator refused, or did not answer.
    Call(CallError),
    /// The global transaction's deadline passed before it answered.
    DeadlinePassed,
}

/// What became of a local commit that did not say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    Done,
    /// It did not take place, and never will.
    Failed,
    /// It could not be learned in time. The global transaction was vetoed.
    Unknown,
}

impl PhaseOne {
    /// Registers a branch. What comes of it is answered for by what is returned, or by its drop.
    pub(crate) async fn register(
        link: Arc<dyn Link>,
        context: &TransactionContext,
        registration: &Registration,
    ) -> Result<PhaseOne, Unregistered> {
        let phase_one = PhaseOne {
            link: Arc::clone(&link),
            context: context.clone(),
            resource: registration.resource.clone(),
            branch: registration.branch,
            armed: true,
        };
        match timeout_at(context.deadline(), link.register(context, registration)).await {
            Ok(Ok(())) => Ok(phase_one),
            Ok(Err(refused @ CallError::Refused(_))) => {
                // Nothing was registered, so there is nothing to report.
                phase_one.settled();
                Err(Unregistered::Call(refused))
            }
            // It may be registered or not: the drop of `phase_one` says that it failed. A local
            // transaction may still be open then, but its rows are behind the database's own locks.
            Ok(Err(unknown @ CallError::NoAnswer(_))) => Err(Unregistered::Call(unknown)),
            Err(_) => Err(Unregistered::DeadlinePassed),
        }
    }

    pub(crate) fn key(&self) -> BranchKey {
        BranchKey { xid: self.context.xid_here().clone(), branch: self.branch }
    }

    /// From here on, what was committed is the database's to say.
    pub(crate) fn sent(&mut self) {
        self.armed = false;
    }

    /// The local commit did not take place, for certain: another one may be tried.
    pub(crate) fn not_sent(&mut self) {
        self.armed = true;
    }

    /// Nothing has to be reported.
    pub(crate) fn settled(mut self) {
        self.armed = false;
    }

    pub(crate) fn done(&self) {
        self.link.phase_one_done(&self.context, &self.resource, self.branch);
    }

    pub(crate) fn failed(&self) {
        self.link.phase_one_failed(&self.context, &self.resource, self.branch);
    }

    /// Learns what became of a local commit that did not say so, reports it, and vetoes if it cannot
    /// be learned.
    pub(crate) async fn settle(
        &self,
        own: &dyn LocalDatabase,
        mode: Mode,
        wall: fn() -> WallTime,
        error: &(dyn Error + Send + Sync),
    ) -> Settled {
        let key = self.key();
        let until = (Instant::now() + LOOKUP_WAIT_MAX).min(self.context.deadline());
        match look_until(until, &key, || self.look_up(own, &key, mode, wall())).await {
            Some(true) => {
                self.done();
                return Settled::Done;
            }
            Some(false) => {
                self.failed();
                return Settled::Failed;
            }
            None => {}
        }
        warn!(txn.xid = %key.xid, txn.branch_id = %key.branch, txn.resource = %self.resource,
            error = %error, "outcome of a local commit unknown");
        let reason =
            format!("the outcome of branch {} at `{}` is unknown", key.branch, self.resource);
        self.link.veto(&self.context, &reason).await;
        Settled::Unknown
    }

    /// Whether the branch's local commit took place. Where its row is not, a tombstone makes that
    /// final: its insert waits for a local transaction that is still open, and fails if that commits.
    async fn look_up(
        &self,
        own: &dyn LocalDatabase,
        key: &BranchKey,
        mode: Mode,
        wall: WallTime,
    ) -> Result<bool, String> {
        let mut local = own.begin().await.map_err(|error| error.chain())?;
        match barrier::find(&mut *local, key).await {
            Ok(None) => {
                let store = self.context.store_id();
                let buried = barrier::insert_tombstone(&mut *local, key, store, mode, wall).await;
                buried.map_err(|error| error.chain())?;
                local.commit().await.map_err(|error| error.chain())?;
                Ok(false)
            }
            Ok(Some(row)) => {
                local.rollback().await;
                match row.state {
                    // Undone: it was there, and phase two has already been here.
                    State::Open | State::Undone | State::Spent => Ok(true),
                    State::Tombstone => Ok(false),
                }
            }
            Err(FindError::Db(error)) => Err(error.chain()),
            Err(FindError::Malformed) => Err("the barrier row is malformed".to_owned()),
        }
    }
}

impl Drop for PhaseOne {
    fn drop(&mut self) {
        if self.armed {
            self.failed();
        }
    }
}
