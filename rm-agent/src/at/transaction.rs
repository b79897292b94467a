//! A local transaction of AT mode, from its begin to its end.

use std::ops::{Deref, DerefMut};

use super::commit::Failed;
use super::connection::AtConnection;
use super::engine::AtDatabase;
use super::error::AtError;
use crate::session::Claim;

/// A local transaction: a branch of a global one, or guarded outside of any. Dropped unfinished, it
/// rolls back.
///
/// It dereferences to [`AtConnection`], on which sqlx's queries run unchanged:
/// `sqlx::query("UPDATE …").bind(…).execute(&mut *tx).await?`.
#[derive(Debug)]
#[must_use = "dropped unfinished, it rolls back"]
pub struct AtTransaction<DB: AtDatabase> {
    pub(super) connection: AtConnection<DB>,
    pub(super) claim: Option<Claim>,
}

impl<DB: AtDatabase> AtTransaction<DB> {
    /// Commits locally: registers the branch with its locks, writes its undo log in the same local
    /// transaction, commits. What changed nothing and locked nothing makes no branch.
    ///
    /// This is not the global commit: until that is decided, the rows may be restored.
    ///
    /// # Errors
    /// With every error but [`AtError::OutcomeUnknown`] and [`AtError::GuardedOutcomeUnknown`]
    /// nothing was committed.
    ///
    /// # Cancel safety
    /// Dropped before the local commit was sent, nothing is committed and the branch is reported as
    /// failed. Dropped after, the local commit takes place or not, and the coordinator asks the
    /// database which when the global transaction ends.
    pub async fn commit(self) -> Result<(), AtError> {
        self.finish().await.map_err(|failed: Failed| failed.error)
    }

    /// Rolls back locally. The global transaction goes on without this branch.
    ///
    /// # Errors
    /// [`AtError::Database`] if the rollback could not be confirmed; nothing is committed all the
    /// same. So it is where a statement was cut short and the connection has to be closed for it.
    pub async fn rollback(self) -> Result<(), AtError> {
        self.connection.local.rollback().await.map_err(AtError::Database)
    }
}

impl<DB: AtDatabase> Deref for AtTransaction<DB> {
    type Target = AtConnection<DB>;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl<DB: AtDatabase> DerefMut for AtTransaction<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.connection
    }
}
