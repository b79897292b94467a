//! Where and what was measured: without it a figure means nothing.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::proc::parse_kib;

const SYNCS: usize = 200;
const SYNCED_BYTES: usize = 4096;
/// Less than this is no disk: memory, or a device that says done before it is.
const SYNC_BELIEVABLE: Duration = Duration::from_micros(10);
/// More runnable tasks than this before we began: somebody else is at work.
const LOAD_QUIET: f64 = 0.5;

/// A new folder on the disk to be measured: in this directory, or in the system's own for such.
pub(crate) fn folder(dir: Option<&Path>) -> Result<TempDir> {
    let base = dir.map_or_else(std::env::temp_dir, Path::to_owned);
    let made = tempfile::Builder::new().prefix("pactum-bench-").tempdir_in(&base);
    made.with_context(|| format!("make a folder in {}", base.display()))
}

/// The machine, the disk behind the directory, and the commit.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
    /// Of 4 KiB appended to a file in the directory, each synced.
    fsync_p50_us: f64,
    fsync_p99_us: f64,
    /// Over the last minute before the run.
    load: f64,
    /// With `+changes` behind it if the work tree was not clean.
    commit: String,
}

impl Machine {
    /// Looks around; `directory` is where the run will write.
    pub(crate) fn look(directory: &Path) -> Result<Self> {
        let (fsync_p50, fsync_p99) = sync_times(directory)?;
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let memory = parse_kib(&read("/proc/meminfo"), "MemTotal:").unwrap_or_default();
        let load = read("/proc/loadavg");
        let load = load.split_whitespace().next().and_then(|load| load.parse().ok());
        Ok(Machine {
            cpu: cpu(&read("/proc/cpuinfo")),
            cores: std::thread::available_parallelism().context("count the cores")?.get(),
            memory_gib: memory as f64 / f64::from(1 << 30),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            fsync_p50_us: micros(fsync_p50),
            fsync_p99_us: micros(fsync_p99),
            load: load.unwrap_or_default(),
            commit: commit().unwrap_or_else(|| "unknown".to_owned()),
        })
    }

    /// Prints it, with what makes the figures doubtful.
    pub(crate) fn print(&self) {
        println!(
            "machine  {} × {}, {:.0} GiB, Linux {}",
            self.cores, self.cpu, self.memory_gib, self.kernel
        );
        println!(
            "disk     4 KiB appended and synced: p50 {:.0} µs, p99 {:.0} µs",
            self.fsync_p50_us, self.fsync_p99_us
        );
        println!("commit   {}", self.commit);
        if self.fsync_p50_us < SYNC_BELIEVABLE.as_secs_f64() * 1e6 {
            println!("doubtful: no disk syncs that fast; give --dir on a real one");
        }
        if self.load > LOAD_QUIET {
            println!("doubtful: the load was {:.2} before the run began", self.load);
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn cpu(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    name.map_or("an unnamed processor", |(_, name)| name.trim()).to_owned()
}

/// The median and the 99th percentile.
fn sync_times(directory: &Path) -> Result<(Duration, Duration)> {
    let path = directory.join("sync-probe");
    let mut file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let started = Instant::now();
        file.write_all(&[7; SYNCED_BYTES])
            .and_then(|()| file.sync_data())
            .with_context(|| format!("write and sync {}", path.display()))?;
        times.push(started.elapsed());
    }
    fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    times.sort();
    Ok((times[SYNCS / 2], times[SYNCS * 99 / 100]))
}

/// Of the work tree that this program was built in; none outside git.
fn commit() -> Option<String> {
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        let output = command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { commit } else { format!("{commit}+changes") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A Fast One\nprocessor\t: 1\n";
        assert_eq!(cpu(cpuinfo), "A Fast One");
        assert_eq!(cpu(""), "an unnamed processor");
    }

    #[test]
    fn a_sync_takes_time_and_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let (p50, p99) = sync_times(directory.path()).unwrap();
        assert!(p50 > Duration::ZERO);
        assert!(p99 >= p50);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
