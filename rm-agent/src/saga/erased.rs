//! A saga step with its types erased, as phase two calls it.

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use pactum_core::fence::Step;

use super::{Acted, RESULT_CODE, SagaStep, StepCall, StepError, kept};
use crate::action::{ActionDatabase, Chance, Direction, Handled, Handler, Kept, Left, Stopped};

pub(super) struct Erased<DB: ActionDatabase, S: SagaStep<DB>> {
    step: Arc<S>,
    database: PhantomData<fn() -> DB>,
}

impl<DB: ActionDatabase, S: SagaStep<DB>> Erased<DB, S> {
    pub(super) fn new(step: Arc<S>) -> Self {
        Erased { step, database: PhantomData }
    }
}

#[async_trait]
impl<DB: ActionDatabase, S: SagaStep<DB>> Handler<DB> for Erased<DB, S> {
    fn step(&self) -> Step {
        if S::COMPENSABLE { Step::Compensable } else { Step::ForwardOnly }
    }

    fn name(&self) -> &'static str {
        S::NAME
    }

    fn version(&self) -> u8 {
        S::VERSION
    }

    async fn act(
        &self,
        call: &StepCall,
        connection: &mut DB::Connection,
        input: &[u8],
        body_bytes_max: usize,
    ) -> Result<Left, StepError> {
        let input: S::Input =
            serde_json::from_slice(input).map_err(|error| StepError::input(&error))?;
        let acted = self.step.act(call, connection, &input).await;
        let acted = acted.map_err(|error| self.step.step_error(error))?;
        let unkept = |error: &dyn std::fmt::Display| {
            StepError::failed(RESULT_CODE, format!("its result cannot be kept: {error}")).last()
        };
        let output = match &acted {
            Acted::Done(output) => kept::Output::Returned(output),
            Acted::Ongoing { .. } => kept::Output::Ongoing,
        };
        let body = kept::write::<DB, S>(&input, output, body_bytes_max);
        let body = body.map_err(|error| unkept(&error))?;
        let answer = match acted {
            Acted::Done(output) => {
                Acted::Done(serde_json::to_vec(&output).map_err(|error| unkept(&error))?)
            }
            Acted::Ongoing { ask_after } => Acted::Ongoing { ask_after },
        };
        Ok(Left { body, answer })
    }

    fn output(&self, kept: Kept<'_>) -> Result<Option<Vec<u8>>, Stopped> {
        let (_, output) = kept::read::<DB, S>(kept)?;
        let output = output.map(|output| serde_json::to_vec(&output)).transpose();
        output.map_err(|error| Stopped::Unreadable(error.to_string()))
    }

    async fn run(
        &self,
        direction: Direction,
        connection: &mut DB::Connection,
        kept: Kept<'_>,
    ) -> Result<Handled, Stopped> {
        match direction {
            // A saga has no phase two at commit: the action took effect when it ran.
            Direction::Confirm => Ok(Handled::Done),
            Direction::Undo => {
                let (input, output) = kept::read::<DB, S>(kept)?;
                let compensated = match output {
                    Some(output) => self.step.compensate(connection, input, output).await,
                    None => self.step.compensate_ongoing(connection, input).await,
                };
                compensated.map_err(|error| Stopped::Failed(error.into()))
            }
        }
    }

    async fn can_commit(
        &self,
        connection: &mut DB::Connection,
        input: &[u8],
    ) -> Result<Chance, Stopped> {
        let input = serde_json::from_slice(input)
            .map_err(|error| Stopped::Unreadable(error.to_string()))?;
        let said = self.step.can_commit(connection, &input).await;
        said.map_err(|error| Stopped::Failed(error.into()))
    }
}
