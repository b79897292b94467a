//! Where everything lies: a folder, and the banks' databases, which are files in it or belong to a
//! server. What is made here goes at the end, however the demo ends; only SIGKILL leaves something.
//!
//! Each run has a room of its own. The server is not one of the demo's processes, so none of its kills
//! meets it: banks share it as services of one house do, with a database each.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
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

/// A folder, and a server unless the databases are files.
#[derive(Debug)]
pub(crate) struct Places {
    dir: TempDir,
    host: Option<Host>,
    databases: RefCell<Vec<Database>>,
    kept: Cell<bool>,
}

/// What one run has to itself: a folder, and a database for each bank.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    dir: PathBuf,
    urls: Vec<(&'static str, String)>,
}

impl Places {
    pub(crate) async fn open(kind: &Kind) -> Result<Self> {
        let dir = temp_dir("bank-transfer")?;
        let host = match kind.db.server() {
            None => None,
            Some(server) => {
                let host = Host::open(server, kind.db_url.as_deref()).await;
                Some(host.with_context(|| format!("have a server of {server}"))?)
            }
        };
        Ok(Places { dir, host, databases: RefCell::default(), kept: Cell::new(false) })
    }

    /// Makes room for a run of this name.
    pub(crate) async fn room(&self, name: &str) -> Result<Room> {
        let dir = self.dir.path().join(name);
        std::fs::create_dir(&dir).with_context(|| format!("create {}", dir.display()))?;
        let mut urls = Vec::new();
        for bank in BANKS {
            let url = match &self.host {
                None => {
                    let file = dir.join(format!("bank-{bank}.db"));
                    format!("sqlite://{}?mode=rwc", file.display())
                }
                Some(host) => {
                    let database = host.database(&format!("bank_{bank}")).await?;
                    let url = database.url();
                    self.databases.borrow_mut().push(database);
                    url
                }
            };
            urls.push((bank, url));
        }
        Ok(Room { dir, urls })
    }

    /// Keeps everything: files and logs and, in a server that is not ours, the databases.
    pub(crate) fn keep(&self) {
        self.kept.set(true);
    }

    /// Removes everything, or says where it is kept. Every process has been ended or killed by now.
    pub(crate) async fn close(self, screen: Screen) -> Result<()> {
        if self.kept.get() {
            self.say_where(screen);
            let _kept = self.dir.keep();
            return Ok(());
        }
        if let Some(host) = &self.host {
            for database in self.databases.take() {
                host.remove(&database).await?;
            }
        }
        let dir = self.dir.path();
        wait_until("the folder to be removed", EMPTIED_MAX, async || {
            std::fs::remove_dir_all(dir).is_ok() || !dir.exists()
        })
        .await
    }

    fn say_where(&self, screen: Screen) {
        screen.complain(format!("files and logs are kept in {}", self.dir.path().display()));
        match &self.host {
            None => {}
            Some(Host::Private(_)) => {
                screen
                    .complain("the databases go with their private server; `--db-url` keeps them");
            }
            Some(Host::Running(_)) => {
                let databases = self.databases.borrow();
                let names: Vec<&str> = databases.iter().map(Database::name).collect();
                screen.complain(format!("databases are kept: {}", names.join(", ")));
            }
        }
    }
}

impl Room {
    /// Where processes put their files and logs.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The URL of a bank's database.
    pub(crate) fn url(&self, bank: &str) -> Result<&str> {
        let found = self.urls.iter().find(|(name, _)| *name == bank);
        found.map(|(_, url)| url.as_str()).with_context(|| format!("there is no bank `{bank}`"))
    }
}
