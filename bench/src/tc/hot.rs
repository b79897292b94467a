//! One key that everybody wants, beside the same transactions one after another.
//!
//! One after another, each pays for its own round trips and its own syncs. Many at once can be
//! faster only if the grant to the next one rides in the batch that releases the key.

use anyhow::Result;
use pactum_proto::v1;

use super::Options;
use super::drive::{Driven, Sessions};
use super::server::Coordinator;
use crate::client::{Ending, Keys, Load, Stop};
use crate::report::{Finding, Report, Target};

const WAITERS: usize = 64;
const GAIN_MIN: f64 = 1.2;

pub(super) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    for (wait, name) in [(v1::Wait::Completed, "completed"), (v1::Wait::Decided, "decided")] {
        let alone = one(options, wait, 1, "one after another").await?;
        let many = one(options, wait, WAITERS, "64 at once").await?;
        let gain = many.line.per_second / alone.line.per_second;
        let out_of_order = many.out_of_order as f64;
        report.table(&format!("one hot key, answered when {name}"), vec![alone.line, many.line]);
        let gained = format!("hot key, {name}: 64 at once against one after another");
        report.finding(Finding::new(gained, gain, "×", Some(Target::AtLeast(GAIN_MIN))));
        let order = format!("hot key, {name}: grants out of order");
        report.finding(Finding::new(order, out_of_order, "", Some(Target::AtMost(0.0))));
    }
    Ok(())
}

/// On one session, so that the order of asking is the order of sending.
async fn one(options: &Options, wait: v1::Wait, slots: usize, name: &str) -> Result<Driven> {
    let coordinator = Coordinator::start(options).await?;
    let mut sessions = Sessions::open(&coordinator.url, 1).await?;
    let load = Load {
        slots,
        branches: 1,
        keys: Keys::Hot,
        ending: Ending::Commit(wait),
        stop: Stop::Count(0),
    };
    let driven = sessions.for_time(name, load, options.duration(), coordinator.pid()).await?;
    drop(sessions);
    coordinator.end().await?;
    Ok(driven)
}
