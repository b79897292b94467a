//! The story: a trip that is booked, one that waits for approval, and one whose card is declined.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pactum_agent::{Agent, AgentOptions};
use pactum_testkit::temp_dir;
use trip_booking::books::{Books, Fate};
use trip_booking::services::Service;
use trip_booking::trips::{self, Trip};
use trip_booking::world::{Place, url};

/// How long a process may take to end when it is asked to.
const STOP_MAX: Duration = Duration::from_secs(15);

/// Starts everything, tells the story, and checks the books.
pub(crate) async fn tell() -> Result<()> {
    let dir = temp_dir("trip-booking")?;
    let program = std::env::current_exe().context("find this program")?;
    let place = Place { program, dir: dir.path().to_owned() };
    let (mut coordinator, address) = place.coordinator().await?;
    let mut services = Vec::new();
    for service in Service::ALL {
        services.push(place.service(service, address).await?);
    }
    let agent = Agent::connect(AgentOptions::new(url(address))).await?;

    let trips = [
        ("A trip to Lisbon", Trip::new("ada", "Lisbon", 2, "gold"), Fate::Booked),
        (
            "One to Tokyo: somebody must approve the price",
            Trip::new("bob", "Tokyo", 3, "gold"),
            Fate::Booked,
        ),
        (
            "One whose card is declined: all is undone",
            Trip::new("eve", "Lisbon", 2, "empty"),
            Fate::Undone,
        ),
    ];
    for (heading, trip, fate) in &trips {
        say(format!("\n{heading}"));
        book(&agent, trip, *fate).await?;
    }

    agent.shutdown().await;
    for service in &mut services {
        service.process.terminate(STOP_MAX).await?;
    }
    coordinator.process.terminate(STOP_MAX).await?;
    let books = Books::read(dir.path()).await?;
    let faults = books.faults(&trips.map(|(_, trip, fate)| (trip, fate)));
    ensure!(faults.is_empty(), "the books are wrong: {}", faults.join("; "));
    say("\n✓ the books are right: two trips are booked, and nothing is left of the third");
    Ok(())
}

async fn book(agent: &Agent, trip: &Trip, fate: Fate) -> Result<()> {
    let sagas = agent.sagas();
    let submitted = trips::submit(&sagas, trip).await?;
    say(format!("  submitted as {}", submitted.xid()));
    let told = |step: &_| say(trips::line(step));
    let ended = trips::look_on(&sagas, submitted.xid(), "Grace", told).await?;
    ensure!(ended.has_ended(), "the trip did not end: {ended:?}");
    ensure!(ended.is_committed() == (fate == Fate::Booked), "it ended otherwise: {ended:?}");
    match ended.failure() {
        None => say(format!("→ booked: {}", ended.output::<serde_json::Value>()?)),
        Some((step, why)) => say(format!("→ undone, because of `{step}`: {}", why.message)),
    }
    Ok(())
}

#[allow(clippy::print_stdout, reason = "the terminal is what the story is for")]
pub(crate) fn say(text: impl Display) {
    println!("{text}");
}
