//! TCC: try reserves, confirm books what is reserved, cancel frees it. Each is a local transaction of
//! its own; between them the money still belongs to the account, and nobody else can take it.

use anyhow::{Context as _, Result};
use futures_util::future::BoxFuture;
use pactum_agent::{ActionPool, Handled, Tcc as TccBranch, TccAction};

use super::business::{BankDatabase, Business as _};
use super::{Booking, Failure, Mode, tell, tell_settled, tell_worked};
use crate::services::order::BranchMode;
use crate::services::tell::{Settling, Step, Teller};

/// Takes part in TCC mode.
pub(super) fn attach<DB: BankDatabase>(
    actions: &ActionPool<DB>,
    teller: &Teller,
) -> Result<Box<dyn Mode>> {
    let leg = actions.tcc(ReservedLeg { teller: teller.clone() }).context("register the action")?;
    Ok(Box::new(Tcc { leg, teller: teller.clone() }))
}

struct Tcc<DB: BankDatabase> {
    leg: TccBranch<DB, ReservedLeg>,
    teller: Teller,
}

impl<DB: BankDatabase> Mode for Tcc<DB> {
    fn book(&self, booking: Booking) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            self.leg.try_phase(booking.clone()).await?;
            tell(&self.teller, &booking, Step::CommittedLocally).await;
            Ok(())
        })
    }
}

/// A leg that is reserved before it is booked.
struct ReservedLeg {
    teller: Teller,
}

impl<DB: BankDatabase> TccAction<DB> for ReservedLeg {
    const NAME: &'static str = "reserved-leg";
    type Context = Booking;
    type Output = ();
    type Error = Failure;

    async fn try_phase(
        &self,
        connection: &mut DB::Connection,
        booking: &mut Booking,
    ) -> Result<(), Failure> {
        if !connection.reserve(&booking.leg).await? {
            return Err(Failure::short(booking, BranchMode::Tcc, &self.teller).await);
        }
        tell_worked(&self.teller, connection, BranchMode::Tcc, booking).await?;
        Ok(())
    }

    async fn confirm(
        &self,
        connection: &mut DB::Connection,
        booking: Booking,
    ) -> Result<Handled, Failure> {
        connection.book_reserved(&booking.transfer, &booking.leg).await?;
        tell_settled(&self.teller, connection, Settling::Confirm, &booking).await?;
        Ok(Handled::Done)
    }

    async fn cancel(
        &self,
        connection: &mut DB::Connection,
        booking: Booking,
    ) -> Result<Handled, Failure> {
        connection.free(&booking.leg).await?;
        tell_settled(&self.teller, connection, Settling::Cancel, &booking).await?;
        Ok(Handled::Done)
    }
}
