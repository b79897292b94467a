//! A branch that its manager may commit in one phase: the two share a process, and nobody else takes
//! part.
//!
//! Its local transaction stays open, not prepared, until the manager ends the global one. Then either
//! the coordinator records that the decision is *delegated* to this branch, whose local commit then is
//! the decision; or the branch is prepared after all, and takes the way of two phases.
//!
//! Easy to get wrong: nothing is committed before *delegated* is durable, and after it only the branch
//! knows how the global transaction ended. So its answer is one of three, and it reports phase one to
//! the coordinator itself.

use async_trait::async_trait;
use pactum_core::id::BranchId;

use super::TransactionContext;

/// How a branch ended its local transaction in one phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OnePhaseEnd {
    /// Committed, certainly; reported as phase one done.
    Committed,
    /// Not committed, certainly; reported as phase one failed. With a reason for people.
    RolledBack(String),
    /// Not known here: the coordinator asks a session of the resource. With a reason for people.
    Unknown(String),
}

/// The open local transaction of a delegatable branch. One of the three ends it; dropped without, or
/// in the middle of one, it is lost like any other connection.
#[async_trait]
pub(crate) trait OnePhase: Send + 'static {
    /// Takes the way of two phases: prepares, and reports phase one done. On an error the branch is
    /// not prepared, has reported so, and the manager rolls back; the text is for people.
    async fn prepare(self: Box<Self>) -> Result<(), String>;

    /// Commits locally. Called only after the coordinator recorded the delegation durably.
    async fn commit_one_phase(self: Box<Self>) -> OnePhaseEnd;

    /// Rolls back locally, and reports phase one failed.
    async fn roll_back(self: Box<Self>);
}

/// A branch, and its open local transaction.
pub(crate) struct Delegatable {
    pub(crate) branch: BranchId,
    pub(crate) executor: Box<dyn OnePhase>,
}

impl std::fmt::Debug for Delegatable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delegatable").field("branch", &self.branch).finish_non_exhaustive()
    }
}

impl TransactionContext {
    /// Whether a branch of this process may stay unprepared for a one-phase commit: its manager is
    /// here, nothing else has been done or left open, and the work is in no nested scope. Whether the
    /// branch is alone in the end is decided when the transaction ends; [`OnePhase::prepare`] is called
    /// if not.
    pub(crate) fn may_delegate(&self) -> bool {
        self.0.managed_here
            && self.record(|record| record.done.is_empty() && record.delegatable.is_empty())
    }

    /// Leaves an open local transaction to the manager, which then calls one of its three ends. The
    /// branch is registered, and phase one not reported. It comes back if the manager asked for the end
    /// already, and so calls nothing any more: then the branch ends its local transaction itself.
    pub(crate) fn record_delegatable<B: OnePhase>(
        &self,
        branch: BranchId,
        executor: Box<B>,
    ) -> Result<(), Box<B>> {
        self.record(|record| {
            if record.ending.is_some() {
                return Err(executor);
            }
            record.delegatable.push(Delegatable { branch, executor });
            Ok(())
        })
    }

    /// How the manager has to commit. It may ask again, and then goes on in the same way: a veto that
    /// comes after the commit was asked for is too late.
    pub(crate) fn close(&self) -> Closing {
        self.record(|record| match record.ending {
            None => {
                if let Some(reason) = &record.veto {
                    return Closing::Vetoed(reason.clone());
                }
                let delegatable = std::mem::take(&mut record.delegatable);
                if delegatable.is_empty() {
                    record.ending = Some(Ending::Asked);
                    Closing::Plain
                } else {
                    record.ending = Some(Ending::Left);
                    Closing::WithOpenBranches(delegatable)
                }
            }
            Some(Ending::Asked) => Closing::Plain,
            Some(Ending::Left) => Closing::Left,
        })
    }

    /// The open local transactions, to be rolled back; no more come.
    pub(crate) fn take_delegatable(&self) -> Vec<Delegatable> {
        self.record(|record| {
            record.ending.get_or_insert(Ending::Asked);
            std::mem::take(&mut record.delegatable)
        })
    }

    /// Whether the end goes on by itself, with the open branches: see [`Closing::Left`].
    pub(crate) fn is_left(&self) -> bool {
        self.record(|record| record.ending == Some(Ending::Left))
    }
}

/// How a transaction is to be committed.
#[derive(Debug)]
pub(crate) enum Closing {
    /// Not at all, because of this.
    Vetoed(String),
    /// All that this process did is prepared.
    Plain,
    /// These have to be ended first. Whoever takes them goes on though its caller be gone: a commit
    /// that is asked for in the middle of it would commit without them.
    WithOpenBranches(Vec<Delegatable>),
    /// Somebody took them, and goes on.
    Left,
}

/// How far the manager has gone in ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Asked,
    Left,
}
