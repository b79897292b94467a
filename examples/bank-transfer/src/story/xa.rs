//! What is XA's own: the database keeps what is prepared, whoever dies.

use anyhow::{Result, ensure};

use super::stage::Stage;
use crate::books::{self, Open};
use crate::services::order::WaitFor;
use crate::services::tell::{End, Step};

pub(super) async fn tell(stage: &mut Stage) -> Result<()> {
    stage.part("(c) Bank a is killed after it has prepared: its next instance finishes", 0);
    let bank = stage.world.bank("a").clone();
    let running = stage.send("c", &[("a", -10), ("c", 10)], WaitFor::Decided);
    let answered = stage.tell_until(|told| matches!(told.step, Step::Answered(_))).await?;
    bank.server.kill().await?;
    stage.remark("SIGKILL to bank a; what it prepared is its database's now");
    drop(answered);
    let decided = stage.tell_until(|told| matches!(told.step, Step::Decided(_))).await?;
    let xid = decided.told.xid.clone();
    drop(decided);
    stage.answer(running).await?;
    let (prepared, balance) =
        (Open::read(&bank.url).await?.prepared, books::holding(&bank.url, 1).await?.balance);
    ensure!((prepared, balance) == (1, 70), "{prepared} prepared, and A holds {balance}");
    stage.remark("decided without it: a reader still sees 70 at A, and one prepared transaction");
    bank.server.restart().await?;
    stage.remark("bank a starts again, and is told the decision");
    stage.tell_phase_two(&xid, End::Commit).await?;
    stage.balances([60, 50, 190]).await
}
