//! Everything that SQLite can store comes back byte for byte: through INSERT, UPDATE and DELETE.
//! `docs/at-sqlite.md` has the same values.

use super::page;
use super::world::World;

/// A column of each affinity, and one of none, with what they are declared as.
const COLUMNS: [(&str, &str); 10] = [
    ("i", "INTEGER"),
    ("r", "REAL"),
    ("t", "TEXT"),
    ("n", "NUMERIC"),
    ("b", "BLOB"),
    ("x", ""),
    ("d", "DECIMAL(10, 2)"),
    ("dt", "DATETIME"),
    ("bo", "BOOLEAN"),
    ("s", "STRING"),
];

/// SQL literals of every storage class, with the ugly ones.
const VALUES: [&str; 34] = [
    "NULL",
    "0",
    "1",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "9007199254740993",
    "1.0",
    "1.5",
    "-0.0",
    "1e308",
    "5e-324",
    "9e999",
    "-9e999",
    "9223372036854775808.0",
    "0.1 + 0.2",
    "''",
    "'text'",
    "'1'",
    "'1.0'",
    "' 1 '",
    "'1e5'",
    "'0x10'",
    "'9223372036854775808'",
    "'ünïcödé 🦀'",
    "'a' || char(0) || 'b'",
    "char(0)",
    "'it''s \"quoted\" `so`'",
    "x''",
    "x'00'",
    "x'ff00fe'",
    "x'31'",
    "CAST(x'61ff62' AS TEXT)",
    "CAST(x'3180' AS TEXT)",
];

fn columns(value: &str) -> String {
    COLUMNS.map(|(column, _)| format!("{column} = {value}")).join(", ")
}

#[tokio::test]
async fn every_value_survives_every_undo() {
    let declared = COLUMNS.map(|(column, declared)| format!("{column} {declared}")).join(", ");
    let schema = format!("CREATE TABLE t (id INTEGER PRIMARY KEY, {declared})");
    let world = World::new(&schema).await;
    world.behind("INSERT INTO t (id) VALUES (1)").await;
    for value in VALUES {
        let insert = format!(
            "INSERT INTO t VALUES (2, {value}, {value}, {value}, {value}, {value}, {value}, {value}, \
             {value}, {value}, {value})"
        );
        world.undo(&[&insert]).await;
        world.behind(&insert).await;
        world.undo(&["DELETE FROM t WHERE id = 2"]).await;
        // To the value and from the value.
        world
            .undo(&[&format!("UPDATE t SET {}, x = 'changed' WHERE id = 1", columns(value))])
            .await;
        world
            .undo(&[
                "UPDATE t SET i = 7, r = 7, t = 7, n = 7, b = 7, x = 7, d = 7, dt = 7, bo = 7, \
                      s = 7 WHERE id = 2",
            ])
            .await;
        world
            .undo(&[
                "UPDATE t SET x = 'a' WHERE id = 2",
                "DELETE FROM t WHERE id = 2",
                "INSERT INTO t (id, x) VALUES (2, 'again')",
                "UPDATE t SET i = 5",
            ])
            .await;
        world.behind("DELETE FROM t WHERE id = 2").await;
    }
}

#[tokio::test]
async fn every_value_survives_as_a_key() {
    let world = World::new("CREATE TABLE t (id PRIMARY KEY, x)").await;
    for value in VALUES.iter().filter(|value| **value != "NULL") {
        let insert = format!("INSERT INTO t VALUES ({value}, 1)");
        world.undo(&[&insert]).await;
        world.behind(&insert).await;
        world.undo(&["UPDATE t SET x = 2"]).await;
        world.undo(&["DELETE FROM t"]).await;
        world.behind("DELETE FROM t").await;
    }
}

#[tokio::test]
async fn every_kind_of_table_is_restored() {
    for (schema, statements) in [
        // A composite key without a row number.
        (
            "CREATE TABLE t (a TEXT, b INTEGER, c, PRIMARY KEY (b, a)) WITHOUT ROWID; \
             INSERT INTO t VALUES ('x', 1, 2), ('y', 1, 3)",
            "UPDATE t SET c = c + 1; DELETE FROM t WHERE a = 'x'; INSERT INTO t VALUES ('x', 1, 9)",
        ),
        // Not the row number, in spite of its type.
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY DESC, c); INSERT INTO t VALUES (1, 2), (5, 3)",
            "DELETE FROM t WHERE id = 1; UPDATE t SET c = 0",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a ANY, b TEXT) STRICT; \
             INSERT INTO t VALUES (1, '2', 'x'), (2, 2, 'y')",
            "UPDATE t SET a = b, b = a; DELETE FROM t WHERE id = 2",
        ),
        // Generated columns are computed again.
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, v AS (a * 2), s AS (a + 1) STORED); \
             INSERT INTO t (id, a) VALUES (1, 10), (2, 20)",
            "UPDATE t SET a = a + 1; DELETE FROM t WHERE id = 2; INSERT INTO t (id, a) VALUES (3, 1)",
        ),
        // Generated keys, defaults, and names that must be quoted.
        (
            "CREATE TABLE \"or`der\" (\"select\" INTEGER PRIMARY KEY AUTOINCREMENT, \"a\"\"b\" \
             DEFAULT (1 + 1), \"from\" NOT NULL DEFAULT 'x'); INSERT INTO \"or`der\" DEFAULT VALUES",
            "INSERT INTO \"or`der\" DEFAULT VALUES; UPDATE `or``der` SET \"a\"\"b\" = 5, [from] = 6; \
             DELETE FROM \"or`der\" WHERE \"select\" = 1",
        ),
        // A unique value that wanders over the rows: only one order of undoing works.
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE); INSERT INTO t VALUES (3, 3), (2, 2), \
             (1, 1)",
            "UPDATE t SET u = u - 1; UPDATE t SET u = NULL WHERE id = 3; UPDATE t SET u = 2 WHERE \
             id = 1",
        ),
        // Rows of one statement that refer to each other.
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, up REFERENCES t (id)); INSERT INTO t VALUES \
             (1, 2), (2, 1), (3, NULL)",
            "UPDATE t SET up = NULL; DELETE FROM t WHERE id < 3; INSERT INTO t VALUES (8, 9), (9, 8)",
        ),
        // From another table.
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a); CREATE TABLE u (b); INSERT INTO u VALUES \
             (1), (2)",
            "INSERT INTO t SELECT b, b || 'x' FROM u WHERE b > 0 ORDER BY b DESC; UPDATE t SET a = \
             (SELECT max(b) FROM u)",
        ),
    ] {
        let world = World::new(schema).await;
        let statements: Vec<&str> = statements.split(';').map(str::trim).collect();
        world.undo(&statements).await;
        for statement in &statements {
            world.undo(&[statement]).await;
            world.behind(statement).await;
        }
    }
}

/// Rows that a statement names and does not change need no branch of their own.
#[tokio::test]
async fn what_changes_nothing_makes_no_branch() {
    let world = World::new("CREATE TABLE t (id INTEGER PRIMARY KEY, x)").await;
    let context = world.context();
    world.run(&context, &["UPDATE t SET x = 1", "DELETE FROM t", "SELECT * FROM t"]).await.unwrap();
    assert!(world.fake.registrations(context.xid()).is_empty());
    assert!(world.barrier().await.is_empty());
    assert!(context.done_branches().is_empty());
}

#[tokio::test]
async fn the_undo_log_can_be_read() {
    let world = World::new(
        "CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT, balance INTEGER); \
                    INSERT INTO account VALUES (1, 'A', 100), (2, 'B', 50)",
    )
    .await;
    let context = world.context();
    world
        .run(
            &context,
            &[
                "UPDATE account SET balance = balance - 30 WHERE id = 1",
                "INSERT INTO account VALUES (3, 'C', 30)",
                "DELETE FROM account WHERE id = 2",
            ],
        )
        .await
        .unwrap();
    let body = world.query("SELECT body, format, created_at FROM pactum_barrier").await;
    let fingerprint = body[0][0].as_text().unwrap().split('"').nth(9).unwrap().to_owned();
    let expected = format!(
        r#"{{"v":1,"tables":{{"account":{{"fingerprint":"{fingerprint}","columns":["id","owner","balance"],"key":["id"]}}}},"changes":[{{"table":"account","rows":[{{"updated":{{"before":[1,"A",100],"set":{{"balance":70}}}}}}]}},{{"table":"account","rows":[{{"inserted":[3,"C",30]}}]}},{{"table":"account","rows":[{{"deleted":[2,"B",50]}}]}}]}}"#
    );
    assert_eq!(body[0][0].as_text().unwrap(), expected);
    assert_eq!(body[0][1].to_string(), "1");
    assert_eq!(body[0][2].to_string(), super::world::NOW.to_string());
}

#[tokio::test]
async fn an_undo_log_over_the_limit_is_refused() {
    let options = super::world::options().undo_log_bytes_max(2000);
    let world = World::with("CREATE TABLE t (id INTEGER PRIMARY KEY, x)", options).await;
    world
        .behind(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) \
             INSERT INTO t SELECT i, zeroblob(100) FROM n",
        )
        .await;
    let before = world.dump().await;
    for statement in
        ["UPDATE t SET x = 1", "DELETE FROM t", "INSERT INTO t SELECT id + 100, x FROM t"]
    {
        let context = world.context();
        let error = world.run(&context, &[statement]).await.unwrap_err();
        assert!(error.to_string().contains("larger than 2000 bytes"), "{statement}: {error}");
        assert_eq!(world.dump().await, before);
    }
    // Below the limit in sum, above it together.
    let context = world.context();
    let half = "UPDATE t SET x = 2 WHERE id <= 5";
    world.run(&context, &[half]).await.unwrap();
    let error = world.run(&context, &[half, "UPDATE t SET x = 3 WHERE id > 10"]).await;
    assert!(error.is_err());
}

#[test]
fn the_page_lists_the_values_that_are_tried() {
    let declared =
        COLUMNS.map(|(_, declared)| if declared.is_empty() { "no type" } else { declared });
    let table = format!(
        "| columns declared as | values tried in each |\n|---|---|\n| {} | {} |\n",
        page::codes(&declared),
        page::codes(&VALUES)
    );
    page::check("at-sqlite.md", "types sqlite", |_| table);
}
