//! What the planner takes and what it refuses, as tables. `docs/at.md` lists the same.

use super::*;
use crate::db::Kind;

/// The plan, in one line.
fn show(sql: &str) -> String {
    let source = |source: &Source| {
        let condition = source.condition.as_ref().map_or("-", |part| part.sql.as_str());
        format!("{{{}}} where {{{condition}}}", source.from.sql)
    };
    match plan(sql, Kind::Sqlite) {
        Ok(Plan::Read) => "read".to_owned(),
        Ok(Plan::LockingRead(read)) => match &read.rows {
            RowsRead::Returned { .. } => {
                format!("lock {}: {}", read.table, read.returning("K").unwrap_or_default())
            }
            RowsRead::Matching(rows) => {
                format!("lock {} of {}: {}", read.table, source(rows), read.text.sql)
            }
        },
        Ok(Plan::Change(change)) => {
            let kind = match &change.kind {
                ChangeKind::Insert(_) => "insert".to_owned(),
                ChangeKind::Delete(_) => "delete".to_owned(),
                ChangeKind::Update(Update { assigned, rows }) => {
                    format!("update [{}] {}", assigned.join(","), source(rows))
                }
            };
            format!("{kind} {}: {}", change.table, change.returning("K"))
        }
        Err(refused) => format!("refused {refused}"),
    }
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (sql, expected) in cases {
        assert_eq!(show(sql), *expected, "{sql}");
    }
}

#[test]
fn reads_pass() {
    check(&[
        ("SELECT 1", "read"),
        ("  -- a comment\n select * from t;  ", "read"),
        ("SELECT a FROM t WHERE a IS NOT ? -- SQLite only", "read"),
        ("WITH x AS (SELECT 1) SELECT * FROM x", "read"),
        ("WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT n FROM x", "read"),
        ("VALUES (1), (2)", "read"),
        ("SELECT 'FOR UPDATE'", "read"),
        ("SELECT ';' AS x", "read"),
        ("EXPLAIN QUERY PLAN DELETE FROM t", "read"),
        ("PRAGMA table_info(t)", "read"),
        ("PRAGMA main.table_xinfo('t')", "read"),
        ("PRAGMA foreign_key_list(t)", "read"),
        ("PRAGMA page_count", "read"),
    ]);
}

#[test]
fn changes_are_cut_from_the_original_text() {
    check(&[
        (
            "UPDATE account SET balance = balance - ? WHERE id = ?",
            "update [balance] {account} where {id = ?2} account: \
             UPDATE account SET balance = balance - ?1 WHERE id = ?2 RETURNING K",
        ),
        (
            "UPDATE main.\"Acc\"\"ount\" AS a SET b = (SELECT max(x) FROM u WHERE y = ?), c = '?' \
             WHERE a.id IN (SELECT id FROM u WHERE z = ?) /* ? */ AND d = ? ; -- WHERE",
            "update [b,c] {main.\"Acc\"\"ount\" AS a} where {a.id IN (SELECT id FROM u WHERE z = ?2) \
             /* ? */ AND d = ?3} Acc\"ount: UPDATE main.\"Acc\"\"ount\" AS a SET b = (SELECT max(x) \
             FROM u WHERE y = ?1), c = '?' WHERE a.id IN (SELECT id FROM u WHERE z = ?2) /* ? */ AND \
             d = ?3 RETURNING K",
        ),
        (
            "update t set (a, B) = (1, 2) where c = ?2 returning a, b",
            "update [a,b] {t} where {c = ?2} t: \
             update t set (a, B) = (1, 2) where c = ?2 returning a, b, K",
        ),
        ("UPDATE t SET a = $1", "update [a] {t} where {-} t: UPDATE t SET a = $1 RETURNING K"),
        (
            "UPDATE t SET a = CASE WHEN b THEN 1 ELSE 2 END WHERE ü = 'ß''?' AND `x``y` = ?",
            "update [a] {t} where {ü = 'ß''?' AND `x``y` = ?1} t: UPDATE t SET a = CASE WHEN b THEN \
             1 ELSE 2 END WHERE ü = 'ß''?' AND `x``y` = ?1 RETURNING K",
        ),
        ("DELETE FROM t -- all of them\n", "delete t: DELETE FROM t RETURNING K"),
        (
            "DELETE FROM t AS x WHERE x.a = ?1 RETURNING x.a",
            "delete t: DELETE FROM t AS x WHERE x.a = ?1 RETURNING x.a, K",
        ),
        (
            "INSERT INTO t (a, b) VALUES (?, ?), (?, DEFAULT_VALUE)",
            "insert t: INSERT INTO t (a, b) VALUES (?1, ?2), (?3, DEFAULT_VALUE) RETURNING K",
        ),
        ("INSERT INTO t DEFAULT VALUES;", "insert t: INSERT INTO t DEFAULT VALUES RETURNING K"),
        (
            "INSERT INTO t SELECT a, b FROM u WHERE c > ? RETURNING *",
            "insert t: INSERT INTO t SELECT a, b FROM u WHERE c > ?1 RETURNING *, K",
        ),
        (
            "INSERT INTO [my table] VALUES (x'00ff')",
            "insert my table: INSERT INTO [my table] VALUES (x'00ff') RETURNING K",
        ),
    ]);
}

#[test]
fn locking_reads_lose_their_clause() {
    check(&[
        ("SELECT * FROM t WHERE id = ? FOR UPDATE", "lock t: SELECT *, K FROM t WHERE id = ?1"),
        (
            "select a, (select 1 from u) from t x order by a limit 1 for update;",
            "lock t: select a, (select 1 from u), K from t x order by a limit 1",
        ),
        (
            "SELECT sum(a) FROM t WHERE b = ? GROUP BY c FOR UPDATE",
            "lock t of {t} where {b = ?1}: SELECT sum(a) FROM t WHERE b = ?1 GROUP BY c",
        ),
        ("SELECT count(*) FROM t FOR UPDATE", "lock t of {t} where {-}: SELECT count(*) FROM t"),
        (
            "SELECT DISTINCT a FROM t ORDER BY a FOR UPDATE",
            "lock t of {t} where {-}: SELECT DISTINCT a FROM t ORDER BY a",
        ),
    ]);
    let read = plan_locking_read("SELECT a FROM t WHERE b = ?", Kind::Sqlite).unwrap();
    assert_eq!(read.returning("K").unwrap(), "SELECT a, K FROM t WHERE b = ?1");
}

#[test]
fn what_cannot_be_undone_is_refused() {
    for (sql, why) in [
        ("", "it holds no statement"),
        (" ; ", "it holds no statement"),
        ("UPDATE t SET a = 1; DELETE FROM t", "it holds more than one statement"),
        ("SELECT 1; SELECT 2", "it holds more than one statement"),
        ("SELECT 1 \0", "its text contains a NUL character"),
        ("UPDATE t SET a = ? WHERE b = ?2", "it mixes `?` and numbered parameters"),
        ("INSERT OR REPLACE INTO t VALUES (1)", "whether it inserts, changes or removes"),
        ("INSERT OR IGNORE INTO t VALUES (1)", "whether it inserts, changes or removes"),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "whether it inserts, changes"),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = 1",
            "whether it inserts, changes",
        ),
        ("REPLACE INTO t VALUES (1)", "whether it inserts, changes or removes"),
        ("UPDATE OR IGNORE t SET a = 1", "whether it inserts, changes or removes"),
        ("UPDATE t SET a = u.a FROM u WHERE u.id = t.id", "the rows that it joins"),
        ("DELETE FROM t USING u WHERE u.id = t.id", "the rows that it joins"),
        ("UPDATE t SET a = 1 LIMIT 1", "it has a clause that is not known here"),
        ("UPDATE other.t SET a = 1", "its table is not in the main database"),
        ("DELETE FROM temp.t", "its table is not in the main database"),
        ("WITH x AS (SELECT 1) DELETE FROM t", "a part of it changes rows"),
        ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", "a part of it changes rows"),
        ("CREATE TABLE u (a)", "a change of the schema has no before image"),
        ("DROP TABLE t", "a change of the schema has no before image"),
        ("ALTER TABLE t ADD COLUMN b", "a change of the schema has no before image"),
        ("TRUNCATE TABLE t", "a change of the schema has no before image"),
        ("VACUUM", "it works on the whole database"),
        ("ANALYZE", "it works on the whole database"),
        ("ATTACH 'x' AS y", "another database's rows are not this resource's"),
        ("DETACH y", "another database's rows are not this resource's"),
        ("BEGIN", "the agent must know where its local transaction begins"),
        ("COMMIT", "the agent must know where its local transaction begins"),
        ("END", "the agent must know where its local transaction begins"),
        ("ROLLBACK", "the agent must know where its local transaction begins"),
        ("ROLLBACK TO x", "the agent must know where its local transaction begins"),
        ("SAVEPOINT x", "as text it would leave the undo log and the database out of step"),
        ("RELEASE x", "as text it would leave the undo log and the database out of step"),
        ("PRAGMA foreign_keys = OFF", "it may change how the connection"),
        ("PRAGMA foreign_keys(0)", "it may change how the connection"),
        ("PRAGMA encoding('UTF-16')", "it may change how the connection"),
        ("PRAGMA schema_version = 7", "it may change how the connection"),
        ("PRAGMA journal_mode", "it may change how the connection"),
        ("CALL f()", "a statement that begins with `CALL` is not known here"),
        ("MERGE INTO t USING u ON 1 WHEN MATCHED THEN DELETE", "begins with `MERGE`"),
        ("UPDATE t SET", "it cannot be parsed"),
        ("DELETE t", "it cannot be parsed"),
        ("UPDATE t SET a = 1 WHERE b IS NOT ?", "it cannot be parsed"),
        ("SELECT 'unterminated", "it cannot be read"),
        ("SELECT * FROM t FOR UPDATE SKIP LOCKED", "only a plain FOR UPDATE is known here"),
        ("SELECT * FROM t FOR SHARE", "only a plain FOR UPDATE is known here"),
        ("SELECT * FROM t, u FOR UPDATE", "it is not on one table"),
        ("SELECT * FROM t JOIN u ON 1 FOR UPDATE", "it is not on one plain table"),
        ("SELECT 1 FOR UPDATE", "it cannot be parsed"),
        ("SELECT sum(a) FROM t LIMIT 1 FOR UPDATE", "it limits rows that are not the table's"),
        ("SELECT a FROM t UNION SELECT a FROM u FOR UPDATE", "it is not one SELECT"),
        ("WITH x AS (SELECT 1) SELECT * FROM x FOR UPDATE", "its rows cannot be told"),
    ] {
        let refused = match plan(sql, Kind::Sqlite) {
            Err(refused) => refused,
            Ok(plan) => panic!("{sql:?} is not refused: {plan:?}"),
        };
        assert!(refused.to_string().contains(why), "{sql:?}: {refused}");
        assert!(!refused.instead.is_empty());
    }
}
