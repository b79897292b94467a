//! Workers that transfer, one transfer after the other each.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use super::Round;
use crate::latency::Latencies;
use crate::proc::cpu_times;
use crate::report::Line;

/// Part of a run's time that goes before the measuring.
const WARM_UP_PART: u32 = 5;

/// A way to transfer.
pub(super) trait Transfer: Send + Sync + 'static {
    /// Moves the amount from this account of the one bank to the same account of the other.
    fn transfer(&self, account: i64) -> impl Future<Output = Result<()>> + Send;
}

/// Runs the round's workers, and returns the line and how many transfers there were in all.
pub(super) async fn drive(
    name: &str,
    transfer: Arc<impl Transfer>,
    round: &Round<'_>,
    server: Option<u32>,
) -> Result<(Line, u64)> {
    let duration = round.options.duration();
    let cpu_before = cpu_times(server)?;
    let started = Instant::now();
    let measure_from = started + duration / WARM_UP_PART;
    let until = started + duration;
    let mut running = JoinSet::new();
    for worker in 0..round.workers {
        let transfer = Arc::clone(&transfer);
        let account = i64::try_from(worker + 1).context("number the workers")?;
        running.spawn(async move { work(&*transfer, account, measure_from, until).await });
    }
    let mut latencies = Latencies::new()?;
    let mut transfers = 0;
    while let Some(joined) = running.join_next().await {
        let (own, count) = joined.context("a worker's task has failed")??;
        latencies.add(&own)?;
        transfers += count;
    }
    let cpu_after = cpu_times(server)?;
    let each = |before: Duration, after: Duration| {
        after.saturating_sub(before).as_secs_f64() * 1e6 / transfers as f64
    };
    let mut line = Line::new(name, (until - measure_from).as_secs_f64(), &latencies);
    line.cpu_us_each = Some((each(cpu_before.0, cpu_after.0), each(cpu_before.1, cpu_after.1)));
    Ok((line, transfers))
}

async fn work(
    transfer: &impl Transfer,
    account: i64,
    measure_from: Instant,
    until: Instant,
) -> Result<(Latencies, u64)> {
    let mut latencies = Latencies::new()?;
    let mut count = 0;
    let mut began = Instant::now();
    while began < until {
        transfer.transfer(account).await?;
        count += 1;
        let now = Instant::now();
        if measure_from <= now && now < until {
            latencies.record(now - began);
        }
        began = now;
    }
    Ok((latencies, count))
}
