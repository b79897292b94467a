//! A TCC action with its types erased, as phase two calls it.

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use pactum_core::fence::Step;

use super::{TccAction, context};
use crate::action::{ActionDatabase, Chance, Direction, Handled, Handler, Kept, Stopped};

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
