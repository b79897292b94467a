//! A coordinator in memory, a store that can be held and made to fail, and clients.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use pactum_coordinator::store::memory::{Faults, MemoryStore};
use pactum_coordinator::store::{Seed, Store};
use pactum_coordinator::{Environment, Server, ServerOptions};
use pactum_core::id::StoreId;
use pactum_core::lock::key::{KeyKind, KeyValue, LockKey};
use pactum_core::time::WallTime;
use pactum_proto::v1;
use pactum_proto::v1::admin_client::AdminClient;
use pactum_proto::v1::client_frame::Frame as Ask;
use pactum_proto::v1::coordinator_client::CoordinatorClient;
use pactum_proto::v1::server_frame::Frame as Told;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tower::service_fn;

pub(crate) const BANK: &str = "bank-a";
const WALL: WallTime = WallTime(1_700_000_000_000);

/// A coordinator and the way to it.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) channel: Channel,
    pub(crate) client: CoordinatorClient<Channel>,
    pub(crate) admin: AdminClient<Channel>,
}

pub(crate) fn memory() -> MemoryStore {
    MemoryStore::new(Seed { store_id: StoreId(77), created_at: WALL })
}

pub(crate) fn store_id() -> bytes::Bytes {
    StoreId(77).to_bytes().to_vec().into()
}

/// A clock that stands and dice that count.
fn environment() -> Environment {
    let rolls = std::sync::atomic::AtomicU64::new(1);
    Environment::new(
        || WALL,
        move || u128::from(rolls.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
    )
}

/// Connections in memory: a channel to dial with, and what the server accepts.
pub(crate) fn network() -> (Channel, UnboundedReceiverStream<io::Result<DuplexStream>>) {
    let (dialled, accepted) = mpsc::unbounded_channel();
    let dial = service_fn(move |_| {
        let dialled = dialled.clone();
        async move {
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            dialled.send(Ok(theirs)).map_err(|_| io::Error::other("the server is gone"))?;
            Ok::<_, io::Error>(TokioIo::new(ours))
        }
    });
    let channel = Endpoint::from_static("http://in.memory").connect_with_connector_lazy(dial);
    (channel, UnboundedReceiverStream::new(accepted))
}

impl World {
    pub(crate) async fn new() -> (World, Faults) {
        World::with(ServerOptions::default()).await
    }

    pub(crate) async fn with(options: ServerOptions) -> (World, Faults) {
        let store = memory();
        let faults = store.faults();
        (World::on(options, Arc::new(store)).await, faults)
    }

    pub(crate) async fn on(options: ServerOptions, store: Arc<dyn Store>) -> World {
        let (channel, incoming) = network();
        let server = Server::start_on(environment(), options, store, incoming).await.unwrap();
        World::reached_by(server, channel)
    }

    pub(crate) fn reached_by(server: Server, channel: Channel) -> World {
        let client = CoordinatorClient::new(channel.clone());
        let admin = AdminClient::new(channel.clone());
        World { server, channel, client, admin }
    }

    /// An open session of this node.
    pub(crate) async fn session(&self, node: u128) -> Session {
        let mut session = self.silent_session().await;
        let hello = v1::Hello {
            protocol_version: pactum_proto::PROTOCOL_VERSION,
            agent_version: "test".into(),
            node_id: node.to_be_bytes().to_vec().into(),
            capabilities: Vec::new(),
        };
        session.send(1, Ask::Hello(hello)).await;
        match session.answer(1).await {
            Told::Welcome(welcome) => session.next_branch = welcome.branch_ids.unwrap().first,
            other => panic!("no welcome: {other:?}"),
        }
        session
    }

    /// An open session of this node that works on the bank.
    pub(crate) async fn bank(&self, node: u128) -> Session {
        let mut session = self.session(node).await;
        let answer = session.ask(Ask::Attach(bank())).await;
        assert!(matches!(answer, Told::Attached(_)), "{answer:?}");
        session
    }

    /// A stream on which nothing was said.
    pub(crate) async fn silent_session(&self) -> Session {
        let (sender, outgoing) = mpsc::channel(64);
        let stream = self.client.clone().session(ReceiverStream::new(outgoing)).await.unwrap();
        let incoming = stream.into_inner();
        let (last, next_branch) = (1, 0);
        Session { sender, incoming, told: VecDeque::new(), last, next_branch }
    }
}

/// The client's side of a session.
pub(crate) struct Session {
    sender: mpsc::Sender<v1::ClientBatch>,
    incoming: Streaming<v1::ServerBatch>,
    /// What was received and not asked for yet.
    told: VecDeque<v1::ServerFrame>,
    last: u64,
    next_branch: u64,
}

impl Session {
    pub(crate) async fn send(&mut self, correlation: u64, frame: Ask) {
        self.send_all(vec![(correlation, frame)]).await;
    }

    /// All in one message.
    pub(crate) async fn send_all(&mut self, frames: Vec<(u64, Ask)>) {
        let frames = frames.into_iter();
        let frames =
            frames.map(|(correlation, frame)| v1::ClientFrame { correlation, frame: Some(frame) });
        let batch = v1::ClientBatch { frames: frames.collect() };
        // A server that ended the stream takes nothing more; the test sees that by what it hears.
        let _ = self.sender.send(batch).await;
    }

    /// Sends a request without waiting for its answer.
    pub(crate) async fn post(&mut self, frame: Ask) -> u64 {
        self.last += 1;
        self.send(self.last, frame).await;
        self.last
    }

    pub(crate) async fn ask(&mut self, frame: Ask) -> Told {
        let correlation = self.post(frame).await;
        self.answer(correlation).await
    }

    /// The next frame, in order; the status if the stream ended, `Ok` if cleanly.
    pub(crate) async fn next(&mut self) -> Result<v1::ServerFrame, Status> {
        loop {
            if let Some(frame) = self.told.pop_front() {
                return Ok(frame);
            }
            match self.incoming.message().await? {
                Some(batch) => self.told.extend(batch.frames),
                None => return Err(Status::ok("the stream ended")),
            }
        }
    }

    /// The answer to a request. Other frames stay.
    pub(crate) async fn answer(&mut self, correlation: u64) -> Told {
        let mut seen = 0;
        loop {
            while seen == self.told.len() {
                match self.incoming.message().await {
                    Ok(Some(batch)) => self.told.extend(batch.frames),
                    ended => panic!("the stream ended before answer {correlation}: {ended:?}"),
                }
            }
            if self.told[seen].correlation == correlation {
                return self.told.remove(seen).unwrap().frame.unwrap();
            }
            seen += 1;
        }
    }

    /// Whether a request was answered, as far as frames were received.
    pub(crate) fn has_answer(&self, correlation: u64) -> bool {
        self.told.iter().any(|frame| frame.correlation == correlation)
    }

    /// The next piece of work.
    pub(crate) async fn work(&mut self) -> v1::Work {
        loop {
            if let Some(Told::Work(work)) = self.next().await.unwrap().frame {
                return work;
            }
        }
    }

    pub(crate) async fn begin(&mut self) -> String {
        match self.ask(Ask::Begin(begin())).await {
            Told::Begun(begun) => begun.xid,
            other => panic!("not begun: {other:?}"),
        }
    }

    pub(crate) fn registration(&mut self, xid: &str, account: i64) -> v1::RegisterRequest {
        self.next_branch += 1;
        registration(xid, self.next_branch, account)
    }

    /// A registered branch on this account, with phase one reported as done.
    pub(crate) async fn branch(&mut self, xid: &str, account: i64) -> u64 {
        let registration = self.registration(xid, account);
        let branch_id = registration.branch_id;
        let answer = self.ask(Ask::Register(registration)).await;
        assert!(matches!(answer, Told::Registered(_)), "{answer:?}");
        let done = v1::PhaseOneReport {
            xid: xid.to_owned(),
            store_id: store_id(),
            branch_id,
            result: v1::PhaseOneResult::Done.into(),
            resource_id: BANK.into(),
        };
        self.send(0, Ask::PhaseOne(done)).await;
        branch_id
    }

    /// Grants credits and answers one piece of work with `done`.
    pub(crate) async fn do_work(&mut self) -> v1::Work {
        self.send(0, Ask::Credit(v1::Credit { work: 1 })).await;
        let work = self.work().await;
        self.send(0, Ask::WorkResult(done(&work))).await;
        work
    }
}

pub(crate) fn bank() -> v1::Resource {
    v1::Resource {
        resource_id: BANK.into(),
        kind: v1::ResourceKind::Database.into(),
        resource_uid: vec![5; 16].into(),
        actions: Vec::new(),
    }
}

pub(crate) fn begin() -> v1::BeginRequest {
    v1::BeginRequest { name: "transfer".into(), timeout_ms: 60_000, ..Default::default() }
}

pub(crate) fn commit(xid: &str) -> v1::CommitRequest {
    let wait = v1::Wait::Decided.into();
    v1::CommitRequest { xid: xid.into(), store_id: store_id(), wait, ..Default::default() }
}

pub(crate) fn rollback(xid: &str) -> v1::RollbackRequest {
    let wait = v1::Wait::Decided.into();
    v1::RollbackRequest { xid: xid.into(), store_id: store_id(), wait }
}

pub(crate) fn get(xid: &str) -> v1::GetRequest {
    let wait = v1::Wait::Decided.into();
    v1::GetRequest { xid: xid.into(), store_id: store_id(), wait }
}

pub(crate) fn lock(account: i64) -> v1::Lock {
    let (table, values) = ("account".to_owned(), vec![KeyValue::Integer(account)]);
    let key = LockKey { table, kind: KeyKind::Row, values }.encode().unwrap();
    let key = bytes::Bytes::copy_from_slice(key.as_bytes());
    v1::Lock { key, mode: v1::LockMode::Exclusive.into() }
}

pub(crate) fn registration(xid: &str, branch_id: u64, account: i64) -> v1::RegisterRequest {
    v1::RegisterRequest {
        xid: xid.to_owned(),
        store_id: store_id(),
        branch_id,
        resource_id: BANK.into(),
        mode: v1::BranchMode::At.into(),
        locks: vec![lock(account)],
        ..Default::default()
    }
}

pub(crate) fn done(work: &v1::Work) -> v1::WorkResult {
    v1::WorkResult {
        xid: work.xid.clone(),
        branch_id: work.branch_id,
        kind: work.kind,
        result: Some(v1::work_result::Result::Done(v1::Done {})),
    }
}

#[track_caller]
pub(crate) fn refused(told: Told) -> v1::Error {
    match told {
        Told::Error(error) => error,
        other => panic!("not refused: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn status(told: Told) -> (v1::TransactionStatus, v1::RollbackCause) {
    match told {
        Told::Outcome(outcome) => (outcome.status(), outcome.cause()),
        other => panic!("no outcome: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn outcome(reply: v1::OutcomeReply) -> Result<v1::TransactionStatus, v1::Error> {
    match reply.result.unwrap() {
        v1::outcome_reply::Result::Outcome(outcome) => Ok(outcome.status()),
        v1::outcome_reply::Result::Error(error) => Err(error),
    }
}
