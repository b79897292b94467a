//! INSERT … SELECT: only its query knows its rows, and it is never asked to be the same twice.

use sqlx::AssertSqlSafe;

use super::super::world::take;
use super::world::World;
use crate::at::AtError;
use crate::branch::Answer;

const SHOP: &str = "CREATE TABLE plain (id INT PRIMARY KEY, text VARCHAR(20)); \
     CREATE TABLE item (id INT PRIMARY KEY AUTO_INCREMENT, code VARCHAR(20) UNIQUE, price INT); \
     CREATE TABLE pair (a BIGINT UNSIGNED, b VARCHAR(9) COLLATE utf8mb4_bin, n INT, \
         PRIMARY KEY (a, b)); \
     CREATE TABLE price (amount DECIMAL(10, 2) PRIMARY KEY, day DATE); \
     CREATE TABLE source (id INT PRIMARY KEY, word VARCHAR(20)); \
     CREATE TABLE tree (id INT PRIMARY KEY, up INT REFERENCES tree (id)); \
     CREATE TABLE numbered (id INT AUTO_INCREMENT PRIMARY KEY, n INT) \
         PARTITION BY HASH (id) PARTITIONS 3; \
     INSERT INTO plain VALUES (1, 'one'), (2, 'two'), (3, 'three'); \
     INSERT INTO item (code, price) VALUES ('a', 1), ('b', 2); \
     INSERT INTO source VALUES (1, 'a'), (7, 'x'), (8, NULL), (9, 'Z')";

const TAKEN: [&str; 21] = [
    // Into what it reads.
    "INSERT INTO plain SELECT id + 10, text FROM plain",
    "INSERT INTO plain SELECT MAX(id) + 1, 'next' FROM plain",
    "INSERT INTO plain (text, id) SELECT text, SUM(id) + 1 FROM plain GROUP BY text HAVING SUM(id) > 2",
    "INSERT INTO item (code, price) SELECT CONCAT(code, code), price FROM item",
    // Many.
    "INSERT INTO plain SELECT seq, 'x' FROM seq_10_to_1010",
    "INSERT INTO item (price) SELECT seq FROM seq_1_to_1001",
    "INSERT INTO item (price) SELECT RAND() FROM seq_1_to_3",
    // Other values than are stored.
    "INSERT INTO plain SELECT '7', 'x'",
    "INSERT INTO pair SELECT 18446744073709551615 - id, word, id FROM source WHERE word IS NOT NULL",
    "INSERT INTO price SELECT id / 3, '2024-1-5' FROM source",
    "INSERT INTO price (day, amount) SELECT CURDATE(), 7e0",
    // Texts that a clause at the end would change.
    "INSERT INTO plain SELECT id, word FROM source WHERE id > 3 UNION SELECT 50, 'y'",
    "INSERT INTO plain (SELECT id, word FROM source WHERE id > 3)",
    "INSERT INTO plain SELECT id, word FROM source WHERE id > 3 ORDER BY word DESC LIMIT 2 -- end",
    "INSERT INTO plain SELECT ROW_NUMBER() OVER (ORDER BY word) + 50, word FROM source",
    "INSERT INTO plain WITH x AS (SELECT id FROM source WHERE id > 3) SELECT id, 'x' FROM x",
    // The row that is referred to comes first, and goes last.
    "INSERT INTO tree SELECT 10 - id, IF(id = 7, NULL, 3) FROM source WHERE id > 6 ORDER BY id",
    "INSERT IGNORE INTO plain SELECT id, word FROM source",
    "INSERT IGNORE INTO item (code) SELECT word FROM source WHERE word IS NOT NULL",
    "INSERT INTO numbered SELECT id, 1 FROM source",
    "INSERT INTO item (code) SELECT NULL FROM source",
];

#[tokio::test]
async fn rows_of_a_query_are_undone() {
    let world = World::new(SHOP).await;
    for statement in TAKEN {
        world.undo(&[statement]).await;
    }
    world.undo(&[TAKEN[0], TAKEN[3], TAKEN[1], TAKEN[17], TAKEN[18], "DELETE FROM plain"]).await;
}

/// Who reads these numbers must not notice the agent.
#[tokio::test]
async fn a_query_counts_as_it_does_without_the_agent() {
    let (world, outside) = (World::new(SHOP).await, World::new(SHOP).await);
    let mut transaction = world.at.begin_in(&world.context()).await.unwrap();
    let mut bare = outside.pool.begin().await.unwrap();
    let nothing = "INSERT INTO item (code) SELECT word FROM source WHERE id > 99";
    let taken = TAKEN.iter().filter(|statement| !statement.contains("RAND()"));
    for statement in taken.chain([&nothing, &"INSERT INTO plain SELECT 77, 'a' FROM plain LIMIT 0"])
    {
        let undo = "DELETE FROM plain WHERE id > 3";
        for statement in [*statement, undo, "DELETE FROM price", "DELETE FROM item WHERE id > 2"] {
            let query = || sqlx::query(AssertSqlSafe(statement));
            let ours = query().execute(&mut *transaction).await.unwrap();
            let theirs = query().execute(&mut *bare).await.unwrap();
            assert_eq!(ours.rows_affected(), theirs.rows_affected(), "{statement}");
            assert_eq!(ours.last_insert_id(), theirs.last_insert_id(), "{statement}");
        }
    }
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn arguments_of_a_query_reach_its_keys() {
    let world = World::new(SHOP).await;
    let before = world.dump().await;
    let context = world.context();
    let mut transaction = world.at.begin_in(&context).await.unwrap();
    for (statement, count) in [
        ("INSERT INTO plain (text, id) SELECT ?, id + ? FROM source WHERE id > ?", 3),
        ("INSERT INTO item (code, price) SELECT CONCAT(?, id), ? FROM source WHERE id < ?", 1),
    ] {
        let insert = sqlx::query(statement).bind("7").bind(20).bind(6);
        let done = insert.execute(&mut *transaction).await.unwrap();
        assert_eq!(done.rows_affected(), count);
    }
    transaction.commit().await.unwrap();
    assert_eq!(world.value("SELECT SUM(id) FROM plain WHERE text = '7'").await, "'84'");
    assert_eq!(world.value("SELECT code FROM item WHERE price = 20").await, "'71'");
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
    assert_eq!(world.dump().await, before);
}

#[tokio::test]
async fn numbers_that_are_far_apart_are_found() {
    let world = World::new(SHOP).await;
    world.everywhere("SET SESSION auto_increment_increment = 5, auto_increment_offset = 3").await;
    let context = world.context();
    world.run(&context, &["INSERT INTO item (price) SELECT id FROM source"]).await.unwrap();
    let theirs = "INSERT INTO item (id, code) VALUES (4, 'between'), (9, 'them')";
    world.behind(theirs).await;
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
    assert_eq!(world.value("SELECT GROUP_CONCAT(id) FROM item").await, "'1,2,4,9'");
}

/// The first time the query reads the transaction's snapshot, the second time what is newest.
#[tokio::test]
async fn a_query_that_gives_other_rows_the_second_time_is_not_kept() {
    for (first, then) in [(1, 7), (6, 7)] {
        let world = World::new(SHOP).await;
        world
            .behind(&format!("DELETE FROM source; INSERT INTO source VALUES ({first}, 'x')"))
            .await;
        let mut transaction = world.at.begin_in(&world.context()).await.unwrap();
        sqlx::query("SELECT * FROM source").execute(&mut *transaction).await.unwrap();
        world.behind(&format!("UPDATE source SET id = {then}")).await;
        let before = world.dump().await;
        let insert =
            "INSERT INTO plain SELECT id, word FROM source UNION SELECT id, word FROM source";
        let error = sqlx::query(insert).execute(&mut *transaction).await.map_err(take).unwrap_err();
        assert!(matches!(error, AtError::OnlyRollback { .. }), "{error}");
        let error = transaction.commit().await.unwrap_err();
        assert!(matches!(error, AtError::OnlyRollback { .. }), "{error}");
        assert_eq!(world.dump().await, before);
    }
}

/// What a plain query reads is locked by the look at its keys, as the statement itself does.
#[tokio::test]
async fn a_plain_query_reads_the_newest_rows_both_times() {
    let world = World::new(SHOP).await;
    let context = world.context();
    let mut transaction = world.at.begin_in(&context).await.unwrap();
    sqlx::query("SELECT * FROM source").execute(&mut *transaction).await.unwrap();
    world.behind("UPDATE source SET id = 70 WHERE id = 7").await;
    let before = world.dump().await;
    let insert = sqlx::query("INSERT INTO plain SELECT id, word FROM source WHERE id > 3");
    assert_eq!(insert.execute(&mut *transaction).await.unwrap().rows_affected(), 3);
    transaction.commit().await.unwrap();
    assert_eq!(world.value("SELECT text FROM plain WHERE id = 70").await, "'x'");
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
    assert_eq!(world.dump().await, before);
}

/// Each partition asks for its numbers on its own, so others' rows may lie between.
#[tokio::test]
async fn rows_that_are_not_numbered_one_after_another_are_refused() {
    let world = World::new(SHOP).await;
    let before = world.dump().await;
    let insert = "INSERT INTO numbered (n) SELECT id FROM source";
    let error = world.run(&world.context(), &[insert]).await.unwrap_err();
    assert!(matches!(error, AtError::Refused(_)), "{error:?}");
    assert!(error.to_string().contains("one after another"), "{error}");
    assert!(error.to_string().contains("RETURNING id"), "{error}");
    assert_eq!(world.dump().await, before);
    world.undo(&["INSERT INTO numbered (n) SELECT id FROM source RETURNING id"]).await;
}

/// Without gap locks another row with the key could come before the statement's.
#[tokio::test]
async fn a_query_needs_repeatable_reads() {
    let world = World::new(SHOP).await;
    let set = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
    world.everywhere(set).await;
    let insert = "INSERT INTO plain SELECT id + 10, 'x' FROM source";
    let error = world.run(&world.context(), &[insert]).await.unwrap_err();
    assert!(error.to_string().contains("REPEATABLE READ"), "{error}");
    world.undo(&["INSERT INTO item (price) SELECT id FROM source"]).await;
}
