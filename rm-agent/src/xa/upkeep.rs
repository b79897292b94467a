//! What an attached pool does by itself now and then: old barrier rows are purged, and the janitor
//! looks for prepared transactions that stayed behind.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use super::janitor::{Janitor, TidyError};
use super::pool::XaPool;
use crate::at::AtDatabase;
use crate::barrier;
use crate::db::DbError;

/// How often the janitor looks. 60 s: what stays behind keeps its rows locked, and a look is one
/// statement.
const ROUND_EVERY: Duration = Duration::from_secs(60);
/// Rounds between two purges: an hour.
const ROUNDS_PER_PURGE: u32 = 60;

/// The task of a pool; it ends with it.
#[derive(Debug)]
pub(super) struct Upkeep {
    _rounds: AbortOnDropHandle<()>,
}

impl<DB: AtDatabase> XaPool<DB> {
    pub(super) fn keep_up(&self) {
        let upkeep =
            Upkeep { _rounds: AbortOnDropHandle::new(tokio::spawn(rounds(self.janitor()))) };
        // A pool is attached once, so the cell is empty.
        drop(self.0.upkeep.set(upkeep));
    }

    /// Holds nothing of the pool itself, which ends it by going.
    pub(super) fn janitor(&self) -> Janitor {
        let shared = &self.0;
        shared.support.janitor(&shared.link, &shared.resource, shared.options.barrier_keep)
    }
}

/// The janitor's rounds, for ever.
pub(crate) async fn rounds(mut janitor: Janitor) {
    for round in 0_u32.. {
        sleep(ROUND_EVERY).await;
        match janitor.round().await {
            Ok(tidied) => {
                debug!(txn.resource = %janitor.resource, ?tidied, "prepared looked through")
            }
            Err(error) => not_done(&janitor, &error),
        }
        if round % ROUNDS_PER_PURGE == 0
            && let Err(error) = purge(&janitor).await
        {
            not_done(&janitor, &error.into());
        }
    }
}

fn not_done(janitor: &Janitor, error: &TidyError) {
    let error: &dyn std::error::Error = error;
    warn!(txn.resource = %janitor.resource, error, "prepared transactions not looked through");
}

/// Removes undone rows and tombstones that are older than `barrier_keep`.
async fn purge(janitor: &Janitor) -> Result<(), DbError> {
    let before = (janitor.prepared.wall)().earlier_by(janitor.barrier_keep);
    barrier::purge(&*janitor.prepared.database, before).await.map(drop)
}
