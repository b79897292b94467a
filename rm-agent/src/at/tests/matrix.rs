//! The statement matrix of `docs/at.md`: every shape is run on a real database, and what came of it
//! is what the page says.
//!
//! A shape that is taken is rolled back, and everything must be as before. The page's table has one
//! column a database; `UPDATE_EXPECT=1` writes a database's column anew.

use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, Executor, IntoArguments};

use super::page;
use super::world::{TestDatabase, WorldOn, take};
use crate::at::AtError;
use crate::at::connection::AtConnection;
use crate::db::Kind;

/// One way to write a statement; empty where the database has none.
struct Shape {
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
    mysql: &'static str,
}

/// The same text everywhere.
const fn same(name: &'static str, sql: &'static str) -> Shape {
    Shape { name, sqlite: sql, postgres: sql, mysql: sql }
}

const fn each(
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
    mysql: &'static str,
) -> Shape {
    Shape { name, sqlite, postgres, mysql }
}

impl Shape {
    fn on(&self, kind: Kind) -> &'static str {
        match kind {
            Kind::Sqlite => self.sqlite,
            Kind::Postgres => self.postgres,
            Kind::Mysql => self.mysql,
        }
    }
}

/// Three accounts and two entries; `note` has a unique column beside its generated key.
pub(in crate::at) fn schema(kind: Kind) -> &'static str {
    match kind {
        Kind::Sqlite => {
            "CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT NOT NULL UNIQUE, balance INTEGER);\
             CREATE TABLE entry (account INTEGER NOT NULL, number INTEGER NOT NULL, amount INTEGER,\
                 PRIMARY KEY (account, number));\
             CREATE TABLE note (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT UNIQUE,\
                 weight INTEGER DEFAULT 7);\
             CREATE TABLE `order` (`key` INTEGER PRIMARY KEY, `select` TEXT);\
             INSERT INTO account VALUES (1, 'A', 100), (2, 'B', 50), (3, 'C', 0);\
             INSERT INTO entry VALUES (1, 1, 10), (1, 2, 20), (2, 1, 5);\
             INSERT INTO note (text) VALUES ('one'), ('two');\
             INSERT INTO `order` VALUES (1, 'x');"
        }
        Kind::Postgres => {
            "CREATE TABLE account (id INT PRIMARY KEY, owner TEXT NOT NULL UNIQUE, balance NUMERIC);\
             CREATE TABLE entry (account INT NOT NULL, number INT NOT NULL, amount INT,\
                 PRIMARY KEY (account, number));\
             CREATE TABLE note (id SERIAL PRIMARY KEY, text TEXT UNIQUE, weight INT DEFAULT 7);\
             CREATE TABLE \"order\" (\"key\" INT PRIMARY KEY, \"select\" TEXT);\
             INSERT INTO account VALUES (1, 'A', 100), (2, 'B', 50), (3, 'C', 0);\
             INSERT INTO entry VALUES (1, 1, 10), (1, 2, 20), (2, 1, 5);\
             INSERT INTO note (text) VALUES ('one'), ('two');\
             INSERT INTO \"order\" VALUES (1, 'x');"
        }
        Kind::Mysql => {
            "CREATE TABLE account (id INT PRIMARY KEY, owner VARCHAR(20) NOT NULL UNIQUE,\
                 balance DECIMAL(12, 2));\
             CREATE TABLE entry (account INT NOT NULL, number INT NOT NULL, amount INT,\
                 PRIMARY KEY (account, number));\
             CREATE TABLE note (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(20) UNIQUE,\
                 weight INT DEFAULT 7);\
             CREATE TABLE `order` (`key` INT PRIMARY KEY, `select` TEXT);\
             INSERT INTO account VALUES (1, 'A', 100), (2, 'B', 50), (3, 'C', 0);\
             INSERT INTO entry VALUES (1, 1, 10), (1, 2, 20), (2, 1, 5);\
             INSERT INTO note (text) VALUES ('one'), ('two');\
             INSERT INTO `order` VALUES (1, 'x');"
        }
    }
}

const SHAPES: &[Shape] = &[
    same("INSERT one row", "INSERT INTO account (id, owner, balance) VALUES (4, 'D', 1)"),
    same("INSERT several rows", "INSERT INTO account VALUES (4, 'D', 1), (5, 'E', 2)"),
    same("INSERT, composite key", "INSERT INTO entry VALUES (3, 1, 7)"),
    same("INSERT, generated key", "INSERT INTO note (text) VALUES ('three'), ('four')"),
    each(
        "INSERT, DEFAULT in a list",
        "",
        "INSERT INTO note (text, weight) VALUES ('three', DEFAULT)",
        "INSERT INTO note (text, weight) VALUES ('three', DEFAULT)",
    ),
    each(
        "INSERT, all defaults",
        "INSERT INTO note DEFAULT VALUES",
        "INSERT INTO note DEFAULT VALUES",
        "INSERT INTO note () VALUES ()",
    ),
    each("INSERT … SET", "", "", "INSERT INTO account SET id = 4, owner = 'D'"),
    same(
        "INSERT … SELECT",
        "INSERT INTO account SELECT id + 10, concat(owner, '2'), balance FROM account",
    ),
    same("INSERT … SELECT, generated key", "INSERT INTO note (text) SELECT owner FROM account"),
    same("INSERT … RETURNING", "INSERT INTO note (text) VALUES ('three') RETURNING id"),
    each(
        "WITH … INSERT",
        "WITH x AS (SELECT 4 AS id) INSERT INTO account (id, owner) SELECT id, 'D' FROM x",
        "WITH x AS (SELECT 4 AS id) INSERT INTO account (id, owner) SELECT id, 'D' FROM x",
        "INSERT INTO account (id, owner) WITH x AS (SELECT 4 AS id) SELECT id, 'D' FROM x",
    ),
    each(
        "skip what is there",
        "INSERT INTO account VALUES (1, 'X', 1), (4, 'D', 1) ON CONFLICT DO NOTHING",
        "INSERT INTO account VALUES (1, 'X', 1), (4, 'D', 1) ON CONFLICT DO NOTHING",
        "INSERT IGNORE INTO account VALUES (1, 'X', 1), (4, 'D', 1)",
    ),
    each(
        "skip, one key named",
        "INSERT INTO account VALUES (1, 'X', 1), (4, 'D', 1) ON CONFLICT (id) DO NOTHING",
        "INSERT INTO account VALUES (1, 'X', 1), (4, 'D', 1) ON CONFLICT (id) DO NOTHING",
        "",
    ),
    each(
        "INSERT OR IGNORE",
        "INSERT OR IGNORE INTO account VALUES (1, 'X', 1), (4, 'D', 1)",
        "",
        "",
    ),
    each(
        "upsert",
        "INSERT INTO account VALUES (1, 'A', 1), (4, 'D', 1) ON CONFLICT (id) DO UPDATE SET balance = excluded.balance",
        "INSERT INTO account VALUES (1, 'A', 1), (4, 'D', 1) ON CONFLICT (id) DO UPDATE SET balance = excluded.balance",
        "INSERT INTO account VALUES (1, 'A', 1), (4, 'D', 1) ON DUPLICATE KEY UPDATE balance = VALUES(balance)",
    ),
    each(
        "upsert by another unique key",
        "INSERT INTO note (text) VALUES ('one'), ('three') ON CONFLICT (text) DO UPDATE SET weight = 9",
        "INSERT INTO note (text) VALUES ('one'), ('three') ON CONFLICT (text) DO UPDATE SET weight = 9",
        "INSERT INTO note (text) VALUES ('one'), ('three') ON DUPLICATE KEY UPDATE weight = 9",
    ),
    each(
        "upsert with a condition",
        "INSERT INTO account VALUES (1, 'A', 1), (2, 'B', 1) ON CONFLICT (id) DO UPDATE SET balance = 0 WHERE account.balance > 60",
        "INSERT INTO account VALUES (1, 'A', 1), (2, 'B', 1) ON CONFLICT (id) DO UPDATE SET balance = 0 WHERE account.balance > 60",
        "",
    ),
    each(
        "upsert, named constraint",
        "",
        "INSERT INTO account VALUES (1, 'A', 1) ON CONFLICT ON CONSTRAINT account_pkey DO UPDATE SET balance = 0",
        "",
    ),
    each(
        "upsert from a query",
        "INSERT INTO account SELECT id, owner, 0 FROM account WHERE true ON CONFLICT (id) DO UPDATE SET balance = excluded.balance",
        "INSERT INTO account SELECT id, owner, 0 FROM account ON CONFLICT (id) DO UPDATE SET balance = excluded.balance",
        "INSERT INTO account SELECT id, owner, 0 FROM account AS a ON DUPLICATE KEY UPDATE balance = VALUES(balance)",
    ),
    each(
        "REPLACE",
        "REPLACE INTO account VALUES (1, 'X', 1), (4, 'B', 1)",
        "",
        "REPLACE INTO account VALUES (1, 'X', 1), (4, 'B', 1)",
    ),
    each("INSERT OR REPLACE", "INSERT OR REPLACE INTO account VALUES (1, 'X', 1)", "", ""),
    same("UPDATE by key", "UPDATE account SET balance = balance - 30 WHERE id = 1"),
    same("UPDATE, no condition", "UPDATE account SET balance = balance + 1"),
    same("UPDATE of a unique column", "UPDATE account SET owner = concat(owner, 'x') WHERE id < 3"),
    same("UPDATE, alias", "UPDATE account AS a SET balance = 0 WHERE a.id = 1"),
    each(
        "UPDATE, schema named",
        "UPDATE main.account SET balance = 0",
        "UPDATE public.account SET balance = 0",
        "",
    ),
    each(
        "UPDATE, names quoted",
        "UPDATE \"order\" SET \"select\" = 'y' WHERE \"key\" = 1",
        "UPDATE \"order\" SET \"select\" = 'y' WHERE \"key\" = 1",
        "UPDATE `order` SET `select` = 'y' WHERE `key` = 1",
    ),
    same(
        "UPDATE, subquery in the condition",
        "UPDATE account SET balance = 0 WHERE id IN (SELECT account FROM entry)",
    ),
    same(
        "UPDATE, subquery as value",
        "UPDATE account SET balance = (SELECT sum(amount) FROM entry WHERE account = id) WHERE id = 1",
    ),
    same(
        "UPDATE, EXISTS, NOT, LIKE, BETWEEN, CASE",
        "UPDATE account SET balance = CASE WHEN id = 1 THEN 1 ELSE 2 END WHERE NOT (id = 3) AND owner LIKE '%' AND id BETWEEN 1 AND 2 AND EXISTS (SELECT 1 FROM entry)",
    ),
    each(
        "UPDATE … RETURNING",
        "UPDATE account SET balance = 0 WHERE id = 1 RETURNING *",
        "UPDATE account SET balance = 0 WHERE id = 1 RETURNING *",
        "",
    ),
    each(
        "UPDATE, several columns at once",
        "UPDATE account SET (owner, balance) = ('Z', 1) WHERE id = 1",
        "UPDATE account SET (owner, balance) = ('Z', 1) WHERE id = 1",
        "",
    ),
    each(
        "UPDATE … FROM, UPDATE … JOIN",
        "UPDATE account SET balance = balance + e.amount FROM entry e WHERE e.account = account.id AND e.number = 1",
        "UPDATE account SET balance = balance + e.amount FROM entry e WHERE e.account = account.id AND e.number = 1",
        "UPDATE account JOIN entry e ON e.account = account.id SET account.balance = account.balance + e.amount WHERE e.number = 1",
    ),
    each(
        "UPDATE … LEFT JOIN",
        "",
        "",
        "UPDATE account a LEFT JOIN entry e ON e.account = a.id SET a.balance = 1 WHERE e.account IS NULL",
    ),
    each(
        "UPDATE … ORDER BY … LIMIT",
        "",
        "",
        "UPDATE account SET balance = 0 ORDER BY balance DESC LIMIT 2",
    ),
    each(
        "WITH … UPDATE",
        "WITH x AS (SELECT 1 AS id) UPDATE account SET balance = 0 WHERE id IN (SELECT id FROM x)",
        "WITH x AS (SELECT 1 AS id) UPDATE account SET balance = 0 WHERE id IN (SELECT id FROM x)",
        "",
    ),
    same("UPDATE of the primary key", "UPDATE account SET id = 9 WHERE id = 1"),
    each(
        "UPDATE of two tables",
        "",
        "",
        "UPDATE account a JOIN entry e ON e.account = a.id SET a.balance = 1, e.amount = 1",
    ),
    same("DELETE by key", "DELETE FROM account WHERE id = 1"),
    same("DELETE, no condition", "DELETE FROM entry"),
    each(
        "DELETE … RETURNING",
        "DELETE FROM account WHERE id = 1 RETURNING owner",
        "DELETE FROM account WHERE id = 1 RETURNING owner",
        "DELETE FROM account WHERE id = 1 RETURNING owner",
    ),
    each(
        "DELETE … USING, DELETE … JOIN",
        "",
        "DELETE FROM account a USING entry e WHERE e.account = a.id",
        "DELETE a FROM account a JOIN entry e ON e.account = a.id",
    ),
    each(
        "DELETE FROM … USING … JOIN",
        "",
        "",
        "DELETE FROM a USING account a JOIN entry e ON e.account = a.id",
    ),
    each("DELETE … ORDER BY … LIMIT", "", "", "DELETE FROM account ORDER BY balance LIMIT 1"),
    each(
        "WITH … DELETE",
        "WITH x AS (SELECT 1 AS id) DELETE FROM account WHERE id IN (SELECT id FROM x)",
        "WITH x AS (SELECT 1 AS id) DELETE FROM account WHERE id IN (SELECT id FROM x)",
        "",
    ),
    each(
        "DELETE of two tables",
        "",
        "",
        "DELETE a, e FROM account a JOIN entry e ON e.account = a.id",
    ),
    each(
        "MERGE",
        "",
        "MERGE INTO account a USING entry e ON a.id = e.account WHEN MATCHED THEN DELETE",
        "",
    ),
    each(
        "change inside WITH",
        "",
        "WITH x AS (DELETE FROM account RETURNING id) SELECT * FROM x",
        "",
    ),
    same("TRUNCATE", "TRUNCATE TABLE account"),
    same("DDL", "ALTER TABLE account ADD COLUMN x INTEGER"),
    each("CALL, DO", "", "CALL p()", "CALL p()"),
    each(
        "COPY, LOAD DATA",
        "",
        "COPY account FROM STDIN",
        "LOAD DATA INFILE 'x' INTO TABLE account",
    ),
    each("SELECT … INTO", "", "SELECT * INTO copy FROM account", "SELECT id INTO @x FROM account"),
    each("LOCK TABLE", "", "LOCK TABLE account", "LOCK TABLES account WRITE"),
    each("SET", "PRAGMA foreign_keys = 0", "SET search_path = x", "SET sql_mode = ''"),
    same("several statements in one text", "DELETE FROM entry; DELETE FROM account"),
    same("transaction control as text", "COMMIT"),
    same("savepoint as text", "SAVEPOINT x"),
    same("SELECT", "SELECT * FROM account JOIN entry ON account.id = entry.account"),
    same("SELECT … FOR UPDATE", "SELECT * FROM account WHERE id = 1 FOR UPDATE"),
    same(
        "SELECT … FOR UPDATE, joined",
        "SELECT a.id FROM account a JOIN entry e ON e.account = a.id FOR UPDATE",
    ),
    same("SELECT … FOR SHARE", "SELECT * FROM account WHERE id = 1 FOR SHARE"),
];

/// What came of a shape.
async fn outcome<DB: TestDatabase>(world: &WorldOn<DB>, shape: &Shape, sql: &'static str) -> String
where
    for<'c> &'c mut AtConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let before = world.dump().await;
    let checks = world.fake.checks_made();
    let context = world.context();
    let mut transaction = world.at.begin_in(&context).await.unwrap();
    let done = sqlx::query(AssertSqlSafe(sql)).execute(&mut *transaction).await;
    match done.map_err(take) {
        Ok(_) => {}
        Err(AtError::Refused(refused)) => {
            transaction.rollback().await.unwrap();
            assert_eq!(world.dump().await, before, "{}: refused, and yet it ran", shape.name);
            return format!("refused: {}", refused.why);
        }
        Err(error) => panic!("{}: {sql}: {error:?}", shape.name),
    }
    transaction.commit().await.unwrap();
    let is_read = sql.starts_with("SELECT");
    assert_eq!(world.dump().await == before, is_read, "{}: {sql}", shape.name);
    if is_read {
        let asked = world.fake.checks_made() > checks;
        return if asked { "checked" } else { "reads" }.to_owned();
    }
    let answers = world.fake.roll_back(context.xid()).await;
    assert_eq!(answers, vec![crate::branch::Answer::Done], "{}: {sql}", shape.name);
    assert_eq!(world.dump().await, before, "{}: {sql}", shape.name);
    "undone".to_owned()
}

/// Runs every shape on this database, and compares its column of the page.
pub(in crate::at) async fn check_page<DB: TestDatabase>(kind: Kind)
where
    for<'c> &'c mut AtConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = WorldOn::<DB>::new(schema(kind)).await;
    let mut outcomes = Vec::with_capacity(SHAPES.len());
    for shape in SHAPES {
        let sql = shape.on(kind);
        outcomes.push(match sql {
            "" => "–".to_owned(),
            sql => outcome(&world, shape, sql).await,
        });
    }
    let column = match kind {
        Kind::Sqlite => 1,
        Kind::Postgres => 2,
        Kind::Mysql => 3,
    };
    page::check("at.md", "statements", |table| with_column(table, column, &outcomes));
}

/// The table with one column as it was found now; the others as they are.
fn with_column(table: &str, column: usize, outcomes: &[String]) -> String {
    let old = |name: &str, column: usize| {
        let row = table.lines().find(|line| line.starts_with(&format!("| {name} |")));
        let cell = row.and_then(|row| row.split(" | ").nth(column));
        cell.map_or_else(|| "?".to_owned(), |cell| cell.trim_end_matches(" |").to_owned())
    };
    let mut out = "| | SQLite | PostgreSQL | MariaDB |\n|---|---|---|---|\n".to_owned();
    for (shape, outcome) in SHAPES.iter().zip(outcomes) {
        let cell = |place: usize| {
            if place == column { outcome.clone() } else { old(shape.name, place) }
        };
        writeln!(out, "| {} | {} | {} | {} |", shape.name, cell(1), cell(2), cell(3)).unwrap();
    }
    out
}

#[tokio::test]
async fn the_page_says_what_sqlite_does() {
    check_page::<sqlx::Sqlite>(Kind::Sqlite).await;
}

mod on_postgres {
    #[tokio::test]
    async fn the_page_says_what_postgres_does() {
        super::check_page::<sqlx::Postgres>(crate::db::Kind::Postgres).await;
    }
}

mod on_mysql {
    #[tokio::test]
    async fn the_page_says_what_mariadb_does() {
        super::check_page::<sqlx::MySql>(crate::db::Kind::Mysql).await;
    }
}
