//! A child process under control.
//!
//! ```text
//! spawn ──▶ running ──terminate (SIGTERM, bounded)──▶ ended ──restart──▶ running
//!              └──────kill_hard (SIGKILL)─────────────▶┘
//! ```
//!
//! Easy to get wrong: a pipe that nobody reads fills up and stops the child, so both pipes are read
//! from the start; and a child outlives a parent that is itself killed, unless it asks not to
//! ([`die_with_parent`]).

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::output::Output;
use crate::wait::wait_for;

/// How many lines of output an error shows.
const LINES_SHOWN: usize = 20;
/// How long the pipes of an ended process are read on: a grandchild may hold them open for ever.
const PIPES_CLOSE_MAX: Duration = Duration::from_secs(1);

/// A child process. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    command: Command,
    child: Child,
    output: Output,
    readers: JoinSet<()>,
}

impl Process {
    /// Starts `command`. Its standard input is empty; its output is read and kept. `name` is for
    /// error messages.
    ///
    /// # Errors
    /// If the program cannot be started.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn(name: &str, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        let output = Output::new();
        let (child, readers) = start(name, &mut command, &output)?;
        Ok(Process { name: name.to_owned(), command, child, output, readers })
    }

    /// Copies the output to the end of the file at `path`, over restarts too.
    ///
    /// # Errors
    /// If the file cannot be opened or written.
    pub fn log_to(self, path: &Path) -> Result<Self> {
        self.output.copy_to(path)?;
        Ok(self)
    }

    /// Starts the same command again, with the same arguments and environment. The lines of the
    /// earlier run are forgotten, but for the log file.
    ///
    /// # Errors
    /// If it still runs, or cannot be started.
    pub fn restart(&mut self) -> Result<()> {
        if self.exit_status()?.is_none() {
            bail!("`{}` still runs: end it before it is started again", self.name);
        }
        self.readers.abort_all();
        self.output.clear();
        (self.child, self.readers) = start(&self.name, &mut self.command, &self.output)?;
        Ok(())
    }

    /// The process id; none once it has been seen to end.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The name it was spawned with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it ended; none while it runs.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("look after `{}`", self.name))
    }

    /// What it has written since it was last started: the newest ten thousand lines of both pipes.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.output.lines()
    }

    /// Waits for a line that contains `text`, and returns the first one; also if it was written
    /// before the call.
    ///
    /// # Errors
    /// If the process ends without such a line, or writes none within `bound`: with its last lines.
    pub async fn wait_for_line(&mut self, text: &str, bound: Duration) -> Result<String> {
        let what = format!("a line with `{text}`");
        let (child, readers, output) = (&mut self.child, &mut self.readers, &self.output);
        let found = wait_for(&what, bound, async || {
            // In this order: what it wrote before it ended is still found.
            let ended = child.try_wait().transpose();
            if ended.is_some() {
                drain(readers).await;
            }
            let line = output.find(text).map(Ok);
            line.or_else(|| {
                ended.map(|status| Err(anyhow!("ended ({}) without {what}", show(&status))))
            })
        });
        found.await.and_then(|line| line).with_context(|| {
            format!("`{}` wrote at last:{}", self.name, self.output.tail(LINES_SHOWN))
        })
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// If it does not within `bound`: with its last lines. It then still runs.
    pub async fn wait(&mut self, bound: Duration) -> Result<ExitStatus> {
        let Ok(status) = timeout(bound, self.child.wait()).await else {
            let tail = self.output.tail(LINES_SHOWN);
            bail!("`{}` did not end within {bound:?}; it wrote at last:{tail}", self.name);
        };
        drain(&mut self.readers).await;
        status.with_context(|| format!("wait for `{}` to end", self.name))
    }

    /// Kills it with SIGKILL, at which it can do nothing more, and waits until it is gone. No error
    /// if it has ended already.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub async fn kill_hard(&mut self) -> Result<()> {
        // None: it has ended and been waited for, and there is nobody to kill.
        if self.child.id().is_some() {
            self.child.kill().await.with_context(|| format!("kill `{}`", self.name))?;
        }
        drain(&mut self.readers).await;
        Ok(())
    }

    /// Asks it to end with SIGTERM and waits for that. No error if it has ended already.
    ///
    /// # Errors
    /// If it did not end within `bound`: it has then been killed.
    pub async fn terminate(&mut self, bound: Duration) -> Result<ExitStatus> {
        if let Some(id) = self.child.id() {
            // Not yet waited for, so the id cannot have gone to another process.
            let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
            let pid = pid.with_context(|| format!("`{id}` is no process id"))?;
            kill_process(pid, Signal::TERM).with_context(|| format!("signal `{}`", self.name))?;
        }
        match self.wait(bound).await {
            Ok(status) => Ok(status),
            Err(error) => {
                self.kill_hard().await?;
                Err(error.context("SIGTERM was not enough"))
            }
        }
    }
}

fn start(name: &str, command: &mut Command, output: &Output) -> Result<(Child, JoinSet<()>)> {
    let mut child = command.spawn().with_context(|| format!("start `{name}`: {command:?}"))?;
    let mut readers = JoinSet::new();
    if let Some(stdout) = child.stdout.take() {
        readers.spawn(output.clone().read(stdout));
    }
    if let Some(stderr) = child.stderr.take() {
        readers.spawn(output.clone().read(stderr));
    }
    Ok((child, readers))
}

/// Reads on what an ended process left in its pipes.
async fn drain(readers: &mut JoinSet<()>) {
    let all = async { while readers.join_next().await.is_some() {} };
    // On expiry the readers stay, and go with the process.
    let _closed = timeout(PIPES_CLOSE_MAX, all).await;
}

fn show(status: &std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

/// For the child: end when the parent ends, also if that is killed. Call it first thing in `main`.
///
/// On Linux only; elsewhere it does nothing. "The parent" is the *thread* that spawned the child, so
/// spawn from a thread that stays, such as a worker of the runtime.
///
/// # Errors
/// If the system refuses.
pub fn die_with_parent() -> Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .context("ask to end with the parent")?;
    Ok(())
}
