//! A saga as people write it: the JSON of `docs/saga.schema.json`, read and written word for word.
//!
//! Nothing is judged here but the shape. Whether the steps make sense together is for
//! [`check`](super::check); what they mean is on `docs/saga.md`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use super::check::Fault;
use super::limits::DEFINITION_BYTES_MAX;

/// A process of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Definition {
    /// The saga's name: 1 to 64 of `a-z`, `0-9`, `-` and `_`.
    pub saga: String,
    /// From 1. A name and version mean one definition for ever.
    pub version: u32,
    /// When this passes, the saga rolls back. Without it, it may take as long as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// What becomes of the saga when a step has failed for good; `backward` unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// The steps. Each follows the one before it, unless it says otherwise.
    pub steps: Vec<Step>,
    /// The mapping that makes the saga's result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

/// A step: exactly one of `action`, `choice`, `wait`, `each` and `saga`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Step {
    /// Its name, unique in the definition: 1 to 64 of `a-z`, `0-9`, `-` and `_`.
    pub id: String,
    /// The steps that it follows; empty for one that starts at once. Without it: the step before it in
    /// the list, or the choices that lead to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<String>>,
    /// The name of the action that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The resource whose service offers the action, and whose database holds its barrier row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The mapping that makes the action's input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// How long one attempt may take: up to `1h`, and `30s` unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How often the action is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What an attempt without an answer means; `retry` unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<OnUnknown>,
    /// As the saga's, for this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// Whether its action can be reversed; `true` unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensable: Option<bool>,
    /// The first case that is true leads on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<Vec<Case>>,
    /// Where a choice leads if no case is true; without it, nowhere.
    #[serde(default, rename = "else", skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<String>,
    /// Waits for some time, or for an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
    /// Runs steps for each item of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<Each>,
    /// Runs another saga as a part of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saga: Option<SubSaga>,
}

/// A case of a choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Case {
    /// A condition in CEL over `input`, `results` and `each`.
    pub when: String,
    /// The step that it leads to.
    pub then: String,
}

/// A wait: either `for` or `event`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Wait {
    /// How long.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
    /// For an event that somebody sends to this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<bool>,
    /// How long to wait for the event at most; without it, for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// What becomes of the step when the event did not come in time; `fail` unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired: Option<Expired>,
}

/// A loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Each {
    /// The mapping that makes the list.
    #[serde(rename = "in")]
    pub list: Value,
    /// How many items the list may have: 1 to 10,000. With more the step fails.
    pub limit: u32,
    /// How many items are worked on side by side; 1 unless it is said: in order, one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u32>,
    /// What is done for an item, which is `/each/<id>/item` to them.
    pub steps: Vec<Step>,
    /// The mapping that makes an item's part of the loop's result, a list; null unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

/// Another saga as a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SubSaga {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The mapping that makes its input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
}

/// How often an action is tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Retry {
    /// How often at most; 3 unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The pause before the second attempt, doubled for each further one; `1s` unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Span>,
    /// The longest pause; `1m` unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_max: Option<Span>,
    /// The codes of errors that no other attempt can cure.
    #[serde(default, rename = "final", skip_serializing_if = "Vec::is_empty")]
    pub finals: Vec<String>,
}

/// What becomes of a saga when a step has failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Recovery {
    /// It rolls back.
    Backward,
    /// The step is parked, and a person decides.
    Forward,
}

/// What an attempt without an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OnUnknown {
    /// Another attempt, under the same key.
    Retry,
    /// The step has failed for good, and is compensated in case it took place.
    Compensate,
}

/// What becomes of a wait whose event did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Expired {
    /// The step fails for good.
    Fail,
    /// The saga goes on without the event.
    Continue,
}

/// A duration as text: `90s`, `10m`, `1h 30m`, `2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(transparent))]
pub struct Span(#[cfg_attr(test, schemars(with = "String"))] pub Duration);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Span).map_err(|error| {
            de::Error::custom(format!("`{text}` is no duration ({error}); write one as `10m`"))
        })
    }
}

impl Definition {
    /// Reads the JSON of a definition.
    ///
    /// # Errors
    /// The first thing that is not as the schema says, with its place.
    pub fn from_json(json: &[u8]) -> Result<Definition, Fault> {
        if json.len() > DEFINITION_BYTES_MAX {
            let message = format!(
                "the definition has {} bytes; it may have {DEFINITION_BYTES_MAX}",
                json.len()
            );
            return Err(Fault { place: String::new(), message });
        }
        let mut reader = serde_json::Deserializer::from_slice(json);
        let definition = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let place = pointer(error.path());
            Fault { place, message: error.into_inner().to_string() }
        })?;
        let rest = reader.end();
        rest.map_err(|error| Fault { place: String::new(), message: error.to_string() })?;
        Ok(definition)
    }

    /// The canonical JSON of the definition: what is stored, and compared with a repeat.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts, numbers and JSON always become JSON")
    }
}

/// The place as a JSON Pointer.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut place = String::new();
    for segment in path {
        let part = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { variant } => variant.clone(),
            Segment::Unknown => continue,
        };
        place.push('/');
        place.push_str(&part);
    }
    place
}
