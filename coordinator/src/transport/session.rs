//! The session stream: its opening, its reader, its heartbeat, its end.
//!
//! ```text
//! Hello ─▶ SessionOpened ─▶ Welcome, once the branch ids are durable
//! message ─▶ one Vec<Event> ─▶ one send            (waits only for the group, never for the writer)
//! however it ends ─▶ SessionClosed, after everything that was read
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pactum_core::event::Event;
use pactum_core::step::ReplyTo;
use pactum_proto::convert::{self, CanCommit, Hello};
use pactum_proto::v1::{self, client_frame::Frame};
use tokio::time::{Instant, interval_at, timeout};
use tonic::{Status, Streaming};

use super::frames::FrameReader;
use super::outgoing::Outgoing;
use super::status::{refused_message, status};
use super::{Context, stopped};
use crate::dispatch::{End, Out, SessionLink, WELCOME};
use crate::engine::Leading;

/// Opens a session: its reader runs as a task, its writing side is returned.
pub(super) fn open(
    context: &Context,
    incoming: Streaming<v1::ClientBatch>,
) -> Result<Outgoing, Status> {
    let leading = context.engine.leading_for_attachment().map_err(|error| status(&error))?;
    let link = context.engine.links.open(context.options.session.request_window);
    let hello = Arc::new(AtomicU64::new(0));
    let outgoing =
        Outgoing::new(link.clone(), leading.clone(), context.options.clone(), hello.clone());
    let reader = SessionReader { context: context.clone(), leading, link, hello };
    context.tasks.spawn("session-reader", reader.run(incoming));
    Ok(outgoing)
}

struct SessionReader {
    context: Context,
    leading: Arc<Leading>,
    link: Arc<SessionLink>,
    hello: Arc<AtomicU64>,
}

impl SessionReader {
    async fn run(self, mut incoming: Streaming<v1::ClientBatch>) {
        let end = match self.greet(&mut incoming).await {
            Ok((hello, rest)) => {
                let end = self.converse(&mut incoming, &hello, rest).await;
                tracing::debug!(session = self.link.id().0, node = %hello.node, ?end, "session ended");
                end
            }
            Err(end) => end,
        };
        self.link.end(end);
        self.context.engine.links.remove(self.link.id());
        let session = self.link.id();
        // After everything that was read, in the same queue. If the group is gone, so is its memory
        // of the session.
        let _ = self.context.engine.inbox.send(vec![Event::SessionClosed { session }]).await;
    }

    /// The first frame must be a hello. Returns it with the frames that came in its message.
    async fn greet(
        &self,
        incoming: &mut Streaming<v1::ClientBatch>,
    ) -> Result<(Hello, v1::ClientBatch), End> {
        let patience = self.context.options.session.silence_max;
        let first = tokio::select! {
            first = timeout(patience, incoming.message()) => first.map_err(|_| End::Silent)?,
            () = self.link.ending().cancelled() => return Err(End::Reattach),
        };
        let mut batch = self.received(first)?;
        let mut frames = batch.frames.drain(..);
        let first = frames.next().unwrap_or_default();
        let Some(Frame::Hello(hello)) = first.frame else {
            let error = convert::invalid("hello", "the first frame of a session is a hello");
            return Err(self.refuse(first.correlation, error));
        };
        let hello = self
            .leading
            .reader
            .hello(hello)
            .map_err(|error| self.refuse(first.correlation, error))?;
        let rest = v1::ClientBatch { frames: frames.collect() };
        self.hello.store(first.correlation, Relaxed);
        tracing::debug!(
            session = self.link.id().0,
            node = %hello.node,
            agent = hello.agent_version,
            "session opened"
        );
        Ok((hello, rest))
    }

    async fn converse(
        &self,
        incoming: &mut Streaming<v1::ClientBatch>,
        hello: &Hello,
        first: v1::ClientBatch,
    ) -> End {
        let options = &self.context.options.session;
        let frames = FrameReader {
            requests: &self.leading.reader,
            engine: &self.context.engine,
            link: &self.link,
            node: hello.node,
            options,
        };
        let session = self.link.id();
        let reply = ReplyTo { session, correlation: WELCOME };
        let opened = Event::SessionOpened { session, node: hello.node, reply };
        if self.context.engine.inbox.send(vec![opened]).await.is_err() {
            return self.refuse(0, stopped());
        }
        if let Err(end) = self.handle(&frames, first).await {
            return end;
        }
        let mut beat = interval_at(Instant::now() + options.heartbeat, options.heartbeat);
        let mut heard_at = Instant::now();
        let ending = self.link.ending().cancelled();
        tokio::pin!(ending);
        loop {
            tokio::select! {
                biased;
                () = &mut ending => return End::Reattach,
                message = incoming.message() => {
                    heard_at = Instant::now();
                    let batch = match self.received(message) {
                        Ok(batch) => batch,
                        Err(end) => return end,
                    };
                    if let Err(end) = self.handle(&frames, batch).await {
                        return end;
                    }
                }
                _ = beat.tick() => {
                    let silent = heard_at.elapsed();
                    if silent >= options.silence_max {
                        return End::Silent;
                    }
                    if silent >= options.heartbeat / 2 {
                        self.tell(&mut vec![Out::Ping]);
                    }
                }
            }
        }
    }

    async fn handle(&self, frames: &FrameReader<'_>, batch: v1::ClientBatch) -> Result<(), End> {
        let mut read = frames.read(batch);
        self.tell(&mut read.outs);
        if read.fatal {
            return Err(End::Refused);
        }
        for (correlation, asked) in read.questions {
            self.ask_participants(correlation, asked);
        }
        self.context.engine.inbox.send(read.events).await.map_err(|_| End::Reattach)
    }

    /// Asks beside the reader, which never waits. The request window bounds how many do.
    fn ask_participants(&self, correlation: u64, asked: CanCommit) {
        let (context, leading, link) =
            (self.context.clone(), Arc::clone(&self.leading), Arc::clone(&self.link));
        self.context.tasks.spawn("can-commit", async move {
            let opinion = tokio::select! {
                opinion = context.can_commit(&leading, &asked) => Box::new(opinion),
                () = link.ending().cancelled() => return,
            };
            let answered = &mut vec![Out::Opinion { correlation, opinion }];
            link.deliver(answered, context.options.session.answers_queued_max);
        });
    }

    /// A message, or the end: a message that cannot be taken is refused with a reason first.
    fn received(
        &self,
        message: Result<Option<v1::ClientBatch>, Status>,
    ) -> Result<v1::ClientBatch, End> {
        match message {
            Ok(Some(batch)) => Ok(batch),
            Ok(None) => Err(End::Gone),
            Err(status) => {
                let bytes_max = self.context.options.message_bytes_max;
                let refused = refused_message(status.code(), status.message(), bytes_max);
                Err(refused.map_or(End::Gone, |error| self.refuse(0, error)))
            }
        }
    }

    fn refuse(&self, correlation: u64, error: v1::Error) -> End {
        self.tell(&mut vec![Out::Error { correlation, error: Box::new(error) }]);
        End::Refused
    }

    fn tell(&self, outs: &mut Vec<Out>) {
        if !outs.is_empty() {
            self.link.deliver(outs, self.context.options.session.answers_queued_max);
        }
    }
}
