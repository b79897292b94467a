//! The processes: a coordinator and four services, all of them this program in another role.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use pactum_testkit::{Command, Process, free_port};

use crate::services::{READY, Service};

/// How long a process may take to begin, on a busy machine.
const READY_MAX: Duration = Duration::from_secs(30);

/// Where the program is, and where the files of all processes go.
#[derive(Clone, Debug)]
pub struct Place {
    pub program: PathBuf,
    pub dir: PathBuf,
}

/// A process that can be killed and started again.
#[derive(Debug)]
pub struct Running {
    pub process: Process,
    /// What it says once it can be asked.
    says_ready: &'static str,
}

impl Running {
    async fn start(
        name: &str,
        command: Command,
        says_ready: &'static str,
        dir: &Path,
    ) -> Result<Self> {
        let log = dir.join(name).with_extension("log");
        let process = Process::spawn(name, command)?.log_to(&log)?;
        let mut running = Running { process, says_ready };
        running.ready().await?;
        Ok(running)
    }

    async fn ready(&mut self) -> Result<()> {
        self.process.wait_for_line(self.says_ready, READY_MAX).await.map(drop)
    }

    /// Starts the same again, and waits until it can be asked.
    ///
    /// # Errors
    /// If it still runs, or does not begin.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.restart()?;
        self.ready().await
    }
}

impl Place {
    /// This program in another role.
    #[must_use]
    pub fn command(&self, role: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(role);
        command
    }

    /// Starts a coordinator at an address that it keeps.
    ///
    /// # Errors
    /// If it does not begin.
    pub async fn coordinator(&self) -> Result<(Running, SocketAddr)> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut command = self.command("coordinator");
        command.arg("--data-dir").arg(self.dir.join("coordinator"));
        command.arg("--listen").arg(address.to_string());
        let coordinator = Running::start("coordinator", command, "server ready", &self.dir).await?;
        Ok((coordinator, address))
    }

    /// Starts a service that finds its coordinator at this address.
    ///
    /// # Errors
    /// If it does not begin.
    pub async fn service(&self, service: Service, coordinator: SocketAddr) -> Result<Running> {
        let mut command = self.command("service");
        command.arg(service.name()).arg("--dir").arg(&self.dir);
        command.arg("--coordinator").arg(url(coordinator));
        Running::start(service.name(), command, READY, &self.dir).await
    }
}

/// An address as an agent wants it.
#[must_use]
pub fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}
