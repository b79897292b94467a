//! What would be chosen or compared otherwise the second time is refused.

use super::world::World;
use crate::at::AtError;

const T: &str = "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a INT, next INT); \
                 INSERT INTO t VALUES (1, 10, 2), (2, 20, 3), (3, NULL, 77), (77, 7, NULL)";

#[tokio::test]
async fn rows_that_chance_chooses_are_not_changed() {
    let world = World::new(T).await;
    let before = world.dump().await;
    for statement in [
        "DELETE FROM t ORDER BY RAND() LIMIT 2",
        "UPDATE t SET a = a + 1 ORDER BY rand() LIMIT 2",
        "UPDATE t SET a = a + 1 WHERE RAND () < 0.5",
        "DELETE FROM t WHERE id IN (SELECT id FROM (SELECT id FROM t WHERE rand() < 0.5) x)",
        "UPDATE t SET a = 1 WHERE SYSDATE() > '2000-01-01'",
    ] {
        let error = world.run(&world.context(), &[statement]).await.unwrap_err();
        assert!(
            matches!(&error, AtError::Refused(refused) if refused.why.contains("chosen twice")),
            "{error}"
        );
        assert_eq!(world.dump().await, before, "{statement}");
    }
    world.undo(&["UPDATE t SET a = rand() * 1000 WHERE next = 3"]).await;
}

#[tokio::test]
async fn a_key_that_is_a_member_of_a_list_needs_returning() {
    let world = World::new(
        "CREATE TABLE t (id ENUM('a', '1', '2') PRIMARY KEY, a INT); INSERT INTO t VALUES ('a', 0)",
    )
    .await;
    let error = world.run(&world.context(), &["INSERT INTO t VALUES (2, 2), ('2', 3)"]).await;
    assert!(matches!(error, Err(AtError::Refused(_))), "{error:?}");
    world.undo(&["INSERT INTO t VALUES (2, 2), ('2', 3) RETURNING id"]).await;
    world.undo(&["UPDATE t SET a = 9 WHERE id = 'a'", "DELETE FROM t WHERE id = 'a'"]).await;
}

#[tokio::test]
async fn what_an_update_sets_by_itself_is_as_if_it_were_assigned() {
    let world = World::new(
        "CREATE TABLE p (id INT PRIMARY KEY, a INT, g INT AS (a * 2) STORED UNIQUE); \
         CREATE TABLE c (id INT PRIMARY KEY, g INT REFERENCES p (g) ON UPDATE CASCADE); \
         INSERT INTO p (id, a) VALUES (1, 1), (2, 2); INSERT INTO c VALUES (1, 2); \
         CREATE TABLE k (id TIMESTAMP(6) PRIMARY KEY DEFAULT CURRENT_TIMESTAMP(6) \
         ON UPDATE CURRENT_TIMESTAMP(6), a INT); INSERT INTO k (a) VALUES (1)",
    )
    .await;
    for (statement, why) in [
        ("UPDATE p SET a = a + 5", "a foreign key of `c`"),
        ("UPDATE k SET a = 2", "may change its primary key"),
    ] {
        let error = world.run(&world.context(), &[statement]).await.unwrap_err();
        assert!(
            matches!(&error, AtError::Refused(refused) if refused.why.contains(why)),
            "{error}"
        );
    }
}
