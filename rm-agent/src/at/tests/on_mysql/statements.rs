//! Which statements are taken, and that each is undone.

use super::world::World;
use crate::branch::Answer;

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
