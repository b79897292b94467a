//! SQLite: plans of statements.

use super::*;

const KIND: Kind = Kind::Sqlite;

const READS: &[&str] = &[
    "SELECT 1",
    "SELECT a FROM t WHERE a IS NOT ? -- SQLite only",
    "WITH x AS (SELECT 1) SELECT * FROM x",
    "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT n FROM x",
    "VALUES (1), (2)",
    "SELECT 'FOR UPDATE'",
    "SELECT ';' AS x",
    "EXPLAIN QUERY PLAN DELETE FROM t",
    "PRAGMA table_info(t)",
    "PRAGMA main.table_xinfo('t')",
    "PRAGMA foreign_key_list(t)",
    "PRAGMA page_count",
    "SELECT a FROM t WHERE b = ?",
    "SELECT a, K FROM t WHERE b = ?1",
    "SELECT \"a--b\", 'c''--', `d--`, [e--] FROM t",
    "SELECT 1 -- it's ; DELETE FROM t",
    "WITH x AS (SELECT 1) VALUES (1)",
];

#[test]
fn reads_pass() {
    check_reads(KIND, READS);
}

const CHANGES: &[(&str, &str)] = &[
    (
        "UPDATE account SET balance = balance - ? WHERE id = ?",
        "account as account: update [balance] {account} set {balance = balance - ?1 #1} \
                 where {id = ?2 #1}",
    ),
    (
        "UPDATE main.\"Acc\"\"ount\" AS a SET b = (SELECT max(x) FROM u WHERE y = ?), c \
                 = '?' WHERE a.id IN (SELECT id FROM u WHERE z = ?) /* ? */ AND d = ? ; -- WHERE",
        "Acc\"ount as a: update [b,c] {main.\"Acc\"\"ount\" AS a} set {b = (SELECT \
                 max(x) FROM u WHERE y = ?1), c = '?' #1} where {a.id IN (SELECT id FROM u WHERE \
                 z = ?2) /* ? */ AND d = ?3 #2}",
    ),
    (
        "update t set (a, B) = (1, 2) where c = ?2 returning a, b",
        "t as t: update [a,B] {t} set {(a, B) = (1, 2)} where {c = ?2} returning {a, b}",
    ),
    ("UPDATE t SET a = $1", "t as t: update [a] {t} set {a = $1}"),
    (
        "UPDATE t SET a = CASE WHEN b THEN 1 ELSE 2 END WHERE ü = 'ß''?' AND `x``y` = ?",
        "t as t: update [a] {t} set {a = CASE WHEN b THEN 1 ELSE 2 END} where {ü = \
                 'ß''?' AND `x``y` = ?1 #1}",
    ),
    (
        "DELETE FROM t AS x WHERE x.a = ?1 RETURNING x.a",
        "t as x: delete {t AS x} where {x.a = ?1} returning {x.a}",
    ),
    (
        "INSERT INTO t (a, b) VALUES (?, ?), (?, DEFAULT_VALUE)",
        "t as t: insert [a,b] values {?1 #1 | ?2 #1 // ?3 #1 | DEFAULT_VALUE}",
    ),
    ("INSERT INTO t DEFAULT VALUES;", "t as t: insert [] defaults"),
    (
        "INSERT INTO t SELECT a, b FROM u WHERE c > ? RETURNING *",
        "t as t: insert [] query {SELECT a, b FROM u WHERE c > ?1 #1} returning {*}",
    ),
    (
        "INSERT INTO [my table] VALUES (x'00ff')",
        "my table as [my table]: insert [] values {x'00ff'}",
    ),
    ("INSERT OR REPLACE INTO t VALUES (1)", "t as t: insert [] values {1} or replace"),
    ("INSERT OR IGNORE INTO t VALUES (1)", "t as t: insert [] values {1} or skip"),
    ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "t as t: insert [] values {1} or skip"),
    (
        "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = 1",
        "t as t: insert [] values {1} or update [a] on (id)",
    ),
    ("REPLACE INTO t VALUES (1)", "t as t: insert [] values {1} or replace"),
    (
        "UPDATE t SET a = u.a FROM u WHERE u.id = t.id",
        "t as t: update [a] {t} set {a = u.a} joined {u} where {u.id = t.id}",
    ),
    ("WITH x AS (SELECT 1) DELETE FROM t", "t as t: delete {t} with {WITH x AS (SELECT 1)}"),
    (
        "UPDATE t SET a = ? FROM u LEFT JOIN v ON u.i = v.i, w WHERE u.id = t.id AND u.x \
                 = ?",
        "t as t: update [a] {t} set {a = ?1 #1} joined {u LEFT JOIN v ON u.i = v.i, w} \
                 where {u.id = t.id AND u.x = ?2 #1}",
    ),
    (
        "UPDATE t SET a = b IS DISTINCT FROM c FROM u WHERE u.id = t.id",
        "t as t: update [a] {t} set {a = b IS DISTINCT FROM c} joined {u} where {u.id = \
                 t.id}",
    ),
    (
        "WITH x AS (SELECT ? AS a) UPDATE t SET b = ? FROM x WHERE t.a = x.a",
        "t as t: update [b] {t} with {WITH x AS (SELECT ?1 AS a) #1} set {b = ?2 #1} \
                 joined {x} where {t.a = x.a}",
    ),
    (
        "INSERT INTO main.t AS o (a, \"B\") VALUES (?, ?), (abs(1,?), x'00') ON CONFLICT \
                 (a) DO UPDATE SET b = excluded.b, (c, d) = (?, 2) WHERE o.b < ? RETURNING *",
        "t as o: insert [a,B] values {?1 #1 | ?2 #1 // abs(1,?3) #1 | x'00'} or update \
                 [b,c,d] on (a) then #2 returning {*}",
    ),
    (
        "INSERT INTO t VALUES (1) ON CONFLICT (lower(a)) WHERE b > 1 DO NOTHING",
        "t as t: insert [] values {1} or skip",
    ),
    (
        "INSERT OR REPLACE INTO t SELECT * FROM u WHERE true",
        "t as t: insert [] query {SELECT * FROM u WHERE true} or replace",
    ),
    ("REPLACE INTO t(a) VALUES (?)", "t as t: insert [a] values {?1 #1} or replace"),
    (
        "INSERT INTO t SELECT * FROM u WHERE true ON CONFLICT DO NOTHING",
        "t as t: insert [] query {SELECT * FROM u WHERE true} or skip",
    ),
    (
        "INSERT INTO t (a) WITH x AS (SELECT 1) SELECT * FROM x",
        "t as t: insert [a] query {WITH x AS (SELECT 1) SELECT * FROM x}",
    ),
    (
        "INSERT INTO t VALUES (1), (2) ORDER BY 1",
        "t as t: insert [] query {VALUES (1), (2) ORDER BY 1}",
    ),
    ("INSERT INTO t VALUES (DEFAULT)", "t as t: insert [] values {DEFAULT}"),
    (
        "WITH x AS (SELECT 1) REPLACE INTO t SELECT * FROM x",
        "t as t: insert [] with {WITH x AS (SELECT 1)} query {SELECT * FROM x} or replace",
    ),
];

#[test]
fn changes_are_cut_from_the_original_text() {
    check(KIND, CHANGES);
}

const LOCKING_READS: &[(&str, &str)] = &[
    (
        "SELECT * FROM t WHERE id = ? FOR UPDATE",
        "lock t as t by FOR UPDATE: SELECT *, K FROM t WHERE id = ?1",
    ),
    (
        "select a, (select 1 from u) from t x order by a limit 1 for update;",
        "lock t as x by for update: select a, (select 1 from u), K from t x order by a \
                 limit 1",
    ),
    (
        "SELECT sum(a) FROM t WHERE b = ? GROUP BY c FOR UPDATE",
        "lock t as t of {t} where {b = ?1 #1} by FOR UPDATE: SELECT sum(a) FROM t WHERE \
                 b = ?1 GROUP BY c",
    ),
    (
        "SELECT count(*) FROM t FOR UPDATE",
        "lock t as t of {t} by FOR UPDATE: SELECT count(*) FROM t",
    ),
    (
        "SELECT DISTINCT a FROM t ORDER BY a FOR UPDATE",
        "lock t as t of {t} by FOR UPDATE: SELECT DISTINCT a FROM t ORDER BY a",
    ),
];

#[test]
fn locking_reads_lose_their_clause() {
    check(KIND, LOCKING_READS);
}

const REFUSED: &[(&str, &str)] = &[
    ("UPDATE t SET a = 1; DELETE FROM t", "it holds more than one statement"),
    ("SELECT 1; SELECT 2", "it holds more than one statement"),
    ("UPDATE t SET a = ? WHERE b = ?2", "it mixes `?` and numbered parameters"),
    (
        "UPDATE OR IGNORE t SET a = 1",
        "it leaves out or removes rows that are in the way of its own",
    ),
    ("DELETE FROM t USING u WHERE u.id = t.id", "SQLite has no DELETE … USING"),
    ("UPDATE t SET a = 1 LIMIT 1", "`LIMIT` is not known in this place"),
    ("UPDATE other.t SET a = 1", "its table is not in the main database"),
    ("DELETE FROM temp.t", "its table is not in the main database"),
    ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", "a part of it changes rows"),
    ("CREATE TABLE u (a)", "a change of the schema has no before image"),
    ("DROP TABLE t", "a change of the schema has no before image"),
    ("ALTER TABLE t ADD COLUMN b", "a change of the schema has no before image"),
    ("TRUNCATE TABLE t", "it removes rows without naming them, and so has no before image"),
    ("VACUUM", "it works on the whole database or a whole table"),
    ("ANALYZE", "it works on the whole database or a whole table"),
    ("ATTACH 'x' AS y", "another database's rows are not this resource's"),
    ("DETACH y", "another database's rows are not this resource's"),
    ("BEGIN", "the agent must know where its local transaction begins and ends"),
    ("COMMIT", "the agent must know where its local transaction begins and ends"),
    ("END", "the agent must know where its local transaction begins and ends"),
    ("ROLLBACK", "the agent must know where its local transaction begins and ends"),
    ("ROLLBACK TO x", "the agent must know where its local transaction begins and ends"),
    ("SAVEPOINT x", "as text it would leave the undo log and the database out of step"),
    ("RELEASE x", "as text it would leave the undo log and the database out of step"),
    ("PRAGMA foreign_keys = OFF", "it may change how the connection or the database behaves"),
    ("PRAGMA foreign_keys(0)", "it may change how the connection or the database behaves"),
    ("PRAGMA encoding('UTF-16')", "it may change how the connection or the database behaves"),
    ("PRAGMA schema_version = 7", "it may change how the connection or the database behaves"),
    ("PRAGMA journal_mode", "it may change how the connection or the database behaves"),
    ("CALL f()", "what it changes cannot be known from its text"),
    (
        "MERGE INTO t USING u ON 1 WHEN MATCHED THEN DELETE",
        "for each row it decides anew whether to insert, change or remove",
    ),
    ("UPDATE t SET", "it cannot be parsed"),
    ("DELETE t", "it cannot be parsed"),
    ("UPDATE t SET a = 1 WHERE b IS NOT ?", "it cannot be parsed"),
    ("SELECT 'unterminated", "it cannot be read: a string or a quoted name is not closed"),
    (
        "SELECT * FROM t FOR UPDATE SKIP LOCKED",
        "its locking clause is not known here, or is not its last clause",
    ),
    (
        "SELECT * FROM t FOR SHARE",
        "it lets others read on, and global locks of readers are not kept",
    ),
    ("SELECT * FROM t, u FOR UPDATE", "it is not on one table"),
    ("SELECT * FROM t JOIN u ON 1 FOR UPDATE", "it is not on one plain table"),
    ("SELECT 1 FOR UPDATE", "it is not on one table"),
    ("SELECT sum(a) FROM t LIMIT 1 FOR UPDATE", "it limits rows that are not the table's"),
    ("SELECT a FROM t UNION SELECT a FROM u FOR UPDATE", "it is not one SELECT, or has more to it"),
    ("WITH x AS (SELECT 1) SELECT * FROM x FOR UPDATE", "it is not one SELECT, or has more to it"),
    (
        "UPDATE t SET a = 1 FROM u RIGHT JOIN v ON u.i = v.i WHERE u.id = t.id",
        "its FROM has an outer join that would make rows without the changed table",
    ),
    (
        "WITH T AS (SELECT 1) DELETE FROM t",
        "a query in its WITH has the name of the table that it changes",
    ),
    (
        "INSERT INTO t VALUES (1) ON CONFLICT (lower(a)) DO UPDATE SET b = 1",
        "its conflict target is an expression or a part of the table, for which the rows \
                 in the way cannot be looked up",
    ),
    (
        "INSERT INTO t VALUES (1) ON CONFLICT (a) DO NOTHING ON CONFLICT DO UPDATE SET b \
                 = 1",
        "it says more than once what to do about rows that are in the way",
    ),
    (
        "INSERT OR ABORT INTO t VALUES (1)",
        "it ends the statement, or the local transaction, in the middle of it",
    ),
    (
        "SELECT load_extension('x')",
        "of its function `load_extension`: an extension may change anything",
    ),
    ("DELETE FROM t INDEXED BY i WHERE a = 1", "`BY` is not known in this place"),
    ("UPDATE 't' SET 'a' = ? WHERE [b c] = ?", "its table's name is not understood"),
    ("UPDATE t SET t.a = 1", "it qualifies a column that it assigns"),
    (
        "INSERT OR IGNORE INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 1",
        "it says in two ways what to do about rows that are in the way",
    ),
    ("SET x = 1", "settings change what later statements mean and how values are captured"),
    ("SHOW TABLES", "this database has no such statement"),
    ("TABLE t", "this database has no such statement"),
];

#[test]
fn what_cannot_be_undone_is_refused() {
    check_refused(KIND, REFUSED);
}

#[test]
fn a_locking_read_needs_no_clause_where_it_is_asked_for() {
    let read = plan_locking_read("SELECT a FROM t WHERE b = ?", KIND).unwrap();
    assert_eq!(read.returning("K").unwrap(), "SELECT a, K FROM t WHERE b = ?1");
    assert_eq!(read.locking, "");
}
