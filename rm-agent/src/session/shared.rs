//! What the session's callers and its connection share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pactum_core::id::StoreId;
use pactum_core::retry::RetryPolicy;
use pactum_proto::v1;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::attachments::Attachments;
use super::environment::Environment;
use super::ids::BranchIds;
use super::link::Link;
use super::offers::Offers;
use super::reports::Reports;
use super::tasks::Tasks;

/// When a request is asked again that the coordinator could not answer yet.
const ASK_AGAIN: RetryPolicy =
    RetryPolicy { first: Duration::from_millis(50), cap: Duration::from_secs(1) };

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) environment: Environment,
    pub(super) state: watch::Sender<State>,
    pub(super) ids: BranchIds,
    pub(super) reports: Reports,
    pub(super) attachments: Attachments,
    pub(super) offers: Offers,
    pub(super) tasks: Tasks,
    /// The connection for unary calls, once there was one.
    pub(super) unary: tokio::sync::Mutex<Option<Channel>>,
    /// The stream is to be closed in good order, and no other opened.
    pub(super) closing: CancellationToken,
    store: Mutex<Option<StoreId>>,
    trouble: Mutex<Option<String>>,
}

#[derive(Clone, Debug)]
pub(super) enum State {
    Connecting,
    Up(Arc<Link>),
    Closed,
}

impl Shared {
    pub(super) fn new(environment: Environment) -> Self {
        Shared {
            environment,
            state: watch::Sender::new(State::Connecting),
            ids: BranchIds::default(),
            reports: Reports::default(),
            attachments: Attachments::default(),
            offers: Offers::default(),
            tasks: Tasks::on_current_runtime(),
            unary: tokio::sync::Mutex::default(),
            closing: CancellationToken::new(),
            store: Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// Notes why there is no stream, for those who wait for one in vain.
    pub(super) fn note_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Why there is no stream, or that an answer is late.
    pub(super) fn trouble(&self) -> String {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.clone().unwrap_or_else(|| "it did not answer in time".to_owned())
    }

    /// The store of the coordinator that was last heard.
    pub(super) fn store(&self) -> Option<StoreId> {
        *self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whose Welcome came.
    pub(super) fn note_store(&self, store: StoreId) {
        let before = self.store.lock().unwrap_or_else(PoisonError::into_inner).replace(store);
        if let Some(before) = before.filter(|before| *before != store) {
            tracing::error!(
                %before, now = %store,
                "the coordinator has another store: what was begun at the old one is foreign to it, \
                 and stays in doubt until the old one is back"
            );
        }
    }

    /// The link that is up; waits for one. `None` once the session is closed.
    pub(super) async fn link(&self) -> Option<Arc<Link>> {
        if let State::Up(link) = &*self.state.borrow() {
            return Some(Arc::clone(link));
        }
        let mut states = self.state.subscribe();
        let state = states.wait_for(|state| !matches!(state, State::Connecting)).await.ok()?;
        match &*state {
            State::Up(link) => Some(Arc::clone(link)),
            State::Connecting | State::Closed => None,
        }
    }

    /// The link that is up now.
    pub(super) fn link_now(&self) -> Option<Arc<Link>> {
        match &*self.state.borrow() {
            State::Up(link) => Some(Arc::clone(link)),
            State::Connecting | State::Closed => None,
        }
    }
}

/// How long to wait before the same request is worth another try on the same stream; `None` for an
/// answer that stands.
pub(super) fn ask_again_after(error: &v1::Error, attempt: u32) -> Option<Duration> {
    match error.code() {
        // A cancelled request may hold its place for a moment longer than we believe.
        v1::ErrorCode::LimitReached if error.field == "request_window" => {
            Some(ASK_AGAIN.delay(attempt, 0))
        }
        v1::ErrorCode::OutcomeUnknown | v1::ErrorCode::Unavailable => {
            let named = Duration::from_millis(error.retry_after_ms.into());
            Some(ASK_AGAIN.delay(attempt, 0).max(named))
        }
        v1::ErrorCode::Unspecified
        | v1::ErrorCode::InvalidArgument
        | v1::ErrorCode::LimitReached
        | v1::ErrorCode::LockConflict
        | v1::ErrorCode::NotActive
        | v1::ErrorCode::UnknownTransaction
        | v1::ErrorCode::Expired
        | v1::ErrorCode::Foreign
        | v1::ErrorCode::UnknownBranch
        | v1::ErrorCode::BranchMismatch
        | v1::ErrorCode::NotAttached
        | v1::ErrorCode::ResourceBound
        | v1::ErrorCode::LostState
        | v1::ErrorCode::Internal
        | v1::ErrorCode::ProtocolVersion
        | v1::ErrorCode::ResourceBusy
        | v1::ErrorCode::NotResolvable
        | v1::ErrorCode::ScopeRolledBack
        | v1::ErrorCode::NotDelegable
        | v1::ErrorCode::InvalidDefinition
        | v1::ErrorCode::UnknownSaga
        | v1::ErrorCode::DefinitionTaken
        | v1::ErrorCode::UnknownAction
        | v1::ErrorCode::StepState => None,
    }
}
