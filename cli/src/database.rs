//! A participant's database, by its URL.

use std::time::Duration;

use anyhow::{Context as _, bail};
use pactum_agent::{AtDatabase, Evidence};
use sqlx::{Connection as _, Pool};

/// How long a server may take to let somebody in. A person waits.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(10);

/// A database that the agent knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    Mysql,
}

/// Which one a URL is about.
pub(crate) fn kind(url: &str) -> anyhow::Result<Kind> {
    let scheme = url.split(':').next().unwrap_or_default();
    Ok(match scheme {
        "sqlite" => Kind::Sqlite,
        "postgres" | "postgresql" => Kind::Postgres,
        "mysql" | "mariadb" => Kind::Mysql,
        _ => bail!(
            "`{scheme}` is no database that the agent knows: give a URL that begins with sqlite:, \
             postgres: or mysql:"
        ),
    })
}

/// What its barrier rows say of a global transaction.
pub(crate) async fn evidence(url: &str, xid: &str) -> anyhow::Result<Vec<Evidence>> {
    match kind(url)? {
        Kind::Sqlite => read::<sqlx::Sqlite>(url, xid).await,
        Kind::Postgres => read::<sqlx::Postgres>(url, xid).await,
        Kind::Mysql => read::<sqlx::MySql>(url, xid).await,
    }
}

async fn read<DB: AtDatabase>(url: &str, xid: &str) -> anyhow::Result<Vec<Evidence>> {
    let name = without_password(url);
    let pool = open::<DB>(url).await?;
    let found = pactum_agent::evidence(&pool, xid).await;
    pool.close().await;
    found.with_context(|| format!("read the barrier rows in {name}"))
}

/// Connects to a database. The first connection is made apart from the pool, which would go on trying
/// to reach a server that is not there, and then say only that it timed out.
pub(crate) async fn open<DB: AtDatabase>(url: &str) -> anyhow::Result<Pool<DB>> {
    let connect = async {
        let first = tokio::time::timeout(CONNECT_WAIT_MAX, DB::Connection::connect(url)).await;
        let first = first.with_context(|| format!("no answer within {CONNECT_WAIT_MAX:?}"))?;
        first?.close().await?;
        anyhow::Ok(Pool::<DB>::connect(url).await?)
    };
    connect.await.with_context(|| format!("connect to {}", without_password(url)))
}

/// A URL that may be shown: without what stands before its host, and without options, one of which
/// may be the password.
pub(crate) fn without_password(url: &str) -> String {
    let (url, options) = url.split_once('?').unwrap_or((url, ""));
    // Then the question mark may stand in a password that was not escaped.
    if options.contains('@') {
        return url.split_once("://").map_or("…", |(scheme, _)| scheme).to_owned() + "://…";
    }
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (_, _) => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_tells_its_database_and_is_shown_without_its_password() {
        assert_eq!(kind("postgresql://u:p@h/d").unwrap(), Kind::Postgres);
        assert_eq!(kind("mariadb://h/d").unwrap(), Kind::Mysql);
        assert_eq!(kind("sqlite:a.db").unwrap(), Kind::Sqlite);
        assert!(kind("oracle://h").unwrap_err().to_string().contains("`oracle` is no database"));
        assert_eq!(without_password("postgres://u:p@ss@h:1/d"), "postgres://h:1/d");
        assert_eq!(without_password("postgres://h/d?user=u&password=p"), "postgres://h/d");
        assert_eq!(without_password("postgres://u:p?ss@h/d"), "postgres://…");
        assert_eq!(without_password("sqlite://a.db"), "sqlite://a.db");
    }
}
