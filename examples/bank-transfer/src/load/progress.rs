//! What is seen while transfers run: a bar on a terminal, a line now and then anywhere else.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::screen::{Ink, Screen};

/// How many lines stand for the bar where there is no terminal.
const LINES: u32 = 10;

/// Clones share what they show.
#[derive(Clone, Debug)]
pub(crate) enum Progress {
    Bar(ProgressBar),
    Lines { screen: Screen, transfers: u32, done: Arc<AtomicU32> },
}

impl Progress {
    pub(crate) fn new(screen: Screen, transfers: u32) -> Self {
        if !std::io::stderr().is_terminal() {
            return Progress::Lines { screen, transfers, done: Arc::default() };
        }
        let bar = ProgressBar::new(u64::from(transfers));
        let style = ProgressStyle::with_template("  {bar:40.green} {pos}/{len}  {elapsed}  {msg}");
        bar.set_style(style.expect("the template is one"));
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress::Bar(bar)
    }

    /// One transfer has ended.
    pub(crate) fn one_more(&self) {
        match self {
            Progress::Bar(bar) => bar.inc(1),
            Progress::Lines { screen, transfers, done } => {
                let now = done.fetch_add(1, Ordering::Relaxed) + 1;
                let share = |done: u32| u64::from(done) * u64::from(LINES) / u64::from(*transfers);
                if share(now) > share(now - 1) {
                    screen.line(format!("  {now} of {transfers} transfers"));
                }
            }
        }
    }

    /// All are sent; now what is under way has to end.
    pub(crate) fn settling(&self) {
        let what = "waiting for what is under way to end";
        match self {
            Progress::Bar(bar) => bar.set_message(what),
            Progress::Lines { screen, .. } => {
                screen.line(screen.paint(Ink::Aside, format!("  {what}")));
            }
        }
    }

    /// Nothing more is to be shown.
    pub(crate) fn end(&self) {
        if let Progress::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
