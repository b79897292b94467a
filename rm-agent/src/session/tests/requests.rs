//! Requests: asked again where they may be, bounded, and cancelled with their callers.

use pactum_proto::v1::server_frame::Frame;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_registration_whose_answer_is_lost_is_asked_again_under_the_same_branch_id() {
    let (mut fake, mut stream, session) = Fake::session().await;
    let registering = register(&session, 1, 100);
    let (_, first) = stream.next().await;
    drop(stream);
    let mut stream = fake.welcomed().await;
    let (correlation, second) = stream.next().await;
    assert_eq!(first, second);
    stream.send(correlation, Frame::Registered(v1::Registered { sequence: 1 }));
    registering.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_asked_again_and_a_refusal_stands() {
    let (_fake, mut stream, session) = Fake::session().await;
    let registering = register(&session, 1, 100);
    for code in [v1::ErrorCode::OutcomeUnknown, v1::ErrorCode::Unavailable] {
        let (correlation, _) = stream.next().await;
        stream.send(correlation, fake::error(code));
    }
    let (correlation, _) = stream.next().await;
    stream.send(correlation, fake::error(v1::ErrorCode::LockConflict));
    let refused = registering.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Some(v1::ErrorCode::LockConflict));
    assert!(refused.is_retryable());
}

#[tokio::test(start_paused = true)]
async fn silence_is_no_answer_at_the_callers_own_end() {
    let (_fake, mut stream, session) = Fake::session().await;
    let since = tokio::time::Instant::now();
    fake::assert_no_answer(session.register(&context(1), &registration(100)).await);
    assert_eq!(since.elapsed(), fake::ANSWER_WAIT_MAX);
    let (correlation, _) = stream.next().await;
    let cancel = Request::CancelWait(v1::CancelWait { correlation });
    assert_eq!(stream.next().await, (0, cancel));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_registered_after_the_deadline() {
    let (_fake, mut stream, session) = Fake::session().await;
    let context = context(1);
    tokio::time::advance(Duration::from_secs(60)).await;
    let refused = session.register(&context, &registration(100)).await.unwrap_err();
    assert_eq!(refused.code(), Some(v1::ErrorCode::NotActive));
    assert_eq!(stream.until_quiet().await, []);
}

/// Goal: a caller that goes away leaves nothing behind: no wait, and no claim that was granted in
/// the same moment.
#[tokio::test(start_paused = true)]
async fn a_dropped_claim_is_cancelled_and_given_back() {
    let (_fake, mut stream, session) = Fake::session().await;
    let claiming = tokio::spawn({
        let session = session.clone();
        async move { session.claim(&context(1), &bank(), &[], Duration::from_secs(5)).await }
    });
    let (correlation, request) = stream.next().await;
    let Request::Claim(claim) = request else { panic!("{request:?}") };
    assert_eq!(claim.wait_ms, 5_000);
    claiming.abort();
    let cancel = Request::CancelWait(v1::CancelWait { correlation });
    assert_eq!(stream.next().await, (0, cancel));
    stream.send(correlation, Frame::ClaimGranted(77));
    let release = Request::ReleaseClaim(v1::ReleaseClaim { claim_id: 77 });
    assert_eq!(stream.next().await, (0, release));
}

/// Goal: the coordinator bounds its buffers by the window, so the agent must keep to it; and a full
/// window of lock waits must let the commit through that ends them.
#[tokio::test(start_paused = true)]
async fn the_window_bounds_entries_and_keeps_room_for_decisions() {
    let (mut fake, environment) = Fake::new();
    let session = Session::start(environment, fake::ANSWER_WAIT_MAX);
    let mut stream = fake.welcomed_with(|welcome| welcome.request_window = 4).await;
    let waiting: Vec<_> = (0..5).map(|n| register(&session, 1, 100 + n)).collect();
    let first = stream.next().await;
    stream.next().await;
    assert_eq!(stream.until_quiet().await, [], "two of four places are for entries");

    let vetoing = {
        let session = session.clone();
        tokio::spawn(async move { session.veto(&context(2), "no").await })
    };
    let (correlation, request) = stream.next().await;
    assert!(matches!(request, Request::Veto(_)), "{request:?}");
    stream.send(correlation, fake::rolled_back(v1::RollbackCause::Vetoed));
    vetoing.await.unwrap();

    stream.send(first.0, Frame::Registered(v1::Registered { sequence: 1 }));
    assert!(matches!(stream.next().await.1, Request::Register(_)));
    assert_eq!(stream.until_quiet().await, []);
    waiting.into_iter().for_each(|one| one.abort());
}

#[tokio::test(start_paused = true)]
async fn branch_ids_come_from_blocks_and_wait_for_the_next_one() {
    let (mut fake, environment) = Fake::new();
    let session = Session::start(environment, fake::ANSWER_WAIT_MAX);
    let block = v1::IdBlock { first: 10, end: 14 };
    let mut stream = fake.welcomed_with(|welcome| welcome.branch_ids = Some(block)).await;
    session.connected(Duration::from_secs(1)).await.unwrap();
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.push(session.next_branch_id().await.unwrap().0);
    }
    assert_eq!(taken, [10, 11, 12, 13]);
    let waiting =
        tokio::spawn(
            async move { (session.next_branch_id().await, session.next_branch_id().await) },
        );
    let (correlation, request) = stream.next().await;
    assert!(matches!(request, Request::BranchIds(_)), "{request:?}");
    assert_eq!(stream.until_quiet().await, [], "asked for once");
    assert!(!waiting.is_finished());
    stream.send(correlation, Frame::BranchIds(v1::IdBlock { first: 50, end: 51 }));
    // That one is used up at once.
    let (correlation, _) = stream.next().await;
    stream.send(correlation, Frame::BranchIds(v1::IdBlock { first: 60, end: 90 }));
    let (first, second) = waiting.await.unwrap();
    assert_eq!([first.unwrap(), second.unwrap()], [BranchId(50), BranchId(60)]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_attachment_is_not_repeated() {
    let (mut fake, mut stream, session) = Fake::session().await;
    let attaching = tokio::spawn({
        let session = session.clone();
        async move { session.attach(bank(), Some(UID), vec![(BranchMode::At, done())]).await }
    });
    let (correlation, _) = stream.next().await;
    stream.send(correlation, fake::error(v1::ErrorCode::ResourceBound));
    let refused = attaching.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Some(v1::ErrorCode::ResourceBound));
    drop(stream);
    let mut stream = fake.welcomed().await;
    assert_eq!(stream.until_quiet().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_resource_id_stands_for_one_database() {
    let (_fake, mut stream, session) = attached(done()).await;
    let other = session
        .attach(bank(), Some(ResourceUid(9)), vec![(BranchMode::At, done())])
        .await
        .unwrap_err();
    assert_eq!(other.code(), Some(v1::ErrorCode::ResourceBound));
    assert_eq!(stream.until_quiet().await, []);
    let (again, _) = tokio::join!(
        session.attach(bank(), Some(UID), vec![(BranchMode::At, done())]),
        stream.attach()
    );
    again.unwrap();
}
