//! Which statements are taken, and that each is undone.

use std::sync::Arc;

use sqlx::MySql;

use super::world::World;
use crate::at::AtError;
use crate::at::engine::Engine as _;
use crate::at::plan::Plan;
use crate::branch::Answer;
use crate::db::Driver as _;

const BANK: &str = "CREATE TABLE account (id INT PRIMARY KEY AUTO_INCREMENT, owner VARCHAR(20) \
     NOT NULL, balance DECIMAL(12, 2) NOT NULL); \
     INSERT INTO account VALUES (1, 'A', 100), (2, 'B', 50), (3, 'C', 0)";

#[tokio::test]
async fn plain_statements_are_undone_and_kept() {
    let world = World::new(BANK).await;
    let statements = [
        "UPDATE account SET balance = balance - 30 WHERE id = 1",
        "INSERT INTO account VALUES (4, 'D', 30)",
        "DELETE FROM account WHERE id = 2",
    ];
    for statement in statements {
        world.undo(&[statement]).await;
    }
    world.undo(&statements).await;
    let context = world.context();
    world.run(&context, &statements).await.unwrap();
    let after = world.dump().await;
    assert_eq!(world.barrier().await, ["undone", "undone", "undone", "undone", "open"]);
    assert_eq!(world.fake.commit(context.xid()).await, vec![Answer::Done]);
    assert_eq!(world.dump().await, after);
    assert_eq!(world.barrier().await, ["undone", "undone", "undone", "undone"]);
}

#[tokio::test]
async fn parameters_reach_the_image_and_the_statement() {
    let world = World::new(BANK).await;
    let before = world.dump().await;
    let context = world.context();
    let mut transaction = world.at.begin_in(&context).await.unwrap();
    let update = "UPDATE account SET balance = balance - ?, owner = ? WHERE id = ? AND owner <> ?";
    let done = sqlx::query(update).bind(30).bind("X").bind(1).bind("Z");
    assert_eq!(done.execute(&mut *transaction).await.unwrap().rows_affected(), 1);
    let delete = sqlx::query("DELETE FROM account WHERE id = ? AND balance >= ?").bind(2).bind(1);
    delete.execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(world.value("SELECT owner FROM account WHERE id = 1").await, "'X'");
    assert_eq!(world.value("SELECT count(*) FROM account").await, "2");
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
    assert_eq!(world.dump().await, before);
}

/// Who reads these numbers must not notice the agent.
#[tokio::test]
async fn rows_affected_and_insert_ids_are_the_servers() {
    let world = World::new(BANK).await;
    world
        .behind(
            "CREATE TABLE k (id INT PRIMARY KEY, u VARCHAR(9) UNIQUE, n INT NOT NULL DEFAULT 0)",
        )
        .await;
    let context = world.context();
    let mut transaction = world.at.begin_in(&context).await.unwrap();
    for (statement, affected, id) in [
        ("INSERT INTO account (owner, balance) VALUES ('D', 1)", 1, 4),
        ("INSERT INTO account (owner, balance) VALUES ('E', 1), ('F', 2)", 2, 5),
        ("INSERT INTO account SET owner = 'G', balance = 3", 1, 7),
        ("INSERT INTO account VALUES (NULL, 'H', 1)", 1, 8),
        ("INSERT INTO account VALUES (DEFAULT, 'H', 1)", 1, 9),
        ("UPDATE account SET balance = balance + 1 WHERE id > 3", 6, 0),
        ("UPDATE account SET balance = balance WHERE id > 3", 6, 0),
        ("DELETE FROM account WHERE id IN (4, 5)", 2, 0),
        ("DELETE FROM account ORDER BY owner DESC LIMIT 2", 2, 0),
        ("UPDATE account SET owner = 'last' ORDER BY balance DESC LIMIT 1", 1, 0),
        ("INSERT INTO k VALUES (1, 'a', 0), (2, 'b', 0)", 2, 0),
        ("INSERT IGNORE INTO k VALUES (1, 'c', 0), (3, 'd', 0), (4, 'a', 0)", 1, 0),
        ("INSERT INTO k VALUES (1, 'a', 0), (5, 'e', 0) ON DUPLICATE KEY UPDATE n = n + 1", 3, 0),
        ("INSERT INTO k (id) VALUES (1) ON DUPLICATE KEY UPDATE n = n", 1, 0),
        ("REPLACE INTO k VALUES (1, 'b', 7), (6, NULL, 1)", 4, 0),
    ] {
        let done = sqlx::query(statement).execute(&mut *transaction).await;
        let done = done.unwrap_or_else(|error| panic!("{statement}: {error}"));
        assert_eq!((done.rows_affected(), done.last_insert_id()), (affected, id), "{statement}");
    }
    transaction.commit().await.unwrap();
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
    assert_eq!(world.value("SELECT count(*) FROM account").await, "3");
    assert_eq!(world.value("SELECT count(*) FROM k").await, "0");
}

const SHOP: &str = "CREATE TABLE item (id INT PRIMARY KEY AUTO_INCREMENT, code VARCHAR(20) \
     COLLATE utf8mb4_unicode_ci UNIQUE, price DECIMAL(10, 2) NOT NULL DEFAULT 1.5, shelf INT, \
     UNIQUE KEY by_shelf (shelf)); \
     CREATE TABLE stock (item INT, place VARCHAR(10), count INT NOT NULL, PRIMARY KEY (item, place)); \
     CREATE TABLE plain (id INT PRIMARY KEY, text VARCHAR(20)); \
     INSERT INTO item VALUES (1, 'a', 1, NULL), (2, 'b', 2, 20), (3, 'c', 3, 30); \
     INSERT INTO stock VALUES (1, 'x', 5), (1, 'y', 6), (2, 'x', 7), (9, 'z', 0); \
     INSERT INTO plain VALUES (1, 'one'), (2, 'two')";

const TAKEN: [&str; 44] = [
    "UPDATE item SET price = price * 2",
    "UPDATE item AS i SET i.price = 9 WHERE i.code LIKE 'a%' OR i.id = 3",
    "UPDATE `item` SET `price` = 9, `code` = CONCAT(code, '?1') WHERE `id` = 3 /* ? */",
    "UPDATE item SET price = 9 ORDER BY code LIMIT 1",
    "UPDATE item SET price = 9 LIMIT 2",
    "UPDATE item SET price = 9 WHERE id > 1 ORDER BY price DESC",
    "UPDATE item i JOIN stock s ON s.item = i.id SET i.price = s.count",
    "UPDATE item i, stock s SET i.price = s.count WHERE s.item = i.id AND s.place = 'x'",
    "UPDATE item i LEFT JOIN stock s ON s.item = i.id SET i.price = COALESCE(s.count, 0)",
    "UPDATE item SET price = (SELECT sum(count) FROM stock) WHERE id IN (SELECT item FROM stock)",
    "UPDATE item SET code = CASE code WHEN 'a' THEN 'z' ELSE code END",
    "DELETE FROM item",
    "DELETE FROM item WHERE code = 'A'",
    "DELETE FROM stock WHERE (item, place) = (1, 'x')",
    "DELETE FROM item ORDER BY price DESC LIMIT 1",
    "DELETE FROM item LIMIT 2",
    "DELETE i FROM item i JOIN stock s ON s.item = i.id",
    "DELETE FROM i USING item AS i JOIN stock s ON s.item = i.id WHERE s.count > 5",
    "DELETE FROM item WHERE id = 1 RETURNING id, code",
    "DELETE FROM item ORDER BY id LIMIT 1 RETURNING code",
    "INSERT INTO item () VALUES ()",
    "INSERT INTO item (code) VALUES ('d'), ('e'), (NULL)",
    "INSERT INTO item VALUES (NULL, 'd', 1, NULL)",
    "INSERT INTO item VALUES (10, UPPER('d'), DAYOFWEEK(NOW()), NULL)",
    "INSERT INTO item (price, code) VALUES (RAND(), 'd')",
    "INSERT INTO item SET code = 'd', price = DEFAULT",
    "INSERT INTO stock VALUES (3, 'x', 1), (3, CONCAT('y', 'z'), 2)",
    "INSERT INTO stock (count, place, item) VALUES (3 + 4, 'q', 10 + 1)",
    "INSERT INTO item (code) VALUES ('d') RETURNING id",
    "INSERT INTO item (code) SELECT CONCAT(text, '?') FROM plain RETURNING id",
    "INSERT INTO plain SELECT id + 10, text FROM plain RETURNING *",
    "INSERT IGNORE INTO item (code) VALUES ('a'), ('d'), ('D')",
    "INSERT IGNORE INTO plain VALUES (1, 'no'), (7, 'yes')",
    "INSERT IGNORE INTO plain VALUES (1, 'no'), (7, 'yes') RETURNING id",
    "INSERT IGNORE INTO plain SELECT id + 1, 'x' FROM plain RETURNING id",
    "INSERT INTO item (code, price) VALUES ('A', 5), ('d', 6) ON DUPLICATE KEY UPDATE price = \
     price + VALUES(price)",
    "INSERT INTO item (code, price) VALUES ('A', 5), ('d', 6) ON DUPLICATE KEY UPDATE code = \
     CONCAT(code, 'x') RETURNING id",
    "INSERT INTO item (id, code) VALUES (1, 'zz') ON DUPLICATE KEY UPDATE code = 'moved'",
    "INSERT INTO stock VALUES (1, 'X', 1) ON DUPLICATE KEY UPDATE count = count + 1",
    "INSERT INTO item (id, code, shelf) VALUES (2, 'b', 20), (5, 'n', 50) ON DUPLICATE KEY UPDATE \
     price = 0",
    "REPLACE INTO plain VALUES (1, 'uno'), (3, 'tres')",
    "REPLACE INTO item (id, code, shelf) VALUES (2, 'c', NULL)",
    "REPLACE INTO item (code) VALUES ('B'), ('new')",
    "REPLACE INTO stock SET item = 1, place = 'y', count = 0",
];

#[tokio::test]
async fn every_taken_statement_is_undone() {
    let world = World::new(SHOP).await;
    for statement in TAKEN {
        world.undo(&[statement]).await;
    }
    // Together, each on what the others left.
    world.undo(&TAKEN[..10]).await;
}

/// The server then counts more rows than there are.
#[tokio::test]
async fn an_upsert_that_meets_its_own_rows_is_not_kept() {
    let world = World::new(SHOP).await;
    let before = world.dump().await;
    for statement in [
        "REPLACE INTO item (code) VALUES ('B'), ('b'), ('new')",
        "INSERT INTO plain VALUES (5, 'x'), (5, 'y') ON DUPLICATE KEY UPDATE text = 'z'",
        // One row is in the way of the key, another one of the unique value.
        "INSERT INTO item (id, code) VALUES (1, 'b') ON DUPLICATE KEY UPDATE price = 7",
    ] {
        let error = world.run(&world.context(), &[statement]).await.unwrap_err();
        assert!(matches!(error, AtError::OnlyRollback { .. }), "{statement}: {error}");
        assert_eq!(world.dump().await, before);
    }
}

#[tokio::test]
async fn what_cannot_be_undone_is_refused_with_a_way_out() {
    let world = World::new(SHOP).await;
    world
        .behind(
            "CREATE TABLE made (id VARCHAR(36) PRIMARY KEY DEFAULT uuid(), u INT UNIQUE, n INT); \
             CREATE TABLE part (id INT PRIMARY KEY, t TEXT, UNIQUE KEY (t(3)))",
        )
        .await;
    let before = world.dump().await;
    for (statement, words) in [
        ("UPDATE item SET id = 9", "primary key"),
        ("UPDATE stock SET ITEM = 9", "primary key"),
        ("UPDATE item i JOIN stock s ON s.item = i.id SET i.price = 1, s.count = 1", "two tables"),
        ("INSERT INTO made (n) SELECT id FROM plain", "RETURNING id"),
        ("INSERT INTO plain SELECT FLOOR(RAND() * 9), 'x' FROM plain", "other rows each time"),
        ("INSERT IGNORE INTO item (price) SELECT id FROM plain", "no unique key"),
        ("INSERT INTO item (price) SELECT LAST_INSERT_ID(id) FROM plain", "may set the number"),
        ("INSERT INTO made (n) VALUES (1)", "RETURNING id"),
        ("INSERT INTO plain VALUES (FLOOR(RAND() * 9), 'x')", "RETURNING id"),
        ("INSERT INTO item (code) VALUES (LAST_INSERT_ID(3))", "sets the number"),
        (
            "INSERT INTO plain SELECT id, text FROM plain p ON DUPLICATE KEY UPDATE text = 'x'",
            "a query decides",
        ),
        ("INSERT INTO made (n) VALUES (1) ON DUPLICATE KEY UPDATE n = 2", "unique key"),
        ("INSERT INTO part VALUES (1, 'abcd') ON DUPLICATE KEY UPDATE t = 'x'", "beginning"),
        ("INSERT INTO item (code) VALUES (UUID()) ON DUPLICATE KEY UPDATE price = 1", "not in its"),
        ("REPLACE INTO plain SELECT id, text FROM plain", "a query decides"),
        ("UPDATE IGNORE item SET code = 'x'", "IGNORE"),
        ("TRUNCATE item", "before image"),
        ("CREATE TABLE x (id INT)", "schema"),
        ("CALL p()", "procedure"),
        ("LOCK TABLES item WRITE", "lock"),
        ("SET sql_mode = ''", "setting"),
        ("XA START 'x'", "XA"),
        ("LOAD DATA INFILE 'x' INTO TABLE item", "bulk"),
        ("SELECT id INTO @x FROM item", "INTO"),
        ("UPDATE missing SET a = 1", "no such table"),
        ("UPDATE mysql.user SET a = 1", "no such table"),
        ("UPDATE pactum_barrier SET body = ''", "not the application's"),
    ] {
        let error = world.run(&world.context(), &[statement]).await.unwrap_err();
        assert!(matches!(error, AtError::Refused(_)), "{statement}: {error:?}");
        assert!(error.to_string().contains(words), "{statement}: {error}");
    }
    assert_eq!(world.dump().await, before);
    world.undo(&["INSERT INTO made (n) VALUES (1) RETURNING id"]).await;
    world.undo(&["INSERT INTO made (u, n) VALUES (7, 1)"]).await;
    world.undo(&["INSERT INTO part VALUES (1, 'abcd')"]).await;
    let own = format!(
        "UPDATE `{}`.item SET price = 4",
        world.value("SELECT database()").await.trim_matches('\'')
    );
    world.undo(&[&own]).await;
}

/// MySQL has no RETURNING; what is taken without it must not need it.
#[tokio::test]
async fn a_server_without_returning_is_never_asked_for_it() {
    let world = World::new(SHOP).await;
    let mut connection = world.pool.acquire().await.unwrap();
    let mut refused = 0;
    for statement in TAKEN {
        let Ok(Plan::Change(change)) = MySql::plan(statement) else { panic!("{statement}") };
        let mut sql = MySql::sql(&mut connection);
        let mut table = MySql::dialect().load(&mut *sql, &change.table).await.unwrap().unwrap();
        Arc::get_mut(table.mysql.as_mut().unwrap()).unwrap().returns_nothing();
        match MySql::compile_change(&change, &table) {
            Ok(compiled) => assert!(!compiled.change.contains("RETURNING"), "{statement}"),
            Err(error) => {
                assert!(error.to_string().contains("this server returns no rows"), "{error}");
                assert!(statement.contains("RETURNING"), "{statement}");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 8);
}
