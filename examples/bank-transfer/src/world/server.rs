//! One process of the demo: started, killed, held, started again, always at the same address.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use pactum_testkit::wait::wait_until;
use pactum_testkit::{Command, Process};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::Mutex;

/// How long a process may take to answer. A bank waits for its coordinator, which may be starting.
const READY_MAX: Duration = Duration::from_secs(30);
/// How long an orderly end may take.
const STOP_MAX: Duration = Duration::from_secs(15);
/// How long the threads of a process may take to stand still.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// How many of its last lines an error shows.
const LINES_SHOWN: usize = 15;

/// A process with an address.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// What it writes once it answers.
    says_ready: &'static str,
    process: Mutex<Process>,
}

impl Server {
    /// Starts it; it may not answer yet.
    pub(crate) fn spawn(
        name: &str,
        command: Command,
        address: SocketAddr,
        says_ready: &'static str,
        dir: &Path,
    ) -> Result<Arc<Self>> {
        let log = dir.join(format!("{name}.log"));
        let process = Mutex::new(Process::spawn(name, command)?.log_to(&log)?);
        Ok(Arc::new(Server { name: name.to_owned(), address, says_ready, process }))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its process id; none if it does not run.
    pub(crate) async fn pid(&self) -> Option<u32> {
        self.process.lock().await.id()
    }

    /// Waits until it says that it answers.
    pub(crate) async fn ready(&self) -> Result<()> {
        let mut process = self.process.lock().await;
        process.wait_for_line(self.says_ready, READY_MAX).await.map(drop)
    }

    /// Kills it with SIGKILL.
    pub(crate) async fn kill(&self) -> Result<()> {
        let mut process = self.process.lock().await;
        // A kill that finds nobody is not one.
        if let Some(status) = process.exit_status()? {
            let last = last(&process.lines());
            bail!("`{}` had ended by itself ({status}); it wrote at last:{last}", self.name);
        }
        process.kill_hard().await
    }

    /// Starts it again with the same command, and waits until it answers.
    pub(crate) async fn restart(&self) -> Result<()> {
        self.process.lock().await.restart()?;
        self.ready().await
    }

    /// Stops it in the middle of whatever it is doing, until [`Server::resume`]. When this returns,
    /// its last thread stands still: the signal alone is only a request, and on a busy machine the
    /// other threads work on for a while.
    pub(crate) async fn pause(&self) -> Result<()> {
        let pid = self.signal(Signal::STOP).await?;
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        wait_until(&format!("`{}` to stand still", self.name), PAUSE_MAX, async || {
            matches!(waitid(WaitId::Pid(pid), stopped), Ok(Some(_)))
        })
        .await
    }

    pub(crate) async fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT).await.map(drop)
    }

    async fn signal(&self, signal: Signal) -> Result<Pid> {
        let pid = self.pid().await.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("`{}` does not run", self.name))?;
        kill_process(pid, signal).with_context(|| format!("signal `{}`", self.name))?;
        Ok(pid)
    }

    /// Asks it to end, and waits for that.
    pub(crate) async fn stop(&self) -> Result<()> {
        if self.pid().await.is_some() {
            // It may be held, if the story ended early.
            self.resume().await?;
        }
        let mut process = self.process.lock().await;
        let status = process.terminate(STOP_MAX).await?;
        let last = last(&process.lines());
        ensure!(status.success(), "`{}` ended badly ({status}):{last}", self.name);
        Ok(())
    }

    /// The last lines it wrote.
    pub(crate) async fn last_lines(&self) -> String {
        last(&self.process.lock().await.lines())
    }
}

fn last(lines: &[String]) -> String {
    let skipped = lines.len().saturating_sub(LINES_SHOWN);
    lines[skipped..].iter().flat_map(|line| ["\n    ", line]).collect()
}
