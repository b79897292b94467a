//! Savepoints that keep the undo log, the keys and the database in step.
//!
//! Dropping a savepoint unfinished rolls back to it, but only when the connection is used next: a
//! drop cannot wait for the database. On a connection that is lost ([`Held`](super::held::Held)) there is
//! nothing to roll back to.

use std::ops::{Deref, DerefMut};

use super::connection::{AtConnection, Health};
use super::engine::AtDatabase;
use super::error::AtError;

/// Where a savepoint was set. For front ends that cannot hold the borrow of an [`AtSavepoint`];
/// everybody else uses that. Dropped, it does nothing: the savepoint stays, and ends with the
/// transaction.
#[derive(Clone, Debug)]
pub struct SavepointMark {
    number: u64,
    changes: usize,
    undo_bytes: usize,
    keys: usize,
}

/// A savepoint. Run queries on it as on the transaction.
#[derive(Debug)]
#[must_use = "dropped unfinished, it rolls back"]
pub struct AtSavepoint<'t, DB: AtDatabase> {
    connection: &'t mut AtConnection<DB>,
    mark: Option<SavepointMark>,
}

impl<DB: AtDatabase> AtConnection<DB> {
    /// Sets a savepoint.
    ///
    /// # Errors
    /// [`AtError`] if the database refuses, or if only a rollback is possible.
    pub async fn savepoint(&mut self) -> Result<AtSavepoint<'_, DB>, AtError> {
        let mark = self.set_mark().await?;
        Ok(AtSavepoint { connection: self, mark: Some(mark) })
    }

    /// Sets a savepoint that is named by its mark.
    ///
    /// # Errors
    /// Those of [`AtConnection::savepoint`].
    pub async fn set_mark(&mut self) -> Result<SavepointMark, AtError> {
        self.ready().await?;
        self.is_untouched = false;
        self.savepoints += 1;
        let mark = SavepointMark {
            number: self.savepoints,
            changes: self.gathered.undo.changes.len(),
            undo_bytes: self.gathered.undo_bytes,
            keys: self.gathered.keys.len(),
        };
        // Dropped here, the savepoint may stay; it holds nothing and ends with the transaction.
        self.tell(&format!("SAVEPOINT pactum_{}", mark.number)).await?;
        self.outermost.get_or_insert(mark.number);
        Ok(mark)
    }

    /// Keeps what was done since the mark.
    ///
    /// # Errors
    /// Those of [`AtSavepoint::release`].
    pub async fn release_mark(&mut self, mark: &SavepointMark) -> Result<(), AtError> {
        self.ready().await?;
        self.release(mark.number).await
    }

    async fn release(&mut self, number: u64) -> Result<(), AtError> {
        self.tell(&format!("RELEASE SAVEPOINT pactum_{number}")).await?;
        self.outermost.take_if(|outermost| *outermost == number);
        Ok(())
    }

    /// Releases what is open: on PostgreSQL a row that is written inside of a savepoint does not show
    /// that it belongs to the local transaction.
    pub(super) async fn release_savepoints(&mut self) -> Result<(), AtError> {
        match self.outermost {
            Some(number) => self.release(number).await,
            None => Ok(()),
        }
    }

    pub(super) async fn roll_back_abandoned(&mut self) -> Result<(), AtError> {
        // It stays noted until it is done, so that a dropped future leaves it to be done again.
        match self.abandoned.clone() {
            Some(mark) => self.roll_back_to(&mark).await,
            None => Ok(()),
        }
    }

    /// Undoes what was done since the mark, and forgets its undo log and keys.
    ///
    /// # Errors
    /// Those of [`AtSavepoint::rollback`].
    pub async fn roll_back_to(&mut self, mark: &SavepointMark) -> Result<(), AtError> {
        self.check_lost()?;
        // Dropped from here on, it is done again before anything else. A savepoint that was dropped
        // unfinished inside of it goes with it.
        if self.abandoned.as_ref().is_none_or(|abandoned| abandoned.number >= mark.number) {
            self.abandoned = Some(mark.clone());
        }
        self.tell(&format!("ROLLBACK TO SAVEPOINT pactum_{}", mark.number)).await?;
        self.gathered.undo.changes.truncate(mark.changes);
        self.gathered.undo_bytes = mark.undo_bytes;
        self.gathered.keys.truncate(mark.keys);
        // Whatever went wrong since then is undone, and it was sound when the mark was set.
        self.health = Health::Sound;
        self.abandoned.take_if(|abandoned| abandoned.number == mark.number);
        Ok(())
    }

    async fn tell(&mut self, sql: &str) -> Result<(), AtError> {
        self.local.sending();
        let done = DB::sql(&mut self.local).execute(sql, &[]).await;
        self.local.answered();
        done.map(|_| ()).map_err(|error| AtError::from_db(error).or_late(self.context.as_ref()))
    }
}

impl<DB: AtDatabase> AtSavepoint<'_, DB> {
    /// Keeps what was done since the savepoint.
    ///
    /// # Errors
    /// [`AtError`] if the database refuses, or if only a rollback is possible.
    pub async fn release(mut self) -> Result<(), AtError> {
        if let Some(mark) = &self.mark {
            self.connection.release_mark(mark).await?;
        }
        self.mark = None;
        Ok(())
    }

    /// Undoes what was done since the savepoint, and forgets its undo log and keys.
    ///
    /// # Errors
    /// [`AtError`] if the database refuses; the transaction can then only be rolled back.
    pub async fn rollback(mut self) -> Result<(), AtError> {
        if let Some(mark) = &self.mark {
            self.connection.roll_back_to(mark).await?;
        }
        self.connection.abandoned = None;
        self.mark = None;
        Ok(())
    }
}

impl<DB: AtDatabase> Drop for AtSavepoint<'_, DB> {
    fn drop(&mut self) {
        if let Some(mark) = self.mark.take() {
            // An inner savepoint that was dropped before lies after this one, and goes with it.
            self.connection.abandoned = Some(mark);
        }
    }
}

impl<DB: AtDatabase> Deref for AtSavepoint<'_, DB> {
    type Target = AtConnection<DB>;

    fn deref(&self) -> &Self::Target {
        self.connection
    }
}

impl<DB: AtDatabase> DerefMut for AtSavepoint<'_, DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.connection
    }
}
