//! A service's frame: logs, address, and an orderly end.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use axum::Router;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// What a service logs once it answers.
pub(crate) const LISTENING: &str = "the service listens";

/// Logs go to standard error; `RUST_LOG` says how much.
pub(crate) fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // A log that cannot be written must not end a service.
        .log_internal_errors(false)
        .init();
}

/// Answers requests until SIGTERM or SIGINT, then finishes those under way.
pub(crate) async fn serve(router: Router, address: SocketAddr) -> Result<()> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
    let [mut terminate, mut interrupt] = [
        signal(SignalKind::terminate()).context("listen for SIGTERM")?,
        signal(SignalKind::interrupt()).context("listen for SIGINT")?,
    ];
    let asked_to_end = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tracing::info!(%address, "{LISTENING}");
    axum::serve(listener, router)
        .with_graceful_shutdown(asked_to_end)
        .await
        .context("answer requests")
}
