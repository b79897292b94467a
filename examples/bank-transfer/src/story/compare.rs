//! The table that compares the modes: what was seen in the middle of the same transfer, and how long
//! the transfer takes when nobody listens.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::{Instant, sleep};

use super::both::Between;
use crate::args::{Db, Kind, Mode};
use crate::places::Room;
use crate::screen::{Ink, Screen};
use crate::services::order::{Answer, Leg, Order, WaitFor};
use crate::world::{Plan, World};

/// Enough for a median that does not move much; in a debug build they take two seconds.
const TRANSFERS: usize = 40;
/// Of these the first are not counted: nothing is in any cache yet.
const WARM_UP: usize = 10;
/// What a transfer that is only decided has left to do must not be in the next one's way.
const PHASE_TWO: Duration = Duration::from_millis(40);

/// How long a transfer between three banks takes, alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Until the answer that waits for the decision.
    decided: Duration,
    /// Until the answer that waits for every bank.
    completed: Duration,
}

/// Measures in a world of its own, in which nothing is told.
pub(super) async fn measure(mode: Mode, db: Db, room: &Room) -> Result<Times> {
    let opening = i64::try_from(100 * TRANSFERS).context("count the transfers")?;
    let plan = Plan { mode, db, accounts: 1, opening, tc: None, story: None };
    let world = World::start(&plan, "times", room).await?;
    let decided = median(&world, "decided", WaitFor::Decided).await?;
    let completed = median(&world, "completed", WaitFor::Completed).await?;
    world.stop().await?;
    Ok(Times { decided, completed })
}

async fn median(world: &World, name: &str, wait: WaitFor) -> Result<Duration> {
    let client = reqwest::Client::new();
    let url = format!("{}/transfer", world.tm.url());
    let mut times = Vec::new();
    for number in 0..TRANSFERS {
        let legs = vec![Leg::new("a", 1, -30), Leg::new("b", 1, -20), Leg::new("c", 1, 50)];
        let order = Order { id: format!("times-{name}{number}"), legs, wait, attempts_max: 1 };
        let begun = Instant::now();
        let response = client.post(&url).json(&order).send().await.context("send a transfer")?;
        let answer: Answer = response.json().await.context("read the answer")?;
        ensure!(matches!(answer, Answer::Committed { .. }), "a transfer failed: {answer:?}");
        if number >= WARM_UP {
            times.push(begun.elapsed());
        }
        if wait == WaitFor::Decided {
            sleep(PHASE_TWO).await;
        }
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// Prints a line for each mode.
pub(super) fn print(screen: Screen, compared: &[(Mode, Between, Times)], kind: &Kind) {
    let mut rows = vec![[
        "mode".to_owned(),
        "global locks".to_owned(),
        "locks in the database".to_owned(),
        "trips a branch".to_owned(),
        "decided".to_owned(),
        "completed".to_owned(),
        "a reader in between".to_owned(),
    ]];
    for (mode, between, times) in compared {
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        rows.push([
            mode.title().to_owned(),
            match between.global_locks {
                0 => "none".to_owned(),
                locks => format!("{locks} to the decision"),
            },
            match between.prepared {
                0 => "a local transaction".to_owned(),
                1 => "of 1 branch to the end".to_owned(),
                prepared => format!("of {prepared} branches to the end"),
            },
            trips(*mode, kind.db).to_owned(),
            ms(times.decided),
            ms(times.completed),
            seen(between),
        ]);
    }
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    screen.line("");
    let title = "The same transfer in each mode: A sends 30 of its 100, B sends 50, C gets 80";
    screen.line(screen.paint(Ink::Heading, title));
    for (number, row) in rows.iter().enumerate() {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = width(column);
            format!("{cell:<width$}")
        });
        let line = format!("  {}", cells.collect::<Vec<_>>().join("  "));
        let line = line.trim_end();
        match number {
            0 => screen.line(screen.paint(Ink::Heading, line)),
            _ => screen.line(line),
        }
    }
    if let Some(left_out) = kind.left_out() {
        screen.line(screen.paint(Ink::Aside, format!("  {left_out}")));
    }
}

/// How often one debit goes to its database, before the answer and after the decision, as the agent
/// sends it: transaction control, the bank's own statements, images, barrier row; as counted in the
/// servers' logs. AT's one trip after the decision is shared by all branches that ended meanwhile.
fn trips(mode: Mode, db: Db) -> &'static str {
    match (mode, db) {
        (Mode::At, Db::Sqlite) => "6 + 1",
        (Mode::At, Db::Postgres) => "5 + 1",
        (Mode::At, Db::Mysql) => "10 + 1",
        (Mode::Tcc, Db::Sqlite | Db::Postgres) => "4 + 5",
        (Mode::Tcc, Db::Mysql) => "4 + 6",
        (Mode::Saga, _) => "5 + 0",
        // The kept result goes into the barrier row once it is known.
        (Mode::SagaDeclared, _) => "6 + 0",
        (Mode::Xa, Db::Sqlite | Db::Postgres) => "4 + 1",
        // MariaDB's prepared connection is closed, so the next branch has a new one.
        (Mode::Xa, Db::Mysql) => "7 + 1",
        (Mode::Mixed | Mode::All, _) => "as each",
    }
}

fn seen(between: &Between) -> String {
    let (balance, reserved) = (between.reader.balance, between.reader.reserved);
    match reserved {
        0 => format!("A {balance}"),
        reserved => format!("A {balance}, {reserved} of it reserved"),
    }
}
