//! What many active transactions cost: memory for each, and speed for the others.
//!
//! The active ones have one branch with one lock each, and stay: their sessions do too. Memory is
//! what the coordinator's process grows by while they register, caches of the store included.

use anyhow::{Context as _, Result};
use pactum_proto::v1;

use super::Options;
use super::drive::Sessions;
use super::server::Coordinator;
use crate::client::{Ending, Keys, Load, Stop};
use crate::proc;
use crate::report::{Finding, Line, Report, Target, middle};

/// What it is compared with.
const FEW: u64 = 1_000;
const BYTES_EACH_MAX: f64 = 1536.0;
const COST_MAX: f64 = 1.5;

pub(super) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let few = beside(options, FEW).await?;
    let many = beside(options, options.unfinished).await?;
    let cost = few.line.per_second / many.line.per_second;
    let lines = vec![few.line, many.left, many.line];
    report.table("2 branches, beside active transactions", lines);
    let name =
        format!("cost of a transaction beside {} active ones against {FEW}", options.unfinished);
    report.finding(Finding::new(name, cost, "×", Some(Target::AtMost(COST_MAX))));
    let name = "memory of an active transaction with one branch and one lock";
    let target = Some(Target::AtMost(BYTES_EACH_MAX));
    report.finding(Finding::new(name, many.bytes_each, " B", target));
    Ok(())
}

struct Beside {
    /// The registering of the active ones.
    left: Line,
    /// The load beside them.
    line: Line,
    bytes_each: f64,
}

async fn beside(options: &Options, active: u64) -> Result<Beside> {
    let coordinator = Coordinator::start(options).await?;
    let pid = coordinator.pid().context("memory is known only of a process of its own")?;
    let mut sessions = Sessions::open(&coordinator.url, options.sessions).await?;
    let leave = Load {
        slots: options.in_flight,
        branches: 1,
        keys: Keys::OfItsOwn,
        ending: Ending::Leave,
        stop: Stop::Count(0),
    };
    // The first ones fill what is allocated once: buffers, statements, threads.
    sessions.for_count("warm up", leave, FEW, Some(pid)).await?;
    let before = proc::resident_bytes(pid)?;
    let name = format!("registering {active}");
    let left = sessions.for_count(name, leave, active, Some(pid)).await?;
    let grown = proc::resident_bytes(pid)?.saturating_sub(before);
    let commit = Load { branches: 2, ending: Ending::Commit(v1::Wait::Completed), ..leave };
    let mut lines = Vec::with_capacity(options.rounds);
    for _ in 0..options.rounds {
        let name = format!("beside {active} active");
        let driven = sessions.for_time(name, commit, options.duration(), Some(pid)).await?;
        lines.push(driven.line);
    }
    drop(sessions);
    // Draining would wait for all of them.
    coordinator.kill().await?;
    let bytes_each = grown as f64 / left.ended as f64;
    Ok(Beside { left: left.line, line: middle(&lines), bytes_each })
}
