//! What waits to be written to the stream: two queues, drained together into one batch.
//!
//! ```text
//! callers ──push──▶ decisions ─┐
//!                              ├─▶ next_batch: at most 512 frames or 1 MiB ──▶ stream
//! callers ──push──▶ entries  ──┘   (decisions first)
//! ```
//!
//! Nobody waits to push: requests are bounded by the session's window, work results by its credits,
//! and the one-way frames follow an answer that came through the same stream.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pactum_proto::v1::{ClientBatch, ClientFrame};
use prost::Message as _;
use tokio::sync::Notify;

/// The most frames in a batch. 512: enough to make the cost of a message vanish.
const BATCH_FRAMES_MAX: usize = 512;
/// The batch is closed once it has reached this size: well below the 4 MiB that gRPC accepts.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// What a frame does for its transaction, which says what it may overtake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// It ends or finishes something, or keeps the session alive: goes first. It never waits behind
    /// begins, because what it ends is what they wait for.
    Decision,
    /// It starts something, or waits for a lock.
    Entry,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    queues: Mutex<Queues>,
    ready: Arc<Notify>,
}

/// A frame that waits for the next one to leave with it.
#[derive(Debug)]
pub(crate) struct Riding {
    leaves_now: AtomicBool,
    ready: Arc<Notify>,
}

impl Riding {
    /// It waits no longer.
    pub(crate) fn leave(&self) {
        if !self.leaves_now.swap(true, Ordering::Relaxed) {
            self.ready.notify_one();
        }
    }
}

#[derive(Debug, Default)]
struct Queues {
    decisions: VecDeque<ClientFrame>,
    entries: VecDeque<ClientFrame>,
    closed: bool,
}

impl Outbox {
    /// Queues a frame; once the outbox is closed it is dropped, as if the stream had lost it.
    pub(super) fn push(&self, urgency: Urgency, frame: ClientFrame) {
        self.queue(urgency, frame);
        self.ready.notify_one();
    }

    /// Queues a frame that leaves with whatever is pushed next, and before it; or when its
    /// [`Riding`] says so. It goes with the decisions, or one of those could overtake it.
    pub(super) fn let_ride(&self, frame: ClientFrame) -> Riding {
        self.queue(Urgency::Decision, frame);
        Riding { leaves_now: AtomicBool::new(false), ready: Arc::clone(&self.ready) }
    }

    fn queue(&self, urgency: Urgency, frame: ClientFrame) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if queues.closed {
            return;
        }
        match urgency {
            Urgency::Decision => queues.decisions.push_back(frame),
            Urgency::Entry => queues.entries.push_back(frame),
        }
    }

    /// Takes no more; what is queued is still written.
    pub(super) fn close(&self) {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.ready.notify_one();
    }

    /// All that is queued, up to the limits; `None` once closed and empty. Has one reader.
    pub(super) async fn next_batch(&self) -> Option<ClientBatch> {
        loop {
            {
                let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
                let frames = queues.take();
                if !frames.is_empty() {
                    return Some(ClientBatch { frames });
                }
                if queues.closed {
                    return None;
                }
            }
            // A push between the look and this wait leaves its permit behind.
            self.ready.notified().await;
        }
    }
}

impl Queues {
    fn take(&mut self) -> Vec<ClientFrame> {
        let mut frames = Vec::new();
        let mut bytes = 0;
        while frames.len() < BATCH_FRAMES_MAX && bytes < BATCH_BYTES_MAX {
            let Some(frame) = self.decisions.pop_front().or_else(|| self.entries.pop_front())
            else {
                break;
            };
            bytes += frame.encoded_len();
            frames.push(frame);
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use pactum_proto::v1::client_frame::Frame;
    use pactum_proto::v1::{BeginRequest, CommitRequest};

    use super::*;

    fn begin(correlation: u64, name: String) -> ClientFrame {
        let frame = Frame::Begin(BeginRequest { name, ..BeginRequest::default() });
        ClientFrame { correlation, frame: Some(frame) }
    }

    #[tokio::test]
    async fn a_decision_overtakes_the_begins_that_queue() {
        let outbox = Outbox::default();
        for correlation in 1..=3 {
            outbox.push(Urgency::Entry, begin(correlation, String::new()));
        }
        let commit = Frame::Commit(CommitRequest::default());
        outbox.push(Urgency::Decision, ClientFrame { correlation: 9, frame: Some(commit) });
        let batch = outbox.next_batch().await.unwrap();
        let order: Vec<_> = batch.frames.iter().map(|frame| frame.correlation).collect();
        assert_eq!(order, [9, 1, 2, 3]);
    }

    #[tokio::test]
    async fn a_batch_ends_at_its_limits_and_a_closed_outbox_is_written_to_its_end() {
        let outbox = Outbox::default();
        for correlation in 0..600 {
            outbox.push(Urgency::Entry, begin(correlation, String::new()));
        }
        assert_eq!(outbox.next_batch().await.unwrap().frames.len(), BATCH_FRAMES_MAX);
        assert_eq!(outbox.next_batch().await.unwrap().frames.len(), 600 - BATCH_FRAMES_MAX);

        for correlation in 0..4 {
            outbox.push(Urgency::Entry, begin(correlation, "x".repeat(BATCH_BYTES_MAX / 2)));
        }
        outbox.close();
        outbox.push(Urgency::Entry, begin(7, String::new()));
        assert_eq!(outbox.next_batch().await.unwrap().frames.len(), 2);
        assert_eq!(outbox.next_batch().await.unwrap().frames.len(), 2);
        assert_eq!(outbox.next_batch().await, None, "what came after the close is dropped");
    }
}
