//! Start, drain, crash: what is answered when, and what is still true afterwards.

use std::sync::Arc;

use pactum_coordinator::store::memory::MemoryStore;
use pactum_coordinator::store::{AfterUnknown, Error, Lease, Listed, Search, Store};
use pactum_coordinator::{Embedded, Environment, Server, ServerOptions, StartError};
use pactum_core::event::IdBlock;
use pactum_core::id::{Epoch, XidNumber};
use pactum_core::recovery::Found;
use pactum_core::saga::{SagaRow, StepRow};
use pactum_core::step::Write;
use pactum_core::time::WallTime;
use pactum_core::transaction::{BranchRow, TransactionRow};
use pactum_proto::v1::client_frame::Frame as Ask;
use pactum_proto::v1::coordinator_client::CoordinatorClient;
use pactum_proto::v1::server_frame::Frame as Told;
use pactum_proto::v1::{self, ErrorCode, TransactionStatus};
use tokio::sync::Semaphore;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{
    BANK, World, bank, begin, commit, get, memory, network, outcome, refused, status,
};

/// A store that loads only when it is let.
struct Gated {
    store: MemoryStore,
    gate: Arc<Semaphore>,
}

#[async_trait::async_trait]
impl Store for Gated {
    async fn lead(&self) -> Result<Lease, Error> {
        self.store.lead().await
    }

    async fn reserve_ids(
        &self,
        epoch: Epoch,
        wall: WallTime,
        xids: u64,
        branches: u64,
    ) -> Result<(IdBlock, IdBlock), Error> {
        self.store.reserve_ids(epoch, wall, xids, branches).await
    }

    async fn write(&self, epoch: Epoch, batch: Vec<Write>) -> Result<(), Error> {
        self.store.write(epoch, batch).await
    }

    fn after_unknown(&self) -> AfterUnknown {
        self.store.after_unknown()
    }

    async fn load(&self) -> Result<Found, Error> {
        let _permit = self.gate.acquire().await.expect("the gate is never closed");
        self.store.load().await
    }

    async fn search(&self, search: Search) -> Result<Vec<Listed>, Error> {
        self.store.search(search).await
    }

    async fn transaction(
        &self,
        xid: XidNumber,
    ) -> Result<Option<(TransactionRow, Vec<BranchRow>)>, Error> {
        self.store.transaction(xid).await
    }

    async fn saga(&self, xid: XidNumber) -> Result<Option<(SagaRow, Vec<StepRow>)>, Error> {
        self.store.saga(xid).await
    }
}

async fn health(channel: &Channel) -> ServingStatus {
    let request = HealthCheckRequest { service: "pactum.v1.Coordinator".into() };
    HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner().status()
}

/// Goal: nothing is answered before the group is loaded. Method: a store that does not load.
#[tokio::test(start_paused = true)]
async fn nothing_is_answered_before_the_group_is_loaded() {
    let gate = Arc::new(Semaphore::new(0));
    let store = Arc::new(Gated { store: memory(), gate: gate.clone() });
    let (channel, incoming) = network();
    let options = ServerOptions::default();
    let starting = tokio::spawn(Server::start_on(Environment::system(), options, store, incoming));
    assert_eq!(health(&channel).await, ServingStatus::NotServing);
    let mut client = CoordinatorClient::new(channel.clone());
    let reply = client.begin(begin()).await.unwrap().into_inner();
    let Some(v1::begin_reply::Result::Error(error)) = reply.result else { panic!("{reply:?}") };
    assert_eq!(error.code(), ErrorCode::Unavailable);
    let session = client.session(tokio_stream::pending()).await.unwrap_err();
    assert_eq!(session.code(), Code::Unavailable);
    assert!(!starting.is_finished());

    gate.add_permits(1);
    let server = starting.await.unwrap().unwrap();
    let world = World::reached_by(server, channel);
    world.session(1).await.begin().await;
    while health(&world.channel).await != ServingStatus::Serving {
        tokio::task::yield_now().await;
    }
}

/// Goal: a drain finishes what is under way and begins nothing. Method: a wait for keys is under way
/// when the drain starts.
#[tokio::test(start_paused = true)]
async fn a_drain_finishes_what_is_under_way() {
    let (world, faults) = World::new().await;
    let mut session = world.bank(1).await;
    let (first, second) = (session.begin().await, session.begin().await);
    session.branch(&first, 1).await;
    let waiting = v1::RegisterRequest { wait_ms: 60_000, ..session.registration(&second, 1) };
    let waiting = session.post(Ask::Register(waiting)).await;
    crate::session::until(&world, |summary| summary.waiters == 1).await;

    let World { server, channel, .. } = world;
    let drained = tokio::spawn(server.drain());
    while !matches!(session.next().await.unwrap().frame, Some(Told::Goodbye(_))) {}
    let error = refused(session.ask(Ask::Begin(begin())).await);
    assert_eq!(error.code(), ErrorCode::Unavailable);
    while health(&channel).await != ServingStatus::NotServing {
        tokio::task::yield_now().await;
    }
    let mut late = CoordinatorClient::new(channel.clone());
    let refusal = late.session(tokio_stream::pending()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable, "nobody comes to stay");
    let decided = status(session.ask(Ask::Commit(commit(&first))).await).0;
    assert_eq!(decided, TransactionStatus::Committing);
    assert!(matches!(session.answer(waiting).await, Told::Registered(_)));
    assert_eq!(session.next().await.unwrap_err().code(), Code::Unavailable);
    drop(session);
    drained.await.unwrap().unwrap();
    assert!(faults.writes() >= 3);
}

/// A drain does not wait for ever; who still waits hears that nobody knows.
#[tokio::test(start_paused = true)]
async fn a_drain_ends_in_time() {
    let drain_max = std::time::Duration::from_secs(1);
    let (world, faults) = World::with(ServerOptions { drain_max, ..Default::default() }).await;
    let mut session = world.bank(1).await;
    let xid = session.begin().await;
    session.branch(&xid, 1).await;
    let check = v1::CheckRequest {
        resource_id: BANK.into(),
        locks: vec![crate::support::lock(1)],
        wait_ms: 60_000,
        ..Default::default()
    };
    let waiting = session.post(Ask::Check(check)).await;
    crate::session::until(&world, |summary| summary.waiters == 1).await;
    let World { server, .. } = world;
    let drained = tokio::spawn(server.drain());
    let error = refused(session.answer(waiting).await);
    assert_eq!(error.code(), ErrorCode::OutcomeUnknown);
    drained.await.unwrap().unwrap();
    assert!(faults.writes() >= 2);
}

/// Goal: a drain that has nobody to wait for takes no time: each of its tasks ends by itself.
#[tokio::test(start_paused = true)]
async fn an_idle_server_drains_at_once() {
    let (world, _faults) = World::new().await;
    let World { server, .. } = world;
    let since = tokio::time::Instant::now();
    server.drain().await.unwrap();
    assert!(since.elapsed() < std::time::Duration::from_millis(500), "{:?}", since.elapsed());
}

/// Goal: what was acknowledged survives a crash, and phase two is finished after it. Method: over
/// real sockets, kill between the decision and phase two, restart on the same address.
#[tokio::test]
async fn a_crash_between_decision_and_phase_two_is_recovered() {
    let mut coordinator = Embedded::builder().store(Arc::new(memory())).start().await.unwrap();
    let mut client = dial(&coordinator);
    let attached = attach(&mut client).await;
    let reply = client.begin(begin()).await.unwrap().into_inner();
    let Some(v1::begin_reply::Result::Begun(begun)) = reply.result else { panic!("begun") };
    let branch_id = attached.branch_ids.unwrap().first;
    let attachment_id = attached.attachment_id;
    let registration = crate::support::registration(&begun.xid, branch_id, 1);
    let registration = v1::RegisterRequest { attachment_id, ..registration };
    client.register(registration).await.unwrap();
    let commit = v1::CommitRequest { done_branch_ids: vec![branch_id], ..commit(&begun.xid) };
    let decided = outcome(client.commit(commit.clone()).await.unwrap().into_inner());
    assert_eq!(decided, Ok(TransactionStatus::Committing));

    coordinator.kill().await;
    client.get(get(&begun.xid)).await.unwrap_err();
    coordinator.restart().await.unwrap();

    let mut client = dial(&coordinator);
    let again = outcome(client.commit(commit).await.unwrap().into_inner());
    assert_eq!(again, Ok(TransactionStatus::Committing), "it is never decided twice");
    let attached = attach(&mut client).await;
    assert!(attached.branch_ids.unwrap().first > branch_id, "ids are never handed out twice");
    let attachment_id = attached.attachment_id;
    let take =
        v1::TakeWorkRequest { attachment_id: attachment_id.clone(), max: 10, wait_ms: 30_000 };
    let work = client.take_work(take).await.unwrap().into_inner().work;
    assert_eq!((work[0].kind(), work[0].branch_id), (v1::WorkKind::Commit, branch_id));
    let results = vec![crate::support::done(&work[0])];
    client.report_work(v1::ReportWorkRequest { attachment_id, results }).await.unwrap();
    let ended = outcome(client.get(get(&begun.xid)).await.unwrap().into_inner());
    assert_eq!(ended, Ok(TransactionStatus::Committed));
    coordinator.stop().await;
}

fn dial(coordinator: &Embedded) -> CoordinatorClient<Channel> {
    let endpoint = Channel::from_shared(coordinator.url()).unwrap();
    CoordinatorClient::new(endpoint.connect_lazy())
}

async fn attach(client: &mut CoordinatorClient<Channel>) -> v1::Attached {
    let request = v1::AttachRequest {
        node_id: vec![1; 16].into(),
        resources: vec![bank()],
        protocol_version: pactum_proto::PROTOCOL_VERSION,
        agent_version: String::new(),
    };
    match client.attach(request).await.unwrap().into_inner().result.unwrap() {
        v1::attach_reply::Result::Attached(attached) => attached,
        v1::attach_reply::Result::Error(error) => panic!("{error:?}"),
    }
}

/// The embedded default keeps its promises over a crash as well; here its writes have a thread of
/// their own, as in a server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_on_sqlite_loses_nothing_that_was_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Embedded::builder().data_dir(dir.path()).start().await.unwrap();
    let mut client = dial(&coordinator);
    let attached = attach(&mut client).await;
    let reply = client.begin(begin()).await.unwrap().into_inner();
    let Some(v1::begin_reply::Result::Begun(begun)) = reply.result else { panic!("begun") };
    let store_id = begun.store_id.clone();
    let branch_id = attached.branch_ids.unwrap().first;
    let (attachment_id, registration) =
        (attached.attachment_id, crate::support::registration(&begun.xid, branch_id, 1));
    let registration =
        v1::RegisterRequest { attachment_id, store_id: store_id.clone(), ..registration };
    let registered = client.register(registration).await.unwrap().into_inner().result;
    assert!(matches!(registered, Some(v1::register_reply::Result::Registered(_))));
    let request =
        v1::RollbackRequest { store_id: store_id.clone(), ..crate::support::rollback(&begun.xid) };
    let decided = outcome(client.rollback(request.clone()).await.unwrap().into_inner());
    assert_eq!(decided, Ok(TransactionStatus::RollingBack));
    coordinator.restart().await.unwrap();
    let mut client = dial(&coordinator);
    let stands = v1::GetRequest { store_id, ..get(&begun.xid) };
    let stands = outcome(client.get(stands).await.unwrap().into_inner());
    assert_eq!(stands, Ok(TransactionStatus::RollingBack));
    coordinator.stop().await;
}

#[tokio::test]
async fn a_taken_address_and_wrong_options_are_told() {
    let first = Embedded::start().await.unwrap();
    let options = ServerOptions { listen: first.address(), ..Default::default() };
    let error = Server::start(options, first.store()).await.unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }), "{error:?}");
    let mut options = ServerOptions::default();
    options.session.request_window = 0;
    options.attachment.take_max = 0;
    let error = Server::start(options, Arc::new(memory())).await.unwrap_err();
    let StartError::Options(problems) = &error else { panic!("{error:?}") };
    assert_eq!(problems.len(), 2);
    assert!(error.to_string().contains("session.request_window"));
}
