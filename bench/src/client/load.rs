//! A closed load on one session: slots, what they do, and when they stop.

use std::collections::VecDeque;

use anyhow::{Result, bail};
use pactum_proto::v1::client_frame::Frame as Request;
use pactum_proto::v1::server_frame::Frame as Answer;
use pactum_proto::v1::{self, ServerFrame, TransactionStatus};
use tokio::time::Instant;

use super::ids::BranchIds;
use super::slot::{Slot, Step};
use super::{ClosedLoad, Counted, Session};
use crate::latency::Latencies;

/// What a session is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Transactions under way at once.
    pub(crate) slots: usize,
    /// Branches each, one after the other, with one lock each.
    pub(crate) branches: usize,
    pub(crate) keys: Keys,
    pub(crate) ending: Ending,
    pub(crate) stop: Stop,
}

/// What the branches lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// A row that nobody else wants.
    OfItsOwn,
    /// All the same row.
    Hot,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Commit(v1::Wait),
    /// Not at all: it is left active once its branches are registered.
    Leave,
}

/// When no further transaction begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    /// Those that end between the two are measured.
    Times { measure_from: Instant, until: Instant },
    /// After so many; all are measured.
    Count(u64),
}

impl Stop {
    /// Whether another one begins, after so many.
    pub(crate) fn goes_on(self, begun: u64, now: Instant) -> bool {
        match self {
            Stop::Times { until, .. } => now < until,
            Stop::Count(count) => begun < count,
        }
    }

    /// Whether one that ends now is measured.
    pub(crate) fn measures(self, now: Instant) -> bool {
        match self {
            Stop::Times { measure_from, until } => measure_from <= now && now < until,
            Stop::Count(_) => true,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) latencies: Latencies,
    /// In all, also before the measuring began.
    pub(crate) ended: u64,
    /// Answered before every branch had confirmed, though completion was waited for.
    pub(crate) only_decided: u64,
    /// Locks that were granted to somebody who had asked later than a waiter.
    pub(crate) out_of_order: u64,
    pub(crate) sent: Counted,
    pub(crate) received: Counted,
}

impl Tally {
    pub(crate) fn new() -> Result<Self> {
        Ok(Tally {
            latencies: Latencies::new()?,
            ended: 0,
            only_decided: 0,
            out_of_order: 0,
            sent: Counted::default(),
            received: Counted::default(),
        })
    }
}

impl ClosedLoad for Load {
    fn slots(&self) -> usize {
        self.slots
    }

    fn with_slots(self, slots: usize) -> Self {
        Load { slots, ..self }
    }

    fn until(self, stop: Stop) -> Self {
        Load { stop, ..self }
    }

    async fn run(self, session: &mut Session) -> Result<Tally> {
        run(session, self).await
    }
}

/// Runs a load until it stops and everything that it began has ended; the session stays usable.
pub(crate) async fn run(session: &mut Session, load: Load) -> Result<Tally> {
    let window = session.welcome.request_window as usize;
    if load.slots > window {
        bail!("{} in flight on a session of window {window}: use more sessions", load.slots);
    }
    let mut driver = Driver::new(session, load)?;
    driver.start();
    loop {
        driver.session.flush()?;
        if driver.is_finished() {
            break;
        }
        let mut batch = Some(driver.session.receive().await?);
        while let Some(frames) = batch {
            let now = Instant::now();
            for frame in frames.frames {
                driver.on_frame(frame, now)?;
            }
            batch = driver.session.receive_now()?;
        }
    }
    Ok(driver.finish())
}

struct Driver<'s> {
    session: &'s mut Session,
    load: Load,
    store: Vec<u8>,
    ids: BranchIds,
    slots: Vec<Slot>,
    /// Slots that wait for a branch id.
    starved: VecDeque<usize>,
    /// Slots whose registration is under way, in the order in which they asked.
    asked: VecDeque<usize>,
    begun: u64,
    busy: usize,
    work_owed: u64,
    tally: Tally,
    before: (Counted, Counted),
}

impl<'s> Driver<'s> {
    fn new(session: &'s mut Session, load: Load) -> Result<Self> {
        let now = Instant::now();
        let mut ids = BranchIds::default();
        if let Some(block) = session.welcome.branch_ids.take() {
            ids.add(block);
        }
        Ok(Driver {
            store: session.welcome.store_id.to_vec(),
            ids,
            slots: (0..load.slots).map(|_| Slot::new(now)).collect(),
            starved: VecDeque::new(),
            asked: VecDeque::new(),
            begun: 0,
            busy: 0,
            work_owed: 0,
            tally: Tally::new()?,
            before: (session.sent, session.received),
            session,
            load,
        })
    }

    fn start(&mut self) {
        let now = Instant::now();
        for slot in 0..self.slots.len() {
            self.begin_next(slot, now);
        }
    }

    fn is_finished(&self) -> bool {
        self.busy == 0 && self.work_owed == 0
    }

    /// Gives the unused ids back to the session, for the next load.
    fn finish(mut self) -> Tally {
        self.session.welcome.branch_ids = self.ids.into_rest();
        self.tally.sent = self.session.sent.since(self.before.0);
        self.tally.received = self.session.received.since(self.before.1);
        self.tally
    }

    fn begin_next(&mut self, slot: usize, now: Instant) {
        if self.load.stop.goes_on(self.begun, now) {
            self.begun += 1;
            self.busy += 1;
            let request = self.slots[slot].begin(now);
            self.request(slot, request);
        }
    }

    /// A slot has one request under way, so its place names it.
    fn request(&mut self, slot: usize, request: Request) {
        self.session.queue(slot as u64 + 1, request);
    }

    fn on_frame(&mut self, frame: ServerFrame, now: Instant) -> Result<()> {
        let slot = || usize::try_from(frame.correlation).unwrap_or_default().wrapping_sub(1);
        match frame.frame {
            Some(Answer::Begun(begun)) => {
                let slot = slot();
                self.slots[slot].begun(begun);
                self.go_on(slot, now);
            }
            Some(Answer::Registered(_)) => self.registered(slot(), now),
            Some(Answer::Outcome(outcome)) => self.ended(slot(), outcome, now)?,
            Some(Answer::Work(work)) => {
                self.work_owed = self.work_owed.saturating_sub(1);
                self.session.answer_work(work);
            }
            Some(Answer::BranchIds(block)) => {
                self.ids.add(block);
                for slot in std::mem::take(&mut self.starved) {
                    self.register(slot);
                }
            }
            Some(Answer::Ping(ping)) => self.session.queue(0, Request::Ping(ping)),
            Some(Answer::Error(error)) => bail!("refused: {error:?}"),
            other => bail!("a frame that nothing asked for: {other:?}"),
        }
        Ok(())
    }

    fn registered(&mut self, slot: usize, now: Instant) {
        if self.asked.front() != Some(&slot) && self.load.keys == Keys::Hot {
            self.tally.out_of_order += 1;
        }
        if let Some(at) = self.asked.iter().position(|asked| *asked == slot) {
            self.asked.remove(at);
        }
        self.go_on(slot, now);
    }

    fn go_on(&mut self, slot: usize, now: Instant) {
        if self.slots[slot].branch_count() < self.load.branches {
            return self.register(slot);
        }
        match self.load.ending {
            Ending::Commit(wait) => {
                self.work_owed += self.load.branches as u64;
                let request = self.slots[slot].commit(&self.store, wait);
                self.request(slot, request);
            }
            Ending::Leave => self.over(slot, now),
        }
    }

    fn register(&mut self, slot: usize) {
        let Some(branch) = self.ids.take() else {
            self.slots[slot].step = Step::Starved;
            self.starved.push_back(slot);
            return self.ensure_ids();
        };
        let row = match self.load.keys {
            Keys::OfItsOwn => branch,
            Keys::Hot => 0,
        };
        if self.load.keys == Keys::Hot {
            self.asked.push_back(slot);
        }
        let request = self.slots[slot].register(&self.store, branch, row);
        self.request(slot, request);
        self.ensure_ids();
    }

    fn ensure_ids(&mut self) {
        if self.ids.run_low() {
            let own = self.slots.len() as u64 + 1;
            self.session.queue(own, Request::BranchIds(v1::BranchIdsRequest {}));
        }
    }

    fn ended(&mut self, slot: usize, outcome: v1::Outcome, now: Instant) -> Result<()> {
        match outcome.status() {
            TransactionStatus::Committed => {}
            TransactionStatus::Committing => self.tally.only_decided += 1,
            TransactionStatus::Active
            | TransactionStatus::Delegated
            | TransactionStatus::RollingBack
            | TransactionStatus::RolledBack
            | TransactionStatus::Unspecified => bail!("a commit was answered {outcome:?}"),
        }
        self.over(slot, now);
        Ok(())
    }

    fn over(&mut self, slot: usize, now: Instant) {
        self.slots[slot].step = Step::Idle;
        self.busy -= 1;
        self.tally.ended += 1;
        if self.load.stop.measures(now) {
            self.tally.latencies.record(now - self.slots[slot].began);
        }
        self.begin_next(slot, now);
    }
}
