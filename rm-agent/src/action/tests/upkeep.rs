//! Old rows: what is purged, what is swept, and what stays.

use std::time::Duration;

use pactum_core::id::Xid;
use pactum_core::step::Outcome;
use pactum_core::transaction::{RollbackCause, Status};
use pactum_proto::v1;

use super::on_every_database;
use super::world::{TestDatabase, World, wall_is};
use crate::action::upkeep::sweep_all;
use crate::barrier::Mode;
use crate::branch::{Answer, Task};
use crate::session::CallError;

const SURELY: Task = Task::Rollback { phase_one_done: true };
const CAUSE: RollbackCause = RollbackCause::TimedOut;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

on_every_database!(
    only_the_used_up_rows_of_ended_transactions_are_purged_and_only_when_they_are_old,
    open_steps_of_committed_transactions_are_swept_and_open_tries_never,
);

fn say<DB: TestDatabase>(world: &World<DB>, xid: &Xid, status: Status) {
    world.fake.say(xid, Ok(Outcome { status, parked: 0 }));
}

async fn only_the_used_up_rows_of_ended_transactions_are_purged_and_only_when_they_are_old<
    DB: TestDatabase,
>() {
    wall_is(Duration::ZERO);
    let world = World::<DB>::new().await;
    let expired = v1::Error { code: v1::ErrorCode::Expired.into(), ..v1::Error::default() };
    // What became of it, what the coordinator says, and whether it stays.
    let cases = [
        (Task::Commit, Some(Ok(Status::Committed)), false),
        (Task::Commit, Some(Ok(Status::Committing)), true),
        (SURELY, Some(Ok(Status::RolledBack(CAUSE))), false),
        (SURELY, Some(Ok(Status::RollingBack(CAUSE))), true),
        (SURELY, Some(Ok(Status::Active)), true),
        // A scope of it was rolled back.
        (SURELY, Some(Ok(Status::Committed)), false),
        (Task::Commit, Some(Err(CallError::Refused(expired))), false),
        (Task::Commit, Some(Ok(Status::RolledBack(CAUSE))), true),
        (Task::Commit, None, true),
    ];
    for (task, said, _) in &cases {
        let (context, branch) = world.tried(1).await;
        assert_eq!(world.fake.work(context.xid(), branch, *task).await, Answer::Done);
        if let Some(said) = said.clone() {
            world.fake.say(context.xid(), said.map(|status| Outcome { status, parked: 0 }));
        }
    }
    let (open, _) = world.tried(1).await;
    say(&world, open.xid(), Status::Committed);
    let all = cases.len() + 1;
    wall_is(DAY);
    assert_eq!(world.actions.purge_barrier().await.unwrap(), 0, "not old enough");
    assert_eq!(world.fake.asked_about(), []);
    wall_is(DAY + Duration::from_millis(1));
    let purged = cases.iter().filter(|(_, _, stays)| !stays).count();
    assert_eq!(world.actions.purge_barrier().await.unwrap(), u64::try_from(purged).unwrap());
    assert_eq!(world.barrier().await.len(), all - purged);
    assert_eq!(world.actions.purge_barrier().await.unwrap(), 0);
    // A coordinator that does not answer has not lost anything.
    let silent = world.tried(1).await;
    world.fake.work(silent.0.xid(), silent.1, Task::Commit).await;
    world.fake.say(silent.0.xid(), Err(CallError::NoAnswer("planted".to_owned())));
    wall_is(3 * DAY);
    assert!(world.actions.purge_barrier().await.is_err());
}

async fn open_steps_of_committed_transactions_are_swept_and_open_tries_never<DB: TestDatabase>() {
    wall_is(Duration::ZERO);
    let world = World::<DB>::new().await;
    let statuses = [Status::Committed, Status::Active, Status::RolledBack(CAUSE)];
    for status in statuses {
        let context = world.context();
        world.deposit.run_in(&context, 1).await.unwrap();
        say(&world, context.xid(), status);
        let (context, _) = world.tried(1).await;
        say(&world, context.xid(), status);
    }
    wall_is(Duration::from_secs(601));
    for mode in [Mode::Tcc, Mode::Saga] {
        assert_eq!(sweep_all(&mut world.actions.sweeper(mode)).await.unwrap(), 3);
    }
    let mut left = world.barrier().await;
    left.sort();
    assert_eq!(left, ["saga open", "saga open", "tcc open", "tcc open", "tcc open"]);
}
