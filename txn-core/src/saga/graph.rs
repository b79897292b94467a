//! A definition that was checked: steps as nodes with edges, sub-sagas put in, every instance with a slot.
//!
//! ```text
//! slot   0      1      2       3 … 2 + n      3 + n …
//!        hotel  class  lines   lines[0]/…     lines[1]/…
//! ```
//!
//! A body is one level of steps: of the saga, of a loop, of a sub-saga. Its nodes have their places in
//! it, and an instance of a body begins at some slot, its base. After a loop come its iterations, as
//! many as its limit, whether or not they are ever run: so a slot follows from the definition alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::condition::Condition;
use super::definition::{Expired, OnUnknown, Recovery};
use super::row::{DefinitionKey, Slot};
use super::template::Template;
use crate::id::ResourceId;

/// A checked definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    pub(super) key: DefinitionKey,
    pub(super) timeout: Option<Duration>,
    pub(super) body: Arc<Body>,
    pub(super) actions: Vec<ActionUse>,
    /// How deep loops and sub-sagas lie in it.
    pub(super) nesting: usize,
    /// The sub-sagas in it, at whatever depth.
    pub(super) parts: Vec<DefinitionKey>,
}

/// An action that a saga needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionUse {
    /// Where it is offered.
    pub resource: ResourceId,
    /// Its name.
    pub action: Arc<str>,
    /// Whether a step counts on its compensation.
    pub compensable: bool,
    /// The first step that needs it, as a path.
    pub step: String,
}

/// One level of steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// In the order of the definition.
    pub nodes: Vec<Node>,
    /// How many slots an instance takes.
    pub size: u32,
    /// Makes its result.
    pub(super) output: Template,
    pub(super) by_id: BTreeMap<Arc<str>, usize>,
}

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name.
    pub id: Arc<str>,
    /// Its slot within an instance of its body.
    pub offset: u32,
    /// What it does.
    pub kind: NodeKind,
    /// The steps that it follows, by their places in the body.
    pub before: Vec<usize>,
    /// The steps that follow it, by their places in the body.
    pub after: Vec<usize>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// Runs an action.
    Action(Box<ActionNode>),
    /// Leads to one of its targets.
    Choice(ChoiceNode),
    /// Waits.
    Wait(WaitFor),
    /// Runs a body for each item of a list.
    Each(Box<EachNode>),
    /// Runs another saga.
    Saga(Box<SagaNode>),
}

/// A step that runs an action.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionNode {
    /// Its name.
    pub action: Arc<str>,
    /// Where it is offered.
    pub resource: ResourceId,
    /// Makes its input.
    pub input: Template,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How often it is tried at most.
    pub attempts: u32,
    /// The pause before the second attempt.
    pub backoff: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// The codes of errors that no other attempt can cure.
    pub finals: Vec<Arc<str>>,
    /// What an attempt without an answer means.
    pub unknown: OnUnknown,
    /// What becomes of the saga when it has failed for good.
    pub recovery: Recovery,
    /// Whether it can be reversed.
    pub compensable: bool,
}

/// A step that leads to one of its targets.
#[derive(Clone, Debug, PartialEq)]
pub struct ChoiceNode {
    /// In order; the first that holds leads to the target at this place in the body.
    pub cases: Vec<(Arc<Condition>, usize)>,
    /// Where it leads if none holds.
    pub otherwise: Option<usize>,
    /// What becomes of the saga when no condition can be evaluated.
    pub recovery: Recovery,
}

/// What a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// Some time.
    Time(Duration),
    /// An event.
    Event {
        /// At most so long.
        timeout: Option<Duration>,
        /// What becomes of it then.
        expired: Expired,
        /// What becomes of the saga if it fails then.
        recovery: Recovery,
    },
}

impl WaitFor {
    /// After how long it is over by itself.
    #[must_use]
    pub fn ends_after(&self) -> Option<Duration> {
        match self {
            WaitFor::Time(span) => Some(*span),
            WaitFor::Event { timeout, .. } => *timeout,
        }
    }
}

/// A loop.
#[derive(Clone, Debug, PartialEq)]
pub struct EachNode {
    /// Makes the list.
    pub list: Template,
    /// How many items it may have.
    pub limit: u32,
    /// How many are worked on side by side.
    pub parallel: u32,
    /// What is done for each.
    pub body: Arc<Body>,
    /// What becomes of the saga when the list is none.
    pub recovery: Recovery,
}

/// Another saga as a step.
#[derive(Clone, Debug, PartialEq)]
pub struct SagaNode {
    /// Which.
    pub key: DefinitionKey,
    /// Makes its input.
    pub input: Template,
    /// What it does.
    pub body: Arc<Body>,
    /// What becomes of the saga when its input cannot be made.
    pub recovery: Recovery,
}

/// Where a slot is.
#[derive(Clone, Copy, Debug)]
pub struct Place<'g> {
    /// The body.
    pub body: &'g Arc<Body>,
    /// Where the instance of the body begins.
    pub base: u32,
    /// The place in the body.
    pub index: usize,
}

impl<'g> Place<'g> {
    /// The step.
    #[must_use]
    pub fn node(&self) -> &'g Node {
        &self.body.nodes[self.index]
    }

    /// The slot of this step.
    #[must_use]
    pub fn slot(&self) -> Slot {
        Slot(self.base + self.node().offset)
    }

    /// The slot of another step of the same instance.
    #[must_use]
    pub fn sibling(&self, index: usize) -> Place<'g> {
        Place { index, ..*self }
    }
}

impl Node {
    /// The body that lies in it, and how often.
    #[must_use]
    pub fn inner(&self) -> Option<(&Arc<Body>, u32)> {
        match &self.kind {
            NodeKind::Action(_) | NodeKind::Choice(_) | NodeKind::Wait(_) => None,
            NodeKind::Each(each) => Some((&each.body, each.limit)),
            NodeKind::Saga(saga) => Some((&saga.body, 1)),
        }
    }

    /// How many slots it takes.
    pub(super) fn width(&self) -> u64 {
        let inner = self.inner();
        1 + inner.map_or(0, |(body, times)| u64::from(body.size) * u64::from(times))
    }

    /// What becomes of the saga when it fails for good.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        match &self.kind {
            NodeKind::Action(action) => action.recovery,
            NodeKind::Choice(choice) => choice.recovery,
            NodeKind::Wait(WaitFor::Time(_)) => Recovery::Backward,
            NodeKind::Wait(WaitFor::Event { recovery, .. }) => *recovery,
            NodeKind::Each(each) => each.recovery,
            NodeKind::Saga(saga) => saga.recovery,
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Body { nodes: Vec::new(), size: 0, output: Template::null(), by_id: BTreeMap::new() }
    }
}

impl Body {
    /// The place of a step by its name.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// The step whose slots, its inner ones included, hold this offset.
    fn at(&self, offset: u32) -> Option<usize> {
        let after = self.nodes.partition_point(|node| node.offset <= offset);
        after.checked_sub(1).filter(|_| offset < self.size)
    }
}

impl Graph {
    /// The name and version.
    #[must_use]
    pub fn key(&self) -> &DefinitionKey {
        &self.key
    }

    /// After how long the saga rolls back.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The outermost level.
    #[must_use]
    pub fn body(&self) -> &Arc<Body> {
        &self.body
    }

    /// How many slots it has.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.body.size
    }

    /// The actions that it needs, each once.
    #[must_use]
    pub fn actions(&self) -> &[ActionUse] {
        &self.actions
    }

    /// Where a slot is; `None` if it has no such slot.
    #[must_use]
    pub fn locate(&self, slot: Slot) -> Option<Place<'_>> {
        let (mut body, mut base) = (&self.body, 0);
        loop {
            let index = body.at(slot.0.checked_sub(base)?)?;
            let node = &body.nodes[index];
            let first = base + node.offset;
            if slot.0 == first {
                return Some(Place { body, base, index });
            }
            let (inner, _) = node.inner()?;
            base = first + 1 + (slot.0 - first - 1) / inner.size * inner.size;
            body = inner;
        }
    }

    /// The action behind a slot; `None` if there is no such slot, or something else.
    #[must_use]
    pub fn action(&self, slot: Slot) -> Option<&ActionNode> {
        match &self.locate(slot)?.node().kind {
            NodeKind::Action(action) => Some(action),
            NodeKind::Choice(_) | NodeKind::Wait(_) | NodeKind::Each(_) | NodeKind::Saga(_) => None,
        }
    }

    /// The path of a slot, for people: `hotel`, `lines[3]/pack`, `insurance/quote`. Empty for a slot
    /// that is none.
    #[must_use]
    pub fn path(&self, slot: Slot) -> String {
        let (mut body, mut base) = (&self.body, 0);
        let mut path = String::new();
        while let Some(index) = slot.0.checked_sub(base).and_then(|offset| body.at(offset)) {
            let node = &body.nodes[index];
            path.push_str(&node.id);
            let first = base + node.offset;
            let Some((inner, _)) = node.inner().filter(|_| slot.0 > first) else { break };
            let iteration = (slot.0 - first - 1) / inner.size;
            if matches!(node.kind, NodeKind::Each(_)) {
                let _ = write!(path, "[{iteration}]");
            }
            path.push('/');
            base = first + 1 + iteration * inner.size;
            body = inner;
        }
        path
    }

    /// The slot of a path; `None` if the definition has no such step.
    #[must_use]
    pub fn slot(&self, path: &str) -> Option<Slot> {
        let (mut body, mut base) = (&self.body, 0);
        let mut parts = path.split('/').peekable();
        loop {
            let part = parts.next()?;
            let (id, iteration) = match part.strip_suffix(']').and_then(|part| part.split_once('['))
            {
                Some((id, number)) => (id, Some(number.parse::<u32>().ok()?)),
                None => (part, None),
            };
            let node = &body.nodes[body.find(id)?];
            let first = base + node.offset;
            if parts.peek().is_none() {
                return iteration.is_none().then_some(Slot(first));
            }
            let (inner, iteration) = match (&node.kind, iteration) {
                (NodeKind::Each(each), Some(number)) if number < each.limit => (&each.body, number),
                (NodeKind::Saga(saga), None) => (&saga.body, 0),
                (
                    NodeKind::Action(_)
                    | NodeKind::Choice(_)
                    | NodeKind::Wait(_)
                    | NodeKind::Each(_)
                    | NodeKind::Saga(_),
                    _,
                ) => return None,
            };
            base = first + 1 + iteration * inner.size;
            body = inner;
        }
    }
}
