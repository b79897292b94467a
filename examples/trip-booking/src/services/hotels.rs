//! Hotels: one night, and the night given back. A trip has several, so it is a step of a loop.

use pactum_agent::{Handled, SagaStep, StepError};
use serde::{Deserialize, Serialize};
use sqlx::{Sqlite, SqliteConnection};

use super::StepFault;

pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS night (
        night TEXT PRIMARY KEY, price INTEGER NOT NULL, rooms INTEGER NOT NULL, free INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS stay (
        id INTEGER PRIMARY KEY AUTOINCREMENT, trip TEXT NOT NULL, night TEXT NOT NULL
    );
    INSERT OR IGNORE INTO night VALUES ('1 May', 90, 100, 100), ('2 May', 110, 100, 100), ('3 May', 90, 100, 100);
";

pub(super) struct BookNight;

#[derive(Serialize, Deserialize)]
pub(super) struct Wish {
    trip: String,
    night: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Stay {
    stay: i64,
    price: i64,
}

impl SagaStep<Sqlite> for BookNight {
    const NAME: &'static str = "book-night";
    type Input = Wish;
    type Output = Stay;
    type Error = StepFault;

    async fn action(&self, hotels: &mut SqliteConnection, wish: &Wish) -> Result<Stay, StepFault> {
        tracing::info!(trip = wish.trip, night = wish.night, "book-night");
        let room = "UPDATE night SET free = free - 1 WHERE night = ? AND free > 0 RETURNING price";
        let price = sqlx::query_scalar(room).bind(&wish.night).fetch_optional(&mut *hotels).await?;
        let Some(price) = price else {
            return Err(StepFault::no("full", format!("no room is free on {}", wish.night)));
        };
        let stay = "INSERT INTO stay (trip, night) VALUES (?, ?) RETURNING id";
        let stay = sqlx::query_scalar(stay).bind(&wish.trip).bind(&wish.night);
        Ok(Stay { stay: stay.fetch_one(hotels).await?, price })
    }

    async fn compensate(
        &self,
        hotels: &mut SqliteConnection,
        wish: Wish,
        booked: Stay,
    ) -> Result<Handled, StepFault> {
        tracing::info!(trip = wish.trip, night = wish.night, "undo book-night");
        let stay = sqlx::query("DELETE FROM stay WHERE id = ?").bind(booked.stay);
        stay.execute(&mut *hotels).await?;
        let room = sqlx::query("UPDATE night SET free = free + 1 WHERE night = ?");
        room.bind(wish.night).execute(hotels).await?;
        Ok(Handled::Done)
    }

    fn step_error(&self, error: StepFault) -> StepError {
        error.into_step_error()
    }
}
