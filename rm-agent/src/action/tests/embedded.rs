//! TCC and saga with the real coordinator: two banks on SQLite, in one process.

use std::sync::Arc;
use std::time::Duration;

use pactum_coordinator::Embedded;
use pactum_testkit::wait::wait_until;
use sqlx::Sqlite;

use super::world::{
    Behaviour, Deposit, SCHEMA, Script, SendLetter, TestDatabase, Withdraw, options, wall_is,
    withdrawal,
};
use crate::action::upkeep::sweep_all;
use crate::action::{ActionOptions, ActionPool, Handled};
use crate::barrier::Mode;
use crate::db::Driver;
use crate::saga::Step;
use crate::sagas::builder;
use crate::tcc::Tcc;
use crate::{Agent, AgentOptions, AtOptions, AtPool, BeginOptions, GlobalTransaction};
use crate::{CanCommit, Question};

struct Bank {
    _guard: tempfile::TempDir,
    pool: sqlx::SqlitePool,
    withdraw: Tcc<Sqlite, Withdraw>,
    deposit: Step<Sqlite, Deposit>,
    letter: Step<Sqlite, SendLetter>,
}

impl Bank {
    async fn open(agent: &Agent, name: &str, script: &Arc<Script>) -> Bank {
        let (guard, pool) = Sqlite::open().await;
        let mut connection = pool.acquire().await.unwrap();
        for statement in SCHEMA {
            Sqlite::sql(&mut connection).execute(statement, &[]).await.unwrap();
        }
        drop(connection);
        let options = ActionOptions::default().create_tables(true);
        let actions = ActionPool::attach(agent, name, pool.clone(), options).await.unwrap();
        Bank {
            _guard: guard,
            pool,
            withdraw: actions.tcc(Withdraw(Arc::clone(script))).unwrap(),
            deposit: actions.saga(Deposit(Arc::clone(script))).unwrap(),
            letter: actions.saga(SendLetter(Arc::clone(script))).unwrap(),
        }
    }

    async fn balance(&self) -> i64 {
        let row = sqlx::query_scalar("SELECT balance FROM account WHERE reserved = 0");
        row.fetch_optional(&self.pool).await.unwrap().unwrap_or(-1)
    }
}

struct World {
    coordinator: Embedded,
    agent: Agent,
    script: Arc<Script>,
    a: Bank,
    b: Bank,
}

async fn world() -> World {
    let coordinator = Embedded::start().await.unwrap();
    let agent = Agent::connect(AgentOptions::new(coordinator.url())).await.unwrap();
    let script = Arc::new(Script::default());
    let a = Bank::open(&agent, "bank-a", &script).await;
    let b = Bank::open(&agent, "bank-b", &script).await;
    World { coordinator, agent, script, a, b }
}

impl World {
    async fn begin(&self) -> GlobalTransaction {
        self.agent.begin("transfer", BeginOptions::default()).await.unwrap()
    }
}

#[tokio::test]
async fn a_transfer_by_tcc_and_saga_commits_and_rolls_back_as_one() {
    let world = world().await;
    let transaction = world.begin().await;
    let context = transaction.context().clone();
    world.a.withdraw.try_in(&context, withdrawal(30)).await.unwrap();
    world.b.deposit.run_in(&context, 30).await.unwrap();
    let outcome = transaction.commit().await.unwrap();
    assert!(outcome.is_committed() && outcome.completed, "{outcome:?}");
    assert_eq!((world.a.balance().await, world.b.balance().await), (70, 130));
    assert_eq!(
        world.script.calls(),
        ["try 30", "deposit 30", "confirm 30 receipt of 30"],
        "a step has no phase two at the commit"
    );

    let transaction = world.begin().await;
    let context = transaction.context().clone();
    world.a.withdraw.try_in(&context, withdrawal(30)).await.unwrap();
    world.b.deposit.run_in(&context, 30).await.unwrap();
    world.script.calls();
    let outcome = transaction.rollback().await;
    assert!(outcome.completed, "{outcome:?}");
    assert_eq!((world.a.balance().await, world.b.balance().await), (70, 130));
    let mut calls = world.script.calls();
    calls.sort();
    assert_eq!(calls, ["cancel 30", "compensate 30 60"]);
    world.agent.shutdown().await;
}

/// AT, TCC and saga in one transaction; AT and TCC in one database, under one resource id.
#[tokio::test]
async fn modes_mix_in_one_transaction_and_in_one_database() {
    let world = world().await;
    let at = AtPool::attach(&world.agent, "bank-a", world.a.pool.clone(), AtOptions::default());
    let at = at.await.unwrap();
    sqlx::query("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT)")
        .execute(&world.a.pool)
        .await
        .unwrap();
    for commits in [false, true] {
        let transaction = world.begin().await;
        let context = transaction.context().clone();
        let mut tx = at.begin_in(&context).await.unwrap();
        sqlx::query("INSERT INTO note VALUES (1, 'transfer')").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        world.a.withdraw.try_in(&context, withdrawal(30)).await.unwrap();
        world.b.deposit.run_in(&context, 30).await.unwrap();
        let handle = transaction.handle();
        if commits {
            assert!(transaction.commit().await.unwrap().is_committed());
        } else {
            let _ = transaction.rollback().await;
        }
        assert!(handle.completed().await.unwrap().completed);
        let balances = if commits { (70, 130) } else { (100, 100) };
        assert_eq!((world.a.balance().await, world.b.balance().await), balances);
        let notes = sqlx::query_scalar("SELECT count(*) FROM note").fetch_one(&world.a.pool);
        let notes: i64 = notes.await.unwrap();
        assert_eq!(notes, i64::from(commits));
        world.script.calls();
    }
    world.agent.shutdown().await;
}

/// Goal: a killed coordinator costs time and no effect. Method: kill it with everything tried and the
/// commit not asked for; ask while it is away; start it again.
#[tokio::test]
async fn what_was_tried_before_the_coordinator_was_killed_is_confirmed_once() {
    let mut world = world().await;
    let transaction = world.begin().await;
    let context = transaction.context().clone();
    world.a.withdraw.try_in(&context, withdrawal(30)).await.unwrap();
    world.b.deposit.run_in(&context, 30).await.unwrap();
    world.coordinator.kill().await;
    let handle = transaction.handle();
    let committing = tokio::spawn(transaction.commit());
    world.coordinator.restart().await.unwrap();
    assert!(committing.await.unwrap().unwrap().is_committed());
    assert!(handle.completed().await.unwrap().completed);
    assert_eq!((world.a.balance().await, world.b.balance().await), (70, 130));
    assert_eq!(world.script.calls(), ["try 30", "deposit 30", "confirm 30 receipt of 30"]);
    world.agent.shutdown().await;
}

/// Goal: the decision outlives the service that tried. Method: the agent goes away with the commit
/// undecided and its database as it left it; another one attaches the same database and hears of it.
#[tokio::test]
async fn what_one_instance_tried_another_one_cancels() {
    let World { coordinator, agent, script, a, b: _b } = world().await;
    let transaction = agent.begin("transfer", BeginOptions::default()).await.unwrap();
    a.withdraw.try_in(transaction.context(), withdrawal(30)).await.unwrap();
    let other = Agent::connect(AgentOptions::new(coordinator.url())).await.unwrap();
    agent.shutdown().await;
    let options = ActionOptions::default();
    let actions = ActionPool::attach(&other, "bank-a", a.pool.clone(), options).await.unwrap();
    let _withdraw = actions.tcc(Withdraw(Arc::clone(&script))).unwrap();
    drop(transaction);
    // Its manager is gone: the coordinator rolls it back after its grace.
    let cancelled = async || a.balance().await == 100;
    wait_until("it is cancelled", Duration::from_secs(60), cancelled).await.unwrap();
    assert_eq!(script.calls(), ["try 30", "cancel 30"]);
    other.shutdown().await;
}

#[tokio::test]
async fn a_confirm_that_fails_at_first_is_asked_for_again_and_takes_effect_once() {
    let world = world().await;
    let transaction = world.begin().await;
    let context = transaction.context().clone();
    world.a.withdraw.try_in(&context, withdrawal(30)).await.unwrap();
    let soon = Handled::Later(Duration::from_millis(1));
    world.script.then(&[Behaviour::Panics, Behaviour::Answers(soon)]);
    let handle = transaction.handle();
    assert!(transaction.commit().await.unwrap().is_committed());
    let outcome = handle.completed().await.unwrap();
    assert!(outcome.is_committed() && outcome.completed, "{outcome:?}");
    assert_eq!(world.a.balance().await, 70);
    assert_eq!(world.script.calls().len(), 4);
    world.agent.shutdown().await;
}

/// Over both banks, and a step that goes forward only holds back those before it.
#[tokio::test]
async fn steps_are_compensated_newest_first_and_a_parked_one_holds_back_the_older() {
    let world = world().await;
    let transaction = world.begin().await;
    let context = transaction.context().clone();
    world.a.deposit.run_in(&context, 1).await.unwrap();
    world.b.deposit.run_in(&context, 2).await.unwrap();
    world.a.deposit.run_in(&context, 3).await.unwrap();
    world.script.calls();
    let outcome = transaction.rollback().await;
    assert!(outcome.completed, "{outcome:?}");
    assert_eq!(world.script.calls(), ["compensate 3 6", "compensate 2 4", "compensate 1 2"]);

    let transaction = world.begin().await;
    let context = transaction.context().clone();
    world.a.deposit.run_in(&context, 1).await.unwrap();
    world.b.letter.run_in(&context, "dear".to_owned()).await.unwrap();
    world.a.deposit.run_in(&context, 3).await.unwrap();
    world.script.calls();
    let handle = transaction.handle();
    assert!(!transaction.rollback().await.is_committed());
    let parked = async || handle.outcome().await.unwrap().is_some_and(|now| now.parked == 1);
    wait_until("the letter is parked", Duration::from_secs(10), parked).await.unwrap();
    assert_eq!(world.script.calls(), ["compensate 3 6"]);
    assert_eq!(world.a.balance().await, 101, "the older step waits");
    world.agent.shutdown().await;
}

#[tokio::test]
async fn actions_are_asked_whether_they_have_a_chance_before_anything_is_tried() {
    let world = world().await;
    let transaction = world.begin().await;
    let questions = |amount| {
        [
            Question::tcc("bank-a", "withdraw", &withdrawal(amount)).unwrap(),
            Question::saga("bank-b", "deposit", &amount).unwrap(),
        ]
    };
    let ask = async |amount| {
        world.agent.can_commit(transaction.context(), &questions(amount)).await.unwrap()
    };
    assert_eq!(ask(30).await, CanCommit::Yes);
    let no = ask(101).await;
    let CanCommit::No { who, why } = &no else { panic!("{no:?}") };
    assert_eq!((who.as_str(), why.as_str()), ("withdraw at bank-a", "short of money"));
    assert_eq!(world.script.calls(), [""; 0]);
    assert_eq!(world.a.balance().await, 100);
    world.agent.shutdown().await;
}

/// Goal: what a declared saga leaves in a database goes once it has ended, and not before. Method: a saga
/// that waits for an event behind its step, swept before and after.
#[tokio::test]
async fn the_rows_of_a_declared_saga_are_swept_when_it_has_ended() {
    let coordinator = Embedded::start().await.unwrap();
    let agent = Agent::connect(AgentOptions::new(coordinator.url())).await.unwrap();
    let (_guard, pool) = Sqlite::open().await;
    for statement in SCHEMA {
        sqlx::raw_sql(statement).execute(&pool).await.unwrap();
    }
    let actions = ActionPool::attach(&agent, "bank-a", pool.clone(), options()).await.unwrap();
    actions.saga(Deposit(Arc::default())).unwrap();
    let definition = builder::Saga::new("deposit", 1)
        .step(builder::Step::action("deposit", "bank-a", "deposit").input(builder::from("/input")))
        .step(builder::Step::event("go"))
        .build();
    agent.sagas().define(&definition).await.unwrap();
    let saga = agent.sagas().submit("deposit").input(&30).await.unwrap();
    let open = async || {
        let open = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM pactum_barrier");
        open.fetch_one(&pool).await.unwrap()
    };
    wait_until("the step is done", Duration::from_secs(20), async || open().await == 1)
        .await
        .unwrap();
    wall_is(Duration::from_secs(11 * 60));
    let mut sweeper = actions.sweeper(Mode::Saga);
    assert_eq!(sweep_all(&mut sweeper).await.unwrap(), 1);
    assert_eq!(open().await, 1, "it may still be compensated");
    agent.sagas().signal(saga.xid(), "go", &()).await.unwrap();
    let ended = agent.sagas().wait(saga.xid(), Duration::from_secs(20)).await.unwrap();
    assert!(ended.is_committed(), "{ended:?}");
    assert_eq!(sweep_all(&mut sweeper).await.unwrap(), 1);
    assert_eq!(open().await, 0);
}
