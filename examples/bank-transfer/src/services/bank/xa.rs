//! XA: the bank books in a transaction of its database, which then prepares it and keeps it, locked
//! and unseen, until the decision.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::BoxFuture;
use pactum_agent::{Agent, XaConnection, XaError, XaOptions, XaPool, XaTransaction};
use sqlx::Pool;

use super::business::{BankDatabase, Business};
use super::{Booking, Failure, Mode, tell, tell_worked};
use crate::services::order::BranchMode;
use crate::services::tell::{Step, Teller};

/// How long a row may be waited for: what is prepared keeps its rows until the decision, and no database
/// sees that two transfers wait for each other in two of them.
const ROW_WAIT_MAX: Duration = Duration::from_secs(1);

/// Takes part in XA mode.
pub(super) async fn attach<DB>(
    agent: &Agent,
    resource: &str,
    pool: &Pool<DB>,
    teller: &Teller,
) -> Result<Box<dyn Mode>>
where
    DB: BankDatabase,
    XaConnection<DB>: Business,
{
    let options = XaOptions::default().create_tables(true).local_lock_wait_max(ROW_WAIT_MAX);
    let pool = XaPool::attach(agent, resource, pool.clone(), options).await;
    let pool = pool.context("attach the bank's database for XA")?;
    Ok(Box::new(Xa { pool, teller: teller.clone() }))
}

struct Xa<DB: BankDatabase> {
    pool: XaPool<DB>,
    teller: Teller,
}

impl<DB> Mode for Xa<DB>
where
    DB: BankDatabase,
    XaConnection<DB>: Business,
{
    fn book(&self, booking: Booking) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let (teller, work) = (self.teller.clone(), booking.clone());
            let booked = self
                .pool
                .transaction(move |tx| Box::pin(async move { write(tx, &work, &teller).await }));
            booked.await?;
            tell(&self.teller, &booking, Step::CommittedLocally).await;
            Ok(())
        })
    }
}

async fn write<DB>(
    tx: &mut XaTransaction<DB>,
    booking: &Booking,
    teller: &Teller,
) -> Result<(), Failure>
where
    DB: BankDatabase,
    XaConnection<DB>: Business,
{
    let booked = tx.book(&booking.transfer, &booking.leg).await.map_err(XaError::from)?;
    if !booked {
        return Err(Failure::short(booking, BranchMode::Xa, teller).await);
    }
    tell_worked(teller, &mut **tx, BranchMode::Xa, booking).await?;
    Ok(())
}

impl From<XaError> for Failure {
    fn from(error: XaError) -> Self {
        Failure::branch(&error, error.is_retryable())
    }
}
