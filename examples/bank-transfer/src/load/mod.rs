//! Load: many transfers at once, processes killed under them, and an audit of every single one.
//!
//! - [`plan`]: which transfers. [`kills`]: who is killed when.
//! - [`drive`]: sends them. [`killer`]: kills. [`progress`]: what is seen meanwhile.
//! - [`report`]: the figures, the checks, the JSON.

mod drive;
mod killer;
pub(crate) mod kills;
mod plan;
mod progress;
mod report;

use std::path::PathBuf;

use anyhow::Result;
use fastrand::Rng;
use tokio::sync::watch;

use crate::args::{Db, Kind, LoadFlags, Mode};
use crate::audit::audit;
use crate::places::Places;
use crate::screen::{Ink, Screen};
use crate::settle;
use crate::table;
use crate::world::{self, World};
use drive::Again;
use kills::KillCounts;
use plan::Size;
use progress::Progress;
use report::{Asked, Report};

const TRANSFERS: u32 = 1000;
const CONCURRENCY: u32 = 16;
const ACCOUNTS: u32 = 100;
const FAIL_PERCENT: u32 = 10;

/// Runs the load in each mode, prints what came of it, and says whether all checks passed.
pub(crate) async fn run(
    flags: LoadFlags,
    kind: &Kind,
    screen: Screen,
    places: &Places,
) -> Result<bool> {
    let load = Load::new(flags, kind.db);
    let mut reports = Vec::new();
    for mode in kind.modes() {
        let report = load.run_in(mode, screen, places).await?;
        report.print(screen);
        reports.push(report);
    }
    if kind.mode == Mode::All {
        report::compare(&reports, screen);
    }
    if let Some(left_out) = kind.left_out() {
        screen.line(screen.paint(Ink::Aside, format!("  {left_out}")));
    }
    if load.keep {
        places.keep();
    }
    if let Some(file) = &load.json {
        report::write(&reports, file)?;
    }
    Ok(reports.iter().all(Report::passed))
}

/// What was asked for.
struct Load {
    db: Db,
    size: Size,
    concurrency: u32,
    kills: KillCounts,
    tc: Option<String>,
    json: Option<PathBuf>,
    keep: bool,
    seed: u64,
}

impl Load {
    fn new(flags: LoadFlags, db: Db) -> Self {
        Load {
            db,
            size: Size {
                transfers: flags.transfers.unwrap_or(TRANSFERS),
                accounts: flags.accounts.unwrap_or(ACCOUNTS),
                fail_percent: flags.fail_percent.unwrap_or(FAIL_PERCENT),
            },
            concurrency: flags.concurrency.unwrap_or(CONCURRENCY),
            kills: flags.kill.unwrap_or_default(),
            tc: flags.tc,
            json: flags.json,
            keep: flags.keep,
            // Short enough to be typed again.
            seed: flags.seed.unwrap_or_else(|| u64::from(Rng::new().u32(..))),
        }
    }

    async fn run_in(&self, mode: Mode, screen: Screen, places: &Places) -> Result<Report> {
        let run = format!("{:08x}", Rng::new().u32(..));
        self.announce(mode, screen);
        let plan = world::Plan {
            mode,
            db: self.db,
            accounts: self.size.accounts,
            opening: plan::OPENING,
            tc: self.tc.clone(),
            story: None,
        };
        let room = places.room(mode.name()).await?;
        let world = World::start(&plan, &run, &room).await?;
        let ran = self.run(mode, &world, &run, screen).await;
        let stopped = world.stop().await;
        if !(matches!(&ran, Ok(report) if report.passed()) && stopped.is_ok()) {
            world.show_remains(screen).await;
            places.keep();
        }
        let report = ran?;
        stopped?;
        Ok(report)
    }

    fn announce(&self, mode: Mode, screen: Screen) {
        let Load { db, size, concurrency, kills, seed, .. } = self;
        let failing = size.failing();
        screen.line(screen.paint(
            Ink::Heading,
            format!(
                "{} transfers, {concurrency} at a time, {failing} of them short",
                size.transfers
            ),
        ));
        let killed = if kills.is_empty() { String::new() } else { format!(", kill {kills}") };
        let (accounts, mode, db) = (size.accounts, mode.name(), db.name());
        let what =
            format!("{accounts} accounts a bank, mode {mode}, db {db}{killed}; --seed {seed}");
        screen.line(screen.paint(Ink::Aside, what));
    }

    async fn run(&self, mode: Mode, world: &World, run: &str, screen: Screen) -> Result<Report> {
        let mut rng = Rng::with_seed(self.seed);
        let sent = plan::draw(&mut rng, run, self.size, plan::Order::of(mode));
        let since = world.admin.newest().await?;
        let finished = watch::Sender::new(0);
        let progress = Progress::new(screen, self.size.transfers);
        let url = world.tm.url();
        let again = Again::of(mode);
        let driving = drive::drive(&url, sent, again, self.concurrency, &finished, &progress);
        let killing = killer::kill(world, self.kills, &mut rng, self.size.transfers, &finished);
        let (driven, kills) = tokio::try_join!(driving, killing)?;
        progress.settling();
        let left = settle::settle(world, run, since.as_deref()).await?;
        progress.end();

        let record = settle::record(world, run, since.as_deref(), &driven.sent).await?;
        let books = world.books().await?;
        table::print(screen, plan::OPENING, &books);
        let audit = audit(plan::OPENING, &driven.sent, &record, &books);
        let Load { db, size, kills: asked_kills, seed, .. } = *self;
        let asked = Asked { mode, db, size, kills: asked_kills, seed };
        Ok(Report::new(asked, audit, left, kills, &driven))
    }
}
