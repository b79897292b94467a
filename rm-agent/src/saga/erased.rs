//! A saga step with its types erased, as phase two calls it.

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use pactum_core::fence::Step;

use super::{INPUT_CODE, RESULT_CODE, SagaStep, StepError, kept};
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
        connection: &mut DB::Connection,
        input: &[u8],
        body_bytes_max: usize,
    ) -> Result<Left, StepError> {
        let input: S::Input = serde_json::from_slice(input).map_err(|error| {
            StepError::failed(INPUT_CODE, format!("its input is not what it takes: {error}")).last()
        })?;
        let acted = self.step.action(connection, &input).await;
        let output = acted.map_err(|error| self.step.step_error(error))?;
        let unkept = |error: &dyn std::fmt::Display| {
            StepError::failed(RESULT_CODE, format!("its result cannot be kept: {error}")).last()
        };
        let body = kept::write::<DB, S>(&input, Some(&output), body_bytes_max);
        let body = body.map_err(|error| unkept(&error))?;
        let output = serde_json::to_vec(&output).map_err(|error| unkept(&error))?;
        Ok(Left { body, output })
    }

    fn output(&self, kept: Kept<'_>) -> Result<Vec<u8>, Stopped> {
        let (_, output) = kept::read::<DB, S>(kept)?;
        serde_json::to_vec(&output).map_err(|error| Stopped::Unreadable(error.to_string()))
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
                let compensated = self.step.compensate(connection, input, output).await;
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
