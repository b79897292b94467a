//! One stream that is up, and the requests under way on it. It dies as a whole.
//!
//! A [`Link`] lives from its Welcome to the end of its stream; the session then makes another one.
//! So nothing here is ever carried over by accident: the answers that a lost stream owed, its
//! window and its credits go with it, and who still waits hears [`Lost`] and asks on the next.
//!
//! Easy to get wrong: a caller that stops waiting. Its `CancelWait` must not overtake the request it
//! cancels, and a claim that was granted in the same moment must be given back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pactum_core::id::StoreId;
use pactum_proto::v1::client_frame::Frame as Request;
use pactum_proto::v1::server_frame::Frame as Answer;
use pactum_proto::v1::{CancelWait, ClientFrame, Credit, ReleaseClaim};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use super::names::Names;
use super::outbox::{Outbox, Riding, Urgency};

/// How much work may be pushed at once. 4096: sixteen full batches of one resource.
const WORK_CREDIT: u32 = 4096;
/// Credit goes back in pieces of this size, so that it costs a frame for many pieces of work.
const WORK_CREDIT_STEP: u32 = 512;

/// The stream ended before the answer: it may have happened or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost;

/// An answer, and when the request that it answers was handed to the stream.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) frame: Answer,
    pub(super) asked_at: Instant,
}

#[derive(Debug)]
pub(super) struct Link {
    /// The store that this stream's coordinator speaks for.
    pub(super) store: StoreId,
    /// Numbers for transactions that this stream's coordinator gave.
    pub(super) names: Names,
    outbox: Arc<Outbox>,
    waiting: Mutex<Waiting>,
    correlation: AtomicU64,
    /// The window in two halves, so that commits never queue behind the begins and lock waits that
    /// they alone can end. (One half for both if the window is a single request.)
    decisions: Arc<Semaphore>,
    entries: Arc<Semaphore>,
    work_finished: AtomicU32,
}

#[derive(Debug, Default)]
struct Waiting {
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    ended: bool,
}

impl Link {
    pub(super) fn new(store: StoreId, window: u32, outbox: Arc<Outbox>, names: Names) -> Self {
        let window = usize::try_from(window).unwrap_or(Semaphore::MAX_PERMITS).max(1);
        let decisions = Arc::new(Semaphore::new(window.div_ceil(2)));
        let entries =
            if window == 1 { Arc::clone(&decisions) } else { Arc::new(Semaphore::new(window / 2)) };
        let link = Link {
            store,
            names,
            outbox,
            waiting: Mutex::default(),
            correlation: AtomicU64::new(1),
            decisions,
            entries,
            work_finished: AtomicU32::new(0),
        };
        link.send(Urgency::Decision, Request::Credit(Credit { work: WORK_CREDIT }));
        link
    }

    /// Sends a request and waits for its answer.
    ///
    /// If this future is dropped the coordinator is told that nobody waits; whether the request was
    /// carried out is then unknown.
    pub(super) async fn request(
        &self,
        urgency: Urgency,
        request: Request,
    ) -> Result<Answered, Lost> {
        let window = match urgency {
            Urgency::Decision => &self.decisions,
            Urgency::Entry => &self.entries,
        };
        // Declared before the wait, so dropped after it: the place in the window is free only once
        // the cancellation is queued.
        let _place = window.acquire().await.map_err(|_closed| Lost)?;
        let mut wait = self.expect_answer(urgency)?;
        let asked_at = Instant::now();
        let frame = ClientFrame { correlation: wait.correlation, frame: Some(request) };
        self.outbox.push(urgency, frame);
        let frame = (&mut wait.answer).await.map_err(|_dropped| Lost)?;
        Ok(Answered { frame, asked_at })
    }

    /// Sends a one-way frame.
    pub(super) fn send(&self, urgency: Urgency, frame: Request) {
        self.outbox.push(urgency, ClientFrame { correlation: 0, frame: Some(frame) });
    }

    /// Sends a one-way frame together with the next frame of any kind, and before it.
    pub(super) fn let_ride(&self, frame: Request) -> Riding {
        self.outbox.let_ride(ClientFrame { correlation: 0, frame: Some(frame) })
    }

    /// Sends a frame whose answer nobody waits for, under a correlation of its own.
    pub(super) fn ping(&self) {
        let correlation = self.correlation.fetch_add(1, Ordering::Relaxed);
        let frame = Some(Request::Ping(pactum_proto::v1::Ping {}));
        self.outbox.push(Urgency::Decision, ClientFrame { correlation, frame });
    }

    /// Hands an answer to the request that waits for it.
    pub(super) fn answer(&self, correlation: u64, answer: Answer) {
        let waiting = self.waiting().answers.remove(&correlation);
        let late = match waiting {
            Some(sender) => sender.send(answer).err(),
            None => Some(answer),
        };
        // Nobody waits any more; only a claim would leave something behind.
        if let Some(answer) = late {
            tracing::debug!(correlation, "an answer came after its caller had gone");
            self.give_back(answer);
        }
    }

    /// Notes that pushed work was answered, and grants the coordinator as much again.
    pub(super) fn work_finished(&self, count: u32) {
        let finished = self.work_finished.fetch_add(count, Ordering::Relaxed) + count;
        if finished >= WORK_CREDIT_STEP {
            let work = self.work_finished.swap(0, Ordering::Relaxed);
            self.send(Urgency::Decision, Request::Credit(Credit { work }));
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.waiting().ended
    }

    /// Takes no more frames; what is queued is still written and answered.
    pub(super) fn close(&self) {
        self.outbox.close();
    }

    /// The stream is gone: everyone who waits hears [`Lost`].
    pub(super) fn end(&self) {
        self.outbox.close();
        self.decisions.close();
        self.entries.close();
        let mut waiting = self.waiting();
        waiting.ended = true;
        waiting.answers.clear();
    }

    fn expect_answer(&self, urgency: Urgency) -> Result<Wait<'_>, Lost> {
        let correlation = self.correlation.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.waiting();
        if waiting.ended {
            return Err(Lost);
        }
        waiting.answers.insert(correlation, sender);
        drop(waiting);
        Ok(Wait { link: self, urgency, correlation, answer })
    }

    fn give_back(&self, answer: Answer) {
        if let Answer::ClaimGranted(claim_id) = answer
            && claim_id != 0
        {
            self.send(Urgency::Entry, Request::ReleaseClaim(ReleaseClaim { claim_id }));
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller that waits; dropped early, it cancels.
struct Wait<'a> {
    link: &'a Link,
    urgency: Urgency,
    correlation: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.link.waiting().answers.remove(&self.correlation).is_some() {
            // By the same queue as the request, so that it cannot arrive before it.
            let cancel = CancelWait { correlation: self.correlation };
            self.link.send(self.urgency, Request::CancelWait(cancel));
            return;
        }
        // Closed first, so that an answer on its way either is here now or goes back to its sender.
        self.answer.close();
        if let Ok(answer) = self.answer.try_recv() {
            self.link.give_back(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use pactum_proto::v1::ClaimRequest;

    use super::*;

    fn names() -> Names {
        Names::new("g".parse().unwrap(), std::time::Duration::ZERO)
    }

    /// Goal: the coordinator never sees a cancellation before its request; it would then wait for
    /// nobody. Method: a caller that leaves while its request is still queued.
    #[tokio::test]
    async fn a_cancellation_does_not_overtake_its_request() {
        let outbox = Arc::new(Outbox::default());
        let link = Link::new(StoreId(1), 8, Arc::clone(&outbox), names());
        let claim = Request::Claim(ClaimRequest::default());
        assert!(link.request(Urgency::Entry, claim.clone()).now_or_never().is_none());
        let frames = outbox.next_batch().await.unwrap().frames;
        let frames: Vec<_> = frames.into_iter().filter_map(|frame| frame.frame).collect();
        let credit = Request::Credit(Credit { work: WORK_CREDIT });
        let cancel = Request::CancelWait(CancelWait { correlation: 1 });
        assert_eq!(frames, [credit, claim, cancel]);
    }

    #[tokio::test]
    async fn whoever_waits_on_a_link_that_ends_hears_that_it_is_lost() {
        let link = Arc::new(Link::new(StoreId(1), 2, Arc::default(), names()));
        let ask = |link: &Arc<Link>| {
            let link = Arc::clone(link);
            let ids = Request::BranchIds(pactum_proto::v1::BranchIdsRequest {});
            tokio::spawn(async move { link.request(Urgency::Decision, ids).await })
        };
        // One is sent, the other waits for its place in the window.
        let waiting = [ask(&link), ask(&link)];
        tokio::task::yield_now().await;
        link.end();
        for asked in waiting {
            assert_eq!(asked.await.unwrap().unwrap_err(), Lost);
        }
        assert_eq!(ask(&link).await.unwrap().unwrap_err(), Lost);
    }
}
