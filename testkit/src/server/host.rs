//! Where a program that is not a test keeps its databases: in a private server, or in one that runs
//! already and outlives it.
//!
//! Easy to get wrong: a server that outlives the program keeps what is left in it, so who is done says
//! so ([`Host::remove`]); a private server takes everything along.

use anyhow::{Context as _, Result};
use tokio::task::spawn_blocking;

use super::install::Places;
use super::url::AdminUrl;
use super::{Database, Kind, Server};

/// A server with databases of ours.
#[derive(Debug)]
pub enum Host {
    /// It ends with us.
    Private(Box<Server>),
    /// It was there before.
    Running(Running),
}

/// The administrator's way into a server that is not ours.
#[derive(Debug)]
pub struct Running {
    url: AdminUrl,
    client: std::path::PathBuf,
}

impl Host {
    /// A private server, or the one at `url`: that of an account that may create databases.
    ///
    /// # Errors
    /// If the URL is none, or a private server cannot be started.
    pub async fn open(kind: Kind, url: Option<&str>) -> Result<Self> {
        let Some(url) = url else { return Ok(Host::Private(Box::new(Server::start(kind).await?))) };
        let url = AdminUrl::parse(kind, url)?;
        let client = spawn_blocking(move || Places::ThisMachine.client_program(kind));
        let client = client.await.context("look for the client program")??;
        Ok(Host::Running(Running { url, client }))
    }

    /// Whether `url` can be that of such a server; asks nobody.
    ///
    /// # Errors
    /// If it cannot, with what to write instead.
    pub fn check_url(kind: Kind, url: &str) -> Result<()> {
        AdminUrl::parse(kind, url).map(drop)
    }

    /// Creates a database that nobody else has: its name begins with `name` and is unique.
    ///
    /// # Errors
    /// If the server cannot be reached, or refuses.
    pub async fn database(&self, name: &str) -> Result<Database> {
        match self {
            Host::Private(server) => server.database(name).await,
            Host::Running(Running { url, client }) => Database::create(url, client, name).await,
        }
    }

    /// Drops a database of ours from a server that is not; sessions that are still in it end.
    ///
    /// # Errors
    /// If the server cannot be reached, or refuses.
    pub async fn remove(&self, database: &Database) -> Result<()> {
        let Host::Running(Running { url, client }) = self else { return Ok(()) };
        let force = match url.kind() {
            Kind::Postgres => " WITH (FORCE)",
            Kind::Mysql => "",
        };
        let sql = format!("DROP DATABASE {}{force}", database.name());
        Database::at(url, client).execute(&sql).await.map(drop)
    }
}
