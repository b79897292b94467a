//! A coordinator on the embedded store, for the load: alone in a process, as users have it, or on
//! threads of its own in this one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use pactum_coordinator::store::Seed;
use pactum_coordinator::store::sqlite::SqliteStore;
use pactum_coordinator::{Environment, Server, ServerOptions};
use pactum_core::id::StoreId;
use serde::{Deserialize, Serialize};

use crate::child;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Where its store is.
    #[arg(long)]
    data_dir: PathBuf,
    /// Writes its log at INFO into the data directory, one line a move of a transaction.
    #[arg(long)]
    log: bool,
}

/// What the coordinator wrote so far.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) batches: u64,
    pub(crate) rows: u64,
    /// Spent in the store's writes.
    pub(crate) micros: u64,
}

impl Written {
    pub(crate) fn since(self, before: Written) -> Written {
        Written {
            batches: self.batches - before.batches,
            rows: self.rows - before.rows,
            micros: self.micros - before.micros,
        }
    }

    pub(crate) fn of(server: &Server) -> Written {
        let stats = server.stats();
        Written { batches: stats.batches, rows: stats.batch_rows, micros: stats.write_micros }
    }
}

/// Runs until standard input ends; a line is answered with what was written so far.
pub(crate) fn run(options: Options) -> Result<()> {
    if options.log {
        let path = options.data_dir.join("log");
        let file = std::fs::File::create(&path);
        let file = file.with_context(|| format!("create {}", path.display()))?;
        tracing_subscriber::fmt().with_writer(file).with_ansi(false).init();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(pactum_coordinator::worker_threads())
        .enable_all()
        .build();
    let runtime = runtime.context("start the runtime")?;
    let server = runtime.block_on(start(&options.data_dir))?;
    let address = server.address().context("it listens on a socket")?;
    child::say_listening(&format!("http://{address}"))?;
    child::answer_lines(|_| {
        serde_json::to_string(&Written::of(&server)).unwrap_or_else(|error| error.to_string())
    })?;
    runtime.block_on(server.drain()).context("drain the coordinator")
}

/// Starts a coordinator with the defaults of `pactum server`, on a free port.
pub(crate) async fn start(data_dir: &Path) -> Result<Server> {
    let environment = Environment::system();
    let mut options = ServerOptions::default();
    options.listen.set_port(0);
    let seed = Seed { store_id: StoreId(environment.random()), created_at: environment.wall() };
    let store = SqliteStore::open(data_dir, &options.group, seed).await;
    let store = store.context("open the store")?;
    Server::start(options, Arc::new(store)).await.context("start the coordinator")
}
