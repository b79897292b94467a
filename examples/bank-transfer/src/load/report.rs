//! The figures of a run, the checks on them, and the JSON.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::drive::Driven;
use super::kills::KillCounts;
use super::plan::Size;
use crate::args::{Db, Mode};
use crate::audit::Audit;
use crate::screen::{Ink, Screen};
use crate::settle::Left;

/// How many findings are printed; the JSON has them all.
const FINDINGS_SHOWN: usize = 10;
/// How much of what the flags imply has to come out as implied. The rest is what kills may take.
const REACHED_PERCENT: u64 = 80;

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) mode: Mode,
    pub(crate) db: Db,
    pub(crate) size: Size,
    pub(crate) kills: KillCounts,
    pub(crate) seed: u64,
}

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) mode: &'static str,
    pub(crate) db: &'static str,
    pub(crate) seed: u64,
    pub(crate) transfers: u64,
    pub(crate) committed: u64,
    pub(crate) rolled_back: u64,
    /// Still not definite.
    pub(crate) in_doubt: u64,
    /// What a killed caller never got to ask; it was rolled back.
    pub(crate) never_asked: u64,
    pub(crate) sum_before: i64,
    pub(crate) sum_after: i64,
    pub(crate) locks_left: u64,
    /// Open barrier rows of every mode.
    pub(crate) undo_rows_left: u64,
    pub(crate) prepared_left: u64,
    /// Money that is still reserved.
    pub(crate) reserved_left: i64,
    pub(crate) unfinished_left: u64,
    /// Transfers with a definite answer, a second.
    pub(crate) tps: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) kills: KillCounts,
    /// The figures with `_left` once more.
    #[serde(skip)]
    left: Left,
    /// One sentence for each check that failed; empty if all is well.
    pub(crate) failed: Vec<String>,
}

impl Report {
    pub(crate) fn new(
        asked: Asked,
        audit: Audit,
        left: Left,
        kills: KillCounts,
        driven: &Driven,
    ) -> Self {
        let answered = u32::try_from(driven.latencies.len()).unwrap_or(u32::MAX);
        let mut report = Report {
            mode: asked.mode.name(),
            db: asked.db.name(),
            seed: asked.seed,
            transfers: u64::from(asked.size.transfers),
            committed: audit.committed,
            rolled_back: audit.rolled_back,
            in_doubt: audit.in_doubt,
            never_asked: audit.never_asked,
            sum_before: audit.sum_before,
            sum_after: audit.sum_after,
            locks_left: left.locks,
            undo_rows_left: left.barrier_rows,
            prepared_left: left.prepared,
            reserved_left: left.reserved,
            unfinished_left: left.unfinished,
            tps: rounded(f64::from(answered) / driven.took.as_secs_f64().max(f64::EPSILON)),
            p50_ms: millis(percentile(&driven.latencies, 50)),
            p99_ms: millis(percentile(&driven.latencies, 99)),
            kills,
            left,
            failed: audit.findings,
        };
        let failed = report.checks(asked);
        report.failed.extend(failed);
        report
    }

    /// Whether every check did.
    pub(crate) fn passed(&self) -> bool {
        self.failed.is_empty()
    }

    /// What the audit of single transfers cannot see.
    fn checks(&self, asked: Asked) -> Vec<String> {
        let failing = u64::from(asked.size.failing());
        let ended = self.committed + self.rolled_back + self.in_doubt + self.never_asked;
        let reached = |count: u64, implied: u64| count * 100 >= implied * REACHED_PERCENT;
        // A declared saga is sent again until it is answered.
        let may_be_lost = asked.kills.tm > 0 && asked.mode != Mode::SagaDeclared;
        let checks = [
            (ended == self.transfers, format!("{ended} of {} transfers ended", self.transfers)),
            (self.in_doubt == 0, format!("{} transfers are in doubt", self.in_doubt)),
            (
                self.never_asked == 0 || may_be_lost,
                format!("{} transfers were lost that could not be", self.never_asked),
            ),
            (
                reached(self.committed, self.transfers - failing),
                format!("{} of {} committed", self.committed, self.transfers - failing),
            ),
            (
                reached(self.rolled_back, failing),
                format!("{} of {failing} rolled back", self.rolled_back),
            ),
            (self.locks_left == 0, format!("{} global locks are left", self.locks_left)),
            (
                self.undo_rows_left == 0,
                format!("{} barrier rows are left open", self.undo_rows_left),
            ),
            (
                self.prepared_left == 0,
                format!("{} prepared transactions are left", self.prepared_left),
            ),
            (self.reserved_left == 0, format!("{} are left reserved", self.reserved_left)),
            (
                self.unfinished_left == 0,
                format!("{} global transactions have not ended", self.unfinished_left),
            ),
            (self.kills == asked.kills, format!("killed {}, asked {}", self.kills, asked.kills)),
        ];
        checks.into_iter().filter(|(holds, _)| !holds).map(|(_, failed)| failed).collect()
    }

    pub(crate) fn print(&self, screen: Screen) {
        let Report { committed, rolled_back, never_asked, in_doubt, kills, .. } = self;
        screen.line(format!(
            "  {committed} committed, {rolled_back} rolled back, {never_asked} never asked, \
             {in_doubt} in doubt"
        ));
        screen.line(format!("  left: {}", self.left));
        screen.line(format!(
            "  {} transfers a second, p50 {} ms, p99 {} ms; killed {kills}",
            self.tps, self.p50_ms, self.p99_ms
        ));
        for failed in self.failed.iter().take(FINDINGS_SHOWN) {
            screen.line(screen.paint(Ink::Bad, format!("  ✗ {failed}")));
        }
        if self.failed.len() > FINDINGS_SHOWN {
            let more = self.failed.len() - FINDINGS_SHOWN;
            screen.line(screen.paint(Ink::Bad, format!("  ✗ and {more} more")));
        }
        if self.passed() {
            screen.line(screen.paint(Ink::Good, "  ✓ every transfer in full or not at all"));
        } else {
            screen.line(format!("  repeat with --seed {}", self.seed));
        }
    }
}

/// Writes what came of it as JSON: of one mode the report, of several a list.
pub(crate) fn write(reports: &[Report], file: &Path) -> Result<()> {
    let json = match reports {
        [report] => serde_json::to_string_pretty(report),
        several => serde_json::to_string_pretty(several),
    };
    let json = json.context("write the result as JSON")? + "\n";
    std::fs::write(file, json).with_context(|| format!("write `{}`", file.display()))
}

/// Prints a line for each mode.
pub(crate) fn compare(reports: &[Report], screen: Screen) {
    let [mode, committed, back, lost, tps, p50, p99] =
        ["mode", "committed", "rolled back", "never asked", "a second", "p50 ms", "p99 ms"];
    let head =
        format!("  {mode:<14}{committed:>10}{back:>13}{lost:>13}{tps:>11}{p50:>10}{p99:>10}");
    screen.line("");
    screen.line(screen.paint(Ink::Heading, head));
    for report in reports {
        let Report { mode, committed, rolled_back, never_asked, tps, p50_ms, p99_ms, .. } = report;
        screen.line(format!(
            "  {mode:<14}{committed:>10}{rolled_back:>13}{never_asked:>13}{tps:>11.1}{p50_ms:>10.1}\
             {p99_ms:>10.1}"
        ));
    }
}

/// The duration that `percent` of all do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn millis(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1000.0)
}

/// To a hundredth.
fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked = Asked {
        mode: Mode::At,
        db: Db::Sqlite,
        size: Size { transfers: 100, accounts: 1, fail_percent: 20 },
        kills: KillCounts { tc: 1, bank: 0, tm: 1 },
        seed: 7,
    };

    /// A run of which nothing is to be said.
    fn report(change: impl FnOnce(&mut Audit, &mut Left, &mut KillCounts)) -> Report {
        let mut audit =
            Audit { committed: 78, rolled_back: 20, never_asked: 2, ..Audit::default() };
        let (mut left, mut kills) = (Left::default(), ASKED.kills);
        change(&mut audit, &mut left, &mut kills);
        let latencies = (1..=100).map(Duration::from_millis).collect();
        let driven = Driven { sent: Vec::new(), latencies, took: Duration::from_secs(2) };
        Report::new(ASKED, audit, left, kills, &driven)
    }

    #[track_caller]
    fn fails(report: &Report, says: &str) {
        assert_eq!(report.failed, [says]);
        assert!(!report.passed());
    }

    #[test]
    fn a_run_as_asked_passes() {
        let report = report(|_, _, _| {});
        assert!(report.passed(), "{:?}", report.failed);
        assert_eq!((report.tps, report.p50_ms, report.p99_ms), (50.0, 50.0, 99.0));
    }

    #[test]
    fn each_check_can_fail() {
        let doubt = report(|audit, _, _| (audit.committed, audit.in_doubt) = (77, 1));
        fails(&doubt, "1 transfers are in doubt");
        let lost = report(|audit, _, _| audit.committed = 77);
        fails(&lost, "99 of 100 transfers ended");
        let few = report(|audit, _, _| (audit.committed, audit.rolled_back) = (63, 35));
        fails(&few, "63 of 80 committed");
        let few = report(|audit, _, _| (audit.committed, audit.rolled_back) = (83, 15));
        fails(&few, "15 of 20 rolled back");
        fails(&report(|_, left, _| left.locks = 1), "1 global locks are left");
        fails(&report(|_, left, _| left.barrier_rows = 1), "1 barrier rows are left open");
        fails(&report(|_, left, _| left.prepared = 1), "1 prepared transactions are left");
        fails(&report(|_, left, _| left.reserved = 30), "30 are left reserved");
        fails(&report(|_, left, _| left.unfinished = 1), "1 global transactions have not ended");
        let spared = report(|_, _, kills| kills.tc = 0);
        fails(&spared, "killed tc:0,bank:0,tm:1, asked tc:1,bank:0,tm:1");
        let finding = report(|audit, _, _| audit.findings.push("half a transfer".to_owned()));
        fails(&finding, "half a transfer");
    }

    #[test]
    fn nobody_is_lost_without_a_kill_and_no_declared_saga_with_one() {
        let audit = Audit { committed: 80, rolled_back: 19, never_asked: 1, ..Audit::default() };
        let kills = KillCounts::default();
        let driven = Driven { sent: Vec::new(), latencies: Vec::new(), took: Duration::ZERO };
        let spared = Asked { kills, ..ASKED };
        let declared = Asked { mode: Mode::SagaDeclared, ..ASKED };
        for asked in [spared, declared] {
            let report = Report::new(asked, audit.clone(), Left::default(), asked.kills, &driven);
            fails(&report, "1 transfers were lost that could not be");
        }
    }

    #[test]
    fn the_json_has_every_figure_by_its_name() {
        let json = serde_json::to_value(report(|_, _, _| {})).unwrap();
        let names = "committed rolled_back in_doubt never_asked sum_before sum_after locks_left \
                     undo_rows_left prepared_left reserved_left unfinished_left tps p50_ms p99_ms kills";
        for name in names.split_whitespace() {
            assert!(json.get(name).is_some_and(|value| !value.is_null()), "{name}");
        }
        assert_eq!(json["kills"], serde_json::json!({ "tc": 1, "bank": 0, "tm": 1 }));
    }
}
