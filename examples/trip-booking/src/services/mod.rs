//! The services: each a process of its own, that offers its steps and waits to be asked.

mod flights;
mod hotels;
mod mail;
mod payments;

use std::path::Path;

use anyhow::{Context as _, Result};
pub use mail::sent as sent_mails;
use pactum_agent::{
    ActionOptions, ActionPool, ActionService, Agent, AgentOptions, ServiceOptions, StepError,
};
use sqlx::Sqlite;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool};
use tokio::signal::unix::{SignalKind, signal};

/// What a service logs once it can be asked.
pub const READY: &str = "ready to be asked";
/// The file that is the outside world to the mail service.
pub const OUTBOX: &str = "outbox";

/// A service; its name is its resource's, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Service {
    Flights,
    Hotels,
    Payments,
    Mail,
}

impl Service {
    pub const ALL: [Service; 4] =
        [Service::Flights, Service::Hotels, Service::Payments, Service::Mail];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Service::Flights => "flights",
            Service::Hotels => "hotels",
            Service::Payments => "payments",
            Service::Mail => "mail",
        }
    }
}

/// Offers the steps of `service` at `coordinator` until SIGTERM. Its files are in `dir`.
///
/// # Errors
/// If it cannot begin.
pub async fn run(service: Service, dir: &Path, coordinator: &str) -> Result<()> {
    let agent = Agent::connect(AgentOptions::new(coordinator)).await?;
    let mut told_to_end = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let name = service.name();
    // Every step is registered right after its resource is attached: what a saga from before a restart
    // asks for comes at once.
    match service {
        Service::Flights => {
            drop(database(&agent, name, dir, flights::SCHEMA).await?.saga(flights::BookFlight)?)
        }
        Service::Hotels => {
            drop(database(&agent, name, dir, hotels::SCHEMA).await?.saga(hotels::BookNight)?)
        }
        Service::Payments => {
            drop(database(&agent, name, dir, payments::SCHEMA).await?.saga(payments::Charge)?)
        }
        Service::Mail => {
            let mail = ActionService::attach(&agent, name, ServiceOptions::default()).await?;
            mail.saga(mail::SendMail { outbox: dir.join(OUTBOX) })?;
        }
    }
    tracing::info!("{READY}");
    told_to_end.recv().await;
    agent.shutdown().await;
    Ok(())
}

/// A database of its own. The agent's tables stand beside the service's: what a step did and the row that
/// says so are committed together.
async fn database(
    agent: &Agent,
    name: &str,
    dir: &Path,
    schema: &'static str,
) -> Result<ActionPool<Sqlite>> {
    let connect = SqliteConnectOptions::new()
        .filename(dir.join(name).with_extension("db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let pool = SqlitePool::connect_with(connect).await.context("open the database")?;
    sqlx::raw_sql(schema).execute(&pool).await.context("create the tables")?;
    let options = ActionOptions::default().create_tables(true);
    Ok(ActionPool::attach(agent, name, pool, options).await?)
}

/// What goes wrong in a step on a database.
#[derive(Debug, thiserror::Error)]
pub enum StepFault {
    /// The business says no. The definition lists the code as final: asking again would not help.
    #[error("{code}: {what}")]
    No { code: &'static str, what: String },
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl StepFault {
    fn no(code: &'static str, what: impl Into<String>) -> Self {
        StepFault::No { code, what: what.into() }
    }

    fn into_step_error(self) -> StepError {
        match self {
            StepFault::No { code, what } => StepError::failed(code, what),
            StepFault::Database(error) => StepError::rolled_back(&error),
        }
    }
}
