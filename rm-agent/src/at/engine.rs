//! What AT needs of a database, beside what sqlx gives: one implementor a folder.
//!
//! Nothing here is for users: the trait is public only because public types are generic over it.

use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use sqlx::{AssertSqlSafe, Database, Either, Execute, SqlSafeStr, SqlStr};

use super::error::AtError;
use super::plan::{Change, LockingRead, Plan, Refused};
use super::restore::Dialect;
use super::table::Table;
use crate::db::{DbError, Driver, Row, Sql, Value};

/// A database that AT works on. Implemented here, for the databases named in the documentation.
pub trait AtDatabase: Database + Driver + Engine {}

impl<DB: Database + Driver + Engine> AtDatabase for DB {}

/// What a statement yields, piece by piece.
pub(crate) type Step<DB> = Either<<DB as Database>::QueryResult, <DB as Database>::Row>;

/// See [`AtDatabase`].
#[allow(private_interfaces, reason = "sealed: nobody else can name or implement it")]
pub trait Engine: Driver {
    /// Whether a local transaction goes on after the database refused a statement.
    #[doc(hidden)]
    const SURVIVES_ERRORS: bool;
    /// Whether the driver knows how to go on after a statement's future was dropped at any await. If
    /// not, see [`Held`](super::held::Held).
    #[doc(hidden)]
    const SURVIVES_DROPS: bool;
    /// Whether a registration may wait for global locks while the local transaction holds its own:
    /// not where that keeps every other writer away.
    #[doc(hidden)]
    const WAITS_INSIDE: bool;
    #[doc(hidden)]
    fn plan(sql: &str) -> Result<Plan, Refused>;

    #[doc(hidden)]
    fn plan_locking_read(sql: &str) -> Result<LockingRead, Refused>;

    #[doc(hidden)]
    fn compile_change(change: &Change, table: &Table) -> Result<CompiledChange, Refused>;

    #[doc(hidden)]
    fn compile_read(read: &LockingRead, table: &Table) -> Result<CompiledRead, Refused>;

    /// A change as it is sent, once the rows before it are known.
    #[doc(hidden)]
    fn change_to_send(
        statement: &Statement<Self>,
        compiled: &CompiledChange,
        _table: &Table,
        _before: &[Row],
    ) -> Result<Statement<Self>, AtError> {
        Ok(statement.with_sql(&compiled.change))
    }

    /// Passes a statement to the driver.
    #[doc(hidden)]
    fn run<'e>(
        connection: &'e mut Self::Connection,
        statement: Statement<Self>,
    ) -> BoxStream<'e, Result<Step<Self>, sqlx::Error>>;

    #[doc(hidden)]
    fn prepare<'e>(
        connection: &'e mut Self::Connection,
        sql: SqlStr,
        parameters: &'e [Self::TypeInfo],
    ) -> BoxFuture<'e, Result<Self::Statement, sqlx::Error>>;

    #[doc(hidden)]
    fn describe(
        connection: &mut Self::Connection,
        sql: SqlStr,
    ) -> BoxFuture<'_, Result<sqlx::Describe<Self>, sqlx::Error>>;

    #[doc(hidden)]
    fn copy_arguments(arguments: &Self::Arguments) -> Self::Arguments;

    /// The last `count` values of a row.
    #[doc(hidden)]
    fn last_values(row: &Self::Row, count: usize) -> Result<Row, sqlx::Error>;

    /// How many rows a statement changed. What a change that returns rows counts is compared with
    /// them only where [`CompiledChange::counted`] says that it may be.
    #[doc(hidden)]
    fn rows_affected(result: &Self::QueryResult) -> u64;

    /// Whether a change of ours failed because a row of its image was changed meanwhile so that it would have
    /// been passed over.
    #[doc(hidden)]
    fn has_drifted(_error: &sqlx::Error) -> bool {
        false
    }

    /// The condition under which phase one may commit what it did under these assumptions, with
    /// parameters numbered from `first`. It is part of the statement that writes the barrier row.
    #[doc(hidden)]
    fn commit_condition(assumed: &Assumed, first: usize) -> (String, Vec<Value>);

    /// Confirms what no condition of a statement can, by statements of its own in the local
    /// transaction.
    #[doc(hidden)]
    fn confirm<'e>(
        _sql: &'e mut dyn Sql,
        _assumed: &'e Assumed,
    ) -> BoxFuture<'e, Result<bool, DbError>> {
        Box::pin(async { Ok(true) })
    }

    /// Which of the assumptions does not hold.
    #[doc(hidden)]
    fn broken_assumption<'e>(
        sql: &'e mut dyn Sql,
        assumed: &'e Assumed,
    ) -> BoxFuture<'e, Result<AtError, DbError>>;

    #[doc(hidden)]
    fn dialect() -> &'static dyn Dialect;
}

/// What statements took for granted, to be confirmed before the local commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assumed {
    /// The tables, each as it was when a plan was made for it. One a name.
    pub(crate) tables: Vec<Arc<Table>>,
    /// That rows which a statement did not find cannot come into being behind it.
    pub(crate) repeatable_read: bool,
    /// Where the barrier row must go, if there is one to write: see [`Driver::barrier_place`].
    pub(crate) barrier: Option<Arc<str>>,
}

/// A change, made ready for one state of the schema.
#[derive(Debug)]
pub(crate) struct CompiledChange {
    /// What finds the rows of an INSERT whose values only its query knows.
    pub(crate) written: Option<Written>,
    /// Reads, and where the database does not do so by itself locks, the rows before they change:
    /// every column of the table, last. A row may come more than once.
    pub(crate) before: Option<Arc<str>>,
    /// The change.
    pub(crate) change: Arc<str>,
    /// What is sent in its stead where it might choose other rows than `before`.
    pub(crate) restricted: Option<Restricted>,
    /// Reads the rows after they changed, as `before` does, where neither the change nor the keys of
    /// `before` give them. With the arguments of the change, like `before`.
    pub(crate) after: Option<Arc<str>>,
    /// What the change returns after the user's own columns.
    pub(crate) yields: Yields,
    /// Whether the rows affected that the driver tells are those that the images must be about.
    pub(crate) counted: bool,
    /// Whether a row that an upsert changed counts twice in them.
    pub(crate) counts_changes_twice: bool,
    /// Whether `after` gives, before the columns, the number of the written row by which a row was
    /// found. One that finds two would make up in the count for one whose own row was not found.
    pub(crate) numbered: bool,
    /// See [`Assumed::repeatable_read`].
    pub(crate) repeatable_read: bool,
}

/// The values that a query gives a unique key, read before the INSERT that runs the query once more.
///
/// Nothing is made of their being the same both times: a row is the INSERT's if it was not there
/// before and is there after, and there must be as many as the database counts.
#[derive(Debug)]
pub(crate) struct Written {
    /// Reads the values of `key`, last, with the arguments of the change.
    pub(crate) sql: Arc<str>,
    /// The places of the key's columns.
    pub(crate) key: Vec<usize>,
}

/// A change with a gap in its condition, for the keys of the rows that `before` found.
#[derive(Debug)]
pub(crate) struct Restricted {
    pub(crate) start: String,
    /// How the statement calls the table.
    pub(crate) target: String,
    /// Without parameters.
    pub(crate) end: String,
}

/// The images that a change returns; each is every column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Yields {
    /// None: what it left is read by the keys of what was there before.
    Nothing,
    Before,
    After,
    /// Before, then after, in one row.
    BeforeAndAfter,
    /// After, then whether the row is new: a text that is `new` or not.
    AfterAndNew,
}

impl Yields {
    /// How many values come after the user's own.
    pub(crate) fn width(self, columns: usize) -> usize {
        match self {
            Yields::Nothing => 0,
            Yields::Before | Yields::After => columns,
            Yields::BeforeAndAfter => 2 * columns,
            Yields::AfterAndNew => columns + 1,
        }
    }
}

/// A locking read, made ready.
#[derive(Debug)]
pub(crate) enum CompiledRead {
    /// The read returns the key columns after the user's own.
    Together(Arc<str>),
    /// The keys come from a query of their own.
    Apart { keys: Arc<str>, read: Arc<str> },
}

/// A statement on its way to the driver.
#[derive(Debug)]
pub struct Statement<DB: Database> {
    pub(crate) sql: SqlStr,
    pub(crate) arguments: Option<DB::Arguments>,
    pub(crate) persistent: bool,
}

impl<DB: Database> Statement<DB> {
    /// Takes a user's query apart.
    pub(crate) fn take<'q, E: Execute<'q, DB>>(mut query: E) -> Result<Self, sqlx::Error> {
        let arguments = query.take_arguments().map_err(sqlx::Error::Encode)?;
        let persistent = query.persistent();
        Ok(Statement { sql: query.sql(), arguments, persistent })
    }

    /// Another text with the same arguments.
    pub(crate) fn with_sql(&self, sql: &Arc<str>) -> Self
    where
        DB: Engine,
    {
        Statement {
            sql: AssertSqlSafe(Arc::clone(sql)).into_sql_str(),
            arguments: self.arguments.as_ref().map(DB::copy_arguments),
            persistent: self.persistent,
        }
    }

    /// The same statement, to be run once more.
    pub(crate) fn again(&self) -> Self
    where
        DB: Engine,
    {
        Statement {
            sql: self.sql.clone(),
            arguments: self.arguments.as_ref().map(DB::copy_arguments),
            persistent: self.persistent,
        }
    }
}

/// The last `width` values of each returned row.
pub(super) fn last_values<DB: AtDatabase>(
    steps: &[Step<DB>],
    width: usize,
) -> Result<Vec<Row>, AtError> {
    let rows = steps.iter().filter_map(|step| match step {
        Either::Left(_) => None,
        Either::Right(row) => Some(DB::last_values(row, width)),
    });
    rows.collect::<Result<_, _>>().map_err(AtError::Database)
}

impl<'q, DB: Database> Execute<'q, DB> for Statement<DB> {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&DB::Statement> {
        None
    }

    fn take_arguments(&mut self) -> Result<Option<DB::Arguments>, sqlx::error::BoxDynError> {
        Ok(self.arguments.take())
    }

    fn persistent(&self) -> bool {
        self.persistent
    }
}
