//! Who wants to hear when something of a saga became durable.
//!
//! ```text
//! driver ── a stored change of a watched saga ──▶ Outgoing::Moved ── durable ──▶ a count goes up
//!                                                                                  └▶ the watcher looks
//! ```
//!
//! A watcher is told *that* something moved, never what: it looks by itself, beside the group's task, and
//! so sees what there is by then, however fast things go.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use pactum_core::id::XidNumber;
use rustc_hash::FxHashMap;
use tokio::sync::watch;

/// How many may watch at once. 10,000: what a watcher keeps is where its saga stood last, and in the worst
/// case all of them look at once.
pub(crate) const WATCHERS_MAX: usize = 10_000;

/// All watchers.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    sagas: Mutex<FxHashMap<XidNumber, watch::Sender<u64>>>,
    /// How many watch, where several may watch one saga.
    watching: AtomicUsize,
    /// How many sagas are watched: read for every stored change, and mostly zero.
    count: AtomicUsize,
}

/// One who watches.
#[derive(Debug)]
pub(crate) struct Watcher {
    xid: XidNumber,
    moves: Option<watch::Receiver<u64>>,
    of: Arc<Watchers>,
}

impl Watchers {
    /// Watches a saga from now on; `None` where [`WATCHERS_MAX`] watch already.
    pub(crate) fn watch(self: &Arc<Self>, xid: XidNumber) -> Option<Watcher> {
        let mut sagas = self.lock();
        // It changes under the lock only.
        let watching = self.watching.load(Relaxed);
        if watching >= WATCHERS_MAX {
            return None;
        }
        self.watching.store(watching + 1, Relaxed);
        let moves = sagas.entry(xid).or_insert_with(|| watch::Sender::new(0)).subscribe();
        self.count.store(sagas.len(), Relaxed);
        drop(sagas);
        Some(Watcher { xid, moves: Some(moves), of: Arc::clone(self) })
    }

    /// Whether anybody watches any saga.
    pub(super) fn are_there(&self) -> bool {
        self.count.load(Relaxed) > 0
    }

    /// Something of a saga became durable.
    pub(super) fn moved(&self, xid: XidNumber) {
        if let Some(sender) = self.lock().get(&xid) {
            sender.send_modify(|moves| *moves += 1);
        }
    }

    /// The group is loaded anew, or is over: everybody looks again.
    pub(crate) fn all_moved(&self) {
        for sender in self.lock().values() {
            sender.send_modify(|moves| *moves += 1);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, FxHashMap<XidNumber, watch::Sender<u64>>> {
        self.sagas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher {
    /// Returns once something moved since the last time.
    pub(crate) async fn moved(&mut self) {
        if let Some(moves) = &mut self.moves {
            // The sender lives as long as this receiver.
            let _ = moves.changed().await;
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.moves = None;
        let mut sagas = self.of.lock();
        self.of.watching.fetch_sub(1, Relaxed);
        if sagas.get(&self.xid).is_some_and(|sender| sender.receiver_count() == 0) {
            sagas.remove(&self.xid);
        }
        self.of.count.store(sagas.len(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_watch_than_may_and_who_leaves_makes_room() {
        let watchers = Arc::new(Watchers::default());
        let watch = |number: u64| watchers.watch(XidNumber(number % 7));
        let mut all: Vec<Watcher> = (0..).map_while(watch).collect();
        assert_eq!(all.len(), WATCHERS_MAX);
        assert!(watchers.are_there());
        drop(all.pop());
        let last = watch(1).expect("one has left");
        assert!(watch(1).is_none());
        drop((all, last));
        assert!(!watchers.are_there());
        assert!(watchers.lock().is_empty(), "nothing is kept of who left");
    }
}
