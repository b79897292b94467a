//! A saga that is about to be started.

use std::future::IntoFuture;
use std::pin::Pin;
use std::time::Duration;

use pactum_core::saga::limits::INPUT_BYTES_MAX;
use pactum_proto::v1;
use pactum_proto::v1::submit_saga_request::Definition;
use serde::Serialize;

use super::{Saga, SagaError, Sagas, json};
use crate::session::Session;

/// A saga to be started, when this is awaited.
///
/// Durable before the answer: then it goes on, whatever becomes of this process.
///
/// # Errors
/// Awaited, it is refused where no such saga is defined (TX0022), or nobody offers one of its actions
/// (TX0024). [`CallError::NoAnswer`](crate::CallError::NoAnswer) says that nobody knows whether it was
/// started: submit it again with the same key.
///
/// # Cancel safety
/// Dropping the future leaves a saga behind, or none.
#[derive(Debug)]
#[must_use = "it starts when it is awaited"]
pub struct Submission<'a> {
    session: &'a Session,
    request: Result<v1::SubmitSagaRequest, SagaError>,
}

impl<'a> Submission<'a> {
    pub(super) fn new(session: &'a Session, name: &str) -> Self {
        let saga = v1::SagaName { name: name.to_owned(), version: 0 };
        let request = v1::SubmitSagaRequest {
            definition: Some(Definition::Saga(saga)),
            ..v1::SubmitSagaRequest::default()
        };
        Submission { session, request: Ok(request) }
    }

    /// Of this version, and not the latest.
    pub fn version(self, version: u32) -> Self {
        self.with(|request| {
            if let Some(Definition::Saga(saga)) = &mut request.definition {
                saga.version = version;
            }
        })
    }

    /// What the saga is given: at most 256 KiB as JSON.
    pub fn input(mut self, input: &(impl Serialize + ?Sized)) -> Self {
        match json("the input", input, INPUT_BYTES_MAX) {
            Ok(input) => self.with(|request| request.input = input.into()),
            Err(error) => {
                self.request = Err(error);
                self
            }
        }
    }

    /// The idempotency key, 1 to 64 bytes: whoever submits with the same one, at any time, has the same
    /// saga. Without one, each call starts a saga of its own.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.with(|request| request.idempotency_key = key.into())
    }

    /// How long the answer may wait for the end of the saga, at most 60 s. By default it does not.
    pub fn wait(self, wait_max: Duration) -> Self {
        self.with(|request| request.wait_ms = crate::session::wire::millis_u32(wait_max))
    }

    fn with(mut self, change: impl FnOnce(&mut v1::SubmitSagaRequest)) -> Self {
        if let Ok(request) = &mut self.request {
            change(request);
        }
        self
    }
}

impl<'a> IntoFuture for Submission<'a> {
    type Output = Result<Saga, SagaError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let saga = self.session.submit_saga(self.request?).await?;
            // One that had ended before, by its key, is answered by its outcome alone.
            match saga.saga {
                Some(_) => Ok(Saga(saga)),
                None => Sagas::new(self.session).get(&saga.xid).await,
            }
        })
    }
}
