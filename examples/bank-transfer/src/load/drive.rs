//! Sends the transfers, so many at a time, and notes what is answered.
//!
//! Easy to get wrong: what may be sent again. A transfer that did not reach the service, or for which
//! no global transaction was begun, may; one that may have reached it, never.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::progress::Progress;
use crate::audit::{Heard, Sent};
use crate::services::order::{Answer, Order, WaitFor};

/// How often the service runs a transfer that meets passing trouble: a deadlock, a killed bank.
const ATTEMPTS_MAX: u32 = 10;
/// How long a transfer that was not begun is sent again. 2 min: longer than any restart.
const SEND_MAX: Duration = Duration::from_secs(120);
/// The pause before that.
const SEND_PAUSE: Duration = Duration::from_millis(25);

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
    next: AtomicUsize,
    finished: watch::Sender<u32>,
    progress: Progress,
}

/// Sends all of `sent` to the transfer service at `url`.
pub(crate) async fn drive(
    url: &str,
    mut sent: Vec<Sent>,
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
        for (number, heard, latency) in worked.context("a worker failed")?? {
            sent[number].heard = heard;
            if matches!(heard, Heard::Committed | Heard::RolledBack) {
                latencies.push(latency);
            }
        }
    }
    latencies.sort_unstable();
    Ok(Driven { sent, latencies, took: begun.elapsed() })
}

impl Road {
    async fn work(&self) -> Result<Vec<(usize, Heard, Duration)>> {
        let mut answered = Vec::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(order) = self.orders.get(number) else { return Ok(answered) };
            let begun = Instant::now();
            let heard = self.send(order).await?;
            answered.push((number, heard, begun.elapsed()));
            self.finished.send_modify(|finished| *finished += 1);
            self.progress.one_more();
        }
    }

    async fn send(&self, order: &Order) -> Result<Heard> {
        let until = Instant::now() + SEND_MAX;
        loop {
            let not_begun = match self.client.post(&self.url).json(order).send().await {
                Err(error) if error.is_connect() => error.to_string(),
                // It may have been reached.
                Err(_) => return Ok(Heard::Nothing),
                Ok(response) if response.status().is_client_error() && !is_answer(&response) => {
                    bail!("the transfer service refused transfer {}: {response:?}", order.id)
                }
                Ok(response) => match response.json().await {
                    // Cut off in the middle.
                    Err(_) => return Ok(Heard::Nothing),
                    Ok(Answer::Committed { .. }) => return Ok(Heard::Committed),
                    Ok(Answer::RolledBack { .. }) => return Ok(Heard::RolledBack),
                    Ok(Answer::InDoubt { .. }) => return Ok(Heard::InDoubt),
                    Ok(Answer::NotBegun { why }) => why,
                },
            };
            if Instant::now() >= until {
                bail!("transfer {} could not be begun for {SEND_MAX:?}: {not_begun}", order.id);
            }
            sleep(SEND_PAUSE).await;
        }
    }
}

fn is_answer(response: &reqwest::Response) -> bool {
    response.status() == reqwest::StatusCode::CONFLICT
}
