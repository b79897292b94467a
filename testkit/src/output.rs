//! What a process has written, line by line: kept for waiting and for error messages, and copied
//! to a file if there is one.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

/// How many lines are kept; older ones are only in the file.
const LINES_KEPT_MAX: usize = 10_000;

/// The output of one process. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Output(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    lines: VecDeque<String>,
    file: Option<File>,
}

impl Output {
    pub(crate) fn new() -> Self {
        Output(Arc::new(Mutex::new(Kept { lines: VecDeque::new(), file: None })))
    }

    /// Appends to `path` from here on, as well as what was written so far.
    pub(crate) fn copy_to(&self, path: &Path) -> Result<()> {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("open the log `{}`", path.display()))?;
        self.with(|kept| {
            for line in &kept.lines {
                writeln!(file, "{line}")?;
            }
            kept.file = Some(file);
            anyhow::Ok(())
        })
    }

    /// Reads `source` to its end.
    pub(crate) async fn read(self, source: impl AsyncRead + Unpin) {
        let mut reader = BufReader::new(source);
        let mut line = Vec::new();
        loop {
            line.clear();
            // A pipe that fails is a process that ended: its exit status says more.
            if reader.read_until(b'\n', &mut line).await.unwrap_or(0) == 0 {
                return;
            }
            self.push(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
        }
    }

    fn push(&self, line: String) {
        self.with(|kept| {
            if let Some(file) = &mut kept.file
                && writeln!(file, "{line}").is_err()
            {
                // A full disk must not stop the process whose output this is.
                kept.file = None;
            }
            if kept.lines.len() == LINES_KEPT_MAX {
                kept.lines.pop_front();
            }
            kept.lines.push_back(line);
        });
    }

    /// The first kept line that contains `text`.
    pub(crate) fn find(&self, text: &str) -> Option<String> {
        self.with(|kept| kept.lines.iter().find(|line| line.contains(text)).cloned())
    }

    /// All kept lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.with(|kept| kept.lines.iter().cloned().collect())
    }

    /// The last `count` lines as one text.
    pub(crate) fn tail(&self, count: usize) -> String {
        self.with(|kept| {
            let skipped = kept.lines.len().saturating_sub(count);
            kept.lines.iter().skip(skipped).flat_map(|line| ["\n    ", line]).collect()
        })
    }

    /// Forgets the lines, so that a restarted process is not taken for the one before.
    pub(crate) fn clear(&self) {
        self.with(|kept| kept.lines.clear());
    }

    fn with<T>(&self, access: impl FnOnce(&mut Kept) -> T) -> T {
        access(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
