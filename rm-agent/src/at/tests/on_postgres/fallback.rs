//! Statements that AT cannot undo, in branches that fall back to XA.

use std::sync::Arc;

use super::World;
use crate::at::tests::world::{options, take};
use crate::at::{AtError, AtOptions, Fallback};
use crate::branch::Environment;
use crate::branch::{Answer, Task};
use crate::link::fake::{Fake, Said};
use pactum_core::transaction::BranchMode;

const SCHEMA: &str = "CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL); \
     CREATE TABLE entry (note TEXT); CREATE VIEW rich AS SELECT * FROM account; \
     INSERT INTO account VALUES (1, 100), (2, 20); INSERT INTO entry VALUES ('old'); \
     CREATE FUNCTION take(n INT) RETURNS VOID LANGUAGE sql AS \
     'UPDATE account SET balance = balance - n WHERE id = 1'";

fn falling_back(fallback: Fallback) -> AtOptions {
    // A server's prepared transactions are all in one list, so each database needs a mark of its own.
    let environment = Environment { wall: options().environment.wall, ..Environment::real() };
    AtOptions { environment, ..options() }.fallback(fallback)
}

async fn world(fallback: Fallback) -> World {
    World::with(SCHEMA, falling_back(fallback)).await
}

async fn listed(world: &World) -> usize {
    world.at.0.xa.as_ref().unwrap().prepared.listed().await.unwrap().len()
}

/// Goal: rows that AT captured and rows that it cannot are undone together, by the database. Method:
/// a tracked change before and after a TRUNCATE, in one local transaction.
#[tokio::test]
async fn a_branch_with_an_untracked_statement_is_prepared() {
    let world = world(Fallback::Xa).await;
    let before = world.dump().await;
    for commits in [false, true] {
        let context = world.context();
        let run = [
            "UPDATE account SET balance = 70 WHERE id = 1",
            "MERGE INTO entry USING account a ON a.id = 2 WHEN MATCHED THEN DELETE",
            "INSERT INTO account VALUES (3, 5)",
        ];
        world.run(&context, &run).await.unwrap();
        assert_eq!(world.dump().await, before, "nobody sees it yet");
        assert_eq!(listed(&world).await, 1);
        let branch = world.fake.registrations(context.xid())[0].clone();
        assert_eq!(branch.mode, BranchMode::Xa);
        let locks = world.fake.locks(context.xid()).join(" ");
        assert!(locks.contains("account") && locks.contains("entry"), "{locks}");
        assert_eq!(world.fake.said().last(), Some(&Said::Done(branch.branch)));
        let answers = match commits {
            true => world.fake.commit(context.xid()).await,
            false => world.fake.roll_back(context.xid()).await,
        };
        assert_eq!(answers, [Answer::Done]);
        assert_eq!(listed(&world).await, 0);
        assert_eq!(world.dump().await != before, commits);
    }
    assert_eq!(world.value("SELECT count(*)::text FROM entry").await, "'0'");
    assert_eq!(world.barrier().await, ["tombstone", "open"]);
}

#[tokio::test]
async fn a_single_statement_falls_back_too() {
    let world = world(Fallback::Xa).await;
    let context = world.context();
    let run = context
        .clone()
        .scope(async { sqlx::query("TRUNCATE entry").execute(&world.at).await.map_err(take) });
    run.await.unwrap();
    assert_eq!(listed(&world).await, 1);
    assert_eq!(world.fake.roll_back(context.xid()).await, [Answer::Done]);
    assert_eq!(world.value("SELECT note FROM entry").await, "'old'");
}

#[tokio::test]
async fn the_tables_it_names_are_locked_for_everybody_else() {
    let world = world(Fallback::Xa).await;
    let holder = world.context();
    world.run(&holder, &["INSERT INTO account VALUES (9, 9)"]).await.unwrap();
    let context = world.context();
    let error = world.run(&context, &["TRUNCATE account"]).await.unwrap_err();
    assert!(matches!(error, AtError::LockConflict { .. }), "{error:?}");
    assert_eq!(listed(&world).await, 0);
    assert_eq!(world.fake.roll_back(holder.xid()).await, [Answer::Done]);
    world.run(&context, &["TRUNCATE account"]).await.unwrap();
    assert_eq!(world.fake.commit(context.xid()).await, [Answer::Done]);
}

#[tokio::test]
async fn what_names_no_table_is_refused_unless_that_is_allowed_by_name() {
    let unnamed = ["SELECT take(30)", "DO $$ BEGIN PERFORM take(30); END $$"];
    let strict = world(Fallback::Xa).await;
    for sql in unnamed.into_iter().chain(["DELETE FROM rich WHERE id = 1"]) {
        let context = strict.context();
        let error = strict.run(&context, &[sql]).await.unwrap_err();
        assert!(matches!(error, AtError::Refused(_)), "{sql}: {error:?}");
    }
    let lenient = world(Fallback::XaWithoutLocks).await;
    for sql in unnamed {
        let context = lenient.context();
        lenient.run(&context, &[sql]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(lenient.fake.roll_back(context.xid()).await, [Answer::Done], "{sql}");
    }
    assert_eq!(lenient.value("SELECT balance::text FROM account WHERE id = 1").await, "'100'");
}

#[tokio::test]
async fn what_ends_the_transaction_or_belongs_to_none_stays_refused() {
    let world = world(Fallback::XaWithoutLocks).await;
    let context = world.context();
    let controls =
        ["COMMIT", "PREPARE TRANSACTION 'x'", "TRUNCATE entry; COMMIT", "DROP TABLE entry"];
    for sql in controls {
        let error = world.run(&context, &[sql]).await.unwrap_err();
        assert!(matches!(error, AtError::Refused(_)), "{sql}: {error:?}");
    }
    // Outside of a global transaction there is nobody to decide.
    let mut guarded = world.at.begin().await.unwrap();
    let error =
        sqlx::query("TRUNCATE entry").execute(&mut *guarded).await.map_err(take).unwrap_err();
    assert!(matches!(error, AtError::Refused(_)), "{error:?}");
}

/// A refused statement has failed the transaction; the probe before the prepare says so.
#[tokio::test]
async fn a_statement_that_fails_leaves_only_a_rollback() {
    let world = world(Fallback::Xa).await;
    let context = world.context();
    let mut transaction = world.at.begin_in(&context).await.unwrap();
    sqlx::query("TRUNCATE entry").execute(&mut *transaction).await.unwrap();
    let broken = "MERGE INTO account USING entry ON no_such_column WHEN MATCHED THEN DELETE";
    let failed = sqlx::query(broken).execute(&mut *transaction).await;
    assert!(failed.is_err());
    assert!(transaction.commit().await.is_err());
    assert_eq!(listed(&world).await, 0);
    assert!(world.fake.said().is_empty(), "it was never registered");
}

/// The prepared branch keeps the rows; the coordinator may ask anybody how it ended.
#[tokio::test]
async fn the_coordinator_asks_the_mode_that_it_was_registered_in() {
    let world = world(Fallback::Xa).await;
    let context = world.context();
    world.run(&context, &["TRUNCATE entry"]).await.unwrap();
    let branch = world.fake.registrations(context.xid())[0].branch;
    assert_eq!(world.fake.work(context.xid(), branch, Task::AskPhaseOne).await, Answer::Done);
    assert_eq!(world.fake.commit(context.xid()).await, [Answer::Done]);
    assert_eq!(world.value("SELECT count(*)::text FROM entry").await, "'0'");
}

/// A resource that was attached without it, and a database that never can, say so.
#[tokio::test]
async fn only_where_it_can_be_done() {
    let dir = tempfile::tempdir().unwrap();
    let lite = crate::at::tests::world::file_pool(&dir).await;
    let (fake, fallback) = (Arc::new(Fake::default()), falling_back(Fallback::Xa));
    let refused = crate::at::AtPool::attach_over(fake, "bank-a".parse().unwrap(), lite, fallback);
    let error = refused.await.unwrap_err();
    assert!(error.to_string().contains("SQLite has no prepared transactions"), "{error}");
    let error = World::new(SCHEMA).await.at.with_fallback().unwrap_err();
    assert!(error.to_string().contains("AtOptions::fallback"), "{error}");
}

/// Here nothing has to be known at the begin: one that is declared is as any other.
#[tokio::test]
async fn a_declared_branch_falls_back_only_if_it_has_to() {
    let mut world = world(Fallback::Xa).await;
    world.at = world.at.with_fallback().unwrap();
    for (run, mode) in [
        (&["INSERT INTO account VALUES (3, 5)"][..], BranchMode::At),
        (&["INSERT INTO account VALUES (3, 5)", "TRUNCATE entry"], BranchMode::Xa),
    ] {
        let context = world.context();
        world.run(&context, run).await.unwrap();
        assert_eq!(world.fake.registrations(context.xid())[0].mode, mode);
        assert_eq!(world.fake.roll_back(context.xid()).await, [Answer::Done]);
    }
}

/// Goal: a savepoint that is still open at the end is no part of the barrier row's making. Method: the
/// ways to leave one open, and one in another; the prepared branch is then committed.
#[tokio::test]
async fn a_branch_with_open_savepoints_is_prepared() {
    const TAKE: &str = "UPDATE account SET balance = balance - 30 WHERE id = 1";
    for (way, balance, notes) in [
        ("rolled back", "70", "1"),
        ("rolled back, inside of another", "40", "1"),
        ("both rolled back", "100", "1"),
        ("dropped", "70", "1"),
        ("a mark that stays", "70", "0"),
        ("released, inside of a mark that stays", "40", "0"),
    ] {
        let world = world(Fallback::Xa).await;
        let context = world.context();
        let mut tx = world.at.begin_in(&context).await.unwrap();
        match way {
            "rolled back" | "dropped" => {
                let mut savepoint = tx.savepoint().await.unwrap();
                sqlx::query("TRUNCATE entry").execute(&mut *savepoint).await.unwrap();
                match way {
                    "dropped" => drop(savepoint),
                    _ => savepoint.rollback().await.unwrap(),
                }
                sqlx::query(TAKE).execute(&mut *tx).await.unwrap();
            }
            "rolled back, inside of another" => {
                let mut outer = tx.savepoint().await.unwrap();
                sqlx::query(TAKE).execute(&mut *outer).await.unwrap();
                let mut inner = outer.savepoint().await.unwrap();
                sqlx::query("TRUNCATE entry").execute(&mut *inner).await.unwrap();
                inner.rollback().await.unwrap();
                sqlx::query(TAKE).execute(&mut *outer).await.unwrap();
                outer.release().await.unwrap();
            }
            "both rolled back" => {
                let mut outer = tx.savepoint().await.unwrap();
                sqlx::query(TAKE).execute(&mut *outer).await.unwrap();
                let mut inner = outer.savepoint().await.unwrap();
                sqlx::query("TRUNCATE entry").execute(&mut *inner).await.unwrap();
                inner.rollback().await.unwrap();
                outer.rollback().await.unwrap();
                sqlx::query("INSERT INTO account VALUES (3, 5)").execute(&mut *tx).await.unwrap();
            }
            "a mark that stays" => {
                tx.set_mark().await.unwrap();
                sqlx::query("TRUNCATE entry").execute(&mut *tx).await.unwrap();
                sqlx::query(TAKE).execute(&mut *tx).await.unwrap();
            }
            _ => {
                tx.set_mark().await.unwrap();
                sqlx::query(TAKE).execute(&mut *tx).await.unwrap();
                let inner = tx.set_mark().await.unwrap();
                sqlx::query("TRUNCATE entry").execute(&mut *tx).await.unwrap();
                tx.release_mark(&inner).await.unwrap();
                sqlx::query(TAKE).execute(&mut *tx).await.unwrap();
            }
        }
        tx.commit().await.unwrap_or_else(|error| panic!("{way}: {error:?}"));
        assert_eq!(listed(&world).await, 1, "{way}");
        assert_eq!(world.fake.commit(context.xid()).await, [Answer::Done], "{way}");
        let found = world.value("SELECT balance::text FROM account WHERE id = 1").await;
        assert_eq!(found, format!("'{balance}'"), "{way}");
        let found = world.value("SELECT count(*)::text FROM entry").await;
        assert_eq!(found, format!("'{notes}'"), "{way}");
        assert_eq!(world.barrier().await, ["open"], "{way}");
    }
}

/// A statement that failed inside of an open savepoint has failed the transaction, and releasing the
/// savepoint does not cure it.
#[tokio::test]
async fn an_open_savepoint_does_not_hide_a_failed_transaction() {
    let world = world(Fallback::Xa).await;
    let context = world.context();
    let mut tx = world.at.begin_in(&context).await.unwrap();
    tx.set_mark().await.unwrap();
    sqlx::query("TRUNCATE entry").execute(&mut *tx).await.unwrap();
    assert!(sqlx::query("SELECT 1 / 0").execute(tx.bypass()).await.is_err());
    assert!(tx.commit().await.is_err());
    // A savepoint of the application's own is none that the agent releases.
    let mut tx = world.at.begin_in(&context).await.unwrap();
    sqlx::query("TRUNCATE entry").execute(&mut *tx).await.unwrap();
    sqlx::query("SAVEPOINT own").execute(tx.bypass()).await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, AtError::LocalCommit(_)), "{error:?}");
    assert_eq!(listed(&world).await, 0);
    assert_eq!(world.value("SELECT count(*)::text FROM entry").await, "'1'");
}
