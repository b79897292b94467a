//! What the schema makes impossible is refused before it runs.

use sqlx::AssertSqlSafe;

use super::world::{World, take};
use crate::at::AtError;

async fn refusal(world: &World, statement: &str) -> AtError {
    let mut tx = world.at.begin_in(&world.context()).await.unwrap();
    let count = "SELECT total_changes()";
    let before: i64 = sqlx::query_scalar(count).fetch_one(&mut *tx).await.unwrap();
    let refused = sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await.map_err(take);
    let after: i64 = sqlx::query_scalar(count).fetch_one(&mut *tx).await.unwrap();
    assert_eq!(before, after, "{statement} ran");
    tx.rollback().await.unwrap();
    refused.expect_err(statement)
}

#[tokio::test]
async fn tables_that_cannot_be_undone_are_refused() {
    for (schema, statement, why) in [
        ("CREATE TABLE t (a)", "INSERT INTO t VALUES (1)", "no primary key"),
        ("CREATE TABLE t (a)", "UPDATE t SET a = 1", "no primary key"),
        ("CREATE TABLE u (a)", "DELETE FROM t", "has no such table"),
        (
            "CREATE TABLE u (a PRIMARY KEY); CREATE VIEW t AS SELECT * FROM u",
            "DELETE FROM t",
            "it is a view",
        ),
        (
            "CREATE VIRTUAL TABLE t USING fts5(a)",
            "INSERT INTO t VALUES ('x')",
            "it is a virtual table",
        ),
        ("CREATE VIRTUAL TABLE t USING fts5(a)", "DELETE FROM t_data", "it is a shadow table"),
        ("CREATE TABLE t (a)", "DELETE FROM pactum_barrier", "is not the application's"),
        ("CREATE TABLE t (a)", "UPDATE sqlite_schema SET name = 'x'", "is not the application's"),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TRIGGER tr AFTER INSERT ON t BEGIN \
             SELECT 1; END",
            "INSERT INTO t VALUES (1)",
            "trigger `tr`",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY ON CONFLICT REPLACE, u UNIQUE)",
            "INSERT INTO t VALUES (1, 1)",
            "ON CONFLICT clause",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a)",
            "UPDATE t SET ID = 2",
            "it assigns the primary key",
        ),
        (
            "CREATE TABLE t (a, b, PRIMARY KEY (a, b))",
            "UPDATE t SET (\"B\", a) = (1, 2)",
            "it assigns the primary key",
        ),
        (
            "CREATE TABLE t (id TEXT PRIMARY KEY, a)",
            "UPDATE t SET rowid = 2",
            "`rowid` is not one of its columns",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE c (t REFERENCES t ON DELETE CASCADE)",
            "DELETE FROM t",
            "a foreign key of `c`",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE c (t REFERENCES T ON DELETE SET NULL)",
            "DELETE FROM t",
            "a foreign key of `c`",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, k UNIQUE); CREATE TABLE c (t REFERENCES t (K) \
             ON UPDATE CASCADE)",
            "UPDATE t SET k = 1",
            "a foreign key of `c`",
        ),
    ] {
        let world = World::new(schema).await;
        let error = refusal(&world, statement).await;
        assert!(matches!(error, AtError::Refused(_)), "{statement}: {error}");
        assert!(error.to_string().contains(why), "{statement}: {error}");
        // The text of an error is what a developer sees in sqlx's.
        assert!(sqlx::Error::from(error).to_string().contains(why));
    }
}

#[tokio::test]
async fn what_only_looks_alike_is_accepted() {
    for (schema, statement) in [
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE c (t REFERENCES t ON DELETE RESTRICT); \
             INSERT INTO t VALUES (1)",
            "DELETE FROM t",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, k UNIQUE, a); CREATE TABLE c (t REFERENCES t (k) \
             ON UPDATE CASCADE ON DELETE CASCADE); INSERT INTO t VALUES (1, 1, 1)",
            "UPDATE t SET a = 2",
        ),
        (
            "CREATE TABLE u (id INTEGER PRIMARY KEY); CREATE TABLE t (id INTEGER PRIMARY KEY); \
             CREATE TRIGGER tr AFTER INSERT ON u BEGIN SELECT 1; END",
            "INSERT INTO t VALUES (1)",
        ),
    ] {
        World::new(schema).await.undo(&[statement]).await;
    }
}

#[tokio::test]
async fn a_row_without_a_key_is_refused_with_its_transaction() {
    let world = World::new("CREATE TABLE t (id TEXT PRIMARY KEY, a)").await;
    let error = world.run(&world.context(), &["INSERT INTO t VALUES (NULL, 1)"]).await.unwrap_err();
    assert!(matches!(error, AtError::NullKey { .. }), "{error}");
    world.behind("INSERT INTO t VALUES (NULL, 1), ('a', 1)").await;
    for statement in ["UPDATE t SET a = 2", "DELETE FROM t"] {
        let before = world.dump().await;
        let error = world.run(&world.context(), &[statement]).await.unwrap_err();
        assert!(
            matches!(error, AtError::NullKey { .. } | AtError::OnlyRollback { .. }),
            "{statement}: {error}"
        );
        assert_eq!(world.dump().await, before);
    }
    world.undo(&["UPDATE t SET a = 2 WHERE id = 'a'"]).await;
}

#[tokio::test]
async fn a_condition_that_changes_its_mind_is_noticed() {
    let world = World::new("CREATE TABLE t (id INTEGER PRIMARY KEY, a)").await;
    world
        .behind(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) \
             INSERT INTO t SELECT i, 0 FROM n",
        )
        .await;
    let before = world.dump().await;
    let statement = "UPDATE t SET a = 1 WHERE random() % 2 = 0";
    let error = world.run(&world.context(), &[statement]).await.unwrap_err();
    assert!(matches!(error, AtError::OnlyRollback { .. }), "{error}");
    assert_eq!(world.dump().await, before);
    // DELETE and INSERT return what they really did.
    world
        .undo(&["DELETE FROM t WHERE random() % 2 = 0", "INSERT INTO t VALUES (500, random())"])
        .await;
}

#[tokio::test]
async fn temporary_objects_are_noticed() {
    let world =
        World::new("CREATE TABLE t (id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 1)").await;
    let before = world.dump().await;
    for temporary in [
        "CREATE TEMP TABLE t AS SELECT 1 AS id, 1 AS a",
        "CREATE TEMP TRIGGER x AFTER UPDATE ON main.t BEGIN DELETE FROM t; END",
    ] {
        for context in [Some(world.context()), None] {
            let mut tx = match &context {
                Some(context) => world.at.begin_in(context).await.unwrap(),
                None => world.at.begin().await.unwrap(),
            };
            sqlx::raw_sql(AssertSqlSafe(temporary)).execute(tx.bypass()).await.unwrap();
            sqlx::query("UPDATE t SET a = 2").execute(&mut *tx).await.unwrap();
            let error = tx.commit().await.unwrap_err();
            assert!(matches!(error, AtError::TemporaryObjects), "{temporary}: {error}");
            assert_eq!(world.dump().await, before);
        }
    }
}
