//! Sagas that wait for a time: their memory, what they cost while nothing happens, and a restart.

use anyhow::{Context as _, Result};
use tokio::time::{Duration, Instant, sleep};

use super::load::{Load, Until};
use super::{Options, definitions, session};
use crate::client::Stop;
use crate::proc;
use crate::report::{Finding, Report, Target};
use crate::tc::recover::until_serving;
use crate::tc::server::Coordinator;

const NAME: &str = "wait";
const MIB_MAX: f64 = 200.0;
/// The first ones fill what is allocated once: buffers, statements, threads.
const WARM_UP: u64 = 1_000;
/// How long nothing happens. Heartbeats do, so it is not quite nothing.
const IDLE: Duration = Duration::from_secs(5);
/// Processor time while nothing happens, for each second. Ten times what a coordinator without any
/// saga takes; looking at each of 100,000 once a second would take more.
const IDLE_MS_MAX: f64 = 10.0;

pub(super) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let folder = options.folder()?;
    let coordinator = Coordinator::child(folder.path(), false).await?;
    let pid = coordinator.pid().context("it is a process of its own")?;
    definitions::define(&coordinator.url, &definitions::wait(NAME)).await?;
    let mut sessions = session(&coordinator.url).await?;
    let load = Load {
        saga: NAME,
        input: br#"{"order":4711,"guest":"somebody"}"#,
        slots: 512,
        until: Until::Started,
        stop: Stop::Count(0),
    };
    sessions.for_count("warm up", load, WARM_UP, Some(pid)).await?;
    let (before, idle_before) = (proc::resident_bytes(pid)?, idle(pid).await?);
    let name = format!("submitting {}", options.waiting);
    let driven = sessions.for_count(name, load, options.waiting, Some(pid)).await?;
    let (after, idle_after) = (proc::resident_bytes(pid)?, idle(pid).await?);
    report.table("sagas that wait for a day", vec![driven.line]);
    tell(report, &format!("resident with {} waiting sagas", options.waiting), after);
    let each = after.saturating_sub(before) as f64 / options.waiting as f64;
    report.finding(Finding::new("memory of each, with the store's caches", each, " B", None));
    let name = "processor time of a second with no saga but 1,000";
    report.finding(Finding::new(name, idle_before, " ms", None));
    let name = format!("processor time of a second with {}", options.waiting);
    let target = Some(Target::AtMost(IDLE_MS_MAX));
    report.finding(Finding::new(name, idle_after, " ms", target));
    drop(sessions);
    coordinator.kill().await?;

    let started = Instant::now();
    let coordinator = Coordinator::child(folder.path(), false).await?;
    until_serving(&coordinator.url).await?;
    let took = started.elapsed().as_secs_f64();
    let pid = coordinator.pid().context("it is a process of its own")?;
    report.finding(Finding::new("restart with them, until it serves", took, " s", None));
    let idle_again = idle(pid).await?;
    tell(report, "resident after the restart", proc::resident_bytes(pid)?);
    let name = "processor time of a second after the restart";
    report.finding(Finding::new(name, idle_again, " ms", Some(Target::AtMost(IDLE_MS_MAX))));
    coordinator.kill().await
}

fn tell(report: &mut Report, name: &str, bytes: u64) {
    let mib = bytes as f64 / f64::from(1 << 20);
    report.finding(Finding::new(name, mib, " MiB", Some(Target::AtMost(MIB_MAX))));
}

/// Milliseconds of processor time for each second in which nothing happens.
async fn idle(pid: u32) -> Result<f64> {
    // What came last is written and swept first.
    sleep(IDLE / 5).await;
    let before = proc::cpu_time(pid)?;
    sleep(IDLE).await;
    let used = proc::cpu_time(pid)?.saturating_sub(before);
    Ok(used.as_secs_f64() * 1e3 / IDLE.as_secs_f64())
}
