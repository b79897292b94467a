//! Phase two of one resource: what was pushed, in two lanes, each worked off in batches.
//!
//! ```text
//! Work ──route──▶ commits ─▶ batch of up to 256 ─▶ participant ─▶ results
//!            └──▶ others  ─▶ batch of up to 256 ─▶ participant ─▶ results
//! ```
//!
//! Commits have a lane of their own: a rollback may wait for rows that somebody holds, and the
//! commits behind it must not. Work is a hint that the coordinator repeats, so whatever goes wrong
//! here (a panic, a batch that hangs, a lost stream) costs a repetition and nothing else.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use pactum_proto::v1::client_frame::Frame as Request;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::link::Link;
use super::outbox::Urgency;
use super::{Participant, wire};
use crate::branch::{Answer, BranchKey, Task, Work};

/// The most work in one call of a participant: 256 rows fill a statement.
const BATCH_MAX: usize = 256;
/// How long one call of a participant may take. 30 s: longer than any lock wait it should start.
const BATCH_WAIT_MAX: Duration = Duration::from_secs(30);

/// The two lanes of a resource.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    commits: Arc<Lane>,
    others: Arc<Lane>,
}

impl Lanes {
    pub(super) fn push(&self, link: &Arc<Link>, work: Work) {
        let lane = match work.task {
            Task::Commit => &self.commits,
            Task::Rollback { .. } | Task::AskPhaseOne => &self.others,
        };
        lane.push(Queued { link: Arc::clone(link), work });
    }

    /// The work of both lanes, until `stop`; a batch under way is finished first.
    pub(super) fn workers(
        &self,
        participant: &Arc<dyn Participant>,
        stop: &CancellationToken,
    ) -> [impl Future<Output = ()> + Send + 'static; 2] {
        [&self.commits, &self.others].map(|lane| {
            let (lane, participant) = (Arc::clone(lane), Arc::clone(participant));
            let stop = stop.clone();
            async move {
                while let Some(batch) = stop.run_until_cancelled(lane.next_batch()).await {
                    finish(batch, &*participant).await;
                }
            }
        })
    }
}

#[derive(Debug, Default)]
struct Lane {
    queue: Mutex<Queue>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<BranchKey>,
    /// One task a branch, so that no batch names a branch twice.
    queued: HashMap<BranchKey, Queued>,
}

/// A piece of work, with the credit that it uses up. Dropped, answered or not, it gives that back:
/// what a replaced attachment leaves behind must not stop the stream's work for good.
#[derive(Debug)]
struct Queued {
    link: Arc<Link>,
    work: Work,
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.link.work_finished(1);
    }
}

impl Lane {
    fn push(&self, new: Queued) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let key = new.work.key.clone();
        match queue.queued.get_mut(&key) {
            None => {
                queue.queued.insert(key.clone(), new);
                queue.order.push_back(key);
            }
            // A repetition. Once a rollback is decided nobody needs to know how phase one ended.
            Some(old) => {
                let keep = matches!(old.work.task, Task::Rollback { .. })
                    && new.work.task == Task::AskPhaseOne
                    && !old.link.is_ended();
                if !keep {
                    *old = new;
                }
            }
        }
        drop(queue);
        self.ready.notify_one();
    }

    async fn next_batch(&self) -> Vec<Queued> {
        loop {
            let batch = self.take();
            if !batch.is_empty() {
                return batch;
            }
            self.ready.notified().await;
        }
    }

    fn take(&self) -> Vec<Queued> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Vec::new();
        while batch.len() < BATCH_MAX
            && let Some(key) = queue.order.pop_front()
        {
            // What a lost stream pushed, its coordinator pushes again on the next.
            let queued = queue.queued.remove(&key).filter(|queued| !queued.link.is_ended());
            batch.extend(queued);
        }
        batch
    }
}

/// Does a batch and sends what came of it. A dropped future sends nothing: the coordinator asks
/// again.
async fn finish(batch: Vec<Queued>, participant: &dyn Participant) {
    let work: Vec<Work> = batch.iter().map(|queued| queued.work.clone()).collect();
    let call = AssertUnwindSafe(participant.work(work)).catch_unwind();
    let (answers, otherwise) = match timeout(BATCH_WAIT_MAX, call).await {
        Ok(Ok(answers)) => (answers, "the participant left it out"),
        Ok(Err(_panic)) => {
            tracing::error!(branches = batch.len(), "a participant panicked in phase two");
            (Vec::new(), "the participant panicked")
        }
        Err(_elapsed) => {
            tracing::warn!(branches = batch.len(), "a participant took too long in phase two");
            (Vec::new(), "the participant took too long")
        }
    };
    let mut answers: HashMap<BranchKey, Answer> = answers.into_iter().collect();
    for queued in batch {
        let Queued { link, work } = &queued;
        let answer = answers
            .remove(&work.key)
            .unwrap_or_else(|| Answer::Later { after: None, reason: otherwise.to_owned() });
        if let Answer::Parked(report) = &answer {
            tracing::error!(
                txn.xid = %work.key.xid, txn.branch_id = %work.key.branch, reason = %report.message,
                "a branch is parked: a person must look"
            );
        }
        link.send(Urgency::Decision, Request::WorkResult(wire::work_result(work, answer)));
    }
}
