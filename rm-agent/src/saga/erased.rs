//! A saga step with its types erased, as phase two calls it.

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use pactum_core::fence::Step;

use super::{SagaStep, kept};
use crate::action::{ActionDatabase, Chance, Direction, Handled, Handler, Kept, Stopped};

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
