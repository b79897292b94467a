//! The `pactum` binary as a library, so that another program (the demo) can carry its commands.
//!
//! - [`run`]: a whole invocation, from its arguments to its exit status.
//! - [`config`]: what a server is told.
//! - `server`: `pactum server`.
//! - `admin`, `show`: the operator commands and how their answers look; `remote` asks, `output` says them.
//! - `saga`: declared sagas, from a file to their end.
//!
//! Exit status: 0 done, 1 refused, not found or failed, 2 the command line or the configuration is
//! wrong.

#![allow(clippy::print_stderr, reason = "a program that talks on a terminal")]

mod admin;
mod args;
mod check_sql;
pub mod config;
mod database;
mod output;
mod remote;
mod saga;
mod server;
mod show;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

pub use args::Cli;
use args::Command;
use config::Problems;

const REFUSED: u8 = 1;
const USAGE: u8 = 2;

/// Runs one invocation on a runtime of its own. `args` begins with the program's name.
///
/// Not to be called from inside a runtime; there, parse a [`Cli`] and await [`execute`].
pub fn run(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and belong on stdout with status 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(pactum_coordinator::worker_threads())
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(execute(cli)),
        Err(error) => report(&anyhow::Error::new(error).context("start the runtime")),
    }
}

/// Runs one invocation on the present runtime.
pub async fn execute(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Server(args) => server::run(args).await,
        Command::Tx(tx) => admin::tx(tx).await,
        Command::Resource(resource) => admin::resource(resource).await,
        Command::Saga(saga) => saga::run(saga).await,
        Command::Status(args) => admin::status(args).await,
        Command::CheckSql(args) => check_sql::run(args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

/// Says why it failed, with its causes, and how that ends.
fn report(error: &anyhow::Error) -> ExitCode {
    let mut text = format!("error: {error}");
    let mut last = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Some libraries repeat their source in their own text.
        if !last.contains(&cause) {
            let _ = write!(text, "\n  because: {cause}");
        }
        last = cause;
    }
    eprintln!("{text}");
    if error.is::<Problems>() { ExitCode::from(USAGE) } else { ExitCode::from(REFUSED) }
}
