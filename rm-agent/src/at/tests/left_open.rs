//! A transaction that the application left open on a connection of its pool. The servers' tests call this
//! for each of them.

use std::time::Duration;

use pactum_testkit::wait::wait_until;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Executor, IntoArguments};
use sqlx_core::transaction::TransactionManager as _;

use super::world::{TestDatabase, WorldOn, take};
use crate::at::AtError;
use crate::at::connection::AtConnection;
use crate::branch::Answer;
use crate::context::TransactionContext;

const SCHEMA: &str =
    "CREATE TABLE t (id INT PRIMARY KEY, x INT); INSERT INTO t VALUES (1, 0), (2, 0)";
const CHANGE: &str = "UPDATE t SET x = x + 1 WHERE id = 1";
const CONNECTIONS: usize = 5;

/// How somebody began it.
#[derive(Clone, Copy, Debug)]
enum Begun {
    AsText,
    ThroughSqlx,
}

/// Goal: nobody else's work is committed with a branch, or by its begin. Method: every connection of the
/// pool has an open transaction, and in one of them a row was changed.
pub(super) async fn a_transaction_that_somebody_left_open_is_not_joined<DB: TestDatabase>()
where
    for<'c> &'c mut AtConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let changes = "UPDATE t SET x = 999 WHERE id = 2";
    for begun in [Begun::AsText, Begun::ThroughSqlx] {
        for work in [None, Some("SELECT x FROM t"), Some(changes)] {
            let case = format!("{begun:?} {work:?}");
            let world = WorldOn::<DB>::new(SCHEMA).await;
            let before = world.dump().await;
            leave_open(&world, begun, work).await;
            let mut refused = Vec::new();
            for round in 0..2 * CONNECTIONS {
                let context = world.context();
                if let Err(error) = begins(&world, round, context).await {
                    refused.push(error);
                }
            }
            let left_open = refused.iter().filter(|error| matches!(error, AtError::LeftOpen));
            assert_eq!((left_open.count(), refused.len()), (CONNECTIONS, CONNECTIONS), "{case}");
            assert!(refused[0].is_retryable());
            // Each was closed, and what was done in it undone.
            assert_eq!(world.dump().await, before, "{case}");
            let context = world.context();
            world.run(&context, &[CHANGE]).await.unwrap();
            assert_eq!(world.fake.roll_back(context.xid()).await, [Answer::Done]);
            assert_eq!(world.dump().await, before, "{case}");
        }
    }
}

async fn leave_open<DB: TestDatabase>(world: &WorldOn<DB>, begun: Begun, work: Option<&str>)
where
    for<'c> &'c mut AtConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(world.pool.acquire().await.unwrap());
    }
    for connection in &mut connections {
        match begun {
            Begun::AsText => drop(DB::sql(connection).run("BEGIN").await.unwrap()),
            Begun::ThroughSqlx => DB::TransactionManager::begin(connection, None).await.unwrap(),
        }
    }
    if let Some(work) = work {
        DB::sql(&mut connections[0]).run(work).await.unwrap();
    }
    give_back(world, connections).await;
}

/// They are handed out again in this order, before any new one: on SQLite first the one that keeps the
/// others from writing.
async fn give_back<DB: TestDatabase>(world: &WorldOn<DB>, connections: Vec<PoolConnection<DB>>) {
    for (place, connection) in connections.into_iter().enumerate() {
        drop(connection);
        let is_back = async || world.pool.num_idle() == place + 1;
        wait_until("the connection is back", Duration::from_secs(10), is_back).await.unwrap();
    }
}

/// One of the ways to begin.
async fn begins<DB: TestDatabase>(
    world: &WorldOn<DB>,
    round: usize,
    context: TransactionContext,
) -> Result<(), AtError>
where
    for<'c> &'c mut AtConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    match round % 3 {
        0 => world.at.begin_in(&context).await?.rollback().await,
        1 => world.at.begin().await?.rollback().await,
        _ => {
            let unchanged = AssertSqlSafe("UPDATE t SET x = 0 WHERE id = 9");
            let single = sqlx::query(unchanged).execute(&world.at);
            context.clone().scope(single).await.map(drop).map_err(take)
        }
    }
}

/// On PostgreSQL: a transaction that was left open in which a statement failed.
pub(super) async fn a_failed_one_is_not_joined_either<DB: TestDatabase>()
where
    for<'c> &'c mut AtConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = WorldOn::<DB>::new(SCHEMA).await;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = world.pool.acquire().await.unwrap();
        assert!(DB::sql(&mut connection).run("BEGIN; SELECT 1 / 0").await.is_err());
        connections.push(connection);
    }
    give_back(&world, connections).await;
    for _ in 0..CONNECTIONS {
        let error = world.at.begin_in(&world.context()).await.unwrap_err();
        assert!(matches!(error, AtError::LeftOpen), "{error:?}");
    }
    world.run(&world.context(), &[CHANGE]).await.unwrap();
}
