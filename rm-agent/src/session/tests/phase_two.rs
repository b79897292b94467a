//! Pushed work: answered after it is done, by whoever can do it.

use std::sync::Mutex;

use pactum_proto::v1::server_frame::Frame;
use pactum_proto::v1::work_result::Result as WorkResult;
use tokio::sync::Semaphore;

use super::*;
use crate::branch::Task;

pub(super) fn work(kind: v1::WorkKind, number: u64, branch: u64) -> v1::Work {
    v1::Work {
        kind: kind.into(),
        xid: format!("g:{number}"),
        branch_id: branch,
        resource_id: "bank".to_owned(),
        mode: v1::BranchMode::At.into(),
        ..v1::Work::default()
    }
}

async fn result(stream: &mut FakeStream) -> (u64, WorkResult) {
    let (correlation, frame) = stream.next().await;
    assert_eq!(correlation, 0);
    let Request::WorkResult(result) = frame else { panic!("expected a result, got {frame:?}") };
    (result.branch_id, result.result.unwrap())
}

/// Goal: a coordinator frees locks at *done*, so nothing may be said before the participant is.
/// A rollback that cannot go on must not hold up commits. Method: a participant that works only when
/// the test lets it, by task.
#[tokio::test(start_paused = true)]
async fn work_is_answered_once_the_participant_is_done_and_commits_pass_rollbacks() {
    let commits = Arc::new(Semaphore::new(0));
    let (allowed, seen) = (Arc::clone(&commits), Arc::new(Mutex::new(Vec::new())));
    let record = Arc::clone(&seen);
    let participant = Answering(move |work: Work| {
        let (allowed, record) = (Arc::clone(&allowed), Arc::clone(&record));
        async move {
            record.lock().unwrap().push(work.clone());
            match work.task {
                Task::Commit => allowed.acquire().await.unwrap().forget(),
                Task::Rollback { .. } | Task::AskPhaseOne | Task::CanCommit | Task::Act => {
                    std::future::pending().await
                }
            }
            Answer::Done
        }
    });
    let (_fake, mut stream, _session) = attached(Arc::new(participant)).await;
    let rollback =
        v1::Work { phase_one_done: true, attempt: 3, ..work(v1::WorkKind::Rollback, 2, 200) };
    stream.send(0, Frame::Work(rollback));
    stream.send(0, Frame::Work(work(v1::WorkKind::Commit, 1, 100)));
    assert_eq!(stream.until_quiet().await, [], "nobody is done");
    commits.add_permits(1);
    assert_eq!(result(&mut stream).await, (100, WorkResult::Done(v1::Done {})));

    let rollback = seen.lock().unwrap()[0].clone();
    assert_eq!(rollback.task, Task::Rollback { phase_one_done: true });
    assert_eq!((rollback.attempt, rollback.store), (3, StoreId(fake::STORE)));
    // A participant that hangs is given up after its time, and its work asked for again.
    let started = tokio::time::Instant::now();
    let (branch, answer) = result_of_long_work(&mut stream).await;
    assert_eq!(branch, 200);
    assert!(matches!(answer, WorkResult::Later(_)), "{answer:?}");
    assert!(started.elapsed() > Duration::from_secs(300), "a long rollback is left alone");
}

/// The next result, from a coordinator that lives: it answers heartbeats.
async fn result_of_long_work(stream: &mut FakeStream) -> (u64, WorkResult) {
    loop {
        match stream.next_of_all().await.expect("the stream is up") {
            (correlation, Request::Ping(ping)) => stream.send(correlation, Frame::Pong(ping)),
            (_, Request::Credit(_)) => {}
            (_, Request::WorkResult(result)) => return (result.branch_id, result.result.unwrap()),
            (_, other) => panic!("{other:?}"),
        }
    }
}

/// Goal: a rollback that takes long holds up neither those of other transactions nor what is told of
/// them, is not begun twice, and is answered where its coordinator last asked. Method: two places;
/// one rollback that hangs until the test lets it, pushed again and once more on another stream.
#[tokio::test(start_paused = true)]
async fn a_slow_rollback_holds_up_no_other_and_is_not_begun_twice() {
    let gate = Arc::new(Semaphore::new(0));
    let begun = Arc::new(Mutex::new(Vec::new()));
    let (open, seen) = (Arc::clone(&gate), Arc::clone(&begun));
    let participant = Answering(move |work: Work| {
        let (open, seen) = (Arc::clone(&open), Arc::clone(&seen));
        async move {
            seen.lock().unwrap().push(work.key.branch.0);
            if work.key.branch.0 == 100 {
                open.acquire().await.unwrap().forget();
            }
            Answer::Done
        }
    });
    let (mut fake, mut stream, _session) = attached(Arc::new(participant)).await;
    let rollback =
        |branch| v1::Work { phase_one_done: true, ..work(v1::WorkKind::Rollback, branch, branch) };
    stream.send(0, Frame::Work(rollback(100)));
    for branch in 1..=5 {
        stream.send(0, Frame::Work(rollback(branch)));
        assert_eq!(result(&mut stream).await, (branch, WorkResult::Done(v1::Done {})));
    }
    // A question about the same branch waits for the answer to the first.
    stream.send(0, Frame::Work(rollback(100)));
    stream.send(0, Frame::Work(work(v1::WorkKind::AskPhaseOne, 100, 100)));
    assert_eq!(stream.until_quiet().await, []);
    drop(stream);
    let mut stream = fake.welcomed().await;
    stream.attach().await;
    stream.send(0, Frame::Work(rollback(100)));
    assert_eq!(stream.until_quiet().await, []);
    assert_eq!(*begun.lock().unwrap(), [100, 1, 2, 3, 4, 5]);
    gate.add_permits(1);
    assert_eq!(result(&mut stream).await, (100, WorkResult::Done(v1::Done {})));
    assert_eq!(stream.until_quiet().await, [], "the question went with its stream");
    gate.add_permits(1);
    stream.send(0, Frame::Work(rollback(100)));
    assert_eq!(result(&mut stream).await, (100, WorkResult::Done(v1::Done {})));
    assert_eq!(begun.lock().unwrap().len(), 7, "what was answered is done again when asked");
}

#[tokio::test(start_paused = true)]
async fn what_a_participant_cannot_answer_is_later_and_never_done() {
    let participant = Answering(|work: Work| async move {
        assert_ne!(work.key.branch, BranchId(100), "planted panic");
        Answer::Later { after: Some(Duration::from_millis(1_500)), reason: "busy".to_owned() }
    });
    let (_fake, mut stream, _session) = attached(Arc::new(participant)).await;
    let elsewhere =
        v1::Work { resource_id: "another".to_owned(), ..work(v1::WorkKind::Commit, 1, 102) };
    let tcc = v1::Work { mode: v1::BranchMode::Tcc.into(), ..work(v1::WorkKind::Commit, 1, 103) };
    let malformed = v1::Work { xid: "?".to_owned(), ..work(v1::WorkKind::Rollback, 1, 104) };
    let resolved = v1::Work { resolution: 99, ..work(v1::WorkKind::Rollback, 1, 105) };
    for (pushed, expected) in [
        (work(v1::WorkKind::Commit, 1, 100), "the participant panicked"),
        (work(v1::WorkKind::Commit, 1, 101), "busy"),
        (elsewhere, "this agent has not attached the resource in the branch's mode"),
        (tcc, "this agent has not attached the resource in the branch's mode"),
        (malformed, "its XID is malformed"),
        (resolved, "the operator's resolution is not known"),
    ] {
        let id = pushed.branch_id;
        stream.send(0, Frame::Work(pushed));
        let (branch, answer) = result(&mut stream).await;
        let WorkResult::Later(later) = answer else { panic!("{id}: {answer:?}") };
        assert_eq!((branch, later.reason.as_str()), (id, expected));
        assert_eq!(later.after_ms, if id == 101 { 1_500 } else { 0 });
    }
}

/// Goal: what a restarted service had left undone is done as soon as it is there again, in whichever mode.
/// Method: work of each mode right behind the first word about the resource.
#[tokio::test(start_paused = true)]
async fn a_resource_is_told_once_it_is_there_in_all_its_modes() {
    let (_fake, mut stream, session) = Fake::session().await;
    let modes = vec![(BranchMode::Tcc, done()), (BranchMode::Saga, done())];
    let (result_of_attach, _) = tokio::join!(session.attach(bank(), Some(UID), modes), async {
        stream.attach().await;
        for (mode, branch) in [(v1::BranchMode::Tcc, 100), (v1::BranchMode::Saga, 101)] {
            let rollback = work(v1::WorkKind::Rollback, 1, branch);
            stream.send(0, Frame::Work(v1::Work { mode: mode.into(), ..rollback }));
            assert_eq!(result(&mut stream).await, (branch, WorkResult::Done(v1::Done {})));
        }
    });
    result_of_attach.unwrap();
    assert_eq!(stream.until_quiet().await, [], "it is told once");
}

#[tokio::test(start_paused = true)]
async fn what_queues_is_done_in_one_batch_that_names_no_branch_twice() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let gate = Arc::new(Semaphore::new(0));
    struct Batches(Arc<Mutex<Vec<usize>>>, Arc<Semaphore>);
    #[async_trait::async_trait]
    impl Participant for Batches {
        fn rollbacks_at_once(&self) -> usize {
            1
        }

        async fn commit(&self, batch: Vec<Work>) -> Vec<(BranchKey, Answer)> {
            self.0.lock().unwrap().push(batch.len());
            self.1.acquire().await.unwrap().forget();
            batch.into_iter().map(|work| (work.key, Answer::Done)).collect()
        }

        async fn settle(&self, work: Work) -> Answer {
            panic!("{work:?} is no commit");
        }
    }
    let participant = Batches(Arc::clone(&sizes), Arc::clone(&gate));
    let (_fake, mut stream, _session) = attached(Arc::new(participant)).await;
    stream.send(0, Frame::Work(work(v1::WorkKind::Commit, 1, 1)));
    stream.until_quiet().await;
    for branch in 2..=400 {
        stream.send(0, Frame::Work(work(v1::WorkKind::Commit, 1, branch)));
        stream.send(0, Frame::Work(work(v1::WorkKind::Commit, 1, branch)));
    }
    stream.until_quiet().await;
    gate.add_permits(3);
    let mut branches = Vec::new();
    for _ in 1..=400 {
        branches.push(result(&mut stream).await.0);
    }
    assert!(branches.iter().copied().eq(1..=400));
    assert_eq!(*sizes.lock().unwrap(), [1, 256, 143]);
    assert_eq!(stream.until_quiet().await, []);
}

/// Goal: a coordinator that pushes as much as it may never runs dry. Method: answer 10 000 pieces
/// of work; count the credit.
#[tokio::test(start_paused = true)]
async fn credit_is_granted_again_for_work_that_was_answered() {
    let (_fake, mut stream, _session) = attached(done()).await;
    let (mut credit, mut answered) = (0, 0);
    let mut pushed = 0;
    while answered < 10_000 {
        while pushed < 10_000 && pushed - answered < 1_000 {
            pushed += 1;
            stream.send(0, Frame::Work(work(v1::WorkKind::Commit, 1, pushed)));
        }
        match stream.next_of_all().await.unwrap().1 {
            Request::Credit(more) => credit += u64::from(more.work),
            Request::WorkResult(_) => answered += 1,
            other => panic!("{other:?}"),
        }
        assert!(credit + 4_096 > answered + 2_000, "{credit} for {answered}");
    }
    while let Ok(Some((_, frame))) =
        tokio::time::timeout(Duration::from_millis(20), stream.next_of_all()).await
    {
        if let Request::Credit(more) = frame {
            credit += u64::from(more.work);
        }
    }
    // The first credit was read by `attached`; these are the ones that came after it.
    assert!(credit <= 10_000, "never more than was granted at first is under way");
    assert!(credit > 10_000 - 512);
}

/// Goal: work that a replaced attachment leaves behind does not use up the stream's credit. Method: a
/// participant that hangs with a queue behind it, and another one in its place.
#[tokio::test(start_paused = true)]
async fn work_that_is_left_behind_gives_its_credit_back() {
    let hangs = Arc::new(Answering(|_: Work| std::future::pending::<Answer>()));
    let (_fake, mut stream, session) = attached(hangs).await;
    for branch in 1..=1_000 {
        stream.send(0, Frame::Work(work(v1::WorkKind::Commit, 1, branch)));
    }
    stream.until_quiet().await;
    let (again, _) = tokio::join!(
        session.attach(bank(), Some(UID), vec![(BranchMode::At, done())]),
        stream.attach()
    );
    again.unwrap();
    let credit = async {
        loop {
            if let Request::Credit(more) = stream.next_of_all().await.unwrap().1 {
                return more.work;
            }
        }
    };
    let credit = tokio::time::timeout(Duration::from_secs(100), credit).await;
    assert_eq!(credit.expect("the queue's credit comes back"), 512);
}
