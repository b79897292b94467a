//! The database servers of `cargo xtask test`: started once, found by every test process through the
//! environment, gone at the end.
//!
//! A server that the environment names already is used as it is. Where there is none and none can be
//! installed, the tests that need it are left out by the name of their module, everything else runs,
//! and the verdict at the end says so: a test that did not run is not a test that passed.

use std::env;

use anyhow::{Context as _, Error, Result, bail};
use pactum_testkit::server::{Kind, Server};
use tokio::runtime::Builder;

pub(crate) struct Servers {
    running: Vec<Server>,
    missing: Vec<(Kind, Error)>,
}

impl Servers {
    /// Starts what the environment does not name.
    pub(crate) fn start() -> Result<Self> {
        let named =
            |kind: &Kind| env::var_os(kind.url_variable()).is_some_and(|url| !url.is_empty());
        let runtime = Builder::new_current_thread().enable_all().build().context("start tokio")?;
        let mut servers = Servers { running: Vec::new(), missing: Vec::new() };
        for kind in Kind::ALL.into_iter().filter(|kind| !named(kind)) {
            match runtime.block_on(Server::start(kind)) {
                Ok(server) => servers.running.push(server),
                Err(error) => servers.missing.push((kind, error)),
            }
        }
        Ok(servers)
    }

    /// What the tests are to find in their environment.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.running.iter().map(|server| (server.kind().url_variable(), server.url()))
    }

    /// Where each server is, also one that the environment names.
    pub(crate) fn urls(&self) -> impl Iterator<Item = (Kind, String)> {
        let url = |kind: Kind| {
            let own = self.running.iter().find(|server| server.kind() == kind).map(Server::url);
            own.or_else(|| env::var(kind.url_variable()).ok().filter(|url| !url.is_empty()))
        };
        Kind::ALL.into_iter().filter_map(move |kind| Some((kind, url(kind)?)))
    }

    /// What is handed to the test programs, so that they leave out what cannot run.
    pub(crate) fn skips(&self) -> impl Iterator<Item = &'static str> {
        self.missing.iter().flat_map(|(kind, _)| ["--skip", kind.test_module()])
    }

    /// # Errors
    /// If tests were left out: which, why, and how to run them.
    pub(crate) fn verdict(&self) -> Result<()> {
        let left_out = self.missing.iter().map(|(kind, why)| {
            let (module, variable) = (kind.test_module(), kind.url_variable());
            format!(
                "\n  the tests in modules `{module}`: name a server with {variable}=URL, or mend \
                 this: {why:#}"
            )
        });
        let left_out: String = left_out.collect();
        if left_out.is_empty() {
            return Ok(());
        }
        bail!("what ran has passed, but this did NOT run:{left_out}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_server_is_left_out_and_told() {
        let missing = Kind::ALL.map(|kind| (kind, Error::msg(format!("install {kind}"))));
        let servers = Servers { running: Vec::new(), missing: missing.into() };
        let skips: Vec<_> = servers.skips().collect();
        assert_eq!(skips, ["--skip", "on_postgres", "--skip", "on_mysql"]);
        let verdict = servers.verdict().unwrap_err().to_string();
        for part in ["NOT run", "on_postgres", "install PostgreSQL", "on_mysql", "install MariaDB"]
        {
            assert!(verdict.contains(part), "no {part} in: {verdict}");
        }
    }

    #[test]
    fn with_all_servers_nothing_is_left_out() {
        let servers = Servers { running: Vec::new(), missing: Vec::new() };
        assert_eq!(servers.skips().count(), 0);
        servers.verdict().unwrap();
    }
}
