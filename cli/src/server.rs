//! `pactum server`: from the configuration to a coordinator that serves until it is told to end.
//!
//! ```text
//! configuration ── store opened (locked, migrated, synced) ── server ready: one line on stdout
//!        SIGTERM or SIGINT ── drain ── exit 0          the group task ends by itself ── exit 1
//!        a second signal ── exit 1 at once
//! ```

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use pactum_coordinator::store::Seed;
use pactum_coordinator::store::sqlite::SqliteStore;
use pactum_coordinator::{Environment, Server};
use pactum_core::id::StoreId;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::args::ServerArgs;
use crate::config::{Config, Flag, Inputs, LogFormat, LogOptions, Purpose};
use crate::output::say;

pub(crate) async fn run(args: ServerArgs) -> anyhow::Result<()> {
    let purpose = if args.print_config { Purpose::Print } else { Purpose::Serve };
    let config = Config::load(&inputs(args), purpose)?;
    match purpose {
        Purpose::Print => say(&config.print())?,
        Purpose::Serve => Box::pin(serve(config)).await?,
    }
    Ok(())
}

fn inputs(args: ServerArgs) -> Inputs {
    let ServerArgs { data_dir, listen, log, set, config, print_config: _ } = args;
    let own = [
        ("--data-dir", "data_dir", data_dir),
        ("--listen", "listen", listen),
        ("--log", "log.filter", log),
    ];
    let own = own.into_iter().filter_map(|(flag, option, value)| {
        Some(Flag { flag: flag.to_owned(), option: option.to_owned(), value: value? })
    });
    let set = set.into_iter().map(|(option, value)| {
        let flag = format!("--set {option}");
        Flag { flag, option, value }
    });
    // A variable that is not text cannot be one of ours.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Inputs { file: config, environment: environment.collect(), flags: own.chain(set).collect() }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let directory = config.data_dir.expect("a configuration to serve with has one");
    log_to_stderr(&config.log);
    // Before the first answer, so that no signal finds the default of ending at once.
    let mut signals = Signals::new().context("listen to signals")?;
    let environment = Environment::system();
    let seed = Seed { store_id: StoreId(environment.random()), created_at: environment.wall() };
    let store = Arc::new(SqliteStore::open(&directory, &config.server.group, seed).await?);
    let server = Server::start_in(environment, config.server, Arc::clone(&store) as Arc<_>).await?;
    say_ready(&server, &store)?;
    tokio::select! {
        ended = server.ended() => match ended {
            Ok(()) => bail!("the group task ended by itself"),
            Err(error) => return Err(anyhow!(error).context("the coordinator cannot go on")),
        },
        name = signals.next() => tracing::info!(signal = name, "told to end"),
    }
    tokio::select! {
        drained = server.drain() => drained.map_err(|error| anyhow!(error).context("drain"))?,
        name = signals.next() => bail!("ended by a second {name} before it was drained"),
    }
    // Everything is durable already; closing leaves the next start less to do.
    if let Some(store) = Arc::into_inner(store) {
        store.close().await;
    }
    Ok(())
}

/// The one line on stdout: whoever started us waits for it.
fn say_ready(server: &Server, store: &SqliteStore) -> io::Result<()> {
    let address = server.address().ok_or_else(|| io::Error::other("no address"))?;
    let (directory, store_id) = (store.directory().display(), store.store_id());
    let mut stdout = io::stdout();
    writeln!(
        stdout,
        "pactum server ready on http://{address} (data {directory}, store {store_id})"
    )?;
    stdout.flush()
}

/// The signals that ask for an orderly end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Signals { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Stdout belongs to the ready line.
fn log_to_stderr(options: &LogOptions) {
    // The filter was checked with the configuration.
    let filter = EnvFilter::new(&options.filter);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        // A line that stderr does not take (a full disk, a reader that went away) is lost. Telling
        // that on stderr too, as by default, is a panic and the end of the coordinator.
        .log_internal_errors(false);
    // A program that carries our commands may have set up a log of its own: that one stays.
    let _ = match options.format {
        LogFormat::Full => log.try_init(),
        LogFormat::Compact => log.compact().try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}
