//! The group task: the one writer of a group, and the way to it.
//!
//! ```text
//! transport ── Vec<Event>, stamped ──▶ queue ──▶ driver ── batch ──▶ store
//!                                                  │ once durable
//!                                                  └── replies, work ──▶ dispatch ──▶ transport
//! ```
//!
//! - `driver`: performs steps, in the order decide, write, tell.
//! - `batch`: what was decided together and leaves together.
//! - `recover`: lead, load, rebuild, reserve ids.
//! - `queue`: the way in, with its stamps and its limit for begins.
//! - `timers`: what comes back at its moment.
//! - `writer`: the store's side, one thing at a time.
//! - `story`: the log line and the count of each status move.

mod batch;
mod driver;
mod queue;
mod recover;
mod story;
#[cfg(test)]
mod tests;
mod timers;
mod watchers;
mod writer;

use std::sync::Arc;

use pactum_core::group::Group;
use pactum_proto::convert::{Identity, RequestReader};
use pactum_proto::v1;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use driver::{Driver, chain};
pub(crate) use queue::Inbox;
pub(crate) use watchers::{WATCHERS_MAX, Watcher, Watchers};

use crate::dispatch::{Calls, Links, Questions};
use crate::environment::{Clock, Environment};
use crate::metrics::Metrics;
use crate::options::ServerOptions;
use crate::store::{self, Store};
use crate::tasks::Tasks;

/// Why the group task ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The group could not be led or loaded.
    #[error("load the group from its store")]
    Recover(#[source] store::Error),
    /// A write failed on a store that must not be read back by the same process.
    #[error("write a batch to the store")]
    Write(#[source] store::Error),
    /// Somebody else leads. Taking the lead back would depose that one, which would take it back in
    /// turn: both would serve by halves for ever.
    #[error(
        "another coordinator leads this group, so this one ends; run one coordinator a group, and \
         look at where the other one was started"
    )]
    Deposed(#[source] store::Error),
    /// It or the task that writes panicked: a fault of ours.
    #[error("the group task panicked")]
    Panicked,
}

impl EngineError {
    /// A refused write means a leader, whatever this one was doing; other errors are what `as_other`
    /// makes of them.
    fn of(error: store::Error, as_other: fn(store::Error) -> EngineError) -> EngineError {
        match error {
            store::Error::Refused(_) => EngineError::Deposed(error),
            store::Error::Unknown(_) | store::Error::Read { .. } | store::Error::Corrupt(_) => {
                as_other(error)
            }
        }
    }
}

const LOADING: &str = "the coordinator is loading its group; try again";
const STOPPED: &str = "the coordinator has stopped; try again later";

/// How the group task ended.
pub(crate) type Ended = Result<(), Arc<EngineError>>;

/// How far the group task is.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// The group is being loaded: nothing is answered.
    Recovering,
    /// It leads.
    Serving(Arc<Leading>),
    /// It still leads, and takes no begins.
    Draining(Arc<Leading>),
    /// It is over.
    Stopped,
}

/// A leadership: who we are, and what requests may say to us.
#[derive(Debug)]
pub(crate) struct Leading {
    pub(crate) identity: Identity,
    pub(crate) reader: RequestReader,
}

/// What the engine is made of.
pub(crate) struct Setup {
    pub(crate) options: Arc<ServerOptions>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) environment: Environment,
    pub(crate) tasks: Tasks,
}

/// The way to the group task. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    pub(crate) inbox: Inbox,
    pub(crate) links: Arc<Links>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) questions: Arc<Questions>,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) metrics: Arc<Metrics>,
    phase: watch::Sender<Phase>,
    stop: CancellationToken,
    ended: watch::Receiver<Option<Ended>>,
}

impl Engine {
    /// Starts the group task, which first recovers.
    pub(crate) fn start(setup: Setup) -> Engine {
        let clock = Clock::start(setup.environment.clone());
        let (events, queue) = mpsc::channel(setup.options.engine.queue_batches_max);
        let (phase, _) = watch::channel(Phase::Recovering);
        let (report, ended) = watch::channel(None);
        let engine = Engine {
            inbox: Inbox::new(events, clock.clone(), setup.options.engine.begins_queued_max),
            links: Arc::default(),
            calls: Arc::default(),
            questions: Arc::default(),
            watchers: Arc::default(),
            metrics: Arc::default(),
            phase,
            stop: CancellationToken::new(),
            ended,
        };
        let tasks = setup.tasks.clone();
        let started = engine.clone();
        tasks.spawn("group", async move {
            let mut end = EndGuard { engine: started.clone(), report, result: None };
            end.result = Some(Driver::run(setup, started, queue, clock).await);
        });
        engine
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Stops taking begins, if it leads.
    pub(crate) fn set_draining(&self) {
        self.phase.send_modify(|phase| {
            if let Phase::Serving(leading) = phase {
                *phase = Phase::Draining(leading.clone());
            }
        });
    }

    /// The leadership, while there is one that answers.
    ///
    /// # Errors
    /// A typed *unavailable*.
    pub(crate) fn leading(&self) -> Result<Arc<Leading>, v1::Error> {
        match &*self.phase.borrow() {
            Phase::Serving(leading) | Phase::Draining(leading) => Ok(leading.clone()),
            Phase::Recovering => Err(unavailable(LOADING)),
            Phase::Stopped => Err(unavailable(STOPPED)),
        }
    }

    /// The leadership, for those who come to stay.
    ///
    /// # Errors
    /// A typed *unavailable*: nobody should attach to a coordinator that is about to stop.
    pub(crate) fn leading_for_attachment(&self) -> Result<Arc<Leading>, v1::Error> {
        match &*self.phase.borrow() {
            Phase::Draining(_) => {
                Err(unavailable("the coordinator is draining; attach again when it is back"))
            }
            Phase::Serving(leading) => Ok(leading.clone()),
            Phase::Recovering => Err(unavailable(LOADING)),
            Phase::Stopped => Err(unavailable(STOPPED)),
        }
    }

    /// Whether a begin may be queued.
    ///
    /// # Errors
    /// A typed *unavailable*: draining, or busy with what has begun before.
    pub(crate) fn admit_begin(&self) -> Result<(), v1::Error> {
        match &*self.phase.borrow() {
            Phase::Draining(_) => {
                Err(unavailable("the coordinator is draining; begin at another one or try again"))
            }
            Phase::Serving(_) | Phase::Recovering | Phase::Stopped if self.inbox.is_congested() => {
                Err(unavailable("the coordinator is busy; begin again in a moment"))
            }
            Phase::Serving(_) | Phase::Recovering | Phase::Stopped => Ok(()),
        }
    }

    /// Asks the group something that changes nothing. The answer waits, as every answer does, until
    /// all that it was computed from is durable; `None` if the group is gone by then.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Group) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let look = move |group: &Group| {
            let seen = question(group);
            // The one who asked may have gone; then nobody needs the answer.
            Box::new(move || drop(answer.send(seen))) as Box<dyn FnOnce() + Send>
        };
        self.inbox.look(Box::new(look)).await.ok()?;
        answered.await.ok()
    }

    /// Finishes what was decided, then ends.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for the end, and says why.
    pub(crate) async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let result = ended.wait_for(Option::is_some).await.ok().and_then(|result| result.clone());
        result.unwrap_or_else(|| Err(Arc::new(EngineError::Panicked)))
    }
}

fn unavailable(message: &str) -> v1::Error {
    pactum_proto::convert::unavailable(message, std::time::Duration::from_millis(100))
}

/// Tells everyone that the group task is over, however it ended: returned, panicked or aborted.
struct EndGuard {
    engine: Engine,
    report: watch::Sender<Option<Ended>>,
    result: Option<Result<(), EngineError>>,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.engine.set_phase(Phase::Stopped);
        self.engine.links.end_all_unknown();
        self.engine.calls.end_all_unknown();
        self.engine.watchers.all_moved();
        let result = self.result.take().unwrap_or(Err(EngineError::Panicked));
        self.report.send_replace(Some(result.map_err(Arc::new)));
    }
}
