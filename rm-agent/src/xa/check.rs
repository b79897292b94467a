//! Can this database prepare transactions at all? Asked once, when it is attached, with words that say
//! what to change.

use super::dialect::{AfterPrepare, Dialect};
use super::error::XaError;
use super::mysql;
use crate::db::{DbError, Kind, Sql};

const SQLITE: &str = "SQLite has no prepared transactions, so it cannot take part in XA: attach it in \
                      AT, TCC or saga mode";
const NOT_ENABLED: &str = "the server's max_prepared_transactions is 0, which is its default and \
                           switches prepared transactions off: set it in postgresql.conf to at least \
                           the number of connections that work in XA, and restart the server";
const MARIADB_TOO_OLD: &str = "the server is older than MariaDB 10.5.2, which forgets prepared \
                               transactions when their connection ends: use a newer one";
const MYSQL_TOO_OLD: &str = "the server is older than MySQL 8.0: use a newer one";
const MAY_NOT_LIST: &str = "this account may not list prepared transactions, so nobody could find out \
                            how a branch ended: GRANT XA_RECOVER_ADMIN ON *.* to it";

/// How the database is spoken to.
pub(super) async fn dialect(sql: &mut dyn Sql) -> Result<Dialect, XaError> {
    let unsuitable = |why: &str| Err(XaError::Unsuitable(why.to_owned()));
    match sql.kind() {
        Kind::Sqlite => unsuitable(SQLITE),
        Kind::Postgres => {
            let asked = "SELECT current_setting('max_prepared_transactions')::int";
            let rows = sql.query(asked, &[]).await.map_err(XaError::from_db)?;
            match rows.first().and_then(|row| row[0].as_integer()) {
                Some(1..) => Ok(Dialect::Postgres),
                Some(_) | None => unsuitable(NOT_ENABLED),
            }
        }
        Kind::Mysql => {
            let version = one_text(sql, "SELECT version()").await.map_err(XaError::from_db)?;
            let after_prepare = match Version::read(&version) {
                Some(Version { is_mariadb: true, number }) if number < [10, 5, 2] => {
                    return unsuitable(MARIADB_TOO_OLD);
                }
                Some(Version { is_mariadb: false, number }) if number < [8, 0, 0] => {
                    return unsuitable(MYSQL_TOO_OLD);
                }
                Some(_) | None => after_prepare(sql).await.map_err(XaError::from_db)?,
            };
            if let Err(error) = sql.run(mysql::LIST).await {
                return match mysql::is_denied(&error) {
                    true => unsuitable(MAY_NOT_LIST),
                    false => Err(XaError::from_db(error)),
                };
            }
            Ok(Dialect::Mysql(after_prepare))
        }
    }
}

/// A server that does not know the setting keeps the branch with its connection.
async fn after_prepare(sql: &mut dyn Sql) -> Result<AfterPrepare, DbError> {
    let asked = "SHOW VARIABLES LIKE 'xa\\_detach\\_on\\_prepare'";
    let rows = sql.run(asked).await?;
    let detaches = rows.first().and_then(|row| row.get(1)?.as_text()).is_some_and(|on| on == "ON");
    Ok(if detaches { AfterPrepare::Free } else { AfterPrepare::Bound })
}

async fn one_text(sql: &mut dyn Sql, asked: &str) -> Result<String, DbError> {
    let rows = sql.query(asked, &[]).await?;
    Ok(rows.first().and_then(|row| row[0].as_text()).unwrap_or_default().to_owned())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    is_mariadb: bool,
    number: [u32; 3],
}

impl Version {
    fn read(text: &str) -> Option<Version> {
        let is_mariadb = text.contains("MariaDB");
        // Some servers put a version before their own, for clients that know only MySQL's.
        let text = text.strip_prefix("5.5.5-").unwrap_or(text);
        let number = text.split('-').next()?;
        let mut parts = number.split('.').map(str::parse);
        let mut part = || parts.next()?.ok();
        Some(Version { is_mariadb, number: [part()?, part()?, part()?] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_servers_write_them() {
        for (text, is_mariadb, number) in [
            ("10.11.6-MariaDB-0+deb12u1", true, [10, 11, 6]),
            ("5.5.5-10.5.1-MariaDB", true, [10, 5, 1]),
            ("8.0.29", false, [8, 0, 29]),
            ("8.4.0-0ubuntu1", false, [8, 4, 0]),
        ] {
            assert_eq!(Version::read(text), Some(Version { is_mariadb, number }), "{text}");
        }
        assert_eq!(Version::read("something else"), None);
    }
}
