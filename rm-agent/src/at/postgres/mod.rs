//! AT on PostgreSQL, from version 14.
//!
//! Writers do not exclude each other here. What a statement changed is behind the database's own row
//! locks until the local transaction ends, and by then the branch has its global locks.
//!
//! What a plan took for granted is confirmed by the statement that writes the barrier row: that the
//! names still mean the same tables, that these are as they were, and that the session reads and
//! shows values as the agent's own sessions do.

mod compile;
mod dialect;
mod keys;
mod table;
mod types;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use sqlx::postgres::{PgArguments, PgQueryResult, PgRow};
use sqlx::{Executor, PgConnection, Postgres, Row as _, SqlStr};

use super::engine::{Assumed, CompiledChange, CompiledRead, Engine, Statement, Step};
use super::error::AtError;
use super::plan::{self, Change, LockingRead, Plan, Refused};
use super::restore::Dialect;
use super::table::Table;
use super::told::Told;
use crate::db::POSTGRES_BARRIER_PLACE as BARRIER_PLACE;
use crate::db::{self, DbError, Kind, Row, Sql, Value};
use dialect::PostgresDialect;

/// What a session must be like, and what is said if it is not. Images are compared as text with what
/// the agent's own sessions see, and a plan is a reading of the statement's text.
const SETTINGS: [(&str, &str); 10] = [
    (
        "current_setting('transaction_isolation') = 'read committed'",
        "the transaction is not READ COMMITTED, so it cannot see whether a table was altered before \
         its statements ran: leave `default_transaction_isolation` alone",
    ),
    (
        "current_setting('session_replication_role') = 'origin'",
        "`session_replication_role` is not `origin`, so other triggers fire than in a rollback",
    ),
    (
        "current_setting('synchronous_commit') <> 'off'",
        "`synchronous_commit` is off, so a local commit could be lost after it was reported: turn it \
         on, or set it to `local`",
    ),
    (
        "current_setting('standard_conforming_strings') = 'on'",
        "`standard_conforming_strings` is off, so texts in statements mean something else",
    ),
    (
        "current_setting('DateStyle') LIKE 'ISO%'",
        "`DateStyle` is not ISO: leave it as the driver sets it",
    ),
    (
        "current_setting('TimeZone') IN ('UTC', 'Etc/UTC', 'GMT')",
        "`TimeZone` is not UTC: leave it as the driver sets it, and use AT TIME ZONE in statements",
    ),
    (
        "current_setting('IntervalStyle') = 'postgres'",
        "`IntervalStyle` is not `postgres`: leave it at its default",
    ),
    (
        "current_setting('extra_float_digits')::int >= 1",
        "`extra_float_digits` is below 1, so numbers lose digits: leave it as the driver sets it",
    ),
    (
        "current_setting('bytea_output') = 'hex'",
        "`bytea_output` is not `hex`: leave it at its default",
    ),
    (
        "current_setting('xmloption') = 'content'",
        "`xmloption` is not `content`: leave it at its default",
    ),
];

const ELSEWHERE: &str = "the session's `search_path` finds another `pactum_barrier` than the \
                         agent's own sessions, which would not find what is written there: set it in \
                         the pool's connect options, so that all have it";

#[allow(private_interfaces, reason = "sealed, see the trait")]
impl Engine for Postgres {
    const SURVIVES_ERRORS: bool = false;
    const SURVIVES_DROPS: bool = true;
    const WAITS_INSIDE: bool = true;

    fn plan(sql: &str) -> Result<Plan, Refused> {
        plan::plan(sql, Kind::Postgres)
    }

    fn plan_locking_read(sql: &str) -> Result<LockingRead, Refused> {
        plan::plan_locking_read(sql, Kind::Postgres)
    }

    fn compile_change(change: &Change, table: &Table) -> Result<CompiledChange, Refused> {
        compile::change(change, table)
    }

    fn compile_read(read: &LockingRead, table: &Table) -> Result<CompiledRead, Refused> {
        Ok(compile::read(read, table))
    }

    fn run<'e>(
        connection: &'e mut PgConnection,
        statement: Statement<Postgres>,
    ) -> BoxStream<'e, Result<Step<Postgres>, sqlx::Error>> {
        connection.fetch_many(statement)
    }

    fn prepare<'e>(
        connection: &'e mut PgConnection,
        sql: SqlStr,
        parameters: &'e [Self::TypeInfo],
    ) -> BoxFuture<'e, Result<Self::Statement, sqlx::Error>> {
        connection.prepare_with(sql, parameters)
    }

    fn describe(
        connection: &mut PgConnection,
        sql: SqlStr,
    ) -> BoxFuture<'_, Result<sqlx::Describe<Postgres>, sqlx::Error>> {
        connection.describe(sql)
    }

    fn copy_arguments(arguments: &PgArguments) -> PgArguments {
        arguments.clone()
    }

    fn last_values(row: &PgRow, count: usize) -> Result<Row, sqlx::Error> {
        let first = row
            .len()
            .checked_sub(count)
            .ok_or(sqlx::Error::ColumnIndexOutOfBounds { index: count, len: row.len() })?;
        db::read_pg_row(row, first, count)
    }

    fn rows_affected(result: &PgQueryResult) -> u64 {
        result.rows_affected()
    }

    fn has_drifted(error: &sqlx::Error) -> bool {
        error.as_database_error().is_some_and(|error| error.message().contains(compile::MOVED))
    }

    fn commit_condition(assumed: &Assumed, first: usize) -> (String, Vec<Value>) {
        let mut condition = SETTINGS.map(|(holds, _)| holds).join(" AND ");
        let mut values = Vec::new();
        for table in &assumed.tables {
            let number = first + values.len();
            condition.push_str(&format!(
                " AND (SELECT {} FROM pg_catalog.pg_class c WHERE c.oid = to_regclass(?{number})) \
                 = ?{}",
                table::VERSION,
                number + 1
            ));
            values.push(Value::text(&table.written));
            values.push(Value::text(&table.version));
        }
        if let Some(place) = &assumed.barrier {
            let number = first + values.len();
            condition.push_str(&format!(" AND {BARRIER_PLACE} = ?{number}"));
            values.push(Value::text(&**place));
        }
        (condition, values)
    }

    fn broken_assumption<'e>(
        sql: &'e mut dyn Sql,
        assumed: &'e Assumed,
    ) -> BoxFuture<'e, Result<AtError, DbError>> {
        Box::pin(async move {
            let holds = SETTINGS.map(|(holds, _)| holds).join(", ");
            let found = sql.query(&format!("SELECT {holds}"), &[]).await?;
            let found = found.first().map(Vec::as_slice).unwrap_or_default();
            let broken = SETTINGS.iter().zip(found).find(|(_, holds)| !table::is_true(holds));
            if let Some(((_, why), _)) = broken {
                return Ok(AtError::SessionSetting(why));
            }
            if let Some(place) = &assumed.barrier {
                let elsewhere = format!("SELECT 1 WHERE {BARRIER_PLACE} IS DISTINCT FROM ?1");
                if !sql.query(&elsewhere, &[Value::text(&**place)]).await?.is_empty() {
                    return Ok(AtError::SessionSetting(ELSEWHERE));
                }
            }
            for table in &assumed.tables {
                let temporary = "SELECT 1 FROM pg_catalog.pg_class \
                                 WHERE oid = to_regclass(?1) AND relpersistence = 't'";
                if !sql.query(temporary, &[Value::text(&table.written)]).await?.is_empty() {
                    return Ok(AtError::TemporaryObjects);
                }
            }
            Ok(AtError::SchemaChanged(Told::default()))
        })
    }

    fn dialect() -> &'static dyn Dialect {
        &PostgresDialect
    }
}
