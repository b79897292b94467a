//! TCC's rules on every database.

use std::time::Duration;

use pactum_core::id::BranchId;
use pactum_core::transaction::BranchMode;
use pactum_proto::v1::ParkReason;

use super::on_every_database;
use super::world::{Behaviour, HandlerError, TestDatabase, World, withdrawal};
use crate::action::{ActionError, Handled, PhaseOneError};
use crate::branch::{Answer, Task};
use crate::link::fake::Said;

const MAYBE: Task = Task::Rollback { phase_one_done: false };
const SURELY: Task = Task::Rollback { phase_one_done: true };

on_every_database!(
    what_was_reserved_is_used_once_however_often_confirm_comes,
    what_was_reserved_is_freed_once_however_often_cancel_comes,
    a_cancel_before_its_try_buries_the_branch_and_the_late_try_is_refused,
    a_try_that_fails_leaves_nothing_and_says_so,
    a_handler_of_phase_two_that_does_wrong_is_rolled_back_and_called_again,
    an_error_that_a_handler_keeps_to_itself_never_counts_as_done,
);

#[track_caller]
fn parked(answer: &Answer) -> ParkReason {
    let Answer::Parked(report) = answer else { panic!("not parked: {answer:?}") };
    assert!(!report.message.is_empty());
    report.reason()
}

#[track_caller]
fn is_later(answer: &Answer) -> Option<Duration> {
    let Answer::Later { after, reason } = answer else { panic!("not later: {answer:?}") };
    assert!(!reason.is_empty());
    *after
}

async fn what_was_reserved_is_used_once_however_often_confirm_comes<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let context = world.context();
    assert_eq!(world.withdraw.try_in(&context, withdrawal(30)).await.unwrap(), 30);
    assert_eq!(world.account().await, (100, 30));
    let registered = &world.fake.registrations(context.xid())[0];
    assert_eq!(registered.mode, BranchMode::Tcc);
    assert_eq!(&*registered.action.as_ref().unwrap().name, "withdraw");
    let branch = registered.branch;
    assert_eq!(world.fake.said(), [Said::Done(branch)]);
    assert_eq!(context.done_branches(), [branch]);
    for _ in 0..2 {
        assert_eq!(world.fake.work(context.xid(), branch, Task::Commit).await, Answer::Done);
    }
    assert_eq!(world.account().await, (70, 0));
    // What try added to the context came with it.
    assert_eq!(world.script.calls(), ["try 30", "confirm 30 receipt of 30"]);
    assert_eq!(world.barrier().await, ["tcc spent"]);
    // A cancel after it is a broken promise of the coordinator's, and changes nothing.
    let answer = world.fake.work(context.xid(), branch, SURELY).await;
    assert_eq!(parked(&answer), ParkReason::Invariant);
    assert_eq!(world.account().await, (70, 0));
    assert_eq!(world.fake.work(context.xid(), branch, Task::AskPhaseOne).await, Answer::Done);
}

async fn what_was_reserved_is_freed_once_however_often_cancel_comes<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let context = world.context();
    world.withdraw.try_in(&context, withdrawal(5)).await.unwrap();
    let branch = world.fake.registrations(context.xid())[0].branch;
    for task in [SURELY, SURELY, MAYBE] {
        assert_eq!(world.fake.work(context.xid(), branch, task).await, Answer::Done);
    }
    assert_eq!(world.account().await, (100, 0));
    assert_eq!(world.script.calls(), ["try 5", "cancel 5"]);
    assert_eq!(world.barrier().await, ["tcc undone"]);
    let answer = world.fake.work(context.xid(), branch, Task::Commit).await;
    assert_eq!(parked(&answer), ParkReason::Invariant);
    assert_eq!(world.fake.work(context.xid(), branch, Task::AskPhaseOne).await, Answer::Failed);
    assert_eq!(world.account().await, (100, 0));
}

async fn a_cancel_before_its_try_buries_the_branch_and_the_late_try_is_refused<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let context = world.context();
    // The branch that the next try will have.
    let next = BranchId(1);
    for task in [MAYBE, MAYBE, SURELY] {
        assert_eq!(world.fake.work(context.xid(), next, task).await, Answer::Done);
    }
    assert_eq!(world.fake.work(context.xid(), next, Task::AskPhaseOne).await, Answer::Failed);
    assert_eq!(world.barrier().await, ["tcc tombstone"]);
    let late = world.withdraw.try_in(&context, withdrawal(30)).await;
    assert!(matches!(late, Err(PhaseOneError::Action(ActionError::RolledBack { .. }))), "{late:?}");
    assert_eq!(world.script.calls(), [""; 0]);
    assert_eq!(world.account().await, (100, 0));
    assert_eq!(world.fake.said(), [Said::Failed(next)]);
    // Nothing was tried, so there is nothing to confirm, and that is not passed over.
    let answer = world.fake.work(context.xid(), next, Task::Commit).await;
    assert_eq!(parked(&answer), ParkReason::Invariant);
    // Where it is known to have been tried, no row is not taken for none.
    for task in [SURELY, Task::Commit] {
        let answer = world.fake.work(context.xid(), BranchId(77), task).await;
        assert_eq!(parked(&answer), ParkReason::EvidenceLost, "{task:?}");
    }
}

async fn a_try_that_fails_leaves_nothing_and_says_so<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let context = world.context();
    let short = world.withdraw.try_in(&context, withdrawal(101)).await;
    assert!(matches!(short, Err(PhaseOneError::Handler(HandlerError::Short))), "{short:?}");
    world.script.then(&[Behaviour::Fails, Behaviour::Panics, Behaviour::Hangs]);
    let failed = world.withdraw.try_in(&context, withdrawal(30)).await.unwrap_err();
    assert_eq!(failed.to_string(), "the handler does not want to");
    let panicked = world.withdraw.try_in(&context, withdrawal(30)).await.unwrap_err();
    assert_eq!(panicked.to_string(), "`withdraw` panicked: planted");
    let hung = world.withdraw.try_in(&context, withdrawal(30)).await.unwrap_err();
    assert!(
        matches!(hung, PhaseOneError::Action(ActionError::TimedOut { .. })) && hung.is_retryable(),
        "{hung:?}"
    );
    let failed: Vec<Said> = (1..=4).map(|branch| Said::Failed(BranchId(branch))).collect();
    assert_eq!(world.fake.said(), failed);
    assert_eq!(world.account().await, (100, 0));
    assert_eq!(world.barrier().await, [""; 0]);
}

async fn a_handler_of_phase_two_that_does_wrong_is_rolled_back_and_called_again<
    DB: TestDatabase,
>() {
    let wrong = [
        (Behaviour::Fails, None),
        (Behaviour::Panics, None),
        (Behaviour::Hangs, None),
        (Behaviour::Answers(Handled::Later(Duration::from_secs(7))), Some(Duration::from_secs(7))),
    ];
    let world = World::<DB>::new().await;
    for (task, after_all) in [(Task::Commit, (95, 0)), (SURELY, (95, 0))] {
        let context = world.context();
        world.withdraw.try_in(&context, withdrawal(5)).await.unwrap();
        let before = world.account().await;
        let branch = world.fake.registrations(context.xid())[0].branch;
        for (behaviour, after) in &wrong {
            world.script.then(std::slice::from_ref(behaviour));
            let answer = world.fake.work(context.xid(), branch, task).await;
            assert_eq!(is_later(&answer), *after, "{behaviour:?}");
            assert_eq!(world.account().await, before, "{behaviour:?}");
        }
        world.script.then(&[Behaviour::Answers(Handled::Attention("ask Ann".to_owned()))]);
        let answer = world.fake.work(context.xid(), branch, task).await;
        assert_eq!(parked(&answer), ParkReason::HandlerFatal);
        let Answer::Parked(report) = answer else { unreachable!("it is parked") };
        assert!(report.message.contains("ask Ann"), "{}", report.message);
        assert_eq!(world.account().await, before);
        assert_eq!(world.fake.work(context.xid(), branch, task).await, Answer::Done);
        assert_eq!(world.account().await, after_all);
    }
}

/// PostgreSQL takes nothing more after an error, and answers COMMIT as if all were well.
async fn an_error_that_a_handler_keeps_to_itself_never_counts_as_done<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let context = world.context();
    world.script.then(&[Behaviour::SwallowsError]);
    let tried = world.withdraw.try_in(&context, withdrawal(5)).await;
    let reserved = if tried.is_ok() { 5 } else { 0 };
    assert_eq!(world.account().await, (100, reserved), "what was said is what is");
    assert_eq!(world.fake.said().contains(&Said::Done(BranchId(1))), tried.is_ok());

    let context = world.context();
    world.withdraw.try_in(&context, withdrawal(7)).await.unwrap();
    world.script.then(&[Behaviour::SwallowsError]);
    let branch = world.fake.registrations(context.xid())[0].branch;
    let answer = world.fake.work(context.xid(), branch, Task::Commit).await;
    let taken = if answer == Answer::Done { 7 } else { 0 };
    assert_eq!(world.account().await.0, 100 - taken, "what was said is what is: {answer:?}");
    assert_eq!(world.fake.work(context.xid(), branch, Task::Commit).await, Answer::Done);
    assert_eq!(world.account().await, (93, reserved));
}
