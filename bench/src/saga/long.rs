//! Sagas of ten to two thousand steps: what a step takes must not grow with how many there are.
//!
//! Many are under way at once, so that the processor is the limit: alone, a step waits for its sync, and
//! hides what is spent beside it. Of each length as many sagas run as make the same number of steps.
//!
//! Up to some hundred steps, sagas at once share the pages of the store that their rows go to; longer ones
//! write a page for each row. So a step costs more there, and no more beyond it: that is why two thousand are
//! compared with one thousand, too.

use anyhow::{Context as _, Result};

use super::load::{Load, Until};
use super::{Options, definitions, session};
use crate::client::Stop;
use crate::report::{Finding, Line, Report, Target, middle};
use crate::tc::server::Coordinator;

/// Sagas at once.
const IN_FLIGHT: usize = 32;
/// A step's time in a long saga, of that in a shorter one.
const GROWTH_MAX: f64 = 1.25;

const SHAPES: [Shape; 6] = [
    Shape { name: "chain-10", of: definitions::chain, steps: 10 },
    Shape { name: "chain-100", of: definitions::chain, steps: 100 },
    Shape { name: "chain-1000", of: definitions::chain, steps: 1_000 },
    Shape { name: "chain-2000", of: definitions::chain, steps: 2_000 },
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
    let growth =
        |lines: &[Line], of: usize, over: usize| lines[over].per_second / lines[of].per_second;
    let target = Some(Target::AtMost(GROWTH_MAX));
    let found = [
        ("one saga alone: 1,000 against 100", growth(&alone, 2, 1), target),
        ("one saga alone: 2,000 against 1,000", growth(&alone, 3, 2), target),
        ("32 at once: 1,000 against 100", growth(&many, 2, 1), None),
        ("32 at once: 2,000 against 1,000", growth(&many, 3, 2), target),
    ];
    report.table("steps of long sagas, 32 sagas at once (latencies: of whole sagas)", many);
    report.table("steps of long sagas, one saga alone (latencies: of whole sagas)", alone);
    for (how, growth, target) in found {
        report.finding(Finding::new(format!("a step's time, {how} steps"), growth, "×", target));
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
