//! A coordinator whose every word is said by the test, behind the real wire in memory.
//!
//! The stream is a `tokio::io::duplex`, so with a paused clock time moves only when everything waits:
//! back-offs and heartbeats cost nothing, and happen in one order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use pactum_proto::v1;
use pactum_proto::v1::client_frame::Frame as Request;
use pactum_proto::v1::coordinator_server::{Coordinator, CoordinatorServer};
use pactum_proto::v1::server_frame::Frame as Answer;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Response, Status, Streaming};

use crate::session::environment::{Dial, Environment};
use crate::session::{CallError, Session};
use crate::{Agent, AgentOptions};

pub(crate) const STORE: u128 = 0x5707;
pub(crate) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);

/// The coordinator's end of all sessions.
pub(crate) struct Fake {
    streams: mpsc::UnboundedReceiver<FakeStream>,
    reachable: Arc<AtomicBool>,
}

/// The coordinator's end of one session. Dropped, the stream ends.
pub(crate) struct FakeStream {
    incoming: Streaming<v1::ClientBatch>,
    outgoing: mpsc::UnboundedSender<Result<v1::ServerBatch, Status>>,
    read: VecDeque<v1::ClientFrame>,
}

impl Fake {
    /// A coordinator, and the environment in which it is found.
    pub(crate) fn new() -> (Self, Environment) {
        let (connections, accepted) = mpsc::unbounded_channel();
        let (opened, streams) = mpsc::unbounded_channel();
        let accepted = UnboundedReceiverStream::new(accepted);
        let service = CoordinatorServer::new(Service { opened });
        let server = Server::builder().add_service(service).serve_with_incoming(accepted);
        tokio::spawn(server);
        let reachable = Arc::new(AtomicBool::new(true));
        let dial = FakeDial { connections, reachable: Arc::clone(&reachable) };
        (Fake { streams, reachable }, Environment::seeded(dial, 7))
    }

    /// A session whose stream is up, without resources.
    pub(crate) async fn session() -> (Self, FakeStream, Session) {
        let (mut fake, environment) = Fake::new();
        let session = Session::start(environment, ANSWER_WAIT_MAX);
        let stream = fake.welcomed().await;
        session.connected(Duration::from_secs(1)).await.unwrap();
        (fake, stream, session)
    }

    /// An agent whose stream is up, without resources.
    pub(crate) async fn agent() -> (Self, FakeStream, Agent) {
        let (mut fake, environment) = Fake::new();
        let options = AgentOptions {
            answer_wait_max: ANSWER_WAIT_MAX,
            ..AgentOptions::new("http://in-memory")
        };
        let (agent, stream) =
            tokio::join!(Agent::connect_in(environment, options), fake.welcomed());
        (fake, stream, agent.unwrap())
    }

    /// Whether new connections come through.
    pub(crate) fn set_reachable(&self, reachable: bool) {
        self.reachable.store(reachable, Ordering::SeqCst);
    }

    /// The next session, up to its Hello.
    pub(crate) async fn hello(&mut self) -> FakeStream {
        let mut stream = self.streams.recv().await.expect("the service lives as long as this");
        let (_, hello) = stream.next().await;
        assert!(matches!(hello, Request::Hello(_)), "the first frame is {hello:?}");
        stream
    }

    /// The next session, up to its Welcome.
    pub(crate) async fn welcomed(&mut self) -> FakeStream {
        self.welcomed_with(|_| {}).await
    }

    /// The same, with a Welcome of the test's own.
    pub(crate) async fn welcomed_with(
        &mut self,
        change: impl FnOnce(&mut v1::Welcome),
    ) -> FakeStream {
        let stream = self.hello().await;
        let mut welcome = v1::Welcome {
            protocol_version: pactum_proto::PROTOCOL_VERSION,
            store_id: STORE.to_be_bytes().to_vec().into(),
            epoch: 1,
            group: "g".to_owned(),
            request_window: 64,
            heartbeat_ms: 60_000,
            branch_ids: Some(v1::IdBlock { first: 100, end: 1_000 }),
            coordinator_version: "0".to_owned(),
            // So every begin is asked for, unless a test says otherwise.
            transaction_timeout_max_ms: 0,
        };
        change(&mut welcome);
        stream.send(0, Answer::Welcome(welcome));
        stream
    }
}

impl FakeStream {
    /// The next frame but heartbeats and credits, with its correlation.
    #[track_caller]
    pub(crate) fn next(&mut self) -> impl Future<Output = (u64, Request)> {
        let caller = std::panic::Location::caller();
        async move {
            loop {
                match self.next_of_all().await {
                    Some((_, Request::Credit(_) | Request::Ping(_))) => {}
                    Some(frame) => return frame,
                    None => panic!("the agent ended the stream, asked for a frame at {caller}"),
                }
            }
        }
    }

    /// The next frame of any kind; `None` once the agent has ended the stream.
    pub(crate) async fn next_of_all(&mut self) -> Option<(u64, Request)> {
        while self.read.is_empty() {
            let batch = tokio::time::timeout(Duration::from_secs(600), self.incoming.message());
            let batch = batch.await.expect("no frame came from the agent");
            self.read.extend(batch.ok().flatten()?.frames);
        }
        let frame = self.read.pop_front()?;
        Some((frame.correlation, frame.frame.expect("the agent sends no empty frames")))
    }

    /// The frames that come while nothing more is said: all that the agent sends by itself.
    pub(crate) async fn until_quiet(&mut self) -> Vec<Request> {
        let mut frames = Vec::new();
        let quiet = Duration::from_millis(20);
        while let Ok(Some((_, frame))) = tokio::time::timeout(quiet, self.next_of_all()).await {
            frames.push(frame);
        }
        frames.retain(|frame| !matches!(frame, Request::Credit(_) | Request::Ping(_)));
        frames
    }

    pub(crate) fn send(&self, correlation: u64, answer: Answer) {
        let frames = vec![v1::ServerFrame { correlation, frame: Some(answer) }];
        // An agent that has gone hears nothing.
        let _ = self.outgoing.send(Ok(v1::ServerBatch { frames }));
    }

    /// Answers the next request, which must be a begin; names the transaction `g:<number>`.
    pub(crate) async fn begin(&mut self, number: u64) -> v1::BeginRequest {
        let (correlation, Request::Begin(begin)) = self.next().await else {
            panic!("expected a begin")
        };
        self.send(correlation, Answer::Begun(begun(number, begin.timeout_ms)));
        begin
    }

    /// Answers the next request, which must be an attach.
    pub(crate) async fn attach(&mut self) -> v1::Resource {
        let (correlation, Request::Attach(resource)) = self.next().await else {
            panic!("expected an attach")
        };
        let resource_id = resource.resource_id.clone();
        self.send(correlation, Answer::Attached(v1::ResourceAttached { resource_id }));
        resource
    }
}

pub(crate) fn begun(number: u64, remaining_ms: u64) -> v1::Begun {
    let store_id = STORE.to_be_bytes().to_vec().into();
    v1::Begun { xid: format!("g:{number}"), store_id, remaining_ms }
}

pub(crate) fn outcome(status: v1::TransactionStatus, cause: v1::RollbackCause) -> Answer {
    Answer::Outcome(v1::Outcome { status: status.into(), cause: cause.into(), parked: 0 })
}

pub(crate) fn committed() -> Answer {
    outcome(v1::TransactionStatus::Committed, v1::RollbackCause::Unspecified)
}

pub(crate) fn rolled_back(cause: v1::RollbackCause) -> Answer {
    outcome(v1::TransactionStatus::RolledBack, cause)
}

pub(crate) fn error(code: v1::ErrorCode) -> Answer {
    let message = format!("refused with {code:?}");
    Answer::Error(v1::Error { code: code.into(), message, ..v1::Error::default() })
}

#[track_caller]
pub(crate) fn assert_no_answer<T: std::fmt::Debug>(result: Result<T, CallError>) {
    assert!(matches!(result, Err(CallError::NoAnswer(_))), "{result:?}");
}

struct FakeDial {
    connections: mpsc::UnboundedSender<Result<DuplexStream, std::io::Error>>,
    reachable: Arc<AtomicBool>,
}

#[async_trait::async_trait]
impl Dial for FakeDial {
    async fn dial(&self) -> Result<Channel, tonic::transport::Error> {
        let connections = self.connections.clone();
        let reachable = self.reachable.load(Ordering::SeqCst);
        let connect = tower::service_fn(move |_uri: http::Uri| {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let sent = reachable && connections.send(Ok(theirs)).is_ok();
            async move {
                if sent {
                    Ok(TokioIo::new(ours))
                } else {
                    Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused))
                }
            }
        });
        Endpoint::from_static("http://in-memory").connect_with_connector(connect).await
    }
}

struct Service {
    opened: mpsc::UnboundedSender<FakeStream>,
}

macro_rules! not_scripted {
    ($($method:ident($request:ty) -> $reply:ty;)*) => {
        #[tonic::async_trait]
        impl Coordinator for Service {
            type SessionStream = UnboundedReceiverStream<Result<v1::ServerBatch, Status>>;

            async fn session(
                &self,
                request: tonic::Request<Streaming<v1::ClientBatch>>,
            ) -> Result<Response<Self::SessionStream>, Status> {
                let (outgoing, answers) = mpsc::unbounded_channel();
                let incoming = request.into_inner();
                let stream = FakeStream { incoming, outgoing, read: VecDeque::new() };
                self.opened.send(stream).map_err(|_| Status::unavailable("the test is over"))?;
                Ok(Response::new(UnboundedReceiverStream::new(answers)))
            }

            $(async fn $method(
                &self,
                _request: tonic::Request<$request>,
            ) -> Result<Response<$reply>, Status> {
                Err(Status::unimplemented("the agent speaks on its stream"))
            })*
        }
    };
}

not_scripted! {
    begin(v1::BeginRequest) -> v1::BeginReply;
    commit(v1::CommitRequest) -> v1::OutcomeReply;
    rollback(v1::RollbackRequest) -> v1::OutcomeReply;
    veto(v1::VetoRequest) -> v1::OutcomeReply;
    rollback_scope(v1::RollbackScopeRequest) -> v1::ScopeReply;
    can_commit(v1::CanCommitRequest) -> v1::CanCommitReply;
    get(v1::GetRequest) -> v1::OutcomeReply;
    register(v1::RegisterRequest) -> v1::RegisterReply;
    report_phase_one(v1::PhaseOneReport) -> v1::PhaseOneReply;
    attach(v1::AttachRequest) -> v1::AttachReply;
    take_work(v1::TakeWorkRequest) -> v1::TakeWorkReply;
    report_work(v1::ReportWorkRequest) -> v1::ReportWorkReply;
}
