//! The driver alone, on a memory store and a paused clock: order, stamps, timers, ids, batches.

use std::sync::Arc;
use std::time::Duration;

use pactum_core::event::{Begin, Event, Target};
use pactum_core::id::{StoreId, XidNumber};
use pactum_core::step::{Outcome, Reply, ReplyTo};
use pactum_core::time::WallTime;
use pactum_core::transaction::{Caller, RollbackCause, Status, Wait};

use super::*;
use crate::dispatch::Heard;
use crate::options::EngineOptions;
use crate::store::Seed;
use crate::store::memory::{Faults, MemoryStore};

async fn engine(options: ServerOptions) -> (Engine, Faults) {
    let wall = WallTime(1_700_000_000_000);
    let store = MemoryStore::new(Seed { store_id: StoreId(1), created_at: wall });
    let faults = store.faults();
    let engine = Engine::start(Setup {
        options: Arc::new(options),
        store: Arc::new(store),
        environment: Environment::new(move || wall, || 1),
        tasks: Tasks::default(),
    });
    let mut phase = engine.phase();
    phase.wait_for(|phase| matches!(phase, Phase::Serving(_))).await.unwrap();
    (engine, faults)
}

fn begin(timeout: Duration, key: Option<&str>, reply: ReplyTo) -> Event {
    Event::BeginRequested(Box::new(Begin {
        name: "transfer".into(),
        timeout,
        node: None,
        idempotency_key: key.map(Into::into),
        outer: None,
        reply,
    }))
}

fn commit(xid: XidNumber, reply: ReplyTo) -> Event {
    let target = Target { xid, store_named: true };
    Event::CommitRequested {
        target,
        delegate_to: None,
        done: Vec::new(),
        caller: Caller { reply, wait: Wait::Decided },
    }
}

async fn begun(engine: &Engine, timeout: Duration) -> XidNumber {
    let mut call = engine.calls.open();
    engine.inbox.send(vec![begin(timeout, None, call.reply_to())]).await.unwrap();
    match call.heard().await {
        Heard::Reply(Reply::Begun { xid, .. }) => xid,
        other => panic!("not begun: {other:?}"),
    }
}

fn decided(heard: Heard) -> Status {
    match heard {
        Heard::Reply(Reply::Outcome(Outcome { status, .. })) => status,
        other => panic!("not decided: {other:?}"),
    }
}

/// Goal: a commit that arrived in time is not late, however long it was queued. Method: it arrives
/// just before the deadline, and nobody looks at the queue until long after.
#[tokio::test(start_paused = true)]
async fn a_timer_does_not_overtake_what_arrived_before_it() {
    let (engine, _) = engine(ServerOptions::default()).await;
    let second = Duration::from_secs(1);
    let (in_time, late) = (begun(&engine, second).await, begun(&engine, second * 2).await);
    tokio::time::advance(second - Duration::from_millis(1)).await;
    let mut first = engine.calls.open();
    engine.inbox.send(vec![commit(in_time, first.reply_to())]).await.unwrap();
    // No await lies between: the group task has not run yet, and both deadlines pass before it does.
    let advance = tokio::time::advance(second * 2);
    advance.await;
    assert_eq!(decided(first.heard().await), Status::Committed);
    let mut second = engine.calls.open();
    engine.inbox.send(vec![commit(late, second.reply_to())]).await.unwrap();
    assert_eq!(decided(second.heard().await), Status::RolledBack(RollbackCause::TimedOut));
}

/// Deadlines fire by themselves.
#[tokio::test(start_paused = true)]
async fn a_deadline_rolls_back_with_nobody_asking() {
    let (engine, faults) = engine(ServerOptions::default()).await;
    begun(&engine, Duration::from_secs(5)).await;
    assert_eq!(faults.writes(), 0, "a begin alone is not written");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(engine.metrics.stats().rolled_back, 1);
    let summary = engine.look(Group::summary).await.unwrap();
    assert_eq!((summary.active, summary.history), (0, 1));
}

/// Goal: batches are written one at a time, in order, and what comes meanwhile shares one. Method:
/// hold the first.
#[tokio::test(start_paused = true)]
async fn what_comes_during_a_write_shares_the_next() {
    let (engine, faults) = engine(ServerOptions::default()).await;
    let minute = Duration::from_secs(60);
    let mut xids = Vec::new();
    for _ in 0..5 {
        xids.push(begun(&engine, minute).await);
    }
    faults.hold_writes();
    let mut calls: Vec<_> = xids.iter().map(|_| engine.calls.open()).collect();
    for (xid, call) in xids.iter().zip(&calls) {
        engine.inbox.send(vec![commit(*xid, call.reply_to())]).await.unwrap();
        faults.until_held(1).await;
    }
    faults.release_writes();
    for call in &mut calls {
        assert_eq!(decided(call.heard().await), Status::Committed);
    }
    assert_eq!(faults.writes(), 2);
    let stats = engine.metrics.stats();
    assert_eq!((stats.batches, stats.committed), (2, 5));
}

/// Goal: an idle store does not wait until all that is queued is decided. Method: twice what it is
/// started for arrives before the group looks.
#[tokio::test(start_paused = true)]
async fn an_idle_store_is_given_its_work_while_more_is_queued() {
    let (engine, faults) = engine(ServerOptions::default()).await;
    let mut messages = Vec::new();
    let mut calls = [engine.calls.open(), engine.calls.open()];
    for call in &calls {
        let mut commits = Vec::new();
        for _ in 0..driver::ROWS_TO_START {
            let xid = begun(&engine, Duration::from_secs(60)).await;
            commits.push(commit(xid, call.reply_to()));
        }
        messages.push(commits);
    }
    assert_eq!(faults.writes(), 0);
    for commits in messages {
        engine.inbox.send(commits).await.unwrap();
    }
    for call in &mut calls {
        assert_eq!(decided(call.heard().await), Status::Committed);
    }
    assert_eq!(faults.writes(), 2);
}

/// Goal: nothing beyond a durably reserved block is issued, and running out is no end. Method: tiny
/// blocks; who comes too early is told to ask again.
#[tokio::test(start_paused = true)]
async fn ids_are_reserved_before_they_run_out() {
    let engine_options = EngineOptions { xids_reserved: 3, ..EngineOptions::default() };
    let options = ServerOptions { engine: engine_options, ..ServerOptions::default() };
    let (engine, _) = engine(options).await;
    let mut last = XidNumber(0);
    for _ in 0..20 {
        let mut call = engine.calls.open();
        let event = begin(Duration::from_secs(9), None, call.reply_to());
        engine.inbox.send(vec![event]).await.unwrap();
        match call.heard().await {
            Heard::Reply(Reply::Begun { xid, .. }) => {
                assert!(xid > last, "in order, and never twice");
                last = xid;
            }
            Heard::Reply(Reply::Rejected(_)) => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
    }
    assert!(engine.metrics.stats().begun >= 10);
}

/// What was decided before a stop is made durable and told; after it nothing is taken.
#[tokio::test(start_paused = true)]
async fn a_stop_finishes_what_was_decided() {
    let (engine, faults) = engine(ServerOptions::default()).await;
    let minute = Duration::from_secs(60);
    let (first, second) = (begun(&engine, minute).await, begun(&engine, minute).await);
    faults.hold_writes();
    let (mut call, mut later) = (engine.calls.open(), engine.calls.open());
    engine.inbox.send(vec![commit(first, call.reply_to())]).await.unwrap();
    faults.until_held(1).await;
    engine.inbox.send(vec![commit(second, later.reply_to())]).await.unwrap();
    // A first begin is answered at once, so the commit before it was decided.
    begun(&engine, minute).await;
    engine.stop();
    faults.release_writes();
    assert_eq!(decided(call.heard().await), Status::Committed);
    assert_eq!(decided(later.heard().await), Status::Committed);
    engine.ended().await.unwrap();
    assert!(engine.leading().is_err());
    assert!(engine.inbox.send(vec![commit(first, call.reply_to())]).await.is_err());
}

/// Begins are refused while much is queued; what has begun goes on.
#[tokio::test(start_paused = true)]
async fn begins_are_refused_before_the_queue_is_full() {
    let engine_options =
        EngineOptions { begins_queued_max: 4, batch_events_max: 2, ..EngineOptions::default() };
    let options = ServerOptions { engine: engine_options, ..ServerOptions::default() };
    let (engine, faults) = engine(options).await;
    let xid = begun(&engine, Duration::from_secs(60)).await;
    assert!(engine.admit_begin().is_ok());
    faults.hold_writes();
    let mut call = engine.calls.open();
    engine.inbox.send(vec![commit(xid, call.reply_to())]).await.unwrap();
    faults.until_held(1).await;
    for _ in 0..10 {
        engine
            .inbox
            .send(vec![commit(xid, ReplyTo { correlation: 99, ..call.reply_to() })])
            .await
            .unwrap();
    }
    // The batch that is open takes two; the rest stays queued.
    tokio::task::yield_now().await;
    let error = engine.admit_begin().unwrap_err();
    assert_eq!(error.code(), v1::ErrorCode::Unavailable);
    faults.release_writes();
    assert_eq!(decided(call.heard().await), Status::Committed);
    // An answer behind all of them shows that they were taken.
    begun(&engine, Duration::from_secs(60)).await;
    assert!(engine.admit_begin().is_ok());
}
