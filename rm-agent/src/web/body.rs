//! The body of an answer that belongs to a global transaction.
//!
//! A gRPC answer says how it ended only in its trailers, after its body. So on the server's side the
//! body is judged to its end (`judge.rs`), and on the caller's side its trailers are absorbed like
//! the headers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::headers::absorb;
use super::judge::Judge;
use crate::context::TransactionContext;

/// A body that carries what a global transaction's answer has to tell.
#[derive(Debug)]
pub struct PropagatedBody<B>(Kind<B>);

#[derive(Debug)]
enum Kind<B> {
    /// An answer of our own.
    Text(Option<Bytes>),
    /// Not part of a global transaction.
    Plain(B),
    /// An answer to us: its trailers are absorbed.
    Absorbed(B, TransactionContext),
    /// An answer of ours: its trailers are judged.
    Judged(B, Box<Judge>),
}

impl<B> PropagatedBody<B> {
    pub(super) fn text(text: String) -> Self {
        PropagatedBody(Kind::Text(Some(text.into()).filter(|text: &Bytes| !text.is_empty())))
    }

    pub(super) fn plain(body: B) -> Self {
        PropagatedBody(Kind::Plain(body))
    }

    pub(super) fn absorbed(body: B, context: TransactionContext) -> Self {
        PropagatedBody(Kind::Absorbed(body, context))
    }

    pub(super) fn judged(body: B, judge: Judge) -> Self {
        PropagatedBody(Kind::Judged(body, Box::new(judge)))
    }
}

impl<B> Body for PropagatedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match &mut self.0 {
            Kind::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::Plain(body) => Pin::new(body).poll_frame(cx),
            Kind::Absorbed(body, context) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                if let Some(Ok(frame)) = &frame
                    && let Some(trailers) = frame.trailers_ref()
                {
                    absorb(context, trailers);
                }
                Poll::Ready(frame)
            }
            Kind::Judged(body, judge) => judge.poll_frame(body, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Text(text) => text.is_none(),
            Kind::Plain(body) | Kind::Absorbed(body, _) => body.is_end_stream(),
            Kind::Judged(body, judge) => !judge.holds_trailers() && body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Text(text) => SizeHint::with_exact(
                text.as_ref().map_or(0, |text| u64::try_from(text.len()).unwrap_or(u64::MAX)),
            ),
            Kind::Plain(body) | Kind::Absorbed(body, _) | Kind::Judged(body, _) => body.size_hint(),
        }
    }
}
