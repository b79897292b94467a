//! The transaction that a request belongs to, or why the request is refused before it does anything.

use std::time::Duration;

use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use pactum_core::id::{ScopeId, StoreId, Xid};
use pactum_core::transaction::SCOPE_DEPTH_MAX;
use tonic::Code;

use super::body::PropagatedBody;
use super::headers::{REMAINING_MS, SCOPES, SEATA_XID, STORE, XID, escape};
use crate::context::TransactionContext;
use crate::session::Session;

/// What remains for a transaction whose caller speaks Seata's header and so does not say. 60 s, the
/// default timeout: the coordinator keeps the real deadline.
const SEATA_REMAINING: Duration = Duration::from_secs(60);
/// More than any transaction may remain; a header that says so is wrong, and must not overflow.
const REMAINING_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Why a request is not served.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the request header `{name}` is not {expected}")]
    Malformed { name: &'static str, expected: &'static str },
    #[error("the request names a global transaction without the header `{name}`: {hint}")]
    Missing { name: &'static str, hint: &'static str },
    #[error("the deadline of global transaction `{0}` has passed: it rolls back")]
    Late(Xid),
    #[error(
        "global transaction `{xid}` belongs to store {theirs}, this service's coordinator has \
         store {ours}: both must use one coordinator"
    )]
    Foreign { xid: Xid, theirs: StoreId, ours: StoreId },
    #[error("this service has had no session with its coordinator yet: try again")]
    NotConnected,
}

const COMPLETE: &str = "send pactum-xid, pactum-store and pactum-remaining-ms together";

/// The context that the request's headers name; `None` if they name no global transaction.
pub(super) fn context(
    headers: &HeaderMap,
    session: &Session,
) -> Result<Option<TransactionContext>, Refusal> {
    let Some(xid) = text(headers, &XID) else {
        // A part of them is a caller inside a transaction: its work must not be done outside.
        if [&STORE, &REMAINING_MS, &SCOPES].into_iter().any(|name| headers.contains_key(name)) {
            return Err(Refusal::Missing { name: "pactum-xid", hint: COMPLETE });
        }
        return seata(headers, session);
    };
    let xid: Xid =
        parsed(xid, "pactum-xid", "an XID as begin returned it", |xid| xid.parse().ok())?;
    let store =
        text(headers, &STORE).ok_or(Refusal::Missing { name: "pactum-store", hint: COMPLETE })?;
    let theirs = parsed(store, "pactum-store", "32 hexadecimal digits", |store| {
        let digits = store.len() == 32 && store.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u128::from_str_radix(store, 16).ok().map(StoreId)).flatten()
    })?;
    let remaining = text(headers, &REMAINING_MS)
        .ok_or(Refusal::Missing { name: "pactum-remaining-ms", hint: COMPLETE })?;
    let remaining = parsed(remaining, "pactum-remaining-ms", "a number of milliseconds", |ms| {
        ms.parse().ok().map(Duration::from_millis)
    })?;
    if remaining.is_zero() {
        return Err(Refusal::Late(xid));
    }
    if let Some(ours) = session.store().filter(|ours| *ours != theirs) {
        return Err(Refusal::Foreign { xid, theirs, ours });
    }
    let scopes = text(headers, &SCOPES).map_or_else(
        || Ok(Vec::new()),
        |scopes| {
            let expected = "1 to 16 ids of nested scopes, not 0, with commas";
            parsed(scopes, "pactum-scopes", expected, scopes_from)
        },
    )?;
    let remaining = remaining.min(REMAINING_MAX);
    Ok(Some(TransactionContext::received(xid, theirs, remaining, scopes.into())))
}

fn scopes_from(text: &str) -> Option<Vec<ScopeId>> {
    let ids = text.split(',').map(|id| id.trim().parse().ok().filter(|id| *id != 0).map(ScopeId));
    let scopes: Vec<ScopeId> = ids.take(SCOPE_DEPTH_MAX + 1).collect::<Option<_>>()?;
    (scopes.len() <= SCOPE_DEPTH_MAX).then_some(scopes)
}

/// The same for Seata's header. One that is not of our form is Seata's own, and none of ours.
fn seata(headers: &HeaderMap, session: &Session) -> Result<Option<TransactionContext>, Refusal> {
    let Some(Ok(xid)) = text(headers, &SEATA_XID).and_then(Result::ok).map(str::parse) else {
        return Ok(None);
    };
    let store = session.store().ok_or(Refusal::NotConnected)?;
    Ok(Some(TransactionContext::new(xid, store, SEATA_REMAINING)))
}

/// The header as text; the inner error is one that is not.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Result<&'a str, ()>> {
    headers.get(name).map(|value| value.to_str().map_err(|_| ()))
}

fn parsed<T>(
    text: Result<&str, ()>,
    name: &'static str,
    expected: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Refusal> {
    text.ok().and_then(parse).ok_or(Refusal::Malformed { name, expected })
}

impl Refusal {
    fn statuses(&self) -> (StatusCode, Code) {
        match self {
            Refusal::Malformed { .. } | Refusal::Missing { .. } => {
                (StatusCode::BAD_REQUEST, Code::InvalidArgument)
            }
            Refusal::Late(_) | Refusal::Foreign { .. } => {
                (StatusCode::CONFLICT, Code::FailedPrecondition)
            }
            Refusal::NotConnected => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
        }
    }

    /// The answer to the request, as HTTP or as gRPC says it.
    pub(super) fn response<B>(&self, is_grpc: bool) -> Response<PropagatedBody<B>> {
        tracing::debug!(error = %self, "a request with an unusable transaction is refused");
        let (status, code) = self.statuses();
        let message = self.to_string();
        let response = if is_grpc {
            Response::builder()
                .header(header::CONTENT_TYPE, "application/grpc")
                .header("grpc-status", i32::from(code))
                .header("grpc-message", escape(&message))
                .body(PropagatedBody::text(String::new()))
        } else {
            Response::builder()
                .status(status)
                .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
                .body(PropagatedBody::text(message))
        };
        response.expect("its parts are valid")
    }
}
