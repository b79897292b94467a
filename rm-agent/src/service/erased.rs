//! A service's step with its types erased, as the coordinator asks for it.

use async_trait::async_trait;

use super::ServiceStep;
use crate::action::{Handled, Stopped};
use crate::saga::{Acted, RESULT_CODE, StepCall, StepError};

/// A step of any types.
#[async_trait]
pub(super) trait Handler: Send + Sync + 'static {
    fn is_compensable(&self) -> bool;

    /// Runs the action; its result is JSON.
    async fn act(&self, call: &StepCall, input: &[u8]) -> Result<Acted<Vec<u8>>, StepError>;

    /// Runs the compensation; no result is an empty one.
    async fn compensate(
        &self,
        call: &StepCall,
        input: &[u8],
        output: &[u8],
    ) -> Result<Handled, Stopped>;
}

pub(super) struct Erased<S>(pub(super) S);

#[async_trait]
impl<S: ServiceStep> Handler for Erased<S> {
    fn is_compensable(&self) -> bool {
        S::COMPENSABLE
    }

    async fn act(&self, call: &StepCall, input: &[u8]) -> Result<Acted<Vec<u8>>, StepError> {
        let input = serde_json::from_slice(input).map_err(|error| StepError::input(&error))?;
        let output = match self.0.action(call, input).await? {
            Acted::Done(output) => output,
            Acted::Ongoing { ask_after } => return Ok(Acted::Ongoing { ask_after }),
        };
        // It took place, so this is no failure.
        let output = serde_json::to_vec(&output).map_err(|error| {
            StepError::unknown(format!("{RESULT_CODE}: its result cannot be kept: {error}"))
        })?;
        Ok(Acted::Done(output))
    }

    async fn compensate(
        &self,
        call: &StepCall,
        input: &[u8],
        output: &[u8],
    ) -> Result<Handled, Stopped> {
        let unreadable = |error: serde_json::Error| Stopped::Unreadable(error.to_string());
        let input = serde_json::from_slice(input).map_err(unreadable)?;
        let output = (!output.is_empty()).then(|| serde_json::from_slice(output)).transpose();
        let output = output.map_err(unreadable)?;
        let compensated = self.0.compensate(call, input, output).await;
        compensated.map_err(|error| Stopped::Failed(error.into()))
    }
}
