//! What was pushed for one resource, in lanes.
//!
//! ```text
//! Work ──route──▶ commits ─▶ one batch of up to 256 at a time ─▶ participant ─▶ results
//!            ├──▶ actions ─┐
//!            └──▶ others  ─┴▶ one by one, a few side by side  ─▶ participant ─▶ a result each
//! ```
//!
//! Commits have a lane of their own: a rollback may wait for rows that somebody holds, and the
//! commits behind it must not. So have the actions of declared sagas, which may take as long as they
//! like: nothing that is decided waits for them. What queues while a batch is under way is the next batch, so nothing
//! waits when it is idle. A rollback is answered as soon as it is done, and a slow one holds up only
//! what finds no place beside it; the coordinator sends the branches of one transaction and resource
//! one after the other, so what runs side by side belongs together nowhere.
//!
//! Work is a hint that the coordinator repeats, so whatever goes wrong here (a panic, work that hangs,
//! a lost stream) costs a repetition and nothing else. Easy to get wrong: the repetition of what is
//! still under way. It is not begun again, but it tells on which stream to answer.

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
use crate::branch::{Answer, BranchKey, StepAnswer, Task, Work};

/// The most commits in one call of a participant: 256 rows fill a statement.
const BATCH_MAX: usize = 256;
/// How long one batch of commits may take. 30 s: it is one statement, which waits for no rows.
const BATCH_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a rollback may take. 10 min: many times what the largest undo log needs, row by row on a
/// slow disk. What it waits for is bounded by the database's own lock timeouts, long before.
const ROLLBACK_WAIT_MAX: Duration = Duration::from_secs(600);
/// How much longer than the coordinator waits for an action it is left to the participant to end it.
/// 5 s: nobody hears it any more, and a local transaction under way may as well end in good order.
const ACTION_GRACE: Duration = Duration::from_secs(5);
/// From this attempt on, work that cannot be done yet is told aloud. 4: by then some ten seconds
/// have passed, and it is not a passing lock.
const ATTEMPTS_IN_SILENCE: u32 = 3;

/// The lanes of a resource.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    commits: Arc<Lane>,
    actions: Arc<Lane>,
    others: Arc<Lane>,
}

impl Lanes {
    pub(super) fn push(&self, link: &Arc<Link>, work: Work) {
        let lane = match work.task {
            Task::Commit => &self.commits,
            Task::Act => &self.actions,
            Task::Rollback { .. } | Task::AskPhaseOne | Task::CanCommit => &self.others,
        };
        lane.push(Queued { link: Arc::clone(link), work });
    }

    /// The work of all lanes, until `stop`; what is under way is finished first.
    pub(super) fn workers(
        &self,
        participant: &Arc<dyn Participant>,
        stop: &CancellationToken,
    ) -> Vec<futures_util::future::BoxFuture<'static, ()>> {
        let (lane, by) = (Arc::clone(&self.commits), Arc::clone(participant));
        let stopped = stop.clone();
        let commits = async move {
            while let Some(batch) = stopped.run_until_cancelled(lane.next(BATCH_MAX)).await {
                commit(&lane, batch, &*by).await;
            }
        };
        let mut workers = vec![commits.boxed()];
        let places = [
            (&self.actions, participant.actions_at_once()),
            (&self.others, participant.rollbacks_at_once()),
        ];
        for (lane, at_once) in places {
            for _ in 0..at_once {
                let (lane, by) = (Arc::clone(lane), Arc::clone(participant));
                let stopped = stop.clone();
                let worker = async move {
                    while let Some(one) = stopped.run_until_cancelled(lane.next(1)).await {
                        for work in one {
                            settle(&lane, work, &*by).await;
                        }
                    }
                };
                workers.push(worker.boxed());
            }
        }
        workers
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
    /// What the participant has, and on which stream to answer.
    under_way: HashMap<BranchKey, Queued>,
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

impl Queued {
    /// Whether its answer is the answer to `other` too. Attempts of an action differ in nothing else.
    fn answers(&self, other: &Work) -> bool {
        let Work { key, store, task, attempt: _, mode: _, action: _, resolution, step: _ } =
            &self.work;
        (key, store, task, resolution) == (&other.key, &other.store, &other.task, &other.resolution)
    }
}

impl Lane {
    fn push(&self, new: Queued) {
        let mut queue = self.lock();
        let key = new.work.key.clone();
        if let Some(running) = queue.under_way.get_mut(&key)
            && running.answers(&new.work)
        {
            *running = new;
            return;
        }
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

    /// The next work, at most `most` pieces, which count as under way until [`Lane::finished`].
    async fn next(&self, most: usize) -> Vec<Work> {
        loop {
            let taken = self.take(most);
            if !taken.is_empty() {
                return taken;
            }
            self.ready.notified().await;
        }
    }

    fn take(&self, most: usize) -> Vec<Work> {
        let mut queue = self.lock();
        let mut taken = Vec::new();
        let mut place = 0;
        while taken.len() < most
            && let Some(key) = queue.order.get(place)
        {
            // Another task of the same branch: it comes when the first is finished.
            if queue.under_way.contains_key(key) {
                place += 1;
                continue;
            }
            let Some(key) = queue.order.remove(place) else { break };
            // What a lost stream pushed, its coordinator pushes again on the next.
            let queued = queue.queued.remove(&key).filter(|queued| !queued.link.is_ended());
            if let Some(queued) = queued {
                taken.push(queued.work.clone());
                queue.under_way.insert(key, queued);
            }
        }
        let more = queue.order.len() > place;
        drop(queue);
        if more && !taken.is_empty() {
            // Several pushes may have woken one worker only.
            self.ready.notify_one();
        }
        taken
    }

    /// Takes work back from the participant, as it was last pushed.
    fn finished(&self, key: &BranchKey) -> Option<Queued> {
        self.lock().under_way.remove(key)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does a batch of commits and sends what came of it. A dropped future sends nothing: the coordinator
/// asks again.
async fn commit(lane: &Lane, batch: Vec<Work>, participant: &dyn Participant) {
    let keys: Vec<BranchKey> = batch.iter().map(|work| work.key.clone()).collect();
    let done = bounded(BATCH_WAIT_MAX, participant.commit(batch)).await;
    let (answers, otherwise) = match done {
        Ok(answers) => (answers, "the participant left it out"),
        Err(why) => (Vec::new(), why),
    };
    let mut answers: HashMap<BranchKey, Answer> = answers.into_iter().collect();
    for key in keys {
        let answer = answers.remove(&key).unwrap_or_else(|| not_now(otherwise));
        tell(lane.finished(&key), answer);
    }
}

/// Does one piece of work and sends what came of it.
async fn settle(lane: &Lane, work: Work, participant: &dyn Participant) {
    let (key, task) = (work.key.clone(), work.task);
    let wait_max = match task {
        Task::Act => work.time_left() + ACTION_GRACE,
        Task::Commit | Task::Rollback { .. } | Task::AskPhaseOne | Task::CanCommit => {
            ROLLBACK_WAIT_MAX
        }
    };
    let answer = bounded(wait_max, participant.settle(work)).await;
    let answer = answer.unwrap_or_else(|why| match task {
        // *Later* would say that nothing of it is left.
        Task::Act => Answer::Step(StepAnswer::Unknown(why.to_owned())),
        Task::Commit | Task::Rollback { .. } | Task::AskPhaseOne | Task::CanCommit => not_now(why),
    });
    tell(lane.finished(&key), answer);
}

/// What a participant says, or why it says nothing.
async fn bounded<T>(wait_max: Duration, call: impl Future<Output = T>) -> Result<T, &'static str> {
    match timeout(wait_max, AssertUnwindSafe(call).catch_unwind()).await {
        Ok(Ok(said)) => Ok(said),
        Ok(Err(_panic)) => {
            tracing::error!("a participant panicked in phase two");
            Err("the participant panicked")
        }
        Err(_elapsed) => {
            tracing::warn!(?wait_max, "a participant took too long in phase two");
            Err("the participant took too long")
        }
    }
}

fn not_now(reason: &str) -> Answer {
    Answer::Later { after: None, reason: reason.to_owned() }
}

fn tell(queued: Option<Queued>, answer: Answer) {
    let Some(Queued { link, work }) = queued.as_ref() else { return };
    log(work, &answer);
    link.send(Urgency::Decision, Request::WorkResult(wire::work_result(work, answer)));
}

fn log(work: &Work, answer: &Answer) {
    let Work { key: BranchKey { xid, branch }, attempt, .. } = work;
    match answer {
        Answer::Done | Answer::Failed | Answer::Step(_) => {
            tracing::debug!(txn.xid = %xid, txn.branch_id = %branch, txn.attempt = attempt,
                "branch settled");
        }
        Answer::Later { after: _, reason } if *attempt <= ATTEMPTS_IN_SILENCE => {
            tracing::debug!(txn.xid = %xid, txn.branch_id = %branch, txn.attempt = attempt, reason,
                "branch not settled yet");
        }
        Answer::Later { after: _, reason } => {
            tracing::warn!(txn.xid = %xid, txn.branch_id = %branch, txn.attempt = attempt, reason,
                "branch still not settled: its transaction stays unfinished, and a rollback's locks \
                 taken, until it is");
        }
        Answer::Parked(report) => {
            tracing::error!(txn.xid = %xid, txn.branch_id = %branch, reason = %report.message,
                "a branch is parked: a person must look");
        }
    }
}
