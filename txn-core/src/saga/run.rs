//! How far a saga is: which of its steps were reached, which may be started, what they returned.
//!
//! ```text
//! a step is over ──▶ each step after it has one less to wait for ──▶ none left: it is reached
//!                                                  an edge to it is alive?  no: it is over, too
//! reached: an action or wait is due; a choice, loop or sub-saga goes on by itself
//! ```
//!
//! Nothing of it is stored. It follows from the definition, the saga's input and the rows of its steps,
//! in whatever order these are recorded: a row of a step that is not reached yet is kept until it is. So
//! a restart finds the same state, and an event may come before its wait.
//!
//! Easy to get wrong: the cost. A step that is over looks at the steps right after it and at nothing
//! else, so that a long saga is linear.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::by_slot::BySlot;
use super::graph::{Body, ChoiceNode, EachNode, Graph, NodeKind, Place};
use super::input::Input;
use super::limits::RESULT_BYTES_MAX;
use super::row::{Slot, StepError, StepRow, StepState};
use super::undo::Back;
use super::view::View;

/// The code of a step that failed because a mapping or condition has no value.
pub const MAPPING_CODE: &str = "pactum-mapping";
/// The code of a step of whose last attempt nobody knows whether it took place.
pub const UNKNOWN_CODE: &str = "pactum-unknown";
/// The code of a loop whose list has more items than its limit.
pub const LIMIT_CODE: &str = "pactum-limit";

/// How far a saga is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub(super) input: Input,
    pub(super) scopes: BySlot<Scope>,
    pub(super) loops: BySlot<Loop>,
    pub(super) rows: BySlot<Arc<StepRow>>,
    /// What loops and sub-sagas returned.
    pub(super) made: BySlot<Arc<Value>>,
    /// Reached, and nothing was done about them.
    pub(super) due: BTreeSet<Slot>,
    /// Sent in this process's life and not answered.
    pub(super) outstanding: BTreeSet<Slot>,
    /// Due when the saga was loaded: an earlier process may have sent them.
    pub(super) maybe_sent: BTreeSet<Slot>,
    output: Option<Arc<Value>>,
    pub(super) back: Option<Back>,
    /// How many edges were looked at: for the test that this is linear.
    #[cfg(test)]
    pub(super) edges_looked_at: usize,
}

/// An instance of a body; by the slot where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    /// The loop or sub-saga that it is in.
    pub(super) owner: Option<Slot>,
    /// For a loop: which item.
    pub(super) iteration: u32,
    /// For a sub-saga.
    pub(super) input: Option<Arc<Value>>,
    pub(super) nodes: Vec<NodeRun>,
    left: u32,
    /// How many of the steps that were reached are not undone.
    pub(super) undo_left: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeRun {
    before: u16,
    alive: bool,
    pub(super) stage: Stage,
    /// How many of the steps after it are not undone.
    pub(super) undo: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Ahead,
    Reached,
    Done,
    /// Passed over, because nothing led to it.
    Over,
}

/// A loop that was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loop {
    pub(super) items: Arc<Vec<Value>>,
    outputs: Vec<Value>,
    pub(super) started: u32,
    finished: u32,
    /// For the way back: how many iterations are not undone, of those that were started.
    pub(super) undo_left: u32,
}

#[derive(Clone, Copy, Debug)]
enum Job {
    Reach(Slot),
    Settle(Slot, Settled),
}

#[derive(Clone, Copy, Debug)]
enum Settled {
    Done,
    /// A choice that leads to this step.
    Chosen(Option<usize>),
    Over,
}

type Jobs = VecDeque<Job>;

/// How far a step is, for views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// It may be under way.
    Running,
    /// It is over.
    Done,
}

impl Run {
    /// The beginning: what starts is due.
    #[must_use]
    pub fn new(graph: &Graph, input: &Arc<[u8]>) -> Run {
        let mut run = Run { input: Input::new(input), ..Run::default() };
        let mut jobs = Jobs::new();
        run.enter(graph.body(), 0, (None, 0, None), &mut jobs);
        run.work(graph, jobs);
        run
    }

    /// Takes in what is stored of a step, live and in recovery, in any order.
    pub fn record(&mut self, graph: &Graph, row: &Arc<StepRow>) {
        self.rows.insert(row.slot, Arc::clone(row));
        if self.back.is_some() {
            return self.record_undo(graph, row);
        }
        let Some(place) = graph.locate(row.slot) else { return };
        if self.stage(&place) == Stage::Reached {
            let mut jobs = Jobs::new();
            self.apply_row(&place, row, &mut jobs);
            self.work(graph, jobs);
        }
    }

    /// All rows of a loaded saga are recorded: what is due now may have been sent before.
    pub fn loaded(&mut self) {
        self.maybe_sent.clone_from(&self.due);
    }

    /// A due step left, or a due wait was begun.
    pub fn sent(&mut self, slot: Slot) {
        let due = match &mut self.back {
            None => &mut self.due,
            Some(back) => &mut back.due,
        };
        due.remove(&slot);
        self.outstanding.insert(slot);
    }

    /// What is stored of a step.
    #[must_use]
    pub fn row(&self, slot: Slot) -> Option<&Arc<StepRow>> {
        self.rows.get(slot)
    }

    /// What is stored of all steps, in order.
    pub fn rows(&self) -> impl Iterator<Item = &Arc<StepRow>> {
        self.rows.iter().map(|(_, row)| row)
    }

    /// What is stored of the steps that need a person.
    pub fn parked(&self) -> impl Iterator<Item = &Arc<StepRow>> {
        self.rows().filter(|row| match row.state {
            // On the way back it is one of those that may have happened, and is undone.
            StepState::Parked(_) => !self.is_back(),
            StepState::UndoParked(_) => true,
            StepState::Waiting { .. }
            | StepState::Done
            | StepState::Failed { .. }
            | StepState::Skipped
            | StepState::Undone
            | StepState::Open => false,
        })
    }

    /// The result of the whole, once every step is over.
    #[must_use]
    pub fn output(&self) -> Option<&Arc<Value>> {
        self.output.as_ref()
    }

    /// Whether an attempt of a step may be under way or have taken place without being known.
    #[must_use]
    pub fn may_be_under_way(&self, slot: Slot) -> bool {
        self.outstanding.contains(&slot) || self.maybe_sent.contains(&slot)
    }

    /// Whether an attempt may have been sent by an earlier process.
    #[must_use]
    pub fn may_have_been_sent_before(&self, slot: Slot) -> bool {
        self.maybe_sent.contains(&slot)
    }

    /// The steps that were reached and not passed over, in order of their slots.
    pub fn reached<'a>(&'a self, graph: &'a Graph) -> impl Iterator<Item = (Slot, Reached)> + 'a {
        let scopes = self
            .scopes
            .iter()
            .filter_map(|(base, scope)| Some((base, scope, self.body(graph, base)?)));
        scopes.flat_map(|(base, scope, body)| {
            let nodes = scope.nodes.iter().zip(&body.nodes);
            nodes.filter_map(move |(run, node)| {
                let reached = match run.stage {
                    Stage::Ahead | Stage::Over => return None,
                    Stage::Reached => Reached::Running,
                    Stage::Done => Reached::Done,
                };
                Some((Slot(base.0 + node.offset), reached))
            })
        })
    }

    /// Whether a step is reached and not over.
    #[must_use]
    pub fn is_running(&self, graph: &Graph, slot: Slot) -> bool {
        graph.locate(slot).is_some_and(|place| self.stage(&place) == Stage::Reached)
    }

    /// The input of an action, as JSON.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub fn input(&self, graph: &Graph, slot: Slot) -> Result<Arc<[u8]>, StepError> {
        let Some(place) = graph.locate(slot) else {
            return Err(mapping("no such step".to_owned()));
        };
        let NodeKind::Action(action) = &place.node().kind else { return Ok(Arc::from(*b"null")) };
        let value = action.input.fill(&View { run: self, graph, place }).map_err(mapping)?;
        let json = json(&value);
        if json.len() > RESULT_BYTES_MAX {
            let message =
                format!("its input has {} bytes; it may have {RESULT_BYTES_MAX}", json.len());
            return Err(StepError { code: LIMIT_CODE.into(), message: message.into() });
        }
        Ok(json)
    }

    /// Why a step that goes on by itself does not.
    pub(super) fn hindrance(&self, graph: &Graph, place: &Place<'_>) -> Option<StepError> {
        match &place.node().kind {
            NodeKind::Action(_) | NodeKind::Wait(_) => None,
            NodeKind::Choice(choice) => self.choose(graph, place, choice).err(),
            NodeKind::Each(each) => self.list(graph, place, each).err(),
            NodeKind::Saga(saga) => {
                let view = View { run: self, graph, place: *place };
                saga.input.fill(&view).map_err(mapping).err()
            }
        }
    }

    fn work(&mut self, graph: &Graph, mut jobs: Jobs) {
        while let Some(job) = jobs.pop_front() {
            match job {
                Job::Reach(slot) => {
                    if let Some(place) = graph.locate(slot) {
                        self.reach(graph, &place, &mut jobs);
                    }
                }
                Job::Settle(slot, settled) => {
                    if let Some(place) = graph.locate(slot) {
                        self.settle(graph, &place, settled, &mut jobs);
                    }
                }
            }
        }
    }

    /// Begins an instance of a body.
    fn enter(
        &mut self,
        body: &Arc<Body>,
        base: u32,
        (owner, iteration, input): (Option<Slot>, u32, Option<Arc<Value>>),
        jobs: &mut Jobs,
    ) {
        let node = |before: &Vec<usize>| NodeRun {
            before: u16::try_from(before.len()).unwrap_or(u16::MAX),
            alive: before.is_empty(),
            stage: Stage::Ahead,
            undo: 0,
        };
        let scope = Scope {
            owner,
            iteration,
            input,
            nodes: body.nodes.iter().map(|step| node(&step.before)).collect(),
            left: u32::try_from(body.nodes.len()).unwrap_or(u32::MAX),
            undo_left: 0,
        };
        self.scopes.insert(Slot(base), scope);
        let starts = body.nodes.iter().filter(|step| step.before.is_empty());
        jobs.extend(starts.map(|step| Job::Reach(Slot(base + step.offset))));
    }

    fn reach(&mut self, graph: &Graph, place: &Place<'_>, jobs: &mut Jobs) {
        let slot = place.slot();
        let Some(node) = self.node_mut(place) else { return };
        if !node.alive {
            jobs.push_back(Job::Settle(slot, Settled::Over));
            return;
        }
        node.stage = Stage::Reached;
        let row = self.rows.get(slot).filter(|row| row.state != StepState::Open).cloned();
        if let Some(row) = row {
            return self.apply_row(place, &row, jobs);
        }
        match &place.node().kind {
            NodeKind::Action(_) | NodeKind::Wait(_) => drop(self.due.insert(slot)),
            NodeKind::Choice(choice) => match self.choose(graph, place, choice) {
                Ok(target) => jobs.push_back(Job::Settle(slot, Settled::Chosen(target))),
                Err(_) => drop(self.due.insert(slot)),
            },
            NodeKind::Each(each) => match self.list(graph, place, each) {
                Ok(items) => self.begin_loop(place, each, items, jobs),
                Err(_) => drop(self.due.insert(slot)),
            },
            NodeKind::Saga(saga) => {
                let view = View { run: self, graph, place: *place };
                match saga.input.fill(&view) {
                    Ok(input) => {
                        let within = (Some(slot), 0, Some(Arc::new(input)));
                        self.enter(&saga.body, slot.0 + 1, within, jobs);
                    }
                    Err(_) => drop(self.due.insert(slot)),
                }
            }
        }
    }

    /// What a row says of a step that is reached.
    fn apply_row(&mut self, place: &Place<'_>, row: &StepRow, jobs: &mut Jobs) {
        let slot = row.slot;
        self.due.remove(&slot);
        let over = match row.state {
            StepState::Done | StepState::Skipped => true,
            // Its undoing had begun, so whatever came after it is undone or never happened.
            StepState::Undone | StepState::UndoParked(_) => false,
            StepState::Open => {
                jobs.push_back(Job::Reach(slot));
                false
            }
            StepState::Waiting { .. } | StepState::Failed { .. } | StepState::Parked(_) => false,
        };
        // Whatever it says, the attempt that was under way has been answered.
        self.outstanding.remove(&slot);
        if !over {
            return;
        }
        self.maybe_sent.remove(&slot);
        let settled = match &place.node().kind {
            NodeKind::Choice(choice) => Settled::Chosen(forced(place, choice, row)),
            NodeKind::Action(_) | NodeKind::Wait(_) | NodeKind::Each(_) | NodeKind::Saga(_) => {
                Settled::Done
            }
        };
        jobs.push_back(Job::Settle(slot, settled));
    }

    fn settle(&mut self, graph: &Graph, place: &Place<'_>, settled: Settled, jobs: &mut Jobs) {
        let Some(node) = self.node_mut(place) else { return };
        let stage = match settled {
            Settled::Over => Stage::Over,
            Settled::Done | Settled::Chosen(_) => Stage::Done,
        };
        if node.stage == Stage::Done || node.stage == Stage::Over {
            return;
        }
        node.stage = stage;
        for next in &place.node().after {
            let alive = match settled {
                Settled::Over => false,
                Settled::Done => true,
                Settled::Chosen(target) => target == Some(*next),
            };
            #[cfg(test)]
            {
                self.edges_looked_at += 1;
            }
            let after = place.sibling(*next);
            let Some(next) = self.node_mut(&after) else { continue };
            next.alive |= alive;
            next.before = next.before.saturating_sub(1);
            if next.before == 0 {
                jobs.push_back(Job::Reach(after.slot()));
            }
        }
        let Some(scope) = self.scopes.get_mut(Slot(place.base)) else { return };
        scope.left = scope.left.saturating_sub(1);
        if scope.left == 0 {
            self.finish(graph, place, jobs);
        }
    }

    /// An instance of a body is over.
    fn finish(&mut self, graph: &Graph, last: &Place<'_>, jobs: &mut Jobs) {
        let output = last.body.output.fill_or_null(&View { run: self, graph, place: *last });
        let Some(scope) = self.scopes.get(Slot(last.base)) else { return };
        let (owner, iteration) = (scope.owner, scope.iteration);
        let Some(owner) = owner else {
            self.output = Some(Arc::new(output));
            return;
        };
        let Some(place) = graph.locate(owner) else { return };
        match &place.node().kind {
            NodeKind::Each(each) => {
                let Some(running) = self.loops.get_mut(owner) else { return };
                running.outputs[iteration as usize] = output;
                running.finished += 1;
                let (started, count) = (running.started, running.count());
                if started < count {
                    running.started += 1;
                    self.enter_iteration(owner, each, started, jobs);
                } else if running.finished == count {
                    let outputs = std::mem::take(&mut running.outputs);
                    self.made.insert(owner, Arc::new(Value::Array(outputs)));
                    jobs.push_back(Job::Settle(owner, Settled::Done));
                }
            }
            NodeKind::Saga(_) => {
                self.made.insert(owner, Arc::new(output));
                jobs.push_back(Job::Settle(owner, Settled::Done));
            }
            NodeKind::Action(_) | NodeKind::Choice(_) | NodeKind::Wait(_) => {}
        }
    }

    fn begin_loop(
        &mut self,
        place: &Place<'_>,
        each: &EachNode,
        items: Vec<Value>,
        jobs: &mut Jobs,
    ) {
        let slot = place.slot();
        let outputs = vec![Value::Null; items.len()];
        let mut running =
            Loop { items: Arc::new(items), outputs, started: 0, finished: 0, undo_left: 0 };
        let count = running.count();
        running.started = count.min(each.parallel);
        let started = running.started;
        self.loops.insert(slot, running);
        for iteration in 0..started {
            self.enter_iteration(slot, each, iteration, jobs);
        }
        if count == 0 {
            self.made.insert(slot, Arc::new(Value::Array(Vec::new())));
            jobs.push_back(Job::Settle(slot, Settled::Done));
        }
    }

    fn enter_iteration(&mut self, owner: Slot, each: &EachNode, iteration: u32, jobs: &mut Jobs) {
        let base = owner.0 + 1 + iteration * each.body.size;
        self.enter(&each.body, base, (Some(owner), iteration, None), jobs);
    }

    fn choose(
        &self,
        graph: &Graph,
        place: &Place<'_>,
        choice: &ChoiceNode,
    ) -> Result<Option<usize>, StepError> {
        let view = View { run: self, graph, place: *place };
        for (condition, target) in &choice.cases {
            if condition.holds(&view).map_err(mapping)? {
                return Ok(Some(*target));
            }
        }
        Ok(choice.otherwise)
    }

    fn list(
        &self,
        graph: &Graph,
        place: &Place<'_>,
        each: &EachNode,
    ) -> Result<Vec<Value>, StepError> {
        let value = each.list.fill(&View { run: self, graph, place: *place }).map_err(mapping)?;
        let Value::Array(items) = value else {
            return Err(mapping("what it loops over is no list".to_owned()));
        };
        if items.len() > each.limit as usize {
            let message =
                format!("its list has {} items, and its limit is {}", items.len(), each.limit);
            return Err(StepError { code: LIMIT_CODE.into(), message: message.into() });
        }
        Ok(items)
    }

    pub(super) fn stage(&self, place: &Place<'_>) -> Stage {
        let scope = self.scopes.get(Slot(place.base));
        scope.map_or(Stage::Ahead, |scope| scope.nodes[place.index].stage)
    }

    pub(super) fn node_mut(&mut self, place: &Place<'_>) -> Option<&mut NodeRun> {
        Some(&mut self.scopes.get_mut(Slot(place.base))?.nodes[place.index])
    }

    /// The body of which an instance begins at `base`.
    pub(super) fn body<'g>(&self, graph: &'g Graph, base: Slot) -> Option<&'g Arc<Body>> {
        match self.scopes.get(base)?.owner {
            None => Some(graph.body()),
            Some(owner) => graph.locate(owner)?.node().inner().map(|(body, _)| body),
        }
    }
}

impl Loop {
    fn count(&self) -> u32 {
        u32::try_from(self.items.len()).unwrap_or(u32::MAX)
    }
}

/// Where a choice leads on which an operator has spoken: to the target that he named, or as if no case
/// were true.
fn forced(place: &Place<'_>, choice: &ChoiceNode, row: &StepRow) -> Option<usize> {
    let named = row.result.as_ref().and_then(|json| serde_json::from_slice::<String>(json).ok());
    let named = named.and_then(|id| place.body.find(&id));
    named.filter(|target| place.node().after.contains(target)).or(choice.otherwise)
}

fn mapping(message: String) -> StepError {
    StepError { code: MAPPING_CODE.into(), message: message.into() }
}

pub(super) fn json(value: &Value) -> Arc<[u8]> {
    serde_json::to_vec(value).expect("JSON always becomes text").into()
}
