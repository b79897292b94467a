//! `tc`: a coordinator under load, over the real wire, with fsync on.
//!
//! - `branches`: global transactions with 0, 1, 2, 5 branches, beside both bare limits.
//! - `hot`: many waiters for one key, beside the same transactions one after another.
//! - `active`: what a million unfinished transactions cost, in memory and in speed.
//! - `recover`: how long a start with a million of them takes.
//! - [`echo`], [`rows`]: the bare limits.
//! - [`drive`]: sessions under a load; [`server`]: the coordinator, wherever it runs.

mod active;
mod branches;
pub(crate) mod drive;
pub(crate) mod echo;
mod hot;
pub(crate) mod recover;
mod rows;
pub(crate) mod server;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use tempfile::TempDir;
use tokio::time::Duration;

use crate::machine;
use crate::report::Report;

/// What to run, and how much of it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// What to measure.
    #[arg(value_enum, default_values_t = [Part::Branches, Part::Hot])]
    parts: Vec<Part>,
    /// Branches of a transaction: a column of the table each.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1, 2, 5])]
    branches: Vec<usize>,
    /// Transactions under way at once, over all sessions.
    #[arg(long, default_value_t = 1024)]
    in_flight: usize,
    /// Session streams, each on a connection of its own.
    #[arg(long, default_value_t = 2)]
    sessions: usize,
    /// Seconds of each measurement, the first fifth of them to warm up.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Rounds of each measurement beside its limits; the medians are shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Unfinished transactions for `active` and `recover`.
    #[arg(long, default_value_t = 1_000_000)]
    unfinished: u64,
    /// Loads a coordinator that runs already, by its address; its rows are not counted then.
    #[arg(long, value_name = "URL")]
    tc: Option<String>,
    /// Runs the coordinator on threads of this process instead of in one of its own.
    #[arg(long, conflicts_with = "tc")]
    in_process: bool,
    /// Lets the coordinator log at INFO, into a file.
    #[arg(long)]
    log: bool,
    /// A smoke run of some seconds: its figures say little.
    #[arg(long)]
    quick: bool,
    /// Where the stores are put, on the disk to be measured.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Writes everything as JSON too.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Transactions with branches, uncontended.
    Branches,
    /// Many waiters for one key.
    Hot,
    /// The cost of a million active transactions.
    Active,
    /// The time of a start with a million unfinished transactions.
    Recover,
}

impl Options {
    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    fn made_quick(mut self) -> Self {
        if self.quick {
            self.seconds = self.seconds.min(0.5);
            self.rounds = 1;
            self.unfinished = self.unfinished.min(10_000);
        }
        self
    }

    /// A new folder on the disk to be measured.
    fn folder(&self) -> Result<TempDir> {
        machine::folder(self.dir.as_deref())
    }
}

/// Runs the parts that were asked for.
pub(crate) fn run(options: Options) -> Result<()> {
    let options = options.made_quick();
    // The client is one task a session: a second thread would only take from the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start the runtime")?.block_on(async {
        let folder = options.folder()?;
        let mut report = Report::start(folder.path())?;
        for part in &options.parts {
            match part {
                Part::Branches => branches::run(&options, &mut report).await?,
                Part::Hot => hot::run(&options, &mut report).await?,
                Part::Active => active::run(&options, &mut report).await?,
                Part::Recover => recover::run(&options, &mut report).await?,
            }
        }
        report.finish(options.json.as_deref())
    })
}
