//! What the rest of the agent asks of the coordinator.
//!
//! Every request may be repeated: a begin that is asked carries its key, a registration its branch id, the others
//! change nothing the second time. So a call that loses its stream is asked again on the next one,
//! until its caller's own end; only then it is [`CallError::NoAnswer`], which never means *failed*.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pactum_core::id::{ResourceId, ResourceUid, ScopeId, StoreId, Xid};
use pactum_core::transaction::BranchMode;
use pactum_proto::convert::NAME_BYTES_MAX;
use pactum_proto::v1;
use pactum_proto::v1::client_frame::Frame as Request;
use pactum_proto::v1::server_frame::Frame as Answer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::environment::Environment;
use super::link::{Answered, Link, Lost};
use super::names::Taken;
use super::outbox::Urgency;
use super::shared::{Shared, State, ask_again_after};
use super::{CallError, Participant, connect};
use crate::context::TransactionContext;

/// The most failed phase ones that wait to be reported; more are left to the deadline.
const FAILED_REPORTS_MAX: usize = 1 << 16;

/// The session of this process. Cheap to clone; the stream is closed with the last clone.
#[derive(Clone, Debug)]
pub(crate) struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    answer_wait_max: Duration,
    connection: Mutex<Option<JoinHandle<()>>>,
    /// The part of a begin's idempotency key that no other process has.
    key_prefix: u64,
    begun: AtomicU64,
    failed_reports: Arc<Semaphore>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.attachments.stop();
        self.shared.closing.cancel();
    }
}

impl Session {
    /// Starts to connect, and keeps connected until [`Session::close`].
    pub(crate) fn start(environment: Environment, answer_wait_max: Duration) -> Self {
        // Half of a random UUID's bits; two processes that share them share nothing but the prefix
        // of keys, at one coordinator, within its history.
        let [high, low] = [environment.node.0 >> 64, environment.node.0]
            .map(|half| u64::try_from(half & u128::from(u64::MAX)).expect("it is masked"));
        let shared = Arc::new(Shared::new(environment));
        let connection = tokio::spawn(connect::run(Arc::clone(&shared)));
        Session(Arc::new(Inner {
            shared,
            answer_wait_max,
            connection: Mutex::new(Some(connection)),
            key_prefix: high ^ low,
            begun: AtomicU64::new(0),
            failed_reports: Arc::new(Semaphore::new(FAILED_REPORTS_MAX)),
        }))
    }

    /// Waits for the stream to be up, at most `wait_max`.
    pub(crate) async fn connected(&self, wait_max: Duration) -> Result<(), CallError> {
        let up = timeout_at(Instant::now() + wait_max, self.shared().link()).await;
        if let Ok(Some(_)) = up { Ok(()) } else { Err(self.no_answer()) }
    }

    /// Finishes what runs, at most for `wait_max`, and closes the stream. Calls made after it get no
    /// answer.
    pub(crate) async fn close(&self, wait_max: Duration) {
        self.shared().attachments.stop();
        if !self.shared().tasks.drained(wait_max).await {
            tracing::warn!(?wait_max, "the agent closes with background work unfinished");
        }
        self.shared().closing.cancel();
        let connection = self.0.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(connection) = connection
            && let Err(error) = connection.await
        {
            tracing::error!(%error, "the session's connection task did not end by itself");
        }
        // Also after a panic of that task: nobody may wait for a link any more.
        self.shared().state.send_replace(State::Closed);
    }

    /// As [`Session::attach_modes`], in one mode.
    pub(crate) async fn attach(
        &self,
        resource: ResourceId,
        uid: Option<ResourceUid>,
        mode: BranchMode,
        participant: Arc<dyn Participant>,
    ) -> Result<(), CallError> {
        self.attach_modes(resource, uid, vec![(mode, participant)]).await
    }

    /// Attaches a database, or a service without one; repeated by itself after each reconnect. Refused
    /// if the binding is another one.
    ///
    /// In all of its modes at once: the coordinator does not know modes, so with the first it would send
    /// the work of the others, too.
    ///
    /// Dropping the future leaves the resource attached or not; attach it again.
    pub(crate) async fn attach_modes(
        &self,
        resource: ResourceId,
        uid: Option<ResourceUid>,
        modes: Vec<(BranchMode, Arc<dyn Participant>)>,
    ) -> Result<(), CallError> {
        let shared = self.shared();
        let added: Result<Vec<_>, _> = modes
            .iter()
            .map(|(mode, participant)| {
                let place = (resource.clone(), *mode);
                shared.attachments.add(place, uid, participant, &shared.tasks)
            })
            .collect();
        // They have one binding, so the first of them is refused or none.
        let attachments = added.map_err(|other| {
            let named = |uid: Option<ResourceUid>| match uid {
                Some(uid) => format!("database {uid}"),
                None => "a service without a database".to_owned(),
            };
            let (other, uid) = (named(other), named(uid));
            refusal(
                v1::ErrorCode::ResourceBound,
                format!(
                    "resource `{resource}` is attached by this process to {other}, so it cannot be \
                     {uid} too: give each an id of its own"
                ),
            )
        })?;
        let result = self.tell_resource(&resource).await;
        if result.is_err() {
            attachments.iter().for_each(|attachment| shared.attachments.remove(attachment));
        }
        result
    }

    /// Tells the coordinator of a resource, with what is offered at it.
    async fn tell_resource(&self, resource: &ResourceId) -> Result<(), CallError> {
        let Some(told) = self.shared().attachments.resource(resource) else { return Ok(()) };
        let until = Instant::now() + self.answer_wait_max();
        let answered = self.call(Urgency::Decision, Request::Attach(told), None, until).await?;
        match answered.frame {
            Answer::Attached(_) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Says that something more is offered at a resource. What follows in one go is told at once, and
    /// [`Session::offers_told`] waits for it.
    pub(crate) fn offer(&self, resource: &ResourceId) {
        let shared = Arc::clone(&self.0.shared);
        if !shared.offers.begin(resource) {
            return;
        }
        let (session, resource) = (self.clone(), resource.clone());
        self.spawn("offers", async move {
            let telling = shared.offers.telling(&resource);
            if let Err(error) = session.tell_resource(&resource).await {
                tracing::warn!(txn.resource = %resource, %error, "offers not told; a new session does");
            }
            drop(telling);
        });
    }

    /// Waits until the coordinator knows what this process offers.
    pub(crate) async fn offers_told(&self) {
        self.shared().offers.all_told().await;
    }

    /// Begins a new global transaction: under a number that the coordinator gave before, or it is
    /// asked for one.
    ///
    /// Dropping the future, or what it returns, leaves a transaction behind that its deadline rolls
    /// back, or none.
    pub(crate) async fn begin(
        &self,
        name: &str,
        timeout: Duration,
        outer: Option<&Xid>,
    ) -> Result<TransactionContext, CallError> {
        let link = self.shared().link_now().filter(|_| (1..=NAME_BYTES_MAX).contains(&name.len()));
        let taken = link.as_ref().map(|link| link.names.take(timeout, outer, Instant::now()));
        let Some((link, Taken { xid, ask })) = link.zip(taken) else {
            return self.ask_begin(name, timeout, outer).await;
        };
        let begun = match xid {
            Some(xid) => tell_begin(&link, xid, name, timeout, outer),
            None => self.ask_begin(name, timeout, outer).await,
        };
        if ask {
            self.ask_for_names(link);
        }
        begun
    }

    /// Asks for the next block of numbers.
    fn ask_for_names(&self, link: Arc<Link>) {
        self.spawn("transaction-names", async move {
            match link.request(Urgency::Decision, Request::Xids(v1::XidsRequest {})).await {
                Ok(Answered { frame: Answer::Xids(block), asked_at }) => {
                    link.names.granted(block, asked_at);
                }
                Ok(Answered { frame: Answer::Error(error), .. })
                    if error.code() == v1::ErrorCode::Unavailable =>
                {
                    link.names.not_now();
                }
                // It does not know what is asked.
                Ok(_) => link.names.never(),
                Err(Lost) => {}
            }
        });
    }

    async fn ask_begin(
        &self,
        name: &str,
        timeout: Duration,
        outer: Option<&Xid>,
    ) -> Result<TransactionContext, CallError> {
        let request = Request::Begin(v1::BeginRequest {
            name: name.to_owned(),
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            idempotency_key: self.new_key(),
            outer_xid: outer.map_or_else(String::new, Xid::to_string),
        });
        let until = Instant::now() + self.answer_wait_max();
        let Answered { frame, asked_at } = self.call(Urgency::Entry, request, None, until).await?;
        let Answer::Begun(begun) = frame else { return Err(unexpected(&frame)) };
        let xid = begun.xid.parse().map_err(|_| malformed("its XID"))?;
        let store = StoreId::from_bytes(&begun.store_id).ok_or_else(|| malformed("its store"))?;
        // The coordinator counts from when it heard us, so we count from when we asked: of the two
        // clocks ours must be the first to run out.
        let remaining = Duration::from_millis(begun.remaining_ms);
        let remaining = remaining.saturating_sub(asked_at.elapsed());
        Ok(TransactionContext::managed(xid, store, remaining))
    }

    /// The name of a new nested scope; no two of a transaction are the same.
    pub(crate) fn new_scope_id(&self) -> ScopeId {
        // Zero means none.
        ScopeId(self.shared().environment.random().max(1))
    }

    /// The store of the coordinator that was last heard; `None` before the first Welcome.
    pub(crate) fn store(&self) -> Option<StoreId> {
        self.shared().store()
    }

    /// How long a caller waits for an answer that should come at once.
    pub(crate) fn answer_wait_max(&self) -> Duration {
        self.0.answer_wait_max
    }

    /// Runs a task beside its caller; [`Session::close`] waits for it.
    pub(crate) fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.shared().tasks.spawn(name, task);
    }

    /// Asks, on this stream and the next ones, until there is an answer that stands or `until`.
    /// With a store, only that store's coordinator is asked.
    ///
    /// Dropping the future tells the coordinator that nobody waits; whether the request was carried
    /// out is then unknown.
    pub(super) async fn call(
        &self,
        urgency: Urgency,
        request: Request,
        store: Option<StoreId>,
        until: Instant,
    ) -> Result<Answered, CallError> {
        let attempts = async {
            let mut attempt = 0;
            loop {
                let link = self.shared().link().await.ok_or_else(shut_down)?;
                if let Some(store) = store.filter(|store| *store != link.store) {
                    return Err(foreign(store, link.store));
                }
                let answered = match link.request(urgency, request.clone()).await {
                    Ok(answered) => answered,
                    Err(Lost) => continue,
                };
                let Answer::Error(error) = answered.frame else { return Ok(answered) };
                attempt += 1;
                match ask_again_after(&error, attempt) {
                    Some(delay) => sleep(delay).await,
                    None => return Err(CallError::Refused(error)),
                }
            }
        };
        timeout_at(until, attempts).await.unwrap_or_else(|_elapsed| Err(self.no_answer()))
    }

    pub(super) fn no_answer(&self) -> CallError {
        CallError::NoAnswer(self.shared().trouble())
    }

    /// Room for one more failed phase one that waits to be reported, if there is any.
    pub(super) fn failed_report_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.failed_reports).try_acquire_owned().ok()
    }

    /// The part of a key that no other process has, and the number that none of ours had.
    pub(super) fn new_key(&self) -> String {
        let number = self.0.begun.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}-{number:x}", self.0.key_prefix)
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }
}

/// Begins under a number that is ours. The frame travels with the first that names the transaction.
fn tell_begin(
    link: &Link,
    xid: Xid,
    name: &str,
    timeout: Duration,
    outer: Option<&Xid>,
) -> Result<TransactionContext, CallError> {
    let begin = Request::NamedBegin(v1::NamedBegin {
        number: xid.number.0,
        name: name.to_owned(),
        timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        outer_xid: outer.map_or_else(String::new, Xid::to_string),
    });
    // The coordinator counts the time from when it hears this: ours is the first to run out.
    let riding = link.let_ride(begin);
    Ok(TransactionContext::named(xid, link.store, timeout, riding))
}

pub(super) fn refusal(code: v1::ErrorCode, message: String) -> CallError {
    CallError::Refused(v1::Error { code: code.into(), message, ..v1::Error::default() })
}

fn foreign(ours: StoreId, theirs: StoreId) -> CallError {
    let message = format!(
        "the transaction belongs to store {ours}, and the coordinator now has store {theirs}: give \
         the agent the address of the coordinator that began it"
    );
    refusal(v1::ErrorCode::Foreign, message)
}

fn shut_down() -> CallError {
    CallError::NoAnswer("the agent is shut down".to_owned())
}

fn malformed(what: &str) -> CallError {
    CallError::NoAnswer(format!("its answer to begin is malformed in {what}"))
}

pub(super) fn unexpected(answer: &Answer) -> CallError {
    tracing::warn!(?answer, "the coordinator gave an answer of another kind");
    CallError::NoAnswer("it gave an answer of another kind".to_owned())
}
