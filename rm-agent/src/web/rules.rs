//! Which answers of a service are vetoes.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use tonic::Code;

/// What says for a status whether it is a veto.
type Rule<Status> = Arc<dyn Fn(Status) -> bool + Send + Sync>;

#[derive(Clone)]
pub(super) struct VetoRules {
    pub(super) http: Rule<StatusCode>,
    pub(super) grpc: Rule<Code>,
}

impl Default for VetoRules {
    /// A service that broke does not know how far it came; one that said no does, and its caller may
    /// go on without it.
    fn default() -> Self {
        VetoRules {
            http: Arc::new(|status| status.is_server_error()),
            grpc: Arc::new(|code| {
                matches!(
                    code,
                    Code::Unknown
                        | Code::Internal
                        | Code::Unavailable
                        | Code::DataLoss
                        | Code::DeadlineExceeded
                )
            }),
        }
    }
}

impl VetoRules {
    /// Why an answer with this status and these headers is a veto.
    pub(super) fn judge(&self, status: StatusCode, headers: &HeaderMap) -> Option<String> {
        if (self.http)(status) {
            return Some(format!("the service answered HTTP {status}"));
        }
        self.judge_grpc(headers)
    }

    /// The same for the headers or trailers of a gRPC answer; without a `grpc-status` it is none.
    pub(super) fn judge_grpc(&self, headers: &HeaderMap) -> Option<String> {
        let code = Code::from_bytes(headers.get("grpc-status")?.as_bytes());
        (self.grpc)(code).then(|| format!("the service answered gRPC {code:?}"))
    }
}

impl std::fmt::Debug for VetoRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VetoRules").finish_non_exhaustive()
    }
}
