//! Declared sagas over the wire.

use std::sync::Arc;
use std::time::Duration;

use pactum_coordinator::ServerOptions;
use pactum_proto::v1::client_frame::Frame as Ask;
use pactum_proto::v1::sagas_client::SagasClient;
use pactum_proto::v1::server_frame::Frame as Told;
use pactum_proto::v1::submit_saga_request::Definition;
use pactum_proto::v1::work_result::Result as Said;
use pactum_proto::v1::{
    self, ErrorCode, RollbackCause, SagaStepState, SagaVerb, TransactionStatus, WorkKind,
    saga_reply,
};
use tokio::time::timeout;
use tonic::transport::Channel;

use crate::support::{Session, World, bank, done, memory, store_id};

/// Two actions one after the other, and an event between them.
pub(crate) const TRIP: &str = r#"{"saga":"trip","version":1,"steps":[
    {"id":"hotel","action":"book","resource":"bank-a","input":{"guest":{"$from":"/input/who"}}},
    {"id":"paid","wait":{"event":true}},
    {"id":"flight","action":"fly","resource":"bank-a","input":{"$from":"/results/hotel"},
     "retry":{"attempts":1}}],
    "output":{"hotel":{"$from":"/results/hotel/no"},"by":{"$from":"/results/paid"}}}"#;

pub(crate) fn sagas(world: &World) -> SagasClient<Channel> {
    SagasClient::new(world.channel.clone())
}

/// A session that offers both actions, and takes any amount of work.
pub(crate) async fn service(world: &World, node: u128) -> Session {
    let mut session = world.session(node).await;
    let offer = |name: &str| v1::OfferedAction { name: name.into(), compensable: true };
    let resource = v1::Resource { actions: vec![offer("book"), offer("fly")], ..bank() };
    session.ask(Ask::Attach(resource)).await;
    session.send(0, Ask::Credit(v1::Credit { work: 100 })).await;
    session
}

pub(crate) async fn answer(session: &mut Session, work: &v1::Work, said: Said) {
    let (xid, branch_id, kind) = (work.xid.clone(), work.branch_id, work.kind);
    let result = v1::WorkResult { xid, branch_id, kind, result: Some(said) };
    session.send(0, Ask::WorkResult(result)).await;
}

pub(crate) fn step_done(json: &str) -> Said {
    Said::StepDone(v1::StepDone { result: json.as_bytes().to_vec().into() })
}

pub(crate) fn inline(json: &str, key: &str) -> v1::SubmitSagaRequest {
    v1::SubmitSagaRequest {
        definition: Some(Definition::Inline(json.as_bytes().to_vec().into())),
        input: br#"{"who":"me"}"#.to_vec().into(),
        idempotency_key: key.into(),
        wait_ms: 0,
    }
}

pub(crate) fn signal(xid: &str, payload: &[u8]) -> v1::SignalSagaRequest {
    v1::SignalSagaRequest { xid: xid.into(), step: "paid".into(), payload: payload.to_vec().into() }
}

pub(crate) fn get(xid: &str, wait_ms: u32) -> v1::GetSagaRequest {
    v1::GetSagaRequest { xid: xid.into(), store_id: store_id(), wait_ms, with_steps: true }
}

#[track_caller]
pub(crate) fn saga(reply: tonic::Response<v1::SagaReply>) -> v1::Saga {
    match reply.into_inner().result.unwrap() {
        saga_reply::Result::Saga(saga) => saga,
        saga_reply::Result::Error(error) => panic!("refused: {error:?}"),
    }
}

#[track_caller]
pub(crate) fn refused(reply: tonic::Response<v1::SagaReply>) -> v1::Error {
    match reply.into_inner().result.unwrap() {
        saga_reply::Result::Saga(saga) => panic!("not refused: {saga:?}"),
        saga_reply::Result::Error(error) => error,
    }
}

fn states(saga: &v1::Saga) -> Vec<(&str, SagaStepState)> {
    saga.steps.iter().map(|step| (step.path.as_str(), step.state())).collect()
}

pub(crate) fn stands(saga: &v1::Saga) -> (TransactionStatus, RollbackCause) {
    let outcome = saga.outcome.unwrap();
    (outcome.status(), outcome.cause())
}

/// Goal: a saga goes from its submission to its output, whoever watches sees the end, and what it returned
/// can be asked for afterwards.
#[tokio::test(start_paused = true)]
async fn a_saga_runs_to_its_end() {
    let (world, _) = World::new().await;
    let mut client = sagas(&world);
    let mut service = service(&world, 1).await;
    let begun = saga(client.submit_saga(inline(TRIP, "key")).await.unwrap());
    let again = saga(client.submit_saga(inline(TRIP, "key")).await.unwrap());
    assert_eq!(begun.xid, again.xid, "a repeat is the same saga");
    let watch = v1::WatchSagaRequest { xid: begun.xid.clone() };
    let mut watched = client.watch_saga(watch).await.unwrap().into_inner();

    let work = service.work().await;
    assert_eq!((work.kind(), work.action.as_str(), work.branch_id), (WorkKind::Act, "book", 1));
    assert_eq!(&work.payload[..], br#"{"guest":"me"}"#);
    assert_eq!((work.timeout_ms, work.token.as_str()), (30_000, &*format!("{}/1", begun.xid)));
    answer(&mut service, &work, step_done(r#"{"no":7}"#)).await;

    saga(client.signal_saga(signal(&begun.xid, b"\"card\"")).await.unwrap());
    let work = service.work().await;
    assert_eq!((work.action.as_str(), &work.payload[..]), ("fly", &br#"{"no":7}"#[..]));
    answer(&mut service, &work, step_done("")).await;

    let ended = saga(client.get_saga(get(&begun.xid, 5_000)).await.unwrap());
    assert_eq!(stands(&ended).0, TransactionStatus::Committed);
    assert_eq!(&ended.output[..], br#"{"by":"card","hotel":7}"#);
    let done = |path| (path, SagaStepState::Done);
    assert_eq!(states(&ended), [done("hotel"), done("paid"), done("flight")]);
    let mut last = None;
    while let Some(reply) = watched.message().await.unwrap() {
        last = Some(saga(tonic::Response::new(reply)));
    }
    assert_eq!(last.unwrap().output, ended.output);
}

/// Goal: a step that fails for good takes back what was done, with what it was given and returned; and the
/// answer says which step it was.
#[tokio::test(start_paused = true)]
async fn a_step_that_fails_rolls_the_saga_back() {
    let (world, _) = World::new().await;
    let mut client = sagas(&world);
    let mut service = service(&world, 1).await;
    let begun = saga(client.submit_saga(inline(TRIP, "")).await.unwrap());
    saga(client.signal_saga(signal(&begun.xid, b"")).await.unwrap());
    let work = service.work().await;
    answer(&mut service, &work, step_done("{\"no\":7}")).await;
    let work = service.work().await;
    let failed = v1::StepFailed { code: "full".into(), message: "no".into(), r#final: false };
    answer(&mut service, &work, Said::StepFailed(failed)).await;

    let work = service.work().await;
    assert_eq!((work.kind(), work.branch_id, work.phase_one_done), (WorkKind::Rollback, 1, true));
    assert_eq!(&work.payload[..], br#"{"guest":"me"}"#);
    assert_eq!(&work.result[..], b"{\"no\":7}");
    service.send(0, Ask::WorkResult(done(&work))).await;
    let ended = saga(client.get_saga(get(&begun.xid, 5_000)).await.unwrap());
    assert_eq!(stands(&ended), (TransactionStatus::RolledBack, RollbackCause::StepFailed));
    assert_eq!(ended.failed_step, "flight");
    assert_eq!((ended.failure.unwrap().code.as_str(), ended.output.len()), ("full", 0));
}

/// Goal: wherever the power goes, a saga ends as declared. Method: after each number of writes everything
/// further is lost; then another coordinator takes the store over, and another instance of the service.
#[tokio::test(start_paused = true)]
async fn a_saga_survives_the_coordinator_at_each_write() {
    for writes in 0..8 {
        let store = memory();
        let world = World::on(ServerOptions::default(), Arc::new(store.clone())).await;
        let mut client = sagas(&world);
        let mut first = service(&world, 1).await;
        let definition = TRIP.as_bytes().to_vec().into();
        client.define_saga(v1::DefineSagaRequest { definition }).await.unwrap();
        store.faults().cut_after(writes);
        let submitted = client.submit_saga(inline(TRIP, "key")).await.unwrap().into_inner();
        if let Some(saga_reply::Result::Saga(begun)) = submitted.result {
            let _ = client.signal_saga(signal(&begun.xid, b"")).await;
            for _ in 0..2 {
                let next = timeout(Duration::from_secs(1), first.next()).await;
                let frame = next.ok().and_then(Result::ok).and_then(|next| next.frame);
                if let Some(Told::Work(work)) = frame {
                    answer(&mut first, &work, step_done("{\"no\":7}")).await;
                }
            }
        }
        drop((client, first, world));
        store.faults().mend();

        let world = World::on(ServerOptions::default(), Arc::new(store)).await;
        let mut client = sagas(&world);
        let mut second = service(&world, 2).await;
        let begun = saga(client.submit_saga(inline(TRIP, "key")).await.unwrap());
        let _ = client.signal_saga(signal(&begun.xid, b"")).await;
        let mut asking = client.clone();
        let xid = begun.xid.clone();
        let mut ended =
            tokio::spawn(async move { asking.get_saga(get(&xid, 60_000)).await.unwrap() });
        let ended = loop {
            tokio::select! {
                ended = &mut ended => break saga(ended.unwrap()),
                work = second.work() => {
                    answer(&mut second, &work, step_done("{\"no\":7}")).await;
                }
            }
        };
        assert_eq!(stands(&ended).0, TransactionStatus::Committed, "after {writes} writes");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_driven_is_refused_with_its_places() {
    let (world, _) = World::new().await;
    let mut client = sagas(&world);
    let bad = br#"{"saga":"b","version":1,"steps":[
        {"id":"a","after":["b"],"action":"x","resource":"r"},
        {"id":"b","action":"x","resource":"r","input":{"$from":"/results/c"}}]}"#;
    let define = v1::DefineSagaRequest { definition: bad.to_vec().into() };
    let reply = client.define_saga(define).await.unwrap().into_inner().result.unwrap();
    let v1::define_saga_reply::Result::Error(error) = reply else { panic!("{reply:?}") };
    assert_eq!(error.code(), ErrorCode::InvalidDefinition);
    let places: Vec<_> =
        error.faults.as_ref().unwrap().faults.iter().map(|fault| fault.place.as_str()).collect();
    assert_eq!(places, ["/steps/0", "/steps/1/input"]);

    let error = refused(client.submit_saga(inline(TRIP, "")).await.unwrap());
    assert_eq!(error.code(), ErrorCode::UnknownAction, "{}", error.message);
    let named = |name: &str, input: &[u8]| v1::SubmitSagaRequest {
        definition: Some(Definition::Saga(v1::SagaName { name: name.into(), version: 0 })),
        input: input.to_vec().into(),
        ..Default::default()
    };
    let error = refused(client.submit_saga(named("nobody", b"")).await.unwrap());
    assert_eq!(error.code(), ErrorCode::UnknownSaga);
    let error = refused(client.submit_saga(named("trip", b"{")).await.unwrap());
    assert_eq!((error.code(), error.field.as_str()), (ErrorCode::InvalidArgument, "input"));
    let large = client.submit_saga(named("trip", &vec![b' '; 10 * 1024 * 1024])).await;
    let told = large.map(|reply| refused(reply).code());
    assert!(told.is_err() || told.unwrap() == ErrorCode::InvalidArgument);
}

/// Goal: a result that is none is not taken for an answer, an operator's words are kept, and an ongoing
/// action is completed from outside.
#[tokio::test(start_paused = true)]
async fn rubbish_is_no_answer_and_a_person_has_the_last_word() {
    let (world, _) = World::new().await;
    let mut client = sagas(&world);
    let mut service = service(&world, 1).await;
    let begun = saga(client.submit_saga(inline(TRIP, "")).await.unwrap());
    let work = service.work().await;
    answer(&mut service, &work, step_done("{rubbish")).await;
    answer(&mut service, &work, Said::Done(v1::Done {})).await;
    answer(&mut service, &work, Said::StepOngoing(v1::StepOngoing { ask_after_ms: 0 })).await;
    let say = |verb: SagaVerb, step: &str| v1::OperateSagaRequest {
        xid: begun.xid.clone(),
        verb: verb.into(),
        step: step.into(),
        result: bytes::Bytes::new(),
        reason: "by hand".into(),
    };
    saga(client.operate_saga(say(SagaVerb::Pause, "")).await.unwrap());
    // Sent on another connection than the answers before it, which may come later.
    let result = b"{\"no\":1}".to_vec().into();
    let result = v1::complete_step_request::Result::Done(v1::StepDone { result });
    let complete = v1::CompleteStepRequest { token: work.token.clone(), result: Some(result) };
    while let Some(saga_reply::Result::Error(_)) =
        client.complete_step(complete.clone()).await.unwrap().into_inner().result
    {
        tokio::task::yield_now().await;
    }
    let shown = saga(client.get_saga(get(&begun.xid, 0)).await.unwrap());
    assert!(shown.paused);
    let stand = [("hotel", SagaStepState::Done), ("paid", SagaStepState::Running)];
    assert_eq!(states(&shown), stand);
    saga(client.operate_saga(say(SagaVerb::Resume, "")).await.unwrap());
    saga(client.operate_saga(say(SagaVerb::Skip, "paid")).await.unwrap());
    saga(client.operate_saga(say(SagaVerb::Force, "flight")).await.unwrap());
    let ended = saga(client.get_saga(get(&begun.xid, 5_000)).await.unwrap());
    assert_eq!(stands(&ended).0, TransactionStatus::Committed);
    let said = ended.words.iter().map(|word| (word.verb(), word.step.as_str()));
    let words = [SagaVerb::Pause, SagaVerb::Resume, SagaVerb::Skip, SagaVerb::Force];
    let words: Vec<_> = words.into_iter().zip(["", "", "paid", "flight"]).collect();
    assert_eq!(said.collect::<Vec<_>>(), words);
    let error = refused(client.operate_saga(say(SagaVerb::Skip, "hotel")).await.unwrap());
    assert_eq!(error.code(), ErrorCode::StepState);
}

/// Goal: an event counts once: before its wait has begun, again, and not any more when all is over.
#[tokio::test(start_paused = true)]
async fn the_first_event_counts_however_early() {
    let (world, _) = World::new().await;
    let mut client = sagas(&world);
    let mut service = service(&world, 1).await;
    let begun = saga(client.submit_saga(inline(TRIP, "")).await.unwrap());
    saga(client.signal_saga(signal(&begun.xid, b"\"first\"")).await.unwrap());
    saga(client.signal_saga(signal(&begun.xid, b"\"second\"")).await.unwrap());
    let nowhere = v1::SignalSagaRequest { step: "hotel".into(), ..signal(&begun.xid, b"") };
    let error = refused(client.signal_saga(nowhere).await.unwrap());
    assert_eq!(error.code(), ErrorCode::StepState);
    for _ in 0..2 {
        let work = service.work().await;
        answer(&mut service, &work, step_done("{\"no\":7}")).await;
    }
    let ended = saga(client.get_saga(get(&begun.xid, 5_000)).await.unwrap());
    assert_eq!(&ended.output[..], br#"{"by":"first","hotel":7}"#);
    let error = refused(client.signal_saga(signal(&begun.xid, b"\"late\"")).await.unwrap());
    assert_eq!(error.code(), ErrorCode::StepState);
}

/// Goal: a service starts a saga on the session that it has, and hears its end there.
#[tokio::test(start_paused = true)]
async fn a_session_submits_and_waits() {
    let (world, _) = World::new().await;
    let mut client = sagas(&world);
    let mut service = service(&world, 1).await;
    let inline = |key: &str, wait_ms| v1::SubmitSagaRequest { wait_ms, ..inline(TRIP, key) };
    let Told::Error(error) = service.ask(Ask::SubmitSaga(inline("key", 0))).await else {
        panic!("an inline definition is for unary calls")
    };
    assert_eq!((error.code(), error.field.as_str()), (ErrorCode::InvalidArgument, "inline"));

    let definition = TRIP.as_bytes().to_vec().into();
    client.define_saga(v1::DefineSagaRequest { definition }).await.unwrap();
    let named = Definition::Saga(v1::SagaName { name: "trip".into(), version: 1 });
    let submit = v1::SubmitSagaRequest { definition: Some(named), ..inline("key", 30_000) };
    let waiting = service.post(Ask::SubmitSaga(submit.clone())).await;
    let work = service.work().await;
    saga(client.signal_saga(signal(&work.xid, b"\"card\"")).await.unwrap());
    answer(&mut service, &work, step_done("{\"no\":7}")).await;
    let work = service.work().await;
    assert!(!service.has_answer(waiting), "it waits for the end");
    answer(&mut service, &work, step_done("")).await;
    let Told::Saga(ended) = service.answer(waiting).await else { panic!("a saga is told") };
    assert_eq!(stands(&ended).0, TransactionStatus::Committed);
    assert_eq!(&ended.output[..], br#"{"by":"card","hotel":7}"#);

    let Told::Saga(again) = service.ask(Ask::SubmitSaga(submit)).await else {
        panic!("a saga is told")
    };
    assert_eq!((&again.xid, stands(&again).0), (&ended.xid, TransactionStatus::Committed));
    assert!(again.output.is_empty(), "of an ended one a session hears the outcome alone");
}

/// Goal: what may have some size has it, and one byte more is refused before anything starts.
#[tokio::test(start_paused = true)]
async fn an_input_and_a_payload_have_their_limits() {
    let (world, _) = World::new().await;
    let mut client = sagas(&world);
    let _service = service(&world, 1).await;
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2)).into_bytes();
    let with = |bytes: usize| v1::SubmitSagaRequest {
        input: [br#"{"who":1,"rest":"#.to_vec(), text(bytes - 17), b"}".to_vec()].concat().into(),
        ..inline(TRIP, "")
    };
    let error = refused(client.submit_saga(with(256 * 1024 + 1)).await.unwrap());
    assert_eq!((error.code(), error.field.as_str()), (ErrorCode::InvalidArgument, "input"));
    let refused_whole = client.submit_saga(with(10 * 1024 * 1024)).await.unwrap_err();
    assert_eq!(refused_whole.code(), tonic::Code::InvalidArgument, "{refused_whole:?}");

    let begun = saga(client.submit_saga(with(256 * 1024)).await.unwrap());
    let error =
        refused(client.signal_saga(signal(&begun.xid, &text(64 * 1024 + 1))).await.unwrap());
    assert_eq!((error.code(), error.field.as_str()), (ErrorCode::InvalidArgument, "payload"));
    saga(client.signal_saga(signal(&begun.xid, &text(64 * 1024))).await.unwrap());
    let list = v1::ListTransactionsRequest::default();
    let listed = world.admin.clone().list_transactions(list).await.unwrap().into_inner();
    assert_eq!(listed.transactions.len(), 1, "what was refused left nothing");
}

/// Goal: a part is found where it is defined, and named where it is not.
#[tokio::test(start_paused = true)]
async fn a_saga_may_have_another_as_a_part() {
    let (world, _) = World::new().await;
    let mut client = sagas(&world);
    let whole = br#"{"saga":"holiday","version":1,"steps":[
        {"id":"there","saga":{"name":"trip","version":1}},
        {"id":"guide","saga":{"name":"tour","version":3}}]}"#;
    let mut define = async |json: &[u8]| {
        let definition = json.to_vec().into();
        let reply = client.define_saga(v1::DefineSagaRequest { definition }).await;
        match reply.unwrap().into_inner().result.unwrap() {
            v1::define_saga_reply::Result::Defined(key) => Ok((key.name, key.version)),
            v1::define_saga_reply::Result::Error(error) => Err(error
                .faults
                .unwrap()
                .faults
                .into_iter()
                .map(|fault| fault.place)
                .collect::<Vec<_>>()),
        }
    };
    let places = ["/steps/0/saga", "/steps/1/saga"].map(str::to_owned);
    assert_eq!(define(whole).await, Err(places.to_vec()));
    define(TRIP.as_bytes()).await.unwrap();
    assert_eq!(define(whole).await, Err(places[1..].to_vec()));
    let tour = br#"{"saga":"tour","version":3,"steps":[{"id":"a","action":"x","resource":"r"}]}"#;
    define(tour).await.unwrap();
    assert_eq!(define(whole).await, Ok(("holiday".to_owned(), 1)));
}

/// Goal: whoever watches hears where the saga stands at first, then what moved, and the end last.
#[tokio::test(start_paused = true)]
async fn a_watcher_hears_each_move_that_is_not_followed_at_once_by_another() {
    let (world, _) = World::new().await;
    let mut client = sagas(&world);
    let mut service = service(&world, 1).await;
    let begun = saga(client.submit_saga(inline(TRIP, "")).await.unwrap());
    let watch = v1::WatchSagaRequest { xid: begun.xid.clone() };
    let mut watched = client.watch_saga(watch).await.unwrap().into_inner();
    let mut next = async || {
        let reply = timeout(Duration::from_secs(9), watched.message()).await.expect("it moved");
        reply.unwrap().map(|reply| saga(tonic::Response::new(reply)))
    };
    let (running, done) = (SagaStepState::Running, SagaStepState::Done);
    assert_eq!(states(&next().await.unwrap()), [("hotel", running)]);
    let work = service.work().await;
    answer(&mut service, &work, step_done("{\"no\":7}")).await;
    let mut told = next().await.unwrap();
    let waiting = [("hotel", done), ("paid", SagaStepState::Waiting)];
    while states(&told) != waiting {
        told = next().await.unwrap();
    }
    saga(client.signal_saga(signal(&begun.xid, b"")).await.unwrap());
    let paid = [("hotel", done), ("paid", done), ("flight", running)];
    assert_eq!(states(&next().await.unwrap()), paid);
    let work = service.work().await;
    answer(&mut service, &work, step_done("")).await;
    assert_eq!(stands(&next().await.unwrap()).0, TransactionStatus::Committed);
    assert!(next().await.is_none(), "the end is the last");
}
