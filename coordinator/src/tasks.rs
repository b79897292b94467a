//! Tasks that are named, counted and ended with the server.

use std::future::Future;
use std::sync::{Arc, Mutex};

use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

/// The tasks of one server. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    handles: Arc<Mutex<Handles>>,
}

#[derive(Debug, Default)]
struct Handles {
    running: Vec<AbortHandle>,
    aborted: bool,
}

impl Tasks {
    /// Starts a task. It ends with the server, at the latest.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        tracing::trace!(task = name, "task started");
        let handle = self.tracker.spawn(task).abort_handle();
        let mut handles = self.handles.lock().expect("no task panics while it holds this lock");
        if handles.aborted {
            handle.abort();
            return;
        }
        if handles.running.len() == handles.running.capacity() {
            // Pruned only where the list would grow, so that each handle is looked at a few times.
            handles.running.retain(|handle| !handle.is_finished());
        }
        handles.running.push(handle);
    }

    /// Ends every task at its next await.
    pub(crate) fn abort(&self) {
        let mut handles = self.handles.lock().expect("no task panics while it holds this lock");
        handles.aborted = true;
        for handle in handles.running.drain(..) {
            handle.abort();
        }
    }

    /// Waits until no task is left.
    pub(crate) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
