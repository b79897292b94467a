//! The proof that a declared saga ends as declared, whoever is killed.
//!
//! ```text
//! submitted ─✗ flight ∥ nights ─✗ approve ─✗ pay ─✗ confirm ─✗        ✗ all of this is killed once: whoever
//!                                             └ declined: flight ∥ nights undone ─✗   submits, and each service
//! ```
//!
//! Each round strikes every handler of two trips at one moment: before it runs, inside of it, after its local
//! commit and before anybody heard of it, or while its answer is on the way. The coordinator is killed twice in
//! a round, in half of the places in one round and in the others in the next. Afterwards every effect in a
//! database is there once, or not at all; and a mail was sent once or more, under one key.

mod gate;
mod hold;
mod stage;

use anyhow::Result;
use pactum_testkit::wait::wait_until;
use trip_booking::books::Fate;
use trip_booking::services::Service;
use trip_booking::trips::{self, Trip};

use gate::{Snare, Way};
use stage::{BOUND, Handler, Moment, Stage};

/// Where a round may kill the coordinator, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// With the services of flights and hotels.
    Start,
    /// While a trip waits for approval.
    Approval,
    /// With the payments.
    Pay,
    /// With the mail service; or with flights and hotels, while they undo.
    End,
}

const ODD: [Place; 2] = [Place::Start, Place::Pay];
const EVEN: [Place; 2] = [Place::Approval, Place::End];
/// In between an answer of the other trip may be on its way, and would be lost with the coordinator.
const OUTER: [Place; 2] = [Place::Start, Place::End];

/// Goal: what is to be booked is booked. Method: see the head.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trip_is_booked_once_whoever_is_killed() -> Result<()> {
    let mut stage = Stage::set().await?;
    round_of(&mut stage, Moment::Before, EVEN, Fate::Booked).await?;
    round_of(&mut stage, Moment::Inside, ODD, Fate::Booked).await?;
    round_of(&mut stage, Moment::After, EVEN, Fate::Booked).await?;
    round_of(&mut stage, Moment::Answered, OUTER, Fate::Booked).await
}

/// Goal: what is declined is undone, and nothing else. Method: see the head.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declined_trip_is_undone_whoever_is_killed() -> Result<()> {
    let mut stage = Stage::set().await?;
    round_of(&mut stage, Moment::Before, ODD, Fate::Undone).await?;
    round_of(&mut stage, Moment::Inside, EVEN, Fate::Undone).await?;
    round_of(&mut stage, Moment::After, ODD, Fate::Undone).await?;
    round_of(&mut stage, Moment::Answered, OUTER, Fate::Undone).await
}

async fn round_of(
    stage: &mut Stage,
    moment: Moment,
    coordinator_too: [Place; 2],
    fate: Fate,
) -> Result<()> {
    let coordinator_too = |place| coordinator_too.contains(&place);
    let card = if fate == Fate::Booked { "gold" } else { "empty" };
    let name = |to: &str| format!("{fate:?}-{moment:?}-{to}");
    let tokyo = Trip::new(name("tokyo"), "Tokyo", 3, card);
    let trips = [tokyo.clone(), Trip::new(name("lisbon"), "Lisbon", 2, card)];

    let mut first = Vec::new();
    for service in [Service::Flights, Service::Hotels] {
        first.push(stage.aim(service, moment, Handler::Action).await?);
    }
    let pay = stage.aim(Service::Payments, moment, Handler::Action).await?;
    let mut last = Vec::new();
    if fate == Fate::Booked {
        last.push(stage.aim(Service::Mail, moment, Handler::Action).await?);
    }

    // Nobody hears that it was submitted, and it is submitted again.
    let (mut submitter, gate) = stage.submitter(&tokyo, fate).await?;
    gate.set(Snare { sees: Way::ToCoordinator, word: tokyo.trip.clone(), holds: Way::ToService });
    for aim in &first {
        stage.reached(aim, &trips[..1], fate).await?;
    }
    submitter.kill_hard().await?;
    let tokyo_xid = trips::submit(&stage.agent.sagas(), &tokyo).await?.xid().to_owned();
    // Somebody hears it, and goes.
    let (mut submitter, _gate) = stage.submitter(&trips[1], fate).await?;
    let line = submitter.wait_for_line("submitted ", BOUND).await?;
    submitter.kill_hard().await?;
    let lisbon_xid = line["submitted ".len()..].to_owned();
    let again = trips::submit(&stage.agent.sagas(), &trips[1]).await?;
    assert_eq!(again.xid(), lisbon_xid);

    let xids = [tokyo_xid.as_str(), lisbon_xid.as_str()];

    let killed = stage.kill(first, &xids).await?;
    if coordinator_too(Place::Start) {
        stage.kill_coordinator().await?;
    }
    stage.restart(killed).await?;
    stage.approve(xids[0], coordinator_too(Place::Approval)).await?;

    stage.reached(&pay, &trips, fate).await?;
    all_are_at("pay", stage, &xids).await?;
    if fate == Fate::Undone {
        for service in [Service::Flights, Service::Hotels] {
            last.push(stage.aim(service, moment, Handler::Compensation).await?);
        }
    }
    let killed = stage.kill(vec![pay], &xids).await?;
    if coordinator_too(Place::Pay) {
        stage.kill_coordinator().await?;
    }
    stage.restart(killed).await?;

    for aim in &last {
        stage.reached(aim, &trips, fate).await?;
    }
    let killed = stage.kill(last, &xids).await?;
    if coordinator_too(Place::End) {
        stage.kill_coordinator().await?;
    }
    stage.restart(killed).await?;
    stage.check(&xids, fate).await?;
    if (moment, fate) == (Moment::After, Fate::Booked) {
        // No row says that it was sent, so it was sent again.
        assert!(stage.mails_sent(&trips)? > trips.len());
    }
    Ok(())
}

/// Waits until everything before this step is done for all of them.
async fn all_are_at(path: &str, stage: &Stage, xids: &[&str]) -> Result<()> {
    let sagas = stage.agent.sagas();
    wait_until(path, BOUND, async || {
        for xid in xids {
            let Ok(saga) = sagas.get_with_steps(xid).await else { return false };
            if !saga.steps().iter().any(|step| step.path == path) {
                return false;
            }
        }
        true
    })
    .await
}
