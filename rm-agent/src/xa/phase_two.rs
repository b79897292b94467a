//! Phase two of XA: the coordinator's decision, done to a prepared transaction.
//!
//! Any agent that is attached to the database does it, whoever prepared the branch. A branch that
//! somebody else finished otherwise is parked as heuristic: nothing here can cure it, and it is never
//! called success. An operator who has put the rows right resolves it with `keep`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use pactum_core::transaction::Resolution;
use pactum_core::xa::{Asked, Heuristic, Seen};
use pactum_proto::v1::{ParkReason, ParkReport};
use tracing::warn;

use super::name::Name;
use super::prepared::{Prepared, Settled, Unsettled};
use crate::branch::{Answer, BranchKey, Task, Work};
use crate::db::Failure;
use crate::session::Participant;

/// Commits side by side: each is a statement of its own, with an fsync that they may share. 4: what
/// the agent's own connections leave beside rollbacks.
const COMMITS_AT_ONCE: usize = 4;
const ROLLBACKS_AT_ONCE: usize = 2;
/// What phase two needs: a connection for each of these, one for the janitor, and one to look up what
/// became of a prepare.
pub(super) const CONNECTIONS: u32 = 8;
/// When to come again to a branch that somebody else keeps. 100 ms: about what closing a connection
/// takes where it takes long.
const KEPT_PAUSE: Duration = Duration::from_millis(100);

/// A database in XA mode, as the session calls it.
pub(crate) struct XaParticipant {
    pub(super) prepared: Arc<Prepared>,
}

/// Dropped at an await, a statement under way takes effect or not, and the work is asked for again.
#[async_trait]
impl Participant for XaParticipant {
    fn rollbacks_at_once(&self) -> usize {
        ROLLBACKS_AT_ONCE
    }

    async fn commit(&self, batch: Vec<Work>) -> Vec<(BranchKey, Answer)> {
        let one = async |work: Work| {
            let answer = self.one(&work).await;
            (work.key, answer)
        };
        futures_util::stream::iter(batch).map(one).buffer_unordered(COMMITS_AT_ONCE).collect().await
    }

    async fn settle(&self, work: Work) -> Answer {
        self.one(&work).await
    }
}

impl XaParticipant {
    async fn one(&self, work: &Work) -> Answer {
        let asked = match work.task {
            Task::Commit => Asked::Commit,
            Task::Rollback { phase_one_done: _ } => Asked::Rollback,
            Task::AskPhaseOne => Asked::PhaseOne,
            // Nothing is known here that a branch would not learn by itself.
            Task::CanCommit => return Answer::Done,
            Task::Act => unreachable!("the session gives actions to saga mode alone"),
        };
        let name = Name { key: work.key.clone(), store: work.store, database: self.prepared.mark };
        let answered = match (work.resolution, asked) {
            (Some(Resolution::Keep), Asked::Commit | Asked::Rollback) => {
                self.keep(asked, &name).await
            }
            (Some(Resolution::Keep), Asked::PhaseOne)
            | (None | Some(Resolution::Retry | Resolution::Restore), _) => {
                self.prepared.settle(asked, &name).await
            }
        };
        match answered {
            Ok(Settled::Done) => Answer::Done,
            Ok(Settled::Failed) => Answer::Failed,
            Ok(Settled::Heuristic(how)) => heuristic(how, &name),
            Err(Unsettled::Tampered(what)) => {
                parked(ParkReason::EvidenceTampered, format!("its barrier row {what}"))
            }
            Err(error @ Unsettled::Kept) => {
                Answer::Later { after: Some(KEPT_PAUSE), reason: error.to_string() }
            }
            Err(Unsettled::Db(error)) => Answer::Later {
                after: (error.failure == Failure::Busy).then_some(KEPT_PAUSE),
                reason: error.chain(),
            },
        }
    }

    /// An operator decided that a branch which is finished already stays as it is. One that is still
    /// prepared is finished as was decided.
    async fn keep(&self, asked: Asked, name: &Name) -> Result<Settled, Unsettled> {
        match self.prepared.look(name).await {
            Ok(Seen::Listed) => self.prepared.settle(asked, name).await,
            Ok(Seen::Nothing | Seen::Committed | Seen::Buried) | Err(Unsettled::Tampered(_)) => {
                warn!(txn.xid = %name.key.xid, txn.branch_id = %name.key.branch,
                    "a branch stays as somebody finished it: an operator decided so");
                Ok(Settled::Done)
            }
            Err(error) => Err(error),
        }
    }
}

fn heuristic(how: Heuristic, name: &Name) -> Answer {
    let (branch, decided, done) = match how {
        Heuristic::RolledBack => (name.key.branch, "commit", "rolled back, or lost"),
        Heuristic::Committed => (name.key.branch, "roll back", "committed"),
    };
    let message = format!(
        "it was decided to {decided} branch {branch}, and its prepared transaction was {done} by \
         somebody else: put the rows right by hand, and resolve it with `keep`"
    );
    parked(ParkReason::Heuristic, message)
}

fn parked(reason: ParkReason, message: String) -> Answer {
    Answer::Parked(ParkReport {
        reason: reason.into(),
        message,
        rows: Vec::new(),
        rows_left_out: 0,
    })
}
