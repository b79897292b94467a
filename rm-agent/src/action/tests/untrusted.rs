//! Rows and contexts that are not what they should be, and actions that nobody knows.

use std::sync::Arc;
use std::time::Duration;

use pactum_core::id::StoreId;
use pactum_core::transaction::{Action, BranchMode, Resolution};
use pactum_proto::v1::ParkReason;
use pactum_testkit::wait::wait_until;

use super::on_every_database;
use super::world::{TestDatabase, Withdraw, World, is_later, parked, withdrawal};
use crate::action::{ActionError, PhaseOneError};
use crate::branch::{Answer, Task, Work};
use crate::link::fake::Said;

const SURELY: Task = Task::Rollback { phase_one_done: true };

on_every_database!(
    a_row_that_somebody_changed_is_touched_no_more,
    an_action_that_nobody_registered_waits_for_somebody_who_did,
    a_context_of_another_version_is_migrated_left_to_others_or_parked,
    a_transaction_that_somebody_left_open_is_not_joined,
);

/// Goal: nobody else's work is committed with a branch, or by its begin. Method: every connection of the
/// pool has an open transaction, and in one of them money was taken.
async fn a_transaction_that_somebody_left_open_is_not_joined<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let mut connections = Vec::new();
    while let Some(connection) = world.pool.try_acquire() {
        connections.push(connection);
    }
    while u32::try_from(connections.len()).unwrap() < world.pool.options().get_max_connections() {
        connections.push(world.pool.acquire().await.unwrap());
    }
    for connection in &mut connections {
        DB::sql(connection).run("BEGIN").await.unwrap();
    }
    let change = "UPDATE account SET balance = 1 WHERE id = 1";
    DB::sql(&mut connections[0]).run(change).await.unwrap();
    // They are handed out again in this order, before any new one: on SQLite first the one that keeps
    // the others from writing.
    let count = connections.len();
    for (place, connection) in connections.into_iter().enumerate() {
        drop(connection);
        let is_back = async || world.pool.num_idle() == place + 1;
        wait_until("the connection is back", Duration::from_secs(10), is_back).await.unwrap();
    }
    for round in 0..count {
        let context = world.context();
        let error = match round % 2 {
            0 => world.withdraw.try_in(&context, withdrawal(5)).await.unwrap_err(),
            _ => world.deposit.run_in(&context, 5).await.unwrap_err(),
        };
        let PhaseOneError::Action(error @ ActionError::LeftOpen) = error else {
            panic!("{round}: {error:?}")
        };
        assert!(error.is_retryable());
        let [Said::Failed(_)] = world.fake.said()[round..] else {
            panic!("{:?}", world.fake.said())
        };
    }
    assert!(world.script.calls().is_empty());
    let (context, branch) = world.tried(5).await;
    assert_eq!(world.fake.work(context.xid(), branch, Task::Commit).await, Answer::Done);
    assert_eq!(world.account().await, (95, 0));
}

async fn a_row_that_somebody_changed_is_touched_no_more<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let (context, branch) = world.tried(5).await;
    let changes = [
        ("body = '{\"account\":1,\"amount\":1,\"receipt\":null}'", "checksum = checksum"),
        ("mode = 'saga'", "mode = 'tcc'"),
    ];
    let xid = context.xid();
    let foreign = world.fake.work_for(StoreId(1), xid, branch, Task::Commit).await;
    assert_eq!(parked(&foreign), ParkReason::EvidenceTampered);
    let rows = world.query("SELECT body FROM pactum_barrier").await;
    let body = rows[0][0].as_text().unwrap().to_owned();
    for (change, back) in changes {
        world.behind(&format!("UPDATE pactum_barrier SET {change}")).await;
        for task in [Task::Commit, SURELY, Task::AskPhaseOne] {
            let answer = world.fake.work(xid, branch, task).await;
            assert_eq!(parked(&answer), ParkReason::EvidenceTampered, "{change} {task:?}");
        }
        world.behind(&format!("UPDATE pactum_barrier SET {back}, body = '{body}'")).await;
    }
    assert_eq!(world.account().await, (100, 5));
    assert_eq!(world.script.calls(), ["try 5"]);
    assert_eq!(world.fake.work(xid, branch, Task::Commit).await, Answer::Done);

    // Deleted, it is missed; an operator may settle it.
    let (context, branch) = world.tried(7).await;
    world.behind("DELETE FROM pactum_barrier WHERE state = 'open'").await;
    let answer = world.fake.work(context.xid(), branch, Task::Commit).await;
    assert_eq!(parked(&answer), ParkReason::EvidenceLost);
    let kept = world.fake.resolve(context.xid(), branch, Task::Commit, Resolution::Keep).await;
    assert_eq!(kept, Answer::Done);
}

async fn an_action_that_nobody_registered_waits_for_somebody_who_did<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let (context, branch) = world.tried(5).await;
    let participant = world.fake.participant(BranchMode::Tcc);
    let name: Arc<str> = "nobody-knows".into();
    for task in [SURELY, Task::Commit] {
        let action = Some(Action { name: Arc::clone(&name), payload: [].into() });
        let work = Work { action, ..world.fake.task(context.xid(), branch, task) };
        let answer = if task == Task::Commit {
            participant.commit(vec![work]).await.remove(0).1
        } else {
            participant.settle(work).await
        };
        assert_eq!(is_later(&answer), Some(Duration::from_secs(1)), "{task:?}");
        let Answer::Later { reason, .. } = answer else { unreachable!("it is later") };
        assert!(reason.contains("`nobody-knows`"), "{reason}");
    }
    assert_eq!(world.account().await, (100, 5));
    // A name is one action's.
    let again = world.actions.tcc(Withdraw(Arc::clone(&world.script)));
    assert!(matches!(again, Err(ActionError::Name { .. })), "{again:?}");
}

async fn a_context_of_another_version_is_migrated_left_to_others_or_parked<DB: TestDatabase>() {
    let cases = [
        (1, r#"{"sum":5}"#, "done"),
        (1, r#"{"total":5}"#, "parked"),
        (2, r#"{"account":"one"}"#, "parked"),
        (3, r#"{"anything":5}"#, "later"),
    ];
    for (version, body, expected) in cases {
        let world = World::<DB>::new().await;
        let (context, branch) = world.tried(5).await;
        world.rewrite(&context, branch, version, body).await;
        let answer = world.fake.work(context.xid(), branch, Task::Commit).await;
        match expected {
            "done" => assert_eq!(answer, Answer::Done),
            "parked" => assert_eq!(parked(&answer), ParkReason::HandlerFatal, "{body}"),
            _ => assert_eq!(is_later(&answer), Some(Duration::from_secs(1))),
        }
        let after = if expected == "done" { (95, 0) } else { (100, 5) };
        assert_eq!(world.account().await, after, "{body}");
    }
}
