//! The rules of declared sagas' steps on every database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pactum_core::id::BranchId;
use pactum_core::transaction::{Action, BranchMode};
use pactum_proto::v1::ParkReason;
use tokio::time::Instant;

use super::on_every_database;
use super::world::{Behaviour, TestDatabase, World, is_later, parked};
use crate::action::{ActionDatabase, Handled};
use crate::branch::{Answer, BranchKey, StepAnswer, StepWork, Task, Work};
use crate::context::TransactionContext;
use crate::db::{DbError, Value};
use crate::link::fake::STORE;
use crate::saga::{Acted, SagaStep, StepCall};

const MAYBE: Task = Task::Rollback { phase_one_done: false };
const SURELY: Task = Task::Rollback { phase_one_done: true };

on_every_database!(
    an_action_takes_place_once_whoever_asks_how_often,
    what_goes_wrong_in_an_action_leaves_nothing,
    a_step_is_compensated_once_and_no_attempt_comes_after,
    a_compensation_that_comes_first_keeps_the_action_out,
    what_the_definition_says_is_not_reversed_is_parked_if_it_took_place,
    an_action_that_goes_on_elsewhere_keeps_what_it_wrote,
);

/// A step of the saga `context`, of which there is time for an attempt.
fn step(context: &TransactionContext, task: Task, action: &str, input: &str) -> Work {
    Work {
        key: BranchKey { xid: context.xid().clone(), branch: BranchId(7) },
        store: STORE,
        task,
        attempt: 1,
        mode: BranchMode::Saga,
        action: Some(Action { name: action.into(), payload: input.as_bytes().into() }),
        resolution: None,
        step: Some(StepWork {
            until: Instant::now() + Duration::from_secs(5),
            key: "step".to_owned(),
            result: Bytes::new(),
            forward_only: false,
        }),
    }
}

fn within(mut work: Work, time: Duration) -> Work {
    if let Some(step) = &mut work.step {
        step.until = Instant::now() + time;
    }
    work
}

fn done(result: &str) -> Answer {
    Answer::Step(StepAnswer::Done(result.into()))
}

/// The code of a failure, with a mark for one that is final.
#[track_caller]
fn code(answer: &Answer) -> String {
    match answer {
        Answer::Step(StepAnswer::Failed { code, message, is_final }) => {
            assert!(!message.is_empty());
            format!("{code}{}", if *is_final { "!" } else { "" })
        }
        Answer::Step(StepAnswer::Unknown(message)) => format!("unknown: {message}"),
        other => panic!("not failed: {other:?}"),
    }
}

async fn an_action_takes_place_once_whoever_asks_how_often<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let context = world.context();
    let act = step(&context, Task::Act, "deposit", "30");
    let attempts = (0..4).map(|_| world.fake.ask(act.clone()));
    for answer in futures_util::future::join_all(attempts).await {
        assert_eq!(answer, done("60"));
    }
    assert_eq!(world.fake.ask(act).await, done("60"));
    assert_eq!(world.script.calls(), ["deposit 30"]);
    assert_eq!(world.account().await, (130, 0));
    assert_eq!(world.barrier().await, ["saga open"]);
}

async fn what_goes_wrong_in_an_action_leaves_nothing<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let context = world.context();
    let act = step(&context, Task::Act, "deposit", "30");
    let ask = async |behaviour| {
        world.script.then(&[behaviour]);
        world.fake.ask(within(act.clone(), Duration::from_secs(5))).await
    };
    assert_eq!(code(&ask(Behaviour::Fails).await), "failed");
    assert_eq!(code(&ask(Behaviour::Panics).await), "pactum-panicked");
    world.script.then(&[Behaviour::Hangs]);
    let hung = world.fake.ask(within(act.clone(), Duration::from_millis(200))).await;
    assert_eq!(code(&hung), "pactum-timed-out");
    let late = world.fake.ask(within(act.clone(), Duration::ZERO)).await;
    assert_eq!(is_later(&late), None);
    let wrong = step(&context, Task::Act, "deposit", r#""much""#);
    assert_eq!(code(&world.fake.ask(wrong).await), "pactum-input!");
    let unknown = step(&context, Task::Act, "withdraw", "30");
    assert!(is_later(&world.fake.ask(unknown).await).is_some());
    assert_eq!(world.account().await, (100, 0));
    assert_eq!(world.barrier().await, [""; 0]);
    // One that ends its local transaction by itself took place all the same, and once.
    for _ in 0..2 {
        let answer = ask(Behaviour::Commits).await;
        assert_eq!(answer, done("60"));
        assert_eq!(world.account().await, (130, 0));
    }
}

async fn a_step_is_compensated_once_and_no_attempt_comes_after<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let context = world.context();
    let act = step(&context, Task::Act, "deposit", "30");
    assert_eq!(world.fake.ask(act.clone()).await, done("60"));
    world
        .script
        .then(&[Behaviour::Panics, Behaviour::Answers(Handled::Later(Duration::from_secs(1)))]);
    let undo = |task| world.fake.ask(step(&context, task, "deposit", "30"));
    for _ in 0..2 {
        is_later(&undo(SURELY).await);
        assert_eq!(world.account().await, (130, 0));
    }
    world.script.calls();
    for task in [SURELY, MAYBE, SURELY] {
        assert_eq!(undo(task).await, Answer::Done);
    }
    assert_eq!(world.script.calls(), ["compensate 30 60"]);
    assert_eq!(code(&world.fake.ask(act).await), "pactum-rolled-back!");
    assert_eq!(world.account().await, (100, 0));
    assert_eq!(world.barrier().await, ["saga undone"]);
}

/// Goal: nobody waits for a time limit that no declared step has. Method: an input that looks like one.
async fn a_compensation_that_comes_first_keeps_the_action_out<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let context = world.context();
    let input = r#"{"until_ms": 9999999999999}"#;
    let undo = step(&context, MAYBE, "deposit", input);
    assert_eq!(world.fake.ask(undo).await, Answer::Done);
    let act = step(&context, Task::Act, "deposit", "30");
    assert_eq!(code(&world.fake.ask(act).await), "pactum-rolled-back!");
    assert_eq!(world.script.calls(), [""; 0]);
    assert_eq!(world.barrier().await, ["saga tombstone"]);
}

async fn what_the_definition_says_is_not_reversed_is_parked_if_it_took_place<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let look = async |context: &TransactionContext, task| {
        let mut undo = step(context, task, "deposit", "30");
        if let Some(step) = &mut undo.step {
            step.forward_only = true;
        }
        world.fake.ask(undo).await
    };
    let context = world.context();
    world.fake.ask(step(&context, Task::Act, "deposit", "30")).await;
    assert_eq!(parked(&look(&context, MAYBE).await), ParkReason::HandlerFatal);
    assert_eq!(world.script.calls(), ["deposit 30"]);
    assert_eq!(world.account().await, (130, 0));
    // Another one never came, and never will.
    assert_eq!(look(&world.context(), MAYBE).await, Answer::Done);
}

/// Takes 10 when it is asked first, and 1 whenever it is asked again; done once it is told so.
struct Order {
    is_over: Arc<AtomicBool>,
}

impl<DB: ActionDatabase> SagaStep<DB> for Order {
    const NAME: &'static str = "order";
    type Input = i64;
    type Output = String;
    type Error = DbError;

    async fn action(&self, _: &mut DB::Connection, _: &i64) -> Result<String, DbError> {
        unreachable!("it is a step of declared sagas alone")
    }

    async fn act(
        &self,
        call: &StepCall,
        connection: &mut DB::Connection,
        account: &i64,
    ) -> Result<Acted<String>, DbError> {
        assert_eq!(call.key(), "step");
        let taken = if call.attempt() == 1 { 10 } else { 1 };
        let sql = "UPDATE account SET balance = balance - ?2 WHERE id = ?1";
        let values = [Value::Integer(*account), Value::Integer(taken)];
        DB::sql(connection).execute(sql, &values).await?;
        Ok(match self.is_over.load(Ordering::Relaxed) {
            true => Acted::Done("delivered".to_owned()),
            false => Acted::Ongoing { ask_after: Some(Duration::from_secs(1)) },
        })
    }

    async fn compensate(
        &self,
        connection: &mut DB::Connection,
        account: i64,
        output: String,
    ) -> Result<Handled, DbError> {
        assert!(["delivered", "told"].contains(&output.as_str()), "{output}");
        let sql = "UPDATE account SET balance = 100 WHERE id = ?1";
        DB::sql(connection).execute(sql, &[Value::Integer(account)]).await?;
        Ok(Handled::Done)
    }

    async fn compensate_ongoing(
        &self,
        connection: &mut DB::Connection,
        account: i64,
    ) -> Result<Handled, DbError> {
        let sql = "UPDATE account SET balance = 99 WHERE id = ?1";
        DB::sql(connection).execute(sql, &[Value::Integer(account)]).await?;
        Ok(Handled::Done)
    }
}

async fn an_action_that_goes_on_elsewhere_keeps_what_it_wrote<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let is_over = Arc::new(AtomicBool::new(false));
    world.actions.saga(Order { is_over: Arc::clone(&is_over) }).unwrap();
    let ask = async |context: &TransactionContext, attempt| {
        let act = step(context, Task::Act, "order", "1");
        world.fake.ask(Work { attempt, ..act }).await
    };
    let ask_after = Some(Duration::from_secs(1));
    let ongoing = Answer::Step(StepAnswer::Ongoing { ask_after });

    // Asked again until it is done, and then no more.
    let first = world.context();
    assert_eq!(ask(&first, 1).await, ongoing);
    assert_eq!(ask(&first, 2).await, ongoing);
    assert_eq!(world.account().await.0, 89);
    is_over.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        assert_eq!(ask(&first, 3).await, done(r#""delivered""#));
        assert_eq!(world.account().await.0, 88);
    }
    let undo = step(&first, SURELY, "order", "1");
    assert_eq!(world.fake.ask(undo).await, Answer::Done);
    assert_eq!(world.account().await.0, 100);

    // Nobody knows how it ended, or somebody told the coordinator.
    is_over.store(false, Ordering::Relaxed);
    for (told, balance) in [("", 99), (r#""told""#, 100)] {
        let context = world.context();
        assert_eq!(ask(&context, 1).await, ongoing);
        let mut undo = step(&context, MAYBE, "order", "1");
        if let Some(step) = &mut undo.step {
            step.result = Bytes::from_static(told.as_bytes());
        }
        assert_eq!(world.fake.ask(undo).await, Answer::Done);
        assert_eq!(world.account().await.0, balance, "{told}");
        assert_eq!(code(&ask(&context, 2).await), "pactum-rolled-back!");
    }
}
