//! What the competitors say to each database: the texts, and a way to run them that is the same for
//! all three.

use anyhow::{Context as _, Result};
use futures_util::future::BoxFuture;
use pactum_agent::{AtConnection, AtDatabase, AtError};
use sqlx::mysql::MySql;
use sqlx::postgres::Postgres;
use sqlx::sqlite::Sqlite;
use sqlx::{Arguments as _, AssertSqlSafe, Database, Row as _, SqlSafeStr as _, SqlStr};

/// A value of a parameter.
#[derive(Clone, Debug)]
pub(super) enum Bind {
    Number(i64),
    Text(String),
}

/// The statements. Those of the floor are what AT really sends to this database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texts {
    /// Local transactions that may write at a time.
    pub(super) writers: usize,
    /// Makes the accounts' table.
    pub(super) tables: &'static [&'static str],
    /// Makes the agent's tables.
    pub(super) undo_tables: &'static str,
    /// All money, as an integer.
    pub(super) total: &'static str,
    /// Begins a local transaction that will write.
    pub(super) begin: &'static str,
    /// The user's own statement: amount, account.
    pub(super) change: &'static str,
    pub(super) images: Images,
    /// Inserts the barrier row: XID, branch id, body, time twice.
    pub(super) undo: &'static str,
}

/// How the floor comes to the row before and after: owner, balance.
#[derive(Clone, Copy, Debug)]
pub(super) enum Images {
    /// One statement returns owner, balance before and balance after: amount, account.
    Together(&'static str),
    /// Read (account), then a change that returns them (amount, account).
    ReadAndReturn { before: &'static str, change: &'static str },
    /// Read (account), change (amount, account), read again (account).
    ReadTwice { before: &'static str, change: &'static str, after: &'static str },
}

/// A database that the bench speaks to.
pub(super) trait Speaks: Database {
    const TEXTS: Texts;

    /// Deletes this many open barrier rows.
    fn delete(branches: &[Branch]) -> (SqlStr, Vec<Bind>);

    fn run<'c>(
        connection: &'c mut Self::Connection,
        sql: SqlStr,
        values: Vec<Bind>,
    ) -> BoxFuture<'c, Result<Vec<Self::Row>>>;

    fn number(row: &Self::Row, column: usize) -> Result<i64>;

    fn text(row: &Self::Row, column: usize) -> Result<String>;
}

/// One that the agent knows too.
pub(super) trait Transacts: Speaks + AtDatabase {
    /// The user's own statement, through the agent.
    fn change<'c>(
        connection: &'c mut AtConnection<Self>,
        amount: i64,
        account: i64,
    ) -> BoxFuture<'c, Result<(), AtError>>;
}

/// The key of a barrier row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Branch(pub(super) i64);

impl Branch {
    pub(super) fn xid(self) -> String {
        format!("default:{}", (1_i64 << 60) + self.0)
    }

    pub(super) fn id(self) -> i64 {
        self.0
    }
}

/// One term a row, with parameters in order; the last row again up to a power of two, so that there
/// are few texts.
fn delete_one_by_one(from: &str, branches: &[Branch]) -> (SqlStr, Vec<Bind>) {
    let count = branches.len().next_power_of_two();
    let terms = vec!["(xid = ? AND branch_id = ?)"; count].join(" OR ");
    let sql = format!("DELETE {from} WHERE state = 'open' AND ({terms})");
    let all = branches.iter().chain(branches.last().into_iter().cycle()).take(count);
    let values = all.flat_map(|branch| [Bind::Text(branch.xid()), Bind::Number(branch.id())]);
    (AssertSqlSafe(sql).into_sql_str(), values.collect())
}

fn delete_on_sqlite(branches: &[Branch]) -> (SqlStr, Vec<Bind>) {
    delete_one_by_one("FROM pactum_barrier", branches)
}

fn delete_on_mysql(branches: &[Branch]) -> (SqlStr, Vec<Bind>) {
    delete_one_by_one("pactum_barrier FROM pactum_barrier FORCE INDEX (PRIMARY)", branches)
}

fn delete_by_lists(branches: &[Branch]) -> (SqlStr, Vec<Bind>) {
    let sql = "DELETE FROM pactum_barrier WHERE state = 'open' AND (xid, branch_id) IN (SELECT * \
               FROM unnest(string_to_array($1, ','), string_to_array($2, ',')::bigint[]))";
    let list = |each: &dyn Fn(&Branch) -> String| {
        Bind::Text(branches.iter().map(each).collect::<Vec<_>>().join(","))
    };
    let values = vec![list(&|branch| branch.xid()), list(&|branch| branch.id().to_string())];
    (SqlStr::from_static(sql), values)
}

/// The drivers' types share no trait that would let this be written once.
macro_rules! speaks {
    ($database:ty, $texts:expr, $delete:expr) => {
        impl Speaks for $database {
            const TEXTS: Texts = $texts;

            fn delete(branches: &[Branch]) -> (SqlStr, Vec<Bind>) {
                $delete(branches)
            }

            fn run<'c>(
                connection: &'c mut Self::Connection,
                sql: SqlStr,
                values: Vec<Bind>,
            ) -> BoxFuture<'c, Result<Vec<Self::Row>>> {
                Box::pin(async move {
                    let mut arguments = <$database as Database>::Arguments::default();
                    for value in values {
                        let added = match value {
                            Bind::Number(number) => arguments.add(number),
                            Bind::Text(text) => arguments.add(text),
                        };
                        added.map_err(sqlx::Error::Encode).context("bind a value")?;
                    }
                    let rows = sqlx::query_with(sql, arguments).fetch_all(connection).await;
                    rows.context("run a statement")
                })
            }

            fn number(row: &Self::Row, column: usize) -> Result<i64> {
                row.try_get(column).context("read a number")
            }

            fn text(row: &Self::Row, column: usize) -> Result<String> {
                row.try_get(column).context("read a text")
            }
        }
    };
}

macro_rules! transacts {
    ($database:ty) => {
        impl Transacts for $database {
            fn change<'c>(
                connection: &'c mut AtConnection<Self>,
                amount: i64,
                account: i64,
            ) -> BoxFuture<'c, Result<(), AtError>> {
                Box::pin(async move {
                    let change = sqlx::query(Self::TEXTS.change).bind(amount).bind(account);
                    change.execute(connection).await.map(drop).map_err(AtError::from)
                })
            }
        }
    };
}

/// As many as a pool has connections: no limit.
const WRITERS: usize = 32;

const ACCOUNT: &str = "CREATE TABLE account (id BIGINT NOT NULL PRIMARY KEY, owner TEXT NOT NULL, \
     balance BIGINT NOT NULL)";

const SQLITE: Texts = Texts {
    writers: 1,
    tables: &[
        // Kept in the file. `synchronous` is FULL where nobody says otherwise.
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE account (id INTEGER NOT NULL PRIMARY KEY, owner TEXT NOT NULL, \
         balance INTEGER NOT NULL)",
    ],
    undo_tables: pactum_migrations::agent::SQLITE,
    total: "SELECT sum(balance) FROM account",
    begin: "BEGIN IMMEDIATE",
    change: "UPDATE account SET balance = balance + ? WHERE id = ?",
    images: Images::ReadAndReturn {
        before: "SELECT owner, balance, id FROM account WHERE id = ?",
        change: "UPDATE account SET balance = balance + ? WHERE id = ? \
                 RETURNING owner, balance, id",
    },
    undo: "INSERT INTO pactum_barrier (xid, branch_id, store_id, mode, state, format, checksum, body, \
           created_at, changed_at) VALUES (?, ?, '0123456789abcdef0123456789abcdef', 'at', 'open', \
           1, 7, ?, ?, ?)",
};

const POSTGRES: Texts = Texts {
    writers: WRITERS,
    tables: &[ACCOUNT],
    undo_tables: pactum_migrations::agent::POSTGRES,
    total: "SELECT sum(balance)::bigint FROM account",
    begin: "BEGIN",
    change: "UPDATE account SET balance = balance + $1 WHERE id = $2",
    images: Images::Together(
        "UPDATE account SET balance = account.balance + $1 FROM (SELECT id AS key, id::text AS id, \
         owner::text AS owner, balance::text AS balance FROM account WHERE id = $2 FOR UPDATE) \
         AS before WHERE account.id = before.key RETURNING before.owner, before.balance::bigint, \
         account.balance, before.id, account.id::text, account.owner::text",
    ),
    undo: "INSERT INTO pactum_barrier (xid, branch_id, store_id, mode, state, format, checksum, body, \
           created_at, changed_at) VALUES ($1, $2, '0123456789abcdef0123456789abcdef', 'at', 'open', \
           1, 7, $3, $4, $5)",
};

const MYSQL: Texts = Texts {
    writers: WRITERS,
    tables: &[ACCOUNT],
    undo_tables: pactum_migrations::agent::MYSQL,
    total: "SELECT CAST(sum(balance) AS SIGNED) FROM account",
    begin: "START TRANSACTION",
    change: "UPDATE account SET balance = balance + ? WHERE id = ?",
    images: Images::ReadTwice {
        before: "SELECT owner, balance, CAST(id AS CHAR) FROM account WHERE id = ? FOR UPDATE",
        change: "UPDATE account SET balance = balance + ? WHERE id = ?",
        after: "SELECT owner, balance, CAST(id AS CHAR) FROM account WHERE id = ?",
    },
    undo: SQLITE.undo,
};

speaks!(Sqlite, SQLITE, delete_on_sqlite);
speaks!(Postgres, POSTGRES, delete_by_lists);
speaks!(MySql, MYSQL, delete_on_mysql);

transacts!(Sqlite);
transacts!(Postgres);
transacts!(MySql);
