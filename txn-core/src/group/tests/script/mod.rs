//! Scripts for a group: one event a line, and below each what the group answers, as a snapshot that
//! `UPDATE_EXPECT=1` writes.
//!
//! ```text
//! begin timeout=60               the next transaction: T1, T2, …
//! xids s=1; named T1 s=1         session 1 gets numbers, and begins a transaction under one of them
//! register T1 b1 a x,y~          branch b1 at resource a locks row x, shares row y of table t
//! register T1 b2 a z in=s1,s2    the same within scope s2, which lies within s1
//! given begin; begin             as two lines, of which nothing is printed
//! @70                            time goes on, and every timer that is due fires; `@70!`: none does
//! ```
//!
//! Keys: `x` is a row of table `t`, `u:x` a row of table `u`, `t.*` a table; `~` shares. Sessions 1
//! and 2 (of nodes n1 and n2) are open and attached to the resources `a` and `b`. Every request has a
//! number, under which its answer is printed:
//!
//! ```text
//! = a row is stored      ~ a volatile change      < an answer      > a command      @ a timer
//! ```
//!
//! After every event [`invariants::holds`] is checked, and what a restart would rebuild.

mod parse;
mod print;
mod saga;

pub(super) use parse::lock;

use std::collections::BTreeMap;
use std::time::Duration;

use expect_test::Expect;

use crate::event::{Event, IdBlock, Timer};
use crate::group::Group;
use crate::group::tests::store::Rows;
use crate::id::{NodeId, SessionId, XidNumber};
use crate::invariants;
use crate::policy::Policy;
use crate::step::{Change, ReplyTo, Step};
use crate::time::{Now, Timestamp, WallTime};

/// The wall clock when the monotonic one is at zero.
const WALL_AT_START_MS: u64 = 1_000_000_000;

/// Runs a script and compares what comes of it. The script stands in the snapshot itself: the lines
/// that are not indented are the events, those below each are the answer.
#[track_caller]
pub(super) fn check(script: &Expect) {
    check_with(Policy::default(), script);
}

/// As [`check`], with other limits.
#[track_caller]
pub(super) fn check_with(policy: Policy, script: &Expect) {
    let lines = || script.data().lines().filter(|line| !line.trim().is_empty());
    let depth = |line: &str| line.len() - line.trim_start().len();
    let margin = lines().map(depth).min().unwrap_or(0);
    let mut world = World::new(policy);
    for line in lines().filter(|line| depth(line) == margin) {
        world.run(line.trim());
    }
    script.assert_eq(&world.out);
}

/// A group with its clock, its timers and its store.
pub(super) struct World {
    group: Group,
    rows: Rows,
    now: Duration,
    timers: BTreeMap<(Timestamp, u64), Timer>,
    timer_count: u64,
    request: u64,
    out: String,
}

impl World {
    pub(super) fn new(policy: Policy) -> Self {
        let at = Now { mono: Timestamp(0), wall: WallTime(WALL_AT_START_MS) };
        let (group, _) = Group::recover(policy, XidNumber(0), Rows::default().found(), at);
        let mut world = World {
            group,
            rows: Rows::default(),
            now: Duration::ZERO,
            timers: BTreeMap::new(),
            timer_count: 0,
            request: 0,
            out: String::new(),
        };
        world.reserve_ids();
        world.run("given open 1 n1; attach 1 a; attach 1 b; open 2 n2; attach 2 a; attach 2 b");
        // What was answered to the set-up is of no interest.
        world.timers.clear();
        world.request = 0;
        world.out.clear();
        world
    }

    fn reserve_ids(&mut self) {
        let branches = IdBlock { first: 100_000, end: 100_000_000 };
        let at = self.at();
        for xids in [IdBlock { first: 1, end: 1_000 }, IdBlock { first: 1_000, end: 2_000 }] {
            let _ = self.group.handle(Event::IdsReserved { xids, branches }, at);
        }
    }

    fn at(&self) -> Now {
        let mono = Timestamp(u64::try_from(self.now.as_micros()).unwrap());
        let wall = WALL_AT_START_MS + u64::try_from(self.now.as_millis()).unwrap();
        Now { mono, wall: WallTime(wall) }
    }

    pub(super) fn run(&mut self, line: &str) {
        self.say(line);
        if let Some(time) = line.strip_prefix('@') {
            return self.go_on(time);
        }
        if let Some(lines) = line.strip_prefix("given ") {
            return self.set_up(lines);
        }
        match line {
            "restart" => self.restart(),
            "show" => self.out.push_str(&print::state(&self.group)),
            request => drop(self.step(request)),
        }
    }

    /// Runs lines whose answers are of no interest.
    fn set_up(&mut self, lines: &str) {
        let said = std::mem::take(&mut self.out);
        lines.split("; ").for_each(|line| self.run(line));
        self.out = said;
    }

    fn say(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }

    fn go_on(&mut self, time: &str) {
        let (time, fires) = time.strip_suffix('!').map_or((time, true), |time| (time, false));
        let until = Duration::from_secs_f64(time.parse().expect("a time in seconds"));
        while let Some((&(due, place), &timer)) = self.timers.first_key_value() {
            let due_at = Duration::from_micros(due.0);
            if !fires || due_at > until {
                break;
            }
            self.timers.remove(&(due, place));
            self.now = self.now.max(due_at);
            let said = format!("  @{} {}", print::seconds(due), print::timer(&timer));
            self.say(&said);
            drop(self.handle(timer.into()));
        }
        self.now = until;
    }

    /// Runs one request and hands out its step.
    pub(super) fn step(&mut self, request: &str) -> Step {
        self.request += 1;
        let reply = ReplyTo { session: SessionId(0), correlation: self.request };
        let event = parse::event(request, reply, &self.group);
        self.handle(event)
    }

    fn handle(&mut self, event: Event) -> Step {
        let step = self.group.handle(event, self.at());
        self.out.push_str(&print::step(&step));
        self.keep(&step);
        if let Err((rule, why)) = invariants::holds(&self.group) {
            panic!("{rule} does not hold: {why}\n{}", self.out);
        }
        self.rows.check_recovery(&self.group, self.at());
        step
    }

    fn keep(&mut self, step: &Step) {
        for change in &step.changes {
            if let Change::Stored(write) = change {
                self.rows.write(write);
            }
        }
        // The history is looked at every second: scripts do that by hand.
        let of_interest = step.timers.iter().filter(|(_, timer)| *timer != Timer::History);
        for (due, timer) in of_interest {
            self.timer_count += 1;
            self.timers.insert((*due, self.timer_count), *timer);
        }
    }

    fn restart(&mut self) {
        let policy = self.group.policy().clone();
        let (group, step) = Group::recover(policy, self.rows.horizon, self.rows.found(), self.at());
        self.group = group;
        self.timers.clear();
        self.out.push_str(&print::step(&step));
        self.keep(&step);
        let next = self.rows.greatest_xid().max(1_000) + 1_000;
        let branches = IdBlock { first: 200_000_000, end: 300_000_000 };
        let at = self.at();
        for first in [next, next + 1_000] {
            let xids = IdBlock { first, end: first + 1_000 };
            let _ = self.group.handle(Event::IdsReserved { xids, branches }, at);
        }
    }
}

/// The node that a script calls `n<number>`.
fn node(number: u64) -> NodeId {
    NodeId(u128::from(number))
}
