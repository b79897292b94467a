//! Handlers that do what they should not, with the real coordinator: whatever it is, the saga ends as
//! declared, and nothing but what is declared is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pactum_proto::v1::ErrorCode;
use pactum_testkit::wait::wait_until;
use serde_json::{Value, json};
use sqlx::{Sqlite, SqliteConnection};
use tokio::sync::Semaphore;

use super::super::builder::{Saga as Declared, Step, from};
use super::super::{OnUnknown, Saga, StepState};
use super::World;
use crate::{Acted, Handled, SagaStep, ServiceStep, StepCall, StepError};

const BOUND: Duration = Duration::from_secs(20);

/// Does what its input says, with a database and without one; counts its calls.
#[derive(Clone)]
struct Rogue {
    acted: Arc<AtomicUsize>,
    undone: Arc<AtomicUsize>,
    /// For those that wait to be told.
    go: Arc<Semaphore>,
}

impl Rogue {
    async fn behave(&self, does: &str) -> Value {
        match does {
            "panics" => panic!("planted"),
            "hangs" => std::future::pending().await,
            "waits" => self.go.acquire().await.unwrap().forget(),
            "returns too much" => return json!("x".repeat(70_000)),
            _ => {}
        }
        json!({ "does": does })
    }

    fn calls(&self) -> (usize, usize) {
        (self.acted.load(Ordering::SeqCst), self.undone.load(Ordering::SeqCst))
    }
}

impl SagaStep<Sqlite> for Rogue {
    const NAME: &'static str = "rogue";
    type Input = String;
    type Output = Value;
    type Error = sqlx::Error;

    async fn action(
        &self,
        connection: &mut SqliteConnection,
        does: &String,
    ) -> Result<Value, sqlx::Error> {
        self.acted.fetch_add(1, Ordering::SeqCst);
        sqlx::query("UPDATE account SET balance = balance + 1").execute(connection).await?;
        Ok(self.behave(does).await)
    }

    async fn compensate(
        &self,
        connection: &mut SqliteConnection,
        _does: String,
        _left: Value,
    ) -> Result<Handled, sqlx::Error> {
        self.undone.fetch_add(1, Ordering::SeqCst);
        sqlx::query("UPDATE account SET balance = balance - 1").execute(connection).await?;
        Ok(Handled::Done)
    }
}

impl ServiceStep for Rogue {
    const NAME: &'static str = "rogue";
    type Input = String;
    type Output = Value;
    type Error = std::io::Error;

    async fn action(&self, _: &StepCall, does: String) -> Result<Acted<Value>, StepError> {
        self.acted.fetch_add(1, Ordering::SeqCst);
        if does == "goes on elsewhere" {
            return Ok(Acted::Ongoing { ask_after: None });
        }
        Ok(Acted::Done(self.behave(&does).await))
    }

    async fn compensate(
        &self,
        _: &StepCall,
        _does: String,
        left: Option<Value>,
    ) -> Result<Handled, std::io::Error> {
        assert_eq!(left, None, "it never returned anything");
        self.undone.fetch_add(1, Ordering::SeqCst);
        Ok(Handled::Done)
    }
}

/// A world with a rogue at its bank and one at its mail service.
async fn with_rogues() -> (World, [Rogue; 2]) {
    let world = World::new().await;
    let rogue =
        || Rogue { acted: Arc::default(), undone: Arc::default(), go: Arc::new(Semaphore::new(0)) };
    let rogues = [rogue(), rogue()];
    world.bank.saga(rogues[0].clone()).unwrap();
    world.service.saga(rogues[1].clone()).unwrap();
    (world, rogues)
}

fn rogue(resource: &str) -> Step {
    let moment = Duration::from_millis(10);
    let step = Step::action("rogue", resource, "rogue").input(from("/input/does"));
    step.attempts(2).backoff(moment, moment)
}

#[track_caller]
fn undone_because_of<'a>(ended: &'a Saga, step: &str) -> &'a str {
    assert!(ended.has_ended() && !ended.is_committed(), "{ended:?}");
    let (failed, why) = ended.failure().unwrap();
    assert_eq!(failed, step);
    &why.code
}

/// Goal: where there is a local transaction, nothing of such an attempt is left, and the connection is good
/// for the next one.
#[tokio::test]
async fn what_a_rogue_does_in_a_database_is_rolled_back() {
    let (world, [rogue_step, _]) = with_rogues().await;
    world.define("rogue", rogue("bank").timeout(Duration::from_millis(500))).await;
    for (does, code, attempts) in [
        (json!("panics"), "pactum-panicked", 2),
        (json!("hangs"), "pactum-timed-out", 2),
        (json!("returns too much"), "pactum-result", 1),
        (json!(["is", "no", "text"]), "pactum-input", 0),
    ] {
        let before = rogue_step.calls();
        let ended = world.run("rogue", json!({ "amount": 30, "does": does })).await;
        assert_eq!(undone_because_of(&ended, "rogue"), code);
        assert_eq!(rogue_step.calls(), (before.0 + attempts, before.1), "{does}");
        assert_eq!(world.balance().await, 100, "{does}");
    }
    let ended = world.run("rogue", json!({ "amount": 30, "does": "is good" })).await;
    assert!(ended.is_committed(), "{ended:?}");
    assert_eq!(world.balance().await, 131);
}

/// Goal: without one nobody knows what such an attempt left, so it is repeated, and compensated in the end.
#[tokio::test]
async fn what_a_rogue_does_without_a_database_may_have_taken_place() {
    let (world, [_, rogue_step]) = with_rogues().await;
    let step = || rogue("mail").timeout(Duration::from_millis(500));
    world.define("repeated", step()).await;
    world.define("compensated", step().unknown(OnUnknown::Compensate)).await;
    for (saga, attempts) in [("repeated", 2), ("compensated", 1)] {
        for does in ["panics", "hangs", "returns too much"] {
            let before = rogue_step.calls();
            let ended = world.run(saga, json!({ "amount": 30, "does": does })).await;
            undone_because_of(&ended, "rogue");
            assert_eq!(rogue_step.calls(), (before.0 + attempts, before.1 + 1), "{saga} {does}");
            assert_eq!(world.balance().await, 100);
        }
    }
    let before = rogue_step.calls();
    let ended = world.run("repeated", json!({ "amount": 30, "does": 7 })).await;
    assert_eq!(undone_because_of(&ended, "rogue"), "pactum-input");
    assert_eq!(rogue_step.calls(), before, "nothing was called");
}

/// Goal: a result that is not what the next step needs fails that step, and takes back what was done.
#[tokio::test]
async fn a_result_that_does_not_fit_the_next_step_undoes_the_saga() {
    let (world, [rogue_step, _]) = with_rogues().await;
    let next = |name, input: &str| {
        let wrong = Step::action("wrong", "bank", "deposit").input(from(input));
        let saga = Declared::new(name, 1).step(rogue("bank")).step(wrong).build();
        let sagas = world.agent.sagas();
        async move { sagas.define(&saga).await.unwrap() }
    };
    next("of-another-type", "/results/rogue/does").await;
    next("not-there", "/results/rogue/nothing").await;
    for (saga, code) in [("of-another-type", Some("pactum-input")), ("not-there", None)] {
        let ended = world.run(saga, json!({ "does": "is good" })).await;
        let said = undone_because_of(&ended, "wrong");
        assert!(code.is_none_or(|code| code == said), "{said}");
        assert_eq!(world.balance().await, 100);
    }
    assert_eq!(rogue_step.calls(), (2, 2));
}

/// Goal: of an attempt that is asked for again while it is under way the effect is there once. Method: a
/// coordinator that starts again in the middle of it, and does not know what was answered.
#[tokio::test]
async fn an_attempt_that_is_repeated_while_it_is_under_way_takes_effect_once() {
    let (mut world, [rogue_step, _]) = with_rogues().await;
    world.define("rogue", rogue("bank")).await;
    let sagas = world.agent.sagas();
    let input = json!({ "amount": 30, "does": "waits" });
    let saga = sagas.submit("rogue").input(&input).await.unwrap();
    let is_inside = async || rogue_step.calls().0 == 1;
    wait_until("the handler to run", BOUND, is_inside).await.unwrap();
    world.coordinator.restart().await.unwrap();
    let attempts = async || {
        let shown = sagas.get_with_steps(saga.xid()).await.unwrap();
        shown.steps().iter().any(|step| step.path == "rogue" && step.attempt > 0)
    };
    wait_until("the attempt to be asked for again", BOUND, attempts).await.unwrap();
    rogue_step.go.add_permits(2);
    let ended = sagas.wait(saga.xid(), BOUND).await.unwrap();
    assert!(ended.is_committed(), "{ended:?}");
    assert_eq!(world.balance().await, 131);
    assert_eq!(rogue_step.calls(), (1, 0));
}

/// Goal: whoever answers when it is too late changes nothing. Method: a saga that is cancelled while an
/// action is under way in a database, and while one goes on elsewhere.
#[tokio::test]
async fn an_answer_after_the_end_changes_nothing() {
    let (world, [in_bank, elsewhere]) = with_rogues().await;
    world.define("in-bank", rogue("bank")).await;
    world.define("elsewhere", rogue("mail")).await;
    let sagas = world.agent.sagas();

    let input = json!({ "amount": 30, "does": "waits" });
    let saga = sagas.submit("in-bank").input(&input).await.unwrap();
    wait_until("the handler to run", BOUND, async || in_bank.calls().0 == 1).await.unwrap();
    sagas.cancel(saga.xid(), "nobody wants it").await.unwrap();
    in_bank.go.add_permits(1);
    let ended = sagas.wait(saga.xid(), BOUND).await.unwrap();
    assert!(ended.has_ended() && !ended.is_committed(), "{ended:?}");
    assert_eq!((world.balance().await, in_bank.calls()), (100, (1, 1)));

    let input = json!({ "amount": 30, "does": "goes on elsewhere" });
    let saga = sagas.submit("elsewhere").input(&input).await.unwrap();
    wait_until("the action to go on elsewhere", BOUND, async || {
        let shown = sagas.get_with_steps(saga.xid()).await.unwrap();
        shown.steps().iter().any(|step| step.state() == StepState::Waiting)
    })
    .await
    .unwrap();
    let shown = sagas.get_with_steps(saga.xid()).await.unwrap();
    let branch = shown.steps().iter().find(|step| step.path == "rogue").unwrap().branch_id;
    let token = format!("{}/{branch}", saga.xid());
    sagas.cancel(saga.xid(), "nobody wants it").await.unwrap();
    let ended = sagas.wait(saga.xid(), BOUND).await.unwrap();
    assert!(ended.has_ended() && !ended.is_committed(), "{ended:?}");
    let late = sagas.complete(&token, Ok(&"at last")).await.unwrap_err();
    assert_eq!(late.code(), Some(ErrorCode::StepState), "{late}");
    assert_eq!((world.balance().await, elsewhere.calls()), (100, (1, 1)));
}

/// Goal: of a saga that was undone nobody is told that something goes on: neither a loop, which is no row of
/// its own, nor a wait.
#[tokio::test]
async fn in_a_saga_that_was_undone_nothing_goes_on() {
    let (world, _) = with_rogues().await;
    let sagas = world.agent.sagas();
    let pay = Step::action("pay", "bank", "deposit").input(from("/each/lines/item"));
    let definition = Declared::new("undone", 1)
        .step(Step::each("lines", from("/input/lines"), 3, [pay]))
        .step(Step::event("approve"))
        .build();
    sagas.define(&definition).await.unwrap();
    let input = json!({ "lines": [1, 2] });
    let saga = sagas.submit("undone").input(&input).await.unwrap();
    let states = async |saga: &str| {
        let shown = sagas.get_with_steps(saga).await.unwrap();
        let state = |step: &super::super::StepStanding| (step.path.clone(), step.state());
        shown.steps().iter().map(state).collect::<Vec<_>>()
    };
    let waits = ("approve".to_owned(), StepState::Waiting);
    wait_until("the event to be waited for", BOUND, async || {
        states(saga.xid()).await.contains(&waits)
    })
    .await
    .unwrap();
    sagas.cancel(saga.xid(), "nobody approves").await.unwrap();
    let ended = sagas.wait(saga.xid(), BOUND).await.unwrap();
    assert!(ended.has_ended(), "{ended:?}");
    let states = states(saga.xid()).await;
    let is_over = |state| matches!(state, StepState::Undone | StepState::Done);
    assert!(states.iter().all(|(_, state)| is_over(*state)), "{states:?}");
    assert_eq!(world.balance().await, 100);
}
