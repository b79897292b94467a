//! The writing side of a session: polled by the connection itself, so that an answer takes no detour
//! through a task.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use pactum_core::step::Reply;
use pactum_proto::v1::{self, server_frame::Frame};
use tonic::Status;

use crate::dispatch::{End, Out, SessionLink, Taken, WELCOME, Work};
use crate::engine::Leading;
use crate::options::ServerOptions;

/// How many frames one message holds at most. Errors are the largest, below a kilobyte.
const FRAMES_MAX: usize = 2048;
/// How many bytes of payloads one message holds at most, but for the last one: well below what a
/// client takes.
const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

/// The stream of a session's messages.
pub(super) struct Outgoing {
    link: Arc<SessionLink>,
    leading: Arc<Leading>,
    options: Arc<ServerOptions>,
    answers: Vec<Out>,
    work: Vec<Work>,
    over: bool,
    /// The correlation of the hello, once its answer was sent.
    hello: Arc<std::sync::atomic::AtomicU64>,
}

impl Outgoing {
    pub(super) fn new(
        link: Arc<SessionLink>,
        leading: Arc<Leading>,
        options: Arc<ServerOptions>,
        hello: Arc<std::sync::atomic::AtomicU64>,
    ) -> Self {
        let (answers, work) = (Vec::new(), Vec::new());
        Outgoing { link, leading, options, answers, work, over: false, hello }
    }

    fn batch(&mut self) -> v1::ServerBatch {
        let mut frames = Vec::with_capacity(self.answers.len() + self.work.len());
        let mut answers = std::mem::take(&mut self.answers);
        frames.extend(answers.drain(..).map(|out| self.frame(out)));
        self.answers = answers;
        let identity = &self.leading.identity;
        frames.extend(self.work.drain(..).map(|work| v1::ServerFrame {
            correlation: 0,
            frame: Some(Frame::Work(work.into_wire(identity))),
        }));
        v1::ServerBatch { frames }
    }

    fn frame(&self, out: Out) -> v1::ServerFrame {
        let (correlation, frame) = match out {
            Out::Reply { correlation: WELCOME, reply } => (self.hello(), self.welcome(reply)),
            Out::Reply { correlation, reply } => (correlation, self.leading.identity.frame(reply)),
            Out::Error { correlation, error } => (correlation, Frame::Error(*error)),
            Out::Opinion { correlation, opinion } => (correlation, Frame::Opinion(*opinion)),
            Out::Pong { correlation } => (correlation, Frame::Pong(v1::Ping {})),
            Out::Ping => (0, Frame::Ping(v1::Ping {})),
            Out::Goodbye => (0, Frame::Goodbye(v1::Goodbye {})),
        };
        v1::ServerFrame { correlation, frame: Some(frame) }
    }

    fn hello(&self) -> u64 {
        self.hello.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn welcome(&self, reply: Reply) -> Frame {
        let identity = &self.leading.identity;
        let Reply::BranchIds(block) = reply else { return identity.frame(reply) };
        let session = &self.options.session;
        let millis = |duration: std::time::Duration| duration.as_millis();
        Frame::Welcome(v1::Welcome {
            protocol_version: pactum_proto::PROTOCOL_VERSION,
            store_id: identity.store_bytes(),
            epoch: identity.epoch.0,
            group: identity.group.to_string(),
            request_window: session.request_window,
            heartbeat_ms: u32::try_from(millis(session.heartbeat)).unwrap_or(u32::MAX),
            branch_ids: Some(block.into()),
            coordinator_version: env!("CARGO_PKG_VERSION").to_owned(),
            transaction_timeout_max_ms: u64::try_from(millis(self.options.transaction_timeout_max))
                .unwrap_or(u64::MAX),
        })
    }
}

impl Stream for Outgoing {
    type Item = Result<v1::ServerBatch, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        // Registered first: what comes between the look and the registration would wake nobody.
        this.link.register(cx.waker());
        let link = this.link.clone();
        match link.take(&mut this.answers, &mut this.work, FRAMES_MAX, PAYLOAD_BYTES_MAX) {
            Taken::Some => Poll::Ready(Some(Ok(this.batch()))),
            Taken::Nothing => Poll::Pending,
            Taken::Ended(end) => {
                this.over = true;
                Poll::Ready(ending(end).map(Err))
            }
        }
    }
}

/// How a stream ends: cleanly, or with the reason.
fn ending(end: End) -> Option<Status> {
    match end {
        End::Gone | End::Refused => None,
        End::Reattach => Some(Status::unavailable("the session is over; open another one")),
        End::Overflow => Some(Status::resource_exhausted(
            "the session did not take its answers; open another one",
        )),
        End::Silent => {
            Some(Status::deadline_exceeded("nothing was heard of the session for too long"))
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // The connection is gone, or the client gave the stream up.
        self.link.end(End::Gone);
    }
}
