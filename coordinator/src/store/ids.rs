//! Blocks of ids: what is reserved is never issued twice, whatever the clock does.

use pactum_core::event::IdBlock;
use pactum_core::id::XidNumber;
use pactum_core::time::WallTime;

use super::Error;

/// How far a wall-clock millisecond is shifted: a million ids in each, so that ids are ordered by
/// time and a block that is lost with a restart costs nothing.
const MILLISECOND_SHIFT: u32 = 20;

/// The first ids that were never reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) xid: u64,
    pub(super) branch: u64,
}

impl Ends {
    /// Those of a new store. The number below its first id is its horizon: what is asked for below
    /// that was never begun here.
    pub(super) fn at_creation(wall: WallTime) -> Self {
        Ends { xid: first_of(wall).max(1), branch: 1 }
    }

    /// Reserves blocks from max(stored, wall clock) on.
    pub(super) fn reserve(
        &mut self,
        wall: WallTime,
        xids: u64,
        branches: u64,
    ) -> Result<(IdBlock, IdBlock), Error> {
        let xids = block(self.xid.max(first_of(wall)), xids)?;
        let branches = block(self.branch, branches)?;
        *self = Ends { xid: xids.end, branch: branches.end };
        Ok((xids, branches))
    }
}

/// A clock that is off by generations must not use the ids up: it counts as no clock at all.
fn first_of(wall: WallTime) -> u64 {
    let first = wall.0.checked_mul(1 << MILLISECOND_SHIFT).unwrap_or(0);
    if first > XidNumber::MAX.0 / 2 { 0 } else { first }
}

fn block(first: u64, count: u64) -> Result<IdBlock, Error> {
    let end = first.checked_add(count).filter(|end| *end <= XidNumber::MAX.0);
    let end = end.ok_or_else(|| Error::Corrupt(format!("ids from {first} on are used up")))?;
    Ok(IdBlock { first, end })
}
