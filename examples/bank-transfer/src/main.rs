//! The bank-transfer demo: real services, real processes, every part of Pactum at once.
//!
//! ```text
//! this program ──executes itself──▶ coordinator ◀── agent ── transfer service ──HTTP──▶ three banks
//!   │  story   tells parts as they happen, mode by mode                     each with an agent and
//!   │  load    thousands at once, under kills; then an audit                a database of its own
//!   └─ pactum  the operator's commands
//! ```

mod admin;
mod args;
mod audit;
mod books;
mod load;
mod places;
mod screen;
mod services;
mod settle;
mod story;
mod table;
mod world;

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use pactum_testkit::server::Host;
use tokio::signal::unix::{Signal, SignalKind, signal};

use args::{Cli, Command, Kind, LoadFlags, Passed};
use places::Places;
use screen::{Ink, Screen};

/// Asked for what is not there, as for a flag that is none.
const USAGE: u8 = 2;
const SUCCESS: u8 = 0;
const FAILED: u8 = 1;
/// Ended by SIGINT or SIGTERM, as a shell says it.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

fn main() -> ExitCode {
    let Cli { command, kind, load } = Cli::parse();
    match command {
        Some(Command::Pactum(passed)) => pactum(passed, None),
        Some(Command::Tc(passed)) => match pactum_testkit::die_with_parent() {
            Ok(()) => pactum(passed, Some("server")),
            Err(error) => fail(&error),
        },
        Some(Command::Bank(args)) => block_on(service(services::bank::run(args))),
        Some(Command::Transfer(args)) => block_on(service(services::transfer::run(args))),
        None => block_on(demo(kind, load)),
    }
}

/// The `pactum` binary's own main.
fn pactum(passed: Passed, first: Option<&str>) -> ExitCode {
    let words = ["pactum"].into_iter().chain(first).map(OsString::from);
    pactum_cli::run(words.chain(passed.args))
}

fn block_on(work: impl Future<Output = Result<ExitCode>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.context("start the runtime").and_then(|runtime| runtime.block_on(work));
    done.unwrap_or_else(|error| fail(&error))
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let screen = Screen::new();
    screen.complain(screen.paint(Ink::Bad, format!("{error:#}")));
    ExitCode::FAILURE
}

async fn service(run: impl Future<Output = Result<()>>) -> Result<ExitCode> {
    pactum_testkit::die_with_parent()?;
    run.await?;
    Ok(ExitCode::SUCCESS)
}

async fn demo(kind: Kind, load: LoadFlags) -> Result<ExitCode> {
    let screen = Screen::new();
    if let Some(why) = wrong_flags(&kind, &load) {
        screen.complain(why);
        return Ok(ExitCode::from(USAGE));
    }
    let mut ends = Ends::listen()?;
    let places = tokio::select! {
        places = Places::open(&kind) => places?,
        end = ends.next() => return Ok(ExitCode::from(end)),
    };
    let demo = async {
        if load.any() {
            load::run(load, &kind, screen, &places).await
        } else {
            story::run(&kind, screen, &places).await
        }
    };
    let ended = tokio::select! {
        passed = demo => passed.map(|passed| if passed { SUCCESS } else { FAILED }),
        // What still runs is killed as the world is dropped.
        end = ends.next() => Ok(end),
    };
    let closed = places.close(screen).await;
    let ended = ended?;
    closed?;
    Ok(ExitCode::from(ended))
}

/// What is wrong with the flags, where each of them is well formed.
fn wrong_flags(kind: &Kind, load: &LoadFlags) -> Option<String> {
    if let Some(why) = kind.impossible() {
        return Some(why);
    }
    if load.tc.is_some() && load.kill.is_some_and(|kills| kills.tc > 0) {
        return Some(
            "`--kill tc:…` is for the demo's own coordinator: leave `--tc` out".to_owned(),
        );
    }
    match (&kind.db_url, kind.db.server()) {
        (None, _) => {}
        (Some(_), None) => {
            return Some(
                "`--db-url` names a server: add `--db postgres` or `--db mysql`".to_owned(),
            );
        }
        (Some(url), Some(server)) => {
            if let Err(why) = Host::check_url(server, url) {
                return Some(format!("`--db-url` cannot be used: {why:#}"));
            }
        }
    }
    load.json.as_deref().and_then(unwritable)
}

/// Why the result could not be written there: known before thousands of transfers are run.
fn unwritable(file: &Path) -> Option<String> {
    let opened = File::options().create(true).append(true).open(file);
    opened.err().map(|error| format!("cannot write `--json {}`: {error}", file.display()))
}

/// The signals that end the demo.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
}

impl Ends {
    fn listen() -> Result<Self> {
        let interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        Ok(Ends { interrupt, terminate })
    }

    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPTED,
            _ = self.terminate.recv() => TERMINATED,
        }
    }
}
