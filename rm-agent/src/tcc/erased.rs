//! A TCC action with its types erased, as phase two calls it.

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use pactum_core::fence::Step;

use super::{TccAction, context};
use crate::action::{ActionDatabase, Chance, Direction, Handled, Handler, Kept, Left, Stopped};
use crate::saga::{StepCall, StepError};

pub(super) struct Erased<DB: ActionDatabase, A: TccAction<DB>> {
    action: Arc<A>,
    database: PhantomData<fn() -> DB>,
}

impl<DB: ActionDatabase, A: TccAction<DB>> Erased<DB, A> {
    pub(super) fn new(action: Arc<A>) -> Self {
        Erased { action, database: PhantomData }
    }
}

#[async_trait]
impl<DB: ActionDatabase, A: TccAction<DB>> Handler<DB> for Erased<DB, A> {
    fn step(&self) -> Step {
        Step::Compensable
    }

    fn name(&self) -> &'static str {
        A::NAME
    }

    fn version(&self) -> u8 {
        A::VERSION
    }

    async fn act(
        &self,
        _call: &StepCall,
        _connection: &mut DB::Connection,
        _input: &[u8],
        _body_bytes_max: usize,
    ) -> Result<Left, StepError> {
        unreachable!("the session gives actions to saga mode alone")
    }

    fn output(&self, _kept: Kept<'_>) -> Result<Option<Vec<u8>>, Stopped> {
        unreachable!("the session gives actions to saga mode alone")
    }

    async fn run(
        &self,
        direction: Direction,
        connection: &mut DB::Connection,
        kept: Kept<'_>,
    ) -> Result<Handled, Stopped> {
        let context = context::read::<DB, A>(kept)?;
        let handled = match direction {
            Direction::Confirm => self.action.confirm(connection, context).await,
            Direction::Undo => self.action.cancel(connection, context).await,
        };
        handled.map_err(|error| Stopped::Failed(error.into()))
    }

    async fn can_commit(
        &self,
        connection: &mut DB::Connection,
        input: &[u8],
    ) -> Result<Chance, Stopped> {
        let context = serde_json::from_slice(input)
            .map_err(|error| Stopped::Unreadable(error.to_string()))?;
        let said = self.action.can_commit(connection, &context).await;
        said.map_err(|error| Stopped::Failed(error.into()))
    }
}
