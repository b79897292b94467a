//! The agent's own tables: are they there as they must be, and which database is this?

use pactum_core::id::ResourceUid;
use pactum_migrations::agent::{SCHEMA_VERSION, SQLITE};

use crate::db::{DbError, Failure, Sql, Value};

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
/// Run it in a local transaction: two agents may start at the same time on one database.
pub(crate) async fn ensure(
    sql: &mut dyn Sql,
    create: bool,
    fresh_uid: ResourceUid,
) -> Result<ResourceUid, TablesError> {
    if create {
        for statement in statements(SQLITE) {
            match sql.execute(&statement, &[]).await {
                Ok(_) => {}
                // A table of that name that lacks a column: the check says it better.
                Err(error) if error.failure == Failure::Statement => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    check_table(
        sql,
        "pactum_barrier",
        &[
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
        &["xid", "branch_id"],
    )
    .await?;
    check_table(
        sql,
        "pactum_resource",
        &["singleton", "resource_uid", "schema_version"],
        &["singleton"],
    )
    .await?;
    resource_uid(sql, fresh_uid).await
}

/// The script's statements without its comments: a prepared statement is a single one.
fn statements(script: &str) -> Vec<String> {
    let code: Vec<&str> =
        script.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let code = code.join("\n");
    code.split(';').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

async fn check_table(
    sql: &mut dyn Sql,
    table: &str,
    columns: &[&str],
    key: &[&str],
) -> Result<(), TablesError> {
    let rows = sql
        .query(
            "SELECT name, pk FROM pragma_table_info(?1, 'main') ORDER BY pk",
            &[Value::text(table)],
        )
        .await?;
    let missing = |what: String| TablesError::Missing { what, ddl: SQLITE };
    if rows.is_empty() {
        return Err(missing(format!("table `{table}` is missing")));
    }
    let has = |column: &&str| rows.iter().any(|row| row[0].as_text() == Some(column));
    if let Some(column) = columns.iter().find(|column| !has(column)) {
        return Err(missing(format!("table `{table}` lacks its column `{column}`")));
    }
    let found: Vec<&str> = rows
        .iter()
        .filter(|row| row[1].as_integer() != Some(0))
        .filter_map(|row| row[0].as_text())
        .collect();
    if found != key {
        return Err(missing(format!("table `{table}` lacks its primary key ({})", key.join(", "))));
    }
    Ok(())
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
