//! The rules of declared sagas' steps on every database.

use std::time::Duration;

use bytes::Bytes;
use pactum_core::id::BranchId;
use pactum_core::transaction::{Action, BranchMode};
use tokio::time::Instant;

use super::on_every_database;
use super::world::{Behaviour, TestDatabase, World, is_later};
use crate::action::Handled;
use crate::branch::{Answer, BranchKey, StepAnswer, StepWork, Task, Work};
use crate::context::TransactionContext;
use crate::link::fake::STORE;

const MAYBE: Task = Task::Rollback { phase_one_done: false };
const SURELY: Task = Task::Rollback { phase_one_done: true };

on_every_database!(
    an_action_takes_place_once_whoever_asks_how_often,
    what_goes_wrong_in_an_action_leaves_nothing,
    a_step_is_compensated_once_and_no_attempt_comes_after,
    a_compensation_that_comes_first_keeps_the_action_out,
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
