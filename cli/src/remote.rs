//! The coordinator that an operator talks to: reached, heard, and shown.
//!
//! A refusal comes in-band, as a typed error; it is told with its page in `docs/errors`.

use std::time::Duration;

use anyhow::{Context as _, bail};
use pactum_proto::v1::{Error, ErrorCode};
use tonic::transport::{Channel, Endpoint};

use crate::args::Remote;
use crate::output::say;

/// A coordinator that is there answers at once; one that is busy or loading takes a little.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Remote {
    pub(crate) fn show(&self, json: serde_json::Value, text: String) -> anyhow::Result<()> {
        if self.json { say(&format!("{json:#}\n")) } else { say(&text) }
    }

    /// Connects; no call may then take longer than `call_timeout`.
    pub(crate) async fn connect(&self, call_timeout: Option<Duration>) -> anyhow::Result<Channel> {
        let url = &self.server;
        let with_scheme = if url.contains("://") { url.clone() } else { format!("http://{url}") };
        let mut endpoint = Endpoint::from_shared(with_scheme)
            .with_context(|| format!("`{url}` is not an address of a coordinator"))?
            .connect_timeout(CONNECT_TIMEOUT);
        if let Some(timeout) = call_timeout {
            endpoint = endpoint.timeout(timeout);
        }
        endpoint.connect().await.with_context(|| {
            format!(
                "no coordinator answers at {url}: is it running? give its address by --server URL"
            )
        })
    }
}

pub(crate) fn answered<T>(
    remote: &Remote,
    reply: Result<tonic::Response<T>, tonic::Status>,
) -> anyhow::Result<T> {
    match reply {
        Ok(reply) => Ok(reply.into_inner()),
        Err(status) => bail!("{} answered: {}", remote.server, status.message()),
    }
}

/// Turns a refusal into an error that names its page, with all faults where there are several.
pub(crate) fn granted(error: Option<Error>) -> anyhow::Result<()> {
    let Some(error) = error else { return Ok(()) };
    let faults: String = error
        .faults
        .iter()
        .flat_map(|faults| &faults.faults)
        .map(|fault| format!("\n  {}: {}", fault.place, fault.message))
        .collect();
    match ErrorCode::try_from(error.code) {
        Ok(ErrorCode::Unspecified) | Err(_) => bail!("{}{faults}", error.message),
        Ok(code) => bail!("{} (TX{:04}, docs/errors){faults}", error.message, code as i32),
    }
}
