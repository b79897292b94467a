//! The story: five short parts, told as they happen.
//!
//! - [`ear`]: hears each step from the services, and can hold it.
//! - [`stage`]: lets a transfer run and tells its steps.
//! - [`parts`]: the five parts.

mod ear;
mod parts;
mod stage;

use anyhow::{Result, ensure};

use crate::audit::audit;
use crate::places::Places;
use crate::screen::{Ink, Screen};
use crate::settle::{self, Left};
use crate::table;
use crate::world::{Plan, World};
use ear::Ear;
use stage::Stage;

/// What every account holds at first.
const OPENING: i64 = 100;
/// What the ids of all transfers begin with.
const RUN: &str = "story";

/// Tells the story, and says whether the books are right at its end.
pub(crate) async fn run(screen: Screen, places: &Places) -> Result<bool> {
    let title =
        "Money moves between three banks that know nothing of each other: all of it, or none.";
    screen.line(screen.paint(Ink::Heading, title));
    let (ear, url) = Ear::open().await?;
    let plan = Plan { accounts: 1, opening: OPENING, tc: None, story: Some(url) };
    let world = World::start(&plan, RUN, places).await?;
    let mut stage = Stage::new(world, ear, screen);
    let told = tell(&mut stage).await;
    let stopped = stage.world.stop().await;
    if !matches!((&told, &stopped), (Ok(true), Ok(()))) {
        stage.world.show_remains(screen).await;
        places.keep(screen);
    }
    let told = told?;
    stopped?;
    Ok(told)
}

async fn tell(stage: &mut Stage) -> Result<bool> {
    stage.introduce().await;
    parts::a_three_branches(stage).await?;
    parts::b_one_is_short(stage).await?;
    parts::c_two_meet(stage).await?;
    parts::d_a_dirty_write(stage).await?;
    parts::e_the_coordinator_dies(stage).await?;

    let left = settle::settle(&stage.world, RUN).await?;
    let record = settle::record(&stage.world, RUN, None).await?;
    let books = stage.world.books().await?;
    let audit = audit(OPENING, &stage.sent, &record, &books);
    table::print(stage.screen, OPENING, &books);
    let Left { locks, undo_rows, unfinished } = left;
    stage.screen.line(format!(
        "  left: {locks} locks, {undo_rows} open undo rows, {unfinished} unfinished transactions"
    ));
    for finding in &audit.findings {
        stage.screen.line(stage.screen.paint(Ink::Bad, format!("  ✗ {finding}")));
    }
    ensure!(left == Left::default(), "something is left behind: {left:?}");
    ensure!(audit.findings.is_empty(), "the books are wrong");
    let good = "  ✓ every transfer in full or not at all, and no money made or lost";
    stage.screen.line(stage.screen.paint(Ink::Good, good));
    Ok(true)
}
