//! The processes of the example behind gates, and how they are struck.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pactum_agent::sagas::{StepStanding, StepState};
use pactum_agent::{Agent, AgentOptions};
use pactum_testkit::wait::wait_until;
use pactum_testkit::{Process, TempDir, temp_dir};
use tokio::time::timeout;
use trip_booking::books::{Books, Fate};
use trip_booking::services::{OUTBOX, Service, sent_mails};
use trip_booking::trips::{APPROVE, Trip};
use trip_booking::world::{Place, Running, url};

use crate::gate::{Gate, Snare, Way};
use crate::hold::Hold;

/// How long anything may take on a busy machine.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// All of them have it, and of what a service says only its answers name one.
const XIDS: &str = "default:";

/// When a service is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// It was asked, and its handler has not run.
    Before,
    /// Its handler runs: the barrier row is written, and not committed.
    Inside,
    /// The local commit is done, and nobody was told.
    After,
    /// It has answered, and is dead when the answer arrives.
    Answered,
}

/// Which of its handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handler {
    Action,
    Compensation,
}

/// A service that is about to be killed.
pub(crate) struct Aim {
    service: Service,
    moment: Moment,
    handler: Handler,
    hold: Option<Hold>,
}

pub(crate) struct Stage {
    dir: TempDir,
    place: Place,
    coordinator: Running,
    services: Vec<(Running, Gate)>,
    address: std::net::SocketAddr,
    pub(crate) agent: Agent,
    /// All trips that there ever were.
    trips: Vec<(Trip, Fate)>,
}

impl Stage {
    pub(crate) async fn set() -> Result<Stage> {
        let dir = temp_dir("trips-killed")?;
        let program = env!("CARGO_BIN_EXE_trip-booking").into();
        let place = Place { program, dir: dir.path().to_owned() };
        let (coordinator, address) = place.coordinator().await?;
        let mut services = Vec::new();
        for service in Service::ALL {
            let gate = Gate::before(address).await?;
            services.push((place.service(service, gate.address).await?, gate));
        }
        let agent = Agent::connect(AgentOptions::new(url(address))).await?;
        Ok(Stage { dir, place, coordinator, services, address, agent, trips: Vec::new() })
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn service(&mut self, service: Service) -> &mut (Running, Gate) {
        let place = Service::ALL.iter().position(|known| *known == service);
        &mut self.services[place.expect("all are known")]
    }

    /// From now on the service does not get beyond this moment.
    pub(crate) async fn aim(
        &mut self,
        service: Service,
        moment: Moment,
        handler: Handler,
    ) -> Result<Aim> {
        let asked = (Way::ToService, action(service));
        let snared = match moment {
            Moment::Before => Some((asked, Way::ToService)),
            Moment::Inside => None,
            Moment::After => Some((asked, Way::ToCoordinator)),
            Moment::Answered => Some(((Way::ToCoordinator, XIDS), Way::ToCoordinator)),
        };
        if let Some(((sees, word), holds)) = snared {
            self.service(service).1.set(Snare { sees, word: word.to_owned(), holds });
        }
        let hold = match moment {
            Moment::Inside => Some(Hold::inside(self.dir(), service, handler).await?),
            Moment::Before | Moment::After | Moment::Answered => None,
        };
        Ok(Aim { service, moment, handler, hold })
    }

    /// Waits until the service is at that moment with one of these trips. If it has answered, it is dead then:
    /// nothing that it should have done before is done a little later.
    pub(crate) async fn reached(&mut self, aim: &Aim, trips: &[Trip], fate: Fate) -> Result<()> {
        let what = format!("{:?} of `{}`, {:?}", aim.handler, action(aim.service), aim.moment);
        let dir = self.dir().to_owned();
        let (running, gate) = self.service(aim.service);
        if aim.moment == Moment::Answered {
            timeout(BOUND, gate.closed()).await.context(what)?;
            return running.process.kill_hard().await;
        }
        let (process, name) = (&running.process, action(aim.service));
        wait_until(&what, BOUND, async || match aim.moment {
            Moment::Before | Moment::Answered => gate.is_closed(),
            Moment::Inside => match aim.handler {
                Handler::Action => has_said(process, &format!(": {name} "), trips),
                Handler::Compensation => has_said(process, &format!(": undo {name} "), trips),
            },
            // A card that is declined leaves nothing.
            Moment::After if aim.service == Service::Payments && fate == Fate::Undone => {
                gate.is_closed() && has_said(process, ": declined ", trips)
            }
            Moment::After => {
                let Ok(books) = Books::read(&dir).await else { return false };
                let held = |trip: &Trip| books.held(aim.service, &trip.trip);
                gate.is_closed()
                    && match aim.handler {
                        Handler::Action => trips.iter().any(|trip| held(trip) > 0),
                        Handler::Compensation => trips.iter().any(|trip| held(trip) == 0),
                    }
            }
        })
        .await
    }

    /// Kills the services at once. What one has answered arrives.
    pub(crate) async fn kill(&mut self, aims: Vec<Aim>, xids: &[&str]) -> Result<Vec<Service>> {
        let mut killed = Vec::new();
        for aim in aims {
            let dir = self.dir().to_owned();
            if aim.moment == Moment::Answered {
                self.service(aim.service).1.open();
                self.told(&aim, xids).await?;
            }
            let (running, gate) = self.service(aim.service);
            let is_dead = running.process.exit_status()?.is_some();
            ensure!(
                is_dead == (aim.moment == Moment::Answered),
                "`{:?}` ended by itself",
                aim.service
            );
            running.process.kill_hard().await?;
            gate.cut();
            if let Some(hold) = aim.hold {
                hold.release(&dir).await?;
            }
            killed.push(aim.service);
        }
        Ok(killed)
    }

    /// Waits until the coordinator knows the answer about one of the trips.
    async fn told(&self, aim: &Aim, xids: &[&str]) -> Result<()> {
        let sagas = self.agent.sagas();
        let is_told = |step: &StepStanding| {
            let is_over = match aim.handler {
                Handler::Action => !matches!(step.state(), StepState::Running | StepState::Parked),
                Handler::Compensation => step.state() != StepState::Undoing,
            };
            step.resource_id == aim.service.name() && is_over
        };
        let what = format!("the answer of `{}` to arrive", action(aim.service));
        wait_until(&what, BOUND, async || {
            for xid in xids {
                let saga = sagas.get_with_steps(xid).await;
                if saga.is_ok_and(|saga| saga.steps().iter().any(is_told)) {
                    return true;
                }
            }
            false
        })
        .await
    }

    pub(crate) async fn restart(&mut self, services: Vec<Service>) -> Result<()> {
        for service in services {
            self.service(service).0.restart().await?;
        }
        Ok(())
    }

    pub(crate) async fn kill_coordinator(&mut self) -> Result<()> {
        let status = self.coordinator.process.exit_status()?;
        ensure!(status.is_none(), "the coordinator ended by itself: {status:?}");
        self.coordinator.process.kill_hard().await?;
        self.coordinator.restart().await
    }

    /// A process that submits the trip, and its gate.
    pub(crate) async fn submitter(&mut self, trip: &Trip, fate: Fate) -> Result<(Process, Gate)> {
        self.trips.push((trip.clone(), fate));
        let gate = Gate::before(self.address).await?;
        let mut command = self.place.command("book");
        command.arg("--coordinator").arg(url(gate.address)).args(["--approve", "nobody"]);
        command.args(["--trip", &trip.trip, "--to", &trip.to, "--card", &trip.card]);
        for night in &trip.nights {
            command.arg("--night").arg(night);
        }
        Ok((Process::spawn("submitter", command)?, gate))
    }

    /// Approves the trip, once it waits for that.
    pub(crate) async fn approve(&mut self, xid: &str, kill_coordinator: bool) -> Result<()> {
        let sagas = self.agent.sagas();
        let waits = async || {
            let saga = sagas.get_with_steps(xid).await;
            saga.is_ok_and(|saga| {
                let mut steps = saga.steps().iter();
                steps.any(|step| step.path == APPROVE && step.state() == StepState::Waiting)
            })
        };
        wait_until("a trip that waits for approval", BOUND, waits).await?;
        if kill_coordinator {
            self.kill_coordinator().await?;
        }
        let by = serde_json::json!({ "by": "Grace" });
        sagas.signal(xid, APPROVE, &by).await.context("approve the trip")?;
        Ok(())
    }

    /// Waits for the ends, and compares them and all books with what is declared.
    pub(crate) async fn check(&self, xids: &[&str], fate: Fate) -> Result<()> {
        let sagas = self.agent.sagas();
        for xid in xids {
            let ended = sagas.wait(xid, BOUND).await?;
            ensure!(ended.has_ended(), "it did not end: {:?}", sagas.get_with_steps(xid).await?);
            let failure = ended.failure().map(|(step, why)| (step, why.code.as_str()));
            let declared = match fate {
                Fate::Booked => (true, None),
                Fate::Undone => (false, Some(("pay", "declined"))),
            };
            ensure!((ended.is_committed(), failure) == declared, "it ended otherwise: {ended:?}");
        }
        let faults = Books::read(self.dir()).await?.faults(&self.trips);
        ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(())
    }
    /// How many mails were sent for these trips.
    pub(crate) fn mails_sent(&self, trips: &[Trip]) -> Result<usize> {
        let mails = sent_mails(&self.dir().join(OUTBOX))?;
        Ok(mails.iter().filter(|(_, of)| trips.iter().any(|trip| trip.trip == *of)).count())
    }
}

fn has_said(process: &Process, what: &str, trips: &[Trip]) -> bool {
    let lines = process.lines();
    let of_a_trip = |line: &String| trips.iter().any(|trip| line.contains(&trip.trip));
    lines.iter().any(|line| line.contains(what) && of_a_trip(line))
}

fn action(service: Service) -> &'static str {
    match service {
        Service::Flights => "book-flight",
        Service::Hotels => "book-night",
        Service::Payments => "charge",
        Service::Mail => "send-mail",
    }
}
