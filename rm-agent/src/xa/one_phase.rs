//! A branch left open, for its manager to commit in one phase.
//!
//! It keeps its connection until the global transaction ends, so only some of a pool's connections may
//! be kept like this: a task that holds one may well need another one before it can end.
//!
//! Easy to get wrong: what an error of COMMIT means. After the delegation this branch alone knows how
//! the global transaction ended, and an error says nothing about it: another connection looks for the
//! barrier row. And PostgreSQL's COMMIT of a transaction that has failed says that all is well; the
//! probe of the prepare goes before this one too.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use pactum_core::id::BranchId;
use pactum_core::xa::Seen;
use tokio::time::Instant;

use super::connection::XaConnection;
use super::name::Name;
use super::prepared::Prepared;
use super::transaction::{XaTransaction, seen_until};
use crate::at::AtDatabase;
use crate::branch::lookup::LOOKUP_WAIT_MAX;
use crate::branch::phase_one::PhaseOne;
use crate::context::{OnePhase, OnePhaseEnd};
use crate::db::DbError;

/// The branches of a pool that are left open.
#[derive(Debug)]
pub(super) struct OpenBranches {
    names: Mutex<BTreeSet<Name>>,
    count_max: usize,
}

impl OpenBranches {
    /// At most half of a pool's connections, so that the others go round: a pool of one leaves none
    /// open.
    pub(super) fn new(connections: u32) -> Arc<Self> {
        let count_max = usize::try_from(connections / 2).unwrap_or(usize::MAX);
        Arc::new(OpenBranches { names: Mutex::default(), count_max })
    }

    /// A place for one more, until the answer is dropped; `None` if there is none.
    pub(super) fn place(self: &Arc<Self>, name: &Name) -> Option<Place> {
        let mut names = self.names();
        (names.len() < self.count_max).then(|| {
            names.insert(name.clone());
            Place { branches: Arc::clone(self), name: name.clone() }
        })
    }

    /// A branch of the same global transaction as `ours`.
    pub(super) fn beside(&self, ours: &Name) -> Option<BranchId> {
        self.names().iter().find(|name| name.is_beside(ours)).map(|name| name.key.branch)
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<Name>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A branch's place among the open ones.
#[derive(Debug)]
pub(super) struct Place {
    branches: Arc<OpenBranches>,
    name: Name,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.branches.names().remove(&self.name);
    }
}

/// A branch that did its work, neither committed nor prepared.
pub(super) struct OpenBranch<DB: AtDatabase> {
    // Before `place`, which it keeps until its connection is on the way back.
    pub(super) transaction: XaTransaction<DB>,
    pub(super) place: Place,
}

#[async_trait]
impl<DB: AtDatabase> OnePhase for OpenBranch<DB> {
    async fn prepare(self: Box<Self>) -> Result<(), String> {
        let OpenBranch { transaction, place } = *self;
        let prepared = transaction.prepare().await;
        drop(place);
        prepared.map_err(|error| error.to_string())
    }

    /// Dropped before COMMIT was sent, the branch rolls back and is reported as failed. Dropped after,
    /// it has committed or not, and the coordinator asks the database which.
    async fn commit_one_phase(self: Box<Self>) -> OnePhaseEnd {
        let OpenBranch { transaction, place: _place } = *self;
        let XaTransaction { connection, mut phase_one } = transaction;
        let XaConnection { shared, name, mut held, .. } = connection;
        let text = shared.support.commit_one_phase(&name);
        phase_one.sent();
        let committed = DB::sql(&mut held).run(&text).await;
        match committed {
            Ok(_) => {
                held.free();
                phase_one.done();
                OnePhaseEnd::Committed
            }
            Err(error) => {
                // What is not committed ends with its connection, and then can be buried.
                held.close().await;
                look_up(&shared.support.prepared, &phase_one, &name, &error).await
            }
        }
    }

    async fn roll_back(self: Box<Self>) {
        let OpenBranch { transaction, place: _place } = *self;
        transaction.rollback().await;
    }
}

/// Learns what became of a COMMIT that did not say so. The deadline has no say: it is delegated.
async fn look_up(
    prepared: &Prepared,
    phase_one: &PhaseOne,
    name: &Name,
    error: &DbError,
) -> OnePhaseEnd {
    match seen_until(Instant::now() + LOOKUP_WAIT_MAX, prepared, name).await {
        Some(Seen::Committed) => {
            phase_one.done();
            OnePhaseEnd::Committed
        }
        Some(Seen::Buried) => {
            phase_one.failed();
            OnePhaseEnd::RolledBack(error.chain())
        }
        // Nobody has prepared it; should it be so all the same, the coordinator has to hear it from
        // the database.
        Some(Seen::Listed | Seen::Nothing) | None => {
            tracing::warn!(txn.xid = %name.key.xid, txn.branch_id = %name.key.branch,
                txn.resource = %phase_one.resource, error = %error.chain(),
                "outcome of a one-phase commit unknown");
            OnePhaseEnd::Unknown(format!(
                "whether branch {} has committed at `{}` is unknown: the coordinator asks for it",
                name.key.branch, phase_one.resource
            ))
        }
    }
}
