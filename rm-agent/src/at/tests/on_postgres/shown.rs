//! What a session's settings show of values and names: they must be the same in phase one and two, and
//! in every pool.

use sqlx::AssertSqlSafe;

use super::World;
use crate::at::AtError;
use crate::at::tests::world::take;
use crate::branch::Answer;

const SCHEMA: &str = "CREATE TABLE account (id int PRIMARY KEY, x int); \
     INSERT INTO account VALUES (1, 1)";

/// Under it the database quotes every name that it gives, and a lock on `"account"` would not be one
/// on `account`.
#[tokio::test]
async fn names_that_are_quoted_in_one_pool_alone_are_refused() {
    let world = World::new(SCHEMA).await;
    let context = world.context();
    let mut tx = world.at.begin_in(&context).await.unwrap();
    let set = "SET LOCAL quote_all_identifiers = on";
    sqlx::query(set).execute(tx.bypass()).await.unwrap();
    let change = sqlx::query("UPDATE account SET x = 2").execute(&mut *tx).await;
    let error = change.map_err(take).unwrap_err();
    assert!(matches!(&error, AtError::Refused(_)), "{error}");
    assert!(error.to_string().contains("quote_all_identifiers"), "{error}");
    drop(tx);

    // A plan that was made elsewhere names the table as everywhere.
    world.undo(&["UPDATE account SET x = 2"]).await;
    let mut tx = world.at.begin_in(&context).await.unwrap();
    sqlx::query(set).execute(tx.bypass()).await.unwrap();
    sqlx::query("UPDATE account SET x = 2").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.fake.locks(context.xid()), ["public.account[\"1\"]"]);
    // Phase two is as always, whatever the database has for a default.
    world
        .behind(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET quote_all_identifiers = on', \
             current_database()); END $$; \
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
    assert_eq!(world.fake.roll_back(context.xid()).await, [Answer::Done]);
}

/// A composite type is shown with its parts as the session shows them. `n` is another table under
/// another search_path, and would be restored as that.
#[tokio::test]
async fn types_with_money_or_names_of_objects_inside_are_refused() {
    for (made, declared) in [
        ("CREATE TYPE made AS (r regclass)", "made"),
        ("CREATE TYPE made AS (m money)", "made[]"),
        ("CREATE DOMAIN made AS regtype", "made[]"),
        ("CREATE TYPE inner_one AS (r regproc[]); CREATE TYPE made AS (i inner_one)", "made"),
        ("CREATE TYPE made AS RANGE (subtype = money)", "made"),
    ] {
        let world = World::new(&format!(
            "{made}; CREATE TABLE t (id int PRIMARY KEY, c {declared}); INSERT INTO t VALUES (1)"
        ))
        .await;
        let error = world.run(&world.context(), &["DELETE FROM t"]).await.unwrap_err();
        assert!(error.to_string().contains("the type of `c` has money or names"), "{error}");
    }
    let fine = "CREATE DOMAIN d AS regclass; CREATE TYPE made AS (x numeric[], y text); \
         CREATE TABLE t (id int PRIMARY KEY, a d, b made[], c money, e regtype[]); \
         INSERT INTO t VALUES (1, 't', '{\"(\\\"{1}\\\",a)\"}', 1, '{int}')";
    World::new(fine).await.undo(&["DELETE FROM t"]).await;
}

/// A savepoint that was dropped goes with the mark around it, and leaves nothing that is rolled back to.
#[tokio::test]
async fn a_mark_takes_a_dropped_savepoint_with_it() {
    let world = World::new(SCHEMA).await;
    let before = world.dump().await;
    let context = world.context();
    let mut tx = world.at.begin_in(&context).await.unwrap();
    let update = |x: u32| sqlx::query(AssertSqlSafe(format!("UPDATE account SET x = {x}")));
    update(2).execute(&mut *tx).await.unwrap();
    let mark = tx.set_mark().await.unwrap();
    update(3).execute(&mut *tx).await.unwrap();
    let mut inner = tx.savepoint().await.unwrap();
    update(4).execute(&mut *inner).await.unwrap();
    drop(inner);
    tx.roll_back_to(&mark).await.unwrap();
    // Dropped after it was sent, it is not known whether it took place: it is done again.
    update(5).execute(&mut *tx).await.unwrap();
    {
        let mut again = std::pin::pin!(tx.roll_back_to(&mark));
        // One poll: the server's answer is hardly ever there by then.
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(again.as_mut().poll(context).is_ready())
        });
        polled.await;
    }
    tx.commit().await.unwrap();
    assert_eq!(world.value("SELECT x::text FROM account").await, "'2'");
    assert_eq!(world.fake.roll_back(context.xid()).await, [Answer::Done]);
    assert_eq!(world.dump().await, before);
}
