//! What may be done next: the rule behind every step of a saga, forward and back.

use std::sync::Arc;

use super::graph::{Graph, NodeKind, WaitFor};
use super::row::{Slot, StepError};
use super::run::Run;

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// An action may be attempted.
    Act {
        /// Which step.
        slot: Slot,
        /// What it is given, as JSON.
        input: Arc<[u8]>,
    },
    /// A wait begins.
    BeginWait {
        /// Which step.
        slot: Slot,
        /// What for.
        wait: WaitFor,
    },
    /// A step has failed for good before it began: a mapping or a condition has no value.
    Fail {
        /// Which step.
        slot: Slot,
        /// Why.
        error: StepError,
    },
    /// A step is to be compensated, in case it took place.
    Undo(Undo),
    /// Every step is over: the run has its output.
    Complete,
    /// All that may have happened is undone.
    Undone,
}

/// A step that is to be compensated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    /// Which.
    pub slot: Slot,
    /// Whether it is known to have taken place.
    pub took_place: bool,
    /// What its action was given, as JSON.
    pub input: Arc<[u8]>,
    /// What it returned, as JSON.
    pub result: Option<Arc<[u8]>>,
}

/// What may be done now. Costs as much as there is to do, whatever the size of the saga.
#[must_use]
pub fn next_steps(graph: &Graph, run: &Run) -> Vec<Next> {
    if let Some(back) = &run.back {
        let mut next: Vec<Next> =
            back.due.iter().map(|slot| Next::Undo(undo(graph, run, *slot))).collect();
        if back.is_over {
            next.push(Next::Undone);
        }
        return next;
    }
    let mut next: Vec<Next> =
        run.due.iter().filter_map(|slot| forward(graph, run, *slot)).collect();
    if run.output().is_some() {
        next.push(Next::Complete);
    }
    next
}

fn forward(graph: &Graph, run: &Run, slot: Slot) -> Option<Next> {
    let place = graph.locate(slot)?;
    match &place.node().kind {
        NodeKind::Action(_) => Some(match run.input(graph, slot) {
            Ok(input) => Next::Act { slot, input },
            Err(error) => Next::Fail { slot, error },
        }),
        NodeKind::Wait(wait) => Some(Next::BeginWait { slot, wait: *wait }),
        NodeKind::Choice(_) | NodeKind::Each(_) | NodeKind::Saga(_) => {
            run.hindrance(graph, &place).map(|error| Next::Fail { slot, error })
        }
    }
}

/// The compensation of a step.
#[must_use]
pub fn undo(graph: &Graph, run: &Run, slot: Slot) -> Undo {
    let row = run.row(slot);
    Undo {
        slot,
        took_place: row.is_some_and(|row| row.took_place),
        // It was made before, from what has not changed since.
        input: run.input(graph, slot).unwrap_or_else(|_| Arc::from(*b"null")),
        result: row.and_then(|row| row.result.clone()),
    }
}
