//! A coordinator inside this process, in milliseconds: for tests and demos.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use pactum_core::id::StoreId;

use crate::environment::Environment;
use crate::options::ServerOptions;
use crate::server::{Server, StartError};
use crate::store::memory::MemoryStore;
use crate::store::sqlite::{OpenError, SqliteStore};
use crate::store::{Seed, Store};

/// Why an embedded coordinator did not start.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Its data directory cannot be used.
    #[error("open the store of the embedded coordinator")]
    Open(#[from] OpenError),
    /// The server did not start.
    #[error("start the embedded coordinator")]
    Start(#[from] StartError),
}

/// How an embedded coordinator is made.
#[derive(Clone, Default)]
pub struct EmbeddedBuilder {
    options: Option<ServerOptions>,
    environment: Environment,
    data_dir: Option<PathBuf>,
    store: Option<Arc<dyn Store>>,
}

impl std::fmt::Debug for EmbeddedBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let EmbeddedBuilder { options, data_dir, .. } = self;
        f.debug_struct("EmbeddedBuilder")
            .field("options", options)
            .field("data_dir", data_dir)
            .finish_non_exhaustive()
    }
}

impl EmbeddedBuilder {
    /// With these options, but on a free port of 127.0.0.1.
    #[must_use]
    pub fn options(self, options: ServerOptions) -> Self {
        EmbeddedBuilder { options: Some(options), ..self }
    }

    /// With this clock and these dice.
    #[must_use]
    pub fn environment(self, environment: Environment) -> Self {
        EmbeddedBuilder { environment, ..self }
    }

    /// On the embedded SQLite store in this directory.
    #[must_use]
    pub fn data_dir(self, data_dir: impl Into<PathBuf>) -> Self {
        EmbeddedBuilder { data_dir: Some(data_dir.into()), ..self }
    }

    /// On this store. It wins over a data directory.
    #[must_use]
    pub fn store(self, store: Arc<dyn Store>) -> Self {
        EmbeddedBuilder { store: Some(store), ..self }
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`EmbeddedError`]; nothing is left running then.
    pub async fn start(self) -> Result<Embedded, EmbeddedError> {
        let EmbeddedBuilder { options, environment, data_dir, store } = self;
        let mut options = options.unwrap_or_default();
        options.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let (store_id, created_at) = (StoreId(environment.random()), environment.wall());
        let seed = Seed { store_id, created_at };
        let store: Arc<dyn Store> = match (store, data_dir) {
            (Some(store), _) => store,
            (None, Some(dir)) => Arc::new(SqliteStore::open(&dir, &options.group, seed).await?),
            (None, None) => Arc::new(MemoryStore::new(seed)),
        };
        let server = Server::start_in(environment.clone(), options.clone(), store.clone()).await?;
        options.listen = server.address().expect("it listens on a socket");
        Ok(Embedded { options, environment, store, server: Some(server) })
    }
}

/// A coordinator inside this process. Dropped, it ends as if it had crashed.
pub struct Embedded {
    options: ServerOptions,
    environment: Environment,
    store: Arc<dyn Store>,
    server: Option<Server>,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded")
            .field("address", &self.options.listen)
            .field("runs", &self.server.is_some())
            .finish_non_exhaustive()
    }
}

impl Embedded {
    /// Starts one in memory, on a free port.
    ///
    /// # Errors
    /// [`EmbeddedError`]; nothing is left running then.
    pub async fn start() -> Result<Embedded, EmbeddedError> {
        Embedded::builder().start().await
    }

    /// For one with other options, or another store.
    #[must_use]
    pub fn builder() -> EmbeddedBuilder {
        EmbeddedBuilder::default()
    }

    /// Where it listens; the same after a restart.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.options.listen
    }

    /// Where it listens, as clients want it: `http://127.0.0.1:…`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.options.listen)
    }

    /// Its store, which outlives a kill.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// The server; `None` between a kill and a restart.
    #[must_use]
    pub fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    /// Ends it at once, as a crash would. The store stays.
    pub async fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill().await;
        }
    }

    /// Starts it again on the same store and address; kills it first if it runs.
    ///
    /// # Errors
    /// [`StartError`], if the port was taken meanwhile or the store cannot be read.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.kill().await;
        let (environment, options) = (self.environment.clone(), self.options.clone());
        self.server = Some(Server::start_in(environment, options, self.store.clone()).await?);
        Ok(())
    }

    /// Drains and ends it.
    pub async fn stop(mut self) {
        if let Some(server) = self.server.take()
            && let Err(error) = server.drain().await
        {
            tracing::error!(%error, "the group task had ended by itself");
        }
    }
}
