//! Tables and sessions that AT cannot work with say why, before anything is committed.

use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, Executor as _};
use std::sync::Arc;

use super::super::world::options;
use super::world::World;
use crate::at::{AtError, AtPool};
use crate::branch::Answer;
use crate::link::fake::Fake;

#[tokio::test]
async fn tables_that_cannot_be_undone_are_refused() {
    let world = World::new(
        "CREATE TABLE good (id INT PRIMARY KEY, a INT, p INT UNIQUE); \
         CREATE VIEW v AS SELECT * FROM good; \
         CREATE TABLE myisam (id INT PRIMARY KEY, a INT) ENGINE = MyISAM; \
         CREATE TABLE aria (id INT PRIMARY KEY, a INT) ENGINE = Aria; \
         CREATE TABLE mem (id INT PRIMARY KEY, a INT) ENGINE = MEMORY; \
         CREATE TABLE nokey (id INT UNIQUE, a INT); \
         CREATE TABLE versioned (id INT PRIMARY KEY, a INT) WITH SYSTEM VERSIONING; \
         CREATE TABLE period (id INT PRIMARY KEY, a INT, s DATE, e DATE, PERIOD FOR p (s, e)); \
         CREATE SEQUENCE seq; \
         CREATE TABLE spied (id INT PRIMARY KEY, a INT); \
         CREATE TRIGGER spy BEFORE UPDATE ON spied FOR EACH ROW SET NEW.a = 1; \
         CREATE TABLE big (id VARCHAR(9) CHARACTER SET big5 PRIMARY KEY, a INT); \
         CREATE TABLE cascading (id INT PRIMARY KEY, g INT, FOREIGN KEY (g) REFERENCES good (id) \
         ON DELETE CASCADE); \
         CREATE TABLE setting (id INT PRIMARY KEY, g INT, FOREIGN KEY (g) REFERENCES good (p) \
         ON UPDATE SET NULL); \
         INSERT INTO good VALUES (1, 1, 1)",
    )
    .await;
    for (statement, words) in [
        ("UPDATE v SET a = 1", "it is a view"),
        ("UPDATE myisam SET a = 1", "its engine is MyISAM"),
        ("UPDATE aria SET a = 1", "its engine is Aria"),
        ("INSERT INTO mem VALUES (1, 1)", "its engine is MEMORY"),
        ("UPDATE nokey SET a = 1", "no primary key"),
        ("UPDATE versioned SET a = 1", "system-versioned"),
        ("UPDATE period SET a = 1", "period"),
        ("INSERT INTO seq VALUES (1, 1, 1, 1, 1, 1, 1, 1)", "sequence"),
        ("UPDATE spied SET a = 2", "trigger `spy`"),
        ("UPDATE big SET a = 1", "collation"),
        ("DELETE FROM good", "foreign key of `cascading`"),
        ("REPLACE INTO good VALUES (1, 2, 3)", "foreign key of `cascading`"),
        ("UPDATE good SET p = 2", "foreign key of `setting`"),
    ] {
        let error = world.run(&world.context(), &[statement]).await.unwrap_err();
        assert!(matches!(error, AtError::Refused(_)), "{statement}: {error:?}");
        assert!(error.to_string().contains(words), "{statement}: {error}");
    }
    world.undo(&["UPDATE good SET a = 2"]).await;
}

#[tokio::test]
async fn a_session_that_reads_otherwise_commits_nothing() {
    let world =
        World::new("CREATE TABLE t (id INT PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 1)").await;
    let before = world.dump().await;
    for (setting, words) in [
        ("sql_mode = 'ANSI_QUOTES'", "ANSI_QUOTES"),
        ("sql_mode = 'NO_BACKSLASH_ESCAPES'", "NO_BACKSLASH_ESCAPES"),
        ("sql_mode = 'PAD_CHAR_TO_FULL_LENGTH'", "PAD_CHAR_TO_FULL_LENGTH"),
        ("sql_mode = 'EMPTY_STRING_IS_NULL'", "EMPTY_STRING_IS_NULL"),
        ("time_zone = '+02:00'", "+00:00"),
        ("NAMES latin1", "utf8mb4"),
        ("foreign_key_checks = 0", "foreign_key_checks"),
        ("unique_checks = 0", "unique_checks"),
    ] {
        for context in [Some(world.context()), None] {
            let mut transaction = match &context {
                Some(context) => world.at.begin_in(context).await.unwrap(),
                None => world.at.begin().await.unwrap(),
            };
            let set = format!("SET {setting}");
            transaction.bypass().execute(sqlx::raw_sql(sqlx::AssertSqlSafe(set))).await.unwrap();
            let update = sqlx::query("UPDATE t SET a = 2").execute(&mut *transaction).await;
            assert!(update.is_ok());
            let reset = "SET sql_mode = DEFAULT, time_zone = '+00:00', NAMES utf8mb4, \
                         foreign_key_checks = 1, unique_checks = 1";
            let error = transaction.commit().await.unwrap_err();
            assert!(matches!(error, AtError::SessionSetting(_)), "{setting}: {error:?}");
            assert!(error.to_string().contains(words), "{setting}: {error}");
            world.everywhere(reset).await;
            assert_eq!(world.dump().await, before);
        }
    }
}

/// Without gap locks a row can come into being behind the image.
#[tokio::test]
async fn upserts_need_repeatable_reads() {
    let world = World::new(
        "CREATE TABLE t (id INT PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 1), (2, 2)",
    )
    .await;
    for statement in [
        "INSERT INTO t VALUES (1, 5) ON DUPLICATE KEY UPDATE a = 5",
        "REPLACE INTO t VALUES (1, 5)",
        "INSERT IGNORE INTO t VALUES (3, 5)",
    ] {
        let mut transaction = world.at.begin_in(&world.context()).await.unwrap();
        let set = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
        sqlx::query(set).execute(transaction.bypass()).await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut *transaction).await.unwrap();
        let error = transaction.commit().await.unwrap_err();
        assert!(error.to_string().contains("REPEATABLE READ"), "{statement}: {error}");
        world.everywhere("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await;
        world.undo(&[statement]).await;
    }
}

#[tokio::test]
async fn a_temporary_table_does_not_pass_for_the_real_one() {
    let world = World::new("CREATE TABLE t (id INT PRIMARY KEY, a INT)").await;
    world.undo(&["INSERT INTO t VALUES (1, 1)"]).await;
    let mut transaction = world.at.begin_in(&world.context()).await.unwrap();
    let create = "CREATE TEMPORARY TABLE t (id INT PRIMARY KEY, a INT)";
    sqlx::query(create).execute(transaction.bypass()).await.unwrap();
    sqlx::query("INSERT INTO t VALUES (1, 1)").execute(&mut *transaction).await.unwrap();
    let error = transaction.commit().await.unwrap_err();
    assert!(matches!(error, AtError::TemporaryObjects), "{error:?}");
}

/// Goal: nothing changes rows unseen. Way: a stored function, and one that says that it reads.
#[tokio::test]
async fn own_functions_that_may_change_rows_are_refused() {
    let world = World::new(
        "CREATE TABLE t (id INT PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 1); \
         CREATE FUNCTION sees(x INT) RETURNS INT READS SQL DATA RETURN x + 1",
    )
    .await;
    world
        .behind("CREATE FUNCTION pay(x INT) RETURNS INT BEGIN UPDATE t SET a = 9; RETURN x; END")
        .await;
    for statement in
        ["SELECT Pay (1)", "UPDATE t SET a = `pay`(2)", "DELETE FROM t WHERE id = pay(1)"]
    {
        let before = world.dump().await;
        let mut transaction = world.at.begin_in(&world.context()).await.unwrap();
        let refused = sqlx::query(statement).execute(&mut *transaction).await.unwrap_err();
        assert!(refused.to_string().contains("`pay` may change rows"), "{refused}");
        drop(transaction);
        assert_eq!(world.dump().await, before);
    }
    world.undo(&["UPDATE t SET a = sees(id) + ABS(-4)"]).await;
}

/// What an account may not see would be taken for not being there.
#[tokio::test]
async fn an_account_without_the_trigger_privilege_is_told_what_it_lacks() {
    let world =
        World::new("CREATE TABLE t (id INT PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 1)").await;
    let database = world.value("SELECT database()").await;
    let database = database.trim_matches('\'');
    let user = format!("u{}", &database[database.len() - 8..]);
    world
        .behind(&format!(
            "CREATE USER {user}@'%' IDENTIFIED BY 'x'; \
             GRANT SELECT, INSERT, UPDATE ON `{database}`.t TO {user}@'%'; \
             GRANT ALL ON `{database}`.pactum_barrier TO {user}@'%'; \
             GRANT ALL ON `{database}`.pactum_resource TO {user}@'%'"
        ))
        .await;
    let connect: MySqlConnectOptions = (*world.pool.connect_options()).clone();
    let pool = MySqlPoolOptions::new()
        .max_connections(2)
        .connect_with(connect.username(&user).password("x"))
        .await
        .unwrap();
    let fake = Arc::new(Fake::default());
    fake.let_wait_inside();
    let at = AtPool::attach_over(Arc::clone(&fake) as _, "b".parse().unwrap(), pool, options());
    let at = at.await.unwrap();
    let context = world.context();
    let update = async || {
        let mut transaction = at.begin_in(&context).await.unwrap();
        sqlx::query("UPDATE t SET a = 2").execute(&mut *transaction).await?;
        transaction.commit().await.map_err(sqlx::Error::from)
    };
    let error = AtError::from(update().await.unwrap_err());
    assert!(error.to_string().contains("GRANT TRIGGER ON"), "{error}");
    world.behind(&format!("GRANT TRIGGER ON `{database}`.t TO {user}@'%'")).await;
    update().await.unwrap();
    assert_eq!(fake.roll_back(context.xid()).await, vec![Answer::Done]);

    // What could not be undone is refused before there is something to undo.
    let run = async |sql: &'static str| {
        let mut transaction = at.begin_in(&context).await.unwrap();
        sqlx::query(sql).execute(&mut *transaction).await?;
        transaction.commit().await.map_err(sqlx::Error::from)
    };
    let error = AtError::from(run("INSERT INTO t VALUES (2, 2)").await.unwrap_err());
    assert!(error.to_string().contains("right to DELETE"), "{error}");
    world.behind(&format!("GRANT DELETE ON `{database}`.t TO {user}@'%'")).await;
    run("INSERT INTO t VALUES (2, 2)").await.unwrap();
    world
        .behind(&format!(
            "REVOKE INSERT ON `{database}`.t FROM {user}@'%'; \
             GRANT INSERT (id) ON `{database}`.t TO {user}@'%'"
        ))
        .await;
    let error = AtError::from(run("DELETE FROM t WHERE id = 2").await.unwrap_err());
    assert!(error.to_string().contains("right to INSERT"), "{error}");
    world.behind(&format!("DROP USER {user}@'%'")).await;
}

/// Goal: a barrier row goes only where phase two looks for it. Method: a session that was taken to
/// another database with the same tables.
#[tokio::test]
async fn a_barrier_of_another_database_is_not_written_to() {
    let world = World::new("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let home = world.value("SELECT database()").await;
    let home = home.trim_matches('\'');
    let other = format!("{home}_other");
    let copies = ["t", "pactum_barrier"]
        .map(|table| format!("CREATE TABLE {other}.{table} LIKE {home}.{table}"));
    world.behind(&format!("CREATE DATABASE {other}; {}", copies.join("; "))).await;
    let mut tx = world.at.begin_in(&world.context()).await.unwrap();
    let moved = format!("USE {other}");
    sqlx::raw_sql(AssertSqlSafe(moved)).execute(tx.bypass()).await.unwrap();
    sqlx::query("INSERT INTO t VALUES (1)").execute(&mut *tx).await.unwrap();
    let error = tx.commit().await.unwrap_err();
    let rows = format!("SELECT count(*) FROM {other}.pactum_barrier");
    let rows = world.value(&rows).await;
    world.behind(&format!("DROP DATABASE {other}")).await;
    assert!(
        matches!(error, AtError::SessionSetting(why) if why.contains("another database")),
        "{error:?}"
    );
    assert_eq!(rows, "0");
}
