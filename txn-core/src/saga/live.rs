//! A saga that has not ended: what is stored of it, how far it is, and the attempts under way.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::check::{Fault, FindSaga, check};
use super::definition::Definition;
use super::graph::Graph;
use super::row::{DefinitionKey, DefinitionRow, SagaRow, Slot, StepError, StepRow, StepState};
use super::run::{Run, json};
use crate::id::XidNumber;
use crate::step::Outcome;
use crate::time::Timestamp;

/// A definition that was checked: what is stored, and the graph of it.
#[derive(Clone, Debug)]
pub struct Defined {
    /// What is stored.
    pub row: DefinitionRow,
    /// What it means.
    pub graph: Arc<Graph>,
}

/// Reads what a store held, in the order in which it was defined.
///
/// # Errors
/// The first definition that is none, and why.
pub fn read_all(rows: Vec<DefinitionRow>) -> Result<Vec<Arc<Defined>>, (DefinitionKey, Fault)> {
    let mut known: BTreeMap<DefinitionKey, Arc<Graph>> = BTreeMap::new();
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let read = Defined::read(&row.body, &|key| known.get(key).cloned());
        let defined = read.map_err(|mut faults| (row.key.clone(), faults.swap_remove(0)))?;
        known.insert(row.key, Arc::clone(&defined.graph));
        all.push(Arc::new(defined));
    }
    Ok(all)
}

/// The graph follows from the row.
impl PartialEq for Defined {
    fn eq(&self, other: &Self) -> bool {
        self.row == other.row
    }
}

impl Eq for Defined {}

impl Defined {
    /// Reads and checks a definition.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(json: &[u8], find: FindSaga<'_>) -> Result<Defined, Vec<Fault>> {
        let definition = Definition::from_json(json).map_err(|fault| vec![fault])?;
        let graph = Arc::new(check(&definition, find)?);
        let body = definition.to_json().into();
        Ok(Defined { row: DefinitionRow { key: graph.key().clone(), body }, graph })
    }
}

/// A saga that has not ended.
#[derive(Clone, Debug)]
pub struct LiveSaga {
    /// What is stored of it.
    pub row: SagaRow,
    /// What it runs.
    pub graph: Arc<Graph>,
    /// How far it is.
    pub run: Run,
    /// The steps that are being attempted, or compensated, or waited for.
    pub attempts: BTreeMap<Slot, Attempt>,
    /// The first step that failed for good, and why.
    pub failure: Option<Failure>,
    /// When this process loaded it; attempts of an earlier one may still be under way for a while.
    pub loaded_at: Option<Timestamp>,
}

/// What this process has tried with a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// How often it was sent.
    pub sent: u32,
    /// How many of these count against its limit.
    pub counted: u32,
    /// When it was sent last.
    pub sent_at: Timestamp,
    /// Whether an answer is awaited.
    pub under_way: bool,
    /// When it is looked at again: its time is over, or its pause.
    pub next_at: Timestamp,
    /// Why the last one did not end it.
    pub last_reason: Option<Arc<str>>,
}

impl Attempt {
    /// Whether a compensation is held back because an attempt of its action may still be under way: nobody
    /// may ask for it before that is over.
    #[must_use]
    pub fn is_held(&self, now: Timestamp) -> bool {
        self.sent == 0 && !self.under_way && self.next_at > now
    }
}

/// The step that made a saga roll back, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its slot.
    pub slot: Slot,
    /// Why.
    pub error: Arc<StepError>,
}

/// Where a saga stands, for whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its number.
    pub xid: XidNumber,
    /// What it runs.
    pub definition: DefinitionKey,
    /// What was decided, and how far that is.
    pub outcome: Outcome,
    /// Whether an operator has stopped it for a while.
    pub paused: bool,
    /// What it returned, as JSON, once it is committed.
    pub output: Option<Arc<[u8]>>,
    /// The path of the step that made it roll back, and why.
    pub failure: Option<(String, Arc<StepError>)>,
}

/// Sagas of one definition are told apart by everything else.
impl PartialEq for LiveSaga {
    fn eq(&self, other: &Self) -> bool {
        let LiveSaga { row, graph: _, run, attempts, failure, loaded_at } = self;
        (row, run, attempts) == (&other.row, &other.run, &other.attempts)
            && (failure, loaded_at) == (&other.failure, &other.loaded_at)
    }
}

impl Eq for LiveSaga {}

impl LiveSaga {
    /// A saga of which only its row is known.
    #[must_use]
    pub fn new(row: SagaRow, graph: Arc<Graph>) -> Self {
        let run = Run::new(&graph, &row.input);
        LiveSaga { row, graph, run, attempts: BTreeMap::new(), failure: None, loaded_at: None }
    }

    /// How many of its steps need a person.
    #[must_use]
    pub fn parked_count(&self) -> u32 {
        u32::try_from(self.run.parked().count()).unwrap_or(u32::MAX)
    }

    /// Where it stands, given what stands for its transaction.
    #[must_use]
    pub fn standing(&self, outcome: Outcome) -> Standing {
        let output = self.run.output().filter(|_| !self.run.is_back());
        Standing {
            xid: self.row.xid,
            definition: self.row.definition.clone(),
            outcome,
            paused: self.row.paused,
            output: output.map(|value| json(value)),
            failure: self
                .failure
                .as_ref()
                .map(|failure| (self.graph.path(failure.slot), Arc::clone(&failure.error))),
        }
    }

    /// Takes in what is stored of a step.
    pub fn take(&mut self, row: &Arc<StepRow>) {
        if matches!(row.state, StepState::Failed { .. } | StepState::Undone) {
            self.note_failure(row.slot, row.error.as_ref());
        }
        self.attempts.remove(&row.slot);
        self.run.record(&self.graph, row);
    }

    /// It rolls back: of its attempts only those count on that may be under way.
    pub fn turn_back(&mut self) {
        self.attempts.retain(|_, attempt| attempt.under_way);
        self.run.turn_back(&self.graph);
    }

    /// Notes the first step that failed for good.
    fn note_failure(&mut self, slot: Slot, error: Option<&Arc<StepError>>) {
        if let (None, Some(error)) = (&self.failure, error) {
            self.failure = Some(Failure { slot, error: Arc::clone(error) });
        }
    }
}
