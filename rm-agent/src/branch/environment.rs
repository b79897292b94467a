//! The world that a participant takes wall time and randomness from.

use std::fmt;

use pactum_core::id::ResourceUid;
use pactum_core::time::WallTime;

/// Wall time and randomness, as functions, so that tests and the simulator can set them.
#[derive(Clone, Copy)]
pub(crate) struct Environment {
    pub(crate) wall: fn() -> WallTime,
    pub(crate) random_uid: fn() -> ResourceUid,
}

impl Environment {
    pub(crate) fn real() -> Self {
        Environment { wall: wall_now, random_uid: || ResourceUid(uuid::Uuid::new_v4().as_u128()) }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one place where a participant reads the wall clock"
)]
fn wall_now() -> WallTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    WallTime(since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}
