//! sqlx's queries run unchanged, and what is cut short or rolled back leaves nothing.

use futures_util::{FutureExt, TryStreamExt};
use sqlx::{Executor as _, QueryBuilder, Row as _, Sqlite};

use super::world::{World, take};
use crate::at::AtError;
use crate::branch::Answer;

const SCHEMA: &str = "CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, \
     balance INTEGER NOT NULL); INSERT INTO account VALUES (1, 'A', 100), (2, 'B', 50)";

#[derive(Debug, PartialEq, sqlx::FromRow)]
struct Account {
    id: i64,
    owner: String,
    balance: i64,
}

fn account(id: i64, owner: &str, balance: i64) -> Account {
    Account { id, owner: owner.to_owned(), balance }
}

#[tokio::test]
async fn every_form_of_a_query_runs_unchanged_and_is_undone() {
    let world = World::new(SCHEMA).await;
    let before = world.dump().await;
    let context = world.context();
    let mut tx = world.at.begin_in(&context).await.unwrap();

    let done = sqlx::query("UPDATE account SET balance = balance - ? WHERE id = ?")
        .bind(30)
        .bind(1)
        .execute(&mut *tx)
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 1);

    let inserted = sqlx::query("INSERT INTO account (owner, balance) VALUES (?, ?), (?, ?)")
        .bind("C")
        .bind(1)
        .bind("D")
        .bind(2)
        .execute(&mut *tx)
        .await
        .unwrap();
    assert_eq!((inserted.rows_affected(), inserted.last_insert_rowid()), (2, 4));

    let returned: Vec<Account> =
        sqlx::query_as("UPDATE account SET balance = balance + $1 WHERE id > $2 RETURNING *")
            .bind(5)
            .bind(2)
            .fetch_all(&mut *tx)
            .await
            .unwrap();
    assert_eq!(returned, vec![account(3, "C", 6), account(4, "D", 7)]);

    // The first row only, but the statement runs to its end.
    let first: i64 = sqlx::query_scalar("DELETE FROM account WHERE id > 2 RETURNING id")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    assert_eq!(first, 3);
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM account").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(left, 2);

    let nothing = sqlx::query("SELECT 1 FROM account WHERE id = 99").fetch_optional(&mut *tx).await;
    assert!(nothing.unwrap().is_none());

    let mut builder = QueryBuilder::<Sqlite>::new("INSERT INTO account (id, owner, balance) ");
    builder.push_values([(7, "G"), (8, "H")], |mut row, (id, owner)| {
        row.push_bind(id).push_bind(owner).push_bind(0);
    });
    builder.build().execute(&mut *tx).await.unwrap();

    let raw = sqlx::raw_sql("UPDATE account SET owner = 'X' WHERE id = 7").execute(&mut *tx).await;
    assert_eq!(raw.unwrap().rows_affected(), 1);
    let text = tx.execute("UPDATE account SET owner = 'Y' WHERE id = 8").await.unwrap();
    assert_eq!(text.rows_affected(), 1);

    let statement =
        (&mut *tx).prepare(sqlx::SqlStr::from_static("DELETE FROM account WHERE id = ?"));
    let statement = statement.await.unwrap();
    let query = sqlx::Statement::query(&statement).bind(8);
    assert_eq!(query.execute(&mut *tx).await.unwrap().rows_affected(), 1);

    // Streams, and rows without the captured columns in the way of names and places.
    let mut rows =
        sqlx::query("UPDATE account SET balance = 0 RETURNING id AS x, owner").fetch(&mut *tx);
    let mut seen = Vec::new();
    while let Some(row) = rows.try_next().await.unwrap() {
        seen.push((row.get::<i64, _>("x"), row.get::<String, _>(1)));
    }
    drop(rows);
    assert_eq!(seen, vec![(1, "A".to_owned()), (2, "B".to_owned()), (7, "X".to_owned())]);

    // A statement without RETURNING gives no rows, however it is fetched.
    let none = sqlx::query("UPDATE account SET balance = 1").fetch_all(&mut *tx).await.unwrap();
    assert!(none.is_empty());

    tx.commit().await.unwrap();
    assert_eq!(context.done_branches().len(), 1);
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
    assert_eq!(world.dump().await, before);
}

/// A function over any executor is what applications have.
async fn credit<'e>(executor: impl sqlx::SqliteExecutor<'e>, id: i64) -> Result<u64, sqlx::Error> {
    let query = sqlx::query("UPDATE account SET balance = balance + 1 WHERE id = ?").bind(id);
    Ok(query.execute(executor).await?.rows_affected())
}

#[tokio::test]
async fn a_function_over_executors_takes_both_and_runs_in_a_spawned_task() {
    let world = World::new(SCHEMA).await;
    let context = world.context();
    let (at, inside) = (world.at.clone(), context.clone());
    let task = tokio::spawn(async move {
        let mut tx = at.begin_in(&inside).await.unwrap();
        assert_eq!(credit(&mut *tx, 1).await.unwrap(), 1);
        tx.commit().await.unwrap();
        inside.scope(async move { credit(&at, 2).await }).await.unwrap()
    });
    assert_eq!(task.await.unwrap(), 1);
    assert_eq!(context.done_branches().len(), 2);
    assert_eq!(world.fake.commit(context.xid()).await, vec![Answer::Done; 2]);
    assert!(world.barrier().await.is_empty());
    assert_eq!(world.value("SELECT sum(balance) FROM account").await, "152");
}

#[tokio::test]
async fn a_statement_that_the_database_refuses_leaves_the_transaction_usable() {
    let world = World::new(SCHEMA).await;
    let context = world.context();
    let mut tx = world.at.begin_in(&context).await.unwrap();
    credit(&mut *tx, 1).await.unwrap();
    let error =
        sqlx::query("INSERT INTO account VALUES (3, 'C', 0), (2, 'B', 0)").execute(&mut *tx).await;
    assert!(error.unwrap_err().as_database_error().unwrap().is_unique_violation());
    let error = sqlx::query("UPDATE account SET nonsense = 1").execute(&mut *tx).await;
    assert!(matches!(take(error.unwrap_err()), AtError::Refused(_)));
    let error = sqlx::query("UPDATE account SET balance = nonsense(1)").execute(&mut *tx).await;
    assert!(error.unwrap_err().as_database_error().is_some());
    credit(&mut *tx, 2).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.fake.locks(context.xid()), ["account[1]", "account[2]"]);
    assert_eq!(world.value("SELECT count(*) FROM account").await, "2");
}

/// The future of a change is dropped at each of its awaits in turn: polled once, twice, and so on.
/// Either the change was noted, or only a rollback is possible.
#[tokio::test]
async fn a_change_that_is_cut_short_can_only_be_rolled_back() {
    let world = World::new(SCHEMA).await;
    let before = world.dump().await;
    let mut cut_short = 0;
    for polls in 1..200 {
        let context = world.context();
        let mut tx = world.at.begin_in(&context).await.unwrap();
        let finished = {
            let mut change = Box::pin(credit(&mut *tx, 1));
            let mut finished = false;
            for _ in 0..polls {
                tokio::task::yield_now().await;
                if let Some(done) = change.as_mut().now_or_never() {
                    assert_eq!(done.unwrap(), 1);
                    finished = true;
                    break;
                }
            }
            finished
        };
        if finished {
            tx.commit().await.unwrap();
            assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
        } else {
            // Another statement of the same transaction.
            let next = credit(&mut *tx, 2).await;
            match next.map_err(take) {
                // It was dropped while it read its image: nothing had run.
                Ok(_) => {
                    tx.commit().await.unwrap();
                    assert_eq!(world.fake.locks(context.xid()), ["account[2]"]);
                    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
                }
                Err(AtError::OnlyRollback { .. }) => {
                    cut_short += 1;
                    let refused = tx.commit().await;
                    assert!(matches!(refused, Err(AtError::OnlyRollback { .. })));
                    assert!(world.fake.registrations(context.xid()).is_empty());
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(world.dump().await, before, "after {polls} polls");
    }
    assert!(cut_short > 0, "the test never hit the moment that it is about");
}

#[tokio::test]
async fn savepoints_keep_undo_log_keys_and_rows_in_step() {
    let world = World::new(SCHEMA).await;
    let before = world.dump().await;
    let context = world.context();
    let mut tx = world.at.begin_in(&context).await.unwrap();
    credit(&mut *tx, 1).await.unwrap();

    let mut kept = tx.savepoint().await.unwrap();
    sqlx::query("INSERT INTO account VALUES (3, 'C', 0)").execute(&mut *kept).await.unwrap();
    let mut inner = kept.savepoint().await.unwrap();
    sqlx::query("DELETE FROM account WHERE id = 2").execute(&mut *inner).await.unwrap();
    inner.rollback().await.unwrap();
    kept.release().await.unwrap();

    // Dropped unfinished: rolled back before the next statement.
    let mut dropped = tx.savepoint().await.unwrap();
    sqlx::query("INSERT INTO account VALUES (4, 'D', 0)").execute(&mut *dropped).await.unwrap();
    drop(dropped);
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM account").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(count, 3);

    // Dropped unfinished right before the commit, two deep.
    let mut outer = tx.savepoint().await.unwrap();
    sqlx::query("DELETE FROM account WHERE id = 2").execute(&mut *outer).await.unwrap();
    let mut inner = outer.savepoint().await.unwrap();
    sqlx::query("DELETE FROM account WHERE id = 1").execute(&mut *inner).await.unwrap();
    drop(inner);
    drop(outer);
    tx.commit().await.unwrap();

    assert_eq!(world.fake.locks(context.xid()), ["account[1]", "account[3]"]);
    assert_eq!(
        world.value("SELECT group_concat(id || '=' || balance) FROM account").await,
        "'1=101,2=50,3=0'"
    );
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
    assert_eq!(world.dump().await, before);
}

#[tokio::test]
async fn a_local_rollback_makes_no_branch() {
    let world = World::new(SCHEMA).await;
    let before = world.dump().await;
    let context = world.context();
    let mut tx = world.at.begin_in(&context).await.unwrap();
    credit(&mut *tx, 1).await.unwrap();
    tx.rollback().await.unwrap();
    let mut tx = world.at.begin_in(&context).await.unwrap();
    credit(&mut *tx, 1).await.unwrap();
    drop(tx);
    // The writer's turn is free again.
    let mut tx = world.at.begin_in(&context).await.unwrap();
    let sum: i64 =
        sqlx::query_scalar("SELECT sum(balance) FROM account").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(sum, 150);
    tx.commit().await.unwrap();
    assert_eq!(world.dump().await, before);
    assert!(world.fake.registrations(context.xid()).is_empty());
    assert!(world.fake.said().is_empty());
}

#[tokio::test]
async fn plans_are_made_anew_after_a_change_of_the_schema() {
    let world = World::new(SCHEMA).await;
    let context = world.context();
    let sql = "UPDATE account SET balance = 1 WHERE id = 1";
    world.run(&context, &[sql]).await.unwrap();
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);

    world.behind("ALTER TABLE account ADD COLUMN note TEXT DEFAULT 'n'").await;
    let context = world.context();
    let error = world.run(&context, &[sql]).await.unwrap_err();
    assert!(matches!(error, AtError::SchemaChanged(_)), "{error}");
    assert!(error.is_retryable());
    assert!(world.fake.registrations(context.xid()).is_empty(), "the failed branch is reported");
    world.undo(&[sql]).await;

    // The form that runs again does so by itself.
    world.behind("ALTER TABLE account ADD COLUMN more TEXT").await;
    let context = world.context();
    let done = context.clone().scope(async { sqlx::query(sql).execute(&world.at).await }).await;
    assert_eq!(done.unwrap().rows_affected(), 1);
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);

    world.behind("CREATE TRIGGER spy AFTER UPDATE ON account BEGIN DELETE FROM account; END").await;
    let context = world.context();
    let done = context.clone().scope(async { sqlx::query(sql).execute(&world.at).await }).await;
    let error = take(done.unwrap_err());
    assert!(error.to_string().contains("trigger `spy`"), "{error}");
    assert_eq!(world.value("SELECT count(*) FROM account").await, "2");
}

/// One of its plans was made before a change of the schema, and one after it.
#[tokio::test]
async fn a_transaction_that_met_two_schemas_runs_again() {
    let world = World::new(SCHEMA).await;
    let old = "UPDATE account SET balance = 1 WHERE id = 1";
    world.undo(&[old]).await;
    world.behind("ALTER TABLE account ADD COLUMN note TEXT").await;
    let (context, mut runs) = (world.context(), 0);
    let body = world.at.transaction_in::<_, (), AtError>(&context, |tx| {
        runs += 1;
        Box::pin(async move {
            sqlx::query(old).execute(&mut **tx).await?;
            sqlx::query("DELETE FROM account WHERE id = 2").execute(&mut **tx).await?;
            Ok(())
        })
    });
    body.await.unwrap();
    assert_eq!(runs, 2);
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
}

#[tokio::test]
async fn a_transaction_that_somebody_left_open_is_not_joined() {
    super::left_open::a_transaction_that_somebody_left_open_is_not_joined::<sqlx::Sqlite>().await;
}
