//! `modes`: the same transfers in every mode, side by side, and beside plain local transactions.
//!
//! - `ways`: the real thing, a coordinator in a process of its own: TCC, saga, XA. AT's is that of `at`.
//! - `by_hand`: what the floors share: the coordinator's log, and a branch from its registration on.
//!   `tcc`, `saga`, `xa`: what each mode does in the databases, by hand. AT's floor is that of `at`.
//! - `speak`: what is said to each database beyond what `at` says.
//!
//! What is compared is one transfer: taken from one bank, given to the other. TCC needs two
//! statements of the user's for each where the others need one. Every competitor has databases of its
//! own, and all of a round run one after the other.

mod by_hand;
mod saga;
mod speak;
mod tcc;
mod ways;
mod xa;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use pactum_agent::Wait;
use sqlx::{MySql, Postgres, Sqlite};

use super::ground::Db;
use super::log::Sync;
use super::{Ground, RATE_RATIO_MIN, Round, agent, floor, plain};
use crate::report::{Finding, Line, Report, Target, median, middle};
use speak::Joins;

/// How much to run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: super::Options,
    /// How far a transfer waits: a table each.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["decided", "completed"])]
    wait: Vec<WaitFor>,
    /// Only these modes.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["at", "tcc", "saga", "xa"])]
    mode: Vec<Mode>,
}

/// How far a transfer waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WaitFor {
    Decided,
    Completed,
}

impl WaitFor {
    fn name(self) -> &'static str {
        super::name_of(self.wait())
    }

    fn wait(self) -> Wait {
        match self {
            WaitFor::Decided => Wait::Decided,
            WaitFor::Completed => Wait::Completed,
        }
    }
}

/// How both banks take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    At,
    Tcc,
    Saga,
    Xa,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::At => "AT",
            Mode::Tcc => "TCC",
            Mode::Saga => "saga",
            Mode::Xa => "XA",
        }
    }
}

/// Runs every mode at every concurrency.
pub(crate) fn run(options: Options) -> Result<()> {
    let options = Options { common: options.common.made_quick(), ..options };
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    runtime.block_on(async {
        match options.common.db {
            Db::Sqlite => measure::<Sqlite>(&options).await,
            Db::Postgres => measure::<Postgres>(&options).await,
            Db::Mysql => measure::<MySql>(&options).await,
        }
    })
}

async fn measure<DB: Joins>(options: &Options) -> Result<()> {
    let ground = Ground::open(&options.common).await?;
    let folder = options.common.folder()?;
    let mut report = Report::start(folder.path())?;
    drop(folder);
    let modes = options.mode.iter().copied().filter(|mode| *mode != Mode::Xa || DB::XA.is_some());
    let modes: Vec<Mode> = modes.collect();
    if DB::XA.is_none() && options.mode.contains(&Mode::Xa) {
        println!("XA is not available there: SQLite has no prepared transactions");
    }
    for &workers in &options.common.concurrency {
        for &wait in &options.wait {
            let round = Round { options: &options.common, ground: &ground, workers };
            let mut rounds = Vec::with_capacity(options.common.rounds);
            for _ in 0..options.common.rounds {
                rounds.push(Lines::measure::<DB>(&round, &modes, wait.wait()).await?);
            }
            tell(workers, wait, &modes, &rounds, &mut report);
        }
    }
    report.finish(options.common.json.as_deref())
}

/// One round: each mode beside its floor, in the order of the modes.
struct Lines {
    modes: Vec<(Line, Line)>,
    plain: Line,
}

impl Lines {
    async fn measure<DB: Joins>(round: &Round<'_>, modes: &[Mode], wait: Wait) -> Result<Self> {
        let mut lines = Vec::with_capacity(modes.len());
        for mode in modes {
            let (mut real, mut floor) = match mode {
                Mode::At => (
                    agent::measure::<DB>(round, wait).await?,
                    floor::measure::<DB>(round, wait, Sync::Yes).await?,
                ),
                Mode::Tcc => (
                    ways::measure::<DB, ways::Tcc<DB>>(round, wait).await?,
                    by_hand::measure::<DB, tcc::Tcc>(round, wait).await?,
                ),
                Mode::Saga => (
                    ways::measure::<DB, ways::Saga<DB>>(round, wait).await?,
                    by_hand::measure::<DB, saga::Saga>(round, wait).await?,
                ),
                Mode::Xa => (
                    ways::measure::<DB, ways::Xa<DB>>(round, wait).await?,
                    by_hand::measure::<DB, xa::Xa>(round, wait).await?,
                ),
            };
            real.name = mode.name().to_owned();
            floor.name = format!("{}, floor", mode.name());
            lines.push((real, floor));
        }
        Ok(Lines { modes: lines, plain: plain::measure::<DB>(round).await? })
    }
}

fn tell(workers: usize, wait: WaitFor, modes: &[Mode], rounds: &[Lines], report: &mut Report) {
    let mut lines = Vec::new();
    for number in 0..modes.len() {
        lines.push(middle(rounds.iter().map(|round| &round.modes[number].0)));
        lines.push(middle(rounds.iter().map(|round| &round.modes[number].1)));
    }
    lines.push(middle(rounds.iter().map(|round| &round.plain)));
    report.table(&format!("transfers, {workers} at once, {}", wait.name()), lines);

    let ratio = |of: &dyn Fn(&Lines) -> (&Line, &Line)| {
        let ratios = rounds.iter().map(|round| {
            let (one, other) = of(round);
            one.per_second / other.per_second
        });
        median(ratios.collect())
    };
    let at = modes.iter().position(|mode| *mode == Mode::At);
    let what = format!("{workers} at once, {}: rate of", wait.name());
    for (number, mode) in modes.iter().enumerate() {
        let name = mode.name();
        let to_floor = ratio(&|round| (&round.modes[number].0, &round.modes[number].1));
        let target = Some(Target::AtLeast(RATE_RATIO_MIN));
        report.finding(Finding::new(format!("{what} {name} to its floor"), to_floor, "", target));
        if let Some(at) = at.filter(|at| *at != number) {
            let to_at = ratio(&|round| (&round.modes[number].0, &round.modes[at].0));
            let target = matches!(mode, Mode::Tcc | Mode::Saga).then_some(Target::AtLeast(1.0));
            report.finding(Finding::new(format!("{what} {name} to AT"), to_at, "", target));
        }
        let to_plain = ratio(&|round| (&round.modes[number].0, &round.plain));
        report.finding(Finding::new(format!("{what} {name} to plain"), to_plain, "", None));
    }
}
