//! The session stream: opening, window, credits, heartbeat, and every way it ends.

use std::time::Duration;

use pactum_coordinator::{ServerOptions, SessionOptions};
use pactum_proto::v1::client_frame::Frame as Ask;
use pactum_proto::v1::server_frame::Frame as Told;
use pactum_proto::v1::{self, ErrorCode, TransactionStatus};
use tonic::Code;

use crate::support::{
    BANK, World, bank, begin, commit, get, lock, refused, registration, rollback, status, store_id,
};

#[tokio::test(start_paused = true)]
async fn a_session_opens_with_a_hello_of_our_version() {
    let (world, _) = World::new().await;
    let node_id = bytes::Bytes::from(vec![1; 16]);
    let hello = v1::Hello { protocol_version: 99, node_id, ..Default::default() };
    let table = [
        (Ask::Begin(begin()), ErrorCode::InvalidArgument, "hello"),
        (Ask::Hello(hello.clone()), ErrorCode::ProtocolVersion, "protocol_version"),
        (
            Ask::Hello(v1::Hello { protocol_version: 1, node_id: vec![1].into(), ..hello }),
            ErrorCode::InvalidArgument,
            "node_id",
        ),
    ];
    for (first, code, field) in table {
        let mut session = world.silent_session().await;
        session.send(7, first).await;
        let error = refused(session.answer(7).await);
        assert_eq!((error.code(), error.field.as_str()), (code, field));
        assert_eq!(session.next().await.unwrap_err().code(), Code::Ok, "the stream ends");
    }
    // A stream on which nothing is said is given up.
    let mut session = world.silent_session().await;
    assert_eq!(session.next().await.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn the_welcome_says_all_that_an_agent_needs() {
    let (world, _) = World::new().await;
    let mut session = world.silent_session().await;
    let node_id = vec![1; 16].into();
    let hello = v1::Hello { protocol_version: 1, node_id, ..Default::default() };
    session.send(9, Ask::Hello(hello)).await;
    let Told::Welcome(welcome) = session.answer(9).await else { panic!("no welcome") };
    assert_eq!(welcome.store_id, store_id());
    assert_eq!(welcome.group, "default");
    assert_eq!(welcome.request_window, 8192);
    assert_eq!(welcome.heartbeat_ms, 5000);
    assert_eq!(welcome.transaction_timeout_max_ms, 3_600_000);
    let ids = welcome.branch_ids.unwrap();
    assert!(ids.first > 0 && ids.end > ids.first);
    let Told::BranchIds(more) = session.ask(Ask::BranchIds(v1::BranchIdsRequest {})).await else {
        panic!("no more ids")
    };
    assert!(more.first >= ids.end, "ids are never handed out twice");
}

/// Goal: one commit through the stream, with phase two pushed and confirmed.
#[tokio::test(start_paused = true)]
async fn phase_two_is_pushed_as_credits_allow() {
    let (world, _) = World::new().await;
    let mut session = world.bank(1).await;
    let xid = session.begin().await;
    let branches = [session.branch(&xid, 1).await, session.branch(&xid, 2).await];
    let decided = status(session.ask(Ask::Commit(commit(&xid))).await).0;
    assert_eq!(decided, TransactionStatus::Committing);
    // No credit was granted, so no work stands between the answers.
    session.begin().await;
    assert!(!session.has_answer(0));

    let mut done = Vec::new();
    for _ in 0..2 {
        let work = session.do_work().await;
        assert_eq!(work.kind(), v1::WorkKind::Commit);
        assert_eq!((work.xid.as_str(), work.resource_id.as_str()), (xid.as_str(), BANK));
        done.push(work.branch_id);
    }
    done.sort_unstable();
    assert_eq!(done, branches);
    let ended = status(session.ask(Ask::Get(get(&xid))).await).0;
    assert_eq!(ended, TransactionStatus::Committed);
}

#[tokio::test(start_paused = true)]
async fn the_window_bounds_what_is_under_way() {
    let session = SessionOptions { request_window: 2, ..Default::default() };
    let (world, faults) = World::with(ServerOptions { session, ..Default::default() }).await;
    let mut session = world.bank(1).await;
    let xid = session.begin().await;
    faults.hold_writes();
    let registration = session.registration(&xid, 1);
    let first = session.post(Ask::Register(registration)).await;
    faults.until_held(1).await;
    let second = session.post(Ask::Get(get(&xid))).await;
    let excess = session.post(Ask::Get(get(&xid))).await;
    let error = refused(session.answer(excess).await);
    assert_eq!((error.code(), error.limit), (ErrorCode::LimitReached, 2));
    assert_eq!(error.field, "request_window");
    faults.release_writes();
    session.answer(first).await;
    session.answer(second).await;
    // An answer makes room.
    assert_eq!(status(session.ask(Ask::Get(get(&xid))).await).0, TransactionStatus::Active);
}

#[tokio::test(start_paused = true)]
async fn a_broken_protocol_ends_the_session_with_a_reason() {
    let (world, faults) = World::new().await;
    let mut session = world.bank(1).await;
    let xid = session.begin().await;
    session.send(0, Ask::Get(get(&xid))).await;
    assert_eq!(refused(session.answer(0).await).field, "correlation", "and the session goes on");
    session.send(1 << 63, Ask::Get(get(&xid))).await;
    assert_eq!(refused(session.answer(1 << 63).await).field, "correlation");

    faults.hold_writes();
    let registration = session.registration(&xid, 1);
    let twice = session.post(Ask::Register(registration)).await;
    session.send(twice, Ask::Get(get(&xid))).await;
    assert_eq!(refused(session.answer(twice).await).field, "correlation");
    assert_eq!(session.next().await.unwrap_err().code(), Code::Ok);
    faults.release_writes();

    let mut session = world.session(2).await;
    let hello = v1::Hello { protocol_version: 1, ..Default::default() };
    session.send(40, Ask::Hello(hello)).await;
    assert_eq!(refused(session.answer(40).await).field, "hello");
    assert_eq!(session.next().await.unwrap_err().code(), Code::Ok);
}

/// Goal: a wait ends with its session, and the key goes to whoever is next. Method: three sessions on
/// one key; the one in the middle goes away.
#[tokio::test(start_paused = true)]
async fn a_lost_session_ends_its_waits() {
    let (world, _) = World::new().await;
    let mut holder = world.bank(1).await;
    let held = holder.begin().await;
    holder.branch(&held, 7).await;

    let mut gone = world.bank(2).await;
    let xid = gone.begin().await;
    let waiting = v1::RegisterRequest { wait_ms: 60_000, ..gone.registration(&xid, 7) };
    gone.post(Ask::Register(waiting)).await;
    until(&world, |summary| summary.waiters == 1).await;

    let mut next = world.bank(3).await;
    let xid = next.begin().await;
    let waiting = v1::RegisterRequest { wait_ms: 60_000, ..next.registration(&xid, 7) };
    let granted = next.post(Ask::Register(waiting)).await;
    until(&world, |summary| summary.waiters == 2).await;

    drop(gone);
    until(&world, |summary| summary.waiters == 1 && summary.sessions == 2).await;
    assert!(!next.has_answer(granted));
    holder.ask(Ask::Commit(commit(&held))).await;
    assert!(matches!(next.answer(granted).await, Told::Registered(_)));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_leaves_the_queue_and_the_window() {
    let session = SessionOptions { request_window: 1, ..Default::default() };
    let (world, _) = World::with(ServerOptions { session, ..Default::default() }).await;
    let mut holder = world.bank(1).await;
    let held = holder.begin().await;
    holder.branch(&held, 7).await;
    let mut waiter = world.bank(2).await;
    let check = v1::CheckRequest {
        resource_id: BANK.into(),
        locks: vec![lock(7)],
        wait_ms: 60_000,
        ..Default::default()
    };
    let waiting = waiter.post(Ask::Check(check)).await;
    until(&world, |summary| summary.waiters == 1).await;
    let cancel = Ask::CancelWait(v1::CancelWait { correlation: waiting });
    waiter.send(0, cancel).await;
    waiter.begin().await;
    until(&world, |summary| summary.waiters == 0).await;
}

/// Goal: both sides notice a dead one. Method: the clock runs only where nobody says anything.
#[tokio::test(start_paused = true)]
async fn a_session_lives_by_its_heartbeat() {
    let (world, _) = World::new().await;
    let mut silent = world.session(1).await;
    let mut alive = world.session(2).await;
    let pinged = silent.next().await.unwrap().frame.unwrap();
    assert!(matches!(pinged, Told::Ping(_)), "{pinged:?}");
    // Answering pings is enough to live, for as long as three silences.
    for _ in 0..9 {
        assert!(matches!(alive.next().await.unwrap().frame, Some(Told::Ping(_))));
        alive.send(0, Ask::Ping(v1::Ping {})).await;
    }
    loop {
        match silent.next().await {
            Ok(frame) => assert!(matches!(frame.frame, Some(Told::Ping(_))), "{frame:?}"),
            Err(status) => break assert_eq!(status.code(), Code::DeadlineExceeded),
        }
    }
    until(&world, |summary| summary.sessions == 1).await;
    alive.send(55, Ask::Ping(v1::Ping {})).await;
    assert!(matches!(alive.answer(55).await, Told::Pong(_)));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_takes_no_answers_is_closed() {
    let session =
        SessionOptions { request_window: 4, answers_queued_max: 4, ..SessionOptions::default() };
    let (world, _) = World::with(ServerOptions { session, ..Default::default() }).await;
    let mut session = world.session(1).await;
    let pings = (2..2000).map(|correlation| (correlation, Ask::Ping(v1::Ping {}))).collect();
    session.send_all(pings).await;
    assert_eq!(session.next().await.unwrap_err().code(), Code::ResourceExhausted);
    until(&world, |summary| summary.sessions == 0).await;
}

/// A registration that another session repeats gets the first answer, and a rollback is worked off
/// by whatever session of the resource is there.
#[tokio::test(start_paused = true)]
async fn another_session_of_the_resource_takes_over() {
    let (world, _) = World::new().await;
    let mut first = world.bank(1).await;
    let xid = first.begin().await;
    let branch = first.branch(&xid, 1).await;
    // The report is one-way; an answer to what came after it shows that it arrived.
    first.begin().await;
    drop(first);
    let mut second = world.bank(2).await;
    let decided = status(second.ask(Ask::Rollback(rollback(&xid))).await).0;
    assert_eq!(decided, TransactionStatus::RollingBack);
    let work = second.do_work().await;
    assert_eq!((work.kind(), work.branch_id), (v1::WorkKind::Rollback, branch));
    assert!(work.phase_one_done, "the coordinator was told");
    let ended = status(second.ask(Ask::Get(get(&xid))).await).0;
    assert_eq!(ended, TransactionStatus::RolledBack);
}

#[tokio::test(start_paused = true)]
async fn a_resource_must_be_attached_and_proven() {
    let (world, _) = World::new().await;
    let mut session = world.session(1).await;
    let xid = session.begin().await;
    let register = registration(&xid, 1, 1);
    let error = refused(session.ask(Ask::Register(register)).await);
    assert_eq!(error.code(), ErrorCode::NotAttached);
    assert!(matches!(session.ask(Ask::Attach(bank())).await, Told::Attached(_)));
    let other = v1::Resource { resource_uid: vec![6; 16].into(), ..bank() };
    let error = refused(session.ask(Ask::Attach(other)).await);
    assert_eq!(error.code(), ErrorCode::ResourceBound);
}

/// What a node began on its session rolls back when it stays away.
#[tokio::test(start_paused = true)]
async fn a_lost_manager_is_waited_for_and_then_rolled_back() {
    let (world, _) = World::new().await;
    let mut session = world.bank(1).await;
    let xid = session.begin().await;
    session.branch(&xid, 1).await;
    drop(session);
    let mut other = world.bank(2).await;
    until(&world, |summary| summary.sessions == 1).await;
    assert_eq!(status(other.ask(Ask::Get(get(&xid))).await).0, TransactionStatus::Active);
    tokio::time::advance(Duration::from_secs(11)).await;
    let stands = loop {
        let stands = status(other.ask(Ask::Get(get(&xid))).await);
        if stands.0 != TransactionStatus::Active {
            break stands;
        }
    };
    assert_eq!(stands, (TransactionStatus::RollingBack, v1::RollbackCause::ManagerLost));
}

/// Waits for what the operator sees; every look goes through the group, so it costs no time.
pub(crate) async fn until(world: &World, holds: impl Fn(&v1::SummaryReply) -> bool) {
    for _ in 0..2_000 {
        let summary = world.admin.clone().summary(v1::SummaryRequest {}).await.unwrap();
        if holds(summary.get_ref()) {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never came true");
}
