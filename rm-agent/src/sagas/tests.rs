//! Declared sagas with the real coordinator: a bank on SQLite and a service without a database.

mod hostile;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use pactum_coordinator::Embedded;
use pactum_proto::v1::ErrorCode;
use pactum_testkit::wait::wait_until;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{Sqlite, SqliteConnection, SqlitePool};

use super::builder::{Saga as Declared, Step, from};
use super::{Saga, SagaError, StepState};
use crate::{
    Acted, ActionOptions, ActionPool, ActionService, Agent, AgentOptions, Handled, SagaStep,
    ServiceOptions, ServiceStep, StepCall, StepError,
};

/// Puts money into account 1; a negative amount takes it out, and may fail.
struct Deposit;

#[derive(Debug, thiserror::Error)]
enum DepositError {
    #[error("short of money")]
    Short,
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
}

impl SagaStep<Sqlite> for Deposit {
    const NAME: &'static str = "deposit";
    type Input = i64;
    type Output = i64;
    type Error = DepositError;

    async fn action(
        &self,
        connection: &mut SqliteConnection,
        amount: &i64,
    ) -> Result<i64, DepositError> {
        let change = "UPDATE account SET balance = balance + ? WHERE id = 1 RETURNING balance";
        let balance = sqlx::query_scalar(change).bind(*amount).fetch_one(connection).await?;
        if balance < 0 { Err(DepositError::Short) } else { Ok(balance) }
    }

    async fn compensate(
        &self,
        connection: &mut SqliteConnection,
        amount: i64,
        _balance: i64,
    ) -> Result<Handled, DepositError> {
        let change = sqlx::query("UPDATE account SET balance = balance - ? WHERE id = 1");
        change.bind(amount).execute(connection).await?;
        Ok(Handled::Done)
    }

    fn step_error(&self, error: DepositError) -> StepError {
        match error {
            DepositError::Short => StepError::failed("short", "not enough money").last(),
            DepositError::Sql(error) => StepError::failed("sql", error.to_string()),
        }
    }
}

/// Sends what it is given, and notes the keys.
#[derive(Clone, Default)]
struct Mail(Arc<Mutex<Vec<String>>>);

impl Mail {
    fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl ServiceStep for Mail {
    const NAME: &'static str = "send";
    type Input = Value;
    type Output = String;
    type Error = std::io::Error;

    async fn action(&self, call: &StepCall, input: Value) -> Result<Acted<String>, StepError> {
        self.0.lock().unwrap().push(call.key().to_owned());
        match input.as_str() {
            Some("ongoing") => Ok(Acted::Ongoing { ask_after: None }),
            Some("shout") => Err(StepError::failed("!".repeat(1000), "!".repeat(10 << 20)).last()),
            Some("bounce") => Err(StepError::failed("bounced", "no such address").last()),
            _ => Ok(Acted::Done(format!("sent {input}"))),
        }
    }

    async fn compensate(
        &self,
        call: &StepCall,
        _input: Value,
        _output: Option<String>,
    ) -> Result<Handled, std::io::Error> {
        self.0.lock().unwrap().push(format!("undo {}", call.key()));
        Ok(Handled::Done)
    }
}

struct World {
    coordinator: Embedded,
    agent: Agent,
    _dir: tempfile::TempDir,
    pool: SqlitePool,
    bank: ActionPool<Sqlite>,
    service: ActionService,
    mail: Mail,
}

impl World {
    async fn new() -> World {
        let coordinator = Embedded::start().await.unwrap();
        let agent = Agent::connect(AgentOptions::new(coordinator.url())).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let connect = SqliteConnectOptions::new()
            .filename(dir.path().join("bank.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let pool = SqlitePool::connect_with(connect).await.unwrap();
        let schema = "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
                      INSERT INTO account VALUES (1, 100)";
        sqlx::raw_sql(schema).execute(&pool).await.unwrap();
        let options = ActionOptions::default().create_tables(true);
        let bank = ActionPool::attach(&agent, "bank", pool.clone(), options).await.unwrap();
        bank.saga(Deposit).unwrap();
        let service =
            ActionService::attach(&agent, "mail", ServiceOptions::default()).await.unwrap();
        let mail = Mail::default();
        service.saga(mail.clone()).unwrap();
        World { coordinator, agent, _dir: dir, pool, bank, service, mail }
    }

    async fn balance(&self) -> i64 {
        let balance = sqlx::query_scalar("SELECT balance FROM account");
        balance.fetch_one(&self.pool).await.unwrap()
    }

    /// Defines a saga that pays, and then tells.
    async fn define(&self, name: &str, then: Step) {
        let definition = Declared::new(name, 1)
            .step(Step::action("pay", "bank", "deposit").input(from("/input/amount")))
            .step(then)
            .output(json!({ "balance": from("/results/pay") }))
            .build();
        self.agent.sagas().define(&definition).await.unwrap();
    }

    async fn run(&self, name: &str, input: Value) -> Saga {
        let sagas = self.agent.sagas();
        let saga = sagas.submit(name).input(&input).await.unwrap();
        sagas.wait(saga.xid(), Duration::from_secs(20)).await.unwrap()
    }
}

fn tell() -> Step {
    Step::action("tell", "mail", "send").input(from("/input/text"))
}

#[tokio::test]
async fn a_saga_takes_place_once_and_gives_its_output() {
    let world = World::new().await;
    world.define("pay", tell()).await;
    let sagas = world.agent.sagas();
    let input = json!({ "amount": 30, "text": "hello" });
    let submit = || sagas.submit("pay").version(1).input(&input).key("order-1");
    let first = submit().await.unwrap();
    let ended = sagas.wait(first.xid(), Duration::from_secs(20)).await.unwrap();
    assert!(ended.has_ended() && ended.is_committed(), "{ended:?}");
    assert_eq!(ended.output::<Value>().unwrap(), json!({ "balance": 130 }));
    // The same key is the same saga, with its output, also when it is over.
    let again = submit().await.unwrap();
    assert_eq!(
        (again.xid(), again.output::<Value>().unwrap()["balance"].as_i64()),
        (first.xid(), Some(130))
    );
    assert_eq!(world.balance().await, 130);
    assert_eq!(world.mail.keys().len(), 1);
    let shown = sagas.get_with_steps(first.xid()).await.unwrap();
    let steps: Vec<_> =
        shown.steps().iter().map(|step| (step.path.as_str(), step.state())).collect();
    assert_eq!(steps, [("pay", StepState::Done), ("tell", StepState::Done)]);
}

#[tokio::test]
async fn a_saga_whose_last_step_fails_is_undone() {
    let world = World::new().await;
    world.define("pay", tell()).await;
    let ended = world.run("pay", json!({ "amount": 30, "text": "bounce" })).await;
    assert!(ended.has_ended() && !ended.is_committed(), "{ended:?}");
    let (step, why) = ended.failure().unwrap();
    assert_eq!(
        (step, why.code.as_str(), why.message.as_str()),
        ("tell", "bounced", "no such address")
    );
    assert_eq!(world.balance().await, 100);
    // It surely did not take place.
    assert_eq!(world.mail.keys().len(), 1);

    let ended = world.run("pay", json!({ "amount": -200, "text": "x" })).await;
    assert_eq!(
        ended.failure().map(|(step, why)| (step, why.code.as_str())),
        Some(("pay", "short"))
    );
    assert_eq!(world.balance().await, 100);
}

#[tokio::test]
async fn an_action_that_goes_on_elsewhere_is_completed_by_its_key() {
    let world = World::new().await;
    world.define("pay", tell()).await;
    let sagas = world.agent.sagas();
    let input = json!({ "amount": 30, "text": "ongoing" });
    let mut ends = Vec::new();
    for result in [Ok(&"sent by hand"), Err(StepError::failed("bounced", "it came back"))] {
        let before = world.mail.keys().len();
        let saga = sagas.submit("pay").input(&input).await.unwrap();
        let asked = async || world.mail.keys().len() > before;
        wait_until("the mail is asked", Duration::from_secs(20), asked).await.unwrap();
        let key = world.mail.keys()[before].clone();
        // The answer may still be on its way.
        let mut told = sagas.complete(&key, result.clone()).await;
        while told.as_ref().is_err_and(|error| error.code() == Some(ErrorCode::StepState)) {
            told = sagas.complete(&key, result.clone()).await;
        }
        told.unwrap();
        let ended = sagas.wait(saga.xid(), Duration::from_secs(20)).await.unwrap();
        ends.push((ended.is_committed(), world.balance().await));
    }
    assert_eq!(ends, [(true, 130), (false, 130)]);
    assert!(world.mail.keys()[2].starts_with("undo "), "{:?}", world.mail.keys());
}

#[tokio::test]
async fn an_event_lets_a_saga_go_on_and_a_watcher_sees_every_state() {
    let world = World::new().await;
    let approve = Step::event("approve").expires_after(Duration::from_secs(60));
    world.define("approved", approve).await;
    let sagas = world.agent.sagas();
    let saga = sagas.submit("approved").input(&json!({ "amount": 1 })).await.unwrap();
    let watched = tokio::spawn(sagas.watch(saga.xid()).collect::<Vec<_>>());
    sagas.signal(saga.xid(), "approve", &json!({ "by": "Ada" })).await.unwrap();
    let states = tokio::time::timeout(Duration::from_secs(20), watched).await.unwrap().unwrap();
    let last = states.last().unwrap().as_ref().unwrap();
    assert!(last.is_committed(), "{last:?}");
    let cancelled = sagas.cancel(saga.xid(), "too late").await.unwrap_err();
    assert_eq!(cancelled.code(), Some(ErrorCode::StepState), "{cancelled}");

    let saga = sagas.submit("approved").input(&json!({ "amount": 1 })).await.unwrap();
    sagas.cancel(saga.xid(), "nobody approves").await.unwrap();
    let ended = sagas.wait(saga.xid(), Duration::from_secs(20)).await.unwrap();
    assert!(ended.has_ended() && !ended.is_committed(), "{ended:?}");
    assert_eq!(world.balance().await, 101);
}

#[tokio::test]
async fn what_nobody_offers_is_refused_and_what_was_just_registered_is_not() {
    let world = World::new().await;
    let sagas = world.agent.sagas();
    let unknown = sagas.submit("nothing").await.unwrap_err();
    assert_eq!(unknown.code(), Some(ErrorCode::UnknownSaga), "{unknown}");
    let faulty = Declared::new("faulty", 1).step(tell().input(from("/results/later"))).build();
    let refused = sagas.define(&faulty).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::InvalidDefinition), "{refused}");

    let definition = Declared::new("note", 1).step(Step::action("note", "mail", "note")).build();
    sagas.define(&definition).await.unwrap();
    let refused = sagas.submit("note").await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::UnknownAction), "{refused}");
    world.service.saga(Note).unwrap();
    let saga = sagas.submit("note").wait(Duration::from_secs(20)).await.unwrap();
    assert!(saga.is_committed(), "{saga:?}");
}

/// Goal: nothing that is said about one saga harms another. Method: values that no frame could carry.
#[tokio::test]
async fn what_is_too_large_is_not_sent() {
    let world = World::new().await;
    world.define("pay", tell()).await;
    let sagas = world.agent.sagas();
    let large = "x".repeat(10 << 20);
    let refused = sagas.submit("pay").input(&large).await.unwrap_err();
    assert!(matches!(refused, SagaError::TooLarge { .. }), "{refused}");
    let saga = sagas.submit("pay").input(&json!({ "amount": 1, "text": "shout" })).await.unwrap();
    let refused = sagas.signal(saga.xid(), "tell", &large).await.unwrap_err();
    assert!(matches!(refused, SagaError::TooLarge { .. }), "{refused}");
    let ended = sagas.wait(saga.xid(), Duration::from_secs(20)).await.unwrap();
    let (_, why) = ended.failure().unwrap();
    assert_eq!((why.code.len(), why.message.len()), (64, 1024));
}

/// A step that is registered late.
struct Note;

impl ServiceStep for Note {
    const NAME: &'static str = "note";
    type Input = ();
    type Output = ();
    type Error = std::io::Error;

    async fn action(&self, _: &StepCall, (): ()) -> Result<Acted<()>, StepError> {
        Ok(Acted::Done(()))
    }

    async fn compensate(
        &self,
        _: &StepCall,
        (): (),
        _: Option<()>,
    ) -> Result<Handled, std::io::Error> {
        Ok(Handled::Done)
    }
}

/// Goal: a saga outlives whoever began it, and finds its handlers at another process. Method: an agent
/// that goes, and another that comes, with a saga that waits in between.
#[tokio::test]
async fn a_saga_goes_on_without_the_agent_that_submitted_it() {
    let World { coordinator, agent, _dir, pool, bank, service, mail } = World::new().await;
    let sagas = agent.sagas();
    let definition = Declared::new("slow", 1)
        .step(Step::pause("rest", Duration::from_millis(300)))
        .step(tell())
        .build();
    sagas.define(&definition).await.unwrap();
    let saga = sagas.submit("slow").input(&json!({ "text": "hi" })).await.unwrap();
    drop((service, bank));
    agent.shutdown().await;

    let agent = Agent::connect(AgentOptions::new(coordinator.url())).await.unwrap();
    let service = ActionService::attach(&agent, "mail", ServiceOptions::default()).await.unwrap();
    service.saga(mail.clone()).unwrap();
    let ended = agent.sagas().wait(saga.xid(), Duration::from_secs(20)).await.unwrap();
    assert!(ended.is_committed(), "{ended:?}");
    assert_eq!(mail.keys().len(), 1);
    drop((pool, _dir));
}
