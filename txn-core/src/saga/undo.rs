//! The way back: which compensations may run, once a saga has been decided to roll back.
//!
//! ```text
//! a step is undone ──▶ each step before it has one less to wait for ──▶ none left: it is undone next
//! ```
//!
//! To be undone is every action that may have happened: one that is done, that was sent and not
//! answered, or that an earlier process may have sent. What surely did not happen is passed over. A
//! step waits for all steps after it, also through those that were passed over: one of them may have
//! used its result. Iterations of a loop that ran one after the other are undone in reverse.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::graph::{Graph, NodeKind, Place};
use super::row::{Slot, StepRow, StepState};
use super::run::{Run, Stage};

/// How far the way back is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Back {
    /// May be undone, and nothing was done about it.
    pub(super) due: BTreeSet<Slot>,
    /// May be undone.
    open: BTreeSet<Slot>,
    pub(super) is_over: bool,
}

#[derive(Clone, Copy, Debug)]
enum Job {
    /// Nothing after it is left.
    Reach(Slot),
    Undone(Slot),
}

type Jobs = VecDeque<Job>;

impl Run {
    /// The saga rolls back: nothing more is started.
    pub fn turn_back(&mut self, graph: &Graph) {
        if self.back.is_some() {
            return;
        }
        self.back = Some(Back::default());
        let bases: Vec<Slot> = self.scopes.iter().map(|(base, _)| base).collect();
        for base in bases {
            self.count_undo(graph, base);
        }
        let mut jobs = Jobs::new();
        self.undo_scope(graph, Slot(0), &mut jobs);
        self.work_back(graph, jobs);
        self.due.clear();
    }

    /// Whether the saga is on its way back.
    #[must_use]
    pub fn is_back(&self) -> bool {
        self.back.is_some()
    }

    /// Whether a compensation may be asked for, and is not known to be done.
    #[must_use]
    pub fn is_undoing(&self, slot: Slot) -> bool {
        self.back.as_ref().is_some_and(|back| back.open.contains(&slot))
    }

    /// Whether all that may have happened is undone.
    #[must_use]
    pub fn is_undone(&self) -> bool {
        self.back.as_ref().is_some_and(|back| back.is_over)
    }

    pub(super) fn record_undo(&mut self, graph: &Graph, row: &StepRow) {
        let Some(back) = &mut self.back else { return };
        back.due.remove(&row.slot);
        self.outstanding.remove(&row.slot);
        if !back.open.contains(&row.slot) {
            return;
        }
        match row.state {
            StepState::Undone => self.work_back(graph, Jobs::from([Job::Undone(row.slot)])),
            StepState::Open => drop(back.due.insert(row.slot)),
            StepState::Waiting { .. }
            | StepState::Done
            | StepState::Failed { .. }
            | StepState::Skipped
            | StepState::Parked(_)
            | StepState::UndoParked(_) => {}
        }
    }

    /// How many steps each has to wait for: all that follow it and were reached or passed over.
    fn count_undo(&mut self, graph: &Graph, base: Slot) {
        let Some(body) = self.body(graph, base).cloned() else { return };
        let Some(scope) = self.scopes.get_mut(base) else { return };
        let touched: Vec<bool> =
            scope.nodes.iter().map(|node| node.stage != Stage::Ahead).collect();
        for (index, node) in body.nodes.iter().enumerate() {
            let after = node.after.iter().filter(|next| touched[**next]).count();
            scope.nodes[index].undo = u16::try_from(after).unwrap_or(u16::MAX);
        }
        let count = touched.iter().filter(|is| **is).count();
        scope.undo_left = u32::try_from(count).unwrap_or(u32::MAX);
    }

    fn work_back(&mut self, graph: &Graph, mut jobs: Jobs) {
        while let Some(job) = jobs.pop_front() {
            let (Job::Reach(slot) | Job::Undone(slot)) = job;
            let Some(place) = graph.locate(slot) else { continue };
            match job {
                Job::Reach(_) => self.reach_back(graph, &place, &mut jobs),
                Job::Undone(_) => self.undone(graph, &place, &mut jobs),
            }
        }
    }

    /// Begins to undo an instance of a body.
    fn undo_scope(&mut self, graph: &Graph, base: Slot, jobs: &mut Jobs) {
        let Some(body) = self.body(graph, base) else { return };
        let Some(scope) = self.scopes.get(base) else { return };
        if scope.undo_left == 0 {
            return self.scope_undone(graph, base, jobs);
        }
        let nodes = scope.nodes.iter().zip(&body.nodes);
        let last = nodes.filter(|(run, _)| run.stage != Stage::Ahead && run.undo == 0);
        jobs.extend(last.map(|(_, node)| Job::Reach(Slot(base.0 + node.offset))));
    }

    fn reach_back(&mut self, graph: &Graph, place: &Place<'_>, jobs: &mut Jobs) {
        let slot = place.slot();
        match &place.node().kind {
            NodeKind::Action(_) => {
                if self.may_have_happened(place) {
                    let parked = self.is_undo_parked(slot);
                    let Some(back) = &mut self.back else { return };
                    back.open.insert(slot);
                    if !parked {
                        back.due.insert(slot);
                    }
                } else {
                    jobs.push_back(Job::Undone(slot));
                }
            }
            NodeKind::Choice(_) | NodeKind::Wait(_) => jobs.push_back(Job::Undone(slot)),
            NodeKind::Saga(_) => {
                let base = Slot(slot.0 + 1);
                if self.scopes.get(base).is_some() {
                    self.undo_scope(graph, base, jobs);
                } else {
                    jobs.push_back(Job::Undone(slot));
                }
            }
            NodeKind::Each(each) => {
                let size = each.body.size;
                let started = self.loops.get_mut(slot).map_or(0, |running| {
                    running.undo_left = running.started;
                    running.started
                });
                let base = |iteration: u32| Slot(slot.0 + 1 + iteration * size);
                match (started, each.parallel) {
                    (0, _) => jobs.push_back(Job::Undone(slot)),
                    (_, 1) => self.undo_scope(graph, base(started - 1), jobs),
                    (_, _) => {
                        (0..started).for_each(|one| self.undo_scope(graph, base(one), jobs));
                    }
                }
            }
        }
    }

    fn undone(&mut self, graph: &Graph, place: &Place<'_>, jobs: &mut Jobs) {
        if let Some(back) = &mut self.back {
            back.open.remove(&place.slot());
        }
        for before in &place.node().before {
            let before = place.sibling(*before);
            let Some(node) = self.node_mut(&before) else { continue };
            node.undo = node.undo.saturating_sub(1);
            if node.undo == 0 && node.stage != Stage::Ahead {
                jobs.push_back(Job::Reach(before.slot()));
            }
        }
        let base = Slot(place.base);
        let Some(scope) = self.scopes.get_mut(base) else { return };
        scope.undo_left = scope.undo_left.saturating_sub(1);
        if scope.undo_left == 0 {
            self.scope_undone(graph, base, jobs);
        }
    }

    fn scope_undone(&mut self, graph: &Graph, base: Slot, jobs: &mut Jobs) {
        let Some(scope) = self.scopes.get(base) else { return };
        let (owner, iteration) = (scope.owner, scope.iteration);
        let Some(owner) = owner else {
            if let Some(back) = &mut self.back {
                back.is_over = true;
            }
            return;
        };
        let Some(place) = graph.locate(owner) else { return };
        if let NodeKind::Each(each) = &place.node().kind {
            let Some(running) = self.loops.get_mut(owner) else { return };
            running.undo_left = running.undo_left.saturating_sub(1);
            if running.undo_left > 0 {
                if each.parallel == 1 {
                    let next = Slot(owner.0 + 1 + (iteration - 1) * each.body.size);
                    self.undo_scope(graph, next, jobs);
                }
                return;
            }
        }
        jobs.push_back(Job::Undone(owner));
    }

    fn may_have_happened(&self, place: &Place<'_>) -> bool {
        let slot = place.slot();
        match self.rows.get(slot).map(|row| row.state) {
            None => self.may_be_under_way(slot),
            Some(StepState::Failed { certain }) => !certain,
            Some(StepState::Undone) => false,
            Some(
                StepState::Done
                | StepState::Skipped
                | StepState::Waiting { .. }
                | StepState::Parked(_)
                | StepState::UndoParked(_)
                | StepState::Open,
            ) => true,
        }
    }

    fn is_undo_parked(&self, slot: Slot) -> bool {
        let row: Option<&Arc<StepRow>> = self.rows.get(slot);
        row.is_some_and(|row| matches!(row.state, StepState::UndoParked(_)))
    }
}
