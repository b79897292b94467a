//! A definition in Rust.
//!
//! ```
//! use std::time::Duration;
//! use pactum_core::saga::builder::{Saga, Step, from, from_or};
//! use serde_json::json;
//!
//! let trip = Saga::new("book-trip", 1)
//!     .timeout(Duration::from_secs(3600))
//!     .step(
//!         Step::action("flight", "flights", "book-flight")
//!             .input(json!({ "guest": from("/input/guest"), "cabin": "economy" }))
//!             .attempts(5)
//!             .final_errors(["sold-out"]),
//!     )
//!     .step(Step::action("hotel", "hotels", "book-hotel").input(from("/input")).at_once())
//!     .step(
//!         Step::choice("class")
//!             .after(["flight", "hotel"])
//!             .when("results.flight.price > 1000", "approve")
//!             .otherwise("notify"),
//!     )
//!     .step(Step::event("approve").expires_after(Duration::from_secs(600)))
//!     .step(Step::action("notify", "mail", "send-mail").after(["approve"]).not_compensable())
//!     .output(json!({ "flight": from("/results/flight/id"), "by": from_or("/results/approve/by", json!(null)) }))
//!     .build();
//! assert_eq!(trip.steps.len(), 5);
//! ```
//!
//! It says what the JSON says, and is judged like it, when it is defined at a coordinator.

use std::time::Duration;

use serde_json::{Value, json};

use super::definition::{
    Case, Definition, Each, Expired, OnUnknown, Recovery, Retry, Span, Step as Written, SubSaga,
    Wait,
};

/// A hole in a mapping: what a pointer finds.
#[must_use]
pub fn from(pointer: &str) -> Value {
    json!({ "$from": pointer })
}

/// A hole in a mapping, and what stands there when the pointer finds nothing.
#[must_use]
pub fn from_or(pointer: &str, default: impl Into<Value>) -> Value {
    json!({ "$from": pointer, "$default": default.into() })
}

/// A definition that is being written.
#[derive(Clone, Debug)]
#[must_use]
pub struct Saga(Definition);

impl Saga {
    /// A saga without steps.
    pub fn new(name: impl Into<String>, version: u32) -> Self {
        Saga(Definition {
            saga: name.into(),
            version,
            timeout: None,
            recovery: None,
            steps: Vec::new(),
            output: None,
        })
    }

    /// When this passes, it rolls back.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = Some(Span(timeout));
        self
    }

    /// What becomes of it when a step has failed for good.
    pub fn recovery(mut self, recovery: Recovery) -> Self {
        self.0.recovery = Some(recovery);
        self
    }

    /// Adds a step, which follows the one before it unless it says otherwise.
    pub fn step(mut self, step: Step) -> Self {
        self.0.steps.push(step.0);
        self
    }

    /// The mapping that makes its result.
    pub fn output(mut self, mapping: Value) -> Self {
        self.0.output = Some(mapping);
        self
    }

    /// The definition.
    #[must_use]
    pub fn build(self) -> Definition {
        self.0
    }
}

/// A step that is being written. What does not belong to its kind is a fault when it is defined.
#[derive(Clone, Debug)]
#[must_use]
pub struct Step(Written);

impl Step {
    fn named(id: impl Into<String>) -> Written {
        Written { id: id.into(), ..Written::default() }
    }

    /// Runs an action that a resource's service offers.
    pub fn action(
        id: impl Into<String>,
        resource: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Step(Written {
            action: Some(action.into()),
            resource: Some(resource.into()),
            ..Self::named(id)
        })
    }

    /// Leads to the first of its cases that is true.
    pub fn choice(id: impl Into<String>) -> Self {
        Step(Written { choice: Some(Vec::new()), ..Self::named(id) })
    }

    /// Waits for some time.
    pub fn pause(id: impl Into<String>, span: Duration) -> Self {
        let wait = Wait { span: Some(Span(span)), ..Wait::default() };
        Step(Written { wait: Some(wait), ..Self::named(id) })
    }

    /// Waits for an event that is sent to it.
    pub fn event(id: impl Into<String>) -> Self {
        let wait = Wait { event: Some(true), ..Wait::default() };
        Step(Written { wait: Some(wait), ..Self::named(id) })
    }

    /// Runs steps for each item of the list that the mapping makes, of up to `limit`.
    pub fn each(
        id: impl Into<String>,
        list: Value,
        limit: u32,
        steps: impl IntoIterator<Item = Step>,
    ) -> Self {
        let steps = steps.into_iter().map(|step| step.0).collect();
        let each = Each { list, limit, parallel: None, steps, output: None };
        Step(Written { each: Some(each), ..Self::named(id) })
    }

    /// Runs another saga, with the input that the mapping makes.
    pub fn saga(
        id: impl Into<String>,
        name: impl Into<String>,
        version: u32,
        input: Value,
    ) -> Self {
        let saga = SubSaga { name: name.into(), version, input: Some(input) };
        Step(Written { saga: Some(saga), ..Self::named(id) })
    }

    /// The steps that it follows.
    pub fn after(mut self, steps: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.0.after = Some(steps.into_iter().map(Into::into).collect());
        self
    }

    /// It follows nothing.
    pub fn at_once(self) -> Self {
        self.after(<[String; 0]>::default())
    }

    /// The mapping that makes an action's input.
    pub fn input(mut self, mapping: Value) -> Self {
        self.0.input = Some(mapping);
        self
    }

    /// How long one attempt of an action may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = Some(Span(timeout));
        self
    }

    fn retry(mut self, change: impl FnOnce(&mut Retry)) -> Self {
        change(self.0.retry.get_or_insert_default());
        self
    }

    /// How often an action is tried at most.
    pub fn attempts(self, attempts: u32) -> Self {
        self.retry(|retry| retry.attempts = Some(attempts))
    }

    /// The pause before an action's second attempt, and the longest: each is twice the one before.
    pub fn backoff(self, first: Duration, longest: Duration) -> Self {
        self.retry(|retry| {
            retry.backoff = Some(Span(first));
            retry.backoff_max = Some(Span(longest));
        })
    }

    /// The codes of errors that no other attempt can cure.
    pub fn final_errors(self, codes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.retry(|retry| retry.finals = codes.into_iter().map(Into::into).collect())
    }

    /// What an attempt of an action without an answer means.
    pub fn unknown(mut self, unknown: OnUnknown) -> Self {
        self.0.unknown = Some(unknown);
        self
    }

    /// What becomes of the saga when this step has failed for good.
    pub fn recovery(mut self, recovery: Recovery) -> Self {
        self.0.recovery = Some(recovery);
        self
    }

    /// Nothing reverses the action.
    pub fn not_compensable(mut self) -> Self {
        self.0.compensable = Some(false);
        self
    }

    /// A case of a choice: a condition in CEL, and the step that it leads to.
    pub fn when(mut self, condition: impl Into<String>, then: impl Into<String>) -> Self {
        let case = Case { when: condition.into(), then: then.into() };
        self.0.choice.get_or_insert_default().push(case);
        self
    }

    /// Where a choice leads if no case is true.
    pub fn otherwise(mut self, then: impl Into<String>) -> Self {
        self.0.otherwise = Some(then.into());
        self
    }

    /// How long an event is waited for at most; then the step fails.
    pub fn expires_after(mut self, timeout: Duration) -> Self {
        self.0.wait.get_or_insert_default().timeout = Some(Span(timeout));
        self
    }

    /// The saga goes on without an event that did not come in time.
    pub fn or_goes_on(mut self) -> Self {
        self.0.wait.get_or_insert_default().expired = Some(Expired::Continue);
        self
    }

    /// How many items of a loop are worked on side by side.
    pub fn parallel(mut self, items: u32) -> Self {
        if let Some(each) = &mut self.0.each {
            each.parallel = Some(items);
        }
        self
    }

    /// The mapping that makes an item's part of a loop's result.
    pub fn output(mut self, mapping: Value) -> Self {
        if let Some(each) = &mut self.0.each {
            each.output = Some(mapping);
        }
        self
    }
}
