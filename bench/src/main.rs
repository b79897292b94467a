//! `pactum-bench`: load, always beside the bare limits of the same machine in the same run.
//!
//! ```text
//! tc   a lean client ──session stream──▶ a coordinator in a process of its own, fsync on
//!      limits: the same frames echoed over the same kind of stream;
//!              the fewest rows written to the same kind of store
//! at   transfers through the agent between two databases
//!      limits: the same statements in plain transactions;
//!              the same SQL and the same fsyncs by hand
//! saga  declared sagas: what two steps cost, how long ones grow, what waiting ones cost
//!       limits: as for tc
//! modes  the same transfers in AT, TCC, saga and XA, side by side, each beside its limits
//! ```
//!
//! An absolute figure says more about the machine than about the program, so each one comes with
//! its ratio to a limit. A debug build is refused: it would say nothing at all.

#![allow(clippy::print_stdout, reason = "a program that prints tables")]

mod at;
mod bare;
mod child;
mod client;
mod latency;
mod machine;
mod proc;
mod report;
mod saga;
mod serve;
mod tc;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "pactum-bench", about = "Load, beside the bare limits of this machine")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Loads a coordinator over the wire.
    Tc(tc::Options),
    /// Loads the agent: transfers in AT mode between two databases.
    At(at::Options),
    /// Loads the agent: the same transfers in every mode, side by side.
    Modes(at::modes::Options),
    /// Loads a coordinator with declared sagas.
    Saga(saga::Options),
    /// A coordinator on a directory, for the other tasks.
    #[command(hide = true)]
    Serve(serve::Options),
    /// A server that only echoes, for the bare limit of the wire.
    #[command(hide = true)]
    Echo,
}

fn main() -> ExitCode {
    // Not `-> Result`: that would print a backtrace below the reason.
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pactum-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    if cfg!(debug_assertions) {
        bail!("a debug build says nothing about speed: run `cargo xtask bench`, or add --release");
    }
    match task {
        Task::Tc(options) => tc::run(options),
        Task::At(options) => at::run(options),
        Task::Modes(options) => at::modes::run(options),
        Task::Saga(options) => saga::run(options),
        Task::Serve(options) => serve::run(options),
        Task::Echo => tc::echo::run(),
    }
}
