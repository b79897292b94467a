//! Books trips: by itself it tells a short story, with every other part as a process of its own.
//!
//! ```text
//! trip-booking ──executes itself──▶ coordinator ◀── services: flights, hotels, payments, mail
//!   │ define, submit, watch, signal ──▲
//!   └ book   one trip, at a coordinator that runs already
//! ```

mod story;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use pactum_agent::{Agent, AgentOptions};
use tracing_subscriber::EnvFilter;
use trip_booking::services::{self, Service};
use trip_booking::trips::{self, Trip};

/// Books trips by a declared saga. Without a command: a short story, with all processes of its own.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// The coordinator, as `pactum server` is.
    Coordinator {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// A service.
    Service {
        service: Service,
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        coordinator: String,
    },
    /// Books a trip, and looks on.
    Book {
        #[command(flatten)]
        trip: Trip,
        /// Who approves it, if it is expensive.
        #[arg(long)]
        approve: String,
        #[arg(long)]
        coordinator: String,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().role {
        None => block_on(story::tell()),
        Some(Role::Coordinator { args }) => {
            let words = ["pactum", "server"].into_iter().map(OsString::from);
            return match pactum_testkit::die_with_parent() {
                Ok(()) => pactum_cli::run(words.chain(args)),
                Err(error) => complain(&error),
            };
        }
        Some(Role::Service { service, dir, coordinator }) => {
            log();
            let served = async { services::run(service, &dir, &coordinator).await };
            pactum_testkit::die_with_parent().and_then(|()| block_on(served))
        }
        Some(Role::Book { trip, approve, coordinator }) => {
            block_on(book(&trip, &approve, coordinator))
        }
    };
    done.map_or_else(|error| complain(&error), |()| ExitCode::SUCCESS)
}

async fn book(trip: &Trip, approve: &str, coordinator: String) -> Result<()> {
    let agent = Agent::connect(AgentOptions::new(coordinator)).await?;
    let sagas = agent.sagas();
    let saga = trips::submit(&sagas, trip).await?;
    story::say(format!("submitted {}", saga.xid()));
    trips::look_on(&sagas, saga.xid(), approve, |step| story::say(trips::line(step))).await?;
    agent.shutdown().await;
    Ok(())
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("start the runtime")?.block_on(work)
}

/// To standard error; `RUST_LOG` says how much.
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_ansi(false).log_internal_errors(false).init();
}

#[allow(clippy::print_stderr, reason = "where a program complains")]
fn complain(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
