//! Unary calls that wait for their answer.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pactum_core::id::SessionId;
use pactum_core::step::{Reply, ReplyTo};
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

/// The session that all unary calls answer to; no stream ever has it.
pub(crate) const UNARY: SessionId = SessionId(0);

/// What a unary caller hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The group's answer.
    Reply(Reply),
    /// Nobody knows whether the request took effect.
    Unknown,
}

/// The calls that wait.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    last: AtomicU64,
    waiting: Mutex<FxHashMap<u64, oneshot::Sender<Heard>>>,
}

impl Calls {
    /// A new call. Dropped unanswered, it is taken off the list.
    pub(crate) fn open(&self) -> Call<'_> {
        let correlation = self.last.fetch_add(1, Relaxed) + 1;
        let (sender, heard) = oneshot::channel();
        self.lock().insert(correlation, sender);
        Call { calls: self, correlation, heard }
    }

    /// Answers calls; those that are gone are skipped.
    pub(crate) fn answer(&self, answers: &mut Vec<(u64, Reply)>) {
        if answers.is_empty() {
            return;
        }
        let mut waiting = self.lock();
        for (correlation, reply) in answers.drain(..) {
            if let Some(call) = waiting.remove(&correlation) {
                // A caller that went away this moment hears nothing.
                drop(call.send(Heard::Reply(reply)));
            }
        }
    }

    /// Tells everyone *unknown*.
    pub(crate) fn end_all_unknown(&self) {
        let waiting = std::mem::take(&mut *self.lock());
        for call in waiting.into_values() {
            drop(call.send(Heard::Unknown));
        }
    }

    /// How many wait.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, FxHashMap<u64, oneshot::Sender<Heard>>> {
        self.waiting.lock().expect("nothing panics while it holds this lock")
    }
}

/// A call that waits.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    calls: &'a Calls,
    correlation: u64,
    heard: oneshot::Receiver<Heard>,
}

impl Call<'_> {
    /// Where the answer goes.
    pub(crate) fn reply_to(&self) -> ReplyTo {
        ReplyTo { session: UNARY, correlation: self.correlation }
    }

    /// The answer.
    pub(crate) async fn heard(&mut self) -> Heard {
        (&mut self.heard).await.unwrap_or(Heard::Unknown)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.calls.lock().remove(&self.correlation);
    }
}
