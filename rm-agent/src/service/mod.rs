//! Steps of declared sagas at a service without a database of its own: it sends a mail, or calls another
//! company.
//!
//! ```text
//! attached.rs     what an application holds: a service, and the steps registered on it
//! erased.rs       a step with its types erased, as the coordinator asks for it
//! participant.rs  the action called, or the compensation, and whatever they do wrong
//! ```
//!
//! There is no barrier row, so nothing here keeps an effect from happening twice: every attempt of a step
//! has one key, and whoever is called by the handler must know it again. See `docs/saga.md`.

mod attached;
mod erased;
mod participant;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::action::Handled;
use crate::saga::{Acted, StepCall, StepError};

pub use attached::{ActionService, ServiceError, ServiceOptions};

/// A step of declared sagas at a service without a database.
///
/// Both handlers are called at least once and perhaps more often, with the same [`StepCall::key`]; never
/// both at once, and the action never after its compensation, as long as the clocks of coordinator and
/// service run equally fast.
///
/// ```
/// use pactum_agent::{Acted, Handled, ServiceStep, StepCall, StepError};
///
/// struct Charge;
///
/// impl ServiceStep for Charge {
///     const NAME: &'static str = "charge";
///     type Input = u64;
///     type Output = String;
///     type Error = std::io::Error;
///
///     async fn action(&self, call: &StepCall, cents: u64) -> Result<Acted<String>, StepError> {
///         if cents == 0 {
///             return Err(StepError::failed("no-amount", "nothing to charge").last());
///         }
///         // …the payment service is asked, with `call.key()` as the idempotency key…
///         Ok(Acted::Done(format!("receipt of {}", call.key())))
///     }
///
///     async fn compensate(
///         &self,
///         call: &StepCall,
///         _cents: u64,
///         receipt: Option<String>,
///     ) -> Result<Handled, std::io::Error> {
///         // …and again: it knows by the key what was charged, if anything…
///         let _ = (call.key(), receipt);
///         Ok(Handled::Done)
///     }
/// }
/// ```
pub trait ServiceStep: Send + Sync + 'static {
    /// By which definitions name it: 1 to 64 bytes, one a service, and never given to another step while
    /// sagas may be unfinished.
    const NAME: &'static str;
    /// Whether it can be reversed. A definition may use one that cannot only where it says
    /// `compensable: false`.
    const COMPENSABLE: bool = true;
    /// What the action is given, as JSON in the definition's mappings.
    type Input: DeserializeOwned + Send;
    /// What the action returns, as JSON of at most 64 KiB, at the coordinator.
    type Output: Serialize + DeserializeOwned + Send;
    /// What goes wrong in a compensation.
    type Error: Into<Box<dyn Error + Send + Sync>> + Send;

    /// Does it. By `?`, an error of any other kind is *unknown*: the action may have taken place. So are a
    /// panic, and a call that takes too long.
    fn action(
        &self,
        call: &StepCall,
        input: Self::Input,
    ) -> impl Future<Output = Result<Acted<Self::Output>, StepError>> + Send;

    /// Reverses it, if it took place: `output` is what it returned, and `None` if that is not known. Then
    /// it may have happened, or not. An error is called again.
    fn compensate(
        &self,
        call: &StepCall,
        input: Self::Input,
        output: Option<Self::Output>,
    ) -> impl Future<Output = Result<Handled, Self::Error>> + Send;
}
