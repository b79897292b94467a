//! The prepared transactions of a bank's database, as the server lists them.

use anyhow::{Context as _, Result};
use sqlx::{Connection as _, MySqlConnection, PgConnection, Row as _};

/// How many there are; SQLite has none.
pub(super) async fn count(url: &str) -> Result<u64> {
    let count = match url.split_once(':') {
        Some(("postgres" | "postgresql", _)) => on_postgres(url).await,
        Some(("mysql" | "mariadb", _)) => on_mysql(url).await,
        Some(_) | None => Ok(0),
    };
    count.context("list the prepared transactions")
}

async fn on_postgres(url: &str) -> Result<u64> {
    let mut connection = PgConnection::connect(url).await?;
    let sql = "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()";
    let count: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await?;
    Ok(u64::try_from(count)?)
}

/// The list is that of the whole server. Its names hold the beginning of the uid that the agent gave
/// the database.
async fn on_mysql(url: &str) -> Result<u64> {
    let mut connection = MySqlConnection::connect(url).await?;
    let sql = "SELECT resource_uid FROM pactum_resource";
    let Some(uid) = sqlx::query(sql).fetch_optional(&mut connection).await? else { return Ok(0) };
    let uid: String = uid.try_get(0)?;
    let mark = format!(":{}:", uid.get(..8).context("a uid is longer than that")?);
    let listed = sqlx::raw_sql("XA RECOVER").fetch_all(&mut connection).await?;
    let mut count = 0;
    for row in listed {
        let name: Vec<u8> = row.try_get_unchecked("data")?;
        count += u64::from(String::from_utf8_lossy(&name).contains(&mark));
    }
    Ok(count)
}
