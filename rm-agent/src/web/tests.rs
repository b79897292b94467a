//! Propagation over real tower services, against a scripted coordinator.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as _;
use pactum_core::id::{BranchId, ScopeId, StoreId};
use pactum_proto::v1;
use pactum_proto::v1::client_frame::Frame as Asked;
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::*;
use crate::session::tests::fake::{self, Fake, FakeStream, rolled_back};
use crate::{Agent, TransactionContext};

fn context() -> TransactionContext {
    let xid = "g:7".parse().unwrap();
    TransactionContext::new(xid, StoreId(fake::STORE), Duration::from_secs(30))
}

fn request(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    for (name, value) in headers {
        let name = http::HeaderName::try_from(*name).unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request
}

fn within(path: &str, context: &TransactionContext) -> Request<Body> {
    let mut request = request(path, &[]);
    inject(context, request.headers_mut());
    request
}

/// A service with a route for each way to be left.
fn router(agent: &Agent) -> Router {
    async fn done() -> &'static str {
        let context = TransactionContext::current().unwrap();
        context.record_done(BranchId(100));
        context.record_done(BranchId(101));
        "done"
    }
    async fn marked() -> &'static str {
        TransactionContext::current().unwrap().mark_veto("short: 5 € & 100%");
        "politely refused"
    }
    async fn panicked() -> &'static str {
        panic!("planted")
    }
    Router::new()
        .route("/done", get(done))
        .route("/marked", get(marked))
        .route("/panicked", get(panicked))
        .route("/broken", get(async || StatusCode::INTERNAL_SERVER_ERROR))
        .route("/refused", get(async || StatusCode::CONFLICT))
        .route("/hung", get(std::future::pending::<()>))
        .route("/outside", get(async || format!("{:?}", TransactionContext::current().is_none())))
        .layer(ServerLayer::new(agent))
}

async fn text(response: Response<Body>) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn vetoed(stream: &mut FakeStream) -> String {
    let (correlation, Asked::Veto(veto)) = stream.next().await else { panic!("no veto") };
    assert_eq!(veto.xid, "g:7");
    stream.send(correlation, rolled_back(v1::RollbackCause::Vetoed));
    veto.reason
}

#[tokio::test(start_paused = true)]
async fn a_call_joins_and_its_answer_names_the_branches() {
    let (_fake, mut stream, agent) = Fake::agent().await;
    let (service, caller) = (router(&agent), context());
    let response = service.clone().oneshot(within("/done", &caller)).await.unwrap();
    assert_eq!(response.headers()["pactum-branches"], "100,101");
    assert!(!response.headers().contains_key("pactum-veto"));
    absorb(&caller, response.headers());
    absorb(&caller, response.headers());
    assert_eq!(caller.done_branches(), [BranchId(100), BranchId(101)]);
    assert_eq!(caller.veto(), None);

    let refused = service.clone().oneshot(within("/refused", &caller)).await.unwrap();
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    assert!(!refused.headers().contains_key("pactum-veto"), "4xx is an answer, not a veto");
    let outside = service.oneshot(request("/outside", &[])).await.unwrap();
    assert_eq!(text(outside).await, "true");
    assert_eq!(stream.until_quiet().await, [], "no veto");
}

/// Goal: the caller may commit the moment it has the answer, so a veto is durable before. Method:
/// hold back the coordinator's answer.
#[tokio::test(start_paused = true)]
async fn a_veto_is_durable_before_the_answer() {
    let (_fake, mut stream, agent) = Fake::agent().await;
    let service = router(&agent);
    for (path, reason) in [
        ("/broken", "the service answered HTTP 500 Internal Server Error"),
        ("/marked", "short: 5 € & 100%"),
    ] {
        let answering = tokio::spawn(service.clone().oneshot(within(path, &context())));
        let (correlation, Asked::Veto(veto)) = stream.next().await else { panic!("no veto") };
        assert_eq!(veto.reason, reason);
        stream.until_quiet().await;
        assert!(!answering.is_finished());
        stream.send(correlation, rolled_back(v1::RollbackCause::Vetoed));
        let caller = context();
        absorb(&caller, answering.await.unwrap().unwrap().headers());
        assert_eq!(caller.veto().unwrap(), reason, "the caller hears it as well");
    }
}

/// Goal: a scope is told apart on the far side, and a veto in it is the scope's on both.
#[tokio::test(start_paused = true)]
async fn a_nested_scope_travels_and_a_veto_in_it_is_its_own() {
    async fn nested() -> &'static str {
        let context = TransactionContext::current().unwrap();
        assert_eq!(**context.scopes(), [ScopeId(5), ScopeId(6)]);
        let inner = context.nested(ScopeId(7)).unwrap();
        let mut onward = HeaderMap::new();
        inject(&inner, &mut onward);
        assert_eq!(onward["pactum-scopes"], "5,6,7");
        context.record_done(BranchId(100));
        inner.record_done(BranchId(101));
        context.mark_veto("short");
        "done"
    }
    let (_fake, mut stream, agent) = Fake::agent().await;
    let service = Router::new().route("/", get(nested)).layer(ServerLayer::new(&agent));
    let caller = context();
    let outer = caller.nested(ScopeId(5)).unwrap();
    let inner = outer.nested(ScopeId(6)).unwrap();
    let answering = tokio::spawn(service.oneshot(within("/", &inner)));
    let (correlation, Asked::Veto(veto)) = stream.next().await else { panic!("no veto") };
    let active = v1::TransactionStatus::Active;
    let active = fake::outcome(active, v1::RollbackCause::Unspecified);
    assert_eq!(veto.scopes, [5, 6]);
    stream.send(correlation, active);
    let response = answering.await.unwrap().unwrap();
    assert_eq!(response.headers()["pactum-branches"], "100", "no branch that was undone");
    absorb(&inner, response.headers());
    assert_eq!(inner.keep_scope().unwrap_err(), "short");
    assert_eq!((outer.veto(), caller.veto()), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_veto_that_the_coordinator_cannot_hear_goes_to_the_caller() {
    let (fake, stream, agent) = Fake::agent().await;
    fake.set_reachable(false);
    drop(stream);
    let since = tokio::time::Instant::now();
    let response = router(&agent).oneshot(within("/marked", &context())).await.unwrap();
    assert_eq!(since.elapsed(), Duration::from_secs(2), "it waits for the coordinator, not long");
    assert_eq!(response.headers()["pactum-veto"], "short: 5 %E2%82%AC & 100%25");
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_a_dropped_request_are_vetoes() {
    let (_fake, mut stream, agent) = Fake::agent().await;
    let panicking = tokio::spawn(router(&agent).oneshot(within("/panicked", &context())));
    assert_eq!(vetoed(&mut stream).await, "the service panicked");
    assert!(panicking.await.unwrap_err().is_panic());

    let hung = tokio::spawn(router(&agent).oneshot(within("/hung", &context())));
    assert_eq!(stream.until_quiet().await, []);
    hung.abort();
    assert_eq!(vetoed(&mut stream).await, "the request was dropped half-way");
}

/// Goal: a mark made while a plain HTTP body is streamed has no header left to travel in, and reaches
/// the coordinator all the same.
#[tokio::test(start_paused = true)]
async fn a_mark_in_a_streamed_body_is_a_veto() {
    async fn streamed() -> Body {
        Body::from_stream(futures_util::stream::once(async {
            TransactionContext::current().unwrap().mark_veto("too late for a header");
            Ok::<_, std::convert::Infallible>("all but the end")
        }))
    }
    let (_fake, mut stream, agent) = Fake::agent().await;
    let service = Router::new().route("/", get(streamed)).layer(ServerLayer::new(&agent));
    let response = service.oneshot(within("/", &context())).await.unwrap();
    assert!(!response.headers().contains_key("pactum-veto"));
    assert_eq!(text(response).await, "all but the end");
    assert_eq!(vetoed(&mut stream).await, "too late for a header");
}

#[tokio::test(start_paused = true)]
async fn an_unusable_transaction_is_refused_before_anything_runs() {
    let (_fake, _stream, agent) = Fake::agent().await;
    let store = StoreId(fake::STORE).to_string();
    let good = [("pactum-xid", "g:7"), ("pactum-store", &*store), ("pactum-remaining-ms", "500")];
    let with = |index: usize, value: &'static str| {
        let mut headers = good.to_vec();
        headers[index].1 = value;
        headers
    };
    let scoped = |scopes: &'static str| [&good[..], &[("pactum-scopes", scopes)]].concat();
    for (headers, status, says) in [
        (with(0, "g:07"), 400, "`pactum-xid` is not an XID"),
        (with(0, ""), 400, "`pactum-xid` is not an XID"),
        (with(1, "abc"), 400, "`pactum-store` is not 32"),
        (with(1, "+0000000000000000000000000000001"), 400, "`pactum-store` is not 32"),
        (with(2, "-1"), 400, "`pactum-remaining-ms` is not a number"),
        (good[..1].to_vec(), 400, "without the header `pactum-store`"),
        (good[..2].to_vec(), 400, "without the header `pactum-remaining-ms`"),
        (good[1..].to_vec(), 400, "without the header `pactum-xid`"),
        (with(2, "0"), 409, "deadline of global transaction `g:7` has passed"),
        (with(1, "00000000000000000000000000000001"), 409, "belongs to store 0000"),
        (scoped("0"), 400, "`pactum-scopes` is not 1 to 16"),
        (scoped(""), 400, "`pactum-scopes` is not 1 to 16"),
        (scoped("5,"), 400, "`pactum-scopes` is not 1 to 16"),
        (scoped("-5"), 400, "`pactum-scopes` is not 1 to 16"),
        (scoped("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"), 400, "`pactum-scopes` is not"),
        (vec![("pactum-scopes", "5")], 400, "without the header `pactum-xid`"),
    ] {
        let response = router(&agent).oneshot(request("/panicked", &headers)).await.unwrap();
        assert_eq!(response.status(), status, "{headers:?}");
        let message = text(response).await;
        assert!(message.contains(says), "{headers:?}: {message}");
    }
    let mut grpc = request("/panicked", &with(2, "0"));
    grpc.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
    let response = router(&agent).oneshot(grpc).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "9");
    assert!(response.body().is_end_stream());

    let huge = with(2, "18446744073709551615");
    let response = router(&agent).oneshot(request("/done", &huge)).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn seatas_header_is_taken_only_if_it_is_ours() {
    let (_fake, _stream, agent) = Fake::agent().await;
    let ours = router(&agent).oneshot(request("/done", &[("TX_XID", "g:7")])).await.unwrap();
    assert_eq!(ours.headers()["pactum-branches"], "100,101");
    let seatas = [("TX_XID", "192.168.0.1:8091:2612341069705662465")];
    let outside = router(&agent).oneshot(request("/outside", &seatas)).await.unwrap();
    assert_eq!(text(outside).await, "true");
}

/// A gRPC service in the shape that tonic gives it: the status comes in the trailers, or in the
/// headers if there is nothing before it.
async fn grpc(request: Request<Body>) -> Result<Response<Trailing>, std::convert::Infallible> {
    let code: u32 = request.uri().path()[1..].parse().unwrap();
    Ok(Response::new(Trailing(Some(code))))
}

struct Trailing(Option<u32>);

impl http_body::Body for Trailing {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        let trailers = self.0.take().map(|code| {
            // The stream's own work runs inside the transaction too.
            TransactionContext::current().unwrap().record_done(BranchId(100));
            let status = [("grpc-status".parse().unwrap(), code.into())];
            Ok(http_body::Frame::trailers(HeaderMap::from_iter(status)))
        });
        std::task::Poll::Ready(trailers)
    }
}

fn grpc_request(code: u32, context: &TransactionContext) -> Request<Body> {
    let mut request = within(&format!("/{code}"), context);
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    request.extensions_mut().insert(context.clone());
    request
}

async fn trailers<B>(response: Response<B>) -> HeaderMap
where
    B: http_body::Body<Data = bytes::Bytes> + Unpin,
    B::Error: std::fmt::Debug,
{
    let mut body = response.into_body();
    let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await;
    frame.unwrap().unwrap().into_trailers().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_grpc_status_in_the_trailers_is_judged_before_they_are_sent() {
    let (_fake, mut stream, agent) = Fake::agent().await;
    let service = ClientLayer.layer(ServerLayer::new(&agent).layer(service_fn(grpc)));

    for code in [0, 3, 5, 9, 10] {
        let caller = context();
        let response = service.clone().oneshot(grpc_request(code, &caller)).await.unwrap();
        assert_eq!(trailers(response).await["pactum-branches"], "100");
        assert_eq!(caller.done_branches(), [BranchId(100)], "the caller's layer took them in");
        assert_eq!(caller.veto(), None);
    }
    assert_eq!(stream.until_quiet().await, []);

    for code in [2, 4, 13, 14, 15] {
        let caller = context();
        let response = service.clone().oneshot(grpc_request(code, &caller)).await.unwrap();
        let ending = tokio::spawn(trailers(response));
        let (correlation, Asked::Veto(veto)) = stream.next().await else { panic!("no veto") };
        stream.until_quiet().await;
        assert!(!ending.is_finished());
        stream.send(correlation, rolled_back(v1::RollbackCause::Vetoed));
        ending.await.unwrap();
        assert_eq!(caller.veto().unwrap(), veto.reason);
        assert!(veto.reason.starts_with("the service answered gRPC"));
    }

    // Nobody reads the answer to its end.
    let response = service.oneshot(grpc_request(0, &context())).await.unwrap();
    drop(response);
    assert_eq!(vetoed(&mut stream).await, "the request was dropped half-way");
}

#[tokio::test(start_paused = true)]
async fn the_rules_of_what_is_a_veto_can_be_changed() {
    let (_fake, mut stream, agent) = Fake::agent().await;
    let layer = ServerLayer::new(&agent)
        .veto_http(|status| status == StatusCode::CONFLICT)
        .veto_grpc(|code| code == tonic::Code::NotFound);
    let answer = |status: u16, code: &'static str| {
        service_fn(move |_: Request<Body>| async move {
            let response = Response::builder().status(status).header("grpc-status", code);
            Ok::<_, std::convert::Infallible>(response.body(Body::empty()).unwrap())
        })
    };
    let kept = layer.layer(answer(500, "13")).oneshot(within("/", &context())).await.unwrap();
    assert!(!kept.headers().contains_key("pactum-veto"));
    for (status, code) in [(409, "0"), (200, "5")] {
        let service = layer.layer(answer(status, code));
        let answering = tokio::spawn(service.oneshot(within("/", &context())));
        vetoed(&mut stream).await;
        assert!(answering.await.unwrap().unwrap().headers().contains_key("pactum-veto"));
    }
}

/// Goal: the reqwest side over a real socket; who is called without a transaction sees no header.
#[tokio::test]
async fn a_reqwest_call_carries_the_transaction_and_brings_the_answer_back() {
    let (_fake, _stream, agent) = Fake::agent().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router(&agent)).into_future());
    let client = reqwest::Client::new();
    let caller = context();
    client.get(format!("{url}/done")).send_in(&caller).await.unwrap();
    assert_eq!(caller.done_branches(), [BranchId(100), BranchId(101)]);

    let outside = client.get(format!("{url}/outside")).send_global().await.unwrap();
    assert_eq!(outside.text().await.unwrap(), "true");
    let inside = context();
    let call = inside.clone().scope(client.get(format!("{url}/done")).send_global());
    call.await.unwrap();
    assert_eq!(inside.done_branches().len(), 2);
}

#[test]
fn a_reason_survives_its_header() {
    for reason in ["plain words", "100 % \u{20ac} \n\u{0}", "%41%", ""] {
        let value = headers::escape(reason);
        assert!(value.to_str().is_ok(), "{value:?}");
        assert_eq!(headers::unescape(value.as_bytes()), reason);
    }
    let long = "€".repeat(1_000);
    let cut = headers::unescape(headers::escape(&long).as_bytes());
    assert!(long.starts_with(&cut));
    assert!((500..=512).contains(&cut.len()), "{}", cut.len());
    assert_eq!(headers::unescape(b"50%zz%4"), "50%zz%4", "what is no code stays");
}
