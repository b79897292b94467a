//! A local transaction, and the savepoints in it, which SeaORM takes for transactions too.
//!
//! SeaORM runs queries on a shared reference, so the connection is behind a lock. A savepoint that
//! is dropped unfinished is rolled back to before the next statement.

use std::fmt::{self, Debug, Display};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use pactum_agent::{AtError, AtTransaction, SavepointMark};
use sea_orm::{
    AccessMode, ConnectionTrait, DbBackend, DbErr, ExecResult, IsolationLevel, QueryResult,
    Statement, TransactionError, TransactionOptions, TransactionSession, TransactionTrait,
};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use crate::run::{self, SeaDatabase};
use crate::sqlx_error;

/// A local transaction in AT mode, or a savepoint in one. Dropped unfinished, it rolls back.
pub struct SeaTransaction<DB: SeaDatabase> {
    local: Arc<Local<DB>>,
    /// Where this one begins, if it is a savepoint.
    mark: Option<SavepointMark>,
}

struct Local<DB: SeaDatabase> {
    /// Gone once the outermost has ended.
    transaction: Mutex<Option<AtTransaction<DB>>>,
    /// Savepoints that were dropped unfinished, the outermost first.
    abandoned: StdMutex<Vec<SavepointMark>>,
}

impl<DB: SeaDatabase> SeaTransaction<DB> {
    pub(crate) fn new(transaction: AtTransaction<DB>) -> Self {
        let transaction = Mutex::new(Some(transaction));
        let local = Local { transaction, abandoned: StdMutex::default() };
        SeaTransaction { local: Arc::new(local), mark: None }
    }

    async fn open(&self) -> Result<MappedMutexGuard<'_, AtTransaction<DB>>, DbErr> {
        let guard = self.local.transaction.lock().await;
        let mut open = MutexGuard::try_map(guard, Option::as_mut).map_err(|_| over())?;
        // The outermost one takes the others with it. It stays noted until it is done.
        let first = || self.abandoned().first().cloned();
        if let Some(mark) = first() {
            open.roll_back_to(&mark).await.map_err(failed)?;
            self.abandoned().clear();
        }
        Ok(open)
    }

    fn abandoned(&self) -> std::sync::MutexGuard<'_, Vec<SavepointMark>> {
        self.local.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn run<F, T, E>(self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Self) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>
            + Send,
        T: Send,
        E: Display + Debug + Send,
    {
        match callback(&self).await {
            Ok(value) => {
                self.commit().await.map_err(TransactionError::Connection)?;
                Ok(value)
            }
            Err(error) => {
                self.rollback().await.map_err(TransactionError::Connection)?;
                Err(TransactionError::Transaction(error))
            }
        }
    }
}

fn failed(error: AtError) -> DbErr {
    DbErr::Exec(sqlx_error(error))
}

fn over() -> DbErr {
    DbErr::Custom("the transaction that this savepoint belongs to has ended".to_owned())
}

#[async_trait::async_trait]
impl<DB: SeaDatabase> TransactionSession for SeaTransaction<DB> {
    /// For the outermost: the local commit, as [`AtTransaction::commit`]. For a savepoint: keeps what
    /// was done.
    async fn commit(mut self) -> Result<(), DbErr> {
        let mut open = self.open().await?;
        if let Some(mark) = &self.mark {
            open.release_mark(mark).await.map_err(failed)?;
            drop(open);
            self.mark = None;
            return Ok(());
        }
        drop(open);
        let transaction = self.local.transaction.lock().await.take().ok_or_else(over)?;
        transaction.commit().await.map_err(failed)
    }

    async fn rollback(mut self) -> Result<(), DbErr> {
        if let Some(mark) = &self.mark {
            let mut open = self.open().await?;
            open.roll_back_to(mark).await.map_err(failed)?;
            drop(open);
            self.mark = None;
            return Ok(());
        }
        let transaction = self.local.transaction.lock().await.take().ok_or_else(over)?;
        transaction.rollback().await.map_err(failed)
    }
}

impl<DB: SeaDatabase> Drop for SeaTransaction<DB> {
    fn drop(&mut self) {
        if let Some(mark) = self.mark.take() {
            // An inner savepoint is dropped before the outer one that it lies in.
            self.abandoned().insert(0, mark);
        }
    }
}

#[async_trait::async_trait]
impl<DB: SeaDatabase> ConnectionTrait for SeaTransaction<DB> {
    fn get_database_backend(&self) -> DbBackend {
        DB::BACKEND
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        run::execute(&mut **self.open().await?, statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_raw(Statement::from_string(DB::BACKEND, sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        run::query_one(&mut **self.open().await?, statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        run::query_all(&mut **self.open().await?, statement).await
    }
}

#[async_trait::async_trait]
impl<DB: SeaDatabase> TransactionTrait for SeaTransaction<DB> {
    type Transaction = SeaTransaction<DB>;

    /// Sets a savepoint.
    async fn begin(&self) -> Result<SeaTransaction<DB>, DbErr> {
        let mark = self.open().await?.set_mark().await.map_err(failed)?;
        Ok(SeaTransaction { local: Arc::clone(&self.local), mark: Some(mark) })
    }

    async fn begin_with_config(
        &self,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<SeaTransaction<DB>, DbErr> {
        run::refuse_wishes(isolation_level.is_some() || access_mode.is_some())?;
        self.begin().await
    }

    async fn begin_with_options(
        &self,
        options: TransactionOptions,
    ) -> Result<SeaTransaction<DB>, DbErr> {
        run::refuse_wishes(options.sqlite_transaction_mode.is_some())?;
        self.begin_with_config(options.isolation_level, options.access_mode).await
    }

    async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(
                &'c SeaTransaction<DB>,
            ) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>
            + Send,
        T: Send,
        E: Display + Debug + Send,
    {
        self.begin().await.map_err(TransactionError::Connection)?.run(callback).await
    }

    async fn transaction_with_config<F, T, E>(
        &self,
        callback: F,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(
                &'c SeaTransaction<DB>,
            ) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>
            + Send,
        T: Send,
        E: Display + Debug + Send,
    {
        let begun = self.begin_with_config(isolation_level, access_mode).await;
        begun.map_err(TransactionError::Connection)?.run(callback).await
    }
}

impl<DB: SeaDatabase> fmt::Debug for SeaTransaction<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeaTransaction").field("mark", &self.mark).finish_non_exhaustive()
    }
}
