//! How a service tells the story what it is about to do, or has done.
//!
//! Without a listener nothing is told and nothing waits. With one, the service waits for the answer
//! before it goes on: so what is told comes in the order in which it happened, over all processes,
//! and the story can hold a step for as long as it needs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::order::{BranchMode, Holding, Leg};

/// How long a listener may hold a step before the service goes on by itself.
const HOLD_MAX: Duration = Duration::from_secs(60);

/// One step of one transfer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    /// The order's id.
    pub(crate) transfer: String,
    pub(crate) xid: String,
    pub(crate) step: Step,
}

/// The steps that the services see; the other two of the eight are seen at the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// The coordinator gave the XID.
    Begun,
    /// A bank is about to be called.
    Calls(Leg),
    /// The bank's statements ran, inside its local transaction.
    Worked { leg: Leg, mode: BranchMode, holding: Holding },
    /// The bank's statements found an account short; its local transaction rolls back.
    Refused { leg: Leg, mode: BranchMode },
    /// The branch is registered, and the local transaction is committed; in XA mode, prepared.
    CommittedLocally(Leg),
    /// The bank's answer is back, with the finished branch in a header.
    Answered(Leg),
    /// The end is about to be asked for.
    Asks(End),
    /// The coordinator has answered.
    Decided(End),
    /// A bank's own phase two ran, inside a local transaction.
    Settled { leg: Leg, how: Settling, holding: Holding },
}

/// What a bank itself does in phase two. In the other modes the agent does it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Settling {
    /// TCC.
    Confirm,
    /// TCC.
    Cancel,
    /// Saga.
    Compensation,
}

/// The two ends of a global transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    Commit,
    Rollback,
}

/// The way to the listener, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Teller(Option<(reqwest::Client, String)>);

impl Teller {
    pub(crate) fn new(listener: Option<String>) -> Self {
        Teller(listener.map(|url| (reqwest::Client::new(), url)))
    }

    /// Whether anybody listens.
    pub(crate) fn is_heard(&self) -> bool {
        self.0.is_some()
    }

    /// Tells one step, and waits until the listener lets it go on. A listener that fails is no
    /// reason to stop.
    pub(crate) async fn tell(&self, transfer: &str, xid: &str, step: impl FnOnce() -> Step) {
        let Some((client, url)) = &self.0 else { return };
        let told = Told { transfer: transfer.to_owned(), xid: xid.to_owned(), step: step() };
        if let Err(error) = client.post(url).json(&told).timeout(HOLD_MAX).send().await {
            tracing::warn!(%error, "the story was not told");
        }
    }
}
