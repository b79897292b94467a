//! The agent's own tables: are they there as they must be, and which database is this?

use pactum_core::id::ResourceUid;
use pactum_migrations::agent::{MYSQL, POSTGRES, SCHEMA_VERSION, SQLITE};

use crate::db::{DbError, Failure, Kind, Sql, Value};

/// Why the agent's tables cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TablesError {
    #[error(
        "{what}; run this in the database, or let the agent do it with `create_tables(true)`:\n{ddl}"
    )]
    Missing { what: String, ddl: &'static str },
    #[error(
        "the agent's tables have version {found}, this build knows version {SCHEMA_VERSION}: \
         update the agent"
    )]
    Version { found: i64 },
    #[error("{0}")]
    Malformed(&'static str),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Checks the tables, creating them first if that is wanted, and returns the database's uid, which
/// is `fresh_uid` if it had none.
///
/// Run it in a local transaction. Two agents may start at the same time on one database: they take
/// turns, as far as the database has something to take turns with.
pub(crate) async fn ensure(
    sql: &mut dyn Sql,
    create: bool,
    fresh_uid: ResourceUid,
) -> Result<ResourceUid, TablesError> {
    match sql.kind() {
        // A local transaction that writes is alone there.
        Kind::Sqlite => checked(sql, create, fresh_uid).await,
        Kind::Postgres => {
            sql.query("SELECT pg_advisory_xact_lock(?1)", &[Value::Integer(TURN)]).await?;
            checked(sql, create, fresh_uid).await
        }
        // DDL commits there, so the turn cannot be the local transaction's.
        Kind::Mysql => {
            sql.query("SELECT GET_LOCK('pactum_tables', 10)", &[]).await?;
            let checked = checked(sql, create, fresh_uid).await;
            sql.query("SELECT RELEASE_LOCK('pactum_tables')", &[]).await?;
            checked
        }
    }
}

/// The name of the turn on PostgreSQL: any number that nobody else is likely to use.
const TURN: i64 = 0x7061_6374_756d;

async fn checked(
    sql: &mut dyn Sql,
    create: bool,
    fresh_uid: ResourceUid,
) -> Result<ResourceUid, TablesError> {
    if create && let Some(what) = find_fault(sql).await? {
        let ddl = script(sql.kind());
        for statement in statements(ddl) {
            match sql.execute(&statement, &[]).await {
                Ok(_) => {}
                // A table of that name that lacks a column: what was found says it better.
                Err(error) if error.failure == Failure::Statement => {
                    return Err(TablesError::Missing { what, ddl });
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    if let Some(what) = find_fault(sql).await? {
        return Err(TablesError::Missing { what, ddl: script(sql.kind()) });
    }
    resource_uid(sql, fresh_uid).await
}

fn script(kind: Kind) -> &'static str {
    match kind {
        Kind::Sqlite => SQLITE,
        Kind::Postgres => POSTGRES,
        Kind::Mysql => MYSQL,
    }
}

/// The script's statements without its comments: a prepared statement is a single one.
fn statements(script: &str) -> Vec<String> {
    let code: Vec<&str> =
        script.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let code = code.join("\n");
    code.split(';').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

/// A table of ours: its columns, and how many of them, from the first, are its primary key.
struct Expected {
    table: &'static str,
    columns: &'static [&'static str],
    key: usize,
}

const EXPECTED: [Expected; 2] = [
    Expected {
        table: "pactum_barrier",
        columns: &[
            "xid",
            "branch_id",
            "store_id",
            "mode",
            "state",
            "format",
            "checksum",
            "body",
            "created_at",
            "changed_at",
        ],
        key: 2,
    },
    Expected {
        table: "pactum_resource",
        columns: &["singleton", "resource_uid", "schema_version"],
        key: 1,
    },
];

/// What is wrong with the tables.
async fn find_fault(sql: &mut dyn Sql) -> Result<Option<String>, DbError> {
    for Expected { table, columns, key } in EXPECTED {
        let rows = sql.query(columns_of(sql.kind()), &[Value::text(table)]).await?;
        if rows.is_empty() {
            return Ok(Some(format!("table `{table}` is missing")));
        }
        let has = |column: &&str| rows.iter().any(|row| row[0].as_text() == Some(column));
        if let Some(column) = columns.iter().find(|column| !has(column)) {
            return Ok(Some(format!("table `{table}` lacks its column `{column}`")));
        }
        let found: Vec<&str> = rows
            .iter()
            .filter(|row| row[1].as_integer() != Some(0))
            .filter_map(|row| row[0].as_text())
            .collect();
        let key = &columns[..key];
        if found != key {
            let key = key.join(", ");
            return Ok(Some(format!("table `{table}` lacks its primary key ({key})")));
        }
    }
    Ok(None)
}

/// The columns of a table that a bare name finds, each with its place in the primary key or 0, in the
/// order of these places.
fn columns_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Sqlite => "SELECT name, pk FROM pragma_table_info(?1, 'main') ORDER BY pk",
        Kind::Postgres => {
            "SELECT a.attname, coalesce(array_position(i.indkey::int2[], a.attnum), -1) + 1 AS place \
             FROM pg_attribute a \
             LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary \
             WHERE a.attrelid = to_regclass(?1) AND a.attnum > 0 AND NOT a.attisdropped \
             ORDER BY place"
        }
        Kind::Mysql => {
            "SELECT c.column_name, coalesce(k.ordinal_position, 0) AS place \
             FROM information_schema.columns c \
             LEFT JOIN information_schema.key_column_usage k \
               ON k.table_schema = c.table_schema AND k.table_name = c.table_name \
               AND k.column_name = c.column_name AND k.constraint_name = 'PRIMARY' \
             WHERE c.table_schema = database() AND c.table_name = ?1 ORDER BY place"
        }
    }
}

async fn resource_uid(sql: &mut dyn Sql, fresh: ResourceUid) -> Result<ResourceUid, TablesError> {
    let rows = sql.query("SELECT resource_uid, schema_version FROM pactum_resource", &[]).await?;
    let Some(row) = rows.first() else {
        sql.execute(
            "INSERT INTO pactum_resource (singleton, resource_uid, schema_version) \
             VALUES (1, ?1, ?2)",
            &[Value::text(fresh.to_string()), Value::Integer(SCHEMA_VERSION)],
        )
        .await?;
        return Ok(fresh);
    };
    match row[1].as_integer() {
        Some(SCHEMA_VERSION) => {}
        Some(found) => return Err(TablesError::Version { found }),
        None => return Err(TablesError::Malformed("`pactum_resource` holds no schema version")),
    }
    let text = row[0].as_text().filter(|text| text.len() == 32);
    let uid = text.and_then(|text| u128::from_str_radix(text, 16).ok());
    uid.map(ResourceUid).ok_or(TablesError::Malformed("`pactum_resource` holds no resource uid"))
}
