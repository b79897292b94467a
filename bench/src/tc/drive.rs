//! Several sessions under one load, as one measured line.

use anyhow::{Context as _, Result};
use pactum_core::id::NodeId;
use pactum_proto::v1;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use crate::client::{self, ClosedLoad, Counted, Session, Stop, Tally};
use crate::latency::Latencies;
use crate::proc::cpu_times;
use crate::report::Line;

/// Part of a run's time that goes before the measuring: statements get prepared, batches find
/// their size.
const WARM_UP_PART: u32 = 5;

/// Sessions that stay open from one load to the next.
#[derive(Debug)]
pub(crate) struct Sessions(Vec<Session>);

/// A measured load.
#[derive(Debug)]
pub(crate) struct Driven {
    pub(crate) line: Line,
    /// Ended in all, also before the measuring.
    pub(crate) ended: u64,
    pub(crate) out_of_order: u64,
}

impl Sessions {
    /// For branches at databases.
    pub(crate) async fn open(url: &str, count: usize) -> Result<Self> {
        Self::open_with(url, count, |_| client::databases()).await
    }

    /// With these resources attached on each, by its number.
    pub(crate) async fn open_with(
        url: &str,
        count: usize,
        resources: impl Fn(usize) -> Vec<v1::Resource>,
    ) -> Result<Self> {
        let mut sessions = Vec::with_capacity(count);
        for number in 0..count {
            let node = NodeId(0x0062_656e_6368 << 64 | (number as u128 + 1));
            let session = Session::open(url, node, resources(number)).await;
            sessions.push(session.with_context(|| format!("open session {number}"))?);
        }
        Ok(Sessions(sessions))
    }

    /// Runs a load for `duration` in all. `load` says what the sessions do together.
    pub(crate) async fn for_time(
        &mut self,
        name: impl Into<String>,
        load: impl ClosedLoad,
        duration: Duration,
        server: Option<u32>,
    ) -> Result<Driven> {
        let started = Instant::now();
        let measure_from = started + duration / WARM_UP_PART;
        let until = started + duration;
        let load = load.until(Stop::Times { measure_from, until });
        let seconds = (until - measure_from).as_secs_f64();
        self.run(name, load, server, |_| seconds).await
    }

    /// Runs so many transactions, as fast as they go.
    pub(crate) async fn for_count(
        &mut self,
        name: impl Into<String>,
        load: impl ClosedLoad,
        count: u64,
        server: Option<u32>,
    ) -> Result<Driven> {
        let stop = Stop::Count(count.div_ceil(self.0.len() as u64));
        let load = load.until(stop);
        self.run(name, load, server, |took| took.as_secs_f64()).await
    }

    async fn run(
        &mut self,
        name: impl Into<String>,
        load: impl ClosedLoad,
        server: Option<u32>,
        seconds: impl Fn(Duration) -> f64,
    ) -> Result<Driven> {
        let share = load.with_slots(load.slots().div_ceil(self.0.len()));
        let started = Instant::now();
        let cpu_before = cpu_times(server)?;
        let mut running = JoinSet::new();
        for mut session in self.0.drain(..) {
            running.spawn(async move {
                let tally = share.run(&mut session).await;
                (session, tally)
            });
        }
        let mut tallies = Vec::new();
        while let Some(joined) = running.join_next().await {
            let (session, tally) = joined.context("a session's task has failed")?;
            tallies.push(tally?);
            self.0.push(session);
        }
        let cpu_after = cpu_times(server)?;
        summary(name.into(), load.slots(), &tallies, seconds(started.elapsed()), |ended| {
            let each = |before: Duration, after: Duration| {
                (after.saturating_sub(before)).as_secs_f64() * 1e6 / ended as f64
            };
            server.map(|_| (each(cpu_before.0, cpu_after.0), each(cpu_before.1, cpu_after.1)))
        })
    }
}

fn summary(
    name: String,
    slots: usize,
    tallies: &[Tally],
    seconds: f64,
    cpu_each: impl Fn(u64) -> Option<(f64, f64)>,
) -> Result<Driven> {
    let mut latencies = Latencies::new()?;
    let (mut sent, mut received) = (Counted::default(), Counted::default());
    for tally in tallies {
        latencies.add(&tally.latencies)?;
        sent.add(tally.sent);
        received.add(tally.received);
    }
    let ended = tallies.iter().map(|tally| tally.ended).sum();
    let mut line = Line::new(name, seconds, &latencies);
    line.in_flight = Some(slots);
    line.frames_a_batch = Some((sent.a_batch(), received.a_batch()));
    line.cpu_us_each = cpu_each(ended);
    line.only_decided = Some(tallies.iter().map(|tally| tally.only_decided).sum());
    Ok(Driven { line, ended, out_of_order: tallies.iter().map(|tally| tally.out_of_order).sum() })
}
