//! Begins that are told and not asked.

use pactum_coordinator::Embedded;
use pactum_core::transaction::Status;
use pactum_proto::v1::server_frame::Frame;

use super::*;
use crate::{Agent, AgentOptions};

/// A session that was given the numbers from 10 on.
async fn with_numbers() -> (Fake, FakeStream, Session) {
    let (mut fake, environment) = Fake::new();
    let session = Session::start(environment, fake::ANSWER_WAIT_MAX);
    let mut stream =
        fake.welcomed_with(|welcome| welcome.transaction_timeout_max_ms = 60_000).await;
    session.connected(Duration::from_secs(1)).await.unwrap();
    for number in [1, 2] {
        let (context, _) = tokio::join!(begin(&session), stream.begin(number));
        assert_eq!(context.xid().number.0, number);
    }
    let (correlation, asked) = stream.next().await;
    assert_eq!(asked, Request::Xids(v1::XidsRequest {}));
    stream.send(correlation, Frame::Xids(v1::IdBlock { first: 10, end: 1_000 }));
    assert_eq!(stream.until_quiet().await, []);
    (fake, stream, session)
}

async fn begin(session: &Session) -> TransactionContext {
    session.begin("test", Duration::from_secs(60), None).await.unwrap()
}

fn told(number: u64) -> Request {
    let (name, timeout_ms) = ("test".to_owned(), 60_000);
    Request::NamedBegin(v1::NamedBegin { number, name, timeout_ms, outer_xid: String::new() })
}

#[tokio::test(start_paused = true)]
async fn a_begin_travels_before_the_first_request_that_names_it() {
    let (_fake, mut stream, session) = with_numbers().await;
    let context = begin(&session).await;
    assert_eq!(stream.until_quiet().await, [], "nobody has asked for it yet");
    let registering = {
        let (session, context) = (session.clone(), context.clone());
        tokio::spawn(async move { session.register(&context, &registration(100)).await })
    };
    assert_eq!(stream.next().await, (0, told(10)));
    let (correlation, Request::Register(register)) = stream.next().await else {
        panic!("expected a registration")
    };
    assert_eq!(register.xid, "g:10");
    stream.send(correlation, Frame::Registered(v1::Registered { sequence: 1 }));
    registering.await.unwrap().unwrap();
}

/// Decisions go before everything else, but not before the begin.
#[tokio::test(start_paused = true)]
async fn a_commit_without_a_branch_does_not_overtake_its_begin() {
    let (_fake, mut stream, session) = with_numbers().await;
    let context = begin(&session).await;
    let committing =
        tokio::spawn(async move { session.commit(&context, None, v1::Wait::Decided).await });
    assert_eq!(stream.next().await, (0, told(10)));
    let (correlation, request) = stream.next().await;
    assert!(matches!(request, Request::Commit(_)), "{request:?}");
    stream.send(correlation, fake::committed());
    committing.await.unwrap().unwrap();
}

/// Goal: a service that is called with the XID does not wait for a begin that stays here.
#[tokio::test(start_paused = true)]
async fn a_begin_leaves_at_once_when_its_xid_is_read() {
    let (_fake, mut stream, session) = with_numbers().await;
    let context = begin(&session).await;
    let mut headers = http::HeaderMap::new();
    crate::web::inject(&context, &mut headers);
    assert_eq!(stream.until_quiet().await, [told(10)]);
}

#[tokio::test(start_paused = true)]
async fn a_new_stream_has_no_numbers_and_after_a_refusal_begins_are_asked() {
    let (mut fake, mut stream, session) = with_numbers().await;
    stream.send(0, fake::error(v1::ErrorCode::Unavailable));
    stream.until_quiet().await;
    let (context, _) = tokio::join!(begin(&session), stream.begin(3));
    assert_eq!(context.xid().number.0, 3);
    drop(stream);
    let mut stream =
        fake.welcomed_with(|welcome| welcome.transaction_timeout_max_ms = 60_000).await;
    let (context, _) = tokio::join!(begin(&session), stream.begin(4));
    assert_eq!(context.xid().number.0, 4);
}

/// Goal: a begin that was lost with its stream is heard of, and no second one is made of it.
#[tokio::test(start_paused = true)]
async fn a_begin_that_was_lost_is_not_repeated() {
    let (mut fake, stream, session) = with_numbers().await;
    let context = begin(&session).await;
    drop(stream);
    let mut stream = fake.welcomed().await;
    let registering =
        tokio::spawn(async move { session.register(&context, &registration(100)).await });
    let (correlation, request) = stream.next().await;
    assert!(matches!(request, Request::Register(_)), "{request:?}");
    stream.send(correlation, fake::error(v1::ErrorCode::NotActive));
    let refused = registering.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Some(v1::ErrorCode::NotActive));
}

/// Goal: to the coordinator a transaction that was told is like one that was asked for, and another process that
/// is faster than the begin waits for it. Method: the first agent's begin stays at home until the second one,
/// which was given the XID behind its back, has been told to come again.
#[tokio::test]
async fn a_told_transaction_takes_branches_of_a_process_that_was_faster() {
    let coordinator = Embedded::start().await.unwrap();
    let options = || AgentOptions::new(coordinator.url());
    let (first, second) = (Agent::connect(options()), Agent::connect(options()));
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    second.session().attach(bank(), Some(UID), vec![(BranchMode::At, done())]).await.unwrap();
    let context = loop {
        let context = begin(first.session()).await;
        if context.waits_to_begin() {
            break context;
        }
    };

    let xid = context.xid_here().clone();
    let received = TransactionContext::new(xid, context.store_id(), Duration::from_secs(60));
    let branch = second.session().next_branch_id().await.unwrap();
    let registering = {
        let (session, received) = (second.session().clone(), received.clone());
        let registration = registration(branch.0);
        tokio::spawn(async move { session.register(&received, &registration).await })
    };
    tokio::task::yield_now().await;
    let outcome = second.session().outcome_of(received.xid(), received.store_id());
    assert_eq!(context.xid(), received.xid());
    registering.await.unwrap().unwrap();
    assert_eq!(outcome.await.unwrap().status, Status::Active);
    second.session().phase_one_done(&received, &bank(), branch);
    context.record_done(branch);
    let committed = first.session().commit(&context, None, v1::Wait::Completed).await.unwrap();
    assert_eq!(committed.status(), v1::TransactionStatus::Committed);
}
