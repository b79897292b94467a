//! What is answered by where a transaction stands: its end, a veto, or only the question.

use std::time::Duration;

use pactum_core::id::{StoreId, Xid};
use pactum_core::step::Outcome;
use pactum_proto::v1;
use pactum_proto::v1::client_frame::Frame as Request;
use pactum_proto::v1::server_frame::Frame as Answer;
use tokio::time::Instant;

use super::calls::{Session, unexpected};
use super::link::Answered;
use super::outbox::Urgency;
use super::{CallError, wire};
use crate::context::TransactionContext;

/// How long a veto may hold up the answer that it belongs to. 2 s: the header carries it otherwise.
const VETO_WAIT_MAX: Duration = Duration::from_secs(2);
/// The longest reason of a veto that the wire takes.
pub(crate) const VETO_REASON_BYTES_MAX: usize = 512;

impl Session {
    /// Vetoes the global transaction, durably if the coordinator can be told in time. Notes it in
    /// `context` in any case, for the caller: the calling side then refuses to commit.
    pub(crate) async fn veto(&self, context: &TransactionContext, reason: &str) {
        context.record_veto(reason);
        let until = Instant::now() + VETO_WAIT_MAX;
        if let Err(error) = self.ask_veto(context, reason, until).await {
            tracing::warn!(
                txn.xid = %context.xid(), %error,
                "the coordinator could not be told of a veto: the caller is"
            );
        }
    }

    /// Asks for the veto, and answers where the transaction stands.
    pub(crate) async fn ask_veto(
        &self,
        context: &TransactionContext,
        reason: &str,
        until: Instant,
    ) -> Result<v1::Outcome, CallError> {
        let request = Request::Veto(v1::VetoRequest {
            xid: context.xid().to_string(),
            store_id: wire::store(context),
            scope: context.scope_id().0,
            reason: reason[..reason.floor_char_boundary(VETO_REASON_BYTES_MAX)].to_owned(),
        });
        self.ask_outcome(context, request, until).await
    }

    /// Asks what is answered by an outcome: a decision, or where a transaction stands.
    pub(crate) async fn ask_outcome(
        &self,
        context: &TransactionContext,
        request: Request,
        until: Instant,
    ) -> Result<v1::Outcome, CallError> {
        self.ask_outcome_in(context.xid(), context.store_id(), request, until).await
    }

    /// Asks where a transaction stands that nobody here may have the context of. An answer that this
    /// agent does not understand is no answer.
    pub(crate) async fn outcome_of(&self, xid: &Xid, store: StoreId) -> Result<Outcome, CallError> {
        let request = Request::Get(v1::GetRequest {
            xid: xid.to_string(),
            store_id: store.to_bytes().to_vec().into(),
            wait: v1::Wait::Decided.into(),
        });
        let until = Instant::now() + self.answer_wait_max();
        let outcome = self.ask_outcome_in(xid, store, request, until).await?;
        let unclear =
            |_| CallError::NoAnswer("it named a status that is not known here".to_owned());
        Outcome::try_from(outcome).map_err(unclear)
    }

    async fn ask_outcome_in(
        &self,
        xid: &Xid,
        store: StoreId,
        request: Request,
        until: Instant,
    ) -> Result<v1::Outcome, CallError> {
        let outcome = match self.call(Urgency::Decision, request, Some(store), until).await {
            Ok(Answered { frame: Answer::Outcome(outcome), .. }) => outcome,
            Ok(other) => return Err(unexpected(&other.frame)),
            // A refusal that says where the transaction stands answers the question.
            Err(CallError::Refused(v1::Error { outcome: Some(outcome), .. })) => outcome,
            Err(error) => return Err(error),
        };
        if Outcome::try_from(outcome).is_ok_and(|outcome| outcome.status.is_decided()) {
            self.shared().reports.decided(xid);
        }
        Ok(outcome)
    }
}
