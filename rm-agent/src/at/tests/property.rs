//! Random statements on random rows, in random branches, rolled back: everything is as it was.
//!
//! Statements that the database refuses (a taken key, a broken foreign key) are part of it, and so
//! are savepoints that are rolled back to.

use std::collections::BTreeMap;

use pactum_core::lock::key::KeyValue;
use pactum_core::transaction::Resolution;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sqlx::AssertSqlSafe;

use super::reading::undo_log;
use super::world::{World, take};
use crate::at::AtError;
use crate::at::keys::{Fold, fold};
use crate::branch::{Answer, Task};
use crate::db::Row;

const SCHEMA: &str = "\
    CREATE TABLE a (id INTEGER PRIMARY KEY, u TEXT COLLATE NOCASE UNIQUE, n NUMERIC, x, \
        g AS (coalesce(n, 0) + id)); \
    CREATE TABLE b (k TEXT, l INTEGER, r REAL, up INTEGER REFERENCES a (id), PRIMARY KEY (k, l)) \
        WITHOUT ROWID; \
    CREATE TABLE c (id PRIMARY KEY, x BLOB, y TEXT DEFAULT 'd'); \
    INSERT INTO a (id, u, n, x) VALUES (1, 'a', 1.0, NULL), (2, 'B', 'n', x'00ff'), (3, NULL, -0.0, 2); \
    INSERT INTO b VALUES ('k', 1, 1, 1), ('k', 2, NULL, NULL), ('K', 1, -0.0, 2); \
    INSERT INTO c VALUES (1, -0.0, ''), (1.5, CAST(x'ff' AS TEXT), 't'), ('one', 9e999, NULL), \
        (x'01', 1, x'02')";

fn literal() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("NULL"),
        Just("0"),
        Just("1"),
        Just("2"),
        Just("3"),
        Just("4"),
        Just("-0.0"),
        Just("1.0"),
        Just("1.5"),
        Just("'a'"),
        Just("'b'"),
        Just("'B'"),
        Just("'one'"),
        Just("''"),
        Just("x'01'"),
        Just("x''"),
        Just("CAST(x'ff' AS TEXT)"),
        Just("'a' || char(0)"),
        Just("9e999"),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    let column = prop_oneof![Just("id"), Just("x")];
    prop_oneof![
        Just("1".to_owned()),
        (column, literal()).prop_map(|(column, value)| format!("{column} IN ({value}, 2)")),
        literal().prop_map(|value| format!("id > {value}")),
    ]
}

fn statement() -> impl Strategy<Value = String> {
    let v = literal;
    prop_oneof![
        (v(), v(), v(), v()).prop_map(|(id, u, n, x)| format!(
            "INSERT INTO a (id, u, n, x) VALUES ({id}, {u}, {n}, {x}), (NULL, NULL, 5, {x})"
        )),
        (v(), v(), condition())
            .prop_map(|(n, x, c)| format!("UPDATE a SET n = {n}, x = {x} WHERE {c}")),
        (v(), condition()).prop_map(|(u, c)| format!("UPDATE a SET u = {u} || id WHERE {c}")),
        v().prop_map(|id| format!("UPDATE a SET u = {id} WHERE id = 2")),
        condition().prop_map(|c| format!("DELETE FROM a WHERE {c}")),
        (v(), v(), v(), v())
            .prop_map(|(k, l, r, up)| format!("INSERT INTO b VALUES ({k}, {l}, {r}, {up})")),
        (v(), v()).prop_map(|(r, up)| format!("UPDATE b SET r = {r}, up = {up} WHERE l < 3")),
        v().prop_map(|l| format!("DELETE FROM b WHERE l <> {l}")),
        (v(), v()).prop_map(|(id, x)| format!("INSERT INTO c (id, x) VALUES ({id}, {x})")),
        (v(), v(), condition())
            .prop_map(|(x, y, c)| format!("UPDATE c SET x = {x}, y = {y} WHERE {c}")),
        condition().prop_map(|c| format!("DELETE FROM c WHERE {c}")),
        Just("INSERT INTO c SELECT 'a' || id, x, u FROM a".to_owned()),
        upsert(),
    ]
}

/// Keys that an upsert may be asked for twice.
fn key() -> impl Strategy<Value = &'static str> {
    literal().prop_filter("it calls no function", |value| !value.contains("char("))
}

fn upsert() -> impl Strategy<Value = String> {
    let v = key;
    let verb = prop_oneof![Just("REPLACE"), Just("INSERT OR REPLACE"), Just("INSERT OR IGNORE")];
    let action = prop_oneof![
        Just("(id) DO UPDATE SET n = excluded.n, x = 'id'"),
        Just("(u) DO UPDATE SET u = excluded.u || 1, x = n"),
        Just("DO UPDATE SET x = 'any', n = id WHERE a.n <> 1"),
        Just("DO NOTHING"),
    ];
    prop_oneof![
        (verb, v(), v(), v(), v()).prop_map(|(verb, id, u, n, x)| format!(
            "{verb} INTO a (id, u, n) VALUES ({id}, {u}, {n}), (NULL, {x}, 5), ({n}, {id}, 6)"
        )),
        (v(), v(), v(), action).prop_map(|(id, u, n, action)| format!(
            "INSERT INTO a (id, u, n) VALUES ({id}, {u}, {n}), (4, {u}, {id}) ON CONFLICT {action}"
        )),
        (v(), v(), v())
            .prop_map(|(k, l, r)| format!("REPLACE INTO b (k, l, r) VALUES ({k}, {l}, {r})")),
        (v(), v()).prop_map(|(id, y)| format!("REPLACE INTO c SELECT {id}, x, {y} FROM c")),
        v().prop_map(|y| format!("UPDATE c SET y = a.u, x = {y} FROM a WHERE c.id = a.id OR a.x")),
    ]
}

#[derive(Clone, Debug)]
enum Act {
    Run(String),
    /// Inside a savepoint, which is kept or not.
    Inside(Vec<String>, bool),
}

fn branch() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => statement().prop_map(Act::Run),
        1 => (vec(statement(), 1..3), any::<bool>()).prop_map(|(acts, keep)| Act::Inside(acts, keep)),
    ];
    vec(act, 1..6)
}

/// Refused by the database, or by the agent for a NULL in a key. Everything else is a bug.
fn check(error: sqlx::Error) -> Result<(), AtError> {
    match take(error) {
        AtError::Database(_) => Ok(()),
        error => Err(error),
    }
}

async fn run(
    world: &World,
    context: &crate::TransactionContext,
    acts: &[Act],
) -> Result<(), AtError> {
    let mut tx = world.at.begin_in(context).await?;
    for act in acts {
        match act {
            Act::Run(sql) => {
                let done = sqlx::query(AssertSqlSafe(sql.as_str())).execute(&mut *tx).await;
                done.map(|_| ()).or_else(check)?;
            }
            Act::Inside(statements, keep) => {
                let mut savepoint = tx.savepoint().await?;
                for sql in statements {
                    let query = sqlx::query(AssertSqlSafe(sql.as_str()));
                    query.execute(&mut *savepoint).await.map(|_| ()).or_else(check)?;
                }
                if *keep { savepoint.release().await? } else { savepoint.rollback().await? }
            }
        }
    }
    tx.commit().await
}

#[test]
fn a_rollback_is_the_identity() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::new(SCHEMA));
    let mut runner = TestRunner::new(ProptestConfig { cases: 300, ..ProptestConfig::default() });
    let mut undone = 0_usize;
    let undone_branches = std::cell::RefCell::new(&mut undone);
    let outcome = runner.run(&vec(branch(), 1..4), |branches| {
        runtime.block_on(async {
            let before = world.dump().await;
            let context = world.context();
            for acts in &branches {
                match run(&world, &context, acts).await {
                    Ok(()) => {}
                    Err(AtError::NullKey { .. } | AtError::OnlyRollback { .. }) => {}
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                }
            }
            // A repeat in the middle must not matter.
            let first = world.fake.registrations(context.xid());
            if let [.., newest] = first.as_slice() {
                let task = Task::Rollback { phase_one_done: true };
                let answer = world.fake.work(context.xid(), newest.branch, task).await;
                prop_assert_eq!(answer, Answer::Done);
            }
            let answers = world.fake.roll_back(context.xid()).await;
            **undone_branches.borrow_mut() += answers.len();
            for answer in answers {
                prop_assert_eq!(answer, Answer::Done);
            }
            prop_assert_eq!(world.dump().await, before);
            Ok(())
        })
    });
    outcome.unwrap();
    assert!(undone > 200, "hardly anything was undone: {undone}");
}

/// A change of the table that has no constraints but its key.
fn free_statement() -> impl Strategy<Value = String> {
    let v = literal;
    prop_oneof![
        (v(), v()).prop_map(|(id, x)| format!("INSERT INTO c (id, x) VALUES ({id}, {x})")),
        (v(), v(), condition())
            .prop_map(|(x, y, c)| format!("UPDATE c SET x = {x}, y = {y} WHERE {c}")),
        condition().prop_map(|c| format!("DELETE FROM c WHERE {c}")),
    ]
}

/// The key of a row of `c`, as the database compares it: 1 and 1.0 are one.
fn key_of_c(row: &Row) -> KeyValue {
    fold(&row[0], Fold::Binary).unwrap()
}

async fn rows_of_c(world: &World) -> BTreeMap<KeyValue, Row> {
    let rows = world.query("SELECT id, x, y FROM c").await;
    rows.into_iter().map(|row| (key_of_c(&row), row)).collect()
}

/// Goal: an operator's *restore* brings back every row that the branch changed, whatever somebody made
/// of it since, and touches no other. Method: random changes by a branch, then behind it.
#[test]
fn restore_brings_back_the_rows_of_the_branch_and_touches_no_other() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // A row without a key could not be told from another.
    let schema = SCHEMA.replace("c (id PRIMARY", "c (id NOT NULL PRIMARY");
    let world = runtime.block_on(World::new(&schema));
    let mut runner = TestRunner::new(ProptestConfig { cases: 200, ..ProptestConfig::default() });
    let overwritten = std::cell::Cell::new(0);
    let statements = (vec(free_statement(), 1..4), vec(free_statement(), 1..4));
    let outcome = runner.run(&statements, |(branch, behind)| {
        runtime.block_on(async {
            let before = rows_of_c(&world).await;
            let context = world.context();
            let acts: Vec<Act> = branch.into_iter().map(Act::Run).collect();
            if run(&world, &context, &acts).await.is_err() {
                return Ok(());
            }
            let Some(registered) = world.fake.registrations(context.xid()).first().cloned() else {
                return Ok(());
            };
            let log = undo_log(&world, registered.branch).await;
            for sql in behind {
                // NULLs and taken keys are refused.
                sqlx::query(AssertSqlSafe(sql)).execute(&world.pool).await.ok();
            }
            let mut expected = rows_of_c(&world).await;
            let changed = log.changes.iter().flat_map(|change| &change.rows);
            let left: BTreeMap<KeyValue, Option<&Row>> =
                changed.map(|row| (key_of_c(row.image()), row.after())).collect();
            for (key, after) in left {
                let then = before.get(&key).cloned();
                if then.is_none() && after.is_none() {
                    // It came and went: whoever has the key now has taken nothing from the branch.
                    continue;
                }
                let now = expected.remove(&key);
                overwritten.set(overwritten.get() + usize::from(now != then));
                expected.extend(then.map(|row| (key, row)));
            }
            let task = Task::Rollback { phase_one_done: true };
            let resolve =
                world.fake.resolve(context.xid(), registered.branch, task, Resolution::Restore);
            prop_assert_eq!(resolve.await, Answer::Done);
            prop_assert_eq!(rows_of_c(&world).await, expected);
            world.fake.release(context.xid(), None);
            Ok(())
        })
    });
    outcome.unwrap();
    assert!(overwritten.get() > 200, "hardly anything was overwritten: {overwritten:?}");
}
