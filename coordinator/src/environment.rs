//! The seam to the world's clock and dice: handed in, so that a test or a simulator can set both.
//!
//! Monotonic time is `tokio::time`, which tests pause; wall time and randomness come from here.

use std::fmt;
use std::sync::Arc;

use pactum_core::time::{Now, Timestamp, WallTime};
use tokio::time::Instant;

/// Wall time and randomness.
#[derive(Clone)]
pub struct Environment {
    wall: Arc<dyn Fn() -> WallTime + Send + Sync>,
    random: Arc<dyn Fn() -> u128 + Send + Sync>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

impl Default for Environment {
    fn default() -> Self {
        Environment::system()
    }
}

impl Environment {
    /// The machine's own clock and randomness.
    #[must_use]
    pub fn system() -> Self {
        Environment::new(system_wall_time, || uuid::Uuid::new_v4().as_u128())
    }

    /// A given clock and given dice.
    pub fn new(
        wall: impl Fn() -> WallTime + Send + Sync + 'static,
        random: impl Fn() -> u128 + Send + Sync + 'static,
    ) -> Self {
        Environment { wall: Arc::new(wall), random: Arc::new(random) }
    }

    /// What the wall clock shows.
    #[must_use]
    pub fn wall(&self) -> WallTime {
        (self.wall)()
    }

    /// 128 unpredictable bits.
    #[must_use]
    pub fn random(&self) -> u128 {
        (self.random)()
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the one place behind the seam")]
fn system_wall_time() -> WallTime {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Both clocks, counted from the start of the coordinator.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    environment: Environment,
    start: Instant,
}

impl Clock {
    pub(crate) fn start(environment: Environment) -> Self {
        Clock { environment, start: Instant::now() }
    }

    /// The stamp of what happens now.
    pub(crate) fn now(&self) -> Now {
        let micros = self.start.elapsed().as_micros();
        let mono = Timestamp(u64::try_from(micros).unwrap_or(u64::MAX));
        Now { mono, wall: self.environment.wall() }
    }

    /// The moment of a stamp on the runtime's clock, not before that stamp.
    pub(crate) fn instant(&self, at: Timestamp) -> Instant {
        self.start + std::time::Duration::from_micros(at.0)
    }
}
