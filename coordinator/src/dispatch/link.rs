//! One attachment's buffers, between the group task and its connection.
//!
//! Work is a task of the group's, or a question that a transaction manager asks through the edge.
//!
//! ```text
//! reader ──admit──▶ requests under way (at most the window)
//! group task ──deliver, push_work──▶ answers, work ──take──▶ the connection
//! reader ──grant──▶ credits: how much of the work may be taken
//! ```
//!
//! Neither side ever waits for the other. Answers are bounded by the window plus what one-way frames
//! can cause; who lets them pile up is closed, because somebody who does not read cannot be told.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use futures_util::task::AtomicWaker;
use pactum_core::id::{BranchId, ResourceId, SessionId, XidNumber};
use pactum_core::step::{Reply, Task, TaskKind};
use pactum_proto::convert::Identity;
use pactum_proto::{convert, v1};
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The correlation under which a session's opening is answered; clients use the lower half.
pub(crate) const WELCOME: u64 = 1 << 63;
/// How many questions about phase one a session may owe answers to. Beyond that all are forgotten;
/// the group asks again.
const ASKED_MAX: usize = 65_536;

/// Something for the client.
#[derive(Debug)]
pub(crate) enum Out {
    /// The group's answer.
    Reply { correlation: u64, reply: Reply },
    /// A refusal of the edge.
    Error { correlation: u64, error: Box<v1::Error> },
    /// What participants said to a question.
    Opinion { correlation: u64, opinion: Box<v1::Opinion> },
    /// The answer to a ping.
    Pong { correlation: u64 },
    /// Are you there?
    Ping,
    /// We are draining.
    Goodbye,
}

impl Out {
    /// The request that this answers, if any.
    fn answers(&self) -> Option<u64> {
        match self {
            Out::Reply { correlation, .. }
            | Out::Error { correlation, .. }
            | Out::Opinion { correlation, .. } => Some(*correlation),
            Out::Pong { .. } | Out::Ping | Out::Goodbye => None,
        }
    }
}

/// A piece of work for a participant.
#[derive(Debug)]
pub(crate) enum Work {
    /// The group wants it done.
    Task(Task, ResourceId),
    /// A transaction manager wants to know.
    Question(Box<v1::Work>),
}

impl Work {
    /// As the participant gets it.
    pub(crate) fn into_wire(self, identity: &Identity) -> v1::Work {
        match self {
            Work::Task(task, resource) => identity.work(&task, &resource),
            Work::Question(work) => *work,
        }
    }

    fn payload_bytes(&self) -> usize {
        match self {
            Work::Task(task, _) => {
                let payload = task.action.as_ref().map_or(0, |action| action.payload.len());
                payload + task.result.as_ref().map_or(0, |result| result.len())
            }
            Work::Question(work) => work.payload.len(),
        }
    }
}

/// Why an attachment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client left, or its stream broke.
    Gone,
    /// The group was loaded anew, or the coordinator stops: attach again.
    Reattach,
    /// The client broke the protocol; it was told how.
    Refused,
    /// The client did not take its answers.
    Overflow,
    /// Nothing was heard of the client for too long.
    Silent,
}

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// The window is full.
    Window,
    /// A request with this correlation is under way.
    Repeated,
}

/// What a connection takes at a time.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Something; the buffers that were handed in hold it.
    Some,
    /// Nothing yet.
    Nothing,
    /// Nothing, and nothing will come.
    Ended(End),
}

/// The buffers of one attachment.
#[derive(Debug)]
pub(crate) struct SessionLink {
    id: SessionId,
    window: usize,
    outbox: Mutex<Outbox>,
    work_queued: AtomicUsize,
    stream: AtomicWaker,
    poll: Notify,
    ending: CancellationToken,
}

#[derive(Debug, Default)]
struct Outbox {
    answers: VecDeque<Out>,
    work: VecDeque<Work>,
    credits: usize,
    under_way: FxHashSet<u64>,
    asked: FxHashMap<(XidNumber, BranchId), ResourceId>,
    end: Option<End>,
}

impl SessionLink {
    pub(super) fn new(id: SessionId, request_window: u32) -> Self {
        SessionLink {
            id,
            window: usize::try_from(request_window).unwrap_or(usize::MAX),
            outbox: Mutex::default(),
            work_queued: AtomicUsize::new(0),
            stream: AtomicWaker::new(),
            poll: Notify::new(),
            ending: CancellationToken::new(),
        }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// Admits requests by their correlations, and says which it does not.
    pub(crate) fn admit(&self, correlations: impl Iterator<Item = u64>) -> Vec<(u64, Excess)> {
        let mut excess = Vec::new();
        let mut outbox = self.lock();
        for correlation in correlations {
            if outbox.under_way.len() >= self.window {
                excess.push((correlation, Excess::Window));
            } else if !outbox.under_way.insert(correlation) {
                excess.push((correlation, Excess::Repeated));
            }
        }
        excess
    }

    /// The client does not wait for this answer any more.
    pub(crate) fn cancel(&self, correlation: u64) {
        self.lock().under_way.remove(&correlation);
    }

    /// How many requests are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.lock().under_way.len()
    }

    /// Takes all of `outs`. `false` if the client lets too many answers pile up: then it is closed.
    pub(crate) fn deliver(&self, outs: &mut Vec<Out>, answers_queued_max: usize) -> bool {
        if !outs.is_empty() {
            let mut outbox = self.lock();
            if outbox.end.is_some() {
                outs.clear();
                return true;
            }
            outbox.answers.extend(outs.drain(..));
            if outbox.answers.len() > answers_queued_max {
                outbox.answers.clear();
                drop(outbox);
                self.end(End::Overflow);
                return false;
            }
        }
        self.wake();
        true
    }

    /// Takes all of `work`; it leaves as the client's credits allow.
    pub(crate) fn push_work(&self, work: &mut Vec<(Task, ResourceId)>) {
        let mut outbox = self.lock();
        if outbox.end.is_some() {
            work.clear();
            return;
        }
        outbox.work.extend(work.drain(..).map(|(task, resource)| Work::Task(task, resource)));
        self.work_queued.store(outbox.work.len(), Relaxed);
        drop(outbox);
        self.wake();
    }

    /// Takes a question, if there is room beside the work; it leaves as the client's credits allow.
    pub(crate) fn push_question(&self, question: v1::Work, work_queued_max: usize) -> bool {
        let mut outbox = self.lock();
        if outbox.end.is_some() || outbox.work.len() >= work_queued_max {
            return false;
        }
        outbox.work.push_back(Work::Question(Box::new(question)));
        self.work_queued.store(outbox.work.len(), Relaxed);
        drop(outbox);
        self.wake();
        true
    }

    /// How much work waits for credits or for the connection.
    pub(crate) fn work_queued(&self) -> usize {
        self.work_queued.load(Relaxed)
    }

    /// The client allows so much more work, up to `max` in all.
    pub(crate) fn grant(&self, credits: u32, max: usize) {
        let mut outbox = self.lock();
        let credits = usize::try_from(credits).unwrap_or(usize::MAX);
        outbox.credits = outbox.credits.saturating_add(credits).min(max);
        let idle = outbox.work.is_empty();
        drop(outbox);
        if !idle {
            self.wake();
        }
    }

    /// Takes up to `frames_max` answers and pieces of work, of these at most `bytes_max`.
    pub(crate) fn take(
        &self,
        answers: &mut Vec<Out>,
        work: &mut Vec<Work>,
        frames_max: usize,
        bytes_max: usize,
    ) -> Taken {
        let mut outbox = self.lock();
        let count = outbox.answers.len().min(frames_max);
        {
            let Outbox { answers: queued, under_way, .. } = &mut *outbox;
            answers.extend(queued.drain(..count).inspect(|out| {
                if let Some(correlation) = out.answers() {
                    under_way.remove(&correlation);
                }
            }));
        }
        let work_max = (frames_max - count).min(outbox.credits);
        let taken = self.take_work_from(&mut outbox, work, work_max, bytes_max);
        outbox.credits -= taken;
        if count + taken > 0 {
            return Taken::Some;
        }
        outbox.end.map_or(Taken::Nothing, Taken::Ended)
    }

    /// Takes up to `max` pieces of work, for a client that polls: its asking is its credit.
    pub(crate) fn take_work(&self, max: usize, bytes_max: usize) -> Vec<Work> {
        let mut work = Vec::new();
        let mut outbox = self.lock();
        self.take_work_from(&mut outbox, &mut work, max, bytes_max);
        if !outbox.work.is_empty() {
            // Another poll may be waiting beside this one.
            self.poll.notify_one();
        }
        work
    }

    fn take_work_from(
        &self,
        outbox: &mut Outbox,
        work: &mut Vec<Work>,
        max: usize,
        bytes_max: usize,
    ) -> usize {
        let (mut taken, mut bytes) = (0, 0);
        while taken < max
            && bytes < bytes_max
            && let Some(next) = outbox.work.pop_front()
        {
            bytes += next.payload_bytes();
            if let Work::Task(task, resource) = &next
                && task.kind == TaskKind::AskPhaseOne
            {
                if outbox.asked.len() >= ASKED_MAX {
                    outbox.asked.clear();
                }
                outbox.asked.insert((task.xid, task.branch), resource.clone());
            }
            work.push(next);
            taken += 1;
        }
        self.work_queued.store(outbox.work.len(), Relaxed);
        taken
    }

    /// The resource of a branch whose phase one this client was asked about, once.
    pub(crate) fn asked(&self, xid: XidNumber, branch: BranchId) -> Option<ResourceId> {
        self.lock().asked.remove(&(xid, branch))
    }

    /// Every request under way hears that its outcome is unknown.
    pub(crate) fn all_unknown(&self) {
        let mut outbox = self.lock();
        let Outbox { answers, work, under_way, .. } = &mut *outbox;
        // An answer that waits here was released: it is true, and it stays.
        for answered in answers.iter().filter_map(Out::answers) {
            under_way.remove(&answered);
        }
        for correlation in under_way.drain().filter(|correlation| *correlation < WELCOME) {
            let error = Box::new(convert::outcome_unknown());
            answers.push_back(Out::Error { correlation, error });
        }
        work.clear();
        self.work_queued.store(0, Relaxed);
    }

    /// Ends the attachment; what was delivered before still leaves. The first end counts.
    pub(crate) fn end(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.ending.cancel();
        self.wake();
        self.poll.notify_waiters();
    }

    /// Resolves when the attachment ends.
    pub(crate) fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    /// Registers the connection to be woken when there is something to take.
    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.stream.register(waker);
    }

    /// Resolves when there may be work to poll.
    pub(crate) fn work_notified(&self) -> tokio::sync::futures::Notified<'_> {
        self.poll.notified()
    }

    fn wake(&self) {
        self.stream.wake();
        self.poll.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Outbox> {
        self.outbox.lock().expect("nothing panics while it holds this lock")
    }
}
