//! What a step sees from its place: the input, the items of the loops around it, the results of steps that
//! are done. Mappings and conditions are filled from it.
//!
//! It looks outwards, body by body, up to the saga or the sub-saga that the step is in: nothing beyond that
//! is seen but what the sub-saga was given.

use std::borrow::Cow;

use serde_json::Value;

use super::graph::{Graph, NodeKind, Place};
use super::row::Slot;
use super::run::{Run, Scope, Stage};
use super::template::{Document, Source};

/// The document of a step: what mappings and conditions see from its place.
pub(super) struct View<'a> {
    pub(super) run: &'a Run,
    pub(super) graph: &'a Graph,
    pub(super) place: Place<'a>,
}

impl View<'_> {
    /// The place of the loop or sub-saga around a place, and the scope between.
    fn outer(&self, place: &Place<'_>) -> Option<(Place<'_>, &Scope)> {
        let scope = self.run.scopes.get(Slot(place.base))?;
        Some((self.graph.locate(scope.owner?)?, scope))
    }

    fn result(&self, place: &Place<'_>) -> Option<Cow<'_, Value>> {
        if self.run.stage(place) != Stage::Done {
            return None;
        }
        if let Some(made) = self.run.made.get(place.slot()) {
            return Some(Cow::Borrowed(made));
        }
        let result = self.run.rows.get(place.slot())?.result.as_ref();
        let value = result.and_then(|json| serde_json::from_slice(json).ok());
        Some(Cow::Owned(value.unwrap_or(Value::Null)))
    }
}

impl Document for View<'_> {
    fn value(&self, source: &Source) -> Option<Cow<'_, Value>> {
        let mut place = self.place;
        loop {
            if let Source::Result(step) = source
                && let Some(index) = place.body.find(step)
            {
                return self.result(&place.sibling(index));
            }
            let Some((outer, scope)) = self.outer(&place) else {
                let is_input = *source == Source::Input;
                return is_input.then(|| self.run.input.value());
            };
            match (source, &outer.node().kind) {
                (Source::Item(of), NodeKind::Each(_)) if *of == outer.node().id => {
                    let items = &self.run.loops.get(outer.slot())?.items;
                    return items.get(scope.iteration as usize).map(Cow::Borrowed);
                }
                (Source::Index(of), NodeKind::Each(_)) if *of == outer.node().id => {
                    return Some(Cow::Owned(scope.iteration.into()));
                }
                // Nothing is seen from a sub-saga but what it was given.
                (Source::Input, NodeKind::Saga(_)) => {
                    return scope.input.as_deref().map(Cow::Borrowed);
                }
                (_, NodeKind::Saga(_)) => return None,
                (
                    _,
                    NodeKind::Action(_)
                    | NodeKind::Choice(_)
                    | NodeKind::Wait(_)
                    | NodeKind::Each(_),
                ) => place = Place { ..outer },
            }
        }
    }
}
