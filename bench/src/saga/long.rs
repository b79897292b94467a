//! Sagas of ten to a thousand steps: what a step takes must not grow with how many there are.
//!
//! Many are under way at once, so that the processor is the limit: alone, a step waits for its sync, and
//! hides what is spent beside it. Of each length as many sagas run as make the same number of steps.

use anyhow::{Context as _, Result};

use super::load::{Load, Until};
use super::{Options, definitions, session};
use crate::client::Stop;
use crate::report::{Finding, Line, Report, Target, middle};
use crate::tc::server::Coordinator;

/// Sagas at once.
const IN_FLIGHT: usize = 32;
/// A step's time in a saga of a thousand, of that in one of a hundred.
const GROWTH_MAX: f64 = 1.25;

const SHAPES: [Shape; 5] = [
    Shape { name: "chain-10", of: definitions::chain, steps: 10 },
    Shape { name: "chain-100", of: definitions::chain, steps: 100 },
    Shape { name: "chain-1000", of: definitions::chain, steps: 1_000 },
    Shape { name: "loop-1000", of: definitions::each, steps: 1_000 },
    Shape { name: "wide-1000", of: definitions::side_by_side, steps: 1_000 },
];

#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    of: fn(&str, usize) -> serde_json::Value,
    steps: usize,
}

pub(super) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let mut rounds = Vec::with_capacity(options.rounds);
    for _ in 0..options.rounds {
        rounds.push(Measured::measure(options).await?);
    }
    let middle_of = |of: &dyn Fn(&Measured) -> &Vec<Line>, shape: usize| {
        middle(rounds.iter().map(|round| &of(round)[shape]))
    };
    let shapes = 0..SHAPES.len();
    let many: Vec<_> = shapes.clone().map(|shape| middle_of(&|round| &round.many, shape)).collect();
    let alone: Vec<_> = shapes.map(|shape| middle_of(&|round| &round.alone, shape)).collect();
    let growth = |lines: &[Line]| lines[1].per_second / lines[2].per_second;
    let found = [("32 at once", growth(&many)), ("one saga alone", growth(&alone))];
    report.table("steps of long sagas, 32 sagas at once (latencies: of whole sagas)", many);
    report.table("steps of long sagas, one saga alone (latencies: of whole sagas)", alone);
    for (how, growth) in found {
        let name = format!("{how}: a step's time in a saga of 1,000 against one of 100");
        report.finding(Finding::new(name, growth, "×", Some(Target::AtMost(GROWTH_MAX))));
    }
    Ok(())
}

/// A line for each shape.
struct Measured {
    many: Vec<Line>,
    alone: Vec<Line>,
}

impl Measured {
    async fn measure(options: &Options) -> Result<Measured> {
        let (mut many, mut alone) = (Vec::new(), Vec::new());
        for shape in SHAPES {
            many.push(one(options, shape, IN_FLIGHT, options.steps).await?);
            alone.push(one(options, shape, 1, options.steps / 16).await?);
        }
        Ok(Measured { many, alone })
    }
}

/// So many steps of a shape, as a line that counts steps.
async fn one(options: &Options, shape: Shape, slots: usize, steps: u64) -> Result<Line> {
    let folder = options.folder()?;
    let mut coordinator = Coordinator::child(folder.path(), false).await?;
    definitions::define(&coordinator.url, &(shape.of)(shape.name, shape.steps)).await?;
    let mut sessions = session(&coordinator.url).await?;
    let load =
        Load { saga: shape.name, input: b"", slots, until: Until::Ended, stop: Stop::Count(0) };
    let each = shape.steps as f64;
    let before = coordinator.written().await?.context("its rows are known")?;
    let count = (steps / shape.steps as u64).max(1);
    let driven = sessions.for_count(shape.name, load, count, coordinator.pid()).await?;
    let written = coordinator.written().await?.context("its rows are known")?.since(before);
    let mut line = driven.line;
    line.per_second *= each;
    line.cpu_us_each = line.cpu_us_each.map(|(client, server)| (client / each, server / each));
    line.rows_each = Some(written.rows as f64 / driven.ended as f64 / each);
    line.rows_a_batch = Some(written.rows as f64 / written.batches as f64);
    drop(sessions);
    coordinator.end().await?;
    Ok(line)
}
