//! A bank on any database, attached to the coordinator in memory, and handlers that do what a test
//! tells them.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pactum_core::id::{BranchId, ResourceUid, Xid, XidNumber};
use pactum_core::time::WallTime;
use pactum_proto::v1::ParkReason;
use pactum_testkit::server::{self, Kind};
use serde::{Deserialize, Serialize};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{MySql, Pool, Postgres, Sqlite};

use crate::action::{ActionDatabase, ActionOptions, ActionPool, Chance, Handled};
use crate::barrier::{self, Mode, OpenRow};
use crate::branch::Environment;
use crate::branch::{Answer, BranchKey};
use crate::context::TransactionContext;
use crate::db::{DbError, Driver, Value};
use crate::link::fake::{Fake, STORE};
use crate::saga::{SagaStep, Step};
use crate::tcc::{Tcc, TccAction};

/// The wall clock of the tests, in milliseconds.
pub(super) const NOW: u64 = 1_700_000_000_000;

thread_local! {
    static WALL: Cell<u64> = const { Cell::new(NOW) };
}

/// Sets this test's wall clock to so long after [`NOW`].
pub(super) fn wall_is(after: Duration) {
    WALL.set(NOW + u64::try_from(after.as_millis()).unwrap());
}

/// A database that tests make.
#[allow(async_fn_in_trait, reason = "for tests, on one task")]
pub(super) trait TestDatabase: ActionDatabase {
    /// What keeps the database alive.
    type Guard;
    async fn open() -> (Self::Guard, Pool<Self>);
}

impl TestDatabase for Sqlite {
    type Guard = tempfile::TempDir;

    async fn open() -> (tempfile::TempDir, Pool<Sqlite>) {
        let dir = tempfile::tempdir().unwrap();
        let connect = SqliteConnectOptions::new()
            .filename(dir.path().join("bank.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Off)
            .busy_timeout(Duration::from_secs(2));
        (dir, SqlitePoolOptions::new().max_connections(5).connect_with(connect).await.unwrap())
    }
}

impl TestDatabase for Postgres {
    type Guard = server::Database;

    async fn open() -> (server::Database, Pool<Postgres>) {
        let database = server::database(Kind::Postgres, "action").await.unwrap();
        let pool = PgPoolOptions::new().max_connections(8).connect(&database.url()).await.unwrap();
        (database, pool)
    }
}

impl TestDatabase for MySql {
    type Guard = server::Database;

    async fn open() -> (server::Database, Pool<MySql>) {
        let database = server::database(Kind::Mysql, "action").await.unwrap();
        let pool =
            MySqlPoolOptions::new().max_connections(8).connect(&database.url()).await.unwrap();
        (database, pool)
    }
}

/// What a handler does, in place of what it should.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Behaviour {
    Right,
    Fails,
    Panics,
    Hangs,
    Answers(Handled),
    /// Meets an error of the database and does not tell.
    SwallowsError,
    /// Ends the local transaction that it was given.
    Commits,
}

/// What handlers are to do next, and what was called.
#[derive(Debug, Default)]
pub(super) struct Script {
    next: Mutex<VecDeque<Behaviour>>,
    calls: Mutex<Vec<String>>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum HandlerError {
    #[error("the handler does not want to")]
    Unwilling,
    #[error("short of money")]
    Short,
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Script {
    /// The next calls go like this; those after them right.
    pub(super) fn then(&self, behaviours: &[Behaviour]) {
        self.next.lock().unwrap().extend(behaviours.iter().cloned());
    }

    /// What was called since the last look.
    pub(super) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    async fn play<DB: Driver>(
        &self,
        called: String,
        connection: &mut DB::Connection,
    ) -> Result<Handled, HandlerError> {
        self.calls.lock().unwrap().push(called);
        let next = self.next.lock().unwrap().pop_front();
        match next.unwrap_or(Behaviour::Right) {
            Behaviour::Right => Ok(Handled::Done),
            Behaviour::Fails => Err(HandlerError::Unwilling),
            Behaviour::Panics => panic!("planted"),
            Behaviour::Hangs => std::future::pending().await,
            Behaviour::Answers(handled) => Ok(handled),
            Behaviour::SwallowsError => {
                let error = DB::sql(connection).execute("SELECT nonsense", &[]).await;
                assert!(error.is_err());
                Ok(Handled::Done)
            }
            Behaviour::Commits => {
                DB::sql(connection).execute("COMMIT", &[]).await?;
                Ok(Handled::Done)
            }
        }
    }
}

/// Takes money from an account, by reservation.
pub(super) struct Withdraw(pub(super) Arc<Script>);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Withdrawal {
    pub(super) account: i64,
    pub(super) amount: i64,
    /// What try adds.
    pub(super) receipt: Option<String>,
}

pub(super) fn withdrawal(amount: i64) -> Withdrawal {
    Withdrawal { account: 1, amount, receipt: None }
}

async fn change<DB: Driver>(
    connection: &mut DB::Connection,
    sql: &str,
    values: &[i64],
) -> Result<u64, DbError> {
    let values: Vec<Value> = values.iter().map(|value| Value::Integer(*value)).collect();
    DB::sql(connection).execute(sql, &values).await
}

impl<DB: ActionDatabase> TccAction<DB> for Withdraw {
    const NAME: &'static str = "withdraw";
    const VERSION: u8 = 2;
    type Context = Withdrawal;
    type Output = i64;
    type Error = HandlerError;

    async fn try_phase(
        &self,
        connection: &mut DB::Connection,
        context: &mut Withdrawal,
    ) -> Result<i64, HandlerError> {
        let sql = "UPDATE account SET reserved = reserved + ?2 \
                   WHERE id = ?1 AND balance - reserved >= ?2";
        if change::<DB>(connection, sql, &[context.account, context.amount]).await? == 0 {
            return Err(HandlerError::Short);
        }
        self.0.play::<DB>(format!("try {}", context.amount), connection).await?;
        if context.amount > 10 {
            context.receipt = Some(format!("receipt of {}", context.amount));
        }
        Ok(context.amount)
    }

    async fn confirm(
        &self,
        connection: &mut DB::Connection,
        context: Withdrawal,
    ) -> Result<Handled, HandlerError> {
        let sql = "UPDATE account SET reserved = reserved - ?2, balance = balance - ?2 \
                   WHERE id = ?1";
        change::<DB>(connection, sql, &[context.account, context.amount]).await?;
        let receipt = context.receipt.unwrap_or_default();
        self.0.play::<DB>(format!("confirm {} {receipt}", context.amount), connection).await
    }

    async fn cancel(
        &self,
        connection: &mut DB::Connection,
        context: Withdrawal,
    ) -> Result<Handled, HandlerError> {
        let sql = "UPDATE account SET reserved = reserved - ?2 WHERE id = ?1";
        change::<DB>(connection, sql, &[context.account, context.amount]).await?;
        self.0.play::<DB>(format!("cancel {}", context.amount), connection).await
    }

    async fn can_commit(
        &self,
        connection: &mut DB::Connection,
        context: &Withdrawal,
    ) -> Result<Chance, HandlerError> {
        let sql = "SELECT 1 FROM account WHERE id = ?1 AND balance - reserved >= ?2";
        let values = [context.account, context.amount].map(Value::Integer);
        let rows = DB::sql(connection).query(sql, &values).await?;
        let short = || Chance::None("short of money".to_owned());
        Ok(if rows.is_empty() { short() } else { Chance::Good })
    }

    fn migrate(version: u8, context: serde_json::Value) -> Result<Withdrawal, String> {
        assert_eq!(version, 1);
        let amount = context["sum"].as_i64().ok_or("it has no sum")?;
        Ok(withdrawal(amount))
    }
}

/// Puts money into an account at once, and takes it out again if that was wrong.
pub(super) struct Deposit(pub(super) Arc<Script>);

impl<DB: ActionDatabase> SagaStep<DB> for Deposit {
    const NAME: &'static str = "deposit";
    const ATTEMPTS: u32 = 3;
    const ATTEMPT_WAIT_MAX: Duration = Duration::from_secs(5);
    const BACK_OFF: Duration = Duration::from_millis(1);
    type Input = i64;
    type Output = i64;
    type Error = HandlerError;

    async fn action(
        &self,
        connection: &mut DB::Connection,
        amount: &i64,
    ) -> Result<i64, HandlerError> {
        let sql = "UPDATE account SET balance = balance + ?1 WHERE id = 1";
        change::<DB>(connection, sql, &[*amount]).await?;
        self.0.play::<DB>(format!("deposit {amount}"), connection).await?;
        Ok(*amount * 2)
    }

    async fn compensate(
        &self,
        connection: &mut DB::Connection,
        amount: i64,
        output: i64,
    ) -> Result<Handled, HandlerError> {
        let sql = "UPDATE account SET balance = balance - ?1 WHERE id = 1";
        change::<DB>(connection, sql, &[amount]).await?;
        self.0.play::<DB>(format!("compensate {amount} {output}"), connection).await
    }

    fn retries(&self, error: &HandlerError) -> bool {
        matches!(error, HandlerError::Unwilling)
    }
}

/// A step that nothing reverses.
pub(super) struct SendLetter(pub(super) Arc<Script>);

impl<DB: ActionDatabase> SagaStep<DB> for SendLetter {
    const NAME: &'static str = "send-letter";
    const COMPENSABLE: bool = false;
    type Input = String;
    type Output = ();
    type Error = HandlerError;

    async fn action(
        &self,
        connection: &mut DB::Connection,
        _text: &String,
    ) -> Result<(), HandlerError> {
        self.0.play::<DB>("letter".to_owned(), connection).await?;
        Ok(())
    }

    async fn compensate(
        &self,
        _connection: &mut DB::Connection,
        _text: String,
        (): (),
    ) -> Result<Handled, HandlerError> {
        panic!("a step that goes forward only is never compensated")
    }
}

#[track_caller]
pub(super) fn parked(answer: &Answer) -> ParkReason {
    let Answer::Parked(report) = answer else { panic!("not parked: {answer:?}") };
    assert!(!report.message.is_empty());
    report.reason()
}

#[track_caller]
pub(super) fn is_later(answer: &Answer) -> Option<Duration> {
    let Answer::Later { after, reason } = answer else { panic!("not later: {answer:?}") };
    assert!(!reason.is_empty());
    *after
}

pub(super) struct World<DB: TestDatabase> {
    _guard: DB::Guard,
    pub(super) pool: Pool<DB>,
    pub(super) actions: ActionPool<DB>,
    pub(super) withdraw: Tcc<DB, Withdraw>,
    pub(super) deposit: Step<DB, Deposit>,
    pub(super) letter: Step<DB, SendLetter>,
    pub(super) fake: Arc<Fake>,
    pub(super) script: Arc<Script>,
    next_xid: AtomicU64,
}

pub(super) fn options() -> ActionOptions {
    let environment =
        Environment { wall: || WallTime(WALL.get()), random_uid: || ResourceUid(0xfeed) };
    ActionOptions {
        environment,
        handler_wait_max: Duration::from_millis(500),
        local_lock_wait_max: Duration::from_secs(1),
        ..ActionOptions::default().create_tables(true)
    }
}

pub(super) const SCHEMA: [&str; 2] = [
    "CREATE TABLE account (id BIGINT NOT NULL PRIMARY KEY, balance BIGINT NOT NULL, \
     reserved BIGINT NOT NULL)",
    "INSERT INTO account VALUES (1, 100, 0)",
];

impl<DB: TestDatabase> World<DB> {
    pub(super) async fn new() -> Self {
        World::with(options()).await
    }

    pub(super) async fn with(options: ActionOptions) -> Self {
        let (guard, pool) = DB::open().await;
        let mut connection = pool.acquire().await.unwrap();
        for statement in SCHEMA {
            DB::sql(&mut connection).execute(statement, &[]).await.unwrap();
        }
        drop(connection);
        let fake = Arc::new(Fake::default());
        let resource = "bank-a".parse().unwrap();
        let link = Arc::clone(&fake);
        let actions = ActionPool::attach_over(link, resource, pool.clone(), options).await.unwrap();
        let script = Arc::new(Script::default());
        World {
            _guard: guard,
            pool,
            withdraw: actions.tcc(Withdraw(Arc::clone(&script))).unwrap(),
            deposit: actions.saga(Deposit(Arc::clone(&script))).unwrap(),
            letter: actions.saga(SendLetter(Arc::clone(&script))).unwrap(),
            actions,
            fake,
            script,
            next_xid: AtomicU64::new(1),
        }
    }

    pub(super) fn context(&self) -> TransactionContext {
        self.context_for(Duration::from_secs(60))
    }

    pub(super) fn context_for(&self, remaining: Duration) -> TransactionContext {
        let number = XidNumber(self.next_xid.fetch_add(1, Ordering::Relaxed));
        let xid = Xid { group: "default".parse().unwrap(), number };
        TransactionContext::new(xid, STORE, remaining)
    }

    /// Runs a statement past the agent.
    pub(super) async fn behind(&self, statement: &str) {
        let mut connection = self.pool.acquire().await.unwrap();
        DB::sql(&mut connection).execute(statement, &[]).await.unwrap();
    }

    /// The account: its balance, and what of it is reserved.
    pub(super) async fn account(&self) -> (i64, i64) {
        let rows = self.query("SELECT balance, reserved FROM account WHERE id = 1").await;
        (rows[0][0].as_integer().unwrap(), rows[0][1].as_integer().unwrap())
    }

    pub(super) async fn query(&self, sql: &str) -> Vec<crate::db::Row> {
        let mut connection = self.pool.acquire().await.unwrap();
        DB::sql(&mut connection).query(sql, &[]).await.unwrap()
    }

    /// A branch of its own, tried.
    pub(super) async fn tried(&self, amount: i64) -> (TransactionContext, BranchId) {
        let context = self.context();
        self.withdraw.try_in(&context, withdrawal(amount)).await.unwrap();
        let branch = self.fake.registrations(context.xid())[0].branch;
        (context, branch)
    }

    /// Puts another open row in the place of a branch's: what another version of the action wrote.
    pub(super) async fn rewrite(
        &self,
        context: &TransactionContext,
        branch: BranchId,
        format: u8,
        body: &str,
    ) {
        let key = BranchKey { xid: context.xid().clone(), branch };
        self.behind("DELETE FROM pactum_barrier").await;
        let mut connection = self.pool.acquire().await.unwrap();
        let body = body.to_owned();
        let row = OpenRow { key, store: STORE, mode: Mode::Tcc, format, body };
        let mut sql = DB::sql(&mut connection);
        let always = ("1 = 1", &[][..]);
        assert!(barrier::insert_open(&mut *sql, &row, WallTime(NOW), always).await.unwrap());
    }

    /// The barrier's rows: mode and state.
    pub(super) async fn barrier(&self) -> Vec<String> {
        let rows =
            self.query("SELECT mode, state FROM pactum_barrier ORDER BY xid, branch_id").await;
        let text = |value: &Value| value.as_text().unwrap().to_owned();
        rows.iter().map(|row| format!("{} {}", text(&row[0]), text(&row[1]))).collect()
    }
}
