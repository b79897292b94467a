//! The story: short parts, told as they happen, mode by mode.
//!
//! - [`ear`]: hears each step from the services, and can hold it.
//! - [`stage`]: lets a transfer run and tells its steps. [`phase_two`]: and its end.
//! - [`at`], [`tcc`], [`saga`], [`xa`], [`mixed`]: the parts of each mode. [`both`]: those of all.
//! - [`declared`]: all parts of the mode in which the coordinator drives; [`driven`] tells their steps.
//! - [`compare`]: the table that ends a story of all modes.

mod at;
mod both;
mod compare;
mod declared;
mod driven;
mod ear;
mod mixed;
mod phase_two;
mod saga;
mod stage;
mod tcc;
mod xa;

use anyhow::{Result, ensure};

use crate::args::{Db, Kind, Mode};
use crate::audit::audit;
use crate::places::Places;
use crate::screen::{Ink, Screen};
use crate::settle::{self, Left};
use crate::table;
use crate::world::{Plan, World};
use both::Between;
use ear::Ear;
use stage::Stage;

/// What every account holds at first.
const OPENING: i64 = 100;
/// What the ids of all transfers begin with.
const RUN: &str = "story";

/// Tells the story of each mode, and says whether the books are right at its end.
pub(crate) async fn run(kind: &Kind, screen: Screen, places: &Places) -> Result<bool> {
    let title =
        "Money moves between three banks that know nothing of each other: all of it, or none.";
    screen.line(screen.paint(Ink::Heading, title));
    let mut compared = Vec::new();
    for mode in kind.modes() {
        let between = tell_one(mode, kind, screen, places).await?;
        if kind.mode == Mode::All {
            let room = places.room(&format!("{}-times", mode.name())).await?;
            let times = compare::measure(mode, kind.db, &room).await;
            if times.is_err() {
                places.keep();
            }
            compared.push((mode, between, times?));
        }
    }
    if kind.mode == Mode::All {
        compare::print(screen, &compared, kind);
    }
    Ok(true)
}

/// Tells the story of one mode, and gives back what was seen in the middle of a transfer.
async fn tell_one(mode: Mode, kind: &Kind, screen: Screen, places: &Places) -> Result<Between> {
    let (ear, url) = Ear::open().await?;
    let plan =
        Plan { mode, db: kind.db, accounts: 1, opening: OPENING, tc: None, story: Some(url) };
    screen.line("");
    let how = format!("── {} ── {}", mode.title(), described(mode, kind.db));
    screen.line(screen.paint(Ink::Heading, how));
    let room = places.room(mode.name()).await?;
    let world = World::start(&plan, RUN, &room).await?;
    let mut stage = Stage::new(world, ear, screen);
    let told = tell(mode, &mut stage).await;
    let stopped = stage.world.stop().await;
    if told.is_err() || stopped.is_err() {
        stage.world.show_remains(screen).await;
        places.keep();
    }
    let between = told?;
    stopped?;
    Ok(between)
}

/// What a mode is, in a line.
fn described(mode: Mode, db: Db) -> &'static str {
    match (mode, db) {
        (Mode::At, _) => "each bank commits at once, and the agent can undo it",
        (Mode::Tcc, _) => "try reserves, confirm books, cancel frees",
        (Mode::Saga, _) => "actions book at once, compensations book back",
        (Mode::SagaDeclared, _) => "the same actions, driven by the coordinator",
        (Mode::Xa, _) => "each database prepares, and waits for the decision",
        (Mode::Mixed | Mode::All, Db::Sqlite) => "bank a in AT, bank b in TCC, bank c in a saga",
        (Mode::Mixed | Mode::All, Db::Postgres | Db::Mysql) => {
            "bank a in AT, bank b in TCC, bank c in a saga and in XA by turns"
        }
    }
}

async fn tell(mode: Mode, stage: &mut Stage) -> Result<Between> {
    stage.introduce().await;
    let between = match mode {
        Mode::SagaDeclared => declared::a_three_legs(stage).await?,
        Mode::At | Mode::Tcc | Mode::Saga | Mode::Xa | Mode::Mixed | Mode::All => {
            let between = both::a_three_branches(stage).await?;
            both::b_one_is_short(stage, mode).await?;
            between
        }
    };
    match mode {
        Mode::At => at::tell(stage).await?,
        Mode::Tcc => tcc::tell(stage).await?,
        Mode::Saga => saga::tell(stage).await?,
        Mode::SagaDeclared => declared::tell(stage).await?,
        Mode::Xa => xa::tell(stage).await?,
        Mode::Mixed | Mode::All => mixed::tell(stage).await?,
    }

    let left = settle::settle(&stage.world, RUN, None).await?;
    let record = settle::record(&stage.world, RUN, None, &stage.sent).await?;
    let books = stage.world.books().await?;
    let audit = audit(OPENING, &stage.sent, &record, &books);
    table::print(stage.screen, OPENING, &books);
    stage.screen.line(format!("  left: {left}"));
    for finding in &audit.findings {
        stage.screen.line(stage.screen.paint(Ink::Bad, format!("  ✗ {finding}")));
    }
    ensure!(left == Left::default(), "something is left behind: {left:?}");
    ensure!(audit.findings.is_empty(), "the books are wrong");
    let good = "  ✓ every transfer in full or not at all, and no money made or lost";
    stage.screen.line(stage.screen.paint(Ink::Good, good));
    Ok(between)
}
