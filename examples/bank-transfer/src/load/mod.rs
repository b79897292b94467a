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

use crate::args::{Db, LoadFlags};
use crate::audit::audit;
use crate::places::Places;
use crate::screen::{Ink, Screen};
use crate::settle;
use crate::table;
use crate::world::{self, World};
use kills::KillCounts;
use plan::Size;
use progress::Progress;
use report::{Asked, Report};

const TRANSFERS: u32 = 1000;
const CONCURRENCY: u32 = 16;
const ACCOUNTS: u32 = 100;
const FAIL_PERCENT: u32 = 10;

/// Runs the load, prints what came of it, and says whether all checks passed.
pub(crate) async fn run(flags: LoadFlags, db: Db, screen: Screen, places: &Places) -> Result<bool> {
    let load = Load::new(flags, db);
    let run = format!("{:08x}", Rng::new().u32(..));
    load.announce(screen);
    let plan = world::Plan {
        accounts: load.size.accounts,
        opening: plan::OPENING,
        tc: load.tc.clone(),
        story: None,
    };
    let world = World::start(&plan, &run, places).await?;
    let ran = load.run(&world, &run, screen).await;
    let stopped = world.stop().await;
    if !(matches!(&ran, Ok(report) if report.passed()) && stopped.is_ok()) {
        world.show_remains(screen).await;
        places.keep(screen);
    } else if load.keep {
        places.keep(screen);
    }
    let report = ran?;
    stopped?;
    report.print(screen);
    if let Some(file) = &load.json {
        report.write(file)?;
    }
    Ok(report.passed())
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

    fn announce(&self, screen: Screen) {
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
        let (accounts, db) = (size.accounts, db.name());
        let what = format!("{accounts} accounts a bank, mode at, db {db}{killed}; --seed {seed}");
        screen.line(screen.paint(Ink::Aside, what));
    }

    async fn run(&self, world: &World, run: &str, screen: Screen) -> Result<Report> {
        let mut rng = Rng::with_seed(self.seed);
        let sent = plan::draw(&mut rng, run, self.size);
        let since = world.admin.newest().await?;
        let finished = watch::Sender::new(0);
        let progress = Progress::new(screen, self.size.transfers);
        let url = world.tm.url();
        let driving = drive::drive(&url, sent, self.concurrency, &finished, &progress);
        let killing = killer::kill(world, self.kills, &mut rng, self.size.transfers, &finished);
        let (driven, kills) = tokio::try_join!(driving, killing)?;
        progress.settling();
        let left = settle::settle(world, run).await?;
        progress.end();

        let record = settle::record(world, run, since.as_deref()).await?;
        let books = world.books().await?;
        table::print(screen, plan::OPENING, &books);
        let audit = audit(plan::OPENING, &driven.sent, &record, &books);
        let asked = Asked { db: self.db, size: self.size, kills: self.kills, seed: self.seed };
        Ok(Report::new(asked, audit, left, kills, &driven))
    }
}
