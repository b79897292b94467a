//! AT: the bank books in a local transaction as if it were alone, through the agent's pool. What was
//! booked can be undone, and the rows stay locked for other transfers until the decision.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures_util::future::BoxFuture;
use pactum_agent::{Agent, AtConnection, AtError, AtOptions, AtPool, AtTransaction};
use sqlx::Pool;

use super::business::{BankDatabase, Business};
use super::{Booking, Failure, Mode, tell, tell_worked};
use crate::services::order::BranchMode;
use crate::services::tell::{Step, Teller};

/// Takes part in AT mode.
pub(super) async fn attach<DB>(
    agent: &Agent,
    resource: &str,
    pool: &Pool<DB>,
    teller: &Teller,
) -> Result<Box<dyn Mode>>
where
    DB: BankDatabase,
    AtConnection<DB>: Business,
{
    let options = AtOptions::default().create_tables(true);
    let pool = AtPool::attach(agent, resource, pool.clone(), options).await;
    let pool = pool.context("attach the bank's database for AT")?;
    Ok(Box::new(At { pool, teller: teller.clone() }))
}

struct At<DB: BankDatabase> {
    pool: AtPool<DB>,
    teller: Teller,
}

impl<DB> Mode for At<DB>
where
    DB: BankDatabase,
    AtConnection<DB>: Business,
{
    fn book(&self, booking: Booking) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            // It may run again: after another transfer has let go of the row.
            let (teller, work) = (self.teller.clone(), Arc::new(booking.clone()));
            let booked = self.pool.transaction(move |tx| {
                let (teller, booking) = (teller.clone(), Arc::clone(&work));
                Box::pin(async move { write(tx, &booking, &teller).await })
            });
            booked.await?;
            tell(&self.teller, &booking, Step::CommittedLocally).await;
            Ok(())
        })
    }
}

async fn write<DB>(
    tx: &mut AtTransaction<DB>,
    booking: &Booking,
    teller: &Teller,
) -> Result<(), Failure>
where
    DB: BankDatabase,
    AtConnection<DB>: Business,
{
    if !tx.book(&booking.transfer, &booking.leg).await? {
        return Err(Failure::short(booking, BranchMode::At, teller).await);
    }
    tell_worked(teller, &mut **tx, BranchMode::At, booking).await?;
    Ok(())
}

impl From<AtError> for Failure {
    fn from(error: AtError) -> Self {
        Failure::branch(&error, error.is_retryable())
    }
}
