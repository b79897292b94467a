//! What is of a mixed transfer only: one decision for branches that carry it out differently.

use anyhow::Result;

use super::both;
use super::stage::Stage;
use crate::services::order::WaitFor;

pub(super) async fn tell(stage: &mut Stage) -> Result<()> {
    stage.part("(c) The coordinator is killed between the decision and phase two", 0);
    let legs = [("a", -10), ("b", -10), ("c", 20)];
    let running = stage.send("c", &legs, WaitFor::Decided);
    both::the_coordinator_dies(stage, running, 3).await?;
    stage.balances([60, 40, 200]).await
}
