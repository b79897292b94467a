//! Throw-away database servers: a private PostgreSQL or MariaDB on a free port of 127.0.0.1, in a
//! folder of its own, with its writes synced to the disk as in production.
//!
//! ```text
//! start ──▶ running ──kill_hard (SIGKILL to all of it)──▶ down ──restart──▶ running
//!              └──drop, or the end of this process by whatever means──▶ gone, with its folder
//! ```
//!
//! - A test that wants a database to itself calls [`database`]: it shares one server with the other
//!   tests, the one that the environment names or else one of this process.
//! - A test that kills its server starts its own: [`Server::start`].
//! - A program that is not a test may be given a server: [`Host`].
//!
//! Missing programs are installed where that can be done ([`install`]).
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use pactum_testkit::server::{Kind, Server, database};
//!
//! let bank = database(Kind::Postgres, "bank").await?;
//! bank.execute("CREATE TABLE account (id bigint PRIMARY KEY)").await?;
//! println!("for sqlx: {}", bank.url());
//!
//! let mut server = Server::start(Kind::Mysql).await?;
//! let orders = server.database("orders").await?;
//! server.kill_hard().await?;
//! server.restart().await?; // the same port, the same data
//! # Ok(())
//! # }
//! ```

mod database;
mod host;
pub mod install;
mod instance;
mod mysql;
mod postgres;
mod shared;
mod url;

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use tokio::task::spawn_blocking;

pub use database::Database;
pub use host::{Host, Running};
pub use shared::database;

use crate::{free_port, temp_dir};
use install::{Places, Programs};
use instance::{Account, Instance, Setup};
use url::AdminUrl;

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB where we start it; MySQL too where the environment names one.
    Mysql,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 2] = [Kind::Postgres, Kind::Mysql];

    /// The environment variable that names an existing server to use instead of a private one: the
    /// URL of an account that may create databases.
    #[must_use]
    pub const fn url_variable(self) -> &'static str {
        match self {
            Kind::Postgres => "PACTUM_TEST_POSTGRES_URL",
            Kind::Mysql => "PACTUM_TEST_MYSQL_URL",
        }
    }

    /// What the path of a test contains if and only if the test needs such a server, so that
    /// `--skip` leaves out just those: the name of the module that they are in.
    #[must_use]
    pub const fn test_module(self) -> &'static str {
        match self {
            Kind::Postgres => "on_postgres",
            Kind::Mysql => "on_mysql",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Postgres => "PostgreSQL",
            Kind::Mysql => "MariaDB",
        })
    }
}

/// A private server. Stopped and removed when dropped, and also when this process is killed.
///
/// It does not depend on a runtime: it may be kept in a `static` and used by many tests.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    url: AdminUrl,
    programs: Programs,
    port: u16,
    instance: Instance,
}

impl Server {
    /// Starts a new server with the programs of this machine; installs them first where they are
    /// missing and that can be done.
    ///
    /// # Errors
    /// If the programs are missing and cannot be installed, or the server does not come up.
    pub async fn start(kind: Kind) -> Result<Self> {
        Self::start_from(kind, &Places::ThisMachine).await
    }

    /// As [`Server::start`], with the programs found at `places`.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_from(kind: Kind, places: &Places) -> Result<Self> {
        let places = places.clone();
        let programs = spawn_blocking(move || places.server_programs(kind));
        let programs = programs.await.context("look for the server's programs")??;
        let port = free_port()?;
        let (name, scheme) = match kind {
            Kind::Postgres => ("pactum-postgres", "postgres://postgres"),
            Kind::Mysql => ("pactum-mariadb", "mysql://root"),
        };
        let folder = temp_dir(name)?;
        let setup = Setup {
            name: kind.to_string(),
            account: Account::to_run_as(kind)?,
            folder: folder.path().to_owned(),
        };
        setup.hand_over_folder()?;
        let (command, life) = match kind {
            Kind::Postgres => postgres::prepare(&setup, &programs, port).await?,
            Kind::Mysql => mysql::prepare(&setup, &programs, port).await?,
        };
        let mut instance = Instance::new(setup, command, life, folder)?;
        instance.start().await?;
        let url = AdminUrl::parse(kind, &format!("{scheme}@127.0.0.1:{port}"))?;
        Ok(Server { kind, url, programs, port, instance })
    }

    /// Creates a database that nobody else has: its name begins with `name` and is unique. It goes
    /// with the server.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn database(&self, name: &str) -> Result<Database> {
        Database::create(&self.url, self.programs.client(), name).await
    }

    /// Which database.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The URL of an account that may do anything; what [`Kind::url_variable`] takes.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// The port on 127.0.0.1. It stays over a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder that holds all it has: its data and its log (`server.log`).
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.instance.folder()
    }

    /// Kills every process of the server with SIGKILL, and waits until they are gone. What was not
    /// committed is lost; what was committed must come back with [`Server::restart`]. No error if it
    /// is down already.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub async fn kill_hard(&mut self) -> Result<()> {
        self.instance.kill_hard().await
    }

    /// Starts a killed server again, on the same data and port, and waits until it has recovered.
    ///
    /// # Errors
    /// If it still runs, or does not come up.
    pub async fn restart(&mut self) -> Result<()> {
        self.instance.start().await
    }
}
