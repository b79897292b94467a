//! The store's side of the driver: one thing at a time, in order.
//!
//! A large batch is written by a thread of its own, beside which the next one is decided. A small one
//! is written by the driver's task: there is hardly anything to decide meanwhile, and waking another
//! thread costs more than the work.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use pactum_core::event::IdBlock;
use pactum_core::id::Epoch;
use pactum_core::step::Write;
use pactum_core::time::WallTime;
use tokio::sync::mpsc;
use tokio::task::yield_now;
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

/// Rows that are worth another thread. 64: some dozen microseconds of encoding.
const ROWS_APART: usize = 64;

/// The way to whoever writes.
pub(super) struct Writer {
    store: Arc<dyn Store>,
    jobs: mpsc::Sender<Job>,
    landings: mpsc::Receiver<Landing>,
    /// A small job under way; `None` from it if it panicked.
    here: Option<BoxFuture<'static, Option<Landing>>>,
}

impl Writer {
    pub(super) fn start(store: Arc<dyn Store>, tasks: &Tasks) -> Self {
        let (jobs, mut queue) = mpsc::channel(1);
        let (landed, landings) = mpsc::channel(1);
        let beside = Arc::clone(&store);
        tasks.spawn_apart("store", async move {
            while let Some(job) = queue.recv().await {
                // The driver may be gone; then nobody waits.
                let _ = landed.send(perform(&*beside, job).await).await;
            }
        });
        Writer { store, jobs, landings, here: None }
    }

    /// Hands over a job; the one before has landed.
    pub(super) fn submit(&mut self, job: Job) {
        match &job {
            Job::Batch { writes, .. } if is_small(writes) => {
                let store = Arc::clone(&self.store);
                let work = async move {
                    // The store may keep this thread until it is done; what the last batch released
                    // leaves first.
                    yield_now().await;
                    perform(&*store, job).await
                };
                let caught = AssertUnwindSafe(work).catch_unwind().map(Result::ok);
                self.here = Some(caught.boxed());
            }
            Job::Batch { .. } | Job::Ids { .. } => {
                // If the writer's task has panicked, no landing comes, which says so.
                let _ = self.jobs.try_send(job);
            }
        }
    }

    /// What became of the job; `None` if it, or the writer's task, has panicked.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing is lost: the job goes on when it is waited for again.
    pub(super) async fn landing(&mut self) -> Option<Landing> {
        let Some(here) = &mut self.here else { return self.landings.recv().await };
        let landing = here.await;
        self.here = None;
        landing
    }
}

/// Whether a batch is written sooner than another thread is woken. What leaves the history is several
/// rows each.
fn is_small(writes: &[Write]) -> bool {
    let prunes = writes.iter().any(|write| matches!(write, Write::Prune { .. }));
    writes.len() < ROWS_APART && !prunes
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
