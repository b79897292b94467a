//! `at`: transfers between two SQLite files, through the agent and without it.
//!
//! - `books`: the two files and their accounts, the same for all.
//! - `plain`: the same two statements, each in a plain local transaction. No atomicity.
//! - `floor`: the SQL and the syncs of AT by hand, without agent and coordinator.
//! - `agent`: the real thing, with a coordinator in a process of its own.
//! - `drive`: workers under one load.
//!
//! All take from one file and give to the other, one after the other, each on an account that no
//! other worker touches; all queue for a file in order of arrival, because SQLite's own queue is a
//! poll that would slow the bare ones. What the agent loses to `floor` is its own; what the floor
//! loses to `plain` is the price of being able to undo.

mod agent;
mod books;
mod drive;
mod floor;
mod plain;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use pactum_agent::Wait;
use tempfile::TempDir;
use tokio::time::Duration;

use crate::report::{Finding, Line, Report, median, middle};

/// How much to run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Transfers under way at once: a table each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8])]
    concurrency: Vec<usize>,
    /// Seconds of each measurement, the first fifth of them to warm up.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Rounds of each measurement beside its limits; the medians are shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A smoke run of some seconds: its figures say little.
    #[arg(long)]
    quick: bool,
    /// Where the databases are put, on the disk to be measured.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Writes everything as JSON too.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Options {
    fn made_quick(mut self) -> Self {
        if self.quick {
            self.seconds = self.seconds.min(0.5);
            self.rounds = 1;
        }
        self
    }

    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// A new folder on the disk to be measured.
    fn folder(&self) -> Result<TempDir> {
        let base = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        let made = tempfile::Builder::new().prefix("pactum-bench-").tempdir_in(&base);
        made.with_context(|| format!("make a folder in {}", base.display()))
    }
}

/// Runs every competitor at every concurrency.
pub(crate) fn run(options: Options) -> Result<()> {
    let options = options.made_quick();
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    runtime.block_on(async {
        let folder = options.folder()?;
        let mut report = Report::start(folder.path())?;
        drop(folder);
        for &workers in &options.concurrency {
            let mut rounds = Vec::with_capacity(options.rounds);
            for _ in 0..options.rounds {
                rounds.push(Round::measure(&options, workers).await?);
            }
            tell(workers, &rounds, &mut report);
        }
        report.finish(options.json.as_deref())
    })
}

/// One figure for each competitor, measured one after the other.
struct Round {
    completed: Line,
    decided: Line,
    floor_completed: Line,
    floor_decided: Line,
    plain: Line,
}

impl Round {
    async fn measure(options: &Options, workers: usize) -> Result<Round> {
        Ok(Round {
            completed: agent::measure(options, workers, Wait::Completed).await?,
            decided: agent::measure(options, workers, Wait::Decided).await?,
            floor_completed: floor::measure(options, workers, Wait::Completed).await?,
            floor_decided: floor::measure(options, workers, Wait::Decided).await?,
            plain: plain::measure(options, workers).await?,
        })
    }
}

fn tell(workers: usize, rounds: &[Round], report: &mut Report) {
    let of = |line: &dyn Fn(&Round) -> &Line| middle(rounds.iter().map(line));
    let lines = vec![
        of(&|round| &round.completed),
        of(&|round| &round.decided),
        of(&|round| &round.floor_completed),
        of(&|round| &round.floor_decided),
        of(&|round| &round.plain),
    ];
    report.table(&format!("transfers, {workers} at once"), lines);
    let mut ratio = |name: &str, of: &dyn Fn(&Round) -> (&Line, &Line)| {
        let ratios = rounds.iter().map(|round| {
            let (one, other) = of(round);
            one.per_second / other.per_second
        });
        let name = format!("{workers} at once: {name}");
        report.finding(Finding::new(name, median(ratios.collect()), "", None));
    };
    ratio("agent, completed, of the floor", &|round| (&round.completed, &round.floor_completed));
    ratio("agent, decided, of the floor", &|round| (&round.decided, &round.floor_decided));
    ratio("agent, completed, of plain transactions", &|round| (&round.completed, &round.plain));
    ratio("agent, decided, of plain transactions", &|round| (&round.decided, &round.plain));
}

/// As it is called in the tables.
fn name_of(wait: Wait) -> &'static str {
    match wait {
        Wait::Decided => "decided",
        Wait::Completed => "completed",
    }
}
