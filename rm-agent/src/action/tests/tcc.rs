//! TCC's rules on every database.

use std::time::Duration;

use futures_util::FutureExt as _;
use pactum_core::id::BranchId;
use pactum_core::transaction::BranchMode;
use pactum_proto::v1::ParkReason;

use super::on_every_database;
use super::world::{
    Behaviour, HandlerError, TestDatabase, Withdrawal, World, is_later, parked, withdrawal,
};
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
    a_handler_that_ends_its_local_transaction_takes_effect_once_for_all_that,
    a_try_that_is_cut_short_is_settled_by_asking,
    a_context_that_is_too_large_is_refused_before_it_is_registered,
);

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
        (Behaviour::Answers(Handled::Later(Duration::MAX)), Some(Duration::from_secs(3600))),
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
        world.script.then(&[Behaviour::Answers(Handled::Attention(String::new()))]);
        let answer = world.fake.work(context.xid(), branch, task).await;
        assert_eq!(parked(&answer), ParkReason::HandlerFatal);
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

async fn a_handler_that_ends_its_local_transaction_takes_effect_once_for_all_that<
    DB: TestDatabase,
>() {
    let world = World::<DB>::new().await;
    let (context, branch) = world.tried(5).await;
    world.script.then(&[Behaviour::Commits]);
    for _ in 0..2 {
        // Whatever is said the first time.
        world.fake.work(context.xid(), branch, Task::Commit).await;
    }
    assert_eq!(world.fake.work(context.xid(), branch, Task::Commit).await, Answer::Done);
    assert_eq!(world.account().await, (95, 0));
    assert_eq!(world.barrier().await, ["tcc spent"]);

    // In a try whose context changed, the missing row is noticed where it went away.
    let context = world.context();
    world.script.then(&[Behaviour::Commits]);
    let tried = world.withdraw.try_in(&context, withdrawal(20)).await;
    let reserved = world.account().await.1;
    let branch = BranchId(2);
    let asked = world.fake.work(context.xid(), branch, Task::AskPhaseOne).await;
    assert_eq!(asked == Answer::Done, reserved == 20, "{tried:?}, {asked:?}");
}

/// The future of the try is dropped at each of its awaits in turn. Whatever was committed, the
/// coordinator's question afterwards makes it final, and the reservation agrees.
async fn a_try_that_is_cut_short_is_settled_by_asking<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let (mut reserved, mut failed, mut finished) = (0, 0, 0);
    // Where the database answers at once, only what never began is cut short in time.
    for polls in 0..200 {
        let context = world.context();
        let mut tried = Box::pin(world.withdraw.try_in(&context, withdrawal(0)));
        let mut done = false;
        for _ in 0..polls {
            tokio::task::yield_now().await;
            if let Some(result) = tried.as_mut().now_or_never() {
                result.unwrap();
                done = true;
                break;
            }
        }
        drop(tried);
        let branch = BranchId(polls);
        let mut answer = world.fake.work(context.xid(), branch, Task::AskPhaseOne).await;
        // The database may still be ending what was dropped.
        for _ in 0..50 {
            if !matches!(answer, Answer::Later { .. }) {
                break;
            }
            answer = world.fake.work(context.xid(), branch, Task::AskPhaseOne).await;
        }
        match answer {
            Answer::Done => reserved += 1,
            Answer::Failed => failed += 1,
            Answer::Later { .. } | Answer::Parked(_) | Answer::Step(_) => panic!("{answer:?}"),
        }
        if done {
            assert_eq!(answer, Answer::Done);
            finished += 1;
            if finished == 3 {
                break;
            }
        }
    }
    assert!(failed > 0, "{failed} failed, {reserved} reserved");
    // What was dropped in the middle keeps no connection and no lock.
    world.tried(0).await;
    reserved += 1;
    let states = world.barrier().await;
    assert_eq!(states.iter().filter(|row| *row == "tcc open").count(), reserved);
    assert!(states.iter().all(|row| row == "tcc open" || row == "tcc tombstone"), "{states:?}");
}

async fn a_context_that_is_too_large_is_refused_before_it_is_registered<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let context = world.context();
    let receipt = Some("ü".repeat(128 << 10));
    let large = Withdrawal { receipt, ..withdrawal(5) };
    let refused = world.withdraw.try_in(&context, large).await.unwrap_err();
    assert!(
        matches!(refused, PhaseOneError::Action(ActionError::ContextTooLarge { .. })),
        "{refused:?}"
    );
    assert!(world.fake.registrations(context.xid()).is_empty());
    assert_eq!(world.script.calls(), [""; 0]);
}
