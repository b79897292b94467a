//! A connection of the application's pool while AT uses it, and the local transaction on it.
//!
//! A future may be dropped while a statement is under way. Where the driver does not note every message
//! that it has sent ([`SURVIVES_DROPS`](super::engine::Engine::SURVIVES_DROPS)), it then takes the answer
//! for that of the next statement, waits for one that never comes, or panics. So it is noted here, and
//! such a connection is lost: nothing is sent on it any more, not even a rollback. It is closed, with
//! which the database rolls back.
//!
//! Where a local transaction has to begin as an XA branch if it is to end as one, it is ended by other
//! statements, and sqlx knows nothing of it. Dropped halfway, its connection is closed.
//!
//! Easy to get wrong: a new place that talks to the database. Between [`Held::sending`] and
//! [`Held::answered`] lies every await of it.

use std::io;
use std::ops::{Deref, DerefMut};

use futures_core::stream::BoxStream;
use futures_util::TryStreamExt;
use sqlx::pool::PoolConnection;
use sqlx::{Either, SqlStr};
use sqlx_core::transaction::TransactionManager as _;

use super::engine::{AtDatabase, Statement, Step};
use crate::db::DbError;
use crate::xa::{Branch, Name, Support};

/// See the module. It dereferences to the connection of sqlx.
pub(super) struct Held<DB: AtDatabase> {
    /// Empty once it is closed.
    connection: Option<PoolConnection<DB>>,
    open: Open,
    is_under_way: bool,
}

/// What was begun on it and not ended.
#[derive(Debug)]
enum Open {
    Nothing,
    /// What a begin left that was dropped or that failed: sqlx knows of no transaction to roll back.
    Beginning,
    Transaction,
    Branch(Box<Branch>),
}

const CLOSED: &str = "only its end closes it, and that takes the value";

impl<DB: AtDatabase> Held<DB> {
    /// For statements outside of any local transaction.
    pub(super) fn new(connection: PoolConnection<DB>) -> Self {
        Held { connection: Some(connection), open: Open::Nothing, is_under_way: false }
    }

    /// Begins a local transaction.
    pub(super) async fn begin(
        connection: PoolConnection<DB>,
        begin: SqlStr,
    ) -> Result<Self, sqlx::Error> {
        let mut held = Held::new(connection);
        held.open = Open::Beginning;
        held.sending();
        let begun = DB::TransactionManager::begin(&mut held, Some(begin)).await;
        held.answered();
        begun?;
        held.open = Open::Transaction;
        Ok(held)
    }

    /// Begins one as an XA branch.
    pub(super) async fn begin_branch(
        connection: PoolConnection<DB>,
        branch: Branch,
    ) -> Result<Self, sqlx::Error> {
        let mut held = Held::new(connection);
        held.start(branch).await.map(|()| held)
    }

    /// Begins the local transaction, of which nothing matters yet, once more as an XA branch.
    pub(super) async fn begin_again(&mut self, branch: Branch) -> Result<(), sqlx::Error> {
        DB::TransactionManager::rollback(&mut *self).await?;
        self.open = Open::Nothing;
        self.start(branch).await
    }

    async fn start(&mut self, branch: Branch) -> Result<(), sqlx::Error> {
        let start = branch.start.clone();
        self.open = Open::Branch(Box::new(branch));
        self.sending();
        let started = DB::sql(self).run(&start).await;
        self.answered();
        started.map(drop).map_err(DbError::into_sqlx)
    }

    /// The branch that the local transaction is.
    pub(super) fn branch(&self) -> Option<&Name> {
        match &self.open {
            Open::Branch(branch) => Some(&branch.name),
            Open::Nothing | Open::Beginning | Open::Transaction => None,
        }
    }

    /// From here on, until [`Held::answered`], a dropped future leaves a statement under way.
    pub(super) fn sending(&mut self) {
        self.is_under_way = true;
    }

    /// Every answer was read to its end, good or bad.
    pub(super) fn answered(&mut self) {
        self.is_under_way = false;
    }

    /// Whether nothing may be sent any more. Not to be asked while something is sent.
    pub(super) fn is_lost(&self) -> bool {
        self.is_under_way && !DB::SURVIVES_DROPS
    }

    /// Runs a read. Its stream may be dropped after any row: the driver reads past what is left.
    pub(super) fn read(
        &mut self,
        statement: Statement<DB>,
    ) -> BoxStream<'_, Result<Step<DB>, sqlx::Error>> {
        let Held { connection, is_under_way, .. } = self;
        let connection = connection.as_mut().expect(CLOSED);
        Box::pin(async_stream::try_stream! {
            let mut steps = DB::run(connection, statement);
            loop {
                *is_under_way = true;
                let step = steps.try_next().await;
                // That a result has ended the driver notes only when it is asked for more.
                *is_under_way = matches!(step, Ok(Some(Either::Left(_))));
                let Some(step) = step? else { break };
                yield step;
            }
        })
    }

    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.sending();
        let committed = match &self.open {
            Open::Nothing | Open::Beginning | Open::Transaction => {
                DB::TransactionManager::commit(&mut *self).await
            }
            Open::Branch(branch) => {
                let text = branch.commit.clone();
                DB::sql(&mut self).run(&text).await.map(drop).map_err(DbError::into_sqlx)
            }
        };
        self.answered();
        if committed.is_ok() {
            self.open = Open::Nothing;
        }
        committed
    }

    /// Prepares what is open as the branch of this name. The connection is free then, or it is closed:
    /// what is not prepared ends with it, and where a prepared branch stays with its connection, phase
    /// two finds it free.
    pub(super) async fn prepare(mut self, xa: &Support, name: &Name) -> Result<(), DbError> {
        let text = xa.prepare(name);
        self.sending();
        let prepared = match &self.open {
            // The empty transaction is for sqlx, which believes that it is still in one.
            Open::Nothing | Open::Beginning | Open::Transaction => {
                DB::sql(&mut self).run(&format!("{text}; BEGIN")).await
            }
            Open::Branch(_) => DB::sql(&mut self).run(&text).await,
        };
        self.answered();
        match (&self.open, &prepared) {
            (Open::Nothing | Open::Beginning | Open::Transaction, _) => {
                self.rollback().await.ok();
            }
            (Open::Branch(_), Ok(_)) if xa.frees_its_connection() => self.open = Open::Nothing,
            (Open::Branch(_), _) => {
                let connection = self.connection.take().expect(CLOSED);
                // An error means that it is gone already.
                connection.close().await.ok();
            }
        }
        prepared.map(drop)
    }

    /// An error does not say that anything was committed.
    pub(super) async fn rollback(mut self) -> Result<(), sqlx::Error> {
        if self.is_lost() {
            let why = "a statement was cut short, so the connection is closed, with which the database \
                rolls back";
            return Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::ConnectionAborted, why)));
        }
        self.sending();
        let rolled_back = match &self.open {
            Open::Nothing | Open::Beginning | Open::Transaction => {
                DB::TransactionManager::rollback(&mut *self).await
            }
            Open::Branch(branch) => {
                let text = branch.abandon.clone();
                DB::sql(&mut self).run(&text).await.map(drop).map_err(DbError::into_sqlx)
            }
        };
        self.answered();
        if rolled_back.is_ok() {
            self.open = Open::Nothing;
        }
        rolled_back
    }
}

impl<DB: AtDatabase> Drop for Held<DB> {
    fn drop(&mut self) {
        let is_lost = self.is_lost();
        let Some(connection) = &mut self.connection else { return };
        match (&self.open, is_lost) {
            (Open::Nothing, false) => {}
            // Sent as the connection goes home.
            (Open::Transaction, false) => DB::TransactionManager::start_rollback(connection),
            (Open::Beginning | Open::Branch(_), _) | (Open::Nothing | Open::Transaction, true) => {
                connection.close_on_drop();
            }
        }
    }
}

impl<DB: AtDatabase> Deref for Held<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        self.connection.as_ref().expect(CLOSED)
    }
}

impl<DB: AtDatabase> DerefMut for Held<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.connection.as_mut().expect(CLOSED)
    }
}
