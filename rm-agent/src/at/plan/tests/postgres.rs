//! PostgreSQL: plans of statements.

use super::*;

const KIND: Kind = Kind::Postgres;

const READS: &[&str] = &[
    "SELECT nextval('s'), j ->> 'a', j ? 'b', '{}'::jsonb @> $1",
    "TABLE t",
    "SHOW search_path",
    "EXPLAIN DELETE FROM t",
    "EXPLAIN (ANALYZE, BUFFERS) SELECT 1",
    "SELECT U&'d\\0061t' || E'a\\'b' || $$x;'y$$ || $a$ $$ $a$, U&\"x\" FROM t",
    "SELECT a FROM t WHERE x = ANY($1) AND y[1] = 2",
    "VALUES (1), (2)",
    "SELECT a FROM t WHERE b = 'x\\' AND c = '; DELETE FROM t --'",
    "SELECT /* a /* nested */ still; a comment */ 1",
    "SELECT 1 --no blank needed; DELETE FROM t",
    "WITH x AS (SELECT 1) SELECT * FROM x",
    "WITH x AS MATERIALIZED (SELECT 1) SELECT * FROM x",
];

#[test]
fn reads_pass() {
    check_reads(KIND, READS);
}

const CHANGES: &[(&str, &str)] = &[
    (
        "UPDATE account SET balance = balance - $1 WHERE id = $2",
        "\"account\" as account: update [balance] {account} set {balance = balance - $1} \
                 where {id = $2}",
    ),
    (
        "UPDATE ONLY public.\"Acc\"\"ount\" AS a SET (b, C) = ($1, $2), d.e = 3 FROM u \
                 JOIN v USING (i) WHERE a.id = u.id RETURNING a.b, *",
        "\"public\".\"Acc\"\"ount\" as a: update [b,c,d] {ONLY public.\"Acc\"\"ount\" AS \
                 a} set {(b, C) = ($1, $2), d.e = 3} joined {u JOIN v USING (i)} where {a.id = \
                 u.id} returning {a.b, *}",
    ),
    (
        "UPDATE t SET a = b IS DISTINCT FROM c FROM u WHERE u.id = t.id",
        "\"t\" as t: update [a] {t} set {a = b IS DISTINCT FROM c} joined {u} where \
                 {u.id = t.id}",
    ),
    (
        "DELETE FROM Public.T x USING u, LATERAL (SELECT 1) l WHERE x.id = u.id \
                 RETURNING x.*",
        "\"public\".\"t\" as x: delete {Public.T x} joined {u, LATERAL (SELECT 1) l} \
                 where {x.id = u.id} returning {x.*}",
    ),
    (
        "WITH x AS (SELECT 1 AS i) DELETE FROM t USING x WHERE t.i = x.i",
        "\"t\" as t: delete {t} with {WITH x AS (SELECT 1 AS i)} joined {x} where {t.i = \
                 x.i}",
    ),
    (
        "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        "\"t\" as t: insert [] with {WITH x AS (SELECT 1)} query {SELECT * FROM x}",
    ),
    (
        "INSERT INTO t (a, b) OVERRIDING SYSTEM VALUE VALUES ($1, DEFAULT), (ARRAY[1,2], \
                 $2::text) ON CONFLICT (a, \"B\") DO UPDATE SET b = excluded.b WHERE t.b <> $3 \
                 RETURNING id",
        "\"t\" as t: insert [a,b] values {$1 | DEFAULT // ARRAY[1,2] | $2::text} or \
                 update [b] on (a,B) returning {id}",
    ),
    ("INSERT INTO t DEFAULT VALUES RETURNING *", "\"t\" as t: insert [] defaults returning {*}"),
    (
        "INSERT INTO t AS x VALUES (1) ON CONFLICT ON CONSTRAINT t_pkey DO UPDATE SET a \
                 = x.a + 1",
        "\"t\" as x: insert [] values {1} or update [a] on (constraint t_pkey)",
    ),
    ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "\"t\" as t: insert [] values {1} or skip"),
    (
        "INSERT INTO t VALUES (1) ON CONFLICT (a) WHERE b IS NULL DO NOTHING",
        "\"t\" as t: insert [] values {1} or skip",
    ),
    ("INSERT INTO t TABLE u", "\"t\" as t: insert [] query {TABLE u}"),
    ("INSERT INTO t (SELECT 1)", "\"t\" as t: insert [] query {(SELECT 1)}"),
];

#[test]
fn changes_are_cut_from_the_original_text() {
    check(KIND, CHANGES);
}

const LOCKING_READS: &[(&str, &str)] = &[
    (
        "SELECT * FROM t WHERE id = $1 FOR UPDATE",
        "lock \"t\" as t by FOR UPDATE: SELECT *, K FROM t WHERE id = $1",
    ),
    (
        "SELECT a.x, b FROM s.t AS a WHERE id = $1 ORDER BY 1 LIMIT 5 FOR UPDATE OF a \
                 SKIP LOCKED",
        "lock \"s\".\"t\" as a by FOR UPDATE OF a SKIP LOCKED: SELECT a.x, b, K FROM s.t \
                 AS a WHERE id = $1 ORDER BY 1 LIMIT 5",
    ),
    (
        "SELECT * FROM t FOR NO KEY UPDATE NOWAIT",
        "lock \"t\" as t by FOR NO KEY UPDATE NOWAIT: SELECT *, K FROM t",
    ),
    (
        "SELECT a IS DISTINCT FROM b FROM t FOR UPDATE",
        "lock \"t\" as t by FOR UPDATE: SELECT a IS DISTINCT FROM b, K FROM t",
    ),
    (
        "SELECT count(*) FROM t WHERE a > $1 FOR UPDATE",
        "lock \"t\" as t of {t} where {a > $1} by FOR UPDATE: SELECT count(*) FROM t \
                 WHERE a > $1",
    ),
    (
        "SELECT DISTINCT a FROM t FOR UPDATE",
        "lock \"t\" as t of {t} by FOR UPDATE: SELECT DISTINCT a FROM t",
    ),
];

#[test]
fn locking_reads_lose_their_clause() {
    check(KIND, LOCKING_READS);
}

const REFUSED: &[(&str, &str)] = &[
    ("UPDATE db.public.t SET a = 1", "its table's name has more parts than a schema and a table"),
    ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", "a part of it changes rows"),
    (
        "WITH x AS (DELETE FROM t RETURNING *) INSERT INTO u SELECT * FROM x",
        "a part of it changes rows",
    ),
    (
        "INSERT INTO t (a) OVERRIDING USER VALUE VALUES (1)",
        "the values that it inserts are not those that it holds",
    ),
    (
        "INSERT INTO t VALUES (1) ON CONFLICT (lower(a)) DO UPDATE SET b = 1",
        "its conflict target is an expression or a part of the table, for which the rows \
                 in the way cannot be looked up",
    ),
    ("INSERT INTO t (a.b) VALUES (1)", "it fills a field of a column, and not the column"),
    ("REPLACE INTO t VALUES (1)", "this database has no such statement"),
    (
        "SELECT * FROM t FOR UPDATE LIMIT 1",
        "its locking clause is not known here, or is not its last clause",
    ),
    (
        "SELECT count(*) FROM t FOR UPDATE NOWAIT",
        "it waits for no lock, and so its groups may be of other rows",
    ),
    (
        "SELECT * FROM t FOR SHARE",
        "it lets others read on, and global locks of readers are not kept",
    ),
    (
        "SELECT * FROM t FOR KEY SHARE",
        "it lets others read on, and global locks of readers are not kept",
    ),
    (
        "SELECT * FROM (SELECT * FROM t FOR UPDATE) x",
        "a part of it asks for locks, which are not checked there",
    ),
    ("SELECT * INTO x FROM t", "SELECT … INTO makes a table or sets variables"),
    (
        "SELECT 1 FROM pg_catalog.set_config('a', 'b', false)",
        "of its function `set_config`: it changes a setting, and so what later \
                 statements mean",
    ),
    (
        "SELECT pg_catalog.SET_CONFIG('a', 'b', false)",
        "of its function `set_config`: it changes a setting, and so what later \
                 statements mean",
    ),
    (
        "SELECT lo_import('x')",
        "of its function `lo_import`: large objects are rows that have no image",
    ),
    ("EXPLAIN ANALYZE DELETE FROM t", "a part of it changes rows"),
    (
        "EXPLAIN (ANALYZE false) WITH x AS (DELETE FROM t RETURNING *) SELECT 1",
        "a part of it changes rows",
    ),
    ("DO $$ BEGIN END $$", "what it changes cannot be known from its text"),
    ("COPY t FROM STDIN", "its rows pass the agent by"),
    (
        "MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE",
        "for each row it decides anew whether to insert, change or remove",
    ),
    ("UPDATE t SET a[1] = 2", "it cannot be parsed"),
    ("UPDATE t SET a = 1 WHERE CURRENT OF c", "`OF` is not known in this place"),
    ("UPDATE t * SET a = 1", "it cannot be parsed"),
    (
        "SELECT pg_try_advisory_lock(1)",
        "the session's lock would stay when the local transaction has ended",
    ),
    ("SELECT query_to_xml('DELETE FROM t', true, true, '')", "runs SQL that is given as a text"),
    ("SELECT ts_rewrite('a', 'SELECT pay(7)')", "runs SQL that is given as a text"),
    (
        "SELECT dblink_exec('DELETE FROM t')",
        "of its function `dblink_exec`: it reaches another database, which no rollback \
                 does",
    ),
    (
        "SELECT pg_notify('a', 'b')",
        "of its function `pg_notify`: the message would go out with the local commit",
    ),
    ("NOTIFY a", "it takes effect with the local commit, before the global transaction is decided"),
    ("LISTEN a", "it takes effect with the local commit, before the global transaction is decided"),
    (
        "SET search_path = x",
        "settings change what later statements mean and how values are captured",
    ),
    ("RESET ALL", "settings change what later statements mean and how values are captured"),
    ("DISCARD ALL", "settings change what later statements mean and how values are captured"),
    ("CREATE TABLE x (a int)", "a change of the schema has no before image"),
    ("TRUNCATE t", "it removes rows without naming them, and so has no before image"),
    ("LOCK TABLE t", "it may end the local transaction, and global locks do not know of it"),
    ("CALL p()", "what it changes cannot be known from its text"),
    ("PREPARE p AS DELETE FROM t", "what it runs cannot be known from its text"),
    ("EXECUTE p", "what it runs cannot be known from its text"),
    ("VACUUM t", "it works on the whole database or a whole table"),
    ("BEGIN", "the agent must know where its local transaction begins and ends"),
    ("SAVEPOINT x", "as text it would leave the undo log and the database out of step"),
    (
        "DECLARE c CURSOR FOR SELECT 1",
        "what it reads or positions cannot be followed from its text",
    ),
    ("REFRESH MATERIALIZED VIEW v", "a change of the schema has no before image"),
    ("PRAGMA x", "this database has no such statement"),
    ("DELETE FROM t; DELETE FROM u", "it holds more than one statement"),
    ("UPDATE t SET a = ? WHERE b = $1", "it cannot be parsed"),
    ("UPDATE a JOIN b ON true SET x = 1", "it is not on one plain table"),
    ("DELETE FROM t WHERE a = 1 LIMIT 1", "`LIMIT` is not known in this place"),
    ("INSERT INTO t VALUES ($1) ON DUPLICATE KEY UPDATE a = 1", "`ON` is not known in this place"),
    ("INSERT IGNORE INTO t VALUES (1)", "it cannot be parsed"),
    (
        "UPDATE t SET a = (SELECT 1 FROM u FOR UPDATE)",
        "a part of it asks for locks, which are not checked there",
    ),
    ("SELECT * FROM t, u FOR UPDATE", "it is not on one table"),
    ("SELECT * FROM t UNION SELECT * FROM u FOR UPDATE", "it is not one SELECT, or has more to it"),
    (
        "WITH t AS (SELECT 1) UPDATE t SET a = 1",
        "a query in its WITH has the name of the table that it changes",
    ),
];

#[test]
fn what_cannot_be_undone_is_refused() {
    check_refused(KIND, REFUSED);
}

#[test]
fn a_table_without_its_children_is_not_another_table() {
    let refused = show("SELECT * FROM ONLY t FOR UPDATE", KIND);
    assert!(refused.contains("name is not understood"), "{refused}");
}
