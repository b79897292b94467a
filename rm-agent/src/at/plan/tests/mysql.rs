//! MySQL and MariaDB: plans of statements.

use super::*;

const KIND: Kind = Kind::Mysql;

const READS: &[&str] = &[
    "SELECT * FROM t WHERE a = 'it\\'s' -- x",
    "SELECT 1 --1",
    "SELECT 1 # comment ; DELETE FROM t",
    "SELECT /*+ SET_VAR(sql_mode='') */ 2",
    "EXPLAIN UPDATE t SET a = 1",
    "EXPLAIN ANALYZE SELECT 1",
    "DESC t",
    "SHOW TABLES",
    "SELECT \"a\\\"b;\", `x``y` FROM t",
    "SELECT 5--1, 'x' FROM t",
    "VALUES ROW(1)",
    "TABLE t",
    "WITH x AS (SELECT 1) SELECT * FROM x",
];

#[test]
fn reads_pass() {
    check_reads(KIND, READS);
}

const CHANGES: &[(&str, &str)] = &[
    (
        "UPDATE account SET balance = balance - ? WHERE id = ? ORDER BY id DESC LIMIT ?",
        "account as account: update [balance] {account} set {balance = balance - ? #1} \
                 where {id = ? #1} order {ORDER BY id DESC} limit {LIMIT ? #1}",
    ),
    (
        "UPDATE `db`.`t` AS x SET x.a = ?, `B` = 2 WHERE x.id = ?",
        "`db`.`t` as x: update [a,B] {`db`.`t` AS x} set {x.a = ?, `B` = 2 #1} where \
                 {x.id = ? #1}",
    ),
    (
        "UPDATE a JOIN b ON a.id = b.id AND b.y = ? SET a.x = ?, a.z = b.z WHERE b.k = ?",
        "a as a: update [x,z] {a JOIN b ON a.id = b.id AND b.y = ? #1} set {a.x = ?, a.z \
                 = b.z #1} where {b.k = ? #1}",
    ),
    (
        "UPDATE a LEFT JOIN b ON a.id = b.id SET a.x = 1",
        "a as a: update [x] {a LEFT JOIN b ON a.id = b.id} set {a.x = 1}",
    ),
    (
        "UPDATE a, b SET b.x = 1 WHERE a.id = b.id",
        "b as b: update [x] {a, b} set {b.x = 1} where {a.id = b.id}",
    ),
    (
        "DELETE FROM t WHERE a = ? ORDER BY b LIMIT 3",
        "t as t: delete {t} where {a = ? #1} order {ORDER BY b} limit {LIMIT 3}",
    ),
    (
        "DELETE FROM t WHERE a = ? RETURNING id, ?",
        "t as t: delete {t} where {a = ? #1} returning {id, ? #1}",
    ),
    (
        "DELETE x FROM account AS x JOIN b ON x.id = b.id WHERE b.k = ?",
        "account as x: delete {account AS x JOIN b ON x.id = b.id} where {b.k = ? #1}",
    ),
    (
        "DELETE x.* FROM account AS x JOIN b ON x.id = b.id WHERE b.k = ?",
        "account as x: delete {account AS x JOIN b ON x.id = b.id} where {b.k = ? #1}",
    ),
    (
        "DELETE FROM x USING account AS x JOIN b ON x.id = b.id WHERE b.k = ?",
        "account as x: delete {account AS x JOIN b ON x.id = b.id} where {b.k = ? #1}",
    ),
    (
        "INSERT INTO t (a, b) VALUES (?, DEFAULT), (1, ?) ON DUPLICATE KEY UPDATE b = \
                 VALUES(b) + ?, t.c = ?",
        "t as t: insert [a,b] values {? #1 | DEFAULT // 1 | ? #1} or update [b,c] on \
                 (any) then #2",
    ),
    (
        "INSERT t SET a = ?, b = DEFAULT, c = ?",
        "t as t: insert [a,b,c] values {? #1 | DEFAULT | ? #1}",
    ),
    ("INSERT IGNORE INTO t VALUES (1)", "t as t: insert [] values {1} or skip"),
    ("INSERT INTO t () VALUES ()", "t as t: insert [] defaults"),
    ("INSERT INTO t VALUES ROW(1, 2)", "t as t: insert [] values {1 | 2}"),
    ("INSERT INTO t VALUE (1)", "t as t: insert [] values {1}"),
    (
        "INSERT INTO t VALUES (?) AS new ON DUPLICATE KEY UPDATE a = new.a",
        "t as t: insert [] values {? #1} or update [a] on (any)",
    ),
    (
        "INSERT INTO t VALUES (?, ?) AS new(m, n) ON DUPLICATE KEY UPDATE a = m + n",
        "t as t: insert [] values {? #1 | ? #1} or update [a] on (any)",
    ),
    (
        "INSERT INTO t SELECT * FROM u WHERE a = ? ON DUPLICATE KEY UPDATE t.b = u.b",
        "t as t: insert [] query {SELECT * FROM u WHERE a = ? #1} or update [b] on (any)",
    ),
    ("REPLACE t VALUES (1, 2)", "t as t: insert [] values {1 | 2} or replace"),
    ("REPLACE INTO t SET a = 1", "t as t: insert [a] values {1} or replace"),
    ("REPLACE INTO t (a) SELECT 1", "t as t: insert [a] query {SELECT 1} or replace"),
    ("INSERT INTO t VALUES (1) RETURNING *", "t as t: insert [] values {1} returning {*}"),
    (
        "WITH x AS (SELECT ? AS id) UPDATE t JOIN x ON t.id = x.id SET t.a = ?",
        "t as t: update [a] {t JOIN x ON t.id = x.id} with {WITH x AS (SELECT ? AS id) \
                 #1} set {t.a = ? #1}",
    ),
    (
        "WITH x AS (SELECT ? AS id) DELETE t FROM t JOIN x ON t.id = x.id",
        "t as t: delete {t JOIN x ON t.id = x.id} with {WITH x AS (SELECT ? AS id) #1}",
    ),
    ("DELETE FROM db.t AS x", "`db`.`t` as x: delete {db.t AS x}"),
    (
        "DELETE db.t FROM db.t JOIN u ON u.id = t.id",
        "`db`.`t` as db.t: delete {db.t JOIN u ON u.id = t.id}",
    ),
    (
        "UPDATE t SET a = 1 WHERE MATCH(b) AGAINST (? IN BOOLEAN MODE)",
        "t as t: update [a] {t} set {a = 1} where {MATCH(b) AGAINST (? IN BOOLEAN MODE) \
                 #1}",
    ),
    ("INSERT INTO t VALUES (:a)", "t as t: insert [] values {:a}"),
    (
        "UPDATE a RIGHT JOIN b USING (i) SET b.x = 1",
        "b as b: update [x] {a RIGHT JOIN b USING (i)} set {b.x = 1}",
    ),
    (
        "UPDATE a NATURAL JOIN (SELECT 1 AS i) AS d SET a.x = d.i",
        "a as a: update [x] {a NATURAL JOIN (SELECT 1 AS i) AS d} set {a.x = d.i}",
    ),
];

#[test]
fn changes_are_cut_from_the_original_text() {
    check(KIND, CHANGES);
}

const LOCKING_READS: &[(&str, &str)] = &[
    (
        "SELECT * FROM t WHERE id = ? FOR UPDATE",
        "lock t as t by FOR UPDATE: SELECT *, K FROM t WHERE id = ?",
    ),
    (
        "SELECT ?, sum(a) FROM t WHERE id > ? GROUP BY b FOR UPDATE",
        "lock t as t of {t} skipped 1 where {id > ? #1} by FOR UPDATE: SELECT ?, sum(a) \
                 FROM t WHERE id > ? GROUP BY b",
    ),
    (
        "SELECT * FROM t FOR UPDATE SKIP LOCKED",
        "lock t as t by FOR UPDATE SKIP LOCKED: SELECT *, K FROM t",
    ),
    (
        "SELECT * FROM t WHERE a = 1 AND b = 'it''s' FOR UPDATE",
        "lock t as t by FOR UPDATE: SELECT *, K FROM t WHERE a = 1 AND b = 'it''s'",
    ),
    (
        "SELECT * FROM t AS x WHERE id IN (?, ?) ORDER BY a LIMIT ? FOR UPDATE OF x \
                 NOWAIT",
        "lock t as x by FOR UPDATE OF x NOWAIT: SELECT *, K FROM t AS x WHERE id IN (?, \
                 ?) ORDER BY a LIMIT ?",
    ),
];

#[test]
fn locking_reads_lose_their_clause() {
    check(KIND, LOCKING_READS);
}

const REFUSED: &[(&str, &str)] = &[
    (
        "UPDATE a LEFT JOIN b ON a.id = b.id SET b.x = 1",
        "it joins the table that it changes in a way that makes rows without it",
    ),
    ("UPDATE a, b SET b.x = 1, a.y = 2 WHERE a.id = b.id", "it changes rows of two tables"),
    (
        "UPDATE a, b SET x = 1 WHERE a.id = b.id",
        "it joins tables and does not say whose columns it assigns",
    ),
    ("UPDATE LOW_PRIORITY t SET a = 1", "it says when to run, which its transaction decides"),
    (
        "UPDATE IGNORE t SET a = 1",
        "it leaves out rows that it should change, or changes them to other values",
    ),
    ("UPDATE t PARTITION (p0) SET a = 1", "it is not on one plain table"),
    ("UPDATE t USE INDEX (i) SET a = 1", "it is not on one plain table"),
    ("DELETE a, b FROM a JOIN b ON a.id = b.id", "it removes rows of two tables"),
    (
        "DELETE FROM a JOIN b ON a.id = b.id",
        "it joins tables and does not say from which it removes rows",
    ),
    ("DELETE QUICK FROM t", "it says when to run, which its transaction decides"),
    (
        "INSERT IGNORE INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = 2",
        "it says in two ways what to do about rows that are in the way",
    ),
    ("INSERT INTO t VALUES (), ()", "it has rows without values"),
    ("REPLACE DELAYED INTO t VALUES (1)", "it says when to run, which its transaction decides"),
    (
        "SELECT * FROM t LOCK IN SHARE MODE",
        "it lets others read on, and global locks of readers are not kept",
    ),
    ("SELECT a FROM t INTO OUTFILE 'x'", "`OUTFILE` is not known in this place"),
    ("SELECT a INTO @x FROM t", "SELECT … INTO makes a table or sets variables"),
    (
        "SELECT /*! 1 */ 2",
        "it cannot be read: a comment that begins with `/*!` is code for some servers",
    ),
    (
        "UPDATE /*+ SET_VAR(sql_mode='') */ t SET a = 1",
        "an optimizer hint can change settings for this one statement",
    ),
    ("UPDATE t SET a = @x := 5", "it assigns a user variable, which its image would do once more"),
    ("LOAD DATA INFILE 'x' INTO TABLE t", "its rows pass the agent by"),
    ("XA START 'x'", "it would make the local transaction a branch of another coordinator's"),
    ("UPDATE t SET a = ?1", "it names parameters, where MySQL only knows `?`"),
    ("SELECT 'a\\\\' ; DELETE FROM t", "it holds more than one statement"),
    (
        "SELECT /*M!100100 1 */ 2",
        "it cannot be read: a comment that begins with `/*!` is code for some servers",
    ),
    ("SET @a = 1", "settings change what later statements mean and how values are captured"),
    ("SET NAMES latin1", "settings change what later statements mean and how values are captured"),
    ("USE other", "the names of later statements would mean other tables"),
    ("LOCK TABLES t WRITE", "it may end the local transaction, and global locks do not know of it"),
    ("UNLOCK TABLES", "it may end the local transaction, and global locks do not know of it"),
    ("HANDLER t OPEN", "its rows pass the agent by"),
    ("CALL p()", "what it changes cannot be known from its text"),
    ("DO release_all_locks()", "what it changes cannot be known from its text"),
    ("TRUNCATE TABLE t", "it removes rows without naming them, and so has no before image"),
    ("RENAME TABLE a TO b", "a change of the schema has no before image"),
    ("OPTIMIZE TABLE t", "it works on the whole database or a whole table"),
    ("START TRANSACTION", "the agent must know where its local transaction begins and ends"),
    ("BEGIN", "the agent must know where its local transaction begins and ends"),
    ("SAVEPOINT x", "as text it would leave the undo log and the database out of step"),
    ("PREPARE p FROM 'DELETE FROM t'", "what it runs cannot be known from its text"),
    ("EXECUTE p", "what it runs cannot be known from its text"),
    ("ANALYZE UPDATE t SET a = 1", "it works on the whole database or a whole table"),
    ("UPDATE t SET a = 1 RETURNING a", "`RETURNING` is not known in this place"),
    ("UPDATE a.b.c SET x = 1", "its table's name has more parts than a schema and a table"),
    (
        "UPDATE `a``b` SET x = 1",
        "its table's name holds a backtick, which nothing here quotes twice",
    ),
    ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "`ON` is not known in this place"),
    (
        "UPDATE a JOIN b USING (i) RIGHT JOIN c USING (i) SET a.x = 1",
        "it joins the table that it changes in a way that makes rows without it",
    ),
    (
        "UPDATE a JOIN a AS b USING (i) SET c.x = 1",
        "the table that it changes is not among those that it names plainly",
    ),
    ("UPDATE t SET u.x = 1", "it assigns columns of another table"),
    ("UPDATE t SET a = 1 LIMIT 1, 2", "`,` is not known in this place"),
    ("DELETE FROM t LIMIT 2 OFFSET 1", "`OFFSET` is not known in this place"),
    ("INSERT INTO t PARTITION (p0) VALUES (1)", "it cannot be parsed"),
    ("DELETE FROM t PARTITION (p0)", "it is not on one plain table"),
    (
        "SELECT * FROM t FOR UPDATE WAIT 5",
        "its locking clause is not known here, or is not its last clause",
    ),
    (
        "INSERT INTO t VALUES (a := 1)",
        "it assigns a user variable, which its image would do once more",
    ),
    ("EXPLAIN ANALYZE UPDATE t SET a = 1", "a part of it changes rows"),
];

#[test]
fn what_cannot_be_undone_is_refused() {
    check_refused(KIND, REFUSED);
}
