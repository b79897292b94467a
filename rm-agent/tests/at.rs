//! AT from an application's side: two banks in two SQLite files, one coordinator over the real wire.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use pactum_agent::{Agent, AgentOptions, AtError, AtOptions, AtPool, BeginOptions, RunError, Wait};
use pactum_coordinator::Embedded;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Sqlite, SqlitePool};

struct Banks {
    _dir: tempfile::TempDir,
    coordinator: Embedded,
    agent: Agent,
    a: AtPool<Sqlite>,
    b: AtPool<Sqlite>,
}

async fn bank(dir: &tempfile::TempDir, agent: &Agent, name: &str, balance: i64) -> AtPool<Sqlite> {
    let file = dir.path().join(name).with_extension("db");
    let connect = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let pool = SqlitePoolOptions::new().max_connections(4).connect_with(connect).await.unwrap();
    let table = "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL \
                 CHECK (balance >= 0))";
    sqlx::query(table).execute(&pool).await.unwrap();
    sqlx::query("INSERT INTO account VALUES (1, ?)").bind(balance).execute(&pool).await.unwrap();
    AtPool::attach(agent, name, pool, AtOptions::default().create_tables(true)).await.unwrap()
}

impl Banks {
    async fn open() -> Banks {
        let dir = tempfile::tempdir().unwrap();
        let coordinator = Embedded::start().await.unwrap();
        let agent = Agent::connect(AgentOptions::new(coordinator.url())).await.unwrap();
        let a = bank(&dir, &agent, "bank-a", 100).await;
        let b = bank(&dir, &agent, "bank-b", 20).await;
        Banks { _dir: dir, coordinator, agent, a, b }
    }

    async fn balances(&self) -> (i64, i64) {
        (balance(self.a.bypass()).await, balance(self.b.bypass()).await)
    }

    async fn barrier_rows(&self, state: &str) -> i64 {
        let mut count = 0;
        for pool in [self.a.bypass(), self.b.bypass()] {
            let query = sqlx::query_scalar("SELECT count(*) FROM pactum_barrier WHERE state = ?");
            count += query.bind(state).fetch_one(pool).await.unwrap_or(0);
        }
        count
    }

    async fn close(mut self) {
        self.agent.shutdown().await;
        self.coordinator.kill().await;
    }
}

async fn balance(pool: &SqlitePool) -> i64 {
    let query = sqlx::query_scalar("SELECT balance FROM account WHERE id = 1");
    query.fetch_one(pool).await.unwrap()
}

async fn add(pool: &AtPool<Sqlite>, amount: i64) -> Result<(), sqlx::Error> {
    let query = sqlx::query("UPDATE account SET balance = balance + ? WHERE id = 1").bind(amount);
    query.execute(pool).await.map(|_| ())
}

#[tokio::test]
async fn a_transfer_commits_in_both_banks() {
    let banks = Banks::open().await;
    let transfer = banks.agent.global("transfer").run(async |_| {
        add(&banks.a, -30).await?;
        add(&banks.b, 30).await
    });
    let finished = transfer.await.unwrap();
    assert!(finished.outcome().unwrap().completed);
    assert_eq!(banks.balances().await, (70, 50));
    assert_eq!(banks.barrier_rows("open").await, 0);
    banks.close().await;
}

#[tokio::test]
async fn a_transfer_that_fails_halfway_leaves_no_trace() {
    let banks = Banks::open().await;
    let transfer = banks.agent.global("transfer").run(async |_| {
        add(&banks.a, -30).await?;
        assert_eq!(balance(banks.a.bypass()).await, 70, "phase one is committed locally");
        add(&banks.b, -30).await
    });
    assert!(transfer.await.is_err());
    assert_eq!(banks.balances().await, (100, 20));
    assert_eq!(banks.barrier_rows("open").await, 0);
    assert_eq!(banks.barrier_rows("undone").await, 1);
    banks.close().await;
}

/// Each of them reads, waits for the other's lock if it must, and none is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_that_meet_on_a_row_wait_for_each_other() {
    let banks = Banks::open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for round in 0..12 {
        let (agent, a, b) = (banks.agent.clone(), banks.a.clone(), banks.b.clone());
        tasks.spawn(async move {
            let options = BeginOptions::default();
            let global = agent.begin("meet", options).await.unwrap();
            let context = global.context().clone();
            let moved = a.transaction_in::<_, _, AtError>(&context, |tx| {
                Box::pin(async move {
                    let sql =
                        "UPDATE account SET balance = balance - 1 WHERE id = 1 RETURNING balance";
                    let left: i64 = sqlx::query_scalar(sql)
                        .fetch_one(&mut **tx)
                        .await
                        .map_err(AtError::Database)?;
                    Ok(left)
                })
            });
            moved.await.unwrap();
            context.clone().scope(async { add(&b, 1).await.unwrap() }).await;
            if round % 3 == 0 {
                let _ = global.rollback().await;
            } else {
                assert!(global.commit().await.unwrap().is_committed());
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(banks.balances().await, (92, 28));
    assert_eq!(banks.barrier_rows("open").await, 0);
    banks.close().await;
}

#[tokio::test]
async fn a_taken_lock_is_an_error_that_names_the_holder() {
    let banks = Banks::open().await;
    let holder = banks.agent.begin("holder", BeginOptions::default()).await.unwrap();
    holder.context().clone().scope(async { add(&banks.a, -1).await.unwrap() }).await;

    let other = banks.agent.begin("other", BeginOptions::default()).await.unwrap();
    let mut tx = banks.a.begin_in(other.context()).await.unwrap();
    sqlx::query("UPDATE account SET balance = 0 WHERE id = 1").execute(&mut *tx).await.unwrap();
    let error = tx.commit().await.unwrap_err();
    let AtError::LockConflict { holder: named, .. } = &error else { panic!("{error}") };
    assert_eq!(*named, holder.xid().to_string());
    assert!(error.is_retryable());
    // Outside of any global transaction too.
    let mut tx = banks.a.begin().await.unwrap();
    sqlx::query("UPDATE account SET balance = 0 WHERE id = 1").execute(&mut *tx).await.unwrap();
    assert!(matches!(tx.commit().await, Err(AtError::LockConflict { .. })));

    let _ = other.rollback().await;
    let _ = holder.rollback().await;
    assert_eq!(banks.balances().await, (100, 20));
    banks.close().await;
}

#[tokio::test]
async fn a_dirty_write_parks_and_touches_nothing() {
    let banks = Banks::open().await;
    let options = BeginOptions { timeout: Duration::from_secs(30), wait: Wait::Decided };
    let global = banks.agent.begin("dirty", options).await.unwrap();
    global.context().clone().scope(async { add(&banks.a, -30).await.unwrap() }).await;
    let behind = "UPDATE account SET balance = 71 WHERE id = 1";
    sqlx::query(behind).execute(banks.a.bypass()).await.unwrap();
    let handle = global.handle();
    let _ = global.rollback().await;
    let outcome = loop {
        let outcome = handle.outcome().await.unwrap().expect("it has a decision");
        if outcome.parked > 0 {
            break outcome;
        }
        tokio::task::yield_now().await;
    };
    assert!(!outcome.completed);
    assert_eq!(banks.balances().await, (71, 20));
    assert_eq!(banks.barrier_rows("open").await, 1);
    // A person can read what the branch did.
    let row = sqlx::query_as("SELECT format, body FROM pactum_barrier WHERE state = 'open'");
    let (format, body): (i64, String) = row.fetch_one(banks.a.bypass()).await.unwrap();
    let shown = pactum_agent::read_undo(format, &body).unwrap();
    assert!(shown.contains("\"balance\": 70"), "{shown}");
    banks.close().await;
}

#[tokio::test]
async fn an_error_of_the_agent_reaches_the_application() {
    let banks = Banks::open().await;
    let run = banks
        .agent
        .global("refused")
        .run(async |_| sqlx::query("DROP TABLE account").execute(&banks.a).await.map(|_| ()));
    let Err(RunError::Work { error, .. }) = run.await else { panic!("it is refused") };
    assert!(matches!(AtError::of(&error), Some(AtError::Refused(_))), "{error}");
    assert_eq!(banks.balances().await, (100, 20));
    banks.close().await;
}
