//! XA from an application's side: a bank in PostgreSQL and one in MariaDB, one coordinator over the
//! real wire.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use pactum_agent::{Agent, AgentOptions, BeginOptions, XaError, XaOptions, XaPool};
use pactum_coordinator::Embedded;
use pactum_testkit::server::{Database, Kind, database};
use pactum_testkit::wait::wait_for;
use sqlx::{MySql, MySqlPool, PgPool, Postgres};

const ACCOUNT: &str = "CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL); \
                       INSERT INTO account VALUES (1, 100)";
const BOUND: Duration = Duration::from_secs(20);

struct Banks {
    coordinator: Embedded,
    postgres: Database,
    mysql: Database,
}

/// A service: an agent with both banks.
struct Service {
    agent: Agent,
    a: XaPool<Postgres>,
    b: XaPool<MySql>,
}

impl Banks {
    async fn open() -> Banks {
        let coordinator = Embedded::start().await.unwrap();
        let postgres = database(Kind::Postgres, "xa").await.unwrap();
        let mysql = database(Kind::Mysql, "xa").await.unwrap();
        postgres.execute(ACCOUNT).await.unwrap();
        mysql.execute(ACCOUNT).await.unwrap();
        Banks { coordinator, postgres, mysql }
    }

    async fn service(&self) -> Service {
        let agent = Agent::connect(AgentOptions::new(self.coordinator.url())).await.unwrap();
        let options = XaOptions::default().create_tables(true);
        let a = PgPool::connect(&self.postgres.url()).await.unwrap();
        let a = XaPool::attach(&agent, "bank-a", a, options.clone()).await.unwrap();
        let b = MySqlPool::connect(&self.mysql.url()).await.unwrap();
        let b = XaPool::attach(&agent, "bank-b", b, options).await.unwrap();
        Service { agent, a, b }
    }
}

impl Service {
    async fn balances(&self) -> (i32, i32) {
        let query = "SELECT balance FROM account WHERE id = 1";
        let a = sqlx::query_scalar(query).fetch_one(self.a.bypass()).await.unwrap();
        let b = sqlx::query_scalar(query).fetch_one(self.b.bypass()).await.unwrap();
        (a, b)
    }

    /// Takes from the one and gives to the other, in the running task's global transaction.
    async fn transfer(&self, amount: i32) -> Result<(), XaError> {
        let mut take = self.a.begin().await?;
        let sql = "UPDATE account SET balance = balance - $1 WHERE id = 1";
        sqlx::query(sql).bind(amount).execute(&mut *take).await?;
        take.commit().await?;
        let mut give = self.b.begin().await?;
        let sql = "UPDATE account SET balance = balance + ? WHERE id = 1";
        sqlx::query(sql).bind(amount).execute(&mut *give).await?;
        give.commit().await
    }
}

#[tokio::test]
async fn a_transfer_happens_in_both_banks_or_in_none() {
    let mut banks = Banks::open().await;
    let service = banks.service().await;
    let done = service.agent.global("transfer").run(async |_| service.transfer(30).await).await;
    assert!(done.unwrap().outcome().is_some_and(|outcome| outcome.completed));
    assert_eq!(service.balances().await, (70, 130));

    let global = service.agent.begin("transfer", BeginOptions::default()).await.unwrap();
    global.context().clone().scope(service.transfer(30)).await.unwrap();
    assert_eq!(service.balances().await, (70, 130), "nobody sees it yet");
    let _ = global.rollback().await;
    wait_for("both rolled back", BOUND, async || {
        // A write shows that nothing is locked any more.
        let sql = "UPDATE account SET balance = balance + 1 WHERE id = 1";
        sqlx::query(sql).execute(service.a.bypass()).await.ok()?;
        sqlx::query(sql).execute(service.b.bypass()).await.ok()
    })
    .await
    .unwrap();
    assert_eq!(service.balances().await, (71, 131));
    service.agent.shutdown().await;
    banks.coordinator.kill().await;
}

/// Goal: prepared branches outlive the service that prepared them. Method: it goes away between prepare
/// and decision, with its session and all its connections; another service of the same banks finishes
/// them.
#[tokio::test]
async fn another_service_finishes_what_was_prepared() {
    let mut banks = Banks::open().await;
    let manager = banks.service().await;
    let worker = banks.service().await;
    let global = manager.agent.begin("transfer", BeginOptions::default()).await.unwrap();
    // The first branch is left open; those of the worker are not.
    let mut first = manager.a.begin_in(global.context()).await.unwrap();
    sqlx::query("INSERT INTO account VALUES (2, 5)").execute(&mut *first).await.unwrap();
    first.commit().await.unwrap();
    global.context().clone().scope(worker.transfer(30)).await.unwrap();
    worker.a.bypass().close().await;
    worker.b.bypass().close().await;
    worker.agent.shutdown().await;
    drop(worker);
    assert!(global.commit().await.unwrap().is_committed());
    wait_for("both committed", BOUND, async || {
        (manager.balances().await == (70, 130)).then_some(())
    })
    .await
    .unwrap();
    manager.agent.shutdown().await;
    banks.coordinator.kill().await;
}

/// A branch that only read is no reason to wait, or to roll back.
#[tokio::test]
async fn a_branch_that_only_read_does_not_hold_up_the_commit() {
    let mut banks = Banks::open().await;
    let service = banks.service().await;
    let run = service.agent.global("read and write").run(async |context| {
        let mut look = service.b.begin_in(&context).await?;
        let sql = "SELECT balance FROM account WHERE id = 1";
        let balance: i32 = sqlx::query_scalar(sql).fetch_one(&mut *look).await?;
        look.commit().await?;
        let mut give = service.a.begin_in(&context).await?;
        let sql = "UPDATE account SET balance = $1 WHERE id = 1";
        sqlx::query(sql).bind(balance + 1).execute(&mut *give).await?;
        give.commit().await
    });
    assert!(run.await.unwrap().outcome().is_some_and(|outcome| outcome.completed));
    assert_eq!(service.balances().await, (101, 100));
    service.agent.shutdown().await;
    banks.coordinator.kill().await;
}

/// Goal: a branch that stays alone is never prepared; with another one it is. Method: work that
/// PostgreSQL commits and cannot prepare.
#[tokio::test]
async fn a_branch_that_stays_alone_is_never_prepared() {
    let mut banks = Banks::open().await;
    let service = banks.service().await;
    let take = async |sql: &str| {
        let options = BeginOptions::default();
        let global = service.agent.begin("alone", options).await.unwrap();
        let mut take = service.a.begin_in(global.context()).await.unwrap();
        for sql in [sql, "UPDATE account SET balance = balance - 30 WHERE id = 1"] {
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *take).await.unwrap();
        }
        take.commit().await.unwrap();
        global
    };
    let global = take("CREATE TEMP TABLE mine (id INT)").await;
    assert_eq!(service.balances().await, (100, 100), "nobody sees it yet");
    assert!(global.commit().await.unwrap().is_committed());
    assert_eq!(service.balances().await, (70, 100), "there is no second phase to wait for");

    let global = take("CREATE TEMP TABLE yours (id INT)").await;
    let mut give = service.b.begin_in(global.context()).await.unwrap();
    let sql = "UPDATE account SET balance = balance + 30 WHERE id = 1";
    sqlx::query(sql).execute(&mut *give).await.unwrap();
    give.commit().await.unwrap();
    assert!(!global.commit().await.unwrap().is_committed());
    assert_eq!(service.balances().await, (70, 100));
    service.agent.shutdown().await;
    banks.coordinator.kill().await;
}

/// Its session is all that keeps it.
#[tokio::test]
async fn a_branch_left_open_whose_session_ends_rolls_back() {
    let mut banks = Banks::open().await;
    let service = banks.service().await;
    let global = service.agent.begin("alone", BeginOptions::default()).await.unwrap();
    let mut take = service.a.begin_in(global.context()).await.unwrap();
    sqlx::query("UPDATE account SET balance = 0").execute(&mut *take).await.unwrap();
    let query = sqlx::query_scalar("SELECT pg_backend_pid()");
    let session: i32 = query.fetch_one(&mut *take).await.unwrap();
    take.commit().await.unwrap();
    let end = sqlx::query("SELECT pg_terminate_backend($1)").bind(session);
    end.execute(service.a.bypass()).await.unwrap();
    assert!(!global.commit().await.unwrap().is_committed());
    assert_eq!(service.balances().await, (100, 100));
    service.agent.shutdown().await;
    banks.coordinator.kill().await;
}
