//! What the database breaks off is run again. The servers' tests call this for each of them; on SQLite
//! writers never meet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Executor, IntoArguments};
use tokio::sync::Barrier;

use super::world::{TestDatabase, WorldOn};
use crate::at::AtError;
use crate::at::connection::AtConnection;
use crate::branch::Answer;

const TABLE: &str =
    "CREATE TABLE t (id INT PRIMARY KEY, x INT); INSERT INTO t VALUES (1, 0), (2, 0)";

/// Goal: of two local transactions that block each other the one that the database ends runs again,
/// and both are done, once. Method: each changes its first row before the other wants it.
pub(super) async fn a_deadlock_is_run_again<DB: TestDatabase>()
where
    for<'c> &'c mut AtConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = WorldOn::<DB>::new(TABLE).await;
    let before = world.dump().await;
    // Branches of one global transaction, so that no global lock is in the way.
    let context = world.context();
    let (met, runs) = (Arc::new(Barrier::new(2)), AtomicU32::new(0));
    let change = async |first: u8, second: u8| {
        let mut is_first_run = true;
        let (met, runs) = (&met, &runs);
        let body = world.at.transaction_in::<_, _, AtError>(&context, |tx| {
            let meets = std::mem::replace(&mut is_first_run, false);
            runs.fetch_add(1, Ordering::Relaxed);
            let met = Arc::clone(met);
            Box::pin(async move {
                let update =
                    |id: u8| AssertSqlSafe(format!("UPDATE t SET x = x + 1 WHERE id = {id}"));
                sqlx::query(update(first)).execute(&mut **tx).await?;
                if meets {
                    met.wait().await;
                }
                sqlx::query(update(second)).execute(&mut **tx).await?;
                Ok(())
            })
        });
        body.await
    };
    let (one, other) = tokio::join!(change(1, 2), change(2, 1));
    one.unwrap();
    other.unwrap();
    assert_eq!(runs.into_inner(), 3, "one of them was broken off");
    assert_eq!(world.query("SELECT id FROM t WHERE x = 2").await.len(), 2);
    assert_eq!(world.fake.roll_back(context.xid()).await, vec![Answer::Done; 2]);
    assert_eq!(world.dump().await, before);
}
