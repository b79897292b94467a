//! What the services did by the end: counted from their databases and the outbox, and judged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};

use crate::services::{OUTBOX, Service, sent_mails};
use crate::trips::Trip;

/// Who holds how many of what, what does not add up, and what was sent.
#[derive(Debug, Default)]
pub struct Books {
    tickets: BTreeMap<String, i64>,
    stays: BTreeMap<String, i64>,
    payments: BTreeMap<String, i64>,
    /// Key and trip of each mail.
    mails: Vec<(String, String)>,
    faults: Vec<String>,
}

/// How a trip should have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Booked,
    Undone,
}

const TICKETS: &str = "SELECT trip, COUNT(*) FROM ticket GROUP BY trip";
const STAYS: &str = "SELECT trip, COUNT(*) FROM stay GROUP BY trip";
const PAYMENTS: &str = "SELECT trip, COUNT(*) FROM payment GROUP BY trip";
const WRONG_SEATS: &str = "SELECT destination FROM flight WHERE free <> seats -
    (SELECT COUNT(*) FROM ticket WHERE ticket.destination = flight.destination)";
const WRONG_ROOMS: &str = "SELECT night FROM night WHERE free <> rooms -
    (SELECT COUNT(*) FROM stay WHERE stay.night = night.night)";
const WRONG_CARDS: &str = "SELECT card FROM card WHERE balance <> opening -
    (SELECT COALESCE(SUM(amount), 0) FROM payment WHERE payment.card = card.card)";

impl Books {
    /// Reads the files in `dir`.
    ///
    /// # Errors
    /// If one cannot be read.
    pub async fn read(dir: &Path) -> Result<Books> {
        let mut books = Books { mails: sent_mails(&dir.join(OUTBOX))?, ..Books::default() };
        books.tickets = books.count(dir, Service::Flights, TICKETS, WRONG_SEATS).await?;
        books.stays = books.count(dir, Service::Hotels, STAYS, WRONG_ROOMS).await?;
        books.payments = books.count(dir, Service::Payments, PAYMENTS, WRONG_CARDS).await?;
        Ok(books)
    }

    async fn count(
        &mut self,
        dir: &Path,
        service: Service,
        count: &'static str,
        wrong: &'static str,
    ) -> Result<BTreeMap<String, i64>> {
        let mut database = open(dir, service).await?;
        let wrong: Vec<String> = sqlx::query_scalar(wrong).fetch_all(&mut database).await?;
        self.faults.extend(wrong.iter().map(|what| format!("{what} does not add up")));
        let counted: Vec<(String, i64)> = sqlx::query_as(count).fetch_all(&mut database).await?;
        Ok(counted.into_iter().collect())
    }

    /// How many tickets, stays, payments or mails a trip has.
    #[must_use]
    pub fn held(&self, of: Service, trip: &str) -> i64 {
        let counted = match of {
            Service::Flights => &self.tickets,
            Service::Hotels => &self.stays,
            Service::Payments => &self.payments,
            Service::Mail => {
                let mails = self.mails.iter().filter(|(_, of)| of == trip);
                return i64::try_from(mails.count()).unwrap_or(i64::MAX);
            }
        };
        counted.get(trip).copied().unwrap_or(0)
    }

    /// What is wrong, if these are all the trips that there were. Every effect in a database is there once
    /// or not at all; a mail is sent once or more, always under its trip's one key.
    #[must_use]
    pub fn faults(&self, trips: &[(Trip, Fate)]) -> Vec<String> {
        let mut faults = self.faults.clone();
        for (counted, what) in
            [(&self.tickets, "tickets"), (&self.stays, "stays"), (&self.payments, "payments")]
        {
            let should_be = |(trip, fate): &(Trip, Fate)| match fate {
                Fate::Undone => None,
                Fate::Booked if what == "stays" => {
                    Some((trip.trip.clone(), i64::try_from(trip.nights.len()).unwrap_or(i64::MAX)))
                }
                Fate::Booked => Some((trip.trip.clone(), 1)),
            };
            let expected: BTreeMap<String, i64> = trips.iter().filter_map(should_be).collect();
            if *counted != expected {
                faults.push(format!("{what}: there are {counted:?}, and should be {expected:?}"));
            }
        }
        let booked = trips.iter().filter(|(_, fate)| *fate == Fate::Booked);
        let booked: BTreeSet<&str> = booked.map(|(trip, _)| trip.trip.as_str()).collect();
        let keys: BTreeSet<&(String, String)> = self.mails.iter().collect();
        let told: Vec<&str> = keys.iter().map(|(_, trip)| trip.as_str()).collect();
        if told.len() != booked.len() || booked != told.iter().copied().collect() {
            faults.push(format!("mails: there are {keys:?}, and should be for {booked:?}"));
        }
        faults
    }
}

/// A connection to the database of a service.
///
/// # Errors
/// If it cannot be opened.
pub async fn open(dir: &Path, service: Service) -> Result<SqliteConnection> {
    let file = dir.join(service.name()).with_extension("db");
    let connect = SqliteConnectOptions::new().filename(file);
    connect.connect().await.with_context(|| format!("open the database of `{}`", service.name()))
}
