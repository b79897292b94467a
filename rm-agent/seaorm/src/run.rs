//! SeaORM's statements on sqlx's executors: everything that both front ends do in the same way.

use pactum_agent::AtDatabase;
use sea_orm::{DbBackend, DbErr, ExecResult, QueryResult, SqlxError, Statement};
use sea_query_sqlx::SqlxValues;
use sqlx::error::BoxDynError;
use sqlx::{AssertSqlSafe, Database, Execute, Executor, IntoArguments, SqlSafeStr, SqlStr};

use crate::sqlx_error;

/// A database that SeaORM and AT both know. Implemented here for all of them.
pub trait SeaDatabase:
    AtDatabase + Database<Row: Into<QueryResult>, QueryResult: Into<ExecResult>>
{
    /// As SeaORM calls it.
    const BACKEND: DbBackend;

    #[doc(hidden)]
    fn arguments(values: SqlxValues) -> Self::Arguments;
}

macro_rules! sea_database {
    ($($database:ty => $backend:ident,)*) => {$(
        impl SeaDatabase for $database {
            const BACKEND: DbBackend = DbBackend::$backend;

            fn arguments(values: SqlxValues) -> Self::Arguments {
                IntoArguments::<$database>::into_arguments(values)
            }
        }
    )*};
}

sea_database! {
    sqlx::Sqlite => Sqlite,
    sqlx::Postgres => Postgres,
    sqlx::MySql => MySql,
}

/// A statement of SeaORM's, as sqlx takes it.
struct Ready<DB: Database> {
    sql: String,
    arguments: Option<DB::Arguments>,
}

impl<DB: SeaDatabase> Ready<DB> {
    fn new(statement: Statement) -> Self {
        let arguments = statement.values.map(|values| DB::arguments(SqlxValues(values)));
        Ready { sql: statement.sql, arguments }
    }
}

impl<'q, DB: Database> Execute<'q, DB> for Ready<DB> {
    fn sql(self) -> SqlStr {
        AssertSqlSafe(self.sql).into_sql_str()
    }

    fn statement(&self) -> Option<&DB::Statement> {
        None
    }

    fn take_arguments(&mut self) -> Result<Option<DB::Arguments>, BoxDynError> {
        Ok(self.arguments.take())
    }

    fn persistent(&self) -> bool {
        true
    }
}

pub(crate) async fn execute<'c, DB, E>(on: E, statement: Statement) -> Result<ExecResult, DbErr>
where
    DB: SeaDatabase,
    E: Executor<'c, Database = DB> + 'c,
{
    let done = on.execute(Ready::<DB>::new(statement)).await;
    done.map(Into::into).map_err(|error| DbErr::Exec(sqlx_error(error)))
}

pub(crate) async fn query_one<'c, DB, E>(
    on: E,
    statement: Statement,
) -> Result<Option<QueryResult>, DbErr>
where
    DB: SeaDatabase,
    E: Executor<'c, Database = DB> + 'c,
{
    let row = on.fetch_optional(Ready::<DB>::new(statement)).await;
    row.map(|row| row.map(Into::into)).map_err(|error| DbErr::Query(sqlx_error(error)))
}

pub(crate) async fn query_all<'c, DB, E>(
    on: E,
    statement: Statement,
) -> Result<Vec<QueryResult>, DbErr>
where
    DB: SeaDatabase,
    E: Executor<'c, Database = DB> + 'c,
{
    let rows = on.fetch_all(Ready::<DB>::new(statement)).await;
    let rows = rows.map_err(|error| DbErr::Query(sqlx_error(error)))?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// SeaORM begins transactions with wishes that the agent cannot grant.
pub(crate) fn refuse_wishes(wished: bool) -> Result<(), DbErr> {
    if !wished {
        return Ok(());
    }
    let why = "an AT transaction cannot choose its isolation level, access mode or SQLite mode: set \
               them in the connect options of the pool";
    Err(DbErr::Exec(sqlx_error(SqlxError::Configuration(why.into()))))
}
