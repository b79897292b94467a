//! Tasks that are named, counted and ended with the server.

use std::future::Future;
use std::sync::{Arc, Mutex};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many worker threads a runtime needs that runs a coordinator and little else: half of the cores.
/// One task decides everything, and large batches have a thread of their own. More workers mostly wake
/// each other for a task that is done sooner than they are awake.
#[must_use]
pub fn worker_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

/// The tasks of one server. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    handles: Arc<Mutex<Handles>>,
    aborted: CancellationToken,
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

    /// Starts a task on a thread of its own, because it must not queue behind others: a write to the
    /// store is many short steps, and each would wait for whatever runs on the runtime's threads. On a
    /// runtime of one thread (a test's, a simulator's) it is a task like any other, so that the order
    /// of events stays theirs.
    pub(crate) fn spawn_apart(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let runtime = Handle::current();
        if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
            return self.spawn(name, task);
        }
        let (aborted, token) = (self.aborted.clone(), self.tracker.token());
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = task => {}
                    () = aborted.cancelled() => {}
                }
            });
            drop(token);
        };
        let thread = std::thread::Builder::new().name(name.to_owned());
        // The runtime has just started threads of its own, so this is not the first to fail.
        thread.spawn(run).expect("the system has a thread left");
    }

    /// Ends every task at its next await.
    pub(crate) fn abort(&self) {
        self.aborted.cancel();
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
