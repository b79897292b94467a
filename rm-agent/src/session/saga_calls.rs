//! What is asked about declared sagas: a submission on the stream, everything else by unary calls.
//!
//! Every call may be repeated: a submission carries its key, a definition its name and version, of an event
//! and of a completion the first counts.

use std::time::Duration;

use pactum_proto::v1;
use pactum_proto::v1::client_frame::Frame as Request;
use pactum_proto::v1::sagas_client::SagasClient;
use pactum_proto::v1::server_frame::Frame as Answer;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use super::CallError;
use super::calls::{Session, unexpected};
use super::outbox::Urgency;
use super::shared::ask_again_after;

/// The pause after a unary call that found no coordinator.
const UNARY_PAUSE: Duration = Duration::from_millis(200);

impl Session {
    /// Starts a saga. Without a key it is given one, for repeats of this call.
    ///
    /// Dropping the future leaves a saga behind, or none.
    pub(crate) async fn submit_saga(
        &self,
        mut request: v1::SubmitSagaRequest,
    ) -> Result<v1::Saga, CallError> {
        if request.idempotency_key.is_empty() {
            request.idempotency_key = self.new_key();
        }
        // Whoever registered an action and then submits finds it offered.
        self.offers_told().await;
        let wait = Duration::from_millis(request.wait_ms.into());
        let until = Instant::now() + self.answer_wait_max() + wait;
        let request = Request::SubmitSaga(request);
        match self.call(Urgency::Entry, request, None, until).await?.frame {
            Answer::Saga(saga) => Ok(saga),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes a unary call until it is answered, at most for `wait` longer than an answer may take.
    pub(crate) async fn ask_sagas<Q: Clone, R, T, F>(
        &self,
        wait: Duration,
        request: Q,
        ask: impl Fn(SagasClient<Channel>, Q) -> F,
        read: impl Fn(R) -> Option<Result<T, v1::Error>>,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let until = Instant::now() + self.answer_wait_max() + wait;
        let attempts = async {
            let mut attempt = 0;
            loop {
                attempt += 1;
                let pause = match ask(self.sagas_client().await, request.clone()).await {
                    Ok(response) => match read(response.into_inner()) {
                        Some(Ok(answer)) => return Ok(answer),
                        Some(Err(error)) => match ask_again_after(&error, attempt) {
                            Some(delay) => delay,
                            None => return Err(CallError::Refused(error)),
                        },
                        None => {
                            return Err(CallError::NoAnswer("it is of another kind".to_owned()));
                        }
                    },
                    Err(status) if may_pass(&status) => {
                        tracing::debug!(%status, "no answer about a saga yet");
                        UNARY_PAUSE
                    }
                    Err(status) => return Err(CallError::NoAnswer(status.to_string())),
                };
                sleep(pause).await;
            }
        };
        timeout_at(until, attempts).await.unwrap_or_else(|_elapsed| Err(self.no_answer()))
    }

    /// A client on the one connection for unary calls, which is opened for the first and again by itself.
    pub(crate) async fn sagas_client(&self) -> SagasClient<Channel> {
        let shared = self.shared();
        let mut unary = shared.unary.lock().await;
        loop {
            if let Some(channel) = &*unary {
                return SagasClient::new(channel.clone());
            }
            match shared.environment.dial.dial().await {
                Ok(channel) => *unary = Some(channel),
                Err(error) => {
                    tracing::debug!(%error, "no connection for unary calls");
                    sleep(UNARY_PAUSE).await;
                }
            }
        }
    }
}

/// Whether the same call may be answered later.
fn may_pass(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::Unknown
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Internal
    )
}
