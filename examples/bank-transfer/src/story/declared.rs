//! A declared saga: the coordinator drives the transfer, so whoever began it may go, and nobody has to
//! come back but those who do the legs.

use std::time::Duration;

use anyhow::{Result, ensure};
use pactum_proto::v1::{Saga, SagaStepState, TransactionStatus};

use super::both::{self, Between};
use super::saga::undone_newest_first;
use super::stage::{Running, Stage};
use crate::books;
use crate::services::order::WaitFor;
use crate::services::tell::{Step, Told};
use crate::world::World;

/// How long nothing may happen before that is taken for a pause. A step takes milliseconds.
const NOTHING: Duration = Duration::from_millis(300);

pub(super) async fn a_three_legs(stage: &mut Stage) -> Result<Between> {
    stage.part("(a) A sends 30 and B sends 50 to C: three banks, one saga", 1);
    let running = stage.send("a", &[("a", -30), ("b", -50), ("c", 80)], WaitFor::Decided);
    let first = stage.tell_until(acts("a")).await?;
    stage.tell_durable(first, "a").await?;
    let last = stage.tell_until(acts("c")).await?;
    let between = both::look(stage).await?;
    drop(last);
    stage.tell_until(has_ended).await?;
    stage.answer(running).await?;
    stage.balances([70, 50, 180]).await?;
    Ok(between)
}

pub(super) async fn tell(stage: &mut Stage) -> Result<()> {
    b_one_is_short(stage).await?;
    c_the_caller_dies(stage).await?;
    d_everybody_dies(stage).await?;
    e_an_operator_pauses(stage).await
}

async fn b_one_is_short(stage: &mut Stage) -> Result<()> {
    stage.part("(b) A sends 30, C gets 530, B is short: compensated is the newest first", 0);
    let legs = [("a", -30), ("c", 530), ("b", -500)];
    let running = stage.send("b", &legs, WaitFor::Decided);
    undone_newest_first(stage).await?;
    stage.tell_until(has_ended).await?;
    stage.answer(running).await?;
    stage.balances([70, 50, 180]).await
}

async fn c_the_caller_dies(stage: &mut Stage) -> Result<()> {
    stage.part("(c) The transfer service is killed after the submission: the saga goes on", 0);
    let running = stage.send("c", &[("a", -10), ("c", 10)], WaitFor::Decided);
    let submitted = stage.tell_until(|told| told.step == Step::Begun).await?;
    let xid = submitted.told.xid.clone();
    stage.world.tm.kill().await?;
    drop(submitted);
    stage.remark("SIGKILL to the transfer service; whoever asked it has no answer");
    let saga = stage.tell_until_ended(&xid).await?;
    ensure!(is_committed(&saga), "the saga was not committed: {saga:?}");
    stage.remark("committed, and nobody was there to hear it");
    stage.world.tm.restart().await?;
    stage.remark("started again, the service is sent the same transfer; its id is the key:");
    is_still_the_same(stage, running, &xid).await?;
    stage.balances([60, 50, 190]).await
}

/// Sends a transfer again whose answer was lost, and tells that it is the same saga.
async fn is_still_the_same(stage: &mut Stage, running: Running, xid: &str) -> Result<()> {
    let again = stage.send_again(running);
    let answered = stage.tell_until(has_ended).await?;
    ensure!(answered.told.xid == xid, "the same key is another saga: {}", answered.told.xid);
    drop(answered);
    stage.answer(again).await?;
    stage.remark("the same saga, and its end: nothing is booked twice");
    Ok(())
}

async fn d_everybody_dies(stage: &mut Stage) -> Result<()> {
    stage.part("(d) Killed are the caller, the coordinator twice, and every bank at its step", 0);
    let running = stage.send("d", &[("a", -10), ("b", -10), ("c", 20)], WaitFor::Decided);
    let submitted = stage.tell_until(|told| told.step == Step::Begun).await?;
    let xid = submitted.told.xid.clone();
    stage.world.tm.kill().await?;
    drop(submitted);
    stage.remark("SIGKILL to the transfer service");
    d_a_bank_dies_twice(stage, &xid, "a", 50).await?;
    d_a_bank_dies_twice(stage, &xid, "b", 40).await?;
    d_a_bank_dies(stage, "c").await?;
    let saga = stage.tell_until_ended(&xid).await?;
    ensure!(is_committed(&saga), "the saga was not committed: {saga:?}");
    stage.world.tm.restart().await?;
    is_still_the_same(stage, running, &xid).await?;
    stage.balances([50, 40, 210]).await
}

/// Kills a bank in the middle of its step, and once more when it has committed, together with the
/// coordinator: so nobody has heard its answer.
async fn d_a_bank_dies_twice(
    stage: &mut Stage,
    xid: &str,
    name: &'static str,
    balance: i64,
) -> Result<()> {
    d_a_bank_dies(stage, name).await?;
    let tc = stage.world.tc.clone().expect("the story runs its own coordinator");
    let bank = stage.world.bank(name).clone();
    let acting = stage.tell_until(acts(name)).await?;
    tc.kill().await?;
    drop(acting);
    let committed = async |_: &World| Ok(books::holding(&bank.url, 1).await?.balance == balance);
    stage.wait("the step to be committed", committed).await?;
    bank.server.kill().await?;
    stage.remark("SIGKILL to the coordinator, and to the bank, which has committed: no answer");
    tc.restart().await?;
    bank.server.restart().await?;
    stage.wait_for_step(xid, name, SagaStepState::Done).await?;
    stage.remark("both started again, its barrier row has the answer: nothing is booked twice");
    Ok(())
}

async fn d_a_bank_dies(stage: &mut Stage, name: &'static str) -> Result<()> {
    let bank = stage.world.bank(name).clone();
    let acting = stage.tell_until(acts(name)).await?;
    bank.server.kill().await?;
    stage.lost(acting);
    stage.remark("SIGKILL to the bank in the middle of it: lost, with its local transaction");
    bank.server.restart().await
}

async fn e_an_operator_pauses(stage: &mut Stage) -> Result<()> {
    stage.part("(e) An operator pauses the saga after A's step, and resumes it", 0);
    let running = stage.send("e", &[("a", -10), ("c", 10)], WaitFor::Decided);
    let acting = stage.tell_until(acts("a")).await?;
    let xid = stage.xid_of(&acting.told.transfer)?;
    let pause = ["saga", "pause", &xid, "--reason", "bank c is to be looked at"];
    stage.operate(&pause).await?;
    drop(acting);
    stage.wait_for_step(&xid, "a", SagaStepState::Done).await?;
    stage.remark("paused: what was under way has ended, and nothing else begins");
    let next = stage.next_within(NOTHING).await?;
    ensure!(next.is_none(), "a paused saga went on: {next:?}");
    stage.operate(&["saga", "resume", &xid, "--reason", "bank c is fine"]).await?;
    stage.tell_until(has_ended).await?;
    stage.answer(running).await?;
    let saga = stage.world.admin.saga(&xid).await?;
    ensure!(saga.words.len() == 2, "what the operator said is not on record: {:?}", saga.words);
    stage.remark("on record is what was said, and why:");
    stage.operate(&["saga", "show", &xid]).await?;
    stage.balances([40, 40, 220]).await
}

/// Whether this bank's action ran, in a local transaction that is still open.
fn acts(bank: &'static str) -> impl Fn(&Told) -> bool {
    move |told| matches!(&told.step, Step::Worked { leg, .. } if leg.bank == bank)
}

/// Whether the transfer service has heard the end.
fn has_ended(told: &Told) -> bool {
    matches!(told.step, Step::Decided(_))
}

fn is_committed(saga: &Saga) -> bool {
    saga.outcome.is_some_and(|outcome| outcome.status() == TransactionStatus::Committed)
}
