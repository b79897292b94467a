//! Rows that a subquery, another table, a clock or a limit chooses: the change meets its image's alone.

use std::time::Duration;

use pactum_testkit::wait::wait_until;
use sqlx::AssertSqlSafe;

use super::super::world::take;
use super::world::World;
use crate::at::AtError;
use crate::branch::Answer;

const SHOP: &str = "CREATE TABLE t (id INT PRIMARY KEY, a INT); \
     CREATE TABLE s (id INT PRIMARY KEY, t INT); \
     CREATE TABLE pair (x INT, y VARCHAR(9), n INT, PRIMARY KEY (x, y)); \
     INSERT INTO t VALUES (1, 10), (2, 20), (3, 30); INSERT INTO s VALUES (1, 1); \
     INSERT INTO pair VALUES (1, 'a', 0), (1, 'b', 0), (2, 'a', 0), (3, 'c', 0)";
const CHANGE: &str = "UPDATE t SET a = a + 1 WHERE id IN (SELECT t FROM s)";
const DELETE: &str = "DELETE FROM t WHERE id IN (SELECT t FROM s)";

/// The change is on its way: its image was read.
async fn until_it_is_sent(world: &World, statement: &str) {
    let word = &statement[..6];
    let running = format!(
        "SELECT count(*) FROM information_schema.processlist WHERE info LIKE '{word}%' \
         AND db = database()"
    );
    let is_running = async || world.value(&running).await != "0";
    wait_until("the statement runs", Duration::from_secs(10), is_running).await.unwrap();
}

/// Goal: what a subquery says otherwise between the image and the change is not changed behind the
/// image. Method: the image reads the row that somebody else is about to replace, and the change waits
/// for it; then it meets another row, and as many.
#[tokio::test]
async fn other_rows_but_as_many_are_not_changed_behind_their_image() {
    for (statement, rolled_back) in [(CHANGE, 21), (DELETE, 20)] {
        let world = World::new(SHOP).await;
        let before = world.dump().await;
        let swap = async || {
            let mut other = world.pool.begin().await.unwrap();
            sqlx::raw_sql("DELETE FROM s; INSERT INTO s VALUES (2, 2)")
                .execute(&mut *other)
                .await
                .unwrap();
            other
        };
        let other = swap().await;
        let (context, statements) = (world.context(), [statement]);
        let run = world.run(&context, &statements);
        let release = async {
            until_it_is_sent(&world, statement).await;
            other.commit().await.unwrap();
        };
        let (changed, ()) = tokio::join!(run, release);
        assert!(matches!(changed, Err(AtError::Drifted)), "{statement}: {changed:?}");
        world.behind("DELETE FROM s; INSERT INTO s VALUES (1, 1)").await;
        assert_eq!(world.dump().await, before);

        // The form that may run again does so by itself, and changes what is chosen then.
        let (other, context) = (swap().await, world.context());
        let run = context.clone().scope(async { sqlx::query(statement).execute(&world.at).await });
        let release = async {
            until_it_is_sent(&world, statement).await;
            other.commit().await.unwrap();
        };
        let (changed, ()) = tokio::join!(run, release);
        assert_eq!(changed.unwrap().rows_affected(), 1);
        let second = world.value("SELECT COALESCE(SUM(a), 20) FROM t WHERE id = 2").await;
        assert_eq!(second, format!("'{rolled_back}'"));
        assert_eq!(world.value("SELECT a FROM t WHERE id = 1").await, "10");
        assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
        world.behind("DELETE FROM s; INSERT INTO s VALUES (1, 1)").await;
        assert_eq!(world.dump().await, before);
    }
}

/// A limit may then cut off other rows under READ COMMITTED too.
#[tokio::test]
async fn what_chooses_more_than_its_own_columns_is_undone() {
    for isolation in ["REPEATABLE READ", "READ COMMITTED"] {
        let world = World::new(SHOP).await;
        world.everywhere(&format!("SET SESSION TRANSACTION ISOLATION LEVEL {isolation}")).await;
        for statement in [
            CHANGE,
            DELETE,
            "UPDATE t SET a = 0 WHERE a > (SELECT MIN(a) FROM (SELECT a FROM t) x) OR id = 1 -- all",
            "UPDATE t SET a = a + 1 WHERE id < UNIX_TIMESTAMP() LIMIT 2",
            "UPDATE t SET a = a + 1 ORDER BY a DESC LIMIT 2",
            "DELETE FROM t ORDER BY a DESC LIMIT 2",
            "UPDATE pair p JOIN t ON t.id = p.x SET p.n = t.a WHERE t.a > 10",
            "UPDATE pair p, s SET p.n = p.n + 1 WHERE p.y <> 'c'",
            "DELETE p FROM pair p LEFT JOIN t ON t.id = p.x AND t.a > 10 WHERE t.id IS NULL",
            "DELETE FROM pair WHERE EXISTS (SELECT 1 FROM s WHERE s.t = x) LIMIT 1",
        ] {
            world.undo(&[statement]).await;
        }
        // Nothing chosen, nothing changed.
        let none = "UPDATE t SET a = 9 WHERE id IN (SELECT t FROM s WHERE id > 7)";
        world.run(&world.context(), &[none, "DELETE FROM t LIMIT 0"]).await.unwrap();
    }
}

#[tokio::test]
async fn parameters_stay_in_their_places_beside_the_keys() {
    let world = World::new(SHOP).await;
    let before = world.dump().await;
    let context = world.context();
    let mut transaction = world.at.begin_in(&context).await.unwrap();
    for (statement, count) in [
        ("UPDATE t SET a = ? WHERE id > ? ORDER BY a DESC LIMIT ?", 1),
        ("UPDATE pair SET n = ? WHERE x IN (SELECT id FROM t WHERE id > ?) LIMIT ?", 1),
    ] {
        let query = sqlx::query(statement).bind(77).bind(1).bind(1);
        assert_eq!(query.execute(&mut *transaction).await.unwrap().rows_affected(), count);
    }
    transaction.commit().await.unwrap();
    assert_eq!(world.value("SELECT GROUP_CONCAT(id) FROM t WHERE a = 77").await, "'3'");
    assert_eq!(world.value("SELECT GROUP_CONCAT(x, y) FROM pair WHERE n = 77").await, "'2a'");
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
    assert_eq!(world.dump().await, before);

    let mut transaction = world.at.begin_in(&world.context()).await.unwrap();
    let ordered = sqlx::query("DELETE FROM t ORDER BY FIELD(id, ?) LIMIT 1").bind(2);
    let refused = take(ordered.execute(&mut *transaction).await.unwrap_err());
    assert!(refused.to_string().contains("ORDER BY has parameters"), "{refused}");
}

#[tokio::test]
async fn many_rows_are_chosen_and_too_many_refused() {
    let world = World::new(SHOP).await;
    world
        .behind(
            "INSERT INTO t SELECT seq, seq FROM seq_100_to_8291; \
             INSERT INTO pair SELECT seq, 'z', 0 FROM seq_100_to_8291",
        )
        .await;
    world.undo(&["UPDATE pair p JOIN t ON t.id = p.x SET p.n = t.a WHERE p.y = 'z'"]).await;
    world.undo(&["DELETE FROM t WHERE id IN (SELECT x FROM pair WHERE y = 'z')"]).await;
    let all = "UPDATE t SET a = 0 LIMIT 9000";
    let mut transaction = world.at.begin_in(&world.context()).await.unwrap();
    let refused = take(sqlx::query(all).execute(&mut *transaction).await.unwrap_err());
    assert!(matches!(refused, AtError::Refused(_)), "{refused}");
    // Nothing was sent, so the local transaction goes on.
    let some = sqlx::query(AssertSqlSafe("UPDATE t SET a = 0 WHERE id < 9000"));
    assert_eq!(some.execute(&mut *transaction).await.unwrap().rows_affected(), 8195);
    transaction.commit().await.unwrap();
}
