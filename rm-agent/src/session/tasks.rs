//! What runs beside its callers: named, counted, and waited for at shutdown.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

#[derive(Debug)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    /// Kept, because a transaction may be dropped on a thread that has no runtime.
    runtime: Handle,
}

impl Tasks {
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub(crate) fn on_current_runtime() -> Self {
        Tasks { tracker: TaskTracker::new(), runtime: Handle::current() }
    }

    pub(crate) fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = task.instrument(tracing::debug_span!("task", name));
        self.tracker.spawn_on(task, &self.runtime);
    }

    /// Waits until all have ended, at most `wait_max`; says whether they have.
    pub(crate) async fn drained(&self, wait_max: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(wait_max, self.tracker.wait()).await.is_ok()
    }
}
