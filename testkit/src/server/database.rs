//! One database of a server, and SQL for it through the client program of the package: enough to
//! create databases and to look at rows, without a driver.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use super::url::AdminUrl;
use super::{Kind, mysql, postgres};

/// How much of the name that is asked for is kept: PostgreSQL takes 63 bytes in all.
const NAME_LENGTH_MAX: usize = 40;

/// A database of its own in a server that others may use too. It goes with the server.
#[derive(Clone, Debug)]
pub struct Database {
    url: AdminUrl,
    client: PathBuf,
}

impl Database {
    /// Every name is made unique: a server that the environment names has seen other runs.
    pub(super) async fn create(server: &AdminUrl, client: &Path, name: &str) -> Result<Self> {
        let plain = |letter: char| match letter.to_ascii_lowercase() {
            letter @ ('a'..='z' | '0'..='9') => letter,
            _ => '_',
        };
        let name: String = name.chars().take(NAME_LENGTH_MAX).map(plain).collect();
        let name = format!("pactum_{name}_{:08x}", fastrand::u32(..));
        Database::at(server, client).execute(&format!("CREATE DATABASE {name}")).await?;
        Ok(Database { url: server.at(&name), client: client.to_owned() })
    }

    /// Whatever database the URL names.
    pub(super) fn at(url: &AdminUrl, client: &Path) -> Self {
        Database { url: url.clone(), client: client.to_owned() }
    }

    /// Which database.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.url.kind()
    }

    /// Its name in the server.
    #[must_use]
    pub fn name(&self) -> &str {
        self.url.database().unwrap_or_default()
    }

    /// Its URL, as sqlx takes it.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// Runs SQL in a session of its own. Answers with the rows, one a line, the columns apart by
    /// tabs, without a heading.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses: with its message.
    pub async fn execute(&self, sql: &str) -> Result<String> {
        let mut command = match self.kind() {
            Kind::Postgres => postgres::client(&self.client, &self.url, sql),
            Kind::Mysql => mysql::client(&self.client, &self.url, sql)?,
        };
        command.stdin(Stdio::null()).kill_on_drop(true);
        let run = command.output().await;
        let run = run.with_context(|| format!("start `{}`", self.client.display()))?;
        if !run.status.success() {
            let message = String::from_utf8_lossy(&run.stderr);
            bail!("`{sql}` in {:?} failed: {}", self.url, message.trim());
        }
        Ok(String::from_utf8_lossy(&run.stdout).trim_end().to_owned())
    }
}
