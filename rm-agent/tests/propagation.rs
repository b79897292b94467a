//! Propagation from an application's side: one SQLite file, one coordinator over the real wire, and a
//! service behind HTTP.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use pactum_agent::web::{RequestBuilderExt as _, ServerLayer};
use pactum_agent::{
    Agent, AgentOptions, AtError, AtOptions, AtPool, BeginOptions, Decision, Fate, Propagation,
    RunError, ScopeUndo, TransactionContext,
};
use pactum_coordinator::Embedded;
use pactum_proto::v1::ErrorCode;
use sqlx::Sqlite;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

/// One bank with accounts 1 to 3, each with 100.
struct Bank {
    _dir: tempfile::TempDir,
    coordinator: Embedded,
    agent: Agent,
    pool: AtPool<Sqlite>,
}

impl Bank {
    async fn open() -> Bank {
        let dir = tempfile::tempdir().unwrap();
        let coordinator = Embedded::start().await.unwrap();
        let agent = Agent::connect(AgentOptions::new(coordinator.url())).await.unwrap();
        let pool = attached(&dir, &agent, "bank").await;
        Bank { _dir: dir, coordinator, agent, pool }
    }

    async fn balances(&self) -> Vec<i64> {
        balances(&self.pool).await
    }

    async fn close(mut self) {
        let states = "SELECT count(*) FROM pactum_barrier WHERE state = 'open'";
        let open: i64 = sqlx::query_scalar(states).fetch_one(self.pool.bypass()).await.unwrap();
        assert_eq!(open, 0, "nothing is left to be undone");
        self.agent.shutdown().await;
        self.coordinator.kill().await;
    }
}

async fn attached(dir: &tempfile::TempDir, agent: &Agent, name: &str) -> AtPool<Sqlite> {
    let file = dir.path().join(name).with_extension("db");
    let connect = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let pool = SqlitePoolOptions::new().max_connections(4).connect_with(connect).await.unwrap();
    let table = "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)";
    sqlx::query(table).execute(&pool).await.unwrap();
    let rows = "INSERT INTO account VALUES (1, 100), (2, 100), (3, 100)";
    sqlx::query(rows).execute(&pool).await.unwrap();
    AtPool::attach(agent, name, pool, AtOptions::default().create_tables(true)).await.unwrap()
}

async fn balances(pool: &AtPool<Sqlite>) -> Vec<i64> {
    let query = sqlx::query_scalar("SELECT balance FROM account ORDER BY id");
    query.fetch_all(pool.bypass()).await.unwrap()
}

async fn add(pool: &AtPool<Sqlite>, account: i64, amount: i64) -> Result<(), sqlx::Error> {
    let query = sqlx::query("UPDATE account SET balance = balance + ? WHERE id = ?");
    query.bind(amount).bind(account).execute(pool).await.map(|_| ())
}

/// An error that nobody but the test makes.
fn planted() -> sqlx::Error {
    sqlx::Error::WorkerCrashed
}

/// Goal: a scope takes back what it did, also to a row that the rest changed before it, and the rest
/// goes on with the very same row.
#[tokio::test]
async fn a_nested_scope_that_fails_is_undone_alone_and_the_rest_commits() {
    let bank = Bank::open().await;
    let whole = bank.agent.global("whole").run(async |_| {
        add(&bank.pool, 1, -10).await?;
        let part = bank.agent.global("part").propagation(Propagation::Nested);
        let part = part.run(async |_| {
            add(&bank.pool, 1, -20).await?;
            add(&bank.pool, 2, 20).await?;
            Err::<(), _>(planted())
        });
        let error = part.await.unwrap_err();
        assert!(
            matches!(error, RunError::Work { fate: Fate::Scope(ScopeUndo::Undone), .. }),
            "{error:?}"
        );
        assert_eq!(bank.balances().await, [90, 100, 100], "undone when the run ends");
        add(&bank.pool, 1, -1).await?;
        add(&bank.pool, 3, 1).await
    });
    let finished = whole.await.unwrap();
    assert!(finished.outcome().unwrap().completed);
    assert_eq!(bank.balances().await, [89, 100, 101]);
    bank.close().await;
}

/// Goal: scopes in scopes. Method: the inner one is kept, the one around it fails, and a third is
/// given up half-way by a time limit of its caller.
#[tokio::test]
async fn a_kept_scope_goes_with_the_one_around_it_and_a_dropped_one_is_undone_before_the_commit() {
    let bank = Bank::open().await;
    let nested = || bank.agent.global("part").propagation(Propagation::Nested);
    let whole = bank.agent.global("whole").run(async |_| {
        let around = nested().run(async |_| {
            add(&bank.pool, 1, 1).await?;
            let inner = nested().run(async |_| add(&bank.pool, 2, 2).await);
            inner.await.map_err(|_| sqlx::Error::RowNotFound)?;
            Err::<(), _>(planted())
        });
        let error = around.await.unwrap_err();
        assert!(matches!(error, RunError::Work { error: sqlx::Error::WorkerCrashed, .. }));
        assert_eq!(bank.balances().await, [100, 100, 100]);

        let reached = tokio::sync::Notify::new();
        let abandoned = nested().run(async |_| {
            add(&bank.pool, 3, 3).await?;
            reached.notify_one();
            std::future::pending::<Result<(), sqlx::Error>>().await
        });
        tokio::select! {
            _ = abandoned => unreachable!("it never ends"),
            () = reached.notified() => {}
        }
        add(&bank.pool, 1, 5).await
    });
    assert!(whole.await.unwrap().outcome().unwrap().is_committed());
    assert_eq!(bank.balances().await, [105, 100, 100]);
    bank.close().await;
}

#[tokio::test]
async fn a_participants_swallowed_error_stops_the_commit() {
    let bank = Bank::open().await;
    let whole = bank.agent.global("whole").run(async |_| {
        add(&bank.pool, 1, -10).await?;
        let part = bank.agent.global("part").run(async |_| {
            add(&bank.pool, 2, 10).await?;
            Err::<(), _>(planted())
        });
        assert!(part.await.is_err());
        Ok::<_, sqlx::Error>(())
    });
    let error = whole.await.unwrap_err();
    let RunError::RolledBack(outcome) = &error else { panic!("{error:?}") };
    assert!(format!("{:?}", outcome.decision).contains("Vetoed"), "{outcome:?}");
    assert!(error.is_retryable());
    assert_eq!(bank.balances().await, [100, 100, 100]);
    bank.close().await;
}

/// Goal: a transaction of its own, and work outside of any, stay when what is around them rolls back.
/// A lock of the suspended transaction is not waited for by one that it itself waits for.
#[tokio::test]
async fn what_runs_beside_the_suspended_transaction_survives_its_rollback() {
    let bank = Bank::open().await;
    let whole = bank.agent.global("whole").run(async |whole| {
        add(&bank.pool, 1, -10).await?;
        let own = bank.agent.global("own").propagation(Propagation::RequiresNew);
        let own = own.run(async |own| {
            assert_ne!(own.unwrap().xid(), whole.xid());
            add(&bank.pool, 2, 20).await
        });
        assert!(own.await.unwrap().outcome().unwrap().is_committed());

        let own = bank.agent.global("own").propagation(Propagation::RequiresNew);
        let blocked = own.run(async |_| add(&bank.pool, 1, 1).await);
        let since = tokio::time::Instant::now();
        assert!(blocked.await.is_err());
        assert!(since.elapsed().as_secs() < 5, "it fails at once, and not by a wait");

        let outside = bank.agent.global("log").propagation(Propagation::NotSupported);
        let outside = outside.run(async |context| {
            assert!(context.is_none() && TransactionContext::current().is_none());
            add(&bank.pool, 3, 30).await
        });
        outside.await.unwrap();
        assert_eq!(TransactionContext::current().unwrap().xid(), whole.xid());
        Err::<(), _>(planted())
    });
    let error = whole.await.unwrap_err();
    let RunError::Work { fate: Fate::RolledBack(outcome), .. } = error else { panic!("{error:?}") };
    assert!(outcome.completed);
    assert_eq!(bank.balances().await, [100, 120, 130]);
    bank.close().await;
}

#[derive(Clone)]
struct Service(AtPool<Sqlite>);

async fn deposit(State(Service(pool)): State<Service>) -> StatusCode {
    add(&pool, 1, 50).await.unwrap();
    StatusCode::OK
}

/// Answers politely, and vetoes all the same.
async fn doubtful(State(Service(pool)): State<Service>) -> StatusCode {
    add(&pool, 2, 50).await.unwrap();
    TransactionContext::current().unwrap().mark_veto("the limit is reached");
    StatusCode::OK
}

/// Goal: a scope reaches over to another service, and a veto there costs the scope and not the rest.
#[tokio::test]
async fn a_veto_of_another_service_inside_a_scope_rolls_back_the_scope() {
    let bank = Bank::open().await;
    let dir = tempfile::tempdir().unwrap();
    let far = Agent::connect(AgentOptions::new(bank.coordinator.url())).await.unwrap();
    let far_pool = attached(&dir, &far, "far-bank").await;
    let service = Router::new()
        .route("/deposit", post(deposit))
        .route("/doubtful", post(doubtful))
        .with_state(Service(far_pool.clone()))
        .layer(ServerLayer::new(&far));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, service).into_future());
    let http = reqwest::Client::new();
    let call = async |path: &str| {
        let answer = http.post(format!("{url}/{path}")).send_global().await.unwrap();
        assert_eq!(answer.status(), 200);
    };

    let whole = bank.agent.global("whole").run(async |_| {
        let kept = bank.agent.global("kept").propagation(Propagation::Nested);
        let kept = kept.run(async |_| {
            call("deposit").await;
            Ok::<_, sqlx::Error>(())
        });
        kept.await.unwrap();
        let part = bank.agent.global("part").propagation(Propagation::Nested);
        let part = part.run(async |_| {
            add(&bank.pool, 1, -50).await?;
            call("doubtful").await;
            Ok::<_, sqlx::Error>(())
        });
        let error = part.await.unwrap_err();
        let RunError::ScopeVetoed(vetoed) = error else { panic!("{error:?}") };
        assert_eq!(vetoed.reason, "the limit is reached");
        assert_eq!(vetoed.undo, ScopeUndo::Undone);
        add(&bank.pool, 3, 1).await
    });
    let outcome = whole.await.unwrap().outcome().unwrap();
    assert!(outcome.is_committed() && outcome.completed);
    assert_eq!(bank.balances().await, [100, 100, 101]);
    assert_eq!(balances(&far_pool).await, [150, 100, 100]);
    far.shutdown().await;
    bank.close().await;
}

/// Goal: explicit handles do the same as the closure form.
#[tokio::test]
async fn a_scope_that_its_owner_ends_is_kept_or_undone() {
    let bank = Bank::open().await;
    let whole = bank.agent.begin("whole", BeginOptions::default()).await.unwrap();
    let kept = bank.agent.begin_nested(whole.context()).unwrap();
    kept.context().clone().scope(add(&bank.pool, 1, 1)).await.unwrap();
    kept.keep().await.unwrap();
    let undone = bank.agent.begin_nested(whole.context()).unwrap();
    let late = undone.context().clone();
    late.clone().scope(add(&bank.pool, 2, 2)).await.unwrap();
    assert_eq!(undone.rollback().await, ScopeUndo::Undone);
    let refused = late.scope(add(&bank.pool, 3, 3)).await.unwrap_err();
    let code = AtError::of(&refused).and_then(AtError::code);
    assert_eq!(code, Some(ErrorCode::ScopeRolledBack), "{refused}");
    let outcome = whole.commit().await.unwrap();
    assert_eq!(outcome.decision, Decision::Committed);
    assert_eq!(bank.balances().await, [101, 100, 100]);
    bank.close().await;
}
