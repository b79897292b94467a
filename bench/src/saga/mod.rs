//! `saga`: declared sagas, over the real wire, with fsync on.
//!
//! - [`two`]: sagas of two steps that do nothing, beside both bare limits.
//! - [`long`]: sagas of ten to a thousand steps: a step's time must not grow with them.
//! - [`waiting`]: what a hundred thousand sagas that wait for a time cost.
//! - [`published`]: what DTM publishes, for comparison; nothing of it was run here.
//! - [`definitions`]: what is defined; [`load`]: the client; [`rows`]: the bare limit of the store.

mod definitions;
mod load;
mod long;
mod published;
mod rows;
mod two;
mod waiting;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use pactum_proto::v1;
use tempfile::TempDir;
use tokio::time::Duration;

use crate::machine;
use crate::report::Report;
use crate::tc::drive::Sessions;

/// The resource of the steps.
pub(crate) const SERVICE: &str = "bench-steps";
/// What they run.
pub(crate) const ACTION: &str = "nothing";

/// What to run, and how much of it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// What to measure.
    #[arg(value_enum, default_values_t = [Part::Two, Part::Long, Part::Waiting, Part::Published])]
    parts: Vec<Part>,
    /// Sagas under way at once in `two`.
    #[arg(long, default_value_t = 1024)]
    in_flight: usize,
    /// Seconds of each measurement in `two`, the first fifth of them to warm up.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Rounds of each measurement beside its limits; the medians are shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Steps that are run for each length in `long`.
    #[arg(long, default_value_t = 64_000)]
    steps: u64,
    /// Sagas in `waiting`.
    #[arg(long, default_value_t = 100_000)]
    waiting: u64,
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
    /// Sagas of two steps that do nothing.
    Two,
    /// Sagas of up to a thousand steps.
    Long,
    /// Sagas that wait.
    Waiting,
    /// What others publish.
    Published,
}

impl Options {
    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    fn made_quick(mut self) -> Self {
        if self.quick {
            self.seconds = self.seconds.min(0.5);
            self.rounds = 1;
            self.steps = self.steps.min(4_000);
            self.waiting = self.waiting.min(4_000);
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
                Part::Two => two::run(&options, &mut report).await?,
                Part::Long => long::run(&options, &mut report).await?,
                Part::Waiting => waiting::run(&options, &mut report).await?,
                Part::Published => published::print(),
            }
        }
        report.finish(options.json.as_deref())
    })
}

/// A session that submits sagas and does their steps: one, because a step goes to any session of its
/// resource, and one reader keeps up.
async fn session(url: &str) -> Result<Sessions> {
    let service = || v1::Resource {
        resource_id: SERVICE.to_owned(),
        kind: v1::ResourceKind::Service.into(),
        actions: vec![v1::OfferedAction { name: ACTION.to_owned(), compensable: true }],
        ..v1::Resource::default()
    };
    Sessions::open_with(url, 1, |_| vec![service()]).await
}
