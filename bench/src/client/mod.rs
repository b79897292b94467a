//! A client that is as lean as the wire allows: no task and no channel a transaction.
//!
//! One task a session reads a batch, moves every slot that it answers one request further, and
//! writes all that came of it as one batch. A slot is a transaction under way; when it ends the next
//! one begins in its place, so the load is closed: as many are under way as there are slots.
//!
//! ```text
//! Begin ▶ Begun ▶ Register ▶ Registered ▶ … ▶ Commit(done: all) ▶ Outcome ▶ next
//!                                                    Work ▶ WorkResult(Done), at once
//! ```
//!
//! What is left out on purpose: reconnecting, retries, errors. Whatever is refused ends the run,
//! because a run with refusals measured something else.

mod ids;
mod load;
mod slot;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::FutureExt as _;
use pactum_core::id::NodeId;
use pactum_proto::v1::client_frame::Frame as Request;
use pactum_proto::v1::coordinator_client::CoordinatorClient;
use pactum_proto::v1::server_frame::Frame as Answer;
use pactum_proto::v1::{self, ClientBatch, ClientFrame, ServerBatch, WorkKind};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

pub(crate) use load::{Ending, Keys, Load, Stop, Tally};
pub(crate) use slot::key_of;

/// The most frames in a batch: what the agent allows itself.
const BATCH_FRAMES_MAX: usize = 512;
/// Work that the coordinator may push at once, and how much is given back at a time.
const WORK_CREDIT: u32 = 4096;
const WORK_CREDIT_STEP: u32 = 512;
/// With nothing heard for so long the run is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Databases that the branches of a transaction work on: one each.
pub(crate) const RESOURCES: usize = 8;

/// The declared id of a resource.
pub(crate) fn resource_id(number: usize) -> String {
    format!("bench-{number}")
}

/// The databases that branches work on.
pub(crate) fn databases() -> Vec<v1::Resource> {
    let database = |number: usize| v1::Resource {
        resource_id: resource_id(number),
        kind: v1::ResourceKind::Database.into(),
        resource_uid: (number as u128 + 1).to_be_bytes().to_vec().into(),
        actions: Vec::new(),
    };
    (0..RESOURCES).map(database).collect()
}

/// A load that is closed: as many are under way as it has slots, and when one ends the next begins.
pub(crate) trait ClosedLoad: Copy + Send + 'static {
    /// How many are under way at once.
    fn slots(&self) -> usize;

    /// The same with so many slots.
    fn with_slots(self, slots: usize) -> Self;

    /// The same until then.
    fn until(self, stop: Stop) -> Self;

    /// Runs it on a session until it stops and everything that it began has ended.
    fn run(self, session: &mut Session) -> impl Future<Output = Result<Tally>> + Send;
}

/// One stream to a coordinator.
#[derive(Debug)]
pub(crate) struct Session {
    outgoing: mpsc::UnboundedSender<ClientBatch>,
    incoming: Streaming<ServerBatch>,
    /// Not sent yet.
    queued: Vec<ClientFrame>,
    pub(crate) welcome: v1::Welcome,
    pub(crate) sent: Counted,
    pub(crate) received: Counted,
    work_answered: u32,
}

/// Frames, and the batches that they went in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) frames: u64,
    pub(crate) batches: u64,
}

impl Counted {
    fn note(&mut self, frames: usize) {
        self.frames += frames as u64;
        self.batches += 1;
    }

    pub(crate) fn add(&mut self, other: Counted) {
        self.frames += other.frames;
        self.batches += other.batches;
    }

    /// What came since `before`.
    pub(crate) fn since(self, before: Counted) -> Counted {
        Counted { frames: self.frames - before.frames, batches: self.batches - before.batches }
    }

    pub(crate) fn a_batch(&self) -> f64 {
        self.frames as f64 / self.batches as f64
    }
}

impl Session {
    /// Opens a stream and attaches resources.
    pub(crate) async fn open(
        url: &str,
        node: NodeId,
        resources: Vec<v1::Resource>,
    ) -> Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned()).context("read the address")?;
        let channel = endpoint.tcp_nodelay(true).connect().await;
        let channel = channel.with_context(|| format!("connect to {url}"))?;
        let (outgoing, batches) = mpsc::unbounded_channel();
        let hello = Request::Hello(v1::Hello {
            protocol_version: pactum_proto::PROTOCOL_VERSION,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            node_id: node.to_bytes().to_vec().into(),
            capabilities: Vec::new(),
        });
        let hello = ClientFrame { correlation: 0, frame: Some(hello) };
        outgoing.send(ClientBatch { frames: vec![hello] }).context("say hello")?;
        let mut client = CoordinatorClient::new(channel);
        let stream = client.session(UnboundedReceiverStream::new(batches)).await;
        let mut incoming = stream.context("open the session")?.into_inner();
        let welcome = match first_frame(&mut incoming).await? {
            Answer::Welcome(welcome) => welcome,
            other => bail!("the coordinator's first frame is no Welcome: {other:?}"),
        };
        let mut session = Session {
            outgoing,
            incoming,
            queued: Vec::new(),
            welcome,
            sent: Counted::default(),
            received: Counted::default(),
            work_answered: 0,
        };
        session.attach(resources).await?;
        Ok(session)
    }

    async fn attach(&mut self, resources: Vec<v1::Resource>) -> Result<()> {
        self.queue(0, Request::Credit(v1::Credit { work: WORK_CREDIT }));
        let count = resources.len();
        for (correlation, resource) in (1..).zip(resources) {
            self.queue(correlation, Request::Attach(resource));
        }
        self.flush()?;
        let mut attached = 0;
        while attached < count {
            for frame in self.receive().await?.frames {
                match frame.frame {
                    Some(Answer::Attached(_)) => attached += 1,
                    Some(Answer::Error(error)) => bail!("attach was refused: {error:?}"),
                    // Before everything is attached nothing else matters.
                    Some(_) | None => {}
                }
            }
        }
        Ok(())
    }

    /// Adds a frame to what is sent next.
    pub(crate) fn queue(&mut self, correlation: u64, frame: Request) {
        self.queued.push(ClientFrame { correlation, frame: Some(frame) });
    }

    /// Sends what is queued, in as few batches as the limit allows.
    pub(crate) fn flush(&mut self) -> Result<()> {
        while !self.queued.is_empty() {
            let rest = self.queued.split_off(self.queued.len().min(BATCH_FRAMES_MAX));
            let frames = std::mem::replace(&mut self.queued, rest);
            self.sent.note(frames.len());
            self.outgoing.send(ClientBatch { frames }).context("the stream has ended")?;
        }
        Ok(())
    }

    /// Waits for the next batch.
    pub(crate) async fn receive(&mut self) -> Result<ServerBatch> {
        let batch = timeout(SILENCE_MAX, self.incoming.message()).await;
        let batch = batch.context("the coordinator has been silent for a minute")?;
        let batch = batch.context("read the session")?.context("the session was ended")?;
        self.received.note(batch.frames.len());
        Ok(batch)
    }

    /// A batch that is here already.
    pub(crate) fn receive_now(&mut self) -> Result<Option<ServerBatch>> {
        let Some(batch) = self.incoming.message().now_or_never() else { return Ok(None) };
        let batch = batch.context("read the session")?.context("the session was ended")?;
        self.received.note(batch.frames.len());
        Ok(Some(batch))
    }

    /// The local work of a bench branch or step is nothing, so it is done at once.
    pub(crate) fn answer_work(&mut self, work: v1::Work) {
        use v1::work_result::Result as Did;
        let did = match work.kind() {
            WorkKind::Act => Did::StepDone(v1::StepDone::default()),
            WorkKind::Unspecified
            | WorkKind::Commit
            | WorkKind::Rollback
            | WorkKind::AskPhaseOne
            | WorkKind::CanCommit => Did::Done(v1::Done {}),
        };
        let result = v1::WorkResult {
            xid: work.xid,
            branch_id: work.branch_id,
            kind: work.kind,
            result: Some(did),
        };
        self.queue(0, Request::WorkResult(result));
        self.work_answered += 1;
        if self.work_answered == WORK_CREDIT_STEP {
            self.work_answered = 0;
            self.queue(0, Request::Credit(v1::Credit { work: WORK_CREDIT_STEP }));
        }
    }
}

async fn first_frame(incoming: &mut Streaming<ServerBatch>) -> Result<Answer> {
    let batch = timeout(SILENCE_MAX, incoming.message()).await.context("no Welcome came")?;
    let batch = batch.context("read the Welcome")?.context("the session was ended")?;
    let first = batch.frames.into_iter().next().and_then(|frame| frame.frame);
    first.context("the first batch is empty")
}
