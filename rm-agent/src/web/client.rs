//! The caller's side: the transaction goes out with a request, and what came of it comes back.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use tower::{Layer, Service};

use super::body::PropagatedBody;
use super::headers::{absorb, inject};
use crate::context::TransactionContext;

/// A tower layer for clients: tonic's channel, hyper's client.
///
/// A call belongs to the transaction in its request's extensions, or else to the one of the running
/// task; outside of both it goes out unchanged. It must lie where the caller runs: behind a
/// `tower::buffer` another task makes the call.
///
/// ```no_run
/// # use pactum_agent::web::ClientLayer;
/// use tower::Layer as _;
///
/// # fn client(channel: tonic::transport::Channel) {
/// let channel = ClientLayer.layer(channel); // then: BankClient::new(channel)
/// # let _ = channel;
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientLayer;

impl<S> Layer<S> for ClientLayer {
    type Service = ClientService<S>;

    fn layer(&self, inner: S) -> ClientService<S> {
        ClientService { inner }
    }
}

/// A client inside [`ClientLayer`].
#[derive(Clone, Debug)]
pub struct ClientService<S> {
    inner: S,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ClientService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    ResBody: Body<Data = Bytes> + Unpin + 'static,
{
    type Response = Response<PropagatedBody<ResBody>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let given = request.extensions().get::<TransactionContext>().cloned();
        let context = given.or_else(TransactionContext::current);
        if let Some(context) = &context {
            inject(context, request.headers_mut());
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            Ok(match context {
                None => response.map(PropagatedBody::plain),
                Some(context) => {
                    absorb(&context, response.headers());
                    response.map(|body| PropagatedBody::absorbed(body, context))
                }
            })
        })
    }
}

/// Sends a reqwest request as a part of a global transaction.
pub trait RequestBuilderExt: Sized {
    /// Sends the request as a part of `context`'s transaction.
    ///
    /// # Errors
    ///
    /// As `send`. What the callee did is unknown then: see [`absorb`].
    fn send_in(
        self,
        context: &TransactionContext,
    ) -> impl Future<Output = reqwest::Result<reqwest::Response>> + Send;

    /// Sends the request as a part of the running task's transaction; outside of one as `send`.
    ///
    /// # Errors
    ///
    /// As `send`. What the callee did is unknown then: see [`absorb`].
    fn send_global(self) -> impl Future<Output = reqwest::Result<reqwest::Response>> + Send;
}

impl RequestBuilderExt for reqwest::RequestBuilder {
    async fn send_in(self, context: &TransactionContext) -> reqwest::Result<reqwest::Response> {
        let mut headers = HeaderMap::new();
        inject(context, &mut headers);
        let response = self.headers(headers).send().await?;
        absorb(context, response.headers());
        Ok(response)
    }

    async fn send_global(self) -> reqwest::Result<reqwest::Response> {
        match TransactionContext::current() {
            Some(context) => self.send_in(&context).await,
            None => self.send().await,
        }
    }
}
