//! Tells phase two, bank by bank.
//!
//! What a bank does itself, in TCC and sagas, it tells itself. What the agent does for it is seen at
//! the coordinator, once it is confirmed.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use pactum_proto::v1::{
    Branch, BranchMode, PhaseOneKnowledge, PhaseTwoState, ShowTransactionReply, TransactionStatus,
};
use tokio::time::Instant;

use super::stage::{SHOWS_MAX, Stage, columns};
use crate::books;
use crate::services::tell::End;

/// Between two looks at the coordinator.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

impl Stage {
    /// Tells phase two until the transaction has ended.
    pub(crate) async fn tell_phase_two(&mut self, xid: &str, end: End) -> Result<()> {
        let until = Instant::now() + SHOWS_MAX;
        let mut told = BTreeSet::new();
        loop {
            while let Some(held) = self.next_within(LOOK_PAUSE).await? {
                self.tell(&held.told).await?;
            }
            // It may have been started just now, and not answer.
            if let Ok(shown) = self.world.admin.show(xid).await {
                let ended = has_ended(&shown);
                for branch in &shown.branches {
                    let done = ended || branch.phase_two() == PhaseTwoState::Done;
                    let undone = branch.phase_one() == PhaseOneKnowledge::Failed;
                    if done && !undone && told.insert(branch.branch_id) {
                        self.tell_confirmed(branch, end).await;
                    }
                }
                if ended {
                    return Ok(());
                }
            }
            ensure!(Instant::now() < until, "phase two of `{xid}` did not end in {SHOWS_MAX:?}");
        }
    }

    async fn tell_confirmed(&self, branch: &Branch, end: End) {
        let bank = self.world.banks.iter().find(|bank| bank.resource == branch.resource_id);
        let Some(bank) = bank else { return };
        let balance = async || {
            let read = books::holding(&bank.url, 1).await;
            read.map_or_else(|_| String::new(), |holding| format!(": balance {}", holding.balance))
        };
        let what = match (branch.mode(), end) {
            (BranchMode::At, End::Commit) => "undo row deleted".to_owned(),
            (BranchMode::At, End::Rollback) => format!("rows as they were{}", balance().await),
            (BranchMode::Saga, End::Commit) => "nothing to do".to_owned(),
            (BranchMode::Xa, End::Commit) => format!("committed{}", balance().await),
            (BranchMode::Xa, End::Rollback) => format!("rolled back{}", balance().await),
            // The bank has told it.
            (BranchMode::Tcc, End::Commit | End::Rollback) | (BranchMode::Saga, End::Rollback) => {
                return;
            }
            (BranchMode::Unspecified, End::Commit | End::Rollback) => "done".to_owned(),
        };
        self.screen.line(columns("8 phase two", &format!("bank {}", bank.name), &what));
    }
}

/// Whether every branch has confirmed the decision.
pub(super) fn has_ended(shown: &ShowTransactionReply) -> bool {
    let outcome = shown.transaction.as_ref().and_then(|shown| shown.outcome.as_ref());
    outcome.is_some_and(|outcome| {
        matches!(outcome.status(), TransactionStatus::Committed | TransactionStatus::RolledBack)
    })
}
