//! Where everything lies: a folder, and the banks' databases, which are files in it or belong to a
//! server. What is made here goes at the end, however the demo ends; only SIGKILL leaves something.
//!
//! The server is not one of the demo's processes, so none of its kills meets it: banks share it as
//! services of one house do, with a database each.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use pactum_testkit::server::{Database, Host};
use pactum_testkit::wait::wait_until;
use pactum_testkit::{TempDir, temp_dir};

use crate::args::Kind;
use crate::screen::Screen;
use crate::world::BANKS;

/// How long a process that was killed may go on writing.
const EMPTIED_MAX: Duration = Duration::from_secs(10);

/// A folder, and a database for each bank.
#[derive(Debug)]
pub(crate) struct Places {
    dir: TempDir,
    urls: Vec<(&'static str, String)>,
    server: Option<(Host, Vec<Database>)>,
    kept: Cell<bool>,
}

impl Places {
    pub(crate) async fn open(kind: &Kind) -> Result<Self> {
        let dir = temp_dir("bank-transfer")?;
        let mut places = Places { dir, urls: Vec::new(), server: None, kept: Cell::new(false) };
        let Some(server) = kind.db.server() else {
            for name in BANKS {
                let file = places.dir().join(format!("bank-{name}.db"));
                places.urls.push((name, format!("sqlite://{}?mode=rwc", file.display())));
            }
            return Ok(places);
        };
        let host = Host::open(server, kind.db_url.as_deref()).await;
        let host = host.with_context(|| format!("have a server of {server}"))?;
        let mut databases = Vec::new();
        for name in BANKS {
            let database = host.database(&format!("bank_{name}")).await?;
            places.urls.push((name, database.url()));
            databases.push(database);
        }
        places.server = Some((host, databases));
        Ok(places)
    }

    /// Where processes put their files and logs.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The URL of a bank's database.
    pub(crate) fn url(&self, bank: &str) -> Result<&str> {
        let found = self.urls.iter().find(|(name, _)| *name == bank);
        found.map(|(_, url)| url.as_str()).with_context(|| format!("there is no bank `{bank}`"))
    }

    /// Keeps the folder and, in a server that is not ours, the databases, and says where.
    pub(crate) fn keep(&self, screen: Screen) {
        self.kept.set(true);
        screen.complain(format!("files and logs are kept in {}", self.dir().display()));
        match &self.server {
            None => {}
            Some((Host::Private(_), _)) => {
                screen
                    .complain("the databases go with their private server; `--db-url` keeps them");
            }
            Some((Host::Running(_), databases)) => {
                let names: Vec<&str> = databases.iter().map(Database::name).collect();
                screen.complain(format!("databases are kept: {}", names.join(", ")));
            }
        }
    }

    /// Removes all that is not to be kept. Every process has been ended or killed by now.
    pub(crate) async fn close(self) -> Result<()> {
        if self.kept.get() {
            let _kept = self.dir.keep();
            return Ok(());
        }
        if let Some((host, databases)) = &self.server {
            for database in databases {
                host.remove(database).await?;
            }
        }
        let dir = self.dir.path();
        wait_until("the folder to be removed", EMPTIED_MAX, async || {
            std::fs::remove_dir_all(dir).is_ok() || !dir.exists()
        })
        .await
    }
}
