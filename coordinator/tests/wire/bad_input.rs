//! Bad input over the wire: each gets one typed error that names the field and the limit, changes
//! nothing, and harms nobody else. That each field is checked is told in the conversions' own tests.

use pactum_core::id::StoreId;
use pactum_proto::v1::client_frame::Frame as Ask;
use pactum_proto::v1::server_frame::Frame as Told;
use pactum_proto::v1::{self, ErrorCode, RollbackCause, TransactionStatus};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::support::{
    World, begin, commit, get, lock, outcome, refused, registration, rollback, status, store_id,
};

/// Requests that are refused, each with the code and the field of its refusal.
fn table(xid: &str, ended: &str) -> Vec<(Ask, ErrorCode, &'static str)> {
    use ErrorCode::{
        BranchMismatch, Expired, Foreign, InvalidArgument, LimitReached, NotActive, NotAttached,
        UnknownTransaction,
    };
    let register = |change: &dyn Fn(&mut v1::RegisterRequest)| {
        let mut request = registration(xid, 1, 1);
        change(&mut request);
        Ask::Register(request)
    };
    let get_of = |xid: &str, store_id: bytes::Bytes| {
        Ask::Get(v1::GetRequest { xid: xid.into(), store_id, wait: 0 })
    };
    let other_store = StoreId(1).to_bytes().to_vec();
    let locks = |count: usize| vec![lock(1); count];
    vec![
        (Ask::Begin(v1::BeginRequest { name: String::new(), ..begin() }), InvalidArgument, "name"),
        (Ask::Begin(v1::BeginRequest { timeout_ms: 0, ..begin() }), InvalidArgument, "timeout_ms"),
        (
            Ask::Begin(v1::BeginRequest { timeout_ms: u64::MAX, ..begin() }),
            InvalidArgument,
            "timeout_ms",
        ),
        (get_of("default", store_id()), InvalidArgument, "xid"),
        (get_of("other:1", store_id()), Foreign, "xid"),
        (get_of(xid, other_store.into()), Foreign, "store_id"),
        (get_of("default:1", store_id()), Expired, "xid"),
        (get_of("default:9223372036854775807", bytes::Bytes::new()), UnknownTransaction, "xid"),
        (register(&|r| r.resource_id = "elsewhere".into()), NotAttached, "resource_id"),
        (register(&|r| r.resource_id.clear()), InvalidArgument, "resource_id"),
        (register(&|r| r.locks = locks(10_001)), LimitReached, "locks"),
        (register(&|r| r.locks[0].key = vec![9; 4097].into()), InvalidArgument, "locks.key"),
        // The one that stands is in another mode.
        (register(&|r| r.mode = v1::BranchMode::Xa.into()), BranchMismatch, "branch_id"),
        // A branch after the decision.
        (register(&|r| r.xid = ended.to_owned()), NotActive, "xid"),
        (Ask::Claim(v1::ClaimRequest::default()), InvalidArgument, "xid"),
        (Ask::Check(v1::CheckRequest::default()), InvalidArgument, "resource_id"),
        (Ask::Attach(v1::Resource::default()), InvalidArgument, "resource_id"),
        (Ask::Veto(v1::VetoRequest::default()), InvalidArgument, "xid"),
    ]
}

#[tokio::test(start_paused = true)]
async fn each_refusal_names_its_field_and_changes_nothing() {
    let (world, faults) = World::new().await;
    let mut session = world.bank(1).await;
    let (xid, ended) = (session.begin().await, session.begin().await);
    let registered = session.ask(Ask::Register(registration(&xid, 1, 1))).await;
    assert!(matches!(registered, Told::Registered(_)));
    session.ask(Ask::Rollback(rollback(&ended))).await;

    let before = (world.server.summary().await.unwrap(), faults.writes());
    for (ask, code, field) in table(&xid, &ended) {
        let shown = format!("{ask:?}");
        let error = refused(session.ask(ask).await);
        assert_eq!((error.code(), error.field.as_str()), (code, field), "{shown:.200}");
        assert!(!error.message.is_empty());
    }
    assert_eq!((world.server.summary().await.unwrap(), faults.writes()), before);

    // An empty frame, and one-way frames, are refused without a session's end.
    session.send_all(vec![(0, Ask::WorkResult(v1::WorkResult::default()))]).await;
    assert_eq!(refused(session.answer(0).await).field, "xid");
    session.send_all(vec![(0, Ask::PhaseOne(v1::PhaseOneReport::default()))]).await;
    assert_eq!(refused(session.answer(0).await).field, "xid");
    assert_eq!((world.server.summary().await.unwrap(), faults.writes()), before);
}

/// No error, but the outcome that stands.
#[tokio::test(start_paused = true)]
async fn a_second_decision_answers_the_first() {
    let (world, faults) = World::new().await;
    let mut session = world.bank(1).await;
    let rolled = session.begin().await;
    let first = status(session.ask(Ask::Rollback(rollback(&rolled))).await);
    assert_eq!(first, (TransactionStatus::RolledBack, RollbackCause::Requested));
    let committed = session.begin().await;
    session.branch(&committed, 1).await;
    let decided = status(session.ask(Ask::Commit(commit(&committed))).await);
    assert_eq!(decided.0, TransactionStatus::Committing);
    let writes = faults.writes();
    for _ in 0..2 {
        assert_eq!(status(session.ask(Ask::Commit(commit(&rolled))).await), first);
        assert_eq!(status(session.ask(Ask::Commit(commit(&committed))).await), decided);
        assert_eq!(status(session.ask(Ask::Rollback(rollback(&committed))).await), decided);
    }
    assert_eq!(faults.writes(), writes);
}

#[tokio::test(start_paused = true)]
async fn unary_calls_are_refused_in_band() {
    let (world, _) = World::new().await;
    let mut client = world.client.clone();
    let nameless = v1::BeginRequest::default();
    let begun = client.begin(nameless).await.unwrap().into_inner();
    let Some(v1::begin_reply::Result::Error(error)) = begun.result else { panic!("{begun:?}") };
    assert_eq!((error.field.as_str(), error.limit), ("name", 128));

    let expired = outcome(client.get(get("default:1")).await.unwrap().into_inner()).unwrap_err();
    assert_eq!(expired.code(), ErrorCode::Expired);
    let vetoed = client.veto(v1::VetoRequest::default()).await.unwrap().into_inner();
    assert_eq!(outcome(vetoed).unwrap_err().field, "xid");
    let registered = client.register(registration("default:1", 1, 1)).await.unwrap().into_inner();
    let Some(v1::register_reply::Result::Error(error)) = registered.result else { panic!() };
    assert_eq!((error.code(), error.field.as_str()), (ErrorCode::InvalidArgument, "attachment_id"));
    let reported = client.report_phase_one(v1::PhaseOneReport::default()).await.unwrap();
    let Some(v1::phase_one_reply::Result::Error(error)) = reported.into_inner().result else {
        panic!()
    };
    assert_eq!(error.field, "xid");
}

/// Sends a begin whose name is any bytes: the same field of a message that says `bytes`.
async fn begin_named(world: &World, name: Vec<u8>) -> Result<v1::BeginReply, Status> {
    let mut grpc = tonic::client::Grpc::new(world.channel.clone());
    grpc.ready().await.unwrap();
    let request =
        v1::TakeWorkRequest { attachment_id: name.into(), max: 60_000, ..Default::default() };
    let path = http::uri::PathAndQuery::from_static("/pactum.v1.Coordinator/Begin");
    let codec: ProstCodec<v1::TakeWorkRequest, v1::BeginReply> = ProstCodec::default();
    grpc.unary(Request::new(request), path, codec).await.map(tonic::Response::into_inner)
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_is_refused_by_field() {
    let (world, _) = World::new().await;
    let begun = begin_named(&world, b"fine".to_vec()).await.unwrap();
    assert!(matches!(begun.result, Some(v1::begin_reply::Result::Begun(_))), "{begun:?}");
    let status = begin_named(&world, b"\xff\xfe".to_vec()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().starts_with("TX0001"), "{}", status.message());
    assert!(status.message().contains("name"), "{}", status.message());
}

#[tokio::test(start_paused = true)]
async fn a_message_over_the_limit_is_refused_with_the_limit() {
    let (world, _) = World::new().await;
    let status = begin_named(&world, vec![b'n'; 5 << 20]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("4194304"), "{}", status.message());

    let mut session = world.session(1).await;
    let large = v1::VetoRequest { reason: "r".repeat(5 << 20), ..Default::default() };
    session.send(2, Ask::Veto(large)).await;
    let error = refused(session.answer(0).await);
    assert_eq!((error.field.as_str(), error.limit), ("message", 4 << 20));
    assert_eq!(session.next().await.unwrap_err().code(), Code::Ok, "the stream ends");
    // Nobody else notices.
    world.session(2).await.begin().await;
}
