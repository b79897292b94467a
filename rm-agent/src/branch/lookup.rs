//! Looking for what became of a commit or a prepare that did not say so: again and again, on another
//! connection, until somebody knows or the time is up.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use super::BranchKey;

/// How long to look, at most. 10 s: longer than the local lock wait, so that one slow session does not
/// decide.
pub(crate) const LOOKUP_WAIT_MAX: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOKUP_PAUSE: Duration = Duration::from_millis(100);

/// What `look` finds before `until`; `None` if it finds nothing. A look that fails is repeated, and one
/// that is under way when the time is up is dropped.
pub(crate) async fn look_until<F, T, E>(
    until: Instant,
    key: &BranchKey,
    mut look: impl FnMut() -> F,
) -> Option<T>
where
    F: Future<Output = Result<T, E>>,
    E: Display,
{
    loop {
        match timeout_at(until, look()).await {
            Ok(Ok(found)) => return Some(found),
            Ok(Err(why)) => {
                debug!(txn.xid = %key.xid, txn.branch_id = %key.branch, error = %why,
                    "outcome of a branch not found yet");
            }
            Err(_) => return None,
        }
        if Instant::now() + LOOKUP_PAUSE >= until {
            return None;
        }
        sleep(LOOKUP_PAUSE).await;
    }
}
