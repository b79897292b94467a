//! Upserts, REPLACE and joined updates on SQLite: undone row by row, whatever was in the way.

use sqlx::AssertSqlSafe;

use super::world::{World, take};
use crate::at::AtError;

/// A primary key, two unique keys and a child of none.
const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE, v INTEGER, w, \
     UNIQUE (v, w)); INSERT INTO t VALUES (1, 'a', 1, 1), (2, 'b', 2, 2), (3, NULL, NULL, 3), \
     (4, NULL, 4, NULL)";

/// Each statement by itself, then one after the other in one branch.
async fn undone(schema: &str, statements: &[&str]) {
    undone_apart(schema, statements).await;
    World::new(schema).await.undo(statements).await;
}

/// Each statement by itself.
async fn undone_apart(schema: &str, statements: &[&str]) {
    let world = World::new(schema).await;
    for statement in statements {
        world.undo(&[statement]).await;
    }
}

async fn changes_nothing(schema: &str, statement: &str) {
    let world = World::new(schema).await;
    let before = world.dump().await;
    let context = world.context();
    world.run(&context, &[statement]).await.unwrap();
    assert_eq!(world.dump().await, before, "{statement}");
    assert!(world.fake.registrations(context.xid()).is_empty(), "{statement}");
}

async fn refusal(schema: &str, statement: &str) -> String {
    let world = World::new(schema).await;
    let error = world.run(&world.context(), &[statement]).await.expect_err(statement);
    assert!(matches!(error, AtError::Refused(_)), "{statement}: {error}");
    error.to_string()
}

#[tokio::test]
async fn rows_that_are_skipped_are_not_undone() {
    undone(
        TABLE,
        &[
            "INSERT INTO t VALUES (1, 'x', 9, 9), (5, 'e', 5, 5) ON CONFLICT DO NOTHING",
            "INSERT INTO t VALUES (2, 'x', 9, 9), (6, 'f', 6, 6) ON CONFLICT (id) DO NOTHING",
            "INSERT OR IGNORE INTO t VALUES (7, 'a', 7, 7), (8, 'g', 8, 8), (8, 'h', 9, 8)",
            "INSERT OR IGNORE INTO t SELECT id + 8, u || 'x', v + 100, w FROM t WHERE id < 3",
        ],
    )
    .await;
    changes_nothing(TABLE, "INSERT OR IGNORE INTO t VALUES (1, 'x', 9, 9), (9, 'b', 9, 9)").await;
    changes_nothing(TABLE, "INSERT INTO t (u) VALUES ('a') ON CONFLICT (u) DO NOTHING").await;
}

#[tokio::test]
async fn rows_that_are_updated_and_rows_that_are_inserted_are_told_apart() {
    undone(
        TABLE,
        &[
            // By the primary key, by a unique key, by two columns, by any.
            "INSERT INTO t VALUES (1, 'z', 8, 8), (9, 'y', 9, 9) ON CONFLICT (id) DO UPDATE SET u = \
             excluded.u, w = 'changed'",
            "INSERT INTO t (u, v) VALUES ('b', 1), ('c', 1) ON CONFLICT (u) DO UPDATE SET v = v + 100",
            "INSERT INTO t (v, w) VALUES (2, 2), (NULL, 3), (7, 7) ON CONFLICT (w, v) DO UPDATE SET u \
             = 'by two'",
            "INSERT INTO t (id, u) VALUES (2, 'n'), (50, 'a') ON CONFLICT DO UPDATE SET w = 'any'",
            // Two rows of the statement meet one row, or each other.
            "INSERT INTO t (u) VALUES ('q'), ('q'), ('q') ON CONFLICT (u) DO UPDATE SET w = \
             coalesce(w, 0) + 1",
            "INSERT INTO t (u) VALUES ('a'), ('a') ON CONFLICT (u) DO UPDATE SET v = v + 1",
            // The key moves under the statement.
            "INSERT INTO t (u) VALUES ('a'), ('s') ON CONFLICT (u) DO UPDATE SET u = 's', w = w || 'x'",
            // A condition, an alias, a source in front.
            "INSERT INTO t AS o (u, v) VALUES ('a', 5), ('b', 6) ON CONFLICT (u) DO UPDATE SET v = \
             excluded.v WHERE o.v = 1",
            "WITH n(k) AS (SELECT u FROM t WHERE u IS NOT NULL) INSERT INTO t (u, v) SELECT k, 70 FROM n \
             WHERE true ON CONFLICT (u) DO UPDATE SET v = excluded.v + v",
            "INSERT INTO t (id, u) SELECT id + 1, 'n' || id FROM t WHERE id > 2 ON CONFLICT (id) DO \
             UPDATE SET u = excluded.u RETURNING id",
        ],
    )
    .await;
    let nothing = "INSERT INTO t (u) VALUES ('a') ON CONFLICT (u) DO UPDATE SET v = 9 WHERE false";
    changes_nothing(TABLE, nothing).await;
}

#[tokio::test]
async fn every_row_that_a_replace_removes_comes_back() {
    undone(
        TABLE,
        &[
            "REPLACE INTO t VALUES (1, 'new', 8, 8)",
            // One row for three.
            "INSERT OR REPLACE INTO t VALUES (1, 'b', 4, 4), (1, 'b', 4, 5)",
            "REPLACE INTO t (id, u, v, w) VALUES (1, 'b', NULL, NULL)",
            // NULLs are in nobody's way.
            "REPLACE INTO t VALUES (20, NULL, NULL, 3), (21, NULL, 4, NULL)",
            // Rows of the statement replace each other; the key is generated.
            "REPLACE INTO t (u, v) VALUES ('k', 1), ('k', 2), ('a', 3)",
            "REPLACE INTO t (id, u) VALUES (NULL, 'a'), (NULL, 'a')",
            "REPLACE INTO t SELECT id + 1, u, v, w FROM t WHERE id < 3",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_default_may_be_in_the_way() {
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, u NOT NULL DEFAULT 'd' UNIQUE, v DEFAULT 7 \
                  UNIQUE); INSERT INTO t VALUES (1, 'd', 1), (2, 'e', 7), (3, 'f', 3)";
    undone(
        schema,
        &[
            "REPLACE INTO t (id, v) VALUES (10, 10)",
            "REPLACE INTO t (u) VALUES ('new')",
            "REPLACE INTO t VALUES (11, NULL, 11)",
            "REPLACE INTO t DEFAULT VALUES",
            "INSERT INTO t (id, u) VALUES (5, 'x') ON CONFLICT DO UPDATE SET u = 'y'",
        ],
    )
    .await;
}

#[tokio::test]
async fn keys_are_compared_as_the_table_stores_and_compares_them() {
    undone_apart(
        "CREATE TABLE t (id TEXT PRIMARY KEY COLLATE NOCASE, r REAL UNIQUE, n NUMERIC UNIQUE, b BLOB \
         UNIQUE, x TEXT) WITHOUT ROWID; INSERT INTO t VALUES ('Abc', 9007199254740992, 1, x'31', 'x'), \
         ('7', 2, 2, '1', 'y'), ('z', 3, 'text', 5, 'z')",
        &[
            "REPLACE INTO t VALUES ('aBC', 40, 40, 40, 'new')",
            "REPLACE INTO t VALUES (7, 41, 41, 41, 'new')",
            "REPLACE INTO t VALUES ('k', 9007199254740993, 42, 42, 'new')",
            "REPLACE INTO t VALUES ('k', '9007199254740993', 42, 42, 'new')",
            "REPLACE INTO t VALUES ('k', '2', 42, 42, 'new')",
            "REPLACE INTO t VALUES ('k', 42, '1.0', 42, 'new')",
            "REPLACE INTO t VALUES ('k', 42, 'text', 42, 'new')",
            "REPLACE INTO t VALUES ('k', 42, 42, x'31', 'new')",
            "REPLACE INTO t VALUES ('k', 42, 42, '1', 'new')",
            "REPLACE INTO t VALUES ('k', 42, 42, 1, 'new')",
            "REPLACE INTO t SELECT x || id, r, n, b, x FROM t",
            "INSERT INTO t VALUES ('ABC', 40, 40, 40, 'new') ON CONFLICT (id) DO UPDATE SET x = 'changed'",
            "INSERT INTO t VALUES ('k', '2', 40, 40, 'new') ON CONFLICT (r) DO UPDATE SET x = 'changed'",
        ],
    )
    .await;
}

/// The collation of an index need not be its column's.
#[tokio::test]
async fn keys_are_compared_by_the_collation_of_their_index() {
    undone_apart(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT, v TEXT COLLATE NOCASE); CREATE UNIQUE INDEX \
         i ON t (u COLLATE NOCASE); CREATE UNIQUE INDEX j ON t (v COLLATE BINARY); INSERT INTO t \
         VALUES (1, 'abc', 'abc'), (2, 'def', 'ABC'), (3, 'ghi', 'x')",
        &[
            "REPLACE INTO t VALUES (9, 'ABC', 'y')",
            "REPLACE INTO t VALUES (9, 'y', 'ABC')",
            "REPLACE INTO t VALUES (9, 'GHI', 'X')",
            "INSERT INTO t (u, v) VALUES ('ABC', 'new') ON CONFLICT DO UPDATE SET v = 'changed'",
        ],
    )
    .await;
}

#[tokio::test]
async fn partial_and_composite_keys_are_looked_up() {
    undone(
        "CREATE TABLE t (a, b, c, PRIMARY KEY (a, b)); CREATE UNIQUE INDEX live ON t (c) WHERE b > 1; \
         INSERT INTO t VALUES (1, 1, 'x'), (1, 2, 'x'), (2, 3, 'y')",
        &[
            "REPLACE INTO t VALUES (5, 5, 'x')",
            "REPLACE INTO t VALUES (5, 0, 'x')",
            "REPLACE INTO t VALUES (1, 1, 'y')",
            "REPLACE INTO t VALUES (1, 5, 'y'), (1, 6, 'x')",
            "INSERT INTO t VALUES (1, 1, 'n') ON CONFLICT (b, a) DO UPDATE SET c = 'changed'",
        ],
    )
    .await;
}

#[tokio::test]
async fn upserts_whose_rows_cannot_be_looked_up_are_refused() {
    let expression =
        "CREATE TABLE t (id INTEGER PRIMARY KEY, u); CREATE UNIQUE INDEX i ON t (lower(u))";
    let hidden = "CREATE TABLE t (id TEXT PRIMARY KEY, u)";
    let generated = "CREATE TABLE t (id INTEGER PRIMARY KEY, a, g AS (a + 1) UNIQUE)";
    let cascade = "CREATE TABLE t (id INTEGER PRIMARY KEY, u); CREATE TABLE c (t REFERENCES t ON DELETE \
                   CASCADE)";
    for (schema, statement, why) in [
        (expression, "REPLACE INTO t VALUES (1, 1)", "a unique index on an expression"),
        (
            expression,
            "INSERT INTO t VALUES (1, 1) ON CONFLICT DO UPDATE SET u = 1",
            "on an expression",
        ),
        (hidden, "REPLACE INTO t (rowid, id) VALUES (1, 'a')", "`rowid` is not one of its columns"),
        (generated, "REPLACE INTO t VALUES (1, 1)", "`g` of a unique key is generated"),
        (cascade, "REPLACE INTO t VALUES (1, 1)", "a foreign key of `c`"),
        (
            TABLE,
            "INSERT INTO t (id) VALUES (1) ON CONFLICT (v) DO UPDATE SET w = 1",
            "exactly the columns",
        ),
        (
            TABLE,
            "INSERT INTO t (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 9",
            "the primary key",
        ),
        (TABLE, "REPLACE INTO t (id) VALUES (random() % 9)", "another each time"),
        (TABLE, "REPLACE INTO t (id) SELECT id FROM t LIMIT 1", "another each time"),
        (TABLE, "REPLACE INTO t (id) SELECT DISTINCT id FROM t", "another each time"),
        (TABLE, "REPLACE INTO t (id) SELECT id FROM t UNION SELECT 1", "another each time"),
        (TABLE, "REPLACE INTO t (u) SELECT datetime('now')", "another each time"),
        (TABLE, "REPLACE INTO t (id, u) VALUES (1)", "not as many values"),
    ] {
        let refused = refusal(schema, statement).await;
        assert!(refused.contains(why), "{statement}: {refused}");
    }
    // A value beside the keys may be anything.
    undone(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES (1, 0)",
        &["REPLACE INTO t VALUES (1, random())"],
    )
    .await;
}

#[tokio::test]
async fn parameters_of_an_upsert_keep_their_places() {
    let world = World::new(TABLE).await;
    let before = world.dump().await;
    let context = world.context();
    let mut tx = world.at.begin_in(&context).await.unwrap();
    let statement = "WITH n AS (SELECT ? AS k) INSERT INTO t (w, u, v) SELECT ?, k, ? FROM n WHERE k <> ? \
                     ON CONFLICT (u) DO UPDATE SET v = excluded.v + ?, w = excluded.w WHERE t.v < ? \
                     RETURNING id + ?";
    let returned: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(statement))
        .bind("a")
        .bind("w")
        .bind(10)
        .bind("b")
        .bind(5)
        .bind(2)
        .bind(100)
        .fetch_all(&mut *tx)
        .await
        .map_err(take)
        .unwrap();
    assert_eq!(returned, [101]);
    tx.commit().await.unwrap();
    assert_eq!(world.value("SELECT v || w FROM t WHERE id = 1").await, "'15w'");
    world.fake.roll_back(context.xid()).await;
    assert_eq!(world.dump().await, before);
}

#[tokio::test]
async fn joined_updates_are_imaged_by_their_join() {
    undone(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x); CREATE TABLE u (t, id, x); INSERT INTO t VALUES \
         (1, 'a'), (2, 'b'), (3, 'c'); INSERT INTO u VALUES (1, 10, 'p'), (1, 11, 'q'), (2, 12, 'r')",
        &[
            // One row meets two.
            "UPDATE t SET x = u.x FROM u WHERE u.t = t.id",
            "UPDATE t AS o SET x = (SELECT max(x) FROM u) FROM u JOIN u AS z ON z.id = u.id WHERE u.t = \
             o.id RETURNING id, x",
            "UPDATE main.t SET x = n.x FROM (SELECT t AS k, max(x) AS x FROM u GROUP BY t) AS n WHERE n.k = \
             t.id",
            "WITH n AS (SELECT 3 AS k) UPDATE t SET x = 'with' FROM n WHERE t.id = n.k",
            "WITH n AS (SELECT 3 AS k) UPDATE t SET x = 'with' WHERE id IN (SELECT k FROM n)",
            "WITH n AS (SELECT 3 AS k) DELETE FROM t WHERE id IN (SELECT k FROM n)",
            "WITH n AS (SELECT 30 AS k) INSERT INTO t SELECT k, 'with' FROM n",
        ],
    )
    .await;
}

/// SQLite leaves the first row in place.
#[tokio::test]
async fn an_upsert_that_fails_half_way_can_only_be_rolled_back() {
    let world = World::new(TABLE).await;
    let before = world.dump().await;
    let context = world.context();
    let half = "INSERT OR IGNORE INTO t VALUES (50, 'x', 50, 50), (x'01', 'y', 51, 51)";
    let mut tx = world.at.begin_in(&context).await.unwrap();
    let failed = sqlx::query(half).execute(&mut *tx).await.map_err(take).unwrap_err();
    assert!(matches!(failed, AtError::Database(_)), "{failed}");
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, AtError::OnlyRollback { .. }), "{error}");
    assert_eq!(world.dump().await, before);
}

#[tokio::test]
async fn a_replace_that_makes_a_row_without_a_key_is_refused_with_its_transaction() {
    let schema = "CREATE TABLE t (id TEXT PRIMARY KEY, x); INSERT INTO t VALUES ('a', 1), ('b', 2)";
    let world = World::new(schema).await;
    let before = world.dump().await;
    let statement = "REPLACE INTO t SELECT NULL, x FROM t";
    let error = world.run(&world.context(), &[statement]).await.unwrap_err();
    assert!(matches!(error, AtError::NullKey { .. }), "{error}");
    assert_eq!(world.dump().await, before);
}
