//! The rules of saga steps on every database.

use std::time::Duration;

use pactum_core::id::BranchId;
use pactum_core::transaction::{BranchMode, Resolution};
use pactum_proto::v1::ParkReason;

use super::on_every_database;
use super::world::{Behaviour, HandlerError, TestDatabase, World, is_later, parked, wall_is};
use crate::action::{ActionError, Handled, PhaseOneError};
use crate::branch::{Answer, Task};
use crate::link::fake::Said;

const MAYBE: Task = Task::Rollback { phase_one_done: false };
const SURELY: Task = Task::Rollback { phase_one_done: true };

on_every_database!(
    a_step_is_compensated_once_with_what_it_got_and_returned,
    a_repeated_attempt_returns_the_kept_output_and_runs_nothing,
    attempts_are_repeated_while_what_went_wrong_may_pass,
    a_step_without_a_row_waits_until_its_attempts_must_be_over,
    a_step_that_goes_forward_only_is_parked_if_it_took_place,
);

async fn a_step_is_compensated_once_with_what_it_got_and_returned<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let context = world.context();
    assert_eq!(world.deposit.run_in(&context, 30).await.unwrap(), 60);
    assert_eq!(world.account().await, (130, 0));
    let registered = &world.fake.registrations(context.xid())[0];
    assert_eq!(registered.mode, BranchMode::Saga);
    let action = registered.action.as_ref().unwrap();
    assert_eq!(&*action.name, "deposit");
    let payload: serde_json::Value = serde_json::from_slice(&action.payload).unwrap();
    assert_eq!(payload["input"], 30);
    let branch = registered.branch;
    assert_eq!(world.fake.said(), [Said::Done(branch)]);
    let wrong = [
        Behaviour::Fails,
        Behaviour::Panics,
        Behaviour::Hangs,
        Behaviour::Answers(Handled::Later(Duration::from_secs(1))),
    ];
    for wrong in wrong {
        world.script.then(std::slice::from_ref(&wrong));
        is_later(&world.fake.work(context.xid(), branch, SURELY).await);
        assert_eq!(world.account().await, (130, 0), "{wrong:?}");
    }
    world.script.calls();
    for task in [SURELY, MAYBE, SURELY] {
        assert_eq!(world.fake.work(context.xid(), branch, task).await, Answer::Done);
    }
    assert_eq!(world.script.calls(), ["compensate 30 60"]);
    assert_eq!(world.account().await, (100, 0));
    assert_eq!(world.barrier().await, ["saga undone"]);
}

async fn a_repeated_attempt_returns_the_kept_output_and_runs_nothing<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let context = world.context();
    let mut begun = world.deposit.begin_in(&context, 30).await.unwrap();
    assert_eq!(world.account().await, (100, 0));
    world.script.then(&[Behaviour::Fails]);
    let failed = begun.run().await;
    assert!(matches!(failed, Err(PhaseOneError::Handler(HandlerError::Unwilling))), "{failed:?}");
    assert_eq!(world.fake.said(), []);
    for _ in 0..3 {
        assert_eq!(begun.run().await.unwrap(), 60);
    }
    assert_eq!(world.account().await, (130, 0));
    assert_eq!(world.script.calls(), ["deposit 30", "deposit 30"]);
    drop(begun);
    let branch = BranchId(1);
    assert!(world.fake.said().iter().all(|said| *said == Said::Done(branch)));
    assert_eq!(world.fake.registrations(context.xid()).len(), 1);

    // Rolled back meanwhile, it is refused, and not run again.
    let mut late = world.deposit.begin_in(&context, 1).await.unwrap();
    late.run().await.unwrap();
    let branch = BranchId(2);
    assert_eq!(world.fake.work(context.xid(), branch, SURELY).await, Answer::Done);
    let refused = late.run().await;
    assert!(
        matches!(refused, Err(PhaseOneError::Action(ActionError::RolledBack { .. }))),
        "{refused:?}"
    );
    assert_eq!(world.account().await, (130, 0));
}

async fn attempts_are_repeated_while_what_went_wrong_may_pass<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let context = world.context();
    world.script.then(&[Behaviour::Fails, Behaviour::Fails]);
    assert_eq!(world.deposit.run_in(&context, 30).await.unwrap(), 60);
    assert_eq!(world.script.calls(), ["deposit 30"; 3]);
    assert_eq!(world.account().await, (130, 0));
    assert_eq!(world.fake.registrations(context.xid()).len(), 1, "one key for all attempts");

    world.script.then(&[Behaviour::Fails, Behaviour::Fails, Behaviour::Fails]);
    let failed = world.deposit.run_in(&context, 7).await.unwrap_err();
    assert_eq!(failed.to_string(), "the handler does not want to");
    assert_eq!(world.script.calls(), ["deposit 7"; 3]);
    // A panic does not pass.
    world.script.then(&[Behaviour::Panics]);
    world.deposit.run_in(&context, 8).await.unwrap_err();
    assert_eq!(world.script.calls(), ["deposit 8"]);
    assert_eq!(world.account().await, (130, 0));
    let [done, failed, panicked] = [1, 2, 3].map(BranchId);
    assert_eq!(world.fake.said(), [Said::Done(done), Said::Failed(failed), Said::Failed(panicked)]);
}

/// Three attempts of 5 s, with pauses of 1 ms and 2 ms.
async fn a_step_without_a_row_waits_until_its_attempts_must_be_over<DB: TestDatabase>() {
    wall_is(Duration::ZERO);
    let world = World::<DB>::new().await;
    let context = world.context();
    let mut begun = world.deposit.begin_in(&context, 30).await.unwrap();
    let branch = BranchId(1);
    for task in [MAYBE, Task::AskPhaseOne] {
        let answer = world.fake.work(context.xid(), branch, task).await;
        assert_eq!(is_later(&answer), Some(Duration::from_millis(15_003)), "{task:?}");
    }
    assert_eq!(world.barrier().await, [""; 0]);
    wall_is(Duration::from_millis(15_003));
    let too_late = begun.run().await;
    assert!(
        matches!(too_late, Err(PhaseOneError::Action(ActionError::DeadlinePassed))),
        "{too_late:?}"
    );
    assert_eq!(world.fake.work(context.xid(), branch, MAYBE).await, Answer::Done);
    assert_eq!(world.barrier().await, ["saga tombstone"]);
    // Of a process whose clock is late, the key keeps the attempt out.
    wall_is(Duration::ZERO);
    let refused = begun.run().await;
    assert!(
        matches!(refused, Err(PhaseOneError::Action(ActionError::RolledBack { .. }))),
        "{refused:?}"
    );
    assert_eq!(world.script.calls(), [""; 0]);
    assert_eq!(world.account().await, (100, 0));
}

async fn a_step_that_goes_forward_only_is_parked_if_it_took_place<DB: TestDatabase>() {
    wall_is(Duration::ZERO);
    let world = World::<DB>::new().await;
    let context = world.context();
    world.letter.run_in(&context, "dear".to_owned()).await.unwrap();
    let branch = BranchId(1);
    for _ in 0..2 {
        let answer = world.fake.work(context.xid(), branch, SURELY).await;
        assert_eq!(parked(&answer), ParkReason::HandlerFatal);
    }
    assert_eq!(world.barrier().await, ["saga open"]);
    let kept = world.fake.resolve(context.xid(), branch, SURELY, Resolution::Keep).await;
    assert_eq!(kept, Answer::Done);
    assert_eq!(world.fake.work(context.xid(), branch, SURELY).await, Answer::Done);

    // One that never ran has nothing to be sorry for.
    let never = world.letter.begin_in(&context, "dear".to_owned()).await.unwrap();
    wall_is(Duration::from_secs(60));
    assert_eq!(world.fake.work(context.xid(), BranchId(2), MAYBE).await, Answer::Done);
    drop(never);
    assert_eq!(world.barrier().await, ["saga undone", "saga tombstone"]);
    assert_eq!(world.script.calls(), ["letter"]);
}
