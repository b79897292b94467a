//! Statements of one table, from begin to the end of phase two.

use super::World;
use crate::at::tests::fake::Said;
use crate::branch::Answer;
use pactum_core::id::BranchId;

const BANK: &str = "CREATE TABLE account (id bigint PRIMARY KEY, owner text NOT NULL, \
     balance bigint NOT NULL); INSERT INTO account VALUES (1, 'A', 100), (2, 'B', 50)";

#[tokio::test]
async fn plain_statements_commit_and_roll_back() {
    let world = World::new(BANK).await;
    let statements = [
        "UPDATE account SET balance = balance - 30 WHERE id = 1",
        "INSERT INTO account (id, owner, balance) VALUES (3, 'C', 30), (4, 'D', 0)",
        "DELETE FROM account WHERE id = 2",
        "UPDATE account SET owner = owner || '!', balance = 1",
    ];
    for statement in statements {
        world.undo(&[statement]).await;
    }
    world.undo(&statements).await;

    let context = world.context();
    world.run(&context, &statements).await.unwrap();
    assert_eq!(
        world.fake.locks(context.xid()),
        ["1", "2", "3", "4"].map(|id| format!("public.account[\"{id}\"]"))
    );
    let open = "SELECT count(*) FROM pactum_barrier WHERE state = 'open'";
    assert_eq!(world.value(open).await, "1");
    assert!(world.fake.said().contains(&Said::Done(BranchId(6))));
    assert_eq!(world.fake.commit(context.xid()).await, vec![Answer::Done]);
    assert_eq!(world.value(open).await, "0");
    let rows = world
        .value(
            "SELECT string_agg(concat_ws(' ', id, owner, balance), ',' ORDER BY id) FROM account",
        )
        .await;
    assert_eq!(rows, "'1 A! 1,3 C! 1,4 D! 1'");
}
