//! What is TCC's own: confirm and cancel come as often as they like, in any order with the try, and at
//! most one of them has an effect, once.

use anyhow::{Result, ensure};

use super::stage::Stage;
use crate::books;
use crate::services::order::{Holding, WaitFor};
use crate::services::tell::{End, Settling, Step, Told};
use crate::world::World;

pub(super) async fn tell(stage: &mut Stage) -> Result<()> {
    c_a_confirm_is_lost_and_repeated(stage).await?;
    d_a_try_comes_late(stage).await
}

async fn c_a_confirm_is_lost_and_repeated(stage: &mut Stage) -> Result<()> {
    stage.part("(c) A's confirm is lost once, and then delivered twice: it has effect once", 0);
    let bank = stage.world.bank("a").clone();
    let running = stage.send("c", &[("a", -10), ("c", 10)], WaitFor::Decided);
    let decided = stage.tell_until(|told| matches!(told.step, Step::Decided(_))).await?;
    let xid = decided.told.xid.clone();
    drop(decided);
    stage.answer(running).await?;

    let confirming = stage.tell_until(settles("a", Settling::Confirm)).await?;
    bank.server.kill().await?;
    drop(confirming);
    stage.remark("SIGKILL to bank a in the middle of it: lost, with its local transaction");
    bank.server.restart().await?;

    let confirming = stage.tell_until(settles("a", Settling::Confirm)).await?;
    let tc = stage.world.tc.clone().expect("the story runs its own coordinator");
    tc.kill().await?;
    stage.remark("told again; and now SIGKILL to the coordinator, before it hears the answer");
    drop(confirming);
    let booked = async |_: &World| Ok(books::holding(&bank.url, 1).await?.balance == 60);
    stage.wait("A's confirm to be committed", booked).await?;
    tc.restart().await?;
    stage.remark("started again, it has no answer of A on record and asks a third time:");
    stage.tell_phase_two(&xid, End::Commit).await?;
    stage.remark("A's barrier row says that it is done: it answers, and books nothing");
    stage.balances([60, 50, 190]).await
}

async fn d_a_try_comes_late(stage: &mut Stage) -> Result<()> {
    stage.part("(d) B is short, and A's try is delivered once more after its cancel: refused", 0);
    let legs = [("a", -30), ("b", -500), ("c", 530)];
    let running = stage.send("d", &legs, WaitFor::Decided);
    let xid = stage.tell_to_the_end(running).await?;
    let refusal = stage.deliver_again("d", legs[0], &xid).await?;
    stage.remark("a network that was slow delivers A's request again; A answers:");
    stage.remark(&format!("  {}", refusal.split(';').next().unwrap_or_default()));
    let Holding { balance, reserved } = books::holding(&stage.world.bank("a").url, 1).await?;
    ensure!(reserved == 0, "{reserved} of A's {balance} are reserved, and nobody will free them");
    stage.remark("and nothing is reserved, which nobody would ever free");
    stage.balances([60, 50, 190]).await
}

/// Whether this bank's phase two ran, in this way.
pub(super) fn settles(bank: &'static str, how: Settling) -> impl Fn(&Told) -> bool {
    move |told| match &told.step {
        Step::Settled { leg, how: found, .. } => leg.bank == bank && *found == how,
        Step::Begun
        | Step::Calls(_)
        | Step::Worked { .. }
        | Step::Refused { .. }
        | Step::CommittedLocally(_)
        | Step::Answered(_)
        | Step::Asks(_)
        | Step::Decided(_) => false,
    }
}
