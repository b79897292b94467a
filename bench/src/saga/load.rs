//! A closed load of sagas on one session, which also does their steps.
//!
//! ```text
//! SubmitSaga ▶ Work(act) ▶ WorkResult(step done), at once ▶ … ▶ Saga(committed) ▶ next
//! ```
//!
//! As lean as the client of the other loads: one task, and no state but a moment for each slot.

use anyhow::{Context as _, Result, bail};
use pactum_proto::v1::client_frame::Frame as Request;
use pactum_proto::v1::server_frame::Frame as Answer;
use pactum_proto::v1::submit_saga_request::Definition;
use pactum_proto::v1::{self, ServerFrame, TransactionStatus};
use tokio::time::Instant;

use crate::client::{ClosedLoad, Session, Stop, Tally};

/// The longest that an answer may wait for the end of a saga.
const WAIT_MS: u32 = 60_000;

/// What a session is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// The name of a definition.
    pub(super) saga: &'static str,
    /// JSON.
    pub(super) input: &'static [u8],
    /// Sagas under way at once.
    pub(super) slots: usize,
    pub(super) until: Until,
    pub(super) stop: Stop,
}

/// What a saga is answered at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    Started,
    Ended,
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
        let window = session.welcome.request_window as usize;
        if self.slots > window {
            bail!("{} in flight on a session of window {window}", self.slots);
        }
        let before = (session.sent, session.received);
        let now = Instant::now();
        let (slots, tally) = (vec![now; self.slots], Tally::new()?);
        let mut driver = Driver { session, load: self, slots, begun: 0, busy: 0, tally };
        for slot in 0..self.slots {
            driver.begin_next(slot, now);
        }
        loop {
            driver.session.flush()?;
            if driver.busy == 0 {
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
        let mut tally = driver.tally;
        tally.sent = session.sent.since(before.0);
        tally.received = session.received.since(before.1);
        Ok(tally)
    }
}

struct Driver<'s> {
    session: &'s mut Session,
    load: Load,
    /// When the saga of each began.
    slots: Vec<Instant>,
    begun: u64,
    busy: usize,
    tally: Tally,
}

impl Driver<'_> {
    fn begin_next(&mut self, slot: usize, now: Instant) {
        if !self.load.stop.goes_on(self.begun, now) {
            return;
        }
        self.begun += 1;
        self.busy += 1;
        self.slots[slot] = now;
        let name = v1::SagaName { name: self.load.saga.to_owned(), version: 0 };
        let submit = v1::SubmitSagaRequest {
            definition: Some(Definition::Saga(name)),
            input: self.load.input.into(),
            idempotency_key: String::new(),
            wait_ms: if self.load.until == Until::Ended { WAIT_MS } else { 0 },
        };
        self.session.queue(slot as u64 + 1, Request::SubmitSaga(submit));
    }

    fn on_frame(&mut self, frame: ServerFrame, now: Instant) -> Result<()> {
        match frame.frame {
            Some(Answer::Work(work)) => self.session.answer_work(work),
            Some(Answer::Saga(saga)) => self.answered(frame.correlation, &saga, now)?,
            Some(Answer::Ping(ping)) => self.session.queue(0, Request::Ping(ping)),
            Some(Answer::Error(error)) => bail!("refused: {error:?}"),
            other => bail!("a frame that nothing asked for: {other:?}"),
        }
        Ok(())
    }

    fn answered(&mut self, correlation: u64, saga: &v1::Saga, now: Instant) -> Result<()> {
        let wanted = match self.load.until {
            Until::Started => TransactionStatus::Active,
            Until::Ended => TransactionStatus::Committed,
        };
        let status = saga.outcome.as_ref().map(v1::Outcome::status);
        if status != Some(wanted) {
            bail!("a saga was answered {saga:?}");
        }
        let slot = usize::try_from(correlation).unwrap_or_default().wrapping_sub(1);
        let began = *self.slots.get(slot).context("an answer to a saga of ours")?;
        self.busy -= 1;
        self.tally.ended += 1;
        if self.load.stop.measures(now) {
            self.tally.latencies.record(now - began);
        }
        self.begin_next(slot, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use pactum_coordinator::Embedded;

    use super::*;
    use crate::saga::{definitions, session};

    const LOAD: Load =
        Load { saga: "bench", input: b"", slots: 4, until: Until::Ended, stop: Stop::Count(20) };

    #[tokio::test]
    async fn a_load_ends_the_sagas_that_it_begins() {
        let coordinator = Embedded::start().await.unwrap();
        let url = coordinator.url();
        let all = [definitions::chain("bench", 2), definitions::side_by_side("wide", 3)];
        for definition in all.iter().chain([&definitions::each("each", 5)]) {
            definitions::define(&url, definition).await.unwrap();
        }
        let mut sessions = session(&url).await.unwrap();
        for saga in ["bench", "wide", "each"] {
            let load = Load { saga, ..LOAD };
            let driven = sessions.for_count(saga, load, 20, None).await.unwrap();
            assert_eq!((driven.ended, driven.line.count), (20, 20));
        }
        assert_eq!(coordinator.server().unwrap().stats().committed, 60);
    }

    #[tokio::test]
    async fn what_waits_is_answered_when_it_has_started() {
        let coordinator = Embedded::start().await.unwrap();
        definitions::define(&coordinator.url(), &definitions::wait("bench")).await.unwrap();
        let mut sessions = session(&coordinator.url()).await.unwrap();
        let load = Load { until: Until::Started, ..LOAD };
        assert_eq!(sessions.for_count("wait", load, 20, None).await.unwrap().ended, 20);
        assert_eq!(coordinator.server().unwrap().summary().await.unwrap().active, 20);
    }
}
