//! Flights: one seat for a trip, and the seat given back.

use pactum_agent::{Handled, SagaStep, StepError};
use serde::{Deserialize, Serialize};
use sqlx::{Sqlite, SqliteConnection};

use super::StepFault;

pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS flight (
        destination TEXT PRIMARY KEY, price INTEGER NOT NULL, seats INTEGER NOT NULL, free INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS ticket (
        id INTEGER PRIMARY KEY AUTOINCREMENT, trip TEXT NOT NULL, destination TEXT NOT NULL
    );
    INSERT OR IGNORE INTO flight VALUES ('Lisbon', 180, 100, 100), ('Tokyo', 1400, 100, 100);
";

pub(super) struct BookFlight;

#[derive(Serialize, Deserialize)]
pub(super) struct Wish {
    trip: String,
    to: String,
}

/// The conditions and mappings of `trip.json` read it.
#[derive(Serialize, Deserialize)]
pub(super) struct Ticket {
    ticket: i64,
    price: i64,
}

impl SagaStep<Sqlite> for BookFlight {
    const NAME: &'static str = "book-flight";
    type Input = Wish;
    type Output = Ticket;
    type Error = StepFault;

    async fn action(
        &self,
        flights: &mut SqliteConnection,
        wish: &Wish,
    ) -> Result<Ticket, StepFault> {
        tracing::info!(trip = wish.trip, to = wish.to, "book-flight");
        let seat =
            "UPDATE flight SET free = free - 1 WHERE destination = ? AND free > 0 RETURNING price";
        let price = sqlx::query_scalar(seat).bind(&wish.to).fetch_optional(&mut *flights).await?;
        let Some(price) = price else {
            return Err(StepFault::no("sold-out", format!("no seat is left to {}", wish.to)));
        };
        let ticket = "INSERT INTO ticket (trip, destination) VALUES (?, ?) RETURNING id";
        let ticket = sqlx::query_scalar(ticket).bind(&wish.trip).bind(&wish.to);
        Ok(Ticket { ticket: ticket.fetch_one(flights).await?, price })
    }

    async fn compensate(
        &self,
        flights: &mut SqliteConnection,
        wish: Wish,
        booked: Ticket,
    ) -> Result<Handled, StepFault> {
        tracing::info!(trip = wish.trip, to = wish.to, "undo book-flight");
        let ticket = sqlx::query("DELETE FROM ticket WHERE id = ?").bind(booked.ticket);
        ticket.execute(&mut *flights).await?;
        let seat = sqlx::query("UPDATE flight SET free = free + 1 WHERE destination = ?");
        seat.bind(wish.to).execute(flights).await?;
        Ok(Handled::Done)
    }

    fn step_error(&self, error: StepFault) -> StepError {
        error.into_step_error()
    }
}
