//! Sends the transfers, so many at a time, and notes what is answered.
//!
//! Easy to get wrong: what may be sent again. A transfer that did not reach the service, or for which
//! no global transaction was begun, may; one that may have reached it, never, unless it has an idempotency
//! key, with which it stays the same transfer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::progress::Progress;
use crate::args::Mode;
use crate::audit::{Heard, Sent};
use crate::services::order::{Answer, Order, WaitFor};

/// How often the service runs a transfer that meets passing trouble: a deadlock, a killed bank.
const ATTEMPTS_MAX: u32 = 10;
/// How long a transfer is sent again. 2 min: longer than any restart.
const SEND_MAX: Duration = Duration::from_secs(120);
/// The pause before that.
const SEND_PAUSE: Duration = Duration::from_millis(25);

/// What of a transfer that may have reached the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// It would be another transfer.
    Never,
    /// It is the same one, by its key.
    UntilAnswered,
}

impl Again {
    pub(crate) fn of(mode: Mode) -> Self {
        match mode {
            Mode::SagaDeclared => Again::UntilAnswered,
            Mode::At | Mode::Tcc | Mode::Saga | Mode::Xa | Mode::Mixed | Mode::All => Again::Never,
        }
    }
}

/// All transfers with their answers.
#[derive(Debug)]
pub(crate) struct Driven {
    pub(crate) sent: Vec<Sent>,
    /// How long each definite answer took, in order.
    pub(crate) latencies: Vec<Duration>,
    /// From the first transfer sent to the last answered.
    pub(crate) took: Duration,
}

/// What the workers share.
struct Road {
    client: reqwest::Client,
    url: String,
    orders: Vec<Order>,
    again: Again,
    next: AtomicUsize,
    finished: watch::Sender<u32>,
    progress: Progress,
}

/// Sends all of `sent` to the transfer service at `url`.
pub(crate) async fn drive(
    url: &str,
    mut sent: Vec<Sent>,
    again: Again,
    concurrency: u32,
    finished: &watch::Sender<u32>,
    progress: &Progress,
) -> Result<Driven> {
    let order = |sent: &Sent| Order {
        id: sent.id.clone(),
        legs: sent.legs.clone(),
        wait: WaitFor::Completed,
        attempts_max: ATTEMPTS_MAX,
    };
    let road = Arc::new(Road {
        client: reqwest::Client::new(),
        url: format!("{url}/transfer"),
        orders: sent.iter().map(order).collect(),
        again,
        next: AtomicUsize::new(0),
        finished: finished.clone(),
        progress: progress.clone(),
    });
    let begun = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..concurrency {
        let road = Arc::clone(&road);
        workers.spawn(async move { road.work().await });
    }
    let mut latencies = Vec::new();
    while let Some(worked) = workers.join_next().await {
        for Answered { number, heard, xid, latency } in worked.context("a worker failed")?? {
            (sent[number].heard, sent[number].xid) = (heard, xid);
            if matches!(heard, Heard::Committed | Heard::RolledBack) {
                latencies.push(latency);
            }
        }
    }
    latencies.sort_unstable();
    Ok(Driven { sent, latencies, took: begun.elapsed() })
}

/// What came of sending a transfer once.
enum Asked {
    Ended(Heard, String),
    /// It may have been begun; as what it counts if it is left at that.
    Unknown(Heard),
    /// It may be sent again, whatever it is.
    NotBegun(String),
}

/// What came of one transfer.
struct Answered {
    number: usize,
    heard: Heard,
    xid: Option<String>,
    latency: Duration,
}

impl Road {
    async fn work(&self) -> Result<Vec<Answered>> {
        let mut answered = Vec::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(order) = self.orders.get(number) else { return Ok(answered) };
            let begun = Instant::now();
            let (heard, xid) = self.send(order).await?;
            answered.push(Answered { number, heard, xid, latency: begun.elapsed() });
            self.finished.send_modify(|finished| *finished += 1);
            self.progress.one_more();
        }
    }

    async fn send(&self, order: &Order) -> Result<(Heard, Option<String>)> {
        let until = Instant::now() + SEND_MAX;
        loop {
            let is_last = Instant::now() >= until;
            match self.ask(order).await? {
                Asked::Ended(heard, xid) => return Ok((heard, Some(xid))),
                Asked::Unknown(heard) if is_last || self.again == Again::Never => {
                    return Ok((heard, None));
                }
                Asked::NotBegun(why) if is_last => {
                    bail!("transfer {} could not be begun for {SEND_MAX:?}: {why}", order.id);
                }
                Asked::Unknown(_) | Asked::NotBegun(_) => sleep(SEND_PAUSE).await,
            }
        }
    }

    async fn ask(&self, order: &Order) -> Result<Asked> {
        let response = match self.client.post(&self.url).json(order).send().await {
            Err(error) if error.is_connect() => return Ok(Asked::NotBegun(error.to_string())),
            // It may have been reached.
            Err(_) => return Ok(Asked::Unknown(Heard::Nothing)),
            Ok(response) => response,
        };
        if response.status().is_client_error() && !is_answer(&response) {
            bail!("the transfer service refused transfer {}: {response:?}", order.id);
        }
        Ok(match response.json().await {
            // Cut off in the middle.
            Err(_) => Asked::Unknown(Heard::Nothing),
            Ok(Answer::Committed { xid }) => Asked::Ended(Heard::Committed, xid),
            Ok(Answer::RolledBack { xid, .. }) => Asked::Ended(Heard::RolledBack, xid),
            Ok(Answer::InDoubt { .. }) => Asked::Unknown(Heard::InDoubt),
            Ok(Answer::NotBegun { why }) => Asked::NotBegun(why),
        })
    }
}

fn is_answer(response: &reqwest::Response) -> bool {
    response.status() == reqwest::StatusCode::CONFLICT
}
