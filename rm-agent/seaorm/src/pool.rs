//! The pool: each statement a branch of its own.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::pin::Pin;

use pactum_agent::AtPool;
use sea_orm::{
    AccessMode, ConnectionTrait, DbBackend, DbErr, ExecResult, IsolationLevel, QueryResult,
    Statement, TransactionError, TransactionOptions, TransactionTrait,
};

use crate::run::{self, SeaDatabase};
use crate::sqlx_error;
use crate::transaction::SeaTransaction;

/// A resource in AT mode, for SeaORM. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SeaPool<DB: SeaDatabase>(AtPool<DB>);

impl<DB: SeaDatabase> SeaPool<DB> {
    /// SeaORM on an attached resource.
    #[must_use]
    pub fn new(pool: AtPool<DB>) -> Self {
        SeaPool(pool)
    }

    /// The resource, for queries of sqlx.
    #[must_use]
    pub fn at(&self) -> &AtPool<DB> {
        &self.0
    }
}

#[async_trait::async_trait]
impl<DB: SeaDatabase> ConnectionTrait for SeaPool<DB> {
    fn get_database_backend(&self) -> DbBackend {
        DB::BACKEND
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        run::execute(&self.0, statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_raw(Statement::from_string(DB::BACKEND, sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        run::query_one(&self.0, statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        run::query_all(&self.0, statement).await
    }
}

#[async_trait::async_trait]
impl<DB: SeaDatabase> TransactionTrait for SeaPool<DB> {
    type Transaction = SeaTransaction<DB>;

    /// One local transaction: a branch of the running task's global transaction, or guarded.
    async fn begin(&self) -> Result<SeaTransaction<DB>, DbErr> {
        let begun = self.0.begin().await;
        begun.map(SeaTransaction::new).map_err(|error| DbErr::Conn(sqlx_error(error)))
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

    /// Commits what `callback` did if it returns `Ok`. It runs once: a taken global lock comes out as
    /// an error of the commit.
    async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(
                &'c SeaTransaction<DB>,
            ) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>
            + Send,
        T: Send,
        E: Display + Debug + Send,
    {
        let transaction = self.begin().await.map_err(TransactionError::Connection)?;
        transaction.run(callback).await
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
