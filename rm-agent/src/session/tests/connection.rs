//! What a lost, silent, foreign or closed stream means.

use pactum_proto::v1::server_frame::Frame;

use super::*;

/// Goal: what a lost stream carried without an answer reaches the coordinator all the same, in the
/// order that it needs. Method: end the stream twice; look at what comes first on the next.
#[tokio::test(start_paused = true)]
async fn a_new_stream_repeats_attachments_first_and_then_phase_one_reports() {
    let (mut fake, mut stream, session) = attached(done()).await;
    session.phase_one_done(&context(1), &bank(), BranchId(100));
    assert_eq!(phase_one(stream.next().await.1).branch_id, 100);
    drop(stream);

    let mut stream = fake.welcomed().await;
    let (correlation, request) = stream.next().await;
    assert!(matches!(request, Request::Attach(_)), "{request:?}");
    assert_eq!(stream.until_quiet().await, [], "nothing before the resource is attached");
    session.phase_one_done(&context(2), &bank(), BranchId(101));
    stream.send(correlation, Frame::Attached(v1::ResourceAttached::default()));
    let repeated = [stream.next().await, stream.next().await].map(|(_, frame)| phase_one(frame));
    assert_eq!(repeated.map(|report| report.branch_id), [100, 101]);

    // Phase two of one arrives: its report is of no more use.
    stream.send(0, Frame::Work(super::phase_two::work(v1::WorkKind::Commit, 1, 100)));
    assert!(matches!(stream.next().await.1, Request::WorkResult(_)));
    drop(stream);
    let mut stream = fake.welcomed().await;
    stream.attach().await;
    assert_eq!(phase_one(stream.next().await.1).branch_id, 101);
    assert_eq!(stream.until_quiet().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_failed_phase_one_is_reported_until_it_is_acknowledged() {
    let (mut fake, mut stream, session) = Fake::session().await;
    session.phase_one_failed(&context(1), &bank(), BranchId(100));
    for _ in 0..3 {
        let (correlation, frame) = stream.next().await;
        assert_ne!(correlation, 0, "an answer is wanted");
        let report = phase_one(frame);
        assert_eq!(report.result(), v1::PhaseOneResult::Failed);
        assert_eq!(report.resource_id, "bank");
        drop(stream);
        stream = fake.welcomed().await;
    }
    let (correlation, _) = stream.next().await;
    stream.send(correlation, Frame::PhaseOneRecorded(true));
    stream.until_quiet().await;
    drop(stream);
    let mut stream = fake.welcomed().await;
    assert_eq!(stream.until_quiet().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_silent_coordinator_is_left_after_three_heartbeats() {
    let (mut fake, environment) = Fake::new();
    let _session = Session::start(environment, fake::ANSWER_WAIT_MAX);
    let mut stream = fake.welcomed_with(|welcome| welcome.heartbeat_ms = 1_000).await;
    let since = tokio::time::Instant::now();
    let mut pings = 0;
    // Two are answered, so that the third heartbeat after them is the first that misses.
    while let Some((correlation, frame)) = stream.next_of_all().await {
        if let Request::Ping(ping) = frame {
            pings += 1;
            if pings <= 2 {
                stream.send(correlation, Frame::Pong(ping));
            }
        }
    }
    assert_eq!(pings, 4);
    assert_eq!(since.elapsed().as_secs(), 5, "2 s of answers, then 3 s of silence");
    fake.welcomed().await;
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_and_keeps_the_stream() {
    let (mut fake, environment) = Fake::new();
    let _session = Session::start(environment, fake::ANSWER_WAIT_MAX);
    let mut stream = fake.welcomed_with(|welcome| welcome.heartbeat_ms = 1_000).await;
    for _ in 0..10 {
        stream.send(0, Frame::Ping(v1::Ping {}));
        while !matches!(stream.next_of_all().await.unwrap(), (0, Request::Ping(_))) {}
        tokio::time::advance(Duration::from_millis(1_500)).await;
    }
}

/// Goal: after the coordinator's store was replaced, no transaction of the old one is taken for one
/// of the new, whatever its number.
#[tokio::test(start_paused = true)]
async fn another_store_makes_old_transactions_foreign() {
    let (mut fake, stream, session) = Fake::session().await;
    let old = context(1);
    session.phase_one_done(&old, &bank(), BranchId(100));
    drop(stream);

    let mut stream = fake
        .welcomed_with(|welcome| {
            welcome.store_id = 2_u128.to_be_bytes().to_vec().into();
            welcome.branch_ids = Some(v1::IdBlock { first: 5, end: 9 });
        })
        .await;
    let refused = session.register(&old, &registration(100)).await.unwrap_err();
    assert_eq!(refused.code(), Some(v1::ErrorCode::Foreign));
    assert!(!refused.is_retryable());
    assert_eq!(session.store(), Some(StoreId(2)));
    assert_eq!(session.next_branch_id().await.unwrap(), BranchId(5), "the old block is gone");
    session.phase_one_done(&old, &bank(), BranchId(101));
    assert_eq!(stream.until_quiet().await, [], "nothing of the old store is said to the new one");
}

#[tokio::test(start_paused = true)]
async fn a_refused_session_is_tried_again_and_names_the_reason() {
    let (mut fake, environment) = Fake::new();
    let session = Session::start(environment, fake::ANSWER_WAIT_MAX);
    fake.hello().await.send(0, fake::error(v1::ErrorCode::ProtocolVersion));
    let stream = fake.hello().await;
    let error = session.connected(Duration::from_secs(1)).await.unwrap_err();
    assert!(error.to_string().contains("refused with ProtocolVersion"), "{error}");
    drop(stream);
    let _stream = fake.welcomed().await;
    session.connected(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_finishes_the_work_under_way_and_ends_the_stream() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let opened = Arc::clone(&gate);
    let participant = Answering(move |_| {
        let opened = Arc::clone(&opened);
        async move {
            opened.notified().await;
            Answer::Done
        }
    });
    let (_fake, mut stream, session) = attached(Arc::new(participant)).await;
    stream.send(0, Frame::Work(super::phase_two::work(v1::WorkKind::Commit, 1, 100)));
    assert_eq!(stream.until_quiet().await, []);
    let closing = {
        let session = session.clone();
        tokio::spawn(async move { session.close(Duration::from_secs(5)).await })
    };
    assert_eq!(stream.until_quiet().await, []);
    assert!(!closing.is_finished());
    gate.notify_one();
    assert!(matches!(stream.next().await.1, Request::WorkResult(_)));
    assert_eq!(stream.next_of_all().await, None, "the agent ends the stream");
    drop(stream);
    closing.await.unwrap();
    fake::assert_no_answer(session.register(&context(1), &registration(100)).await);
}

#[tokio::test(start_paused = true)]
async fn the_last_clone_takes_the_stream_with_it() {
    let (_fake, mut stream, session) = Fake::session().await;
    drop(session);
    assert!(matches!(stream.next_of_all().await, Some((_, Request::Credit(_)))));
    assert_eq!(stream.next_of_all().await, None);
}
