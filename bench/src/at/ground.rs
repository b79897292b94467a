//! Where the two banks are: two SQLite files, or two databases of one server.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use pactum_testkit::server::{Database, Host, Kind};
use tempfile::TempDir;

use super::Options;

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Db {
    Sqlite,
    Postgres,
    Mysql,
}

impl Db {
    fn kind(self) -> Option<Kind> {
        match self {
            Db::Sqlite => None,
            Db::Postgres => Some(Kind::Postgres),
            Db::Mysql => Some(Kind::Mysql),
        }
    }
}

/// The server, started once for all competitors; none for SQLite.
#[derive(Clone, Debug)]
pub(super) struct Ground(Option<Arc<Host>>);

/// What one competitor gets to itself. To be given back.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) folder: TempDir,
    pub(super) urls: [String; 2],
    host: Option<(Arc<Host>, [Database; 2])>,
}

impl Ground {
    pub(super) async fn open(options: &Options) -> Result<Self> {
        let Some(kind) = options.db.kind() else {
            if options.db_url.is_some() {
                bail!(
                    "`--db-url` names a server, and SQLite has none: add `--db postgres` or `mysql`"
                );
            }
            return Ok(Ground(None));
        };
        let host = Host::open(kind, options.db_url.as_deref()).await;
        let host = host.with_context(|| format!("have a server of {kind}"))?;
        Ok(Ground(Some(Arc::new(host))))
    }

    /// Two empty databases, and a folder on the disk to be measured.
    pub(super) async fn places(&self, options: &Options) -> Result<Places> {
        let folder = options.folder()?;
        let Some(host) = &self.0 else {
            let file = |name| format!("sqlite://{}?mode=rwc", folder.path().join(name).display());
            let urls = [file("from.db"), file("to.db")];
            return Ok(Places { folder, urls, host: None });
        };
        let databases = [host.database("bench_from").await?, host.database("bench_to").await?];
        let urls = [databases[0].url(), databases[1].url()];
        Ok(Places { folder, urls, host: Some((Arc::clone(host), databases)) })
    }
}

impl Places {
    /// Removes what a server that is not ours would keep.
    pub(super) async fn give_back(self) -> Result<()> {
        let Some((host, databases)) = &self.host else { return Ok(()) };
        for database in databases {
            host.remove(database).await?;
        }
        Ok(())
    }
}
