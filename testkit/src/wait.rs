//! Waiting for a condition within a bound.
//!
//! The condition is looked at, not listened for: it counts also if it became true before the wait
//! began. The pause between two looks starts short and grows, so that a quick answer is noticed
//! quickly and a slow one costs little.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Waits until `look` finds something, and returns it. `what` names it in the error.
///
/// # Errors
/// If `look` has found nothing within `bound`. It looks at least once, and once more at the end.
pub async fn wait_for<T, F>(what: &str, bound: Duration, mut look: F) -> Result<T>
where
    F: AsyncFnMut() -> Option<T>,
{
    let mut looks = Looks::within(bound);
    loop {
        looks.begin();
        if let Some(found) = look().await {
            return Ok(found);
        }
        looks.pause(what).await?;
    }
}

/// As [`wait_for`], where a look itself waits for nothing. This wait can be part of a task: the
/// compiler does not know of an async closure that it may go to another thread.
///
/// # Errors
/// As [`wait_for`].
pub(crate) async fn wait_for_sight<T>(
    what: &str,
    bound: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T> {
    let mut looks = Looks::within(bound);
    loop {
        looks.begin();
        if let Some(found) = look() {
            return Ok(found);
        }
        looks.pause(what).await?;
    }
}

/// When to look, and when to give up.
struct Looks {
    bound: Duration,
    deadline: Instant,
    pause: Duration,
    last: bool,
}

impl Looks {
    fn within(bound: Duration) -> Self {
        Looks { bound, deadline: Instant::now() + bound, pause: PAUSE_MIN, last: false }
    }

    /// A look that begins before the deadline is not the last one, however long it takes.
    fn begin(&mut self) {
        self.last = Instant::now() >= self.deadline;
    }

    /// After a look that found nothing.
    async fn pause(&mut self, what: &str) -> Result<()> {
        if self.last {
            bail!("waited {:?} in vain for {what}", self.bound);
        }
        sleep(self.pause.min(self.deadline.saturating_duration_since(Instant::now()))).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}

/// Waits until `condition` holds. `what` names it in the error.
///
/// # Errors
/// If it did not hold within `bound`.
pub async fn wait_until<F>(what: &str, bound: Duration, mut condition: F) -> Result<()>
where
    F: AsyncFnMut() -> bool,
{
    wait_for(what, bound, async || condition().await.then_some(())).await
}

/// Waits until something accepts connections at `address`.
///
/// # Errors
/// If nothing did within `bound`.
pub async fn wait_for_port(address: SocketAddr, bound: Duration) -> Result<()> {
    let what = format!("a server at {address}");
    wait_until(&what, bound, async || {
        // A connection that hangs must not use up the bound unnoticed.
        timeout(bound, TcpStream::connect(address)).await.is_ok_and(|connected| connected.is_ok())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn what_is_there_already_costs_no_time() {
        let begun = Instant::now();
        assert_eq!(wait_for("it", Duration::ZERO, async || Some(7)).await.unwrap(), 7);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_later_is_noticed_soon_after() {
        let begun = Instant::now();
        let comes_after = Duration::from_secs(3);
        let there = async || begun.elapsed() >= comes_after;
        wait_until("it", MINUTE, there).await.unwrap();
        assert!(begun.elapsed() <= comes_after + PAUSE_MAX * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_comes_is_named_after_the_bound() {
        let begun = Instant::now();
        let error = wait_until("rain", MINUTE, async || false).await.unwrap_err();
        assert_eq!(error.to_string(), "waited 60s in vain for rain");
        assert!(begun.elapsed() >= MINUTE);
        assert!(begun.elapsed() <= MINUTE + PAUSE_MAX * 2);
    }

    #[tokio::test]
    async fn a_port_is_found_once_somebody_listens() {
        let port = crate::free_port().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        wait_for_port(address, Duration::ZERO).await.unwrap_err();
        let _server = tokio::net::TcpListener::bind(address).await.unwrap();
        wait_for_port(address, MINUTE).await.unwrap();
    }
}
