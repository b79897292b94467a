//! The end of phase one: registration, undo log, local commit, in this order.
//!
//! ```text
//! nothing changed, nothing locked ──▶ plain local commit, no branch
//! register with locks ┐
//! write the barrier row ┴─▶ COMMIT ──▶ phase one done
//!    │ refused, or a tombstone is there   │ error
//!    ▼                                    ▼
//! local rollback, failed           look the row up: done, failed or veto
//! ```
//!
//! How the end is learned and told is the same in other modes: see [`PhaseOne`].

use std::sync::Arc;
use std::time::Duration;

use pactum_core::transaction::BranchMode;
use tokio::sync::OwnedSemaphorePermit;

use super::connection::{AtConnection, Gathered, Locks};
use super::engine::{Assumed, AtDatabase};
use super::error::AtError;
use super::pool::Shared;
use super::transaction::AtTransaction;
use super::undo::{self, Stored};
use crate::barrier::{self, Mode, OpenRow};
use crate::branch::BranchKey;
use crate::branch::phase_one::{PhaseOne, Settled, Unregistered};
use crate::context::TransactionContext;
use crate::db::{Failure, is_passing};
use crate::link::Link;
use crate::session::{Claim, Registration};

/// A local commit that did not happen, and the keys to wait for if a lock was in the way.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: AtError,
    pub(super) conflict: Option<Locks>,
}

impl From<AtError> for Failed {
    fn from(error: AtError) -> Self {
        Failed { error, conflict: None }
    }
}

impl<DB: AtDatabase> AtTransaction<DB> {
    pub(super) async fn finish(self) -> Result<(), Failed> {
        let context = self.connection.context.clone();
        let done = self.finish_in_time().await;
        done.map_err(|failed| Failed { error: failed.error.or_late(context.as_ref()), ..failed })
    }

    async fn finish_in_time(mut self) -> Result<(), Failed> {
        if let Err(error) = self.connection.ready().await {
            self.connection.local.rollback().await.ok();
            return Err(error.into());
        }
        let claim = self.claim.take();
        match self.connection.context.clone() {
            None => self.connection.commit_guarded().await,
            Some(context) if self.connection.must_prepare() => {
                self.connection.commit_prepared(context, claim).await
            }
            Some(_) if self.connection.gathered.keys.is_empty() => {
                // No registration will use it up.
                if let Some(claim) = claim {
                    self.connection.shared.link.release_claim(claim);
                }
                let assumed = std::mem::take(&mut self.connection.gathered.assumed);
                if let Err(error) = self.connection.confirm(&assumed).await {
                    self.connection.local.rollback().await.ok();
                    return Err(error.into());
                }
                Ok(self.connection.commit_plain().await?)
            }
            Some(context) => self.connection.commit_branch(context, claim).await,
        }
    }
}

impl<DB: AtDatabase> AtConnection<DB> {
    async fn commit_plain(self) -> Result<(), AtError> {
        self.local.commit().await.map_err(AtError::Database)
    }

    /// Outside of any global transaction: nothing to undo, but no way past the global locks.
    async fn commit_guarded(mut self) -> Result<(), Failed> {
        let changed_nothing = self.gathered.keys.is_empty();
        if let Err(error) = self.check_guarded().await {
            let conflict = self.conflict.take();
            self.local.rollback().await.ok();
            return Err(Failed { error, conflict });
        }
        if changed_nothing {
            return Ok(self.commit_plain().await?);
        }
        Ok(self.local.commit().await.map_err(guarded_commit_failed::<DB>)?)
    }

    async fn check_guarded(&mut self) -> Result<(), AtError> {
        let assumed = std::mem::take(&mut self.gathered.assumed);
        self.confirm(&assumed).await?;
        let keys = std::mem::take(&mut self.gathered.keys);
        self.check_locks(&keys).await
    }

    /// Whether the statements' plans were what was run, and the keys are what everybody takes; asked
    /// where no barrier row is written that asks it by the way.
    async fn confirm(&mut self, assumed: &Assumed) -> Result<(), AtError> {
        if assumed.tables.is_empty() {
            return Ok(());
        }
        self.local.sending();
        let confirmed = self.ask(assumed).await;
        self.local.answered();
        confirmed
    }

    async fn ask(&mut self, assumed: &Assumed) -> Result<(), AtError> {
        let (condition, values) = DB::commit_condition(assumed, 1);
        let sql = format!("SELECT 1 WHERE {condition}");
        let found = DB::sql(&mut self.local).query(&sql, &values).await;
        let holds = !found.map_err(AtError::from_db)?.is_empty() && {
            let confirmed = DB::confirm(&mut *DB::sql(&mut self.local), assumed).await;
            confirmed.map_err(AtError::from_db)?
        };
        if holds { Ok(()) } else { Err(self.assumption_broken(assumed).await) }
    }

    async fn commit_branch(
        mut self,
        context: TransactionContext,
        claim: Option<Claim>,
    ) -> Result<(), Failed> {
        let mut phase_one = None;
        let prepared = self.prepare_branch(&context, claim, &mut phase_one).await;
        if let Err(failed) = prepared {
            // In this order: whoever gets the locks finds the rows as they were.
            self.local.rollback().await.ok();
            drop(phase_one);
            return Err(failed);
        }
        let Some(mut phase_one) = phase_one else {
            return Ok(self.commit_plain().await?);
        };
        let AtConnection { shared, local, turn, .. } = self;
        phase_one.sent();
        let committed = local.commit().await;
        // The next writer may go on; so may our own look at the barrier row.
        drop(turn);
        match committed {
            Ok(()) => {
                phase_one.done();
                Ok(())
            }
            Err(error) => Ok(settle(&shared, &phase_one, error).await?),
        }
    }

    /// Everything up to the local commit. `registered` stays empty if there is no barrier row to
    /// answer for: the branch only locks. The caller rolls back locally on an error.
    async fn prepare_branch(
        &mut self,
        context: &TransactionContext,
        claim: Option<Claim>,
        registered: &mut Option<PhaseOne>,
    ) -> Result<(), Failed> {
        if context.remaining().is_zero() {
            return Err(AtError::DeadlinePassed.into());
        }
        let Gathered { undo, keys, mut assumed, .. } = std::mem::take(&mut self.gathered);
        let lock_only = undo.changes.is_empty();
        let link = Arc::clone(&self.shared.link);
        let branch = link.next_branch_id().await.map_err(AtError::from)?;
        let (wait, _waiting) = self.wait_inside();
        let registration = Registration {
            branch,
            resource: self.shared.resource.clone(),
            mode: BranchMode::At,
            locks: keys.merged(self.shared.options.row_locks_per_table_max),
            wait,
            holds_local_locks: true,
            lock_only,
            claim,
            action: None,
        };
        if lock_only {
            self.confirm(&assumed).await?;
            // Done when granted: nothing is left to report.
            register(link, context, &registration).await?.settled();
            return Ok(());
        }
        let limit = self.shared.options.undo_log_bytes_max;
        let stored = undo::store(&undo, limit).ok_or(AtError::UndoLogTooLarge { limit })?;
        let key = BranchKey { xid: context.xid_here().clone(), branch };
        assumed.barrier.clone_from(&self.shared.barrier_place);
        // The agent named the branch, so its row can be written while the coordinator makes the
        // registration durable. Both are waited for, whatever the other brings.
        let (phase_one, written) = tokio::join!(
            register(link, context, &registration),
            self.write_barrier(context, &key, (Mode::At, stored), &assumed),
        );
        *registered = Some(phase_one?);
        written?;
        if context.remaining().is_zero() {
            return Err(AtError::DeadlinePassed.into());
        }
        Ok(())
    }

    pub(super) async fn write_barrier(
        &mut self,
        context: &TransactionContext,
        key: &BranchKey,
        (mode, stored): (Mode, Stored),
        assumed: &Assumed,
    ) -> Result<(), AtError> {
        let row = OpenRow {
            key: key.clone(),
            store: context.store_id(),
            mode,
            format: stored.format,
            body: stored.body,
        };
        self.local.sending();
        let written = self.insert_barrier(&row, assumed).await;
        self.local.answered();
        written
    }

    async fn insert_barrier(&mut self, row: &OpenRow, assumed: &Assumed) -> Result<(), AtError> {
        let wall = (self.shared.options.environment.wall)();
        let confirmed = DB::confirm(&mut *DB::sql(&mut self.local), assumed).await;
        if !confirmed.map_err(AtError::from_db)? {
            return Err(self.assumption_broken(assumed).await);
        }
        let (condition, values) = DB::commit_condition(assumed, 9);
        let written = {
            let mut sql = DB::sql(&mut self.local);
            barrier::insert_open(&mut *sql, row, wall, (&condition, &values)).await
        };
        match written {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.assumption_broken(assumed).await),
            Err(error) if error.failure == Failure::Unique => Err(AtError::RolledBack),
            Err(error) => Err(AtError::from_db(error)),
        }
    }

    /// Why the statements' plans may not be what was run.
    async fn assumption_broken(&mut self, assumed: &Assumed) -> AtError {
        self.shared.cache.clear();
        let why = DB::broken_assumption(&mut *DB::sql(&mut self.local), assumed).await;
        why.unwrap_or_else(AtError::from_db)
    }

    /// How long a registration may wait while this transaction holds local locks, with the right
    /// to do so.
    pub(super) fn wait_inside(&self) -> (Duration, Option<OwnedSemaphorePermit>) {
        let waits = Arc::clone(&self.shared.waits);
        match waits.try_acquire_owned() {
            Ok(permit) if DB::WAITS_INSIDE => (self.shared.options.lock_wait_max, Some(permit)),
            Ok(_) | Err(_) => (Duration::ZERO, None),
        }
    }
}

/// What the end of a guarded local transaction means: it has no barrier row to be looked up.
pub(super) fn guarded_commit_failed<DB: AtDatabase>(error: sqlx::Error) -> AtError {
    match DB::classify(&error) {
        // The database said so.
        Failure::Unique | Failure::Constraint | Failure::Statement => {
            AtError::LocalCommit(Box::new(error))
        }
        Failure::Busy if is_passing(&error) => AtError::Busy(Box::new(error)),
        // A server that goes down may have committed before it said so.
        Failure::Busy | Failure::Other => AtError::GuardedOutcomeUnknown(Box::new(error)),
    }
}

/// Registers a branch. What comes of it is answered for by the [`PhaseOne`] that is returned, or by
/// its drop.
pub(super) async fn register(
    link: Arc<dyn Link>,
    context: &TransactionContext,
    registration: &Registration,
) -> Result<PhaseOne, Failed> {
    match PhaseOne::register(link, context, registration).await {
        Ok(phase_one) => Ok(phase_one),
        Err(Unregistered::Call(error)) => {
            let error = AtError::from(error);
            let is_conflict = matches!(error, AtError::LockConflict { .. });
            let conflict = is_conflict.then(|| registration.locks.clone());
            Err(Failed { error, conflict })
        }
        Err(Unregistered::DeadlinePassed) => Err(AtError::DeadlinePassed.into()),
    }
}

/// Learns what became of a local commit that did not say so.
pub(super) async fn settle<DB: AtDatabase>(
    shared: &Shared<DB>,
    phase_one: &PhaseOne,
    error: sqlx::Error,
) -> Result<(), AtError> {
    let wall = shared.options.environment.wall;
    match phase_one.settle(&*shared.own, Mode::At, wall, &error).await {
        Settled::Done => Ok(()),
        Settled::Failed => Err(AtError::LocalCommit(Box::new(error))),
        Settled::Unknown => Err(AtError::OutcomeUnknown),
    }
}
