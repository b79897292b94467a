//! Typed errors as gRPC statuses, where an answer has no place for one.
//!
//! Refusals travel in-band wherever a reply can carry them. Two kinds cannot: those of calls whose
//! reply has no error field, and those that tonic itself makes before a message exists (too large,
//! not UTF-8, not a message). The layer here turns the latter from tonic's words into ours.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::HeaderValue;
use pactum_proto::convert::{code_name, invalid, invalid_over};
use pactum_proto::v1::{self, ErrorCode};
use tonic::{Code, Status};
use tower::{Layer, Service};

/// What tonic says when a message is over the limit.
const TOO_LARGE: &str = "decoded message length too large";
/// What prost says when bytes are not the message; after it comes which field and why.
const NOT_DECODED: &str = "failed to decode Protobuf message";

/// The one table from our codes to gRPC's.
pub(crate) fn grpc_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::LockConflict => Code::Aborted,
        ErrorCode::NotActive
        | ErrorCode::Foreign
        | ErrorCode::NotAttached
        | ErrorCode::ResourceBound
        | ErrorCode::ResourceBusy
        | ErrorCode::NotResolvable
        | ErrorCode::ScopeRolledBack
        | ErrorCode::NotDelegable
        | ErrorCode::DefinitionTaken
        | ErrorCode::UnknownAction
        | ErrorCode::StepState
        | ErrorCode::ProtocolVersion => Code::FailedPrecondition,
        ErrorCode::UnknownTransaction | ErrorCode::UnknownBranch | ErrorCode::UnknownSaga => {
            Code::NotFound
        }
        ErrorCode::Expired => Code::OutOfRange,
        ErrorCode::InvalidArgument | ErrorCode::InvalidDefinition => Code::InvalidArgument,
        ErrorCode::BranchMismatch => Code::AlreadyExists,
        ErrorCode::OutcomeUnknown | ErrorCode::Unavailable => Code::Unavailable,
        ErrorCode::LimitReached => Code::ResourceExhausted,
        ErrorCode::LostState => Code::DataLoss,
        ErrorCode::Internal | ErrorCode::Unspecified => Code::Internal,
    }
}

/// A typed error as a status; its message begins with the code's name.
pub(crate) fn status(error: &v1::Error) -> Status {
    let code = error.code();
    Status::new(grpc_code(code), format!("{}: {}", code_name(code), error.message))
}

/// Our refusal for a message that tonic could not take; `None` if the status says something else.
pub(crate) fn refused_message(code: Code, message: &str, bytes_max: usize) -> Option<v1::Error> {
    match code {
        Code::OutOfRange if message.contains(TOO_LARGE) => Some(invalid_over(
            "message",
            u64::try_from(bytes_max).unwrap_or(u64::MAX),
            format!("the message is over the limit of {bytes_max} bytes; split the work"),
        )),
        Code::Internal if message.contains(NOT_DECODED) => {
            let detail = message.split_once(": ").map_or(message, |(_, detail)| detail);
            let field = field_in(detail);
            Some(invalid(&field, format!("the message cannot be read: {detail}")))
        }
        _ => None,
    }
}

/// The field that prost names: `BeginRequest.name: invalid string value: …`.
fn field_in(detail: &str) -> String {
    let path = detail.split(':').next().unwrap_or_default();
    let field = path.rsplit('.').next().unwrap_or_default();
    let is_name = path.contains('.')
        && field.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_name { field.to_owned() } else { "message".to_owned() }
}

/// The layer that turns tonic's own refusals of a message into ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TypedRefusals {
    pub(crate) message_bytes_max: usize,
}

/// A service behind [`TypedRefusals`].
#[derive(Clone, Debug)]
pub(crate) struct Typed<S> {
    inner: S,
    layer: TypedRefusals,
}

impl<S> Layer<S> for TypedRefusals {
    type Service = Typed<S>;

    fn layer(&self, inner: S) -> Typed<S> {
        Typed { inner, layer: *self }
    }
}

impl<S, Q, B> Service<Q> for Typed<S>
where
    S: Service<Q, Response = http::Response<B>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let response = self.inner.call(request);
        let bytes_max = self.layer.message_bytes_max;
        Box::pin(async move { response.await.map(|response| retyped(response, bytes_max)) })
    }
}

/// Only an answer that is nothing but a status has one in its headers.
fn retyped<B>(mut response: http::Response<B>, bytes_max: usize) -> http::Response<B> {
    if let Some(found) = Status::from_header_map(response.headers())
        && let Some(error) = refused_message(found.code(), found.message(), bytes_max)
    {
        let ours = status(&error);
        let headers = response.headers_mut();
        if ours.add_header(headers).is_err() {
            headers.insert(Status::GRPC_STATUS, HeaderValue::from(i32::from(ours.code())));
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tonic_refuses_names_the_field_and_the_limit() {
        let large = "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes";
        let error = refused_message(Code::OutOfRange, large, 4).unwrap();
        assert_eq!((error.field.as_str(), error.limit), ("message", 4));

        let text = "failed to decode Protobuf message: BeginRequest.name: invalid string value: \
                    data is not UTF-8 encoded";
        let error = refused_message(Code::Internal, text, 4).unwrap();
        assert_eq!(error.field, "name");
        let text = "failed to decode Protobuf message: buffer underflow";
        assert_eq!(refused_message(Code::Internal, text, 4).unwrap().field, "message");

        assert_eq!(refused_message(Code::Internal, "something else", 4), None);
        assert_eq!(refused_message(Code::Unavailable, large, 4), None);
    }

    #[test]
    fn a_status_begins_with_the_code() {
        let status = status(&invalid("xid", "`xid` is missing"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "TX0001: `xid` is missing");
    }
}
