//! Branch ids from the blocks that the coordinator hands to the session.

use std::collections::VecDeque;

use pactum_proto::v1::IdBlock;

/// The ids that are left.
#[derive(Debug, Default)]
pub(super) struct BranchIds {
    blocks: VecDeque<IdBlock>,
    left: u64,
    /// The size of the first block: with half of it left the next one is asked for.
    block: u64,
    asked: bool,
}

impl BranchIds {
    pub(super) fn add(&mut self, block: IdBlock) {
        let size = block.end.saturating_sub(block.first);
        self.block = self.block.max(size);
        self.left += size;
        self.blocks.push_back(block);
        self.asked = false;
    }

    pub(super) fn take(&mut self) -> Option<u64> {
        while let Some(block) = self.blocks.front_mut() {
            if block.first < block.end {
                block.first += 1;
                self.left -= 1;
                return Some(block.first - 1);
            }
            self.blocks.pop_front();
        }
        None
    }

    /// What is left of the block in use, for whoever comes next; the rest is forgotten.
    pub(super) fn into_rest(mut self) -> Option<IdBlock> {
        self.blocks.pop_back()
    }

    /// Whether a further block is to be asked for now; says so once a block.
    pub(super) fn run_low(&mut self) -> bool {
        let low = !self.asked && self.left * 2 <= self.block;
        self.asked |= low;
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_on_into_the_next_block_which_is_asked_for_once() {
        let mut ids = BranchIds::default();
        ids.add(IdBlock { first: 10, end: 14 });
        assert!(!ids.run_low());
        assert_eq!((ids.take(), ids.take()), (Some(10), Some(11)));
        assert!(ids.run_low());
        assert!(!ids.run_low());
        assert_eq!((ids.take(), ids.take(), ids.take()), (Some(12), Some(13), None));
        ids.add(IdBlock { first: 90, end: 94 });
        assert_eq!(ids.take(), Some(90));
    }
}
