//! A saga's step by hand: the barrier row with the input, and the action. After the decision to commit
//! nothing is left to do. A step with a result has one statement more, here as in the agent.

use anyhow::{Context as _, Result};

use super::by_hand::{ByHand, Party, Work};
use super::speak::{Joins, change};

const MODE: &str = "saga";

/// A saga's floor.
pub(super) struct Saga;

impl<DB: Joins> ByHand<DB> for Saga {
    const MODE: &'static str = MODE;
    const HAS_PHASE_TWO: bool = false;

    async fn phase_one(party: &Party<DB>, work: Work) -> Result<()> {
        let (_turn, mut local) = party.opened(MODE, work).await?;
        change::<DB>(&mut local, work.account, work.amount).await?;
        local.commit().await.context("commit")
    }

    async fn phase_two(_party: &Party<DB>, _work: Work) -> Result<()> {
        Ok(())
    }
}
