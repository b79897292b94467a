//! The five parts of the story. Each ends with what the three accounts hold, which is checked.

use anyhow::{Result, ensure};
use pactum_proto::v1::TransactionStatus;

use super::stage::Stage;
use crate::books;
use crate::services::order::WaitFor;
use crate::services::tell::{End, Step, Told};
use crate::world::World;

pub(crate) async fn a_three_branches(stage: &mut Stage) -> Result<()> {
    stage.part("(a) A sends 30 and B sends 50 to C: three banks, one decision", 1);
    let legs = [("a", -30), ("b", -50), ("c", 80)];
    let running = stage.send("a", &legs, WaitFor::Completed);
    stage.tell_to_the_end(running).await?;
    stage.balances([70, 50, 180]).await
}

pub(crate) async fn b_one_is_short(stage: &mut Stage) -> Result<()> {
    stage.part("(b) A sends 30 and B sends 500, but B has only 50: A's 30 come back", 0);
    let legs = [("a", -30), ("b", -500), ("c", 530)];
    let running = stage.send("b", &legs, WaitFor::Completed);
    let held = stage.tell_until(asks(End::Rollback)).await?;
    let balance = books::balance(&stage.world.bank("a").url, 1).await?;
    ensure!(balance == 40, "A's debit is committed locally, and its balance is {balance}");
    stage.remark("A's 30 are gone: its bank has committed that, and so has no rollback of its own");
    drop(held);
    stage.tell_to_the_end(running).await?;
    stage.balances([70, 50, 180]).await
}

pub(crate) async fn c_two_meet(stage: &mut Stage) -> Result<()> {
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

pub(crate) async fn d_a_dirty_write(stage: &mut Stage) -> Result<()> {
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

pub(crate) async fn e_the_coordinator_dies(stage: &mut Stage) -> Result<()> {
    stage.part("(e) The coordinator is killed between the decision and phase two", 0);
    let running = stage.send("e", &[("a", -5), ("c", 5)], WaitFor::Decided);
    let held = stage.tell_until(asks(End::Commit)).await?;
    // So that phase two cannot begin.
    for bank in &stage.world.banks {
        bank.server.pause().await?;
    }
    drop(held);
    let decided = stage.tell_until(|told| matches!(told.step, Step::Decided(_))).await?;
    let tc = stage.world.tc.clone().expect("the story runs its own coordinator");
    tc.kill().await?;
    stage.remark("SIGKILL to the coordinator; no bank has heard the decision");
    let xid = decided.told.xid.clone();
    drop(decided);
    stage.answer(running).await?;
    let open = stage.world.open_undo_rows().await?;
    ensure!(open == 2, "both banks must still be able to undo, and {open} are");
    tc.restart().await?;
    let committing = async |world: &World| {
        let outcome = world.admin.show(&xid).await?.transaction.and_then(|shown| shown.outcome);
        Ok(outcome.is_some_and(|outcome| outcome.status() == TransactionStatus::Committing))
    };
    stage.wait("the coordinator to know of its decision", committing).await?;
    stage.remark("started again on the same files, it knows: committing, two banks to be told");
    for bank in &stage.world.banks {
        bank.server.resume().await?;
    }
    stage.tell_phase_two(&xid, End::Commit).await?;
    stage.balances([35, 70, 195]).await
}

fn asks(end: End) -> impl Fn(&Told) -> bool {
    move |told| told.step == Step::Asks(end)
}
