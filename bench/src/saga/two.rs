//! Sagas of two steps that do nothing, one after the other, beside both bare limits, round by round.
//!
//! The limits of a round belong to its figure, as in the bench of transactions: the bare store writes at
//! the batch size that the coordinator reached, the bare wire carries as many frames for as many sagas.

use anyhow::Result;

use super::load::{Load, Until};
use super::{Options, definitions, rows, session};
use crate::child::Child;
use crate::client::Stop;
use crate::report::{Finding, Line, Report, Target, median, middle};
use crate::tc::server::Coordinator;

const SHARE_MIN: f64 = 0.5;
const PER_SECOND_MIN: f64 = 5_000.0;
const NAME: &str = "two";

pub(super) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let mut rounds = Vec::with_capacity(options.rounds);
    for _ in 0..options.rounds {
        rounds.push(Round::measure(options).await?);
    }
    let shares = rounds.iter().map(Round::share).collect();
    let middle = |of: &dyn Fn(&Round) -> &Line| middle(rounds.iter().map(of));
    let lines = vec![
        middle(&|round| &round.sagas),
        middle(&|round| &round.alone),
        middle(&|round| &round.store),
        middle(&|round| &round.wire),
    ];
    let per_second = lines[0].per_second;
    report.table("sagas of two steps that do nothing", lines);
    let name = "two steps: share of the lower bare limit";
    report.finding(Finding::new(name, median(shares), "", Some(Target::AtLeast(SHARE_MIN))));
    let target = Some(Target::AtLeast(PER_SECOND_MIN));
    report.finding(Finding::new("two steps: durable sagas", per_second, " a second", target));
    Ok(())
}

/// One figure for each of the competitors, measured one after the other.
struct Round {
    sagas: Line,
    /// One after the other: what a saga takes when nobody else is there.
    alone: Line,
    store: Line,
    wire: Line,
}

impl Round {
    async fn measure(options: &Options) -> Result<Round> {
        let load = load(options.in_flight);
        let sagas = one(options, "answered when ended", load).await?;
        let alone = one(options, "the same, one at a time", Load { slots: 1, ..load }).await?;
        let folder = options.folder()?;
        let batch = sagas.rows_a_batch.unwrap_or(options.in_flight as f64);
        let store = rows::measure(folder.path(), batch, options.duration()).await?;
        let echo = Child::start(&["echo"]).await?;
        let mut sessions = session(&echo.url).await?;
        let pid = Some(echo.pid);
        let wire = sessions.for_time("bare wire", load, options.duration(), pid).await?;
        drop(sessions);
        echo.end().await?;
        Ok(Round { sagas, alone, store, wire: wire.line })
    }

    /// The share of the lower limit.
    fn share(&self) -> f64 {
        self.sagas.per_second / self.store.per_second.min(self.wire.per_second)
    }
}

fn load(slots: usize) -> Load {
    Load { saga: NAME, input: b"", slots, until: Until::Ended, stop: Stop::Count(0) }
}

/// On a fresh store, so that no round inherits the history of another.
async fn one(options: &Options, name: &str, load: Load) -> Result<Line> {
    let folder = options.folder()?;
    let mut coordinator = Coordinator::child(folder.path(), false).await?;
    definitions::define(&coordinator.url, &definitions::chain(NAME, 2)).await?;
    let mut sessions = session(&coordinator.url).await?;
    let before = coordinator.written().await?;
    let driven = sessions.for_time(name, load, options.duration(), coordinator.pid()).await?;
    let after = coordinator.written().await?;
    let mut line = driven.line;
    if let (Some(before), Some(after)) = (before, after) {
        let written = after.since(before);
        line.rows_a_batch = Some(written.rows as f64 / written.batches as f64);
        line.write_ms = Some(written.micros as f64 / 1e3 / written.batches as f64);
        line.rows_each = Some(written.rows as f64 / driven.ended as f64);
    }
    drop(sessions);
    coordinator.end().await?;
    Ok(line)
}
