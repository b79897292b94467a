//! Saga: the bank books at once, for everybody to see, and books back if the transfer does not come
//! about. Nothing is locked in between, so somebody may have spent what is booked back: a bank lets
//! that account fall below what it has, for a compensation cannot be refused.
//!
//! The step is registered once, and serves both kinds of sagas: those in code, in which a request has it
//! run, and declared ones, in which the coordinator asks for it by its name.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::BoxFuture;
use pactum_agent::{ActionPool, Handled, SagaStep, Step as SagaBranch, StepError};

use super::business::{BankDatabase, Business as _};
use super::{Booking, Failure, Mode, tell, tell_settled, tell_worked};
use crate::services::order::{BOOK_LEG, BranchMode, SHORT};
use crate::services::tell::{Settling, Step, Teller};

/// The pause before a leg is tried again that met passing trouble: a few local transactions.
const PASSING_PAUSE: Duration = Duration::from_millis(50);

/// Takes part in sagas.
pub(super) fn attach<DB: BankDatabase>(
    actions: &ActionPool<DB>,
    teller: &Teller,
) -> Result<Box<dyn Mode>> {
    let step = actions.saga(BookedLeg { teller: teller.clone() }).context("register the step")?;
    Ok(Box::new(Saga { step, teller: teller.clone() }))
}

struct Saga<DB: BankDatabase> {
    step: SagaBranch<DB, BookedLeg>,
    teller: Teller,
}

impl<DB: BankDatabase> Mode for Saga<DB> {
    fn book(&self, booking: Booking) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            self.step.run(booking.clone()).await?;
            tell(&self.teller, &booking, Step::CommittedLocally).await;
            Ok(())
        })
    }
}

/// A leg that can be booked back.
struct BookedLeg {
    teller: Teller,
}

impl<DB: BankDatabase> SagaStep<DB> for BookedLeg {
    const NAME: &'static str = BOOK_LEG;
    type Input = Booking;
    type Output = ();
    type Error = Failure;

    async fn action(
        &self,
        connection: &mut DB::Connection,
        booking: &Booking,
    ) -> Result<(), Failure> {
        if !connection.book(&booking.transfer, &booking.leg).await? {
            return Err(Failure::short(booking, BranchMode::Saga, &self.teller).await);
        }
        tell_worked(&self.teller, connection, BranchMode::Saga, booking).await?;
        Ok(())
    }

    async fn compensate(
        &self,
        connection: &mut DB::Connection,
        booking: Booking,
        _output: (),
    ) -> Result<Handled, Failure> {
        connection.book_back(&booking.transfer, &booking.leg).await?;
        tell_settled(&self.teller, connection, Settling::Compensation, &booking).await?;
        Ok(Handled::Done)
    }

    fn step_error(&self, error: Failure) -> StepError {
        let why = error.to_string();
        match error {
            // Whether it may help to ask again is the definition's to say.
            Failure::Short(_) => StepError::failed(SHORT, why),
            Failure::Branch { retryable: true, .. } => StepError::later(PASSING_PAUSE, why),
            Failure::Branch { retryable: false, .. } => StepError::failed("not-booked", why),
        }
    }
}
