//! A connection of the application's pool while AT uses it, and the local transaction on it.
//!
//! A future may be dropped while a statement is under way. Where the driver does not note every message
//! that it has sent ([`SURVIVES_DROPS`](super::engine::Engine::SURVIVES_DROPS)), it then takes the answer
//! for that of the next statement, waits for one that never comes, or panics. So it is noted here, and
//! such a connection is lost: nothing is sent on it any more, not even a rollback. It is closed, with
//! which the database rolls back.
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

/// See the module. It dereferences to the connection of sqlx.
pub(super) struct Held<DB: AtDatabase> {
    connection: PoolConnection<DB>,
    /// Whether a local transaction was begun and not ended.
    is_open: bool,
    is_under_way: bool,
}

impl<DB: AtDatabase> Held<DB> {
    /// For statements outside of any local transaction.
    pub(super) fn new(connection: PoolConnection<DB>) -> Self {
        Held { connection, is_open: false, is_under_way: false }
    }

    /// Begins a local transaction.
    pub(super) async fn begin(
        connection: PoolConnection<DB>,
        begin: SqlStr,
    ) -> Result<Self, sqlx::Error> {
        let mut held = Held { connection, is_open: true, is_under_way: true };
        let begun = DB::TransactionManager::begin(&mut held.connection, Some(begin)).await;
        held.answered();
        if begun.as_ref().is_err_and(DB::was_left_open) {
            held.connection.close_on_drop();
        }
        begun.map(|()| held)
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
        let committed = DB::TransactionManager::commit(&mut self.connection).await;
        self.answered();
        self.is_open = committed.is_err();
        committed
    }

    /// An error does not say that anything was committed.
    pub(super) async fn rollback(mut self) -> Result<(), sqlx::Error> {
        if self.is_lost() {
            let why = "a statement was cut short, so the connection is closed, with which the database \
                rolls back";
            return Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::ConnectionAborted, why)));
        }
        self.sending();
        let rolled_back = DB::TransactionManager::rollback(&mut self.connection).await;
        self.answered();
        self.is_open = rolled_back.is_err();
        rolled_back
    }
}

impl<DB: AtDatabase> Drop for Held<DB> {
    fn drop(&mut self) {
        if self.is_lost() {
            self.connection.close_on_drop();
        } else if self.is_open {
            // Sent as the connection goes home.
            DB::TransactionManager::start_rollback(&mut self.connection);
        }
    }
}

impl<DB: AtDatabase> Deref for Held<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl<DB: AtDatabase> DerefMut for Held<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.connection
    }
}
