//! Unique values that wander over the rows wander back: a branch that nobody interfered with is never
//! parked.
//!
//! Goal: whatever order of changes was legal is legal backwards, also where a row came out of the
//! branch as it went in, and where one statement changed several rows.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sqlx::{AssertSqlSafe, Executor, IntoArguments, Sqlite};

use super::world::{TestDatabase, World, WorldOn, take};
use crate::at::AtError;
use crate::at::connection::AtConnection;
use crate::branch::Answer;

const SCHEMA: &str = "CREATE TABLE t (id INT NOT NULL PRIMARY KEY, u INT UNIQUE, x INT); \
     INSERT INTO t VALUES (7, 3, 0), (8, 2, 0), (9, 1, 0)";

/// Histories that every database takes.
const HISTORIES: &[&[&str]] = &[
    // The row 9 comes out as it went in, and the row 8 had its value in between.
    &[
        "UPDATE t SET u = 40 WHERE id = 9",
        "UPDATE t SET u = 1 WHERE id = 8",
        "UPDATE t SET u = 50 WHERE id = 8",
        "UPDATE t SET u = 1 WHERE id = 9",
    ],
    // So with a row that goes and comes back.
    &[
        "DELETE FROM t WHERE id = 9",
        "UPDATE t SET u = 1 WHERE id = 7",
        "INSERT INTO t VALUES (4, 3, 0)",
        "DELETE FROM t WHERE id = 4",
        "UPDATE t SET u = NULL WHERE id = 7",
        "INSERT INTO t VALUES (9, 1, 0)",
    ],
    // A full round, in which each row has each value.
    &[
        "UPDATE t SET u = NULL WHERE id = 7",
        "UPDATE t SET u = 3 WHERE id = 8",
        "UPDATE t SET u = 2 WHERE id = 9",
        "UPDATE t SET u = 1 WHERE id = 7",
        "UPDATE t SET u = NULL WHERE id = 8",
        "UPDATE t SET u = 3 WHERE id = 7",
        "UPDATE t SET u = 1 WHERE id = 8",
    ],
    // One statement, each row of which takes the value that the one before has just left.
    &["UPDATE t SET u = u + 1"],
    &["DELETE FROM t", "INSERT INTO t VALUES (9, 3, 1), (7, 2, 1), (8, 1, 1)"],
];

/// Each history alone, and with a change of the same rows behind it. Each in a new table: a database
/// may visit rows in the order in which they lie, which a rollback does not restore.
pub(super) async fn unique_values_wander_back<DB>(histories: &[&[&str]])
where
    DB: TestDatabase,
    for<'c> &'c mut AtConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    for history in HISTORIES.iter().chain(histories) {
        WorldOn::<DB>::new(SCHEMA).await.undo(history).await;
        let longer = [history, &["UPDATE t SET x = 6"][..]].concat();
        WorldOn::<DB>::new(SCHEMA).await.undo(&longer).await;
    }
}

#[tokio::test]
async fn unique_values_that_wander_over_the_rows_wander_back() {
    unique_values_wander_back::<Sqlite>(&[
        &["INSERT INTO t VALUES (9, 50, 0), (4, 1, 0) ON CONFLICT (id) DO UPDATE SET u = excluded.u"],
        &["REPLACE INTO t VALUES (7, 1, 0), (9, 3, 0)"],
    ])
    .await;
}

/// What somebody put back by hand is left alone, and what came and went is nobody's.
#[tokio::test]
async fn a_branch_that_was_put_back_by_hand_is_done() {
    let world = World::new(SCHEMA).await;
    let before = world.dump().await;
    let context = world.context();
    let there_and_back =
        ["UPDATE t SET u = 40 WHERE id = 9", "UPDATE t SET u = 1 WHERE id = 9", "DELETE FROM t"];
    let came_and_went = ["INSERT INTO t VALUES (4, 4, 0)", "DELETE FROM t WHERE id = 4"];
    world.run(&context, &[&came_and_went[..], &there_and_back[..]].concat()).await.unwrap();
    world.behind("INSERT INTO t VALUES (7, 3, 0), (8, 2, 0), (9, 1, 0)").await;
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
    assert_eq!(world.dump().await, before);
}

fn value() -> impl Strategy<Value = &'static str> {
    prop_oneof![1 => Just("NULL"), 4 => prop_oneof![Just("1"), Just("2"), Just("3"), Just("4")]]
}

fn statement() -> impl Strategy<Value = String> {
    let id = || 1..5_u8;
    prop_oneof![
        6 => (value(), id()).prop_map(|(u, id)| format!("UPDATE t SET u = {u} WHERE id = {id}")),
        1 => (id(), -2..3_i8).prop_map(|(id, by)| format!("UPDATE t SET u = u + {by} WHERE id > {id}")),
        1 => (-3..4_i8).prop_map(|by| format!("UPDATE t SET u = u + {by}")),
        1 => (id(), value()).prop_map(|(id, u)| format!("UPDATE t SET x = {u} WHERE id <> {id}")),
        2 => id().prop_map(|id| format!("DELETE FROM t WHERE id = {id}")),
        1 => id().prop_map(|id| format!("DELETE FROM t WHERE u > {id}")),
        2 => (id(), value()).prop_map(|(id, u)| format!("INSERT INTO t VALUES ({id}, {u}, 0)")),
        1 => (id(), value(), id(), value()).prop_map(|(a, u, b, v)| format!(
            "INSERT INTO t VALUES ({a}, {u}, 1), ({b}, {v}, 1) \
             ON CONFLICT (id) DO UPDATE SET u = excluded.u")),
        1 => (id(), value(), id(), value()).prop_map(|(a, u, b, v)| format!(
            "REPLACE INTO t VALUES ({a}, {u}, 2), ({b}, {v}, 2)")),
    ]
}

/// Runs statements as a branch; those that the database refuses change nothing.
async fn run(
    world: &World,
    context: &crate::TransactionContext,
    statements: &[String],
) -> Result<(), AtError> {
    let mut tx = world.at.begin_in(context).await?;
    for sql in statements {
        let query = sqlx::query(AssertSqlSafe(sql.as_str()));
        match query.execute(&mut *tx).await.map_err(take) {
            Ok(_) | Err(AtError::Database(_)) => {}
            Err(error) => return Err(error),
        }
    }
    tx.commit().await
}

/// Goal: every history of a few rows that fight for a few unique values is undone exactly. Method:
/// random statements, many of which the database refuses, in one to three branches.
#[test]
fn no_history_of_unique_values_is_parked() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, u INT UNIQUE, x INT); \
                  INSERT INTO t VALUES (1, 1, 0), (2, 2, 0), (3, 3, 0)";
    let world = runtime.block_on(World::new(schema));
    let mut runner = TestRunner::new(ProptestConfig { cases: 400, ..ProptestConfig::default() });
    let changes = std::cell::Cell::new(0);
    let outcome = runner.run(&vec(vec(statement(), 3..14), 1..4), |branches| {
        runtime.block_on(async {
            let before = world.dump().await;
            let context = world.context();
            for statements in &branches {
                match run(&world, &context, statements).await {
                    // An upsert that failed half-way leaves only a rollback.
                    Ok(()) | Err(AtError::OnlyRollback { .. }) => {}
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                }
            }
            for answer in world.fake.roll_back(context.xid()).await {
                changes.set(changes.get() + 1);
                prop_assert_eq!(answer, Answer::Done);
            }
            prop_assert_eq!(world.dump().await, before);
            Ok(())
        })
    });
    outcome.unwrap();
    assert!(changes.get() > 300, "hardly anything was undone: {changes:?}");
}
