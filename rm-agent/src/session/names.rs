//! The numbers under which this session begins global transactions without asking.
//!
//! ```text
//! a begin is asked ─▶ another one soon after: a block is asked for ─▶ begins are told, not asked
//!        ▲                                                                      │
//!        └── no block, or it has grown old, or the coordinator refused a begin ◀┘
//! ```
//!
//! A block belongs to its stream and goes with it. One that has grown old is not used: the
//! coordinator's history may have passed its numbers, and what is unknown there has *expired*.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pactum_core::id::{GroupName, Xid, XidNumber};
use pactum_proto::v1::IdBlock;
use tokio::time::Instant;

/// How long a block is used. 10 s: a coordinator that ends a hundred thousand transactions a second
/// has them in its history for as long.
const BLOCK_KEPT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Names {
    group: GroupName,
    /// What the coordinator accepts; a begin that it would refuse is asked, to hear so.
    timeout_max: Duration,
    blocks: Mutex<Blocks>,
}

#[derive(Debug, Default)]
struct Blocks {
    current: Block,
    next: Option<Block>,
    begun_at: Option<Instant>,
    asked: Asked,
}

#[derive(Debug)]
struct Block {
    numbers: Range<u64>,
    count: u64,
    until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Asked {
    #[default]
    No,
    Yes,
    /// This coordinator gives none.
    InVain,
}

/// How a begin is to be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// The name to tell; `None`: ask for one.
    pub(super) xid: Option<Xid>,
    /// Whether it is this caller's part to ask for a block, once it has begun.
    pub(super) ask: bool,
}

impl Names {
    pub(super) fn new(group: GroupName, timeout_max: Duration) -> Self {
        Names { group, timeout_max, blocks: Mutex::default() }
    }

    /// Takes a name for a transaction that the coordinator will accept.
    pub(super) fn take(&self, timeout: Duration, outer: Option<&Xid>, now: Instant) -> Taken {
        let accepted = Duration::from_millis(1) <= timeout
            && timeout <= self.timeout_max
            && outer.is_none_or(|outer| outer.group == self.group);
        if !accepted {
            return Taken { xid: None, ask: false };
        }
        let mut blocks = self.blocks();
        let soon = blocks.begun_at.replace(now).is_some_and(|last| now < last + BLOCK_KEPT);
        blocks.turn(now);
        let number = blocks.current.numbers.next();
        let low = blocks.next.is_none() && blocks.current.is_low();
        let ask = soon && low && blocks.asked == Asked::No;
        if ask {
            blocks.asked = Asked::Yes;
        }
        let xid = number.map(|number| Xid { group: self.group.clone(), number: XidNumber(number) });
        Taken { xid, ask }
    }

    /// A block, which was asked for at this moment.
    pub(super) fn granted(&self, block: IdBlock, asked_at: Instant) {
        let mut blocks = self.blocks();
        blocks.asked = Asked::No;
        let numbers = block.first..block.end;
        let count = block.end.saturating_sub(block.first);
        blocks.next = Some(Block { numbers, count, until: Some(asked_at + BLOCK_KEPT) });
    }

    /// No block now.
    pub(super) fn not_now(&self) {
        self.blocks().asked = Asked::No;
    }

    /// No block from this coordinator.
    pub(super) fn never(&self) {
        self.blocks().asked = Asked::InVain;
    }

    /// A begin was refused: the next ones are asked, so that they hear why, and wait.
    pub(super) fn refused(&self) {
        let mut blocks = self.blocks();
        (blocks.current, blocks.next) = (Block::default(), None);
    }

    fn blocks(&self) -> std::sync::MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blocks {
    /// Goes on to the next block, if the current one is used up or old.
    fn turn(&mut self, now: Instant) {
        if !self.current.is_good(now) {
            self.current = self.next.take().filter(|next| next.is_good(now)).unwrap_or_default();
        }
    }
}

impl Block {
    fn is_good(&self, now: Instant) -> bool {
        !self.numbers.is_empty() && self.until.is_some_and(|until| now < until)
    }

    /// Whether half of it is used.
    fn is_low(&self) -> bool {
        self.numbers.end.saturating_sub(self.numbers.start) <= self.count / 2
    }
}

impl Default for Block {
    fn default() -> Self {
        Block { numbers: 0..0, count: 0, until: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn names() -> (Names, Instant) {
        (Names::new("g".parse().unwrap(), 60 * SECOND), Instant::now())
    }

    fn take(names: &Names, now: Instant) -> (Option<u64>, bool) {
        let Taken { xid, ask } = names.take(SECOND, None, now);
        (xid.map(|xid| xid.number.0), ask)
    }

    #[tokio::test]
    async fn a_block_is_asked_for_once_there_are_begins_to_use_it() {
        let (names, now) = names();
        assert_eq!(take(&names, now), (None, false), "one begin alone");
        assert_eq!(take(&names, now), (None, true));
        assert_eq!(take(&names, now), (None, false), "asked for once");
        names.granted(IdBlock { first: 10, end: 14 }, now);
        assert_eq!(take(&names, now), (Some(10), false));
        assert_eq!(take(&names, now), (Some(11), true), "half of it is used");
        names.granted(IdBlock { first: 20, end: 24 }, now);
        let rest = [12, 13, 20].map(Some);
        assert_eq!([(); 3].map(|()| take(&names, now).0), rest);
    }

    #[tokio::test]
    async fn an_old_block_and_one_after_a_refusal_are_not_used() {
        let (names, now) = names();
        take(&names, now);
        names.granted(IdBlock { first: 10, end: 1_000 }, now);
        assert_eq!(take(&names, now), (Some(10), false));
        assert_eq!(take(&names, now + BLOCK_KEPT), (None, false), "and nobody has begun for long");
        assert_eq!(take(&names, now + BLOCK_KEPT), (None, true));
        names.granted(IdBlock { first: 2_000, end: 3_000 }, now + BLOCK_KEPT);
        names.refused();
        assert_eq!(take(&names, now + BLOCK_KEPT), (None, true));
        names.never();
        assert_eq!(take(&names, now + BLOCK_KEPT), (None, false));
    }

    #[tokio::test]
    async fn what_the_coordinator_would_refuse_is_asked() {
        let (names, now) = names();
        take(&names, now);
        names.granted(IdBlock { first: 10, end: 1_000 }, now);
        let asked = |timeout, outer: Option<&str>| {
            let outer = outer.map(|xid| xid.parse().unwrap());
            names.take(timeout, outer.as_ref(), now).xid.is_none()
        };
        assert!(asked(61 * SECOND, None));
        assert!(asked(Duration::ZERO, None));
        assert!(asked(SECOND, Some("other:1")));
        assert!(!asked(SECOND, Some("g:1")));
    }
}
