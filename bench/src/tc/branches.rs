//! Transactions that nobody contends with, beside both bare limits, round by round.
//!
//! The bare store writes at the batch size that the coordinator reached in the same round, and
//! the bare wire carries as many frames for as many transactions under way. The limits of a round
//! and its figure belong together: what else the machine does in that minute slows all three.

use anyhow::Result;
use pactum_proto::v1;

use super::drive::Sessions;
use super::server::Coordinator;
use super::{Options, rows};
use crate::child::Child;
use crate::client::{Ending, Keys, Load, Stop};
use crate::report::{Finding, Line, Report, Target, median, middle};

/// Of the lower limit. What the coordinator does besides must not cost more than the limit itself.
const SHARE_MIN: f64 = 0.5;
const TWO_BRANCHES_MIN: f64 = 10_000.0;

pub(super) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    for &branches in &options.branches {
        let mut rounds = Vec::with_capacity(options.rounds);
        for _ in 0..options.rounds {
            rounds.push(Round::measure(options, branches).await?);
        }
        tell(branches, rounds, report);
    }
    Ok(())
}

/// One figure for each of the competitors, measured one after the other.
struct Round {
    completed: Line,
    decided: Line,
    store: Line,
    wire: Line,
}

impl Round {
    async fn measure(options: &Options, branches: usize) -> Result<Round> {
        let completed = one(options, branches, v1::Wait::Completed).await?;
        let decided = one(options, branches, v1::Wait::Decided).await?;
        let batch = completed.rows_a_batch.unwrap_or(options.in_flight as f64);
        let folder = options.folder()?;
        let store = rows::measure(folder.path(), branches, batch, options.duration()).await?;
        drop(folder);
        let echo = Child::start(&["echo"]).await?;
        let mut sessions = Sessions::open(&echo.url, options.sessions).await?;
        let load = load(options, branches, v1::Wait::Completed);
        let pid = Some(echo.pid);
        let wire = sessions.for_time("bare wire", load, options.duration(), pid).await?;
        drop(sessions);
        echo.end().await?;
        Ok(Round { completed, decided, store, wire: wire.line })
    }

    /// The share of the lower limit.
    fn share(&self) -> f64 {
        self.completed.per_second / self.store.per_second.min(self.wire.per_second)
    }
}

fn load(options: &Options, branches: usize, wait: v1::Wait) -> Load {
    Load {
        slots: options.in_flight,
        branches,
        keys: Keys::OfItsOwn,
        ending: Ending::Commit(wait),
        stop: Stop::Count(0),
    }
}

/// On a fresh store, so that no round inherits the history of another.
async fn one(options: &Options, branches: usize, wait: v1::Wait) -> Result<Line> {
    let mut coordinator = Coordinator::start(options).await?;
    let mut sessions = Sessions::open(&coordinator.url, options.sessions).await?;
    let name = match wait {
        v1::Wait::Decided => "answered when decided",
        v1::Wait::Completed | v1::Wait::Unspecified => "answered when completed",
    };
    let load = load(options, branches, wait);
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

fn tell(branches: usize, rounds: Vec<Round>, report: &mut Report) {
    let shares = rounds.iter().map(Round::share).collect();
    let middle = |of: &dyn Fn(&Round) -> &Line| middle(rounds.iter().map(of));
    let lines = vec![
        middle(&|round| &round.completed),
        middle(&|round| &round.decided),
        middle(&|round| &round.store),
        middle(&|round| &round.wire),
    ];
    let (per_second, early) = (lines[0].per_second, lines[0].only_decided.unwrap_or_default());
    report.table(&format!("{branches} branches, uncontended"), lines);
    if early > 0 {
        let name = format!("{branches} branches: answered before they were completed");
        report.finding(Finding::new(name, early as f64, "", None));
    }
    let two = branches == 2;
    let share = Finding::new(
        format!("{branches} branches: share of the lower bare limit"),
        median(shares),
        "",
        two.then_some(Target::AtLeast(SHARE_MIN)),
    );
    report.finding(share);
    if two {
        let name = "2 branches: durable global transactions";
        let target = Some(Target::AtLeast(TWO_BRANCHES_MIN));
        report.finding(Finding::new(name, per_second, " a second", target));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_the_lower_limit() {
        let line = |per_second| Line { per_second, ..Line::default() };
        let (completed, decided) = (line(30.0), line(50.0));
        let round = Round { completed, decided, store: line(60.0), wire: line(300.0) };
        assert_eq!(round.share(), 0.5);
    }
}
