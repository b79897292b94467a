//! Judges a definition as a whole and makes the graph of it.
//!
//! ```text
//! steps ──▶ level.rs: names, edges, cycles, what is sure to have run ──▶ kind.rs: what each step does
//!                                     ▲                                        │ loops: a level within
//!                                     └────────────────────────────────────────┘
//! ```
//!
//! Every fault is found at once, each with its place. What needs to know who offers which action is
//! judged when a saga is submitted.

mod kind;
mod level;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::definition::{Definition, Recovery, Span, Step};
use super::graph::{ActionUse, Body, Graph, Node};
use super::limits::{NAME_BYTES_MAX, NESTING_MAX, SAGA_SECONDS_MAX, SLOTS_MAX, STEPS_MAX};
use super::row::DefinitionKey;
use super::template::{Source, Template};
use level::{Level, Within};

/// One thing that is wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A JSON Pointer into the definition.
    pub place: String,
    /// What is wrong there, and what to do.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.place.is_empty() { "/" } else { &self.place };
        write!(f, "{place}: {}", self.message)
    }
}

/// Finds the checked graph of a sub-saga; `None` if none of that name and version is defined.
pub type FindSaga<'a> = &'a dyn Fn(&DefinitionKey) -> Option<Arc<Graph>>;

/// Checks a definition and makes its graph.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check(definition: &Definition, find: FindSaga<'_>) -> Result<Graph, Vec<Fault>> {
    let mut checker = Checker {
        find,
        faults: Vec::new(),
        ids: BTreeSet::new(),
        steps: 0,
        actions: BTreeMap::new(),
        nesting: 0,
        parts: BTreeSet::new(),
        name: &definition.saga,
        recovery: definition.recovery.unwrap_or(Recovery::Backward),
    };
    checker.name("/saga", "saga", &definition.saga);
    if definition.version == 0 {
        checker.fault("/version", "versions begin with 1");
    }
    let timeout = definition.timeout.map(|span| checker.span("/timeout", span, SAGA_SECONDS_MAX));
    let body = checker.body(&definition.steps, definition.output.as_ref(), "", &[]);
    if body.size > SLOTS_MAX {
        checker.fault(
            "/steps",
            format!(
                "with every loop at its limit it has {} steps; it may have {SLOTS_MAX}: lower the \
                 limits",
                body.size
            ),
        );
    }
    if !checker.faults.is_empty() {
        return Err(checker.faults);
    }
    let actions = checker.actions.into_values().collect();
    Ok(Graph {
        key: DefinitionKey { name: definition.saga.as_str().into(), version: definition.version },
        timeout,
        body: Arc::new(body),
        actions,
        nesting: checker.nesting,
        parts: checker.parts.into_iter().collect(),
    })
}

/// What is known on the way through a definition.
struct Checker<'a> {
    find: FindSaga<'a>,
    faults: Vec<Fault>,
    /// Of all levels.
    ids: BTreeSet<String>,
    steps: usize,
    actions: BTreeMap<(String, String, bool), ActionUse>,
    nesting: usize,
    parts: BTreeSet<DefinitionKey>,
    name: &'a str,
    recovery: Recovery,
}

impl Checker<'_> {
    fn fault(&mut self, place: &str, message: impl Into<String>) {
        self.faults.push(Fault { place: place.to_owned(), message: message.into() });
    }

    fn name(&mut self, place: &str, what: &str, name: &str) {
        let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
        };
        if !fits || !name.bytes().all(allowed) {
            let message = format!(
                "the name of a {what} is 1 to {NAME_BYTES_MAX} of `a-z`, `0-9`, `-` and `_`, not `{}`",
                &name[..name.floor_char_boundary(NAME_BYTES_MAX)]
            );
            self.fault(place, message);
        }
    }

    fn span(&mut self, place: &str, span: Span, seconds_max: u64) -> Duration {
        if span.0.is_zero() || span.0 > Duration::from_secs(seconds_max) {
            let max = humantime::format_duration(Duration::from_secs(seconds_max));
            self.fault(place, format!("it is more than nothing and at most {max}"));
        }
        span.0
    }

    /// A level of steps. `prefix` is the place of what holds `steps`.
    fn body(
        &mut self,
        steps: &[Step],
        output: Option<&Value>,
        prefix: &str,
        around: &[Within<'_>],
    ) -> Body {
        let place = format!("{prefix}/steps");
        self.nesting = self.nesting.max(around.len());
        if around.len() > NESTING_MAX {
            self.fault(&place, format!("loops lie at most {NESTING_MAX} deep in each other"));
            return Body::default();
        }
        let before = self.steps;
        self.steps += steps.len();
        if self.steps > STEPS_MAX {
            // Once: the rest would only say the same again.
            if before <= STEPS_MAX {
                let message = format!("a definition has at most {STEPS_MAX} steps: use sub-sagas");
                self.fault(&place, message);
            }
            return Body::default();
        }
        if steps.is_empty() {
            self.fault(&place, "there is no step");
        }
        let level = Level::read(self, steps, &place);
        let mut nodes = Vec::with_capacity(steps.len());
        let mut size: u64 = 0;
        for (index, step) in steps.iter().enumerate() {
            let here = format!("{place}/{index}");
            let mut within = around.to_vec();
            within.push(Within { level: &level, index: Some(index) });
            let kind = self.kind(step, &here, &within);
            let node = Node {
                id: step.id.as_str().into(),
                offset: u32::try_from(size).unwrap_or(u32::MAX),
                kind,
                before: level.before[index].clone(),
                after: level.after[index].clone(),
            };
            size = size.saturating_add(node.width());
            nodes.push(node);
        }
        let mut within = around.to_vec();
        within.push(Within { level: &level, index: None });
        let output = output.map_or_else(Template::null, |value| {
            self.template(value, &format!("{prefix}/output"), &within)
        });
        let by_id = nodes.iter().enumerate().map(|(index, node)| (Arc::clone(&node.id), index));
        Body {
            by_id: by_id.collect(),
            size: u32::try_from(size).unwrap_or(u32::MAX),
            output,
            nodes,
        }
    }

    /// A mapping, and whether what it names is there by then.
    fn template(&mut self, value: &Value, place: &str, within: &[Within<'_>]) -> Template {
        let template = match Template::read(value) {
            Ok(template) => template,
            Err((at, message)) => {
                self.fault(&format!("{place}{at}"), message);
                return Template::null();
            }
        };
        for hole in template.holes() {
            let may_be_absent = hole.default.is_some();
            if let Err(message) = level::resolves(&hole.source, may_be_absent, within) {
                self.fault(place, format!("`{}`: {message}", hole.pointer));
            }
        }
        template
    }

    fn uses(&mut self, step: &str, resource: &str, action: &str, used: ActionUse) {
        let key = (resource.to_owned(), action.to_owned(), used.compensable);
        self.actions.entry(key).or_insert_with(|| ActionUse { step: step.to_owned(), ..used });
    }
}

/// How a source is written.
fn written(source: &Source) -> String {
    match source {
        Source::Input => "input".to_owned(),
        Source::Result(step) => format!("results.{step}"),
        Source::Item(of) => format!("each.{of}.item"),
        Source::Index(of) => format!("each.{of}.index"),
    }
}
