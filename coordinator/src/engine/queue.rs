//! The way to the group task: bounded, stamped on arrival.
//!
//! Whoever sends waits while the queue is full, and a stream's reader that waits stops its stream.
//! Begins are refused long before that, so that what has begun can be finished. The stamp is taken
//! here, not when the driver gets to it: a commit that queues behind a slow write is not late.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pactum_core::event::Event;
use pactum_core::group::Group;
use pactum_core::time::Now;
use tokio::sync::mpsc;

use crate::environment::Clock;

/// Looks at the group; what it returns is called once all it saw is durable.
pub(crate) type Look = Box<dyn FnOnce(&Group) -> Box<dyn FnOnce() + Send> + Send>;

/// What comes to the group task.
pub(crate) enum Message {
    /// Things that happened, in order.
    Events {
        /// When they arrived.
        at: Now,
        /// What.
        events: Vec<Event>,
    },
    /// A question.
    Look {
        /// When it arrived.
        at: Now,
        /// What.
        look: Look,
    },
}

impl Message {
    pub(super) fn at(&self) -> Now {
        match self {
            Message::Events { at, .. } | Message::Look { at, .. } => *at,
        }
    }
}

/// The group task is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// The sending side of the queue.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    messages: mpsc::Sender<Message>,
    clock: Clock,
    queued: Arc<AtomicUsize>,
    begins_queued_max: usize,
}

impl Inbox {
    pub(super) fn new(
        messages: mpsc::Sender<Message>,
        clock: Clock,
        begins_queued_max: usize,
    ) -> Self {
        Inbox { messages, clock, queued: Arc::default(), begins_queued_max }
    }

    /// Queues events that just arrived; waits for room.
    ///
    /// # Cancel safety
    /// Dropped while it waits, none of the events is queued.
    pub(crate) async fn send(&self, events: Vec<Event>) -> Result<(), Gone> {
        let count = events.len();
        if count == 0 {
            return Ok(());
        }
        let at = self.clock.now();
        let permit = self.messages.reserve().await.map_err(|_| Gone)?;
        self.queued.fetch_add(count, Relaxed);
        permit.send(Message::Events { at, events });
        Ok(())
    }

    /// Queues an event if there is room, for those that cannot wait and need not.
    pub(crate) fn send_if_room(&self, event: Event) {
        let message = Message::Events { at: self.clock.now(), events: vec![event] };
        if self.messages.try_send(message).is_ok() {
            self.queued.fetch_add(1, Relaxed);
        }
    }

    pub(super) async fn look(&self, look: Look) -> Result<(), Gone> {
        let at = self.clock.now();
        self.messages.send(Message::Look { at, look }).await.map_err(|_| Gone)
    }

    /// Whether so much is queued that begins must be refused.
    pub(crate) fn is_congested(&self) -> bool {
        self.queued.load(Relaxed) > self.begins_queued_max
    }

    /// Counts events as taken. They may be taken before they were counted in, so the count can wrap
    /// below zero for a moment; `is_congested` may then refuse a begin, which is harmless.
    pub(super) fn taken(&self, count: usize) {
        self.queued.fetch_sub(count, Relaxed);
    }
}
