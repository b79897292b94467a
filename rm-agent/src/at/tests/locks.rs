//! Which locks a branch takes, and what happens when they are taken.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Row as _;

use super::world::{World, take};
use crate::at::AtError;
use crate::branch::Answer;

const BANK: &str = "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL); \
     INSERT INTO account VALUES (1, 100), (2, 50), (3, 0)";

async fn locks_of(schema: &str, statements: &[&str]) -> Vec<String> {
    let world = World::new(schema).await;
    let context = world.context();
    world.run(&context, statements).await.unwrap();
    let mut locks = world.fake.locks(context.xid());
    locks.dedup();
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done]);
    locks
}

#[tokio::test]
async fn rows_are_locked_by_what_their_key_equals() {
    let text = "CREATE TABLE Person (name TEXT COLLATE NOCASE PRIMARY KEY, x); \
         INSERT INTO Person VALUES ('Ann', 1), ('BOB', 2)";
    assert_eq!(
        locks_of(text, &["UPDATE person SET x = 3"]).await,
        ["person[\"ann\"]", "person[\"bob\"]"]
    );
    let trimmed =
        "CREATE TABLE t (k TEXT, PRIMARY KEY (k COLLATE RTRIM)); INSERT INTO t VALUES ('a  ')";
    assert_eq!(locks_of(trimmed, &["DELETE FROM T"]).await, ["t[\"a\"]"]);
    let number =
        "CREATE TABLE t (k PRIMARY KEY, x); INSERT INTO t VALUES (1.0, 0), ('1', 0), (1.5, 0)";
    assert_eq!(locks_of(number, &["UPDATE t SET x = 1"]).await, ["t[\"1\"]", "t[1.5]", "t[1]"]);
    let pair = "CREATE TABLE t (a, b, x, PRIMARY KEY (b, a)); INSERT INTO t VALUES (1, 2, 0)";
    assert_eq!(locks_of(pair, &["UPDATE t SET x = 1"]).await, ["t[2, 1]"]);
}

#[tokio::test]
async fn unique_values_are_locked_when_they_come_or_go() {
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, mail TEXT COLLATE NOCASE, a, b, \
         UNIQUE (a, b)); CREATE UNIQUE INDEX By_Mail ON t (mail); \
         CREATE UNIQUE INDEX part ON t (b) WHERE a > 5; INSERT INTO t VALUES (1, 'X@y', 1, 2)";
    assert_eq!(locks_of(schema, &["UPDATE t SET a = a"]).await, ["t[1]"]);
    assert_eq!(
        locks_of(schema, &["UPDATE t SET mail = 'Z'"]).await,
        ["t.by_mail[\"x@y\"]", "t.by_mail[\"z\"]", "t[1]"]
    );
    // A partial index is locked as if it were full.
    assert_eq!(
        locks_of(schema, &["DELETE FROM t"]).await,
        ["t.by_mail[\"x@y\"]", "t.part[2]", "t.sqlite_autoindex_t_1[1, 2]", "t[1]"]
    );
    // NULLs are equal to nothing.
    assert_eq!(locks_of(schema, &["INSERT INTO t VALUES (2, NULL, 1, NULL)"]).await, ["t[2]"]);
    let computed =
        "CREATE TABLE t (id INTEGER PRIMARY KEY, m); CREATE UNIQUE INDEX i ON t (lower(m))";
    assert_eq!(locks_of(computed, &["INSERT INTO t VALUES (1, 'A')"]).await, ["t.*"]);
}

#[tokio::test]
async fn parents_are_shared_with_all_who_refer_to_them() {
    let schema = "CREATE TABLE parent (id INTEGER PRIMARY KEY, code TEXT COLLATE NOCASE UNIQUE); \
         CREATE TABLE child (id INTEGER PRIMARY KEY, p REFERENCES parent, c TEXT REFERENCES \
         parent (code), x INTEGER REFERENCES parent); \
         INSERT INTO parent VALUES (1, 'A'), (2, 'B'); INSERT INTO child VALUES (1, 1, 'a', NULL)";
    // `p` is of another kind than what it refers to, so the parent table is locked; `x` is of the
    // same.
    assert_eq!(
        locks_of(schema, &["UPDATE child SET x = 2"]).await,
        ["child[1]", "parent[2] shared"]
    );
    assert_eq!(
        locks_of(schema, &["UPDATE child SET c = 'b'"]).await,
        [
            "child[1]",
            "parent.sqlite_autoindex_parent_1[\"a\"] shared",
            "parent.sqlite_autoindex_parent_1[\"b\"] shared"
        ]
    );
    assert_eq!(
        locks_of(schema, &["UPDATE child SET p = 2"]).await,
        ["child[1]", "parent.* shared"]
    );
    let world = World::new(schema).await;
    let (first, second) = (world.context(), world.context());
    world.run(&first, &["INSERT INTO parent VALUES (3, 'C')"]).await.unwrap();
    let refused = world.run(&second, &["UPDATE child SET x = 3"]).await;
    assert!(
        matches!(refused, Err(AtError::LockConflict { .. })),
        "hole B: a child of a new parent"
    );
}

#[tokio::test]
async fn a_unique_value_cannot_be_taken_over_before_the_decision() {
    let world = World::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, mail UNIQUE); \
                            INSERT INTO t VALUES (1, 'e')",
    )
    .await;
    let (first, second) = (world.context(), world.context());
    world.run(&first, &["DELETE FROM t WHERE id = 1"]).await.unwrap();
    let refused = world.run(&second, &["INSERT INTO t VALUES (2, 'e')"]).await;
    let Err(AtError::LockConflict { holder, .. }) = refused else { panic!("hole A: {refused:?}") };
    assert_eq!(holder, first.xid().to_string());
    assert_eq!(world.fake.roll_back(first.xid()).await, vec![Answer::Done]);
    world.run(&second, &["INSERT INTO t VALUES (2, 'f')"]).await.unwrap();
}

#[tokio::test]
async fn many_rows_lock_the_table() {
    let options = super::world::options().row_locks_per_table_max(2);
    let world = World::with(BANK, options).await;
    let context = world.context();
    world.run(&context, &["UPDATE account SET balance = 1"]).await.unwrap();
    assert_eq!(world.fake.locks(context.xid()), ["account.*"]);
    let other = world.context();
    let refused = world.run(&other, &["UPDATE account SET balance = 2 WHERE id = 3"]).await;
    assert!(matches!(refused, Err(AtError::LockConflict { .. })));
}

#[tokio::test]
async fn a_taken_lock_leaves_nothing_and_names_its_holder() {
    let world = World::new(BANK).await;
    let (first, second) = (world.context(), world.context());
    let take_one = "UPDATE account SET balance = balance - 1 WHERE id = 1";
    world.run(&first, &[take_one]).await.unwrap();
    let before = world.dump().await;
    let error = world.run(&second, &[take_one]).await.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(
        error.to_string(),
        format!("global transaction `{}` holds a lock that is needed here", first.xid())
    );
    assert_eq!(world.dump().await, before);
    assert!(world.fake.registrations(second.xid()).is_empty());
    assert!(
        !world.fake.said().iter().any(|said| matches!(said, crate::link::fake::Said::Failed(_)))
    );
    // Its own locks are no obstacle.
    world.run(&first, &[take_one]).await.unwrap();
    assert_eq!(world.barrier().await, ["open", "open"]);
}

/// The holder's rollback needs the database that the waiter would otherwise keep.
#[tokio::test]
async fn a_transaction_waits_outside_and_runs_again() {
    let world = Arc::new(World::new(BANK).await);
    let (first, second) = (world.context(), world.context());
    world.run(&first, &["UPDATE account SET balance = 0 WHERE id = 1"]).await.unwrap();

    let (inner, context) = (Arc::clone(&world), second.clone());
    let waiter = tokio::spawn(async move {
        let mut runs = 0;
        let body = inner.at.transaction_in::<_, _, AtError>(&context, |tx| {
            runs += 1;
            Box::pin(async move {
                let seen: i64 = sqlx::query_scalar("SELECT balance FROM account WHERE id = 1")
                    .fetch_one(&mut **tx)
                    .await
                    .map_err(take)?;
                sqlx::query("UPDATE account SET balance = ? WHERE id = 1")
                    .bind(seen - 30)
                    .execute(&mut **tx)
                    .await
                    .map_err(take)?;
                Ok(seen)
            })
        });
        let seen = body.await.unwrap();
        (runs, seen)
    });
    while world.fake.claims_waited() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.fake.roll_back(first.xid()).await, vec![Answer::Done]);
    let (runs, seen) = waiter.await.unwrap();
    assert_eq!((runs, seen), (2, 100), "it read the restored row, not the one it first met");
    assert_eq!(world.fake.claims_left(), 0);
    assert_eq!(world.value("SELECT balance FROM account WHERE id = 1").await, "70");
}

#[tokio::test]
async fn a_single_statement_waits_outside_too() {
    let world = Arc::new(World::new(BANK).await);
    let (first, second) = (world.context(), world.context());
    world.run(&first, &["UPDATE account SET balance = 0 WHERE id = 1"]).await.unwrap();
    let (inner, context) = (Arc::clone(&world), second.clone());
    let waiter = tokio::spawn(context.scope(async move {
        let query =
            sqlx::query("UPDATE account SET balance = balance + ? WHERE id = 1 RETURNING balance");
        query.bind(5).fetch_one(&inner.at).await.unwrap().get::<i64, _>(0)
    }));
    while world.fake.claims_waited() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.fake.commit(first.xid()).await, vec![Answer::Done]);
    assert_eq!(waiter.await.unwrap(), 5);
    assert_eq!(world.fake.locks(second.xid()), ["account[1]"]);
}

#[tokio::test]
async fn waiting_has_a_bound_and_a_dropped_waiter_leaves_nothing() {
    let options = super::world::options().claim_wait_max(Duration::from_millis(30));
    let world = World::with(BANK, options).await;
    let (first, second) = (world.context(), world.context());
    let sql = "UPDATE account SET balance = 7 WHERE id = 1";
    world.run(&first, &[sql]).await.unwrap();
    let error = second.clone().scope(async { sqlx::query(sql).execute(&world.at).await }).await;
    assert!(matches!(take(error.unwrap_err()), AtError::LockConflict { .. }));

    let waiting = second.clone().scope(async { sqlx::query(sql).execute(&world.at).await });
    let dropped = tokio::time::timeout(Duration::from_millis(5), waiting).await;
    assert!(dropped.is_err());
    assert_eq!(world.fake.claims_left(), 0);
    assert!(world.fake.registrations(second.xid()).is_empty());
}

/// Goal: who deals with a taken lock and then fails on something else is not run again; who fails on it
/// is, whatever its error is made of. Method: whether it waits for the lock.
#[tokio::test]
async fn only_what_a_taken_lock_ended_waits_for_it() {
    type Any = Box<dyn std::error::Error + Send + Sync>;
    #[derive(Debug, thiserror::Error)]
    #[error("the application's own")]
    struct Own(#[source] sqlx::Error);
    type Fail = fn(sqlx::Error) -> Any;
    let fails: [(Fail, u64); 5] = [
        (|taken| taken.into(), 1),
        (|taken| take(taken).into(), 1),
        (|taken| Own(taken).into(), 1),
        (|_| "no such order".into(), 0),
        (|taken| AtError::from(taken).to_string().into(), 0),
    ];
    for (fail, waits) in fails {
        let options = super::world::options().claim_wait_max(Duration::from_millis(30));
        let world = World::with(BANK, options).await;
        world
            .run(&world.context(), &["UPDATE account SET balance = 7 WHERE id = 1"])
            .await
            .unwrap();
        let (context, mut runs) = (world.context(), 0);
        let body = world.at.transaction_in::<_, (), Any>(&context, |tx| {
            runs += 1;
            Box::pin(async move {
                let read = tx.lock_rows(sqlx::query("SELECT * FROM account WHERE id = 1")).await;
                let Err(taken) = read else { panic!("it is taken") };
                Err(fail(taken.into()))
            })
        });
        let error = body.await.unwrap_err();
        assert_eq!((world.fake.claims_waited(), runs), (waits, 1), "{error}");
    }
}

/// Goal: a second run that finds nothing to do registers nothing, so nothing uses its claim up. Method:
/// its condition fits only what the holder's rollback takes away.
#[tokio::test]
async fn a_claim_that_nothing_needs_any_more_is_given_back() {
    let world = Arc::new(World::new(BANK).await);
    let (first, second) = (world.context(), world.context());
    world.run(&first, &["UPDATE account SET balance = 10 WHERE id = 1"]).await.unwrap();
    let (inner, context) = (Arc::clone(&world), second.clone());
    let waiter = tokio::spawn(context.scope(async move {
        let query = sqlx::query("UPDATE account SET balance = 0 WHERE id = 1 AND balance < 50");
        query.execute(&inner.at).await.unwrap().rows_affected()
    }));
    while world.fake.claims_waited() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.fake.roll_back(first.xid()).await, vec![Answer::Done]);
    assert_eq!(waiter.await.unwrap(), 0);
    assert_eq!(world.fake.claims_left(), 0);
}

/// The second run fails for a reason of its own, or is dropped: its claim must not block others.
#[tokio::test]
async fn a_claim_that_is_not_used_is_given_back() {
    let world = Arc::new(World::new(BANK).await);
    for dropped in [false, true] {
        let (first, second) = (world.context(), world.context());
        let sql = "UPDATE account SET balance = 7 WHERE id = 1";
        world.run(&first, &[sql]).await.unwrap();
        let waited = world.fake.claims_waited();
        let (inner, context) = (Arc::clone(&world), second.clone());
        let (again, mut is_again) = tokio::sync::mpsc::unbounded_channel();
        let waiter = tokio::spawn(async move {
            let mut runs = 0;
            let body = inner.at.transaction_in::<_, (), AtError>(&context, |tx| {
                runs += 1;
                let (is_second, again) = (runs == 2, again.clone());
                Box::pin(async move {
                    if is_second && dropped {
                        again.send(()).unwrap();
                        std::future::pending::<()>().await;
                    }
                    if is_second {
                        return Err(AtError::Unsuitable("changed its mind"));
                    }
                    sqlx::query(sql).execute(&mut **tx).await.map_err(take)?;
                    Ok(())
                })
            });
            body.await
        });
        while world.fake.claims_waited() == waited {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.fake.roll_back(first.xid()).await, vec![Answer::Done]);
        if dropped {
            is_again.recv().await.unwrap();
            assert_eq!(world.fake.claims_left(), 1);
            waiter.abort();
            assert!(waiter.await.unwrap_err().is_cancelled());
        } else {
            assert!(matches!(waiter.await.unwrap(), Err(AtError::Unsuitable(_))));
        }
        assert_eq!(world.fake.claims_left(), 0);
    }
}

#[tokio::test]
async fn local_transactions_are_guarded_outside_of_global_ones() {
    let world = World::new(BANK).await;
    let context = world.context();
    world.run(&context, &["UPDATE account SET balance = 0 WHERE id = 1"]).await.unwrap();

    let mut tx = world.at.begin().await.unwrap();
    sqlx::query("UPDATE account SET balance = 9 WHERE id = 1").execute(&mut *tx).await.unwrap();
    let refused = tx.commit().await;
    assert!(matches!(refused, Err(AtError::LockConflict { .. })), "{refused:?}");
    assert_eq!(world.value("SELECT balance FROM account WHERE id = 1").await, "0");

    let mut tx = world.at.begin().await.unwrap();
    sqlx::query("UPDATE account SET balance = 9 WHERE id = 2").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.fake.last_check(), ["account[2]"]);
    assert_eq!(world.value("SELECT balance FROM account WHERE id = 2").await, "9");
    assert_eq!(world.barrier().await, ["open"], "a guarded transaction has no undo log");

    // One statement waits for the holder to end.
    let sql = "UPDATE account SET balance = balance + 1 WHERE id = 1";
    let waiting = sqlx::query(sql).execute(&world.at);
    let ending = world.fake.roll_back(context.xid());
    let (done, ended) = tokio::join!(waiting, ending);
    assert_eq!((done.unwrap().rows_affected(), ended), (1, vec![Answer::Done]));
    assert_eq!(world.value("SELECT balance FROM account WHERE id = 1").await, "101");
}

#[tokio::test]
async fn rows_that_are_read_can_be_checked_or_taken() {
    let world = World::new(BANK).await;
    let (writer, reader) = (world.context(), world.context());
    world.run(&writer, &["UPDATE account SET balance = 0 WHERE id = 1"]).await.unwrap();

    // Read committed: the taken row is refused, the free one is not held.
    let mut tx = world.at.begin_in(&reader).await.unwrap();
    for id in [1, 2] {
        let rows = sqlx::query("SELECT balance FROM account WHERE id = ? FOR UPDATE")
            .bind(id)
            .fetch_all(&mut *tx)
            .await;
        match rows.map_err(take) {
            Ok(rows) => assert_eq!((id, rows[0].get::<i64, _>("balance")), (2, 50)),
            Err(error) => {
                assert!(matches!(error, AtError::LockConflict { .. }) && id == 1, "{id} {error}");
            }
        }
    }
    let sum = tx.lock_rows(sqlx::query("SELECT sum(balance) FROM account WHERE id > 1")).await;
    assert_eq!(sum.unwrap()[0].get::<i64, _>(0), 50);
    assert_eq!(world.fake.last_check(), ["account[2]", "account[3]"]);
    let all = tx.lock_rows(sqlx::query("SELECT sum(balance) FROM account")).await;
    assert!(matches!(all, Err(AtError::LockConflict { .. })), "an aggregate hides no row");
    tx.commit().await.unwrap();
    assert!(world.fake.registrations(reader.xid()).is_empty());

    // Repeatable: taken until the end, by a branch that only locks.
    let mut tx = world.at.begin_in(&reader).await.unwrap();
    let query = sqlx::query("SELECT * FROM account WHERE id = ? ORDER BY id LIMIT 1").bind(2);
    assert_eq!(tx.lock_rows_until_end(query).await.unwrap()[0].get::<i64, _>("balance"), 50);
    tx.commit().await.unwrap();
    let branches = world.fake.registrations(reader.xid());
    assert!(branches[0].lock_only);
    assert_eq!(world.fake.locks(reader.xid()), ["account[2]"]);
    let refused = world.run(&writer, &["UPDATE account SET balance = 0 WHERE id = 2"]).await;
    assert!(matches!(refused, Err(AtError::LockConflict { .. })));
    assert_eq!(world.barrier().await, ["open"], "no barrier row for a branch that only locks");

    // With changes, both go into one branch.
    let mut tx = world.at.begin_in(&reader).await.unwrap();
    tx.lock_rows_until_end(sqlx::query("SELECT id FROM account WHERE id = 2")).await.unwrap();
    sqlx::query("UPDATE account SET balance = 1 WHERE id = 3").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!world.fake.registrations(reader.xid())[1].lock_only);
    let refused = tx_error(&world, "SELECT 1 FROM account, account b").await;
    assert!(matches!(refused, AtError::Refused(_)), "{refused}");
}

async fn tx_error(world: &World, sql: &'static str) -> AtError {
    let mut tx = world.at.begin().await.unwrap();
    tx.lock_rows(sqlx::query(sql)).await.unwrap_err()
}

/// Goal: a body that has dealt with a taken lock is not run again for it. Method: a body that looks
/// for a free row, then fails for a reason of its own.
#[tokio::test]
async fn a_conflict_that_the_body_dealt_with_is_not_waited_for() {
    let world = World::new(BANK).await;
    let (first, second) = (world.context(), world.context());
    world.run(&first, &["UPDATE account SET balance = 0 WHERE id = 1"]).await.unwrap();
    let mut runs = 0;
    let body = world.at.transaction_in::<_, (), AtError>(&second, |tx| {
        runs += 1;
        Box::pin(async move {
            let taken = tx.lock_rows(sqlx::query("SELECT * FROM account WHERE id = 1")).await;
            assert!(matches!(taken, Err(AtError::LockConflict { .. })));
            tx.lock_rows(sqlx::query("SELECT * FROM account WHERE id = 2")).await?;
            Err(AtError::DeadlinePassed)
        })
    });
    let error = body.await.unwrap_err();
    assert!(matches!(error, AtError::DeadlinePassed), "{error}");
    assert_eq!((runs, world.fake.claims_waited()), (1, 0));
}
