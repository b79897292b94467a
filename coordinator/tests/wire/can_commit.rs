//! The question before the first try, over the wire: advice, and nothing else.

use pactum_proto::v1::client_frame::Frame as Ask;
use pactum_proto::v1::opinion::Opinion;
use pactum_proto::v1::server_frame::Frame as Told;
use pactum_proto::v1::work_result::Result as Said;
use pactum_proto::v1::{self, ErrorCode, TransactionStatus};

use crate::support::{BANK, Session, World, done, get, refused, status, store_id};

fn asks(xid: &str, resources: &[&str]) -> v1::CanCommitRequest {
    let question = |resource: &&str| v1::Question {
        resource_id: (*resource).to_owned(),
        mode: v1::BranchMode::Tcc.into(),
        action: "reserve".into(),
        payload: b"30"[..].into(),
    };
    let questions = resources.iter().map(question).collect();
    v1::CanCommitRequest { xid: xid.into(), store_id: store_id(), questions }
}

#[track_caller]
fn opinion(told: Told) -> Opinion {
    match told {
        Told::Opinion(v1::Opinion { opinion: Some(opinion) }) => opinion,
        other => panic!("no opinion: {other:?}"),
    }
}

async fn answer(session: &mut Session, said: Said) -> v1::Work {
    session.send(0, Ask::Credit(v1::Credit { work: 1 })).await;
    let work = session.work().await;
    let result = v1::WorkResult { result: Some(said), ..done(&work) };
    session.send(0, Ask::WorkResult(result)).await;
    work
}

fn unknown(reason: &str) -> Opinion {
    let (resource_id, action) = (BANK.to_owned(), "reserve".to_owned());
    Opinion::Unknown(v1::Unknown { resource_id, action, reason: reason.to_owned() })
}

#[tokio::test(start_paused = true)]
async fn participants_say_yes_no_or_nothing() {
    let (world, _) = World::new().await;
    let (mut manager, mut bank) = (world.session(1).await, world.bank(2).await);
    let xid = manager.begin().await;
    let no = |reason: &str| {
        let (resource_id, action) = (BANK.to_owned(), "reserve".to_owned());
        Opinion::No(v1::No { resource_id, action, reason: reason.to_owned() })
    };
    let report = v1::ParkReport { message: "account 7 is closed".into(), ..Default::default() };
    let later = v1::Later { after_ms: 0, reason: "not now".into() };
    let table = [
        (Said::Done(v1::Done {}), Opinion::Yes(v1::Yes {})),
        (Said::Failed(v1::Failed {}), no("")),
        (Said::Parked(report), no("account 7 is closed")),
        (Said::Later(later), unknown("not now")),
    ];
    for (said, expected) in table {
        let asked = manager.post(Ask::CanCommit(asks(&xid, &[BANK]))).await;
        let work = answer(&mut bank, said).await;
        assert_eq!(work.kind(), v1::WorkKind::CanCommit);
        assert_eq!((work.action.as_str(), &work.payload[..]), ("reserve", &b"30"[..]));
        assert_eq!(opinion(manager.answer(asked).await), expected);
    }
    // Whatever was said, nothing came of it.
    assert_eq!(status(manager.ask(Ask::Get(get(&xid))).await).0, TransactionStatus::Active);
    let request = v1::ListTransactionsRequest::default();
    let listed = world.admin.clone().list_transactions(request).await.unwrap().into_inner();
    assert_eq!(listed.transactions, [], "nothing was stored");
}

/// Goal: silence is no *no*. Method: nobody attached, nobody answers, the session ends.
#[tokio::test(start_paused = true)]
async fn silence_is_not_a_no() {
    let (world, _) = World::new().await;
    let mut manager = world.session(1).await;
    let xid = manager.begin().await;
    let asked = manager.ask(Ask::CanCommit(asks(&xid, &[BANK]))).await;
    assert_eq!(opinion(asked), unknown("no session has attached the resource"));
    let bank = world.bank(2).await;
    let asked = manager.ask(Ask::CanCommit(asks(&xid, &[BANK]))).await;
    assert_eq!(opinion(asked), unknown("no session answered in time"));
    let asked = manager.post(Ask::CanCommit(asks(&xid, &[BANK]))).await;
    // It is read before the other session is seen to end.
    manager.ask(Ask::Get(get(&xid))).await;
    drop(bank);
    let said = opinion(manager.answer(asked).await);
    assert_eq!(said, unknown("the session ended before it answered"));
}

/// Goal: a *no* outweighs what another does not know, and another session is asked where one has no
/// answer.
#[tokio::test(start_paused = true)]
async fn a_no_outweighs_silence_and_the_next_session_is_asked() {
    let (world, _) = World::new().await;
    let mut manager = world.session(1).await;
    let (mut mute, mut frank) = (world.bank(2).await, world.bank(3).await);
    let xid = manager.begin().await;
    let asked = manager.post(Ask::CanCommit(asks(&xid, &["nobody", BANK]))).await;
    answer(&mut mute, Said::Later(v1::Later::default())).await;
    answer(&mut frank, Said::Failed(v1::Failed {})).await;
    assert!(matches!(opinion(manager.answer(asked).await), Opinion::No(_)));
}

#[tokio::test(start_paused = true)]
async fn only_the_session_that_was_asked_is_heard() {
    let (world, _) = World::new().await;
    let (mut manager, mut bank) = (world.session(1).await, world.bank(2).await);
    let xid = manager.begin().await;
    let asked = manager.post(Ask::CanCommit(asks(&xid, &[BANK]))).await;
    bank.send(0, Ask::Credit(v1::Credit { work: 1 })).await;
    let work = bank.work().await;
    manager.send(0, Ask::WorkResult(done(&work))).await;
    let said = opinion(manager.answer(asked).await);
    assert_eq!(said, unknown("no session answered in time"));
}

#[tokio::test(start_paused = true)]
async fn questions_that_make_no_sense_are_refused() {
    let (world, _) = World::new().await;
    let mut manager = world.session(1).await;
    let xid = manager.begin().await;
    let many = vec![BANK; 65];
    for (resources, field) in
        [(&[][..], "questions"), (&many[..], "questions"), (&["ä"], "resource_id")]
    {
        let error = refused(manager.ask(Ask::CanCommit(asks(&xid, resources))).await);
        assert_eq!((error.code(), error.field.as_str()), (ErrorCode::InvalidArgument, field));
    }
    let mut nameless = asks(&xid, &[BANK]);
    nameless.questions[0].action.clear();
    let reply = world.client.clone().can_commit(nameless).await.unwrap().into_inner();
    let Some(v1::can_commit_reply::Result::Error(error)) = reply.result else {
        panic!("{reply:?}")
    };
    assert_eq!(error.field, "action");
}
