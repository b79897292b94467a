//! A registered handler, as phase two sees it: typed actions with their types erased.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use pactum_core::fence::Step;

use crate::db::Driver;
use crate::saga::{Acted, StepCall, StepError};

/// What an action thinks of its chances, as things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chance {
    /// Nothing is seen that would stand in the way.
    Good,
    /// It would fail, and why.
    None(String),
}

/// What a handler of phase two answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handled {
    /// Done: what it wrote is committed, and it is never called again for this branch.
    Done,
    /// Not now: what it wrote is rolled back, and it is called again, not before this delay,
    /// of at most an hour.
    Later(Duration),
    /// Repeating cannot cure it: what it wrote is rolled back, and a person must look. The text is
    /// what that person reads.
    Attention(String),
}

/// Which handler of an action is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Confirm.
    Confirm,
    /// Cancel, or a step's compensation.
    Undo,
}

/// What phase one left for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept<'a> {
    /// The version of the body's form.
    pub(crate) format: i64,
    pub(crate) body: &'a str,
    /// What the coordinator knows that a step's action returned, as JSON; empty where it does not say.
    pub(crate) told: &'a [u8],
}

/// Why a handler gave no answer.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// What phase one left cannot be read, and why.
    Unreadable(String),
    /// It was written by a newer version of the action, which some other instance may know.
    Newer(i64),
    /// The handler returned an error.
    Failed(Box<dyn Error + Send + Sync>),
}

/// What an action left: the body of its barrier row, and what it answered, both as JSON.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) body: String,
    pub(crate) answer: Acted<Vec<u8>>,
}

/// An action of any types, on its database.
#[async_trait]
pub(crate) trait Handler<DB: Driver>: Send + Sync + 'static {
    /// Whether its phase one can be reversed.
    fn step(&self) -> Step;

    fn name(&self) -> &'static str;

    /// The version of the form of what it keeps.
    fn version(&self) -> u8;

    /// Runs a step's action in the local transaction of `connection`.
    async fn act(
        &self,
        call: &StepCall,
        connection: &mut DB::Connection,
        input: &[u8],
        body_bytes_max: usize,
    ) -> Result<Left, StepError>;

    /// What the action returned, from what it kept; `None` where it goes on elsewhere.
    fn output(&self, kept: Kept<'_>) -> Result<Option<Vec<u8>>, Stopped>;

    /// Runs a handler in the local transaction of `connection`.
    async fn run(
        &self,
        direction: Direction,
        connection: &mut DB::Connection,
        kept: Kept<'_>,
    ) -> Result<Handled, Stopped>;

    /// What it thinks of its chances with this input. Whatever it writes is rolled back.
    async fn can_commit(
        &self,
        connection: &mut DB::Connection,
        input: &[u8],
    ) -> Result<Chance, Stopped>;
}
