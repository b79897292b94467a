//! What every mode needs of a database through sqlx, beside what sqlx gives: one implementor a
//! database.
//!
//! The trait is public only because public types are generic over it; nobody else can implement it.
//! What only one mode needs stands with that mode.
//!
//! Easy to get wrong: an application's connections are its own, and what it set there stays. What
//! must hold on them is asked by the statement that writes the barrier row.

mod mysql;
mod postgres;
mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use sqlx::{Database, Pool, SqlStr};
use sqlx_core::transaction::TransactionManager as _;
use tokio::sync::Semaphore;

use super::{DbError, Failure, LocalDatabase, Sql, Value};

pub(crate) use mysql::in_database as in_mysql_database;
pub(crate) use postgres::{ALONE as POSTGRES_ALONE, BARRIER_PLACE as POSTGRES_BARRIER_PLACE};

/// A database of sqlx that branches work on.
#[allow(private_interfaces, reason = "sealed: nobody else can name or implement it")]
pub trait Driver: Database {
    /// How many local transactions may write at the same time.
    #[doc(hidden)]
    const WRITERS: usize;
    /// Whether an UPDATE can return what it found.
    #[doc(hidden)]
    const UPDATES_RETURN: bool;

    /// Begins a local transaction that will write, in one round trip. If nothing of it matters after
    /// `left`, no statement of it should take longer, where the database can be told so in passing. It
    /// fails on a connection on which somebody left a transaction open: what was changed there would be
    /// committed with this one.
    #[doc(hidden)]
    fn begin(left: Option<Duration>) -> SqlStr;

    /// Whether that is why a local transaction, or a branch, did not begin. Such a connection is to be
    /// closed.
    #[doc(hidden)]
    fn was_left_open(error: &sqlx::Error) -> bool;

    /// The local commit of a transaction in which somebody else's code ran. It fails if there is nothing
    /// to commit any more: because a statement failed and that was not told, or because the transaction
    /// was ended. Where the database does not tell, the statement that marks the barrier row does.
    #[doc(hidden)]
    fn commit(connection: &mut Self::Connection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(Self::TransactionManager::commit(connection))
    }

    /// The connection for statements of our own.
    #[doc(hidden)]
    fn sql(connection: &mut Self::Connection) -> Box<dyn Sql + '_>;

    #[doc(hidden)]
    fn classify(error: &sqlx::Error) -> Failure;

    /// Whether branches can work here at all.
    #[doc(hidden)]
    fn check_suitable<'e>(
        sql: &'e mut dyn Sql,
    ) -> BoxFuture<'e, Result<Result<(), &'static str>, DbError>>;

    /// Where the agent's own connections find the barrier, if other connections could find another one.
    #[doc(hidden)]
    fn barrier_place<'e>(
        _sql: &'e mut dyn Sql,
    ) -> BoxFuture<'e, Result<Option<Arc<str>>, DbError>> {
        Box::pin(async { Ok(None) })
    }

    /// The condition under which a connection finds that barrier too, and what it commits there is
    /// durable; with parameters numbered from `first`.
    #[doc(hidden)]
    fn at_the_barrier(place: Option<&str>, first: usize) -> (String, Vec<Value>);

    /// The same database, with connections of the agent's own: for the barrier, and for what AT
    /// restores.
    #[doc(hidden)]
    fn own_connections(
        pool: &Pool<Self>,
        writer: &Arc<Semaphore>,
        own: &OwnConnections,
    ) -> Arc<dyn LocalDatabase>;
}

/// How many connections of its own the agent has to a database, and how patient they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnConnections {
    /// On SQLite there are two: one writes at a time, and the second is for looking up what became
    /// of a local commit.
    pub(crate) count: u32,
    /// How long to wait for a turn, a connection, or the database's own locks.
    pub(crate) local_lock_wait_max: Duration,
}
