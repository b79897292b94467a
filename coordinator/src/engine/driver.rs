//! The one place that performs steps: decide, then write, then tell.
//!
//! ```text
//! queue ─▶ decide ─▶ open batch ──┐ nothing in flight
//!             ▲                   ▼
//!             │               in flight ── the store's write ──▶ durable ─▶ replies, work
//!             └── goes on meanwhile, into the next open batch
//! ```
//!
//! One write is in flight, the next batch is decided meanwhile, and batches leave in order. A batch
//! that writes nothing still waits for the one in flight: what it says was computed on that one. The
//! only thing that leaves at once is the answer to a first begin.
//!
//! A batch that nobody waits for, as of transactions that have ended, waits a moment for one that
//! is written anyhow: it would be in the way of who comes next.
//!
//! If a write fails, everything decided on top of it is dropped and everyone who waits hears
//! *unknown, ask again*; then the group is led and loaded anew, or the coordinator ends. It always
//! ends where the store says that another one leads.
//!
//! Easy to get wrong: a timer must not overtake an event that arrived before it. Timers fire up to
//! the stamp of the event that is handled next, and up to the present only when nothing is queued.

use std::mem;
use std::sync::Arc;

use pactum_core::event::Event;
use pactum_core::group::Group;
use pactum_core::id::XidNumber;
use pactum_core::step::{Change, Command, Release, Step, Write};
use pactum_core::time::{Now, Timestamp};
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until};

use super::batch::{Batch, Outgoing};
use super::queue::Message;
use super::recover::{RELOAD_PAUSE, Recovered, recover};
use super::story::Story;
use super::timers::Timers;
use super::writer::{Job, Landing, Writer};
use super::{Engine, EngineError, Leading, Phase, Setup};
use crate::dispatch::Dispatch;
use crate::environment::Clock;
use crate::store::{self, AfterUnknown};

/// How many messages are taken from the queue before the driver looks at its write again.
const TAKE_MAX: usize = 256;

/// How many rows an idle store is given though more is queued. Otherwise everybody's next request comes
/// to be in one batch, and store and group only ever wait for each other. 256: written in a millisecond,
/// of which the sync is a third.
pub(super) const ROWS_TO_START: usize = 256;

/// The group task's state.
pub(crate) struct Driver {
    setup: Setup,
    engine: Engine,
    queue: mpsc::Receiver<Message>,
    clock: Clock,
    group: Group,
    leading: Arc<Leading>,
    timers: Timers,
    dispatch: Dispatch,
    open: Batch,
    writer: Writer,
    /// What leaves once the store has done what it is doing.
    in_flight: Option<Batch>,
    ids_wanted: bool,
    /// The last stamp: they never decrease.
    last: Timestamp,
}

impl Driver {
    /// Recovers, then serves until it is stopped or cannot go on.
    pub(crate) async fn run(
        setup: Setup,
        engine: Engine,
        queue: mpsc::Receiver<Message>,
        clock: Clock,
    ) -> Result<(), EngineError> {
        let recovered = recover(&setup, &clock).await;
        let recovered = recovered.map_err(|error| EngineError::of(error, EngineError::Recover))?;
        let Recovered { group, leading, timers: first_timers } = recovered;
        let dispatch = Dispatch::new(&engine, setup.options.session.clone(), group.resources());
        let mut timers = Timers::default();
        timers.add(first_timers);
        let writer = Writer::start(setup.store.clone(), &setup.tasks);
        let mut driver = Driver {
            setup,
            engine,
            queue,
            clock,
            group,
            leading,
            timers,
            dispatch,
            open: Batch::default(),
            writer,
            in_flight: None,
            ids_wanted: false,
            last: Timestamp::default(),
        };
        driver.engine.set_phase(Phase::Serving(driver.leading.clone()));
        driver.serve().await
    }

    async fn serve(&mut self) -> Result<(), EngineError> {
        let stop = self.engine.stop.clone();
        let mut alarm = Box::pin(sleep_until(self.clock.instant(self.last)));
        loop {
            self.move_on();
            let room = self.has_room();
            let due = self.open.due_at().filter(|_| self.in_flight.is_none());
            let next_alarm = self.timers.next_at().into_iter().chain(due).min();
            if let Some(at) = next_alarm {
                let at = self.clock.instant(at);
                if alarm.deadline() != at {
                    alarm.as_mut().reset(at);
                }
            }
            tokio::select! {
                biased;
                landing = self.writer.landing(), if self.in_flight.is_some() => {
                    self.landed(landing).await?;
                }
                message = self.queue.recv(), if room => match message {
                    Some(message) => self.take_messages(message),
                    None => break,
                },
                () = alarm.as_mut(), if room && next_alarm.is_some() => {
                    self.fire_timers(self.clock.now());
                }
                () = stop.cancelled() => break,
            }
        }
        self.finish().await
    }

    /// Makes durable and releases what was decided before the stop.
    async fn finish(&mut self) -> Result<(), EngineError> {
        self.ids_wanted = false;
        loop {
            if self.in_flight.is_none() {
                self.start_next();
            }
            self.dispatch.flush();
            if self.in_flight.is_none() {
                return Ok(());
            }
            let landing = self.writer.landing().await;
            self.landed(landing).await?;
        }
    }

    /// Whether the open batch takes more.
    fn has_room(&self) -> bool {
        self.open.events < self.setup.options.engine.batch_events_max
    }

    /// Takes what has queued up, as far as the open batch has room, or until the store, which does
    /// nothing, has enough to do.
    fn take_messages(&mut self, first: Message) {
        self.take(first);
        for _ in 1..TAKE_MAX {
            let enough = self.in_flight.is_none() && self.open.writes.len() >= ROWS_TO_START;
            if enough || !self.has_room() {
                return;
            }
            let Ok(message) = self.queue.try_recv() else { return };
            self.take(message);
        }
    }

    fn take(&mut self, message: Message) {
        let at = message.at();
        // Only up to this stamp: what arrived before a deadline is not late, however long it was
        // queued.
        self.fire_timers(at);
        match message {
            Message::Events { events, .. } => {
                self.engine.inbox.taken(events.len());
                for event in events {
                    self.perform(event, at);
                }
            }
            Message::Look { look, .. } => {
                let release = look(&self.group);
                self.open.outgoing.push(Outgoing::Seen(release));
            }
        }
    }

    fn fire_timers(&mut self, up_to: Now) {
        while self.has_room()
            && let Some((at, timer)) = self.timers.pop_due(up_to.mono)
        {
            self.perform(timer.into(), Now { mono: at, wall: up_to.wall });
        }
    }

    /// Decides what an event means and keeps what it asks for until it may be done.
    fn perform(&mut self, event: Event, at: Now) {
        self.last = self.last.max(at.mono);
        let at = Now { mono: self.last, wall: at.wall };
        let mut story = Story::before(&self.group, &event);
        let step = self.group.handle(event, at);
        self.engine.metrics.event();
        self.open.events += 1;
        debug_assert!(step.follow_ups.is_empty(), "the group follows up by itself");
        for rule in &step.violations {
            self.engine.metrics.invariant_violated();
            tracing::error!(rule, "a step would have broken an invariant and was dropped");
        }
        let Step { changes, replies, commands, timers, .. } = step;
        for change in changes {
            story.tell(&change, &self.leading.identity, &self.engine.metrics);
            self.dispatch.note(&change);
            match change {
                Change::Stored(write) => {
                    if self.engine.watchers.are_there()
                        && let Some(xid) = of_saga(&write)
                    {
                        self.open.outgoing.push(Outgoing::Moved(xid));
                    }
                    self.open.writes_since.get_or_insert(at.mono);
                    self.open.writes.push(write);
                }
                Change::Volatile(_) => {}
            }
        }
        for answer in replies {
            match answer.release {
                Release::AtOnce => self.dispatch.answer(answer.to, answer.reply),
                Release::WhenDurable => {
                    self.open.outgoing.push(Outgoing::Answer(answer.to, answer.reply));
                }
            }
        }
        for command in commands {
            match command {
                Command::Send(task) => self.open.outgoing.push(Outgoing::Send(task)),
                Command::ReserveIds => self.ids_wanted = true,
            }
        }
        self.timers.add(timers);
        self.timers.sweep(|xid| self.group.transaction(xid).is_some());
    }

    /// Starts what may start, and lets leave what may leave.
    fn move_on(&mut self) {
        if self.in_flight.is_none() && !self.may_wait() {
            self.start_next();
        }
        self.dispatch.flush();
    }

    /// Whether nobody waits for the open batch, and it is not overdue.
    fn may_wait(&self) -> bool {
        let due = self.open.due_at();
        !self.ids_wanted && self.has_room() && due.is_some_and(|due| due > self.clock.now().mono)
    }

    /// Hands the open batch to the store; one that writes nothing leaves.
    fn start_next(&mut self) {
        if mem::take(&mut self.ids_wanted) {
            self.reserve_ids();
        } else if self.open.writes.is_empty() {
            let batch = mem::take(&mut self.open);
            self.release(batch.outgoing);
        } else {
            let next = Batch::as_large_as(&self.open);
            let mut batch = mem::replace(&mut self.open, next);
            batch.rows = batch.writes.len();
            let writes = mem::take(&mut batch.writes);
            self.writer.submit(Job::Batch { epoch: self.leading.identity.epoch, writes });
            self.in_flight = Some(batch);
        }
    }

    /// Between batches, because it writes the lease row as they do.
    fn reserve_ids(&mut self) {
        let options = &self.setup.options.engine;
        let (xids, branches) = (options.xids_reserved, options.branch_ids_reserved);
        let (epoch, wall) = (self.leading.identity.epoch, self.setup.environment.wall());
        self.writer.submit(Job::Ids { epoch, wall, xids, branches });
        self.in_flight = Some(Batch::default());
    }

    async fn landed(&mut self, landing: Option<Landing>) -> Result<(), EngineError> {
        let Some(batch) = self.in_flight.take() else { return Ok(()) };
        let failure = match landing {
            Some(Landing::Batch(Ok(took))) => {
                self.engine.metrics.batch_written(batch.events, batch.rows, took);
                tracing::debug!(events = batch.events, rows = batch.rows, ?took, "batch written");
                self.release(batch.outgoing);
                return Ok(());
            }
            Some(Landing::Ids(Ok((xids, branches)))) => {
                let at = self.clock.now();
                self.perform(Event::IdsReserved { xids, branches }, at);
                return Ok(());
            }
            Some(Landing::Batch(Err(error)) | Landing::Ids(Err(error))) => error,
            None => return Err(EngineError::Panicked),
        };
        // Whoever waits on this batch, or on anything decided since, must not hear what was decided.
        drop(batch);
        match EngineError::of(failure, EngineError::Write) {
            EngineError::Write(failure) => match self.setup.store.after_unknown() {
                AfterUnknown::EndProcess => Err(EngineError::Write(failure)),
                AfterUnknown::Reload => self.reload(failure).await,
            },
            deposed => Err(deposed),
        }
    }

    /// Drops all that was decided on top of a write that failed, tells everyone *unknown*, and reads
    /// back. Sessions are closed: their agents attach anew and repeat what they still know.
    async fn reload(&mut self, failure: store::Error) -> Result<(), EngineError> {
        tracing::warn!(error = %chain(&failure), "batch not written; loading the group anew");
        self.engine.metrics.reloaded();
        self.engine.set_phase(Phase::Recovering);
        self.open = Batch::default();
        self.timers.clear();
        self.ids_wanted = false;
        loop {
            // What queued up before the load comes from sessions that are closed now. In this order:
            // a call is open before its event is queued, so whose event is dropped hears *unknown*.
            while let Ok(message) = self.queue.try_recv() {
                match message {
                    Message::Events { events, .. } => self.engine.inbox.taken(events.len()),
                    Message::Look { .. } => {}
                }
            }
            self.dispatch.forget_all_unknown();
            tokio::select! {
                result = recover(&self.setup, &self.clock) => match result {
                    Ok(recovered) => {
                        self.resume(recovered);
                        return Ok(());
                    }
                    Err(error @ store::Error::Refused(_)) => {
                        return Err(EngineError::Deposed(error));
                    }
                    Err(error) => {
                        tracing::warn!(error = %chain(&error), "group not loaded; trying again");
                    }
                },
                // Told to stop before it was read back: what is in memory was computed on the failed
                // write, and nothing of it may be answered or written.
                () = self.engine.stop.cancelled() => return Err(EngineError::Write(failure)),
            }
            sleep(RELOAD_PAUSE).await;
        }
    }

    fn resume(&mut self, recovered: Recovered) {
        let Recovered { group, leading, timers } = recovered;
        self.dispatch.learn_resources(group.resources());
        self.group = group;
        self.leading = leading;
        self.timers.add(timers);
        self.engine.set_phase(Phase::Serving(self.leading.clone()));
        self.engine.watchers.all_moved();
    }

    fn release(&mut self, outgoing: Vec<Outgoing>) {
        for out in outgoing {
            match out {
                Outgoing::Answer(to, reply) => self.dispatch.answer(to, reply),
                Outgoing::Send(task) => self.dispatch.send(task),
                Outgoing::Moved(xid) => self.engine.watchers.moved(xid),
                Outgoing::Seen(release) => release(),
            }
        }
    }
}

/// The saga that a write may be of.
fn of_saga(write: &Write) -> Option<XidNumber> {
    match write {
        Write::PutTransaction(row) => Some(row.number),
        Write::PutSaga(row) => Some(row.xid),
        Write::PutStep(row) => Some(row.xid),
        Write::PutBranch(_)
        | Write::PutResource(_)
        | Write::DropResource(_)
        | Write::PutDefinition(_)
        | Write::Prune { .. } => None,
    }
}

/// An error with its sources, for a log line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
