//! Many branches at once.

use std::time::Duration;

use futures_util::future::join_all;
use pactum_core::id::BranchId;
use pactum_core::transaction::BranchMode;
use pactum_testkit::wait::wait_until;
use sqlx::Executor as _;

use super::on_every_database;
use super::world::{Behaviour, TestDatabase, World, is_later, withdrawal};
use crate::branch::{Answer, Task, Work};
use crate::link::fake::Said;

const MAYBE: Task = Task::Rollback { phase_one_done: false };

on_every_database!(
    a_batch_is_confirmed_whole_and_one_that_goes_wrong_holds_up_no_other,
    tries_and_cancels_that_cross_never_wait_for_each_other_for_ever,
);

async fn a_batch_is_confirmed_whole_and_one_that_goes_wrong_holds_up_no_other<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let mut batch: Vec<Work> = Vec::new();
    for _ in 0..10 {
        let (context, branch) = world.tried(1).await;
        batch.push(world.fake.task(context.xid(), branch, Task::Commit));
    }
    world.script.calls();
    let participant = world.fake.participant(BranchMode::Tcc);
    world.script.then(&[Behaviour::Right, Behaviour::Fails]);
    let answers = participant.commit(batch.clone()).await;
    assert_eq!(answers.len(), 10);
    // On SQLite the failure ended the shared local transaction, and each then went by itself.
    let later = answers.iter().filter(|(_, answer)| *answer != Answer::Done).count();
    assert!(later <= 1, "{answers:?}");
    let confirmed = i64::try_from(10 - later).unwrap();
    assert_eq!(world.account().await, (100 - confirmed, 10 - confirmed));
    let answers = participant.commit(batch).await;
    assert!(answers.iter().all(|(_, answer)| *answer == Answer::Done), "{answers:?}");
    assert_eq!(world.account().await, (90, 0));
    assert_eq!(world.barrier().await, ["tcc spent"; 10]);
    assert!(world.script.calls().len() > 10, "the one that failed was called again");
}

/// A try and two cancels of the same branch, side by side, many times: whoever comes first decides.
async fn tries_and_cancels_that_cross_never_wait_for_each_other_for_ever<DB: TestDatabase>() {
    let world = World::<DB>::new().await;
    let all = async {
        for number in 1..=20 {
            let context = world.context();
            let branch = BranchId(number);
            let cancel = async || loop {
                match world.fake.work(context.xid(), branch, MAYBE).await {
                    Answer::Done => break,
                    Answer::Later { .. } => tokio::task::yield_now().await,
                    answer => panic!("{answer:?}"),
                }
            };
            let tried = world.withdraw.try_in(&context, withdrawal(3));
            let (tried, _, _) = tokio::join!(tried, cancel(), cancel());
            drop(tried);
            // A try that came first was cancelled; one that came last was refused.
            assert_eq!(world.account().await, (100, 0), "round {number}");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("nobody waits for ever");
    let many = (0..8).map(|_| async {
        let context = world.context();
        world.withdraw.try_in(&context, withdrawal(1)).await
    });
    for tried in join_all(many).await {
        tried.unwrap();
    }
    assert_eq!(world.account().await, (100, 8));
}

mod on_mysql_only {
    use super::*;

    /// Goal: a cancel never overtakes a try that is still open. Method: the try's row is inserted and
    /// not committed.
    #[tokio::test]
    async fn on_mysql_a_cancel_waits_for_an_open_try_and_says_later() {
        let world = World::<sqlx::MySql>::new().await;
        let context = world.context();
        let mut open = world.pool.begin().await.unwrap();
        let insert = format!(
            "INSERT INTO pactum_barrier VALUES ('{}', 1, '{}', 'tcc', 'open', 2, 0, '', 1, 1)",
            context.xid(),
            crate::link::fake::STORE
        );
        open.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(insert))).await.unwrap();
        let answer = world.fake.work(context.xid(), BranchId(1), MAYBE).await;
        is_later(&answer);
        open.rollback().await.unwrap();
        let gone =
            async || world.fake.work(context.xid(), BranchId(1), MAYBE).await == Answer::Done;
        wait_until("it is buried", Duration::from_secs(5), gone).await.unwrap();
        assert_eq!(world.fake.said(), Vec::<Said>::new());
    }
}
