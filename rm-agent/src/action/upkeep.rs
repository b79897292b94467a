//! What an attached pool of actions does by itself now and then: it purges what is used up and old,
//! and asks about what is open and old.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use super::error::ActionError;
use super::pool::{ActionDatabase, ActionPool};
use crate::barrier::Mode;
use crate::barrier::purge::Purger;
use crate::barrier::sweep::{SWEPT_ROWS_MAX, SweepError, Sweeper};

/// How often used-up rows are looked for. They are kept for a day or more, so an hour more does not
/// matter.
const PURGE_EVERY: Duration = Duration::from_secs(60 * 60);
/// How often open rows are asked about. 10 min: as old as they must be.
const SWEEP_EVERY: Duration = Duration::from_secs(10 * 60);
/// And the first time: soon, or a process that is restarted often would never come to it.
const FIRST_AFTER: Duration = Duration::from_secs(60);

/// The tasks of a pool; they end with it.
#[derive(Debug)]
pub(super) struct Upkeep {
    _purging: AbortOnDropHandle<()>,
    _sweeping: [AbortOnDropHandle<()>; 2],
}

impl<DB: ActionDatabase> ActionPool<DB> {
    pub(super) fn keep_up(&self) {
        let sweep = |mode| AbortOnDropHandle::new(tokio::spawn(now_and_then(self.sweeper(mode))));
        let upkeep = Upkeep {
            _purging: AbortOnDropHandle::new(tokio::spawn(purge_now_and_then(self.purger()))),
            _sweeping: [Mode::Tcc, Mode::Saga].map(sweep),
        };
        // A pool is attached once, so the cell is empty.
        drop(self.0.upkeep.set(upkeep));
    }

    /// Holds nothing of the pool itself, which ends the sweep by going.
    pub(super) fn sweeper(&self, mode: Mode) -> Sweeper {
        Sweeper {
            database: Arc::clone(&self.0.own),
            link: Arc::clone(&self.0.link),
            resource: self.0.resource.clone(),
            mode,
            wall: self.0.options.environment.wall,
            after: None,
        }
    }

    fn purger(&self) -> Purger {
        Purger {
            database: Arc::clone(&self.0.own),
            link: Arc::clone(&self.0.link),
            resource: self.0.resource.clone(),
            wall: self.0.options.environment.wall,
            keep: self.0.options.barrier_keep,
        }
    }

    /// Removes the rows of confirmed, cancelled and compensated branches, and tombstones, that are
    /// older than `barrier_keep` and whose transaction has ended, and returns how many. Rows of
    /// unfinished transactions stay, however old they are. An attached pool does this by itself every
    /// hour.
    ///
    /// # Errors
    /// [`ActionError`] if the database refuses or the coordinator does not answer; what was removed
    /// before stays removed.
    pub async fn purge_barrier(&self) -> Result<u64, ActionError> {
        self.purger().round().await.map_err(|error| match error {
            SweepError::Db(error) => ActionError::from_db(error),
            SweepError::Call(error) => ActionError::Coordinator(error),
        })
    }
}

async fn purge_now_and_then(purger: Purger) {
    let mut pause = FIRST_AFTER;
    loop {
        sleep(pause).await;
        pause = PURGE_EVERY;
        match purger.round().await {
            Ok(rows) => debug!(txn.resource = %purger.resource, rows, "barrier purged"),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                warn!(txn.resource = %purger.resource, error, "barrier not purged");
            }
        }
    }
}

async fn now_and_then(mut sweeper: Sweeper) {
    let mut pause = FIRST_AFTER;
    loop {
        sleep(pause).await;
        pause = SWEEP_EVERY;
        match sweep_all(&mut sweeper).await {
            Ok(rows) => debug!(txn.resource = %sweeper.resource, rows, "barrier swept"),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                warn!(txn.resource = %sweeper.resource, error, "barrier not swept");
            }
        }
    }
}

/// Every step of a committed saga is swept, so a round is not enough. Returns how many rows were
/// looked at.
pub(super) async fn sweep_all(sweeper: &mut Sweeper) -> Result<usize, SweepError> {
    let mut seen = 0;
    loop {
        let swept = sweeper.round().await?;
        seen += swept.seen;
        if swept.seen < SWEPT_ROWS_MAX {
            return Ok(seen);
        }
    }
}
