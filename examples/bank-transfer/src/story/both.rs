//! The parts that every mode plays. Each ends with what the three accounts hold, which is checked.

use anyhow::{Result, ensure};
use pactum_proto::v1::TransactionStatus;

use super::stage::{Running, Stage};
use crate::args::Mode;
use crate::books;
use crate::services::order::{Holding, WaitFor};
use crate::services::tell::{End, Step, Told};
use crate::world::World;

/// What was there to be seen when all was done and nothing decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Between {
    /// What A, who sends 30 of 100, holds as anybody may read it.
    pub(crate) reader: Holding,
    /// Over all three banks.
    pub(crate) global_locks: u64,
    pub(crate) prepared: u64,
}

pub(super) async fn a_three_branches(stage: &mut Stage) -> Result<Between> {
    stage.part("(a) A sends 30 and B sends 50 to C: three banks, one decision", 1);
    let legs = [("a", -30), ("b", -50), ("c", 80)];
    let running = stage.send("a", &legs, WaitFor::Decided);
    let held = stage.tell_until(asks(End::Commit)).await?;
    let between = look(stage).await?;
    drop(held);
    stage.tell_to_the_end(running).await?;
    stage.balances([70, 50, 180]).await?;
    Ok(between)
}

/// Looks when all is done and nothing decided, and says what a reader sees.
pub(super) async fn look(stage: &Stage) -> Result<Between> {
    let open = stage.world.open().await?;
    let between = Between {
        reader: books::holding(&stage.world.bank("a").url, 1).await?,
        global_locks: stage.world.admin.summary().await?.locks,
        prepared: open.iter().map(|open| open.prepared).sum(),
    };
    stage.remark(match (between.reader.balance, between.reader.reserved) {
        (70, 0) => "a reader sees 70 at A: booked, and not decided yet",
        (100, 30) => "a reader sees 100 at A, of which 30 are reserved",
        (100, 0) => "a reader sees 100 at A: what is prepared is not there yet",
        other => anyhow::bail!("a reader sees {other:?} at A"),
    });
    Ok(between)
}

pub(super) async fn b_one_is_short(stage: &mut Stage, mode: Mode) -> Result<()> {
    stage.part("(b) A sends 30 and B sends 500, but B has only 50: A's 30 come back", 0);
    // Where the banks have different modes, there is more than one to undo.
    let legs = match mode {
        Mode::Mixed | Mode::All => [("a", -30), ("c", 530), ("b", -500)],
        Mode::At | Mode::Tcc | Mode::Saga | Mode::SagaDeclared | Mode::Xa => {
            [("a", -30), ("b", -500), ("c", 530)]
        }
    };
    let running = stage.send("b", &legs, WaitFor::Decided);
    let held = stage.tell_until(asks(End::Rollback)).await?;
    let Holding { balance, reserved } = books::holding(&stage.world.bank("a").url, 1).await?;
    let (expected, remark) = match mode {
        Mode::At | Mode::Mixed | Mode::All => (
            (40, 0),
            "A's 30 are gone: its bank has committed that, and so has no rollback of its own",
        ),
        Mode::Tcc => ((70, 30), "A's 30 are still there, and reserved"),
        Mode::Saga | Mode::SagaDeclared => {
            ((40, 0), "A's 30 are gone: its bank has committed that, and has a compensation")
        }
        Mode::Xa => ((70, 0), "A's 30 are prepared to go, which nobody sees yet"),
    };
    ensure!((balance, reserved) == expected, "A holds {balance}, {reserved} of it reserved");
    stage.remark(remark);
    drop(held);
    stage.tell_to_the_end(running).await?;
    stage.balances([70, 50, 180]).await
}

/// Kills the coordinator after its decision and before any of the `banks` concerned has heard it.
pub(super) async fn the_coordinator_dies(
    stage: &mut Stage,
    running: Running,
    banks: u64,
) -> Result<()> {
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
    let waiting = stage.world.open().await?;
    let waiting: u64 = waiting.iter().map(|open| open.waiting(&xid)).sum();
    ensure!(waiting == banks, "{waiting} of {banks} banks wait to hear the decision");
    tc.restart().await?;
    let committing = async |world: &World| {
        let shown = world.admin.show(&xid).await?;
        let outcome = shown.transaction.and_then(|shown| shown.outcome).unwrap_or_default();
        Ok(outcome.status() == TransactionStatus::Committing)
    };
    stage.wait("the coordinator to know of its decision", committing).await?;
    let remark = format!("started again on the same files, it knows: committing, at {banks} banks");
    stage.remark(&remark);
    for bank in &stage.world.banks {
        bank.server.resume().await?;
    }
    stage.tell_phase_two(&xid, End::Commit).await
}

pub(super) fn asks(end: End) -> impl Fn(&Told) -> bool {
    move |told| told.step == Step::Asks(end)
}
