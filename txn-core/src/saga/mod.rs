//! Declared sagas: processes that are written down once and driven by the coordinator.
//!
//! ```text
//! definition, builder ──▶ check ──▶ graph ─┐
//!                                          ├─▶ run, undo ──▶ plan: next_steps
//!                     row (what is stored) ┘
//! ```
//!
//! - `definition`: a saga as people write it; `builder`: the same in Rust.
//! - `template`, `condition`: mappings and conditions in it; `limits`: what it may be at most.
//! - `check`: everything that is wrong with it, or its [`Graph`]; `draw`: a picture of that.
//! - `row`: what is stored. `run`, `undo`: what follows from it, forward and back; `view`: what a step sees
//!   of it; `input`: what a saga was given.
//! - `plan`: [`next_steps`], what may be done now. `live`: a saga in the group's memory.
//!
//! The group performs it: `group/saga`.

pub mod builder;
mod by_slot;
mod check;
mod condition;
pub mod definition;
pub mod draw;
pub mod graph;
mod input;
pub mod limits;
mod live;
mod plan;
pub mod row;
mod run;
mod template;
mod undo;
mod view;

#[cfg(test)]
mod tests;

pub use check::{Fault, FindSaga, check};
pub use definition::Definition;
pub use graph::Graph;
pub use live::{Attempt, Defined, Failure, LiveSaga, Standing, read_all};
pub use plan::{Next, Undo, next_steps, undo};
pub use row::{
    DefinitionKey, DefinitionRow, SAGA_WORDS_MAX, SagaRow, SagaVerb, SagaWord, Slot, StepError,
    StepRow, StepState,
};
pub use run::{LIMIT_CODE, MAPPING_CODE, Reached, Run, UNKNOWN_CODE};
