//! What comes out: a compact table for people, the same as JSON for programs.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::latency::Latencies;
use crate::machine::Machine;

/// One measured line.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_flight: Option<usize>,
    /// Frames in a batch of the wire: from the client, and from the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frames_a_batch: Option<(f64, f64)>,
    /// Rows in a batch of the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rows_a_batch: Option<f64>,
    /// Row writes for each transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rows_each: Option<f64>,
    /// A batch's write to the store, on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) write_ms: Option<f64>,
    /// Answered when they were decided, before every branch had confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) only_decided: Option<u64>,
    /// Processor time for each transaction, in microseconds: of the client, and of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_us_each: Option<(f64, f64)>,
}

impl Line {
    pub(crate) fn new(name: impl Into<String>, seconds: f64, latencies: &Latencies) -> Self {
        Line {
            name: name.into(),
            per_second: latencies.count() as f64 / seconds,
            p50_ms: latencies.quantile_ms(0.5),
            p99_ms: latencies.quantile_ms(0.99),
            p999_ms: latencies.quantile_ms(0.999),
            count: latencies.count(),
            ..Line::default()
        }
    }

    fn cells(&self) -> [String; 11] {
        let pair = |pair: Option<(f64, f64)>| {
            pair.map_or_else(String::new, |(one, other)| format!("{one:.0}/{other:.0}"))
        };
        let number =
            |number: Option<f64>| number.map_or_else(String::new, |number| format!("{number:.1}"));
        [
            self.name.clone(),
            format!("{:.0}", self.per_second),
            format!("{:.2}", self.p50_ms),
            format!("{:.2}", self.p99_ms),
            format!("{:.2}", self.p999_ms),
            self.in_flight.map_or_else(String::new, |count| count.to_string()),
            pair(self.frames_a_batch),
            number(self.rows_a_batch),
            number(self.rows_each),
            self.write_ms.map_or_else(String::new, |ms| format!("{ms:.2}")),
            pair(self.cpu_us_each),
        ]
    }
}

const HEADS: [&str; 11] = [
    "",
    "a second",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "in flight",
    "frames/batch",
    "rows/batch",
    "rows each",
    "write ms",
    "cpu µs each",
];

/// A ratio or a figure, with what it is to reach.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) met: Option<bool>,
}

/// What a figure is to reach.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_met_by(self, value: f64) -> bool {
        match self {
            Target::AtLeast(bound) => value >= bound,
            Target::AtMost(bound) => value <= bound,
        }
    }

    fn words(self) -> (&'static str, f64) {
        match self {
            Target::AtLeast(bound) => ("at least", bound),
            Target::AtMost(bound) => ("at most", bound),
        }
    }
}

impl Finding {
    pub(crate) fn new(
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        target: Option<Target>,
    ) -> Self {
        let met = target.map(|target| target.is_met_by(value));
        Finding { name: name.into(), value, unit, target, met }
    }

    fn sentence(&self) -> String {
        let Finding { name, value, unit, .. } = self;
        let (value, unit) = (figure(*value), *unit);
        let target = self.target.map_or_else(String::new, |target| {
            let (words, bound) = target.words();
            let met = if self.met == Some(true) { "reached" } else { "MISSED" };
            format!(" ({words} {}{unit}: {met})", figure(bound))
        });
        format!("{name}: {value}{unit}{target}")
    }
}

fn figure(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// All of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    /// As they were given.
    arguments: Vec<String>,
    lines: Vec<Line>,
    findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        let machine = Machine::look(directory)?;
        machine.print();
        let arguments = std::env::args().skip(1).collect();
        Ok(Report { machine, arguments, lines: Vec::new(), findings: Vec::new() })
    }

    /// Adds lines and prints them as a table under `title`.
    pub(crate) fn table(&mut self, title: &str, lines: Vec<Line>) {
        println!("\n{title}");
        let cells: Vec<_> = lines.iter().map(Line::cells).collect();
        print!("{}", layout(&cells));
        self.lines.extend(lines);
    }

    pub(crate) fn finding(&mut self, finding: Finding) {
        println!("{}", finding.sentence());
        self.findings.push(finding);
    }

    /// Writes the JSON, if a file was asked for.
    pub(crate) fn finish(&self, json: Option<&Path>) -> Result<()> {
        let Some(path) = json else { return Ok(()) };
        let text = serde_json::to_string_pretty(self).context("write the report as JSON")?;
        std::fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))
    }
}

/// Columns that hold nothing are left out.
fn layout(rows: &[[String; 11]]) -> String {
    let used = |column: &usize| rows.iter().any(|row| !row[*column].is_empty());
    let columns: Vec<usize> = (0..HEADS.len()).filter(used).collect();
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].chars().count()).max();
        longest.unwrap_or_default().max(HEADS[column].chars().count())
    };
    let line = |cell: &dyn Fn(usize) -> String| {
        let cells = columns.iter().map(|&column| {
            let (cell, width) = (cell(column), width(column));
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let cells: Vec<String> = cells.collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    let head = line(&|column| HEADS[column].to_owned());
    rows.iter().fold(head, |table, row| table + &line(&|column| row[column].clone()))
}

/// The line whose throughput is the median: one that was measured, with its own latencies.
pub(crate) fn middle<'l>(lines: impl IntoIterator<Item = &'l Line>) -> Line {
    let lines: Vec<_> = lines.into_iter().collect();
    let wanted = median(lines.iter().map(|line| line.per_second).collect());
    let found = lines.iter().find(|line| line.per_second == wanted);
    found.map_or_else(Line::default, |line| Line::clone(line))
}

/// The middle of some figures; of an even count the lower one.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_leaves_out_the_columns_that_nothing_fills() {
        let lines = [
            Line { name: "wire".into(), per_second: 40_000.4, ..Line::default() },
            Line { name: "two branches".into(), in_flight: Some(64), ..Line::default() },
        ];
        let cells: Vec<_> = lines.iter().map(Line::cells).collect();
        let table = layout(&cells);
        assert!(table.contains("in flight"));
        assert!(!table.contains("rows/batch"));
        assert!(table.contains("wire             40000"), "{table}");
    }

    #[test]
    fn a_missed_target_says_so() {
        let reached = Finding::new("half", 0.5, "", Some(Target::AtLeast(0.5)));
        assert_eq!(reached.sentence(), "half: 0.50 (at least 0.50: reached)");
        let missed = Finding::new("memory", 2000.0, " B", Some(Target::AtMost(1536.0)));
        assert_eq!(missed.sentence(), "memory: 2000 B (at most 1536 B: MISSED)");
    }

    #[test]
    fn the_median_does_not_follow_one_bad_round() {
        assert_eq!(median(vec![3.0, 100.0, 2.0]), 3.0);
        assert_eq!(median(vec![4.0, 2.0]), 2.0);
    }

    #[test]
    fn the_middle_line_is_one_that_was_measured() {
        let line = |per_second, p50_ms| Line { per_second, p50_ms, ..Line::default() };
        let lines = [line(5.0, 1.0), line(9.0, 2.0), line(7.0, 3.0)];
        assert_eq!(middle(&lines).p50_ms, 3.0);
    }
}
