//! The agent's tables: checked, created, purged; and which database it is.

use std::sync::Arc;
use std::time::Duration;

use pactum_core::id::{BranchId, ResourceUid};
use pactum_core::time::WallTime;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, Sqlite, SqlitePool};

use super::world::{NOW, World, file_pool, options};
use crate::at::{AtError, AtOptions, AtPool};
use crate::branch::{Answer, Task};
use crate::link::fake::Fake;

async fn attach(
    pool: &SqlitePool,
    options: AtOptions,
) -> Result<(AtPool<Sqlite>, Arc<Fake>), AtError> {
    let fake = Arc::new(Fake::default());
    let link = Arc::clone(&fake);
    let at = AtPool::attach_over(link, "bank-a".parse().unwrap(), pool.clone(), options).await?;
    Ok((at, fake))
}

#[tokio::test]
async fn missing_tables_are_told_with_their_ddl() {
    let dir = tempfile::tempdir().unwrap();
    let pool = file_pool(&dir).await;
    let error = attach(&pool, options().create_tables(false)).await.unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("table `pactum_barrier` is missing"), "{message}");

    // The message itself is the way out.
    let (_, ddl) = message.split_once("\n").unwrap();
    sqlx::raw_sql(AssertSqlSafe(ddl)).execute(&pool).await.unwrap();
    attach(&pool, options().create_tables(false)).await.unwrap();
}

#[tokio::test]
async fn a_table_without_its_key_or_a_column_is_refused() {
    for (ddl, words) in [
        (
            "CREATE TABLE pactum_barrier (xid, branch_id, store_id, mode, state, format, checksum, \
             body, created_at, changed_at)",
            "lacks its primary key (xid, branch_id)",
        ),
        (
            "CREATE TABLE pactum_barrier (xid, branch_id, store_id, mode, state, format, checksum, \
             body, created_at, changed_at, PRIMARY KEY (xid))",
            "lacks its primary key (xid, branch_id)",
        ),
        (
            "CREATE TABLE pactum_barrier (xid, branch_id, PRIMARY KEY (xid, branch_id))",
            "lacks its column `store_id`",
        ),
        ("CREATE TABLE pactum_resource (singleton PRIMARY KEY)", "lacks its column `resource_uid`"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let pool = file_pool(&dir).await;
        sqlx::raw_sql(AssertSqlSafe(ddl)).execute(&pool).await.unwrap();
        let error = attach(&pool, options()).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_database_keeps_its_uid() {
    let dir = tempfile::tempdir().unwrap();
    let pool = file_pool(&dir).await;
    let (_, first) = attach(&pool, options()).await.unwrap();
    assert_eq!(first.uid(), Some(ResourceUid(0xfeed)));
    // Another agent would draw another uid, and finds this one.
    let mut again = options().create_tables(false);
    again.environment.random_uid = || ResourceUid(0xdead);
    let (_, second) = attach(&pool, again).await.unwrap();
    assert_eq!(second.uid(), Some(ResourceUid(0xfeed)));

    for (change, words) in [
        ("UPDATE pactum_resource SET schema_version = 2", "have version 2"),
        ("UPDATE pactum_resource SET schema_version = 1, resource_uid = 'x'", "no resource uid"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(change)).execute(&pool).await.unwrap();
        let error = attach(&pool, options()).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_database_whose_text_is_not_utf8_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let connect = SqliteConnectOptions::new()
        .filename(dir.path().join("utf16.db"))
        .create_if_missing(true)
        .pragma("encoding", "'UTF-16'");
    let pool = SqlitePoolOptions::new().connect_with(connect).await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (a)").execute(&pool).await.unwrap();
    let error = attach(&pool, options()).await.unwrap_err();
    assert!(matches!(error, AtError::Unsuitable(_)), "{error}");
}

#[tokio::test]
async fn a_database_in_memory_is_refused() {
    let pool = SqlitePoolOptions::new().connect("sqlite::memory:").await.unwrap();
    let error = attach(&pool, options()).await.unwrap_err();
    assert!(matches!(error, AtError::Unsuitable(why) if why.contains("in memory")), "{error}");
}

#[tokio::test]
async fn a_wrong_resource_id_is_refused() {
    assert!(
        "two words".parse::<pactum_core::id::ResourceId>().map_err(AtError::ResourceId).is_err()
    );
}

#[tokio::test]
async fn only_what_is_settled_is_purged_and_only_when_it_is_old() {
    let mut late = options().barrier_keep(Duration::from_secs(3600));
    let world = World::with("CREATE TABLE t (id INTEGER PRIMARY KEY)", late.clone()).await;
    let open = world.context();
    world.run(&open, &["INSERT INTO t VALUES (1)"]).await.unwrap();
    let undone = world.context();
    world.run(&undone, &["INSERT INTO t VALUES (2)"]).await.unwrap();
    assert_eq!(world.fake.roll_back(undone.xid()).await, vec![Answer::Done]);
    let buried = world.context();
    let task = Task::Rollback { phase_one_done: false };
    assert_eq!(world.fake.work(buried.xid(), BranchId(77), task).await, Answer::Done);
    assert_eq!(world.barrier().await, ["open", "undone", "tombstone"]);

    assert_eq!(world.at.purge_barrier().await.unwrap(), 0);
    late.environment.wall = || WallTime(NOW + 3_600_000);
    let (at, _) = attach(&world.pool, late.clone()).await.unwrap();
    assert_eq!(at.purge_barrier().await.unwrap(), 0, "exactly as old is not older");
    late.environment.wall = || WallTime(NOW + 3_600_001);
    let (at, _) = attach(&world.pool, late).await.unwrap();
    assert_eq!(at.purge_barrier().await.unwrap(), 2);
    assert_eq!(world.barrier().await, ["open"]);
}
