//! `at`: transfers between two banks, through the agent and without it.
//!
//! - `ground`: where the banks are: two SQLite files, or two databases of one server.
//! - `books`: the banks and their accounts, the same for all.
//! - `speak`: the statements, database by database.
//! - `plain`: the user's two statements, each in a plain local transaction. No atomicity.
//! - `floor`: the SQL and the syncs of AT by hand, without agent and coordinator. Its `log` stands for
//!   the coordinator's store.
//! - `agent`: the real thing, with a coordinator in a process of its own.
//! - `drive`: workers under one load.
//! - `modes`: the same in the other modes, side by side: a task of its own.
//!
//! All take from one bank and give to the other, one after the other, each on an account that no
//! other worker touches; all queue for a SQLite file in order of arrival, because SQLite's own queue
//! is a poll that would slow the bare ones. What the agent loses to `floor` is its own; what the floor
//! loses to `plain` is the price of being able to undo, and of one decision for both.

mod agent;
mod books;
mod drive;
mod floor;
mod ground;
mod log;
pub(crate) mod modes;
mod plain;
mod speak;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use pactum_agent::Wait;
use sqlx::{MySql, Postgres, Sqlite};
use tempfile::TempDir;
use tokio::time::Duration;

use crate::machine;
use crate::report::{Finding, Line, Report, Target, median, middle};
use ground::{Db, Ground, Places};
use log::Sync;
use speak::Transacts;

/// What the agent's time may be of the floor's, one transfer at a time.
const TIME_RATIO_MAX: f64 = 1.35;
/// What its rate must be of the floor's, many at a time.
const RATE_RATIO_MIN: f64 = 0.7;

/// How much to run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// What the banks are in. A private server is started, on the disk of the system's temporary
    /// files.
    #[arg(long, value_enum, default_value_t = Db::Sqlite)]
    db: Db,
    /// A running server instead: the URL of an account that may create databases. They are dropped.
    #[arg(long, value_name = "URL")]
    db_url: Option<String>,
    /// Transfers under way at once: a table each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16])]
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
    /// Where the coordinator and SQLite files are put, on the disk to be measured.
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
        machine::folder(self.dir.as_deref())
    }
}

/// Runs every competitor at every concurrency.
pub(crate) fn run(options: Options) -> Result<()> {
    let options = options.made_quick();
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    runtime.block_on(async {
        match options.db {
            Db::Sqlite => measure::<Sqlite>(&options).await,
            Db::Postgres => measure::<Postgres>(&options).await,
            Db::Mysql => measure::<MySql>(&options).await,
        }
    })
}

async fn measure<DB: Transacts>(options: &Options) -> Result<()> {
    let ground = Ground::open(options).await?;
    let folder = options.folder()?;
    let mut report = Report::start(folder.path())?;
    drop(folder);
    for &workers in &options.concurrency {
        let mut lines = Vec::with_capacity(options.rounds);
        for _ in 0..options.rounds {
            lines.push(Round { options, ground: &ground, workers }.measure::<DB>().await?);
        }
        tell(workers, &lines, &mut report);
    }
    report.finish(options.json.as_deref())
}

/// Every competitor once, one after the other.
struct Round<'r> {
    options: &'r Options,
    ground: &'r Ground,
    workers: usize,
}

/// One figure for each competitor.
struct Lines {
    completed: Line,
    decided: Line,
    floor_completed: Line,
    floor_decided: Line,
    floor_without_log: Line,
    plain: Line,
}

impl Round<'_> {
    async fn places(&self) -> Result<Places> {
        self.ground.places(self.options).await
    }

    async fn measure<DB: Transacts>(&self) -> Result<Lines> {
        Ok(Lines {
            completed: agent::measure::<DB>(self, Wait::Completed).await?,
            floor_completed: floor::measure::<DB>(self, Wait::Completed, Sync::Yes).await?,
            decided: agent::measure::<DB>(self, Wait::Decided).await?,
            floor_decided: floor::measure::<DB>(self, Wait::Decided, Sync::Yes).await?,
            floor_without_log: floor::measure::<DB>(self, Wait::Decided, Sync::NoLog).await?,
            plain: plain::measure::<DB>(self).await?,
        })
    }
}

fn tell(workers: usize, rounds: &[Lines], report: &mut Report) {
    let of = |line: &dyn Fn(&Lines) -> &Line| middle(rounds.iter().map(line));
    let lines = vec![
        of(&|lines| &lines.completed),
        of(&|lines| &lines.floor_completed),
        of(&|lines| &lines.decided),
        of(&|lines| &lines.floor_decided),
        of(&|lines| &lines.floor_without_log),
        of(&|lines| &lines.plain),
    ];
    report.table(&format!("transfers, {workers} at once"), lines);
    let mut compare = |name: &str, target: bool, of: &dyn Fn(&Lines) -> (&Line, &Line)| {
        let ratio = |of_line: &dyn Fn(&Line) -> f64| {
            let ratios = rounds.iter().map(|lines| {
                let (one, other) = of(lines);
                of_line(one) / of_line(other)
            });
            median(ratios.collect())
        };
        // One at a time it is the time that counts, and it is the inverse.
        let (what, value, bound) = match workers {
            1 => ("time", 1.0 / ratio(&|line| line.per_second), Target::AtMost(TIME_RATIO_MAX)),
            _ => ("rate", ratio(&|line| line.per_second), Target::AtLeast(RATE_RATIO_MIN)),
        };
        let name = format!("{workers} at once: {what} of {name}");
        report.finding(Finding::new(name, value, "", target.then_some(bound)));
    };
    compare("agent to floor, decided", true, &|lines| (&lines.decided, &lines.floor_decided));
    compare("agent to floor, completed", true, &|lines| (&lines.completed, &lines.floor_completed));
    compare("agent to plain, decided", false, &|lines| (&lines.decided, &lines.plain));
    compare("floor to plain, decided", false, &|lines| (&lines.floor_decided, &lines.plain));
}

/// As it is called in the tables.
fn name_of(wait: Wait) -> &'static str {
    match wait {
        Wait::Decided => "decided",
        Wait::Completed => "completed",
    }
}
