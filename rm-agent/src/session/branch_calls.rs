//! What a branch asks of the coordinator: its id, its locks, and to hear how phase one ended.

use std::time::Duration;

use pactum_core::id::{BranchId, ResourceId};
use pactum_core::lock::key::{EncodedKey, LockMode};
use pactum_proto::v1;
use pactum_proto::v1::client_frame::Frame as Request;
use pactum_proto::v1::server_frame::Frame as Answer;
use tokio::time::{Instant, sleep, timeout_at};

use super::calls::{Session, refusal, unexpected};
use super::ids::Taken;
use super::link::{Answered, Lost};
use super::outbox::Urgency;
use super::{CallError, Claim, Registration, wire};
use crate::context::TransactionContext;

/// How long after the deadline a failed phase one is still worth reporting; then its transaction
/// has rolled back, and the rollback leaves the tombstone that the report would have saved.
const FAILED_REPORT_AFTER_DEADLINE: Duration = Duration::from_secs(60);
/// The pause before asking for ids again where the answer was none.
const IDS_PAUSE: Duration = Duration::from_millis(100);

impl Session {
    /// The next branch id from this session's block.
    pub(crate) async fn next_branch_id(&self) -> Result<BranchId, CallError> {
        let until = Instant::now() + self.answer_wait_max();
        let taken = timeout_at(until, async {
            loop {
                let changed = self.shared().ids.changed();
                match self.shared().ids.take() {
                    Taken::Id(id) => return id,
                    Taken::IdAndAsk(id) => {
                        self.ask_for_ids();
                        return id;
                    }
                    Taken::Ask => self.ask_for_ids(),
                    Taken::Wait => {}
                }
                changed.await;
            }
        });
        taken.await.map_err(|_elapsed| self.no_answer())
    }

    /// Registers a branch with its locks. Waits at most `registration.wait` for taken keys.
    ///
    /// Dropping the future gives up the wait; whether the branch was registered is then unknown, and
    /// the caller reports it as failed. `NoAnswer` means the same.
    pub(crate) async fn register(
        &self,
        context: &TransactionContext,
        registration: &Registration,
    ) -> Result<(), CallError> {
        let until = self.until(Some(context), registration.wait)?;
        let request = Request::Register(wire::register(context, registration));
        let answer =
            self.call(Urgency::Entry, request, Some(context.store_id()), until).await?.frame;
        match answer {
            Answer::Registered(_) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits in the queue for keys without a branch.
    ///
    /// Dropping the future gives up the wait, and gives back what was granted.
    pub(crate) async fn claim(
        &self,
        context: &TransactionContext,
        resource: &ResourceId,
        locks: &[(EncodedKey, LockMode)],
        wait: Duration,
    ) -> Result<Claim, CallError> {
        let until = self.until(Some(context), wait)?;
        let request = Request::Claim(v1::ClaimRequest {
            xid: context.xid_here().to_string(),
            store_id: wire::store(context),
            resource_id: resource.to_string(),
            locks: wire::locks(locks),
            wait_ms: wire::millis_u32(wait),
        });
        let answer =
            self.call(Urgency::Entry, request, Some(context.store_id()), until).await?.frame;
        match answer {
            Answer::ClaimGranted(id) => Ok(Claim(id)),
            other => Err(unexpected(&other)),
        }
    }

    /// Gives a claim back early. One-way.
    pub(crate) fn release_claim(&self, claim: Claim) {
        // A claim goes with its stream, so one of a lost stream needs no release.
        if let Some(link) = self.shared().link_now() {
            let request = Request::ReleaseClaim(v1::ReleaseClaim { claim_id: claim.0 });
            link.send(Urgency::Decision, request);
        }
    }

    /// Are these keys free, or held by `context`? Takes nothing.
    pub(crate) async fn check(
        &self,
        context: Option<&TransactionContext>,
        resource: &ResourceId,
        locks: &[(EncodedKey, LockMode)],
        wait: Duration,
        holds_local_locks: bool,
    ) -> Result<(), CallError> {
        let until = self.until(context, wait)?;
        let request = Request::Check(v1::CheckRequest {
            xid: context.map_or_else(String::new, |context| context.xid_here().to_string()),
            store_id: context.map_or_else(Default::default, wire::store),
            resource_id: resource.to_string(),
            locks: wire::locks(locks),
            wait_ms: wire::millis_u32(wait),
            holds_local_locks,
        });
        let store = context.map(TransactionContext::store_id);
        match self.call(Urgency::Entry, request, store, until).await?.frame {
            Answer::ClaimGranted(_) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Says that a branch's local commit is done. One-way, sent at once, and repeated after each
    /// re-attach until phase two of the branch arrives. Also notes the branch in `context`.
    pub(crate) fn phase_one_done(
        &self,
        context: &TransactionContext,
        resource: &ResourceId,
        branch: BranchId,
    ) {
        context.record_done(branch);
        // Kept before it is sent: a stream that comes up in between repeats it.
        self.shared().reports.keep(context, resource, branch);
        if let Some(link) = self.shared().link_now()
            && link.store == context.store_id()
        {
            let report = report(context, resource, branch, v1::PhaseOneResult::Done);
            link.send(Urgency::Decision, Request::PhaseOne(report));
        }
    }

    /// Says that nothing of a branch was committed, for certain: its locks go. One-way, repeated
    /// like [`Session::phase_one_done`] until it is acknowledged.
    pub(crate) fn phase_one_failed(
        &self,
        context: &TransactionContext,
        resource: &ResourceId,
        branch: BranchId,
    ) {
        let Some(place) = self.failed_report_place() else {
            tracing::warn!(txn.xid = %context.xid_here(), "too many failed phase ones to report");
            return;
        };
        let request =
            Request::PhaseOne(report(context, resource, branch, v1::PhaseOneResult::Failed));
        let (session, context) = (self.clone(), context.clone());
        self.spawn("phase-one-failed", async move {
            let until = context.deadline() + FAILED_REPORT_AFTER_DEADLINE;
            let answer =
                session.call(Urgency::Decision, request, Some(context.store_id()), until).await;
            if let Err(error) = answer {
                tracing::warn!(
                    txn.xid = %context.xid_here(), txn.branch_id = %branch, %error,
                    "a failed phase one was not recorded"
                );
            }
            drop(place);
        });
    }

    /// Asks for the next block of branch ids, on the stream that is up: a new stream brings one.
    fn ask_for_ids(&self) {
        let session = self.clone();
        self.spawn("branch-ids", async move {
            // No stream for this long: the next one's Welcome brings a block unasked.
            let until = Instant::now() + session.answer_wait_max();
            let Ok(Some(link)) = timeout_at(until, session.shared().link()).await else { return };
            let request = Request::BranchIds(v1::BranchIdsRequest {});
            let block = match link.request(Urgency::Decision, request).await {
                Ok(Answered { frame: Answer::BranchIds(block), .. }) => Some(block),
                Ok(other) => {
                    tracing::warn!(answer = ?other.frame, "no branch ids from the coordinator");
                    sleep(IDS_PAUSE).await;
                    None
                }
                Err(Lost) => None,
            };
            session.shared().ids.asked(link.store, block);
        });
    }

    /// The end of a call that may wait `wait` for locks: never past the deadline.
    fn until(
        &self,
        context: Option<&TransactionContext>,
        wait: Duration,
    ) -> Result<Instant, CallError> {
        let until = Instant::now() + wait + self.answer_wait_max();
        let Some(context) = context else { return Ok(until) };
        if context.remaining().is_zero() {
            let xid = context.xid_here();
            let message = format!(
                "the deadline of global transaction `{xid}` has passed: it rolls back, so do no more \
                 work in it"
            );
            return Err(refusal(v1::ErrorCode::NotActive, message));
        }
        Ok(until.min(context.deadline()))
    }
}

fn report(
    context: &TransactionContext,
    resource: &ResourceId,
    branch: BranchId,
    result: v1::PhaseOneResult,
) -> v1::PhaseOneReport {
    v1::PhaseOneReport {
        xid: context.xid_here().to_string(),
        store_id: wire::store(context),
        branch_id: branch.0,
        result: result.into(),
        resource_id: resource.to_string(),
    }
}
