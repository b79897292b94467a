//! Reads that ask for global locks.
//!
//! On SQLite the database's own write lock is held since the begin, so nobody can register a change
//! of the rows between this look at the locks and the end of the local transaction.

use std::sync::Arc;
use std::time::Duration;

use pactum_core::lock::key::{KeyValue, LockMode};
use sqlx::{Either, Execute};

use super::cache::ReadyRead;
use super::connection::AtConnection;
use super::engine::{AtDatabase, CompiledRead, Statement, Step, last_values};
use super::error::AtError;
use super::keys::{self, KeySet};
use super::ready::make_read_ready;

/// Whether checked locks are taken too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Checked,
    UntilEnd,
}

impl<DB: AtDatabase> AtConnection<DB> {
    /// Runs a SELECT and checks that no other global transaction holds the rows it returns. The
    /// answer holds until this local transaction ends.
    ///
    /// # Errors
    /// [`AtError::LockConflict`] if one does; [`AtError::Refused`] if the rows cannot be told from
    /// the text.
    pub async fn lock_rows<'q, E>(&mut self, query: E) -> Result<Vec<DB::Row>, AtError>
    where
        E: Execute<'q, DB>,
    {
        self.read_rows(query, Hold::Checked).await
    }

    /// Runs a SELECT and locks the rows it returns until the global transaction ends. Outside of one
    /// there is nothing to hold them, and they are checked like [`AtConnection::lock_rows`] does.
    ///
    /// # Errors
    /// [`AtError::Refused`] if the rows cannot be told from the text. That a row is taken shows at
    /// the commit.
    pub async fn lock_rows_until_end<'q, E>(&mut self, query: E) -> Result<Vec<DB::Row>, AtError>
    where
        E: Execute<'q, DB>,
    {
        self.read_rows(query, Hold::UntilEnd).await
    }

    async fn read_rows<'q, E: Execute<'q, DB>>(
        &mut self,
        query: E,
        hold: Hold,
    ) -> Result<Vec<DB::Row>, AtError> {
        let statement = Statement::take(query).map_err(AtError::Database)?;
        let read = self.read_statement(statement, hold).await;
        let steps = read.map_err(|error| self.told(error))?;
        let row = |step| match step {
            Either::Left(_) => None,
            Either::Right(row) => Some(row),
        };
        Ok(steps.into_iter().filter_map(row).collect())
    }

    async fn read_statement(
        &mut self,
        mut statement: Statement<DB>,
        hold: Hold,
    ) -> Result<Vec<Step<DB>>, AtError> {
        self.ready().await?;
        let read = DB::plan_locking_read(statement.sql.as_str())?;
        self.is_untouched = false;
        self.local.sending();
        let rows = match make_read_ready::<DB>(&mut self.local, &read).await {
            Ok(ready) => self.locking_read(&ready, &mut statement, hold).await,
            Err(error) => Err(error),
        };
        self.local.answered();
        rows
    }

    pub(super) async fn locking_read(
        &mut self,
        ready: &ReadyRead,
        statement: &mut Statement<DB>,
        hold: Hold,
    ) -> Result<Vec<Step<DB>>, AtError> {
        self.use_table(&ready.table)?;
        let width = ready.table.key.len();
        let (steps, keyed) = match &ready.compiled {
            CompiledRead::Together(sql) => {
                let steps = self.collect(statement.with_sql(sql)).await?;
                let keyed = last_values::<DB>(&steps, width)?;
                (steps, keyed)
            }
            CompiledRead::Apart { keys, read } => {
                let found = self.collect(statement.with_sql(keys)).await?;
                let keyed = last_values::<DB>(&found, width)?;
                (self.collect(statement.with_sql(read)).await?, keyed)
            }
        };
        let mut keys = KeySet::default();
        let problem = |problem| AtError::from_key(problem, &ready.table.name);
        for row in keyed {
            let folded = row.iter().zip(&ready.table.key);
            let values: Option<Vec<KeyValue>> =
                folded.map(|(value, key)| keys::fold(value, key.fold)).collect();
            let values = values.ok_or_else(|| problem(keys::KeyProblem::NullKey))?;
            keys.push(keys::read_key(&ready.table, values).map_err(problem)?, LockMode::Exclusive);
        }
        if hold == Hold::UntilEnd && self.context.is_some() {
            self.gathered.keys.append(keys);
        } else {
            self.check_locks(&keys).await?;
        }
        Ok(steps)
    }

    /// Asks whether nobody else holds these keys. Never waits: this transaction keeps every other
    /// writer of the database away meanwhile.
    pub(super) async fn check_locks(&mut self, keys: &KeySet) -> Result<(), AtError> {
        if keys.is_empty() {
            return Ok(());
        }
        let locks = keys.merged(self.shared.options.row_locks_per_table_max);
        let link = Arc::clone(&self.shared.link);
        let context = self.context.as_ref();
        let asked = link.check(context, &self.shared.resource, &locks, Duration::ZERO, true).await;
        asked.map_err(|error| {
            let error = AtError::from(error);
            if matches!(error, AtError::LockConflict { .. }) {
                self.conflict = Some(locks);
            }
            error
        })
    }
}
