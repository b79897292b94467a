//! A coordinator that listens.
//!
//! ```text
//! start ── binds, answers health NOT_SERVING ── group loaded ──▶ SERVING
//! drain ── NOT_SERVING, no begins, goodbye ── callers heard, or drain_max ──▶ streams end, batches land
//! kill  ── connections cut, tasks dropped where they stand
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use pactum_core::group::{Group, Summary};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::{Connected, TcpIncoming};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::dispatch::{End, Out};
use crate::engine::{Ended, Engine, EngineError, Phase, Setup, chain};
use crate::environment::Environment;
use crate::metrics::Stats;
use crate::options::{InvalidOption, ServerOptions};
use crate::store::Store;
use crate::tasks::Tasks;
use crate::transport::connection::Connections;
use crate::transport::{Attachments, Context, HEALTH_NAMES, TypedRefusals, routes};

/// How often a drain looks whether callers are left.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// How long connections may take to close once all streams have ended.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// What a stream's messages may be ahead of what was read: large enough that bulk is never throttled.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// The same for a whole connection.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The options cannot be used.
    #[error("{}", list(.0))]
    Options(Vec<InvalidOption>),
    /// The address cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The group could not be led or loaded.
    #[error("start the group task")]
    Engine(#[source] Arc<EngineError>),
}

fn list(problems: &[InvalidOption]) -> String {
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    problems.join("; ")
}

/// A running coordinator. Dropped without [`Server::drain`], it ends as if it had crashed.
#[derive(Debug)]
pub struct Server {
    address: Option<SocketAddr>,
    drain_max: Duration,
    engine: Engine,
    tasks: Tasks,
    connections: Connections,
    /// Stops listening, and asks open connections to finish.
    closing: CancellationToken,
}

impl Server {
    /// Listens on `options.listen`, loads the group from the store and serves it.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the server ends as if it had crashed.
    pub async fn start(
        options: ServerOptions,
        store: Arc<dyn Store>,
    ) -> Result<Server, StartError> {
        Server::start_in(Environment::system(), options, store).await
    }

    /// As [`Server::start`], with a given clock and given dice.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start_in(
        environment: Environment,
        options: ServerOptions,
        store: Arc<dyn Store>,
    ) -> Result<Server, StartError> {
        options.validate().map_err(StartError::Options)?;
        let address = options.listen;
        let listen = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        Server::serve(environment, options, store, incoming, Some(address)).await
    }

    /// As [`Server::start_in`], on connections that come from elsewhere: from a simulated network, or
    /// from memory.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start_on<IO>(
        environment: Environment,
        options: ServerOptions,
        store: Arc<dyn Store>,
        incoming: impl Stream<Item = io::Result<IO>> + Send + 'static,
    ) -> Result<Server, StartError>
    where
        IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        options.validate().map_err(StartError::Options)?;
        Server::serve(environment, options, store, incoming, None).await
    }

    async fn serve<IO>(
        environment: Environment,
        options: ServerOptions,
        store: Arc<dyn Store>,
        incoming: impl Stream<Item = io::Result<IO>> + Send + 'static,
        address: Option<SocketAddr>,
    ) -> Result<Server, StartError>
    where
        IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let (options, tasks) = (Arc::new(options), Tasks::default());
        let engine = Engine::start(Setup {
            options: options.clone(),
            store: store.clone(),
            environment: environment.clone(),
            tasks: tasks.clone(),
        });
        let server = Server {
            address,
            drain_max: options.drain_max,
            engine: engine.clone(),
            tasks: tasks.clone(),
            connections: Connections::default(),
            closing: CancellationToken::new(),
        };
        let attachments = Arc::new(Attachments::new(options.attachment.attachments_max));
        let context = Context { engine, options, store, environment, tasks, attachments };
        server.listen(&context, incoming).await;
        server.until_ready().await?;
        Ok(server)
    }

    /// Starts to answer; what needs the group is *unavailable* until it is loaded.
    async fn listen<IO>(
        &self,
        context: &Context,
        incoming: impl Stream<Item = io::Result<IO>> + Send + 'static,
    ) where
        IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let (reporter, health) = tonic_health::server::health_reporter();
        report(&reporter, ServingStatus::NotServing).await;
        self.tasks.spawn("health", tell_health(self.engine.clone(), reporter));

        let refusals = TypedRefusals { message_bytes_max: context.options.message_bytes_max };
        let mut builder = tonic::transport::Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .layer(refusals);
        let router = builder.add_routes(routes(context, health));
        let connections = self.connections.clone();
        let incoming = incoming.map(move |io| io.map(|io| connections.admit(io)));
        let closing = self.closing.clone().cancelled_owned();
        self.tasks.spawn("listener", async move {
            if let Err(error) = router.serve_with_incoming_shutdown(incoming, closing).await {
                tracing::error!(error = %chain(&error), "listening ended");
            }
        });
    }

    async fn until_ready(&self) -> Result<(), StartError> {
        let mut phase = self.engine.phase();
        let stopped = {
            let reached = phase.wait_for(|phase| !matches!(phase, Phase::Recovering)).await;
            reached.map_or(true, |phase| matches!(&*phase, Phase::Stopped))
        };
        if !stopped {
            return Ok(());
        }
        let ended = self.engine.ended().await;
        Err(StartError::Engine(ended.err().unwrap_or_else(|| Arc::new(EngineError::Panicked))))
    }

    /// Where it listens; `None` if its connections come from elsewhere.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.engine.metrics.stats()
    }

    /// How much there is of everything; `None` if the server has ended.
    pub async fn summary(&self) -> Option<Summary> {
        self.engine.look(Group::summary).await
    }

    /// Resolves when the group task has ended: after a drain, or by itself because it cannot go on.
    /// A process that only serves should end then, with the reason.
    ///
    /// # Errors
    /// Why it could not go on.
    pub async fn ended(&self) -> Result<(), Arc<EngineError>> {
        self.engine.ended().await
    }

    /// Ends in order: no more begins, goodbye to every session, answers to all who wait (for
    /// `drain_max` at most), then the streams end and what was decided is made durable.
    ///
    /// # Errors
    /// Why the group task could not go on, if it ended by itself.
    pub async fn drain(self) -> Result<(), Arc<EngineError>> {
        tracing::info!("draining");
        self.engine.set_draining();
        let window = usize::MAX;
        self.engine.links.for_each(|link| {
            link.deliver(&mut vec![Out::Goodbye], window);
        });
        let until = Instant::now() + self.drain_max;
        while self.requests_under_way() > 0 && Instant::now() < until {
            sleep(DRAIN_LOOK).await;
        }
        self.closing.cancel();
        self.engine.stop();
        let ended: Ended = self.engine.ended().await;
        self.engine.links.for_each(|link| link.end(End::Reattach));
        if timeout(CLOSE_MAX, self.tasks.ended()).await.is_err() {
            // Somebody holds a connection open; nothing of ours is in it any more.
            self.connections.cut();
            self.tasks.abort();
        }
        tracing::info!("drained");
        ended
    }

    /// Ends at once, as a crash would: connections are cut, nothing is finished, callers hear
    /// nothing. Returns when no task is left.
    pub async fn kill(self) {
        self.connections.cut();
        self.tasks.abort();
        self.tasks.ended().await;
    }

    fn requests_under_way(&self) -> usize {
        self.engine.calls.count() + self.engine.links.under_way()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.connections.cut();
        self.tasks.abort();
    }
}

/// Keeps the health service in step with the group.
async fn tell_health(engine: Engine, reporter: HealthReporter) {
    let mut phase = engine.phase();
    loop {
        let (status, over) = match &*phase.borrow_and_update() {
            Phase::Serving(_) => (ServingStatus::Serving, false),
            Phase::Recovering | Phase::Draining(_) => (ServingStatus::NotServing, false),
            Phase::Stopped => (ServingStatus::NotServing, true),
        };
        report(&reporter, status).await;
        // The engine in our hands keeps the phase open, so its end has to be looked for.
        if over || phase.changed().await.is_err() {
            return;
        }
    }
}

async fn report(reporter: &HealthReporter, status: ServingStatus) {
    for name in HEALTH_NAMES {
        reporter.set_service_status(name, status).await;
    }
}
