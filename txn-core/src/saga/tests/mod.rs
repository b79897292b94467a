//! Runs told as stories: what happened, and what may be done then.
//!
//! Whatever a story records is also recorded on a run that is built anew from the rows, forwards and
//! backwards: after every word of the story all three must want the same.

mod forward;
mod mapping;
mod picture;
mod random;
mod schema;
mod way_back;

use std::sync::Arc;

use expect_test::Expect;
use serde_json::Value;

use super::{
    Definition, DefinitionKey, Graph, Next, Run, Slot, StepRow, StepState, check, next_steps,
};
use crate::id::XidNumber;
use crate::time::WallTime;
use crate::transaction::ParkReason;

pub(super) struct Story {
    pub(super) graph: Graph,
    pub(super) run: Run,
    input: Arc<[u8]>,
    rows: Vec<Arc<StepRow>>,
}

pub(super) fn graph_of(definition: &Value, parts: &[Arc<Graph>]) -> Graph {
    let find = |key: &DefinitionKey| parts.iter().find(|part| part.key() == key).cloned();
    let definition = Definition::from_json(definition.to_string().as_bytes()).expect("it is one");
    check(&definition, &find).unwrap_or_else(|faults| panic!("{faults:?}"))
}

impl Story {
    pub(super) fn new(steps: &Value, input: &Value) -> Self {
        let definition = serde_json::json!({ "saga": "s", "version": 1, "steps": steps });
        Story::of(graph_of(&definition, &[]), input)
    }

    pub(super) fn of(graph: Graph, input: &Value) -> Self {
        let input = input.to_string().into_bytes().into();
        let run = Run::new(&graph, &input);
        Story { graph, run, input, rows: Vec::new() }
    }

    /// What may be done now, a line each; it is done.
    #[track_caller]
    pub(super) fn next(&mut self, expected: &Expect) -> &mut Self {
        let next = next_steps(&self.graph, &self.run);
        let said: Vec<String> = next.iter().map(|next| self.say(next)).collect();
        expected.assert_eq(&said.join("\n"));
        for next in next {
            match next {
                Next::Act { slot, .. } | Next::BeginWait { slot, .. } => self.run.sent(slot),
                Next::Undo(undo) => self.run.sent(undo.slot),
                Next::Fail { .. } | Next::Complete | Next::Undone => {}
            }
        }
        self
    }

    fn say(&self, next: &Next) -> String {
        let json = |json: &[u8]| String::from_utf8_lossy(json).into_owned();
        match next {
            Next::Act { slot, input } => format!("act {} {}", self.graph.path(*slot), json(input)),
            Next::BeginWait { slot, .. } => format!("wait {}", self.graph.path(*slot)),
            Next::Fail { slot, error } => {
                format!("fail {} {}: {}", self.graph.path(*slot), error.code, error.message)
            }
            Next::Undo(undo) => {
                let known = if undo.took_place { "done" } else { "unknown" };
                format!("undo {} {known}", self.graph.path(undo.slot))
            }
            Next::Complete => format!("complete {}", self.run.output().expect("it is over")),
            Next::Undone => "undone".to_owned(),
        }
    }

    pub(super) fn slot(&self, path: &str) -> Slot {
        self.graph.slot(path).unwrap_or_else(|| panic!("no step `{path}`"))
    }

    #[track_caller]
    pub(super) fn record(
        &mut self,
        path: &str,
        state: StepState,
        result: Option<&Value>,
    ) -> &mut Self {
        let slot = self.slot(path);
        let before = self.run.row(slot);
        let took_place = state == StepState::Done || before.is_some_and(|row| row.took_place);
        let kept = before.and_then(|row| row.result.clone());
        let row = Arc::new(StepRow {
            xid: XidNumber(1),
            slot,
            state,
            took_place,
            result: result.map(|value| value.to_string().into_bytes().into()).or(kept),
            error: None,
            report: None,
        });
        self.rows.retain(|other| other.slot != slot);
        self.rows.push(Arc::clone(&row));
        self.run.record(&self.graph, &row);
        self.compare();
        self
    }

    #[track_caller]
    pub(super) fn done(&mut self, path: &str, result: &Value) -> &mut Self {
        self.record(path, StepState::Done, Some(result))
    }

    #[track_caller]
    pub(super) fn failed(&mut self, path: &str, certain: bool) -> &mut Self {
        self.record(path, StepState::Failed { certain }, None)
    }

    #[track_caller]
    pub(super) fn undone(&mut self, path: &str) -> &mut Self {
        self.record(path, StepState::Undone, None)
    }

    #[track_caller]
    pub(super) fn parked(&mut self, path: &str) -> &mut Self {
        let reason = ParkReason::HandlerFatal;
        let state = match self.run.is_back() {
            true => StepState::UndoParked(reason),
            false => StepState::Parked(reason),
        };
        self.record(path, state, None)
    }

    #[track_caller]
    pub(super) fn waiting(&mut self, path: &str) -> &mut Self {
        self.record(path, StepState::Waiting { since: WallTime(7) }, None)
    }

    #[track_caller]
    pub(super) fn back(&mut self) -> &mut Self {
        self.run.turn_back(&self.graph);
        self.compare();
        self
    }

    /// The process stops, and another one loads what was stored.
    pub(super) fn restart(&mut self) -> &mut Self {
        self.run = self.rebuilt(self.rows.iter());
        self
    }

    fn rebuilt<'a>(&self, rows: impl Iterator<Item = &'a Arc<StepRow>>) -> Run {
        let mut run = Run::new(&self.graph, &self.input);
        rows.for_each(|row| run.record(&self.graph, row));
        run.loaded();
        if self.run.is_back() {
            run.turn_back(&self.graph);
        }
        run
    }

    /// A run that is built anew wants what the live one wants or has asked for.
    #[track_caller]
    fn compare(&self) {
        // On the way back it cannot know what was surely not sent: the stories of that say what it wants.
        if self.run.is_back() {
            return;
        }
        let mut sorted = self.rows.clone();
        sorted.sort_by_key(|row| row.slot);
        let orders = [self.rebuilt(sorted.iter()), self.rebuilt(sorted.iter().rev())];
        for again in orders {
            let mut wanted = self.run.due.clone();
            wanted.extend(&self.run.outstanding);
            let unanswered = |slot: &Slot| self.run.row(*slot).is_none();
            wanted.retain(|slot| self.run.due.contains(slot) || unanswered(slot));
            assert_eq!(again.due, wanted, "built anew it wants something else");
            assert_eq!(again.output(), self.run.output());
        }
    }
}
