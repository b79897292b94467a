//! The end of an answer whose beginning is sent: its trailers, an error, or that nobody reads it.
//!
//! A trailer that is a veto is held back until the coordinator has been told.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};

use super::headers::answer;
use super::rules::VetoRules;
use crate::context::TransactionContext;
use crate::session::Session;

/// What it takes to judge the end of an answer.
pub(super) struct Judge {
    unanswered: Unanswered,
    rules: VetoRules,
    /// How many branches the response headers named.
    told: usize,
    /// Whether the coordinator was told of a veto before the headers were sent, or is told of one now.
    vetoed: bool,
    /// A veto under way; the trailers wait for it.
    veto: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    trailers: Option<HeaderMap>,
}

impl Judge {
    pub(super) fn new(unanswered: Unanswered, rules: VetoRules, told: usize, vetoed: bool) -> Self {
        Judge { unanswered, rules, told, vetoed, veto: None, trailers: None }
    }

    pub(super) fn holds_trailers(&self) -> bool {
        self.trailers.is_some()
    }

    /// The next frame of the service's body, which still runs inside the transaction.
    pub(super) fn poll_frame<B>(
        &mut self,
        body: &mut B,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if self.trailers.is_none() {
            let poll = || Pin::new(body).poll_frame(cx);
            let frame = ready!(self.unanswered.context.clone().sync_scope(poll));
            let trailers = match frame.map(|frame| frame.map(Frame::into_trailers)) {
                Some(Ok(Ok(trailers))) => trailers,
                Some(Ok(Err(frame))) => return Poll::Ready(Some(Ok(frame))),
                Some(Err(error)) => {
                    // In the background, since the caller sees its stream break at any moment.
                    self.unanswered.veto("the body of the answer failed");
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    // There are no trailers to hold back for it.
                    match self.unanswered.context.veto().filter(|_| !self.vetoed) {
                        Some(reason) => self.unanswered.veto(&reason),
                        None => self.unanswered.settle(),
                    }
                    self.vetoed = true;
                    return Poll::Ready(None);
                }
            };
            self.veto = self.judge(&trailers);
            self.trailers = Some(trailers);
        }
        if let Some(veto) = &mut self.veto {
            ready!(veto.as_mut().poll(cx));
            self.veto = None;
        }
        self.unanswered.settle();
        let mut trailers = self.trailers.take().expect("set above, or on an earlier poll");
        answer(&self.unanswered.context, self.told, &mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn judge(&self, trailers: &HeaderMap) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        if self.vetoed {
            return None;
        }
        let Unanswered { session, context, .. } = &self.unanswered;
        let reason = self.rules.judge_grpc(trailers).or_else(|| context.veto())?;
        let (session, context) = (session.clone(), context.clone());
        Some(Box::pin(async move { session.veto(&context, &reason).await }))
    }
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Judge").field("unanswered", &self.unanswered).finish_non_exhaustive()
    }
}

/// A request whose answer has not come to its end. Dropped so, its caller has hung up in the middle
/// of the work: nobody will ever know which half of it was done, so none of it may be committed.
#[derive(Debug)]
pub(super) struct Unanswered {
    session: Session,
    context: TransactionContext,
    settled: bool,
}

impl Unanswered {
    pub(super) fn new(session: Session, context: TransactionContext) -> Self {
        Unanswered { session, context, settled: false }
    }

    /// The answer is as good as given.
    pub(super) fn settle(&mut self) {
        self.settled = true;
    }

    fn veto(&mut self, reason: &str) {
        self.settled = true;
        let (session, context) = (self.session.clone(), self.context.clone());
        let reason = reason.to_owned();
        self.session.spawn("veto", async move { session.veto(&context, &reason).await });
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if !self.settled {
            self.veto("the request was dropped half-way");
        }
    }
}
