//! Statements of one table, from begin to the end of phase two.

use super::World;
use crate::branch::Answer;
use crate::link::fake::Said;
use pactum_core::id::BranchId;
use pactum_proto::v1::ParkReason;

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

/// What a restore has to know of a table.
#[tokio::test]
async fn every_kind_of_table_is_restored() {
    for (schema, statements) in [
        (
            "CREATE TABLE t (a text, b int, c int, PRIMARY KEY (b, a)); \
             INSERT INTO t VALUES ('x', 1, 2), ('y', 1, 3)",
            "UPDATE t SET c = c + 1; DELETE FROM t WHERE a = 'x'; INSERT INTO t VALUES ('x', 1, 9)",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, a int, s int GENERATED ALWAYS AS (a + 1) STORED); \
             INSERT INTO t (id, a) VALUES (1, 10), (2, 20)",
            "UPDATE t SET a = a + 1; DELETE FROM t WHERE id = 2; INSERT INTO t (id, a) VALUES (3, 1)",
        ),
        (
            "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a serial, \
             n int GENERATED ALWAYS AS IDENTITY UNIQUE); INSERT INTO t DEFAULT VALUES",
            "INSERT INTO t DEFAULT VALUES; UPDATE t SET a = 9; DELETE FROM t WHERE id = 1",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE DEFERRABLE INITIALLY DEFERRED); \
             INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)",
            "UPDATE t SET u = u + 1; UPDATE t SET u = 4 - u",
        ),
        // Rows of one statement that refer to each other.
        (
            "CREATE TABLE t (id int PRIMARY KEY, up int REFERENCES t); \
             INSERT INTO t VALUES (1, 1), (2, 1), (3, 2), (4, NULL)",
            "UPDATE t SET up = 5 - id; DELETE FROM t; INSERT INTO t VALUES (8, 9), (9, 8)",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, up int REFERENCES t DEFERRABLE); \
             INSERT INTO t VALUES (1, 2), (2, 1)",
            "DELETE FROM t; INSERT INTO t VALUES (8, 9), (9, 8)",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY, t int \
             REFERENCES t ON DELETE CASCADE); INSERT INTO t VALUES (1); INSERT INTO c VALUES (1, 1)",
            "INSERT INTO t VALUES (2), (3); INSERT INTO c VALUES (2, 2), (3, 1); DELETE FROM c",
        ),
    ] {
        let world = World::new(schema).await;
        let statements: Vec<&str> = statements.split(';').map(str::trim).collect();
        world.undo(&statements).await;
        for statement in &statements {
            world.undo(&[statement]).await;
            world.behind(statement).await;
        }
    }
}

/// PostgreSQL looks at a unique value row by row, so only one order of undoing works.
#[tokio::test]
async fn a_unique_value_that_wanders_over_the_rows_wanders_back() {
    let world = World::new(
        "CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE); \
         INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)",
    )
    .await;
    world
        .undo(&[
            "UPDATE t SET u = u - 1",
            "UPDATE t SET u = NULL WHERE id = 3",
            "UPDATE t SET u = 2 WHERE id = 1",
            "DELETE FROM t WHERE id = 2",
            "INSERT INTO t VALUES (4, 1)",
        ])
        .await;
}

/// What was taken behind the global lock stands in the way of a restore, also where the database looks
/// at it no earlier than at COMMIT.
#[tokio::test]
async fn what_the_database_refuses_to_restore_parks() {
    for (schema, statement, behind) in [
        (
            "CREATE TABLE t (id int PRIMARY KEY, u text UNIQUE); INSERT INTO t VALUES (1, 'e')",
            "UPDATE t SET u = 'f'",
            "INSERT INTO t VALUES (2, 'e')",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, u text UNIQUE DEFERRABLE); \
             INSERT INTO t VALUES (1, 'e')",
            "UPDATE t SET u = 'f'",
            "INSERT INTO t VALUES (2, 'e')",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY); \
             CREATE TABLE c (id int PRIMARY KEY, t int REFERENCES t)",
            "INSERT INTO t VALUES (1)",
            "INSERT INTO c VALUES (1, 1)",
        ),
        (
            "CREATE TABLE t (id numeric PRIMARY KEY); \
             CREATE TABLE c (id int PRIMARY KEY, t numeric REFERENCES t ON DELETE CASCADE)",
            "INSERT INTO t VALUES (1.0)",
            "INSERT INTO c VALUES (1, 1.000)",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY, \
             t int REFERENCES t DEFERRABLE); INSERT INTO t VALUES (1); INSERT INTO c VALUES (1, 1)",
            "DELETE FROM c",
            "DELETE FROM t",
        ),
    ] {
        let world = World::new(schema).await;
        let context = world.context();
        world.run(&context, &[statement]).await.unwrap();
        world.behind(behind).await;
        let before = world.dump().await;
        let answers = world.fake.roll_back(context.xid()).await;
        let [Answer::Parked(report)] = answers.as_slice() else { panic!("{schema}: {answers:?}") };
        assert_eq!(report.reason(), ParkReason::DirtyWrite, "{schema}");
        assert_eq!(world.dump().await, before, "{schema}");
        assert_eq!(world.barrier().await, ["open"]);
    }
}
