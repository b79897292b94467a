//! The store's side of the driver: one thing at a time, in order.

use std::sync::Arc;
use std::time::Duration;

use pactum_core::event::IdBlock;
use pactum_core::id::Epoch;
use pactum_core::step::Write;
use pactum_core::time::WallTime;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::store::{self, Store};
use crate::tasks::Tasks;

/// What the store is to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Make a batch durable.
    Batch { epoch: Epoch, writes: Vec<Write> },
    /// Reserve ids durably.
    Ids { epoch: Epoch, wall: WallTime, xids: u64, branches: u64 },
}

/// What it did.
#[derive(Debug)]
pub(super) enum Landing {
    /// The batch, and how long it took.
    Batch(Result<Duration, store::Error>),
    /// The blocks.
    Ids(Result<(IdBlock, IdBlock), store::Error>),
}

/// The way to the task that writes.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    landings: mpsc::Receiver<Landing>,
}

impl Writer {
    pub(super) fn start(store: Arc<dyn Store>, tasks: &Tasks) -> Self {
        let (jobs, mut queue) = mpsc::channel(1);
        let (landed, landings) = mpsc::channel(1);
        tasks.spawn_apart("store", async move {
            while let Some(job) = queue.recv().await {
                // The driver may be gone; then nobody waits.
                let _ = landed.send(perform(&*store, job).await).await;
            }
        });
        Writer { jobs, landings }
    }

    /// Hands over a job; the one before has landed.
    pub(super) fn submit(&self, job: Job) {
        // If the writer's task has panicked, no landing comes, which says so.
        let _ = self.jobs.try_send(job);
    }

    /// What became of the job; `None` if the writer's task has panicked.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing is lost.
    pub(super) async fn landing(&mut self) -> Option<Landing> {
        self.landings.recv().await
    }
}

async fn perform(store: &dyn Store, job: Job) -> Landing {
    match job {
        Job::Batch { epoch, writes } => {
            let started = Instant::now();
            let result = store.write(epoch, writes).await;
            Landing::Batch(result.map(|()| started.elapsed()))
        }
        Job::Ids { epoch, wall, xids, branches } => {
            Landing::Ids(store.reserve_ids(epoch, wall, xids, branches).await)
        }
    }
}
