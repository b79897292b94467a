//! Real processes under control: for end-to-end tests, the demo and the bench. Unix only.
//!
//! - [`Process`]: a child whose output is kept, that can be told to end, killed and started again.
//! - [`wait`]: waiting for a condition within a bound, instead of sleeping and hoping.
//! - [`server`]: throw-away PostgreSQL and MariaDB servers, and databases in them.
//! - [`free_port`], [`temp_dir`]: places of their own, so that tests run side by side.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use pactum_testkit::{Command, Process};
//!
//! let mut command = Command::new("sh");
//! command.args(["-c", "echo listening on 7; cat"]);
//! let mut server = Process::spawn("server", command)?;
//! let line = server.wait_for_line("listening on", Duration::from_secs(5)).await?;
//! assert_eq!(line, "listening on 7");
//! server.kill_hard().await?;
//! # Ok(())
//! # }
//! ```

mod output;
mod process;
pub mod server;
pub mod wait;

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context as _, Result};
pub use tempfile::TempDir;
pub use tokio::process::Command;

pub use process::{Process, die_with_parent};

/// Below what Linux (from 32768) and others (from 49152) give to connections that go out. A server's
/// own port is free while it is down, and a client that goes on trying to reach it could get just that
/// port for its end: on loopback it then talks to itself, and the server cannot start again.
const PORTS: Range<u16> = 20_000..32_000;
/// Ports that a process tries before it comes to those of the next.
const PORTS_A_PROCESS: u16 = 60;
/// The next one to try, so that a process does not give out one port twice in a row.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);
/// How many taken ports are met before it is given up.
const PORTS_TRIED_MAX: usize = 1000;

/// A port on 127.0.0.1 that was free a moment ago.
///
/// Somebody else may take it before it is used. Where the server can say which port it got, let it
/// bind port 0 instead; this is for servers that must keep their port over a restart.
///
/// # Errors
/// If no port can be bound.
pub fn free_port() -> Result<u16> {
    // Where a process looks first depends on its number, so that those that start side by side do
    // not meet.
    let slices = (PORTS.end - PORTS.start) / PORTS_A_PROCESS;
    let slice = u16::try_from(std::process::id() % u32::from(slices)).unwrap_or_default();
    let mut tried = (0..PORTS_TRIED_MAX).map(|_| {
        let next = NEXT_PORT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        PORTS.start + (slice * PORTS_A_PROCESS + next) % (PORTS.end - PORTS.start)
    });
    let free = tried.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.with_context(|| format!("find a free port in {PORTS:?}"))
}

/// A new folder whose name begins with `name`; it goes when the value is dropped.
///
/// # Errors
/// If it cannot be created.
pub fn temp_dir(name: &str) -> Result<TempDir> {
    let prefix = format!("{name}-");
    let made = tempfile::Builder::new().prefix(&prefix).tempdir();
    made.with_context(|| format!("create a temporary folder for `{name}`"))
}
