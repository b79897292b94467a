//! The branch ids that this process may give out.
//!
//! A Welcome hands over a block and takes the place of any block of an earlier stream: another
//! coordinator store would not know its ids, and ids are plenty. Once half of the block is used the
//! next one is asked for, so that a registration hardly ever waits for one.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use pactum_core::id::{BranchId, StoreId};
use pactum_proto::v1::IdBlock;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct BranchIds {
    blocks: Mutex<Blocks>,
    changed: Notify,
}

#[derive(Debug)]
struct Blocks {
    current: Range<u64>,
    next: Option<Range<u64>>,
    /// Whose ids these are.
    store: Option<StoreId>,
    /// When `current` has come down to this length, the next block is asked for.
    ask_below: u64,
    asked: bool,
}

impl Default for Blocks {
    fn default() -> Self {
        Blocks { current: 0..0, next: None, store: None, ask_below: 0, asked: false }
    }
}

/// What came of taking an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Id(BranchId),
    /// As `Id`, and it is this caller's part to ask for the next block.
    IdAndAsk(BranchId),
    /// The blocks are used up, and this caller is to ask for another.
    Ask,
    /// The blocks are used up, and another one is asked for.
    Wait,
}

impl BranchIds {
    pub(super) fn take(&self) -> Taken {
        let mut blocks = self.blocks();
        if blocks.current.is_empty()
            && let Some(next) = blocks.next.take()
        {
            blocks.set_current(next);
        }
        let id = blocks.current.next().map(BranchId);
        let left = blocks.current.end - blocks.current.start;
        let ask = !blocks.asked && blocks.next.is_none() && left <= blocks.ask_below;
        blocks.asked |= ask;
        match (id, ask) {
            (Some(id), false) => Taken::Id(id),
            (Some(id), true) => Taken::IdAndAsk(id),
            (None, true) => Taken::Ask,
            (None, false) => Taken::Wait,
        }
    }

    /// A new stream's first block: every older one is dropped.
    pub(super) fn restart(&self, store: StoreId, block: Option<IdBlock>) {
        let mut blocks = self.blocks();
        *blocks = Blocks { store: Some(store), ..Blocks::default() };
        if let Some(block) = block {
            blocks.set_current(block.first..block.end);
        }
        drop(blocks);
        self.changed.notify_waiters();
    }

    /// What came of asking the coordinator of `store`: the next block, or nothing.
    pub(super) fn asked(&self, store: StoreId, block: Option<IdBlock>) {
        let mut blocks = self.blocks();
        if blocks.store != Some(store) {
            return;
        }
        blocks.asked = false;
        if let Some(block) = block {
            blocks.next = Some(block.first..block.end);
        }
        drop(blocks);
        self.changed.notify_waiters();
    }

    /// Resolves at the next change; made before looking, it misses none.
    pub(super) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    fn blocks(&self) -> std::sync::MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blocks {
    fn set_current(&mut self, block: Range<u64>) {
        // An empty or reversed block is used up from the start; it must not underflow.
        self.current = block.start..block.end.max(block.start);
        self.ask_below = (self.current.end - self.current.start) / 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: StoreId = StoreId(1);

    fn block(first: u64, end: u64) -> Option<IdBlock> {
        Some(IdBlock { first, end })
    }

    #[test]
    fn the_next_block_is_asked_for_once_at_half_and_no_id_is_past_the_end() {
        let ids = BranchIds::default();
        ids.restart(STORE, block(10, 14));
        let id = |id| Taken::Id(BranchId(id));
        assert_eq!(ids.take(), id(10));
        assert_eq!(ids.take(), Taken::IdAndAsk(BranchId(11)));
        assert_eq!([ids.take(), ids.take()], [id(12), id(13)]);
        assert_eq!(ids.take(), Taken::Wait);
        ids.asked(STORE, block(50, 52));
        assert_eq!(ids.take(), Taken::IdAndAsk(BranchId(50)));
        ids.asked(STORE, None);
        assert_eq!(ids.take(), Taken::IdAndAsk(BranchId(51)), "a refused block is asked for again");
    }

    #[test]
    fn a_new_stream_drops_the_blocks_of_the_old_one() {
        let ids = BranchIds::default();
        ids.restart(STORE, block(10, 20));
        ids.asked(STORE, block(20, 30));
        ids.restart(STORE, block(7, 9));
        ids.asked(StoreId(2), block(30, 40));
        assert_eq!(ids.take(), Taken::IdAndAsk(BranchId(7)));
        assert_eq!(ids.take(), Taken::Id(BranchId(8)));
        assert_eq!(ids.take(), Taken::Wait, "another store's block is none of ours");
        ids.restart(STORE, None);
        assert_eq!(ids.take(), Taken::Ask);
    }
}
