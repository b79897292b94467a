//! The participant's side: runs a service inside the transaction that its request names, and tells
//! the caller what came of it. Works for axum, tonic and any other tower HTTP service.
//!
//! Easy to get wrong: a veto must be durable before the answer is given, since the caller may commit
//! the moment it has it. And a service can be left in four ways: by an answer, an error, a panic, or
//! by dropping its future, when the caller hangs up half-way.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode, header};
use http_body::Body;
use tonic::Code;
use tower::{Layer, Service};

use super::body::PropagatedBody;
use super::judge::{Judge, Unanswered};
use super::rules::VetoRules;
use super::{headers, incoming};
use crate::Agent;
use crate::context::TransactionContext;
use crate::session::Session;

/// A tower layer for the services of a participant.
///
/// ```no_run
/// # use pactum_agent::{Agent, web::ServerLayer};
/// # fn service(agent: &Agent) -> axum::Router {
/// axum::Router::new().layer(ServerLayer::new(agent))
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ServerLayer {
    session: Session,
    rules: VetoRules,
}

impl ServerLayer {
    /// A layer with the default rules: HTTP 5xx and gRPC `UNKNOWN`, `INTERNAL`, `UNAVAILABLE`,
    /// `DATA_LOSS` and `DEADLINE_EXCEEDED` are vetoes, as are an error, a panic, a dropped request
    /// and an explicit [`TransactionContext::mark_veto`]; 4xx and other gRPC codes are not.
    #[must_use]
    pub fn new(agent: &Agent) -> Self {
        ServerLayer { session: agent.session().clone(), rules: VetoRules::default() }
    }

    /// Which HTTP statuses are vetoes, in place of 5xx.
    #[must_use]
    pub fn veto_http(mut self, rule: impl Fn(StatusCode) -> bool + Send + Sync + 'static) -> Self {
        self.rules.http = Arc::new(rule);
        self
    }

    /// Which gRPC codes are vetoes, in place of the five.
    #[must_use]
    pub fn veto_grpc(mut self, rule: impl Fn(Code) -> bool + Send + Sync + 'static) -> Self {
        self.rules.grpc = Arc::new(rule);
        self
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = ServerService<S>;

    fn layer(&self, inner: S) -> ServerService<S> {
        ServerService { inner, layer: self.clone() }
    }
}

/// A service inside [`ServerLayer`].
#[derive(Clone, Debug)]
pub struct ServerService<S> {
    inner: S,
    layer: ServerLayer,
}

type Answer<B, E> = Pin<Box<dyn Future<Output = Result<Response<PropagatedBody<B>>, E>> + Send>>;

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ServerService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    ReqBody: Send + 'static,
    ResBody: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Response = Response<PropagatedBody<ResBody>>;
    type Error = S::Error;
    type Future = Answer<ResBody, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        match incoming::context(request.headers(), &self.layer.session) {
            Ok(None) => {
                let answer = self.inner.call(request);
                Box::pin(async move { Ok(answer.await?.map(PropagatedBody::plain)) })
            }
            Err(refusal) => {
                let response = refusal.response(is_grpc(&request));
                Box::pin(std::future::ready(Ok(response)))
            }
            Ok(Some(context)) => {
                // The clone may not be ready; what was polled ready is what must be called.
                let unpolled = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, unpolled);
                Box::pin(participate(inner, request, context, self.layer.clone()))
            }
        }
    }
}

async fn participate<S, ReqBody, ResBody>(
    mut inner: S,
    request: Request<ReqBody>,
    context: TransactionContext,
    ServerLayer { session, rules }: ServerLayer,
) -> Result<Response<PropagatedBody<ResBody>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    let mut unanswered = Unanswered::new(session.clone(), context.clone());
    let is_grpc = is_grpc(&request);
    let work = context.clone().scope(async move { inner.call(request).await });
    let answer = AssertUnwindSafe(work).catch_unwind().await;
    let veto = match &answer {
        Ok(Ok(response)) => rules.judge(response.status(), response.headers()),
        Ok(Err(_)) => Some("the service failed".to_owned()),
        Err(_panic) => Some("the service panicked".to_owned()),
    };
    // A scope that was dropped may turn out not to be undone, which is a veto.
    context.undone().await;
    context.veto_if_a_scope_is_open();
    // A mark, or a veto that came back from a service further on, counts like our own.
    if let Some(reason) = veto.or_else(|| context.veto()) {
        session.veto(&context, &reason).await;
    }
    let vetoed = context.veto().is_some();
    let answer = answer.unwrap_or_else(|panic| {
        unanswered.settle();
        resume_unwind(panic)
    });
    let Ok(mut response) = answer else {
        unanswered.settle();
        return answer.map(|response| response.map(PropagatedBody::plain));
    };
    headers::answer(&context, 0, response.headers_mut());
    if !is_grpc || response.headers().contains_key("grpc-status") {
        unanswered.settle();
    }
    let told = context.done_branches().len();
    let judge = Judge::new(unanswered, rules, told, vetoed);
    Ok(response.map(|body| PropagatedBody::judged(body, judge)))
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
