//! AT on a real PostgreSQL server.

mod arguments;
mod basics;
mod concurrency;
mod fallback;
mod locks;
mod moved;
mod refusals;
mod shown;
mod statements;
mod types;

use pactum_testkit::server::{self, Kind};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool, Postgres};

use super::world::{TestDatabase, WorldOn};

/// A world of PostgreSQL.
type World = WorldOn<Postgres>;

async fn pool(database: &server::Database) -> PgPool {
    PgPoolOptions::new().max_connections(5).connect(&database.url()).await.unwrap()
}

impl TestDatabase for Postgres {
    type Guard = server::Database;

    async fn open() -> (server::Database, PgPool) {
        let database = server::database(Kind::Postgres, "at").await.unwrap();
        let pool = pool(&database).await;
        (database, pool)
    }

    async fn script(pool: &PgPool, sql: &str) {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Each row as text, and a digest of what goes over the wire in binary: two values may look the
    /// same and not be.
    async fn dump(world: &WorldOn<Self>) -> Vec<String> {
        let tables = world
            .query(
                "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' \
                 AND n.nspname !~ '^(pg_|information_schema)' AND c.relname !~ '^pactum_'",
            )
            .await;
        let mut dump = Vec::new();
        for table in tables {
            let name = table[0].as_text().unwrap();
            let rows = world
                .query(&format!("SELECT whole::text, md5(record_send(whole)) FROM {name} whole"))
                .await;
            dump.extend(rows.into_iter().map(|row| format!("{name} {} {}", row[0], row[1])));
        }
        dump.sort();
        dump
    }
}

#[tokio::test]
async fn blocked_rollbacks_hold_up_nobody_else() {
    super::side_by_side::blocked_rollbacks_hold_up_nobody_else::<sqlx::Postgres>().await;
}

#[tokio::test]
async fn leftovers_are_found_and_swept() {
    super::side_by_side::leftovers_are_found_and_swept::<sqlx::Postgres>().await;
}

#[tokio::test]
async fn unique_values_that_wander_over_the_rows_wander_back() {
    super::unique::unique_values_wander_back::<sqlx::Postgres>(&[&[
        "INSERT INTO t VALUES (9, 50, 0), (4, 1, 0) ON CONFLICT (id) DO UPDATE SET u = excluded.u",
    ]])
    .await;
}

#[tokio::test]
async fn a_deadlock_is_run_again() {
    super::setbacks::a_deadlock_is_run_again::<sqlx::Postgres>().await;
}

#[tokio::test]
async fn writers_in_each_others_way_stay_exact() {
    super::contention::writers_in_each_others_way_stay_exact::<sqlx::Postgres>(
        "INSERT INTO t VALUES ($id, $u, 7) ON CONFLICT (id) DO UPDATE SET u = excluded.u",
    )
    .await;
}

#[tokio::test]
async fn a_change_may_be_dropped_at_any_await() {
    super::cut_short::a_change_may_be_dropped_at_any_await::<sqlx::Postgres>(&[
        "UPDATE t SET x = x + 1, u = u + 10 WHERE id <> 2",
        "INSERT INTO t VALUES (1, 50, 3), (9, 9, 9) ON CONFLICT (id) DO UPDATE SET x = t.x + 1",
        "UPDATE t SET x = q.x FROM (SELECT 1 AS id, 3 AS x) q WHERE q.id = t.id",
    ])
    .await;
}

#[tokio::test]
async fn a_commit_may_be_dropped_at_any_await() {
    super::cut_short::a_commit_may_be_dropped_at_any_await::<sqlx::Postgres>().await;
}

#[tokio::test]
async fn a_read_may_be_dropped_at_any_await() {
    super::cut_short::a_read_may_be_dropped_at_any_await::<sqlx::Postgres>().await;
}

#[tokio::test]
async fn a_transaction_that_somebody_left_open_is_not_joined() {
    super::left_open::a_transaction_that_somebody_left_open_is_not_joined::<sqlx::Postgres>().await;
}

#[tokio::test]
async fn a_failed_one_is_not_joined_either() {
    super::left_open::a_failed_one_is_not_joined_either::<sqlx::Postgres>().await;
}
