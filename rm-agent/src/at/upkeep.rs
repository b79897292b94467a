//! What an attached pool does by itself now and then: it purges what is settled and old, and sweeps
//! what is open and old.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use super::engine::AtDatabase;
use super::error::AtError;
use super::pool::{AtPool, Shared};
use crate::barrier::sweep::Sweeper;
use crate::barrier::{self, Mode};
use crate::xa;

/// How often old barrier rows are looked for. They are kept for a day or more, so an hour more
/// does not matter.
const PURGE_EVERY: Duration = Duration::from_secs(60 * 60);
/// How often open rows are asked about. 10 min: as old as they must be.
const SWEEP_EVERY: Duration = Duration::from_secs(10 * 60);
/// And the first time: soon, or a process that is restarted often would never come to it.
const FIRST_AFTER: Duration = Duration::from_secs(60);

/// The tasks of a pool; they end with it.
#[derive(Debug)]
pub(super) struct Upkeep {
    _purging: AbortOnDropHandle<()>,
    _sweeping: AbortOnDropHandle<()>,
    _tidying: Option<AbortOnDropHandle<()>>,
}

impl<DB: AtDatabase> AtPool<DB> {
    pub(super) fn keep_up(&self) {
        let upkeep = Upkeep {
            _purging: AbortOnDropHandle::new(tokio::spawn(self.purge_now_and_then())),
            _sweeping: AbortOnDropHandle::new(tokio::spawn(self.sweep_now_and_then())),
            _tidying: self.0.xa.as_ref().map(|xa| {
                let Shared { link, resource, options, .. } = &*self.0;
                let janitor = xa.janitor(link, resource, options.barrier_keep);
                AbortOnDropHandle::new(tokio::spawn(xa::rounds(janitor)))
            }),
        };
        // A pool is attached once, so the cell is empty.
        drop(self.0.upkeep.set(upkeep));
    }

    fn purge_now_and_then(&self) -> impl Future<Output = ()> + Send + use<DB> {
        let shared = Arc::downgrade(&self.0);
        async move {
            let mut pause = FIRST_AFTER;
            loop {
                sleep(pause).await;
                pause = PURGE_EVERY;
                let Some(shared) = shared.upgrade() else { return };
                let pool = AtPool::of(shared);
                match pool.purge_barrier().await {
                    Ok(rows) => debug!(txn.resource = %pool.resource(), rows, "barrier purged"),
                    Err(error) => {
                        warn!(txn.resource = %pool.resource(), error = %error, "barrier not purged");
                    }
                }
            }
        }
    }

    fn sweep_now_and_then(&self) -> impl Future<Output = ()> + Send + use<DB> {
        let mut sweeper = self.sweeper();
        async move {
            let mut pause = FIRST_AFTER;
            loop {
                sleep(pause).await;
                pause = SWEEP_EVERY;
                match sweeper.round().await {
                    Ok(swept) => debug!(txn.resource = %sweeper.resource, ?swept, "barrier swept"),
                    Err(error) => {
                        let error: &dyn std::error::Error = &error;
                        warn!(txn.resource = %sweeper.resource, error, "barrier not swept");
                    }
                }
            }
        }
    }

    /// Holds nothing of the pool itself, which ends the sweep by going.
    pub(super) fn sweeper(&self) -> Sweeper {
        Sweeper {
            database: Arc::clone(&self.0.own),
            link: Arc::clone(&self.0.link),
            resource: self.0.resource.clone(),
            mode: Mode::At,
            wall: self.0.options.environment.wall,
            after: None,
        }
    }

    /// Removes undone rows and tombstones older than `barrier_keep`, and returns how many. Open rows
    /// stay, however old they are. An attached pool does this by itself every hour.
    ///
    /// # Errors
    /// [`AtError`] if the database refuses; what was removed before stays removed.
    pub async fn purge_barrier(&self) -> Result<u64, AtError> {
        let options = &self.0.options;
        let before = (options.environment.wall)().earlier_by(options.barrier_keep);
        barrier::purge(&*self.0.own, before).await.map_err(AtError::from_db)
    }
}
