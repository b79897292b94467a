//! Waiting for global locks *outside* of the database, and running again what the database broke off.
//!
//! ```text
//! run ──▶ commit ──▶ done
//!           │ a lock is taken
//!           ▼
//!     local rollback ──▶ queue for the same keys (a claim) ──▶ run again, with the claim
//! ```
//!
//! On SQLite a local transaction keeps every other writer away, also the rollback that would free
//! the lock it waits for: so it never waits inside. What runs must be such that it may run again.
//!
//! Where writers work side by side, the database ends one of two that block each other, and an image
//! may miss rows that another writer committed after it was read. Both are cured by a new run.
//!
//! Easy to get wrong: a body that dealt with such an error by itself and failed on something else. Its
//! error is the last word: [`told`](super::told) tells the two apart.

use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use tokio::time::{Instant, sleep};

use super::commit::Failed;
use super::connection::Locks;
use super::engine::{AtDatabase, Statement, Step};
use super::error::AtError;
use super::pool::AtPool;
use super::transaction::AtTransaction;
use crate::context::TransactionContext;
use crate::link::Link;
use crate::session::Claim;

/// How often a run is repeated because the database broke it off, or the schema changed under it. 5:
/// one who loses more often than that meets a load that repeating only makes worse.
const SETBACKS_MAX: u32 = 5;
/// Before the first of these runs; doubled before each that follows. 10 ms: about as long as what was
/// in the way takes to commit.
const SETBACK_PAUSE: Duration = Duration::from_millis(10);

impl<DB: AtDatabase> AtPool<DB> {
    /// Runs a local transaction, and commits it if `body` returns `Ok`; belongs to the running
    /// task's global transaction, or is guarded outside of one.
    ///
    /// If a global lock is taken it rolls back locally, waits in the queue for the lock, and runs
    /// `body` **again**, until the global transaction's deadline or `claim_wait_max`. So it does, a few
    /// times, after a deadlock or the like in the database, and where rows changed under a statement.
    /// So `body` must have no effects but those on the database, and its error must hold ours, as a
    /// source or in a box: an error that it drops it has dealt with, and then its own is the last word.
    ///
    /// # Errors
    /// What `body` returns, after a local rollback; otherwise an [`AtError`], and then nothing was
    /// committed (but see [`AtError::OutcomeUnknown`] and [`AtError::GuardedOutcomeUnknown`]).
    ///
    /// # Cancel safety
    /// As [`AtTransaction::commit`].
    pub async fn transaction<F, R, E>(&self, body: F) -> Result<R, E>
    where
        F: for<'t> FnMut(&'t mut AtTransaction<DB>) -> BoxFuture<'t, Result<R, E>> + Send,
        R: Send,
        E: From<AtError> + Send,
    {
        self.repeat(TransactionContext::current(), body).await
    }

    /// Runs a local transaction as a branch of `context`, like [`AtPool::transaction`].
    ///
    /// # Errors
    /// Those of [`AtPool::transaction`].
    pub async fn transaction_in<F, R, E>(
        &self,
        context: &TransactionContext,
        body: F,
    ) -> Result<R, E>
    where
        F: for<'t> FnMut(&'t mut AtTransaction<DB>) -> BoxFuture<'t, Result<R, E>> + Send,
        R: Send,
        E: From<AtError> + Send,
    {
        self.repeat(Some(context.clone()), body).await
    }

    async fn repeat<F, R, E>(
        &self,
        context: Option<TransactionContext>,
        mut body: F,
    ) -> Result<R, E>
    where
        F: for<'t> FnMut(&'t mut AtTransaction<DB>) -> BoxFuture<'t, Result<R, E>> + Send,
        R: Send,
        E: From<AtError> + Send,
    {
        let mut queue = Queue::new(self, context);
        loop {
            let mut transaction = queue.begin().await?;
            match body(&mut transaction).await {
                Ok(value) => match transaction.finish().await {
                    Ok(()) => {
                        queue.served();
                        return Ok(value);
                    }
                    Err(failed) => queue.wait_after(failed).await?,
                },
                // If this is what the body's last statement failed on, because a lock was taken or the
                // database broke it off, it is not the last word.
                Err(error) => {
                    let conflict = transaction.connection.conflict.take();
                    let watch = transaction.connection.again.take();
                    let is_ours = watch.is_some_and(|watch| watch.is_there());
                    transaction.rollback().await.ok();
                    let again = match conflict {
                        Some(locks) => is_ours && queue.wait(&locks).await?,
                        None => is_ours && queue.pause().await,
                    };
                    if !again {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// One statement as its own branch.
    pub(super) async fn single(
        &self,
        context: Option<TransactionContext>,
        statement: &mut Statement<DB>,
    ) -> Result<Vec<Step<DB>>, AtError> {
        let mut queue = Queue::new(self, context);
        loop {
            let mut transaction = queue.begin().await?;
            let failed = match transaction.connection.run_to_end(statement).await {
                Ok(steps) => match transaction.finish().await {
                    Ok(()) => {
                        queue.served();
                        return Ok(steps);
                    }
                    Err(failed) => failed,
                },
                Err(error) => {
                    let conflict = transaction.connection.conflict.take();
                    transaction.rollback().await.ok();
                    Failed { error, conflict }
                }
            };
            queue.wait_after(failed).await?;
        }
    }
}

/// A caller's place in the queue for global locks. Dropped, it gives its claim back.
struct Queue<'p, DB: AtDatabase> {
    pool: &'p AtPool<DB>,
    context: Option<TransactionContext>,
    until: Instant,
    claim: Option<Claim>,
    setbacks: u32,
}

impl<'p, DB: AtDatabase> Queue<'p, DB> {
    fn new(pool: &'p AtPool<DB>, context: Option<TransactionContext>) -> Self {
        let mut until = Instant::now() + pool.0.options.claim_wait_max;
        if let Some(context) = &context {
            until = until.min(context.deadline());
        }
        Queue { pool, context, until, claim: None, setbacks: 0 }
    }

    fn link(&self) -> &Arc<dyn Link> {
        &self.pool.0.link
    }

    async fn begin(&self) -> Result<AtTransaction<DB>, AtError> {
        self.pool.open(self.context.clone(), self.claim).await
    }

    /// The run is committed: its registration has used the claim up, or it needed none and has given
    /// the claim back.
    fn served(&mut self) {
        self.claim = None;
    }

    /// Waits if waiting can help; otherwise it is the caller's error.
    async fn wait_after(&mut self, failed: Failed) -> Result<(), AtError> {
        if failed.error.is_setback() {
            return if self.pause().await { Ok(()) } else { Err(failed.error) };
        }
        match &failed.conflict {
            Some(locks) if self.wait(locks).await? => Ok(()),
            Some(_) | None => Err(failed.error),
        }
    }

    /// Pauses after a setback. Whether another run is in order.
    async fn pause(&mut self) -> bool {
        let pause = SETBACK_PAUSE * 2_u32.pow(self.setbacks);
        if self.setbacks == SETBACKS_MAX || Instant::now() + pause >= self.until {
            return false;
        }
        self.setbacks += 1;
        sleep(pause).await;
        true
    }

    /// Waits for these keys. Whether there was time left to wait at all.
    async fn wait(&mut self, locks: &Locks) -> Result<bool, AtError> {
        let left: Duration = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        // Holding some keys while waiting for others is how deadlocks are made.
        if let Some(claim) = self.claim.take() {
            self.link().release_claim(claim);
        }
        let resource = &self.pool.0.resource;
        match &self.context {
            Some(context) => {
                self.claim = Some(self.link().claim(context, resource, locks, left).await?);
            }
            None => self.link().check(None, resource, locks, left, false).await?,
        }
        Ok(true)
    }
}

impl<DB: AtDatabase> Drop for Queue<'_, DB> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.link().release_claim(claim);
        }
    }
}
