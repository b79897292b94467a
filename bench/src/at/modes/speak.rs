//! What is said to each database beyond what [`crate::at::speak`] says.

use anyhow::{Context as _, Result};
use futures_util::future::BoxFuture;
use pactum_agent::{XaConnection, XaError};
use sqlx::mysql::MySql;
use sqlx::postgres::Postgres;
use sqlx::sqlite::Sqlite;
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use super::by_hand::{NOW, Work};
use crate::at::books::Bank;
use crate::at::speak::{Bind, Branch, Speaks, Transacts};

/// The statements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texts {
    /// What a TCC user says: amount, account.
    reserve: &'static str,
    /// Amount, amount, account.
    book_reserved: &'static str,
    /// How a barrier row is used up.
    pub(super) take: Take,
}

/// How a barrier row is used up, and its body had.
#[derive(Clone, Copy, Debug)]
pub(super) enum Take {
    /// One statement: time, XID, branch id.
    Returning(&'static str),
    /// Locked first (XID, branch id), and marked after the user's statement (time, XID, branch id).
    LockedAndMarked { lock: &'static str, mark: &'static str },
}

/// A database of the bench, in modes other than AT.
pub(super) trait Joins: Transacts<Connection: Sync> {
    const MORE: Texts;
    /// How it prepares transactions, if it does.
    const XA: Option<XaWords>;

    /// The user's statement in an XA branch.
    fn change_in_xa<'c>(
        connection: &'c mut XaConnection<Self>,
        amount: i64,
        account: i64,
    ) -> BoxFuture<'c, Result<(), XaError>>;

    /// Sends a text as it is.
    fn send<'c>(connection: &'c mut Self::Connection, text: String) -> BoxFuture<'c, Result<()>>;
}

/// A statement: `DB::run` could be the agent's own too.
pub(super) fn run<DB: Speaks>(
    connection: &mut DB::Connection,
    sql: SqlStr,
    values: Vec<Bind>,
) -> BoxFuture<'_, Result<Vec<DB::Row>>> {
    DB::run(connection, sql, values)
}

/// Makes room for reservations.
pub(super) async fn prepare<DB: Joins>(bank: &Bank<DB>) -> Result<()> {
    let mut connection = bank.pool.acquire().await.context("have a connection")?;
    let column = "ALTER TABLE account ADD COLUMN reserved BIGINT NOT NULL DEFAULT 0";
    DB::send(&mut connection, column.to_owned()).await.context("add a column")
}

/// The barrier row of a branch that is not AT's.
pub(super) async fn insert_row<DB: Joins>(
    local: &mut DB::Connection,
    mode: &str,
    work: Work,
) -> Result<()> {
    let sql = DB::TEXTS.undo.replace("'at'", &format!("'{mode}'"));
    let values = vec![
        Bind::Text(work.branch.xid()),
        Bind::Number(work.branch.id()),
        Bind::Text(body(work)),
        Bind::Number(NOW),
        Bind::Number(NOW),
    ];
    let inserted = run::<DB>(local, AssertSqlSafe(sql).into_sql_str(), values).await;
    inserted.map(drop).context("write the barrier row")
}

/// What is kept of a call.
fn body(work: Work) -> String {
    format!("{{\"account\":{},\"amount\":{}}}", work.account, work.amount)
}

/// The user's plain statement.
pub(super) async fn change<DB: Joins>(
    local: &mut DB::Connection,
    account: i64,
    amount: i64,
) -> Result<()> {
    let values = vec![Bind::Number(amount), Bind::Number(account)];
    run::<DB>(local, SqlStr::from_static(DB::TEXTS.change), values).await.map(drop)
}

/// What a TCC user says in try.
pub(super) async fn reserve<DB: Joins>(
    local: &mut DB::Connection,
    account: i64,
    amount: i64,
) -> Result<()> {
    let values = vec![Bind::Number(amount), Bind::Number(account)];
    run::<DB>(local, SqlStr::from_static(DB::MORE.reserve), values).await.map(drop)
}

/// What a TCC user says in confirm.
pub(super) async fn book_reserved<DB: Joins>(
    local: &mut DB::Connection,
    account: i64,
    amount: i64,
) -> Result<()> {
    let values = vec![Bind::Number(amount), Bind::Number(amount), Bind::Number(account)];
    run::<DB>(local, SqlStr::from_static(DB::MORE.book_reserved), values).await.map(drop)
}

/// How prepared transactions are spoken of.
#[derive(Clone, Copy, Debug)]
pub(super) enum XaWords {
    Postgres,
    Mysql,
}

impl XaWords {
    /// Begins a branch with its limits, and writes its barrier row: in one trip.
    pub(super) fn begin(self, bank: &str, work: Work) -> String {
        let (xid, id, body) = (work.branch.xid(), work.branch.id(), body(work));
        let row = format!(
            "INSERT INTO pactum_barrier (xid, branch_id, store_id, mode, state, format, checksum, \
             body, created_at, changed_at) VALUES ('{xid}', {id}, \
             '0123456789abcdef0123456789abcdef', 'xa', 'open', 1, 7, '{body}', {NOW}, {NOW})"
        );
        let limit = |setting: &str, ms: u32| {
            format!(
                "SELECT set_config('{setting}', '{ms}', true) WHERE \
                 extract(epoch FROM current_setting('{setting}')::interval) * 1000 \
                 NOT BETWEEN 1 AND {ms}"
            )
        };
        match self {
            XaWords::Postgres => format!(
                "BEGIN; {}; {}; {row}",
                limit("lock_timeout", 5_000),
                limit("statement_timeout", 60_000)
            ),
            XaWords::Mysql => format!(
                "SET @pactum_lock_wait = @@SESSION.innodb_lock_wait_timeout, \
                 SESSION innodb_lock_wait_timeout = 5; XA START {}; {row}",
                mysql_name(bank, work.branch)
            ),
        }
    }

    pub(super) fn prepare(self, bank: &str, work: Work) -> String {
        let (xid, id) = (work.branch.xid(), work.branch.id());
        match self {
            XaWords::Postgres => format!(
                "SELECT 1 / count(*)::int FROM pactum_barrier WHERE xid = '{xid}' AND branch_id = {id} \
                 AND xmin = pg_current_xact_id()::xid; PREPARE TRANSACTION '{}'",
                postgres_name(bank, work.branch)
            ),
            XaWords::Mysql => {
                let name = mysql_name(bank, work.branch);
                format!("XA END {name}; XA PREPARE {name}")
            }
        }
    }

    pub(super) fn commit(self, bank: &str, work: Work) -> String {
        match self {
            XaWords::Postgres => {
                format!("COMMIT PREPARED '{}'", postgres_name(bank, work.branch))
            }
            XaWords::Mysql => format!("XA COMMIT {}", mysql_name(bank, work.branch)),
        }
    }

    /// Whether the connection that prepared a branch keeps it until it is closed: so on MariaDB.
    pub(super) fn keeps_connection(self) -> bool {
        matches!(self, XaWords::Mysql)
    }
}

/// As long as the agent's.
fn postgres_name(bank: &str, branch: Branch) -> String {
    format!("bench01:0123456789abcdef0123456789abcdef:{bank:>8}:{}:{}", branch.id(), branch.xid())
}

fn mysql_name(bank: &str, branch: Branch) -> String {
    format!("'{}','{}:{bank:>8}:0123456789abcdef',7", branch.xid(), branch.id())
}

macro_rules! joins {
    ($database:ty, $texts:expr, $xa:expr) => {
        impl Joins for $database {
            const MORE: Texts = $texts;
            const XA: Option<XaWords> = $xa;

            fn change_in_xa<'c>(
                connection: &'c mut XaConnection<Self>,
                amount: i64,
                account: i64,
            ) -> BoxFuture<'c, Result<(), XaError>> {
                Box::pin(async move {
                    let change = sqlx::query(Self::TEXTS.change).bind(amount).bind(account);
                    change.execute(connection).await.map(drop).map_err(XaError::from)
                })
            }

            fn send<'c>(
                connection: &'c mut Self::Connection,
                text: String,
            ) -> BoxFuture<'c, Result<()>> {
                Box::pin(async move {
                    let sent = sqlx::raw_sql(AssertSqlSafe(text)).execute(connection).await;
                    sent.map(drop).context("send a text")
                })
            }
        }
    };
}

const SQLITE: Texts = Texts {
    reserve: "UPDATE account SET reserved = reserved + ? WHERE id = ?",
    book_reserved: "UPDATE account SET balance = balance + ?, reserved = reserved - ? WHERE id = ?",
    take: Take::Returning(
        "UPDATE pactum_barrier SET state = 'spent', changed_at = ? WHERE xid = ? \
         AND branch_id = ? AND state = 'open' RETURNING format, checksum, body",
    ),
};

const POSTGRES: Texts = Texts {
    reserve: "UPDATE account SET reserved = reserved + $1 WHERE id = $2",
    book_reserved: "UPDATE account SET balance = balance + $1, reserved = reserved - $2 WHERE id = $3",
    take: Take::Returning(
        "UPDATE pactum_barrier SET state = 'spent', changed_at = $1 WHERE xid = $2 \
         AND branch_id = $3 AND state = 'open' RETURNING format, checksum, body",
    ),
};

const MYSQL: Texts = Texts {
    take: Take::LockedAndMarked {
        lock: "SELECT state, format, checksum, body, store_id, mode FROM pactum_barrier \
               WHERE xid = ? AND branch_id = ? FOR UPDATE",
        mark: "UPDATE pactum_barrier SET state = 'spent', changed_at = ? WHERE xid = ? \
               AND branch_id = ? AND state = 'open'",
    },
    ..SQLITE
};

joins!(Sqlite, SQLITE, None);
joins!(Postgres, POSTGRES, Some(XaWords::Postgres));
joins!(MySql, MYSQL, Some(XaWords::Mysql));
