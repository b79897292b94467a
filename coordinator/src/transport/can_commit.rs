//! *Can this commit?*: asked of participants for a transaction manager, before anything is tried.
//!
//! ```text
//! TM ─ CanCommit ─▶ one session of each resource, the next if it has no answer ─▶ yes | no | unknown
//! ```
//!
//! It is advice, so it lives here and the group never hears of it: nothing is stored, no transaction
//! is looked at, and silence is not a *no*. What it promises is worth nothing a moment later; only
//! phase one reserves.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use pactum_core::id::XidNumber;
use pactum_proto::convert::{CanCommit, Question, Said};
use pactum_proto::v1::{self, opinion::Opinion};
use tokio::time::{Instant, sleep_until};

use super::Context;
use crate::engine::Leading;

/// How long all questions of a request wait together. 2 s: the caller has a transaction's time to
/// spend, and one who hesitates that long is of no help to it.
const CAN_COMMIT_WAIT_MAX: Duration = Duration::from_secs(2);

impl Context {
    /// Asks all at once. The first *no* is the answer; without one, what nobody could say.
    ///
    /// # Cancel safety
    /// Dropped, nobody waits any more; participants may still answer into the void.
    pub(super) async fn can_commit(&self, leading: &Leading, asked: &CanCommit) -> v1::Opinion {
        let until = Instant::now() + CAN_COMMIT_WAIT_MAX;
        let ask = |question| async move {
            (question, self.ask_participants(leading, asked.xid, question, until).await)
        };
        let mut answers: FuturesUnordered<_> = asked.questions.iter().map(ask).collect();
        let mut opinion = Opinion::Yes(v1::Yes {});
        while let Some((question, said)) = answers.next().await {
            let (resource_id, action) = of(question);
            match said {
                Said::Yes => {}
                Said::No(reason) => {
                    opinion = Opinion::No(v1::No { resource_id, action, reason });
                    break;
                }
                Said::Nothing(reason) => {
                    opinion = Opinion::Unknown(v1::Unknown { resource_id, action, reason });
                }
            }
        }
        v1::Opinion { opinion: Some(opinion) }
    }

    /// Asks the sessions of the resource one after the other, until one has an answer.
    async fn ask_participants(
        &self,
        leading: &Leading,
        xid: XidNumber,
        question: &Question,
        until: Instant,
    ) -> Said {
        let work_queued_max = self.options.session.work_queued_max;
        let mut said = nothing("no session has attached the resource");
        for link in self.engine.links.who_works_on(&question.resource) {
            let mut asked = self.engine.questions.open(link.id());
            let work = leading.identity.question(xid, asked.number(), question);
            if !link.push_question(work, work_queued_max) {
                said = nothing("the resource's sessions have too much work queued");
                continue;
            }
            said = tokio::select! {
                said = asked.said() => said,
                () = link.ending().cancelled() => nothing("the session ended before it answered"),
                () = sleep_until(until) => return nothing("no session answered in time"),
            };
            match &said {
                Said::Yes | Said::No(_) => break,
                Said::Nothing(_) => {}
            }
        }
        said
    }
}

fn nothing(reason: &str) -> Said {
    Said::Nothing(reason.to_owned())
}

fn of(question: &Question) -> (String, String) {
    (question.resource.as_str().to_owned(), question.action_name().to_owned())
}
