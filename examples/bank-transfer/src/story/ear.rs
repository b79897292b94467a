//! Where the services tell each step, and wait until the story lets them go on.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::services::tell::Told;

/// How long the story waits for the next step: longer than any step may take.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// How many steps may wait to be told; each belongs to a service that waits.
const STEPS_WAITING_MAX: usize = 64;

/// A step that was told. Its service waits until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) told: Told,
    _go_on: oneshot::Sender<()>,
}

/// Hears the services.
#[derive(Debug)]
pub(crate) struct Ear {
    steps: mpsc::Receiver<Held>,
    listener: JoinHandle<()>,
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Ear {
    /// Begins to listen, and says where.
    pub(crate) async fn open() -> Result<(Self, String)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.context("listen for the story")?;
        let url = format!("http://{}", listener.local_addr().context("read the bound address")?);
        let (sender, steps) = mpsc::channel(STEPS_WAITING_MAX);
        let router = Router::new().route("/", post(hear)).with_state(sender);
        let listener = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "nobody listens to the story any more");
            }
        });
        Ok((Ear { steps, listener }, url))
    }

    /// The next step.
    pub(crate) async fn next(&mut self) -> Result<Held> {
        let next = timeout(SILENCE_MAX, self.steps.recv()).await;
        next.ok().flatten().with_context(|| format!("no service did anything for {SILENCE_MAX:?}"))
    }
}

async fn hear(State(steps): State<mpsc::Sender<Held>>, Json(told): Json<Told>) {
    let (go_on, gone_on) = oneshot::channel();
    if steps.send(Held { told, _go_on: go_on }).await.is_ok() {
        // Dropped or sent: either way the service goes on.
        let _dropped = gone_on.await;
    }
}
