//! Keeps one stream to the coordinator: opens it, settles it, reads it, and opens the next.
//!
//! ```text
//! dial ─ Hello ─▶ Welcome ─▶ attach every resource ─▶ publish ─▶ repeat the reports ─▶ read …
//!   ▲                                                                                   │
//!   └──────────── back-off with jitter ◀── everyone who waits hears Lost ◀── it ends ───┘
//! ```
//!
//! Easy to get wrong is the order of publishing. Callers see the link only once its resources are
//! attached, or their registrations would be refused; the reports are repeated after it is
//! published, because one that is made in between must be in the repetition or on the link. And the
//! link is withdrawn before it is ended, or a caller that hears [`Lost`] would find it again.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pactum_core::id::StoreId;
use pactum_core::retry::RetryPolicy;
use pactum_proto::v1;
use pactum_proto::v1::client_frame::Frame as Request;
use pactum_proto::v1::coordinator_client::CoordinatorClient;
use pactum_proto::v1::server_frame::Frame as Answer;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};
use tonic::Streaming;

use super::link::{Link, Lost};
use super::names::Names;
use super::outbox::{Outbox, Urgency};
use super::shared::{Shared, State, ask_again_after};
use crate::chain::chain;

/// From a tenth of a second, so that a restarted coordinator is found at once, to five: a fleet of
/// agents must not hammer one that is down.
const RECONNECT: RetryPolicy =
    RetryPolicy { first: Duration::from_millis(100), cap: Duration::from_secs(5) };
/// How long the way to the Welcome may take, and the attaching after it. A coordinator that recovers
/// answers neither before it has rebuilt its locks.
const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(10);
/// What the coordinator may name as its heartbeat; outside, it is brought inside.
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
const HEARTBEAT_MAX: Duration = Duration::from_secs(60);
/// After so many heartbeats without a word the stream counts as lost.
const HEARTBEATS_MISSED_MAX: u32 = 3;
/// How long the coordinator has to end a stream that this side has closed.
const FAREWELL_WAIT_MAX: Duration = Duration::from_secs(1);

/// Why there is no stream (any more).
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the coordinator cannot be reached")]
    Unreachable(#[source] tonic::transport::Error),
    #[error("the stream broke")]
    Broken(#[from] tonic::Status),
    #[error("the coordinator ended the stream")]
    ByCoordinator,
    #[error("the coordinator refused the session: {0}")]
    Refused(String),
    #[error("the coordinator's first frame is not a usable Welcome: {0}")]
    NoWelcome(&'static str),
    #[error("nothing was heard for three heartbeats")]
    Silent,
    #[error("the coordinator did not answer the handshake in time")]
    HandshakeTooSlow,
    #[error("the agent is shutting down")]
    ShuttingDown,
}

struct Opened {
    link: Arc<Link>,
    incoming: Streaming<v1::ServerBatch>,
    /// What came in one batch with the Welcome.
    first: Vec<v1::ServerFrame>,
    heartbeat: Duration,
}

/// Runs until the session is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut failures = 0;
    loop {
        let ended = match shared.closing.run_until_cancelled(open(&shared)).await {
            None => break,
            Some(Err(ended)) => ended,
            Some(Ok(opened)) => serve(&shared, opened, &mut failures).await,
        };
        if shared.closing.is_cancelled() {
            break;
        }
        failures += 1;
        let delay = RECONNECT.delay(failures, shared.environment.random());
        let trouble = chain(&ended);
        tracing::warn!(error = trouble, failures, ?delay, "no session with the coordinator");
        shared.note_trouble(Some(trouble));
        if shared.closing.run_until_cancelled(sleep(delay)).await.is_none() {
            break;
        }
    }
    shared.state.send_replace(State::Closed);
}

async fn open(shared: &Shared) -> Result<Opened, Ended> {
    timeout(HANDSHAKE_WAIT_MAX, handshake(shared)).await.unwrap_or(Err(Ended::HandshakeTooSlow))
}

async fn handshake(shared: &Shared) -> Result<Opened, Ended> {
    let channel = shared.environment.dial.dial().await.map_err(Ended::Unreachable)?;
    let outbox = Arc::new(Outbox::default());
    let hello = Request::Hello(v1::Hello {
        protocol_version: pactum_proto::PROTOCOL_VERSION,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        node_id: shared.environment.node.to_bytes().to_vec().into(),
        capabilities: Vec::new(),
    });
    outbox.push(Urgency::Decision, v1::ClientFrame { correlation: 0, frame: Some(hello) });
    let outgoing = futures_util::stream::unfold(Arc::clone(&outbox), |outbox| async {
        outbox.next_batch().await.map(|batch| (batch, outbox))
    });
    let mut incoming = CoordinatorClient::new(channel).session(outgoing).await?.into_inner();
    let mut first = incoming.message().await?.ok_or(Ended::ByCoordinator)?.frames;
    if first.is_empty() {
        return Err(Ended::NoWelcome("it is empty"));
    }
    let welcome = match first.remove(0).frame {
        Some(Answer::Welcome(welcome)) => welcome,
        Some(Answer::Error(error)) => return Err(Ended::Refused(error.message)),
        Some(_) | None => return Err(Ended::NoWelcome("it is another frame")),
    };
    if welcome.protocol_version != pactum_proto::PROTOCOL_VERSION {
        return Err(Ended::NoWelcome("it speaks another protocol version"));
    }
    let store = StoreId::from_bytes(&welcome.store_id)
        .ok_or(Ended::NoWelcome("its store id is not 16 bytes"))?;
    shared.note_store(store);
    shared.ids.restart(store, welcome.branch_ids);
    let group = welcome.group.parse().map_err(|_| Ended::NoWelcome("its group is malformed"))?;
    let names = Names::new(group, Duration::from_millis(welcome.transaction_timeout_max_ms));
    let link = Arc::new(Link::new(store, welcome.request_window, outbox, names));
    let heartbeat = Duration::from_millis(welcome.heartbeat_ms.into());
    let heartbeat = heartbeat.clamp(HEARTBEAT_MIN, HEARTBEAT_MAX);
    Ok(Opened { link, incoming, first, heartbeat })
}

async fn serve(shared: &Shared, mut opened: Opened, failures: &mut u32) -> Ended {
    let link = Arc::clone(&opened.link);
    let ended = read(shared, &mut opened, failures).await;
    shared.state.send_if_modified(|state| {
        let published = matches!(state, State::Up(up) if Arc::ptr_eq(up, &link));
        if published {
            *state = State::Connecting;
        }
        published
    });
    link.end();
    ended
}

async fn read(shared: &Shared, opened: &mut Opened, failures: &mut u32) -> Ended {
    let Opened { link, incoming, first, heartbeat } = opened;
    for frame in std::mem::take(first) {
        on_frame(shared, link, frame);
    }
    let mut settling = pin!(timeout(HANDSHAKE_WAIT_MAX, settle(shared, link)));
    let mut settled = false;
    let mut farewell: Option<Instant> = None;
    let mut heard_at = Instant::now();
    let mut beat = interval_at(heard_at + *heartbeat, *heartbeat);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = incoming.message() => match message {
                Ok(Some(batch)) => {
                    heard_at = Instant::now();
                    batch.frames.into_iter().for_each(|frame| on_frame(shared, link, frame));
                }
                Ok(None) => return Ended::ByCoordinator,
                Err(status) => return Ended::Broken(status),
            },
            result = &mut settling, if !settled => match result {
                Ok(Ok(())) => {
                    settled = true;
                    *failures = 0;
                }
                Ok(Err(Lost)) => return Ended::ByCoordinator,
                Err(_elapsed) => return Ended::HandshakeTooSlow,
            },
            _ = beat.tick() => {
                if heard_at.elapsed() >= *heartbeat * HEARTBEATS_MISSED_MAX {
                    return Ended::Silent;
                }
                link.ping();
            }
            () = shared.closing.cancelled(), if farewell.is_none() => {
                link.close();
                farewell = Some(Instant::now() + FAREWELL_WAIT_MAX);
            }
            () = sleep_until(farewell.unwrap_or(heard_at)), if farewell.is_some() => {
                return Ended::ShuttingDown;
            }
        }
    }
}

/// Never waits: the reader must not stand behind a writer, or two full streams stand for ever.
fn on_frame(shared: &Shared, link: &Arc<Link>, frame: v1::ServerFrame) {
    let correlation = frame.correlation;
    match frame.frame {
        Some(Answer::Work(work)) => shared.attachments.route(link, &shared.reports, &work),
        Some(Answer::Ping(ping)) => link.send(Urgency::Decision, Request::Ping(ping)),
        Some(Answer::Pong(_)) => {}
        Some(Answer::Goodbye(_)) => tracing::info!("the coordinator is draining"),
        Some(Answer::Error(error)) if correlation == 0 => {
            tracing::warn!(error = error.message, "the coordinator refused a one-way frame");
            link.names.refused();
        }
        Some(Answer::Welcome(_)) | None => {
            tracing::warn!(correlation, "a frame without a meaning here arrived");
        }
        Some(
            answer @ (Answer::Begun(_)
            | Answer::Outcome(_)
            | Answer::Registered(_)
            | Answer::ClaimGranted(_)
            | Answer::Error(_)
            | Answer::Attached(_)
            | Answer::BranchIds(_)
            | Answer::Xids(_)
            | Answer::PhaseOneRecorded(_)
            | Answer::Scope(_)
            | Answer::Opinion(_)
            | Answer::Saga(_)),
        ) => link.answer(correlation, answer),
    }
}

/// Makes a new link usable: see the module's head for the order.
async fn settle(shared: &Shared, link: &Arc<Link>) -> Result<(), Lost> {
    let attached = shared.attachments.resources();
    let results = join_all(attached.iter().map(|one| attach_again(link, one))).await;
    results.into_iter().collect::<Result<(), Lost>>()?;
    shared.note_trouble(None);
    shared.state.send_replace(State::Up(Arc::clone(link)));
    tracing::info!(coord.store = %link.store, resources = attached.len(), "session is up");
    for report in shared.reports.to_repeat(link.store, Instant::now()) {
        link.send(Urgency::Decision, Request::PhaseOne(report));
    }
    Ok(())
}

/// Attaches a resource on a new stream. A refusal does not cost the others their session: it is
/// reported, and the coordinator refuses each registration of this resource by itself.
async fn attach_again(link: &Link, resource: &v1::Resource) -> Result<(), Lost> {
    let mut attempt = 0;
    loop {
        let request = Request::Attach(resource.clone());
        let Answer::Error(error) = link.request(Urgency::Decision, request).await?.frame else {
            return Ok(());
        };
        attempt += 1;
        let Some(delay) = ask_again_after(&error, attempt) else {
            tracing::error!(
                txn.resource = resource.resource_id,
                error = error.message,
                "the coordinator refuses to attach the resource"
            );
            return Ok(());
        };
        sleep(delay).await;
    }
}
