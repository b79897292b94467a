//! The bare limit of the wire: a server that answers every frame at once, from nothing.
//!
//! The client, its frames, their contents and their number are those of the real run; so is the
//! stream. What is missing is everything that a coordinator does between a frame and its answer.

use std::pin::Pin;

use anyhow::{Context as _, Result};
use pactum_proto::v1::client_frame::Frame as Request;
use pactum_proto::v1::coordinator_server::{Coordinator, CoordinatorServer};
use pactum_proto::v1::server_frame::Frame as Answer;
use pactum_proto::v1::{self, ClientBatch, ServerBatch, ServerFrame};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::server::TcpIncoming;
use tonic::{Response, Status, Streaming};

use crate::child;

const XID: &str = "default:1888888888888888888";
/// A saga's XID ends with the correlation of its submission, so that its steps find it.
const XID_OF_SAGA: &str = "default:18888888888888";
const STORE: [u8; 16] = [7; 16];

/// Runs until its standard input ends.
pub(crate) fn run() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    let server = runtime.block_on(async {
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).context("bind a port")?;
        let incoming = incoming.with_nodelay(Some(true));
        let address = incoming.local_addr().context("read the port")?;
        let server = tonic::transport::Server::builder().add_service(CoordinatorServer::new(Echo));
        let serving = tokio::spawn(server.serve_with_incoming(incoming));
        child::say_listening(&format!("http://{address}")).map(|()| serving)
    })?;
    child::answer_lines(|_| String::new())?;
    server.abort();
    Ok(())
}

struct Echo;

fn answers(batch: ClientBatch) -> ServerBatch {
    let mut frames = Vec::with_capacity(batch.frames.len() * 2);
    for frame in batch.frames {
        let answer = match frame.frame {
            Some(Request::Commit(commit)) => {
                frames
                    .extend(commit.done_branch_ids.iter().map(|branch| work(&commit.xid, *branch)));
                Some(Answer::Outcome(v1::Outcome {
                    status: v1::TransactionStatus::Committed.into(),
                    ..v1::Outcome::default()
                }))
            }
            Some(Request::SubmitSaga(_)) => {
                let xid = XID_OF_SAGA.to_owned() + &frame.correlation.to_string();
                frames.push(act(xid, 1));
                None
            }
            Some(Request::WorkResult(result)) if result.kind() == v1::WorkKind::Act => {
                frames.push(acted(result));
                None
            }
            Some(request) => answer(request),
            None => None,
        };
        if answer.is_some() {
            frames.push(ServerFrame { correlation: frame.correlation, frame: answer });
        }
    }
    ServerBatch { frames }
}

/// One-way frames have none.
fn answer(request: Request) -> Option<Answer> {
    match request {
        Request::Hello(_) => Some(Answer::Welcome(v1::Welcome {
            protocol_version: pactum_proto::PROTOCOL_VERSION,
            store_id: STORE.to_vec().into(),
            epoch: 1,
            group: "default".to_owned(),
            request_window: 1 << 20,
            heartbeat_ms: 5_000,
            branch_ids: Some(ids()),
            ..v1::Welcome::default()
        })),
        Request::Attach(resource) => {
            Some(Answer::Attached(v1::ResourceAttached { resource_id: resource.resource_id }))
        }
        Request::BranchIds(_) => Some(Answer::BranchIds(ids())),
        Request::Begin(begin) => Some(Answer::Begun(v1::Begun {
            xid: XID.to_owned(),
            store_id: STORE.to_vec().into(),
            remaining_ms: begin.timeout_ms,
        })),
        Request::Register(_) => Some(Answer::Registered(v1::Registered { sequence: 1 })),
        Request::Commit(_)
        | Request::Rollback(_)
        | Request::RollbackScope(_)
        | Request::CanCommit(_)
        | Request::SubmitSaga(_)
        | Request::Veto(_)
        | Request::Get(_)
        | Request::Claim(_)
        | Request::Check(_)
        | Request::PhaseOne(_)
        | Request::WorkResult(_)
        | Request::Ping(_)
        | Request::CancelWait(_)
        | Request::Credit(_)
        | Request::ReleaseClaim(_)
        | Request::Xids(_)
        | Request::NamedBegin(_) => None,
    }
}

fn ids() -> v1::IdBlock {
    v1::IdBlock { first: 1 << 20, end: 1 << 40 }
}

fn work(xid: &str, branch_id: u64) -> ServerFrame {
    let work = v1::Work {
        kind: v1::WorkKind::Commit.into(),
        xid: xid.to_owned(),
        branch_id,
        resource_id: crate::client::resource_id(0),
        mode: v1::BranchMode::At.into(),
        attempt: 1,
        ..v1::Work::default()
    };
    ServerFrame { correlation: 0, frame: Some(Answer::Work(work)) }
}

/// The next step of a saga of two, or its answer.
fn acted(result: v1::WorkResult) -> ServerFrame {
    if result.branch_id == 1 {
        return act(result.xid, 2);
    }
    let correlation = result.xid.strip_prefix(XID_OF_SAGA).and_then(|rest| rest.parse().ok());
    let saga = v1::Saga {
        xid: result.xid,
        store_id: STORE.to_vec().into(),
        saga: Some(v1::SagaName { name: "two".to_owned(), version: 1 }),
        outcome: Some(v1::Outcome {
            status: v1::TransactionStatus::Committed.into(),
            ..v1::Outcome::default()
        }),
        output: b"null".to_vec().into(),
        ..v1::Saga::default()
    };
    let frame = Some(Answer::Saga(saga));
    ServerFrame { correlation: correlation.unwrap_or_default(), frame }
}

fn act(xid: String, branch_id: u64) -> ServerFrame {
    let work = v1::Work {
        kind: v1::WorkKind::Act.into(),
        token: format!("{xid}/{branch_id}"),
        xid,
        branch_id,
        resource_id: crate::saga::SERVICE.to_owned(),
        mode: v1::BranchMode::Saga.into(),
        attempt: 1,
        action: crate::saga::ACTION.to_owned(),
        payload: b"null".to_vec().into(),
        timeout_ms: 30_000,
        ..v1::Work::default()
    };
    ServerFrame { correlation: 0, frame: Some(Answer::Work(work)) }
}

type Unary<T> = Result<Response<T>, Status>;

fn absent<T>() -> Unary<T> {
    Err(Status::unimplemented("this server only echoes the session stream"))
}

#[tonic::async_trait]
impl Coordinator for Echo {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<ServerBatch, Status>> + Send>>;

    async fn session(
        &self,
        request: tonic::Request<Streaming<ClientBatch>>,
    ) -> Unary<Self::SessionStream> {
        let echoed = request.into_inner().map(|batch| batch.map(answers));
        // A batch of one-way frames only has no answer.
        let told =
            echoed.filter(|batch| !batch.as_ref().is_ok_and(|batch| batch.frames.is_empty()));
        Ok(Response::new(Box::pin(told)))
    }

    async fn begin(&self, _: tonic::Request<v1::BeginRequest>) -> Unary<v1::BeginReply> {
        absent()
    }
    async fn commit(&self, _: tonic::Request<v1::CommitRequest>) -> Unary<v1::OutcomeReply> {
        absent()
    }
    async fn rollback(&self, _: tonic::Request<v1::RollbackRequest>) -> Unary<v1::OutcomeReply> {
        absent()
    }
    async fn veto(&self, _: tonic::Request<v1::VetoRequest>) -> Unary<v1::OutcomeReply> {
        absent()
    }
    async fn rollback_scope(
        &self,
        _: tonic::Request<v1::RollbackScopeRequest>,
    ) -> Unary<v1::ScopeReply> {
        absent()
    }
    async fn can_commit(
        &self,
        _: tonic::Request<v1::CanCommitRequest>,
    ) -> Unary<v1::CanCommitReply> {
        absent()
    }
    async fn get(&self, _: tonic::Request<v1::GetRequest>) -> Unary<v1::OutcomeReply> {
        absent()
    }
    async fn register(&self, _: tonic::Request<v1::RegisterRequest>) -> Unary<v1::RegisterReply> {
        absent()
    }
    async fn report_phase_one(
        &self,
        _: tonic::Request<v1::PhaseOneReport>,
    ) -> Unary<v1::PhaseOneReply> {
        absent()
    }
    async fn attach(&self, _: tonic::Request<v1::AttachRequest>) -> Unary<v1::AttachReply> {
        absent()
    }
    async fn take_work(&self, _: tonic::Request<v1::TakeWorkRequest>) -> Unary<v1::TakeWorkReply> {
        absent()
    }
    async fn report_work(
        &self,
        _: tonic::Request<v1::ReportWorkRequest>,
    ) -> Unary<v1::ReportWorkReply> {
        absent()
    }
}
