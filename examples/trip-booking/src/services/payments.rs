//! Payments: a card is charged, and refunded if what comes after it fails.

use pactum_agent::{Handled, SagaStep, StepError};
use serde::{Deserialize, Serialize};
use sqlx::{Sqlite, SqliteConnection};

use super::StepFault;

pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS card (
        card TEXT PRIMARY KEY, opening INTEGER NOT NULL, balance INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS payment (
        id INTEGER PRIMARY KEY AUTOINCREMENT, trip TEXT NOT NULL, card TEXT NOT NULL, amount INTEGER NOT NULL
    );
    INSERT OR IGNORE INTO card VALUES ('gold', 100000, 100000), ('empty', 5, 5);
";

pub(super) struct Charge;

#[derive(Serialize, Deserialize)]
pub(super) struct Bill {
    trip: String,
    card: String,
    flight: i64,
    /// What the loop returned: an item for each night.
    nights: Vec<i64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Receipt {
    payment: i64,
    amount: i64,
}

impl SagaStep<Sqlite> for Charge {
    const NAME: &'static str = "charge";
    type Input = Bill;
    type Output = Receipt;
    type Error = StepFault;

    async fn action(
        &self,
        payments: &mut SqliteConnection,
        bill: &Bill,
    ) -> Result<Receipt, StepFault> {
        let amount = bill.flight + bill.nights.iter().sum::<i64>();
        tracing::info!(trip = bill.trip, amount, "charge");
        let charge = "UPDATE card SET balance = balance - ? WHERE card = ? RETURNING balance";
        let balance: i64 = sqlx::query_scalar(charge)
            .bind(amount)
            .bind(&bill.card)
            .fetch_one(&mut *payments)
            .await?;
        // An error leaves nothing of what was written before it.
        if balance < 0 {
            tracing::info!(trip = bill.trip, "declined");
            return Err(StepFault::no("declined", format!("the card has no {amount} left")));
        }
        let payment = "INSERT INTO payment (trip, card, amount) VALUES (?, ?, ?) RETURNING id";
        let payment = sqlx::query_scalar(payment).bind(&bill.trip).bind(&bill.card).bind(amount);
        Ok(Receipt { payment: payment.fetch_one(payments).await?, amount })
    }

    async fn compensate(
        &self,
        payments: &mut SqliteConnection,
        bill: Bill,
        receipt: Receipt,
    ) -> Result<Handled, StepFault> {
        tracing::info!(trip = bill.trip, amount = receipt.amount, "undo charge");
        let payment = sqlx::query("DELETE FROM payment WHERE id = ?").bind(receipt.payment);
        payment.execute(&mut *payments).await?;
        let refund = sqlx::query("UPDATE card SET balance = balance + ? WHERE card = ?");
        refund.bind(receipt.amount).bind(bill.card).execute(payments).await?;
        Ok(Handled::Done)
    }

    fn step_error(&self, error: StepFault) -> StepError {
        error.into_step_error()
    }
}
