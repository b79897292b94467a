//! A branch in XA mode, from its begin to its prepare.
//!
//! ```text
//! only reads                 ──▶ local rollback, "failed": the branch counts no more
//! alone with its manager     ──▶ left open: one_phase.rs
//! PREPARE ─ said so          ──▶ phase one done
//!         ─ error, or silence ─▶ look on another connection:
//!              listed             done
//!              buried by us       failed
//!              neither in time    veto
//! ```

use std::ops::{Deref, DerefMut};

use pactum_core::xa::{Asked, Seen};
use tokio::time::Instant;
use tracing::warn;

use super::connection::XaConnection;
use super::dialect::AfterPrepare;
use super::error::XaError;
use super::name::Name;
use super::one_phase::OpenBranch;
use super::prepared::{Prepared, Settled, Unsettled};
use crate::at::AtDatabase;
use crate::branch::lookup::{LOOKUP_WAIT_MAX, look_until};
use crate::branch::phase_one::PhaseOne;
use crate::db::DbError;

/// A branch of a global transaction. Dropped unfinished, it rolls back.
///
/// It dereferences to [`XaConnection`], on which sqlx's queries run unchanged:
/// `sqlx::query("UPDATE …").bind(…).execute(&mut *tx).await?`.
#[derive(Debug)]
#[must_use = "dropped unfinished, it rolls back"]
pub struct XaTransaction<DB: AtDatabase> {
    // Before `phase_one`, whose drop says that it failed: by then its connection is being closed.
    pub(super) connection: XaConnection<DB>,
    pub(super) phase_one: PhaseOne,
}

impl<DB: AtDatabase> XaTransaction<DB> {
    /// Prepares the branch: from here on it survives a crash of everything, keeps the database's locks,
    /// and is committed or rolled back when the global transaction is decided. One that only read is
    /// rolled back at once, and no longer counts.
    ///
    /// The first branch of a transaction that this process began is not prepared yet, and keeps its
    /// connection until the transaction ends: if it is the only one then, it commits in one phase, and
    /// otherwise is prepared first. What the database has against its commit is then said by the end of
    /// the global transaction, which rolls back. At most half of the pool's connections are kept so; a
    /// branch beyond that is prepared.
    ///
    /// # Errors
    /// [`XaError::NotPrepared`] if the database refused, and then the branch is rolled back;
    /// [`XaError::OutcomeUnknown`] if that could not be learned, and then the global transaction was
    /// vetoed.
    ///
    /// # Cancel safety
    /// Dropped before the prepare was sent, the branch rolls back and is reported as failed. Dropped
    /// after, it is prepared or not, and the coordinator asks the database which.
    pub async fn commit(self) -> Result<(), XaError> {
        let fit = self.fit();
        if fit.is_err() || self.connection.only_read {
            // Nothing was committed, and nothing will be: the branch counts no more, which vetoes
            // nothing.
            self.rollback().await;
            return fit;
        }
        let XaConnection { context, name, shared, .. } = &self.connection;
        let place = context.may_delegate().then(|| shared.open.place(name)).flatten();
        let Some(place) = place else { return self.prepare().await };
        let (context, branch) = (context.clone(), name.key.branch);
        let open = Box::new(OpenBranch { transaction: self, place });
        match context.record_delegatable(branch, open) {
            Ok(()) => Ok(()),
            Err(open) => open.transaction.prepare().await,
        }
    }

    /// Whether it may be prepared or committed.
    fn fit(&self) -> Result<(), XaError> {
        self.connection.ready()?;
        if self.connection.context().remaining().is_zero() {
            return Err(XaError::DeadlinePassed);
        }
        Ok(())
    }

    /// Cut short or not, one of its ends is reported, or can be asked for.
    pub(super) async fn prepare(self) -> Result<(), XaError> {
        // The deadline may have passed since it was left open.
        if let Err(unfit) = self.fit() {
            self.rollback().await;
            return Err(unfit);
        }
        let XaTransaction { connection, mut phase_one } = self;
        let XaConnection { shared, name, mut held, .. } = connection;
        let support = &shared.support;
        let text = support.prepare(&name);
        phase_one.sent();
        let prepared = DB::sql(&mut held).run(&text).await;
        match prepared {
            Ok(_) => {
                match support.prepared.dialect.after_prepare() {
                    AfterPrepare::Free => held.free(),
                    // Waited for, so that phase two finds the branch free.
                    AfterPrepare::Bound => held.close().await,
                }
                phase_one.done();
                Ok(())
            }
            Err(error) => {
                // What is not prepared ends with its connection, and then can be buried.
                held.close().await;
                settle(&support.prepared, &phase_one, &name, error).await
            }
        }
    }

    /// Rolls the branch back. The global transaction goes on without it.
    pub async fn rollback(self) {
        let XaTransaction { connection, phase_one } = self;
        connection.abandon().await;
        drop(phase_one);
    }
}

/// Learns what became of a prepare that did not say so.
pub(crate) async fn settle(
    prepared: &Prepared,
    phase_one: &PhaseOne,
    name: &Name,
    error: DbError,
) -> Result<(), XaError> {
    let until = (Instant::now() + LOOKUP_WAIT_MAX).min(phase_one.context.deadline());
    match seen_until(until, prepared, name).await {
        Some(Seen::Listed) => {
            phase_one.done();
            return Ok(());
        }
        Some(Seen::Buried) => {
            phase_one.failed();
            return Err(XaError::NotPrepared(Box::new(error)));
        }
        // Somebody has finished it already, whatever that was.
        Some(Seen::Committed | Seen::Nothing) | None => {}
    }
    warn!(txn.xid = %name.key.xid, txn.branch_id = %name.key.branch,
        txn.resource = %phase_one.resource, error = %error.chain(), "outcome of a prepare unknown");
    let reason = format!(
        "whether branch {} is prepared at `{}` is unknown",
        name.key.branch, phase_one.resource
    );
    phase_one.link.veto(&phase_one.context, &reason).await;
    Err(XaError::OutcomeUnknown)
}

/// What another connection sees of a branch whose own gave no answer, for good: where it sees nothing,
/// it is buried first. `None` if that could not be learned in time.
pub(super) async fn seen_until(until: Instant, prepared: &Prepared, name: &Name) -> Option<Seen> {
    look_until(until, &name.key, || seen_for_good(prepared, name)).await
}

async fn seen_for_good(prepared: &Prepared, name: &Name) -> Result<Seen, Unsettled> {
    match prepared.look(name).await? {
        seen @ (Seen::Listed | Seen::Committed | Seen::Buried) => Ok(seen),
        Seen::Nothing => match prepared.settle(Asked::PhaseOne, name).await? {
            Settled::Failed => Ok(Seen::Buried),
            // It came about between the two looks.
            Settled::Done | Settled::Heuristic(_) => Err(Unsettled::Kept),
        },
    }
}

impl<DB: AtDatabase> Deref for XaTransaction<DB> {
    type Target = XaConnection<DB>;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl<DB: AtDatabase> DerefMut for XaTransaction<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.connection
    }
}
