//! What each step does: exactly one thing, with what belongs to it and nothing else.

use std::sync::Arc;
use std::time::Duration;

use super::level::{self, Within};
use super::{Checker, written};
use crate::saga::condition::Condition;
use crate::saga::definition::{Each, Expired, OnUnknown, Retry, Span, Step, SubSaga, Wait};
use crate::saga::graph::{
    ActionNode, ActionUse, Body, ChoiceNode, EachNode, NodeKind, SagaNode, WaitFor,
};
use crate::saga::limits::{
    ATTEMPT_SECONDS_MAX, ATTEMPTS_MAX, CASES_MAX, LOOP_LIMIT_MAX, NAME_BYTES_MAX, NESTING_MAX,
    SAGA_SECONDS_MAX,
};
use crate::saga::row::DefinitionKey;
use crate::saga::template::Template;

/// How long one attempt may take unless the step says.
const ATTEMPT_TIME: Duration = Duration::from_secs(30);
/// How often an action is tried unless the step says.
const ATTEMPTS: u32 = 3;
/// The pause before the second attempt unless the step says.
const BACKOFF: Duration = Duration::from_secs(1);
/// The longest pause unless the step says.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

impl Checker<'_> {
    pub(super) fn kind(&mut self, step: &Step, place: &str, within: &[Within<'_>]) -> NodeKind {
        let kinds = [
            step.action.is_some(),
            step.choice.is_some(),
            step.wait.is_some(),
            step.each.is_some(),
            step.saga.is_some(),
        ];
        if kinds.iter().filter(|is| **is).count() != 1 {
            self.fault(
                place,
                "a step has exactly one of `action`, `choice`, `wait`, `each` and `saga`",
            );
        }
        self.strangers(step, place);
        let recovery = step.recovery.unwrap_or(self.recovery);
        if let Some(action) = &step.action {
            return NodeKind::Action(Box::new(self.action(step, action, place, within)));
        }
        if let Some(cases) = &step.choice {
            let mut node = ChoiceNode { cases: Vec::new(), otherwise: None, recovery };
            if cases.is_empty() || cases.len() > CASES_MAX {
                self.fault(
                    &format!("{place}/choice"),
                    format!("a choice has 1 to {CASES_MAX} cases"),
                );
            }
            let here = within.last().map(|one| one.level);
            let target = |id: &str| here.and_then(|level| level.find(id)).unwrap_or_default();
            for (number, case) in cases.iter().enumerate() {
                let at = format!("{place}/choice/{number}/when");
                if let Some(condition) = self.condition(&case.when, &at, within) {
                    node.cases.push((Arc::new(condition), target(&case.then)));
                }
            }
            node.otherwise = step.otherwise.as_deref().map(target);
            return NodeKind::Choice(node);
        }
        if let Some(wait) = &step.wait {
            return NodeKind::Wait(self.wait(wait, recovery, &format!("{place}/wait")));
        }
        if let Some(each) = &step.each {
            let mut node = self.each(each, &format!("{place}/each"), within);
            node.recovery = recovery;
            return NodeKind::Each(Box::new(node));
        }
        if let Some(saga) = &step.saga {
            let mut node = self.saga(saga, &format!("{place}/saga"), within);
            node.recovery = recovery;
            return NodeKind::Saga(Box::new(node));
        }
        NodeKind::Wait(WaitFor::Time(Duration::ZERO))
    }

    /// What does not belong to this kind of step.
    fn strangers(&mut self, step: &Step, place: &str) {
        let of_actions = [
            ("resource", step.resource.is_some()),
            ("input", step.input.is_some()),
            ("timeout", step.timeout.is_some()),
            ("retry", step.retry.is_some()),
            ("unknown", step.unknown.is_some()),
            ("compensable", step.compensable.is_some()),
        ];
        if step.action.is_none() {
            for (name, _) in of_actions.iter().filter(|(_, is)| *is) {
                let message = format!("`{name}` belongs to a step with an `action`");
                self.fault(&format!("{place}/{name}"), message);
            }
        }
        if step.choice.is_none() && step.otherwise.is_some() {
            self.fault(&format!("{place}/else"), "`else` belongs to a step with a `choice`");
        }
    }

    fn action(
        &mut self,
        step: &Step,
        action: &str,
        place: &str,
        within: &[Within<'_>],
    ) -> ActionNode {
        if action.is_empty() || action.len() > NAME_BYTES_MAX {
            let message = format!("the name of an action has 1 to {NAME_BYTES_MAX} bytes");
            self.fault(&format!("{place}/action"), message);
        }
        let resource = step.resource.as_deref().unwrap_or_default();
        let resource = resource.parse().unwrap_or_else(|_| {
            self.fault(
                &format!("{place}/resource"),
                "name the resource that offers the action: 1 to 128 printable ASCII characters",
            );
            "none".parse().expect("a word is a resource id")
        });
        let compensable = step.compensable.unwrap_or(true);
        let used = ActionUse { resource, action: action.into(), compensable, step: String::new() };
        self.uses(&step.id, used.resource.as_str(), action, used.clone());
        let input = step.input.as_ref().map_or_else(Template::null, |value| {
            self.template(value, &format!("{place}/input"), within)
        });
        let timeout = step.timeout.unwrap_or(Span(ATTEMPT_TIME));
        let timeout = self.span(&format!("{place}/timeout"), timeout, ATTEMPT_SECONDS_MAX);
        let unsaid = Retry::default();
        let retry = step.retry.as_ref().unwrap_or(&unsaid);
        let at = format!("{place}/retry");
        let attempts = retry.attempts.unwrap_or(ATTEMPTS);
        if attempts == 0 || attempts > ATTEMPTS_MAX {
            self.fault(&format!("{at}/attempts"), format!("1 to {ATTEMPTS_MAX} attempts"));
        }
        let mut pause = |name: &str, span: Option<Span>, unsaid: Duration| {
            self.span(&format!("{at}/{name}"), span.unwrap_or(Span(unsaid)), SAGA_SECONDS_MAX)
        };
        let backoff = pause("backoff", retry.backoff, BACKOFF);
        let backoff_max = pause("backoff-max", retry.backoff_max, BACKOFF_MAX.max(backoff));
        ActionNode {
            action: action.into(),
            resource: used.resource,
            input,
            timeout,
            attempts,
            backoff,
            backoff_max,
            finals: retry.finals.iter().map(|code| code.as_str().into()).collect(),
            unknown: step.unknown.unwrap_or(OnUnknown::Retry),
            recovery: step.recovery.unwrap_or(self.recovery),
            compensable,
        }
    }

    fn condition(&mut self, text: &str, place: &str, within: &[Within<'_>]) -> Option<Condition> {
        let condition = match Condition::read(text) {
            Ok(condition) => condition,
            Err(message) => {
                self.fault(place, message);
                return None;
            }
        };
        // `has(results.x)` makes it one that may be absent, wherever else it is named.
        let asked =
            |source| condition.uses().iter().any(|one| one.asked_only && one.source == source);
        let uses = condition.uses().iter();
        let wrong: Vec<String> = uses
            .filter_map(|used| {
                let may_be_absent = asked(used.source.clone());
                let resolved = level::resolves(&used.source, may_be_absent, within);
                let why = resolved.err()?.replace("give a default", "ask `has(…)` first");
                Some(format!("`{}`: {why}", written(&used.source)))
            })
            .collect();
        wrong.into_iter().for_each(|message| self.fault(place, message));
        Some(condition)
    }

    fn wait(
        &mut self,
        wait: &Wait,
        recovery: crate::saga::definition::Recovery,
        place: &str,
    ) -> WaitFor {
        match (wait.span, wait.event) {
            (Some(span), None) => {
                if wait.timeout.is_some() || wait.expired.is_some() {
                    self.fault(place, "`timeout` and `expired` belong to a wait for an `event`");
                }
                WaitFor::Time(self.span(&format!("{place}/for"), span, SAGA_SECONDS_MAX))
            }
            (None, Some(true)) => {
                let at = format!("{place}/timeout");
                let timeout = wait.timeout.map(|span| self.span(&at, span, SAGA_SECONDS_MAX));
                if timeout.is_none() && wait.expired.is_some() {
                    self.fault(place, "`expired` says what follows a `timeout`, and there is none");
                }
                let expired = wait.expired.unwrap_or(Expired::Fail);
                WaitFor::Event { timeout, expired, recovery }
            }
            (Some(_), Some(_)) | (None, Some(false) | None) => {
                self.fault(place, "a wait is either `for` a duration or `event: true`");
                WaitFor::Time(Duration::ZERO)
            }
        }
    }

    fn each(&mut self, each: &Each, place: &str, within: &[Within<'_>]) -> EachNode {
        let list = self.template(&each.list, &format!("{place}/in"), within);
        if each.limit == 0 || each.limit > LOOP_LIMIT_MAX {
            let message = format!("the limit of a loop is 1 to {LOOP_LIMIT_MAX}");
            self.fault(&format!("{place}/limit"), message);
        }
        let parallel = each.parallel.unwrap_or(1);
        if parallel == 0 {
            self.fault(&format!("{place}/parallel"), "at least one item is worked on at a time");
        }
        let body = self.body(&each.steps, each.output.as_ref(), place, within);
        EachNode {
            list,
            limit: each.limit,
            parallel,
            body: Arc::new(body),
            recovery: self.recovery,
        }
    }

    fn saga(&mut self, saga: &SubSaga, place: &str, within: &[Within<'_>]) -> SagaNode {
        let key = DefinitionKey { name: saga.name.as_str().into(), version: saga.version };
        let input = saga.input.as_ref().map_or_else(Template::null, |value| {
            self.template(value, &format!("{place}/input"), within)
        });
        let mut body = Arc::new(Body::default());
        if *saga.name == *self.name {
            self.fault(place, format!("recursion: `{key}` would be a part of itself"));
        } else if let Some(graph) = (self.find)(&key) {
            if let Some(part) = graph.parts.iter().find(|part| *part.name == *self.name) {
                self.fault(place, format!("recursion: `{key}` has `{part}` as a part"));
            }
            if within.len() + graph.nesting > NESTING_MAX {
                let message =
                    format!("loops and sub-sagas lie at most {NESTING_MAX} deep in each other");
                self.fault(place, message);
            }
            self.nesting = self.nesting.max(within.len() + graph.nesting);
            self.parts.extend(graph.parts.iter().cloned());
            self.parts.insert(key.clone());
            for used in graph.actions.clone() {
                let step = format!("{}/{}", within_id(within), used.step);
                let (resource, action) = (used.resource.clone(), Arc::clone(&used.action));
                self.uses(&step, resource.as_str(), &action, used);
            }
            body = Arc::clone(&graph.body);
        } else {
            self.fault(place, format!("no saga `{key}` is defined: define it before this one"));
        }
        SagaNode { key, input, body, recovery: self.recovery }
    }
}

/// The step that stands here.
fn within_id<'a>(within: &[Within<'a>]) -> &'a str {
    within.last().map_or("", |one| one.id())
}
