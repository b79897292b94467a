//! Declared sagas, as a program sees them: defined, started, watched, told of events.
//!
//! ```no_run
//! use std::time::Duration;
//! use pactum_agent::sagas::builder::{Saga, Step, from};
//! use serde_json::json;
//!
//! # async fn trip(agent: pactum_agent::Agent) -> Result<(), pactum_agent::SagaError> {
//! let definition = Saga::new("book-trip", 1)
//!     .step(Step::action("flight", "flights", "book-flight").input(from("/input")))
//!     .step(Step::action("hotel", "hotels", "book-hotel").input(from("/input")))
//!     .output(json!({ "flight": from("/results/flight") }))
//!     .build();
//! let sagas = agent.sagas();
//! sagas.define(&definition).await?;
//! let trip = sagas.submit("book-trip").input(&json!({ "guest": "Ada" })).key("order-4711").await?;
//! let trip = sagas.wait(trip.xid(), Duration::from_secs(60)).await?;
//! match trip.failure() {
//!     None => println!("{:?}: {}", trip.outcome(), trip.output::<serde_json::Value>()?),
//!     Some((step, why)) => println!("undone, because {step} failed: {}", why.message),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Whoever submitted a saga may go: the coordinator drives it, through whoever offers its actions
//! ([`ActionPool::saga`](crate::ActionPool::saga), [`ActionService::saga`](crate::ActionService::saga)). See
//! `docs/saga.md`.

mod standing;
mod submission;
#[cfg(test)]
mod tests;

use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt as _};
use pactum_core::saga::limits::{DEFINITION_BYTES_MAX, RESULT_BYTES_MAX};
use pactum_proto::v1;
use pactum_proto::v1::{define_saga_reply, saga_reply};
use serde::Serialize;
use tokio::time::Instant;

use crate::saga::StepError;
use crate::session::{CallError, Session};

pub use pactum_core::saga::Definition;
/// Definitions as they are written in Rust.
pub use pactum_core::saga::builder;
pub use pactum_core::saga::definition::{OnUnknown, Recovery};
pub use pactum_proto::v1::{SagaStep as StepStanding, SagaStepState as StepState, StepFailed};
pub use standing::Saga;
pub use submission::Submission;

/// How long one call waits for the end of a saga. 30 s: half of what the coordinator allows.
const WAIT_STEP: Duration = Duration::from_secs(30);

/// What went wrong with a call about sagas.
#[derive(Debug, thiserror::Error)]
pub enum SagaError {
    /// The coordinator refused, or did not answer.
    #[error(transparent)]
    Coordinator(#[from] CallError),
    /// A value is not what it should be, as JSON.
    #[error("{what} cannot be written or read as JSON")]
    Json {
        /// Which value.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A value is too large; nothing was sent.
    #[error(
        "{what} has {bytes} bytes as JSON, more than {limit}: keep what is large elsewhere, and send its key"
    )]
    TooLarge {
        /// Which value.
        what: &'static str,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
}

impl SagaError {
    /// The refusal's code; each has a page in `docs/errors`.
    #[must_use]
    pub fn code(&self) -> Option<v1::ErrorCode> {
        match self {
            SagaError::Coordinator(error) => error.code(),
            SagaError::Json { .. } | SagaError::TooLarge { .. } => None,
        }
    }
}

/// Declared sagas at the coordinator of an agent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sagas {
    session: Session,
}

impl Sagas {
    pub(crate) fn new(session: &Session) -> Self {
        Sagas { session: session.clone() }
    }

    /// Has a definition checked and kept. Repeating it with the same content changes nothing.
    ///
    /// # Errors
    /// All its faults, each with its place (TX0021), or that the name and version mean something else
    /// already (TX0023).
    ///
    /// # Cancel safety
    /// Dropping the future leaves it defined or not.
    pub async fn define(&self, definition: &Definition) -> Result<(), SagaError> {
        self.define_json(&json("the definition", definition, DEFINITION_BYTES_MAX)?).await
    }

    /// As [`Sagas::define`], of a definition as JSON.
    ///
    /// # Errors
    /// As [`Sagas::define`].
    pub async fn define_json(&self, definition: &[u8]) -> Result<(), SagaError> {
        let request = v1::DefineSagaRequest { definition: definition.to_vec().into() };
        let ask = |mut client: Client, request| async move { client.define_saga(request).await };
        let read = |reply: v1::DefineSagaReply| {
            Some(match reply.result? {
                define_saga_reply::Result::Defined(_) => Ok(()),
                define_saga_reply::Result::Error(error) => Err(error),
            })
        };
        Ok(self.session.ask_sagas(Duration::ZERO, request, ask, read).await?)
    }

    /// Starts a saga of this name, when it is awaited. Of its latest version, with a null input, unless
    /// something else is said.
    pub fn submit<'a>(&'a self, name: &'a str) -> Submission<'a> {
        Submission::new(&self.session, name)
    }

    /// Where a saga stands.
    ///
    /// # Errors
    /// TX0002 for an XID that is not known, TX0003 for one that is forgotten; TX0001 for one of no saga.
    pub async fn get(&self, xid: &str) -> Result<Saga, SagaError> {
        self.asked(xid, Duration::ZERO, false).await
    }

    /// Where a saga stands, with each step that was reached.
    ///
    /// # Errors
    /// As [`Sagas::get`].
    pub async fn get_with_steps(&self, xid: &str) -> Result<Saga, SagaError> {
        self.asked(xid, Duration::ZERO, true).await
    }

    /// Waits for the end of a saga, until it needs a person, or `wait_max` has passed, and says where it
    /// stands then.
    ///
    /// # Errors
    /// As [`Sagas::get`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn wait(&self, xid: &str, wait_max: Duration) -> Result<Saga, SagaError> {
        let until = Instant::now() + wait_max;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let saga = self.asked(xid, left.min(WAIT_STEP), false).await?;
            if saga.has_ended() || saga.needs_attention() || left.is_zero() {
                return Ok(saga);
            }
        }
    }

    /// Where a saga stands, now and whenever something of it became durable, until it has ended. What
    /// happens in quick succession may come as one. A lost connection is an error, and the end: watch again.
    pub fn watch(&self, xid: &str) -> impl Stream<Item = Result<Saga, SagaError>> + Send + use<> {
        let (session, xid) = (self.session.clone(), xid.to_owned());
        let opened = async move {
            let mut client = session.sagas_client().await;
            match client.watch_saga(v1::WatchSagaRequest { xid }).await {
                Ok(response) => response.into_inner().map(read_watched).left_stream(),
                Err(status) => stream::once(async move { Err(lost(&status)) }).right_stream(),
            }
        };
        stream::once(opened).flatten()
    }

    /// Sends an event to a step that waits for it, or will; of several the first counts. `step` is its path,
    /// as `approve` or `lines[3]/paid`.
    ///
    /// # Errors
    /// As [`Sagas::get`], and TX0025 where there is no such step, or the saga has ended.
    pub async fn signal(
        &self,
        xid: &str,
        step: &str,
        payload: &(impl Serialize + ?Sized),
    ) -> Result<Saga, SagaError> {
        let request = v1::SignalSagaRequest {
            xid: xid.to_owned(),
            step: step.to_owned(),
            payload: json("the payload", payload, RESULT_BYTES_MAX)?.into(),
        };
        let ask = |mut client: Client, request| async move { client.signal_saga(request).await };
        self.answered(Duration::ZERO, request, ask).await
    }

    /// Says how an action ended that answered *ongoing*, by its token.
    ///
    /// # Errors
    /// As [`Sagas::get`], and TX0025 where the step is not ongoing.
    pub async fn complete(
        &self,
        token: &str,
        result: Result<&(impl Serialize + Sync), StepError>,
    ) -> Result<Saga, SagaError> {
        use v1::complete_step_request::Result as Wire;
        let result = match result {
            Ok(output) => Wire::Done(v1::StepDone {
                result: json("the result", output, RESULT_BYTES_MAX)?.into(),
            }),
            Err(error) => Wire::Failed(error.into_failed()),
        };
        let request = v1::CompleteStepRequest { token: token.to_owned(), result: Some(result) };
        let ask = |mut client: Client, request| async move { client.complete_step(request).await };
        self.answered(Duration::ZERO, request, ask).await
    }

    /// Has a saga roll back, for a reason that is kept.
    ///
    /// # Errors
    /// As [`Sagas::get`], and TX0025 where it has ended.
    pub async fn cancel(&self, xid: &str, reason: &str) -> Result<Saga, SagaError> {
        let request = v1::OperateSagaRequest {
            xid: xid.to_owned(),
            verb: v1::SagaVerb::Cancel.into(),
            reason: reason.to_owned(),
            ..v1::OperateSagaRequest::default()
        };
        let ask = |mut client: Client, request| async move { client.operate_saga(request).await };
        self.answered(Duration::ZERO, request, ask).await
    }

    async fn asked(&self, xid: &str, wait: Duration, steps: bool) -> Result<Saga, SagaError> {
        let request = v1::GetSagaRequest {
            xid: xid.to_owned(),
            wait_ms: crate::session::wire::millis_u32(wait),
            with_steps: steps,
            ..v1::GetSagaRequest::default()
        };
        let ask = |mut client: Client, request| async move { client.get_saga(request).await };
        self.answered(wait, request, ask).await
    }

    async fn answered<Q: Clone, F>(
        &self,
        wait: Duration,
        request: Q,
        ask: impl Fn(Client, Q) -> F,
    ) -> Result<Saga, SagaError>
    where
        F: Future<Output = Result<tonic::Response<v1::SagaReply>, tonic::Status>>,
    {
        let read = |reply: v1::SagaReply| {
            Some(match reply.result? {
                saga_reply::Result::Saga(saga) => Ok(Saga(saga)),
                saga_reply::Result::Error(error) => Err(error),
            })
        };
        Ok(self.session.ask_sagas(wait, request, ask, read).await?)
    }
}

type Client = v1::sagas_client::SagasClient<tonic::transport::Channel>;

fn read_watched(reply: Result<v1::SagaReply, tonic::Status>) -> Result<Saga, SagaError> {
    match reply.map(|reply| reply.result) {
        Ok(Some(saga_reply::Result::Saga(saga))) => Ok(Saga(saga)),
        Ok(Some(saga_reply::Result::Error(error))) => Err(CallError::Refused(error).into()),
        Ok(None) => Err(CallError::NoAnswer("it is of another kind".to_owned()).into()),
        Err(status) => Err(lost(&status)),
    }
}

fn lost(status: &tonic::Status) -> SagaError {
    CallError::NoAnswer(status.to_string()).into()
}

/// A value as JSON. What is too large is not sent: on the stream it would end everybody's session.
fn json(
    what: &'static str,
    value: &(impl Serialize + ?Sized),
    limit: usize,
) -> Result<Vec<u8>, SagaError> {
    let json = serde_json::to_vec(value).map_err(|source| SagaError::Json { what, source })?;
    match json.len() {
        bytes if bytes > limit => Err(SagaError::TooLarge { what, bytes, limit }),
        _ => Ok(json),
    }
}
