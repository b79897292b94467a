//! What is AT's own: global locks, and a rollback that finds somebody else's work.

use anyhow::Result;

use super::both::{self, asks};
use super::stage::Stage;
use crate::books;
use crate::services::order::WaitFor;
use crate::services::tell::{End, Step};
use crate::world::World;

pub(super) async fn tell(stage: &mut Stage) -> Result<()> {
    c_two_meet(stage).await?;
    d_a_dirty_write(stage).await?;
    e_the_coordinator_dies(stage).await
}

async fn c_two_meet(stage: &mut Stage) -> Result<()> {
    stage.part("(c) Two transfers meet on A's row: the second waits for the global lock", 0);
    stage.tag("c1", "first");
    stage.tag("c2", "second");
    let first = stage.send("c1", &[("a", -10), ("c", 10)], WaitFor::Decided);
    let undecided = stage.tell_until(asks(End::Commit)).await?;
    let second = stage.send("c2", &[("a", -20), ("b", 20)], WaitFor::Decided);
    let worked = stage.tell_until(|told| matches!(told.step, Step::Worked { .. })).await?;
    let waiting = worked.told.xid.clone();
    drop(worked);
    let is_waiting = async |world: &World| Ok(world.admin.summary().await?.waiters > 0);
    stage.wait("the second transfer to wait", is_waiting).await?;
    stage.remark(&format!("{waiting} waits for {},", undecided.told.xid));
    stage.remark("outside of A's database: its local transaction is rolled back, and runs again");
    drop(undecided);
    for _ in 0..2 {
        stage.tell_until(|told| matches!(told.step, Step::Decided(_))).await?;
    }
    for running in [first, second] {
        stage.answer(running).await?;
    }
    stage.balances([40, 70, 190]).await
}

async fn d_a_dirty_write(stage: &mut Stage) -> Result<()> {
    stage.part("(d) Somebody writes to a locked row behind the agent's back", 0);
    let legs = [("a", -30), ("b", -500), ("c", 530)];
    let running = stage.send("d", &legs, WaitFor::Decided);
    let held = stage.tell_until(asks(End::Rollback)).await?;
    let (xid, url) = (held.told.xid.clone(), stage.world.bank("a").url.clone());
    books::overwrite_balance(&url, 1, 15).await?;
    stage.remark("a hand with the database's password sets A's balance from 10 to 15");
    drop(held);
    stage.tell_until(|told| matches!(told.step, Step::Decided(_))).await?;
    stage.answer(running).await?;
    let parked = async |world: &World| {
        let shown = world.admin.show(&xid).await?;
        Ok(shown.branches.iter().any(|branch| branch.park_report.is_some()))
    };
    stage.wait("the rollback to be parked", parked).await?;
    stage.remark("the row is neither as it was nor as the branch left it: nothing is restored");
    stage.operate(&["tx", "show", &xid]).await?;
    books::overwrite_balance(&url, 1, 10).await?;
    stage.remark("a person looks, puts the row back, and has it tried again");
    stage.operate(&["tx", "retry", &xid]).await?;
    stage.tell_phase_two(&xid, End::Rollback).await?;
    stage.balances([40, 70, 190]).await
}

async fn e_the_coordinator_dies(stage: &mut Stage) -> Result<()> {
    stage.part("(e) The coordinator is killed between the decision and phase two", 0);
    let running = stage.send("e", &[("a", -5), ("c", 5)], WaitFor::Decided);
    both::the_coordinator_dies(stage, running, 2).await?;
    stage.balances([35, 70, 195]).await
}
