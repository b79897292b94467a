//! What is a saga's own: what was done is reversed newest first, one after the other, over all banks.

use anyhow::{Result, ensure};

use super::stage::Stage;
use super::tcc::settles;
use crate::books;
use crate::services::order::WaitFor;
use crate::services::tell::{End, Settling, Step};

pub(super) async fn tell(stage: &mut Stage) -> Result<()> {
    stage.part("(c) A sends 30, C gets 530, B is short: compensated is the newest first", 0);
    let legs = [("a", -30), ("c", 530), ("b", -500)];
    let running = stage.send("c", &legs, WaitFor::Decided);
    let decided = stage.tell_until(|told| matches!(told.step, Step::Decided(_))).await?;
    let xid = decided.told.xid.clone();
    drop(decided);
    stage.answer(running).await?;

    undone_newest_first(stage).await?;
    stage.tell_phase_two(&xid, End::Rollback).await?;
    stage.balances([70, 50, 180]).await
}

/// C's compensation, which is the newest, is killed in the middle and asked for again; A's waits for it.
pub(super) async fn undone_newest_first(stage: &mut Stage) -> Result<()> {
    let bank = stage.world.bank("c").clone();
    let newest = stage.tell_until(|told| matches!(told.step, Step::Settled { .. })).await?;
    ensure!(settles("c", Settling::Compensation)(&newest.told), "the oldest came first");
    bank.server.kill().await?;
    drop(newest);
    stage.remark("SIGKILL to bank c in the middle of it; A's compensation waits for C's");
    let a = books::holding(&stage.world.bank("a").url, 1).await?.balance;
    ensure!(a == 40, "A was compensated before C: it holds {a}");
    bank.server.restart().await?;
    let newest = stage.tell_until(|told| matches!(told.step, Step::Settled { .. })).await?;
    ensure!(settles("c", Settling::Compensation)(&newest.told), "the oldest came first");
    drop(newest);
    Ok(())
}
