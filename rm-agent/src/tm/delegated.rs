//! The commit of a transaction whose branches of this process are still open: in one phase if there is
//! only one branch, and else in two.
//!
//! Easy to get wrong: once the delegation may be recorded, a branch that is *prepared* would be taken
//! for one that has *committed*. So without a clear answer it is rolled back, which is certain either
//! way; and it is prepared only after a clear refusal. And all of it runs to its end without its
//! caller: a commit must not overtake a branch of which nobody knows whether it is prepared.

use pactum_core::transaction::RollbackCause;
use pactum_proto::v1;

use super::ending::{Ending, decided};
use super::outcome::{Decision, Outcome};
use super::transaction::InDoubt;
use crate::context::{Delegatable, OnePhaseEnd};
use crate::session::CallError;

impl Ending {
    /// Ends the transaction with what its open branches allow.
    pub(super) async fn commit_with(&self, mut open: Vec<Delegatable>) -> Result<Outcome, InDoubt> {
        let alone = self.context.done_branches().is_empty();
        match open.pop() {
            Some(branch) if open.is_empty() && alone => self.delegate(branch).await,
            last => {
                open.extend(last);
                self.prepare_all(open).await
            }
        }
    }

    async fn prepare_all(&self, open: Vec<Delegatable>) -> Result<Outcome, InDoubt> {
        let mut failed = None;
        for Delegatable { branch, executor } in open {
            if failed.is_some() {
                executor.roll_back().await;
            } else if let Err(reason) = executor.prepare().await {
                failed = Some(format!("branch {branch} could not be prepared: {reason}"));
            }
        }
        match failed {
            None => self.commit().await.map_err(|reason| InDoubt::new(self.clone(), reason)),
            // A branch that failed is no veto to the coordinator, and its work was meant to be in it.
            Some(reason) => Ok(self.veto(&reason).await),
        }
    }

    async fn delegate(&self, only: Delegatable) -> Result<Outcome, InDoubt> {
        let Delegatable { branch, executor } = only;
        let asked = self.session.commit(&self.context, Some(branch), self.wait.to_wire()).await;
        let unclear = match asked {
            Ok(answer) if answer.status() == v1::TransactionStatus::Delegated => {
                tracing::debug!(
                    txn.xid = %self.context.xid(), txn.branch_id = %branch,
                    "the decision is left to the one-phase commit of the only branch"
                );
                return self.delegated(executor.commit_one_phase().await).await;
            }
            Err(error) if error.code() == Some(v1::ErrorCode::NotDelegable) => {
                return self.prepare_all(vec![Delegatable { branch, executor }]).await;
            }
            Ok(answer) => match decided(answer) {
                Ok(outcome) => {
                    executor.roll_back().await;
                    return Ok(outcome);
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        tracing::warn!(
            txn.xid = %self.context.xid(), error = %unclear,
            "no one-phase commit without a clear answer: it rolls back"
        );
        executor.roll_back().await;
        Ok(self.roll_back().await)
    }

    /// The branch has ended, and with it the transaction, whether or not the coordinator has heard.
    async fn delegated(&self, end: OnePhaseEnd) -> Result<Outcome, InDoubt> {
        let told = self.look(self.wait).await;
        let decision = match (&told, end) {
            (Ok(Some(outcome)), _) => return Ok(*outcome),
            (_, OnePhaseEnd::Committed) => Decision::Committed,
            (_, OnePhaseEnd::RolledBack(reason)) => {
                tracing::debug!(txn.xid = %self.context.xid(), reason, "the branch rolled back");
                Decision::RolledBack(RollbackCause::PhaseOneFailed)
            }
            (Ok(None), OnePhaseEnd::Unknown(reason)) => {
                return Err(InDoubt::new(self.clone(), CallError::NoAnswer(reason)));
            }
            (Err(error), OnePhaseEnd::Unknown(_)) => {
                return Err(InDoubt::new(self.clone(), error.clone()));
            }
        };
        Ok(Outcome { decision, completed: false, parked: 0 })
    }
}
