//! Mappings: JSON with holes that are filled from a saga's input and from earlier results.
//!
//! `{"$from": "/results/hotel/id", "$default": null}` is a hole, `{"$value": …}` is what stands in it
//! word for word; everything else is itself. What a pointer may begin with is [`Source`]; whether the
//! step that it names has a result by then is for [`check`](super::check).

use std::sync::Arc;

use serde_json::{Map, Value};

use super::limits::MAPPING_NESTING_MAX;

/// Where the value of a hole comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The saga's input.
    Input,
    /// What a step returned.
    Result(Arc<str>),
    /// The item of a loop around the step.
    Item(Arc<str>),
    /// Its place in the list, from 0.
    Index(Arc<str>),
}

/// A hole.
#[derive(Clone, Debug, PartialEq)]
pub struct Hole {
    /// The pointer as it was written.
    pub pointer: Arc<str>,
    /// What it begins with.
    pub source: Source,
    /// The rest, a pointer within the source's value.
    rest: Arc<str>,
    /// What stands in where it finds nothing.
    pub default: Option<Value>,
}

/// A mapping.
#[derive(Clone, Debug, PartialEq)]
pub enum Template {
    /// JSON without holes.
    Literal(Value),
    /// One hole.
    Hole(Hole),
    /// An object with holes in it.
    Object(Vec<(String, Template)>),
    /// An array with holes in it.
    Array(Vec<Template>),
}

/// Where holes are filled from.
pub trait Document {
    /// The value of a source; `None` if it has none.
    fn value(&self, source: &Source) -> Option<std::borrow::Cow<'_, Value>>;
}

/// What is wrong with a mapping, and where within it.
pub(super) type Wrong = (String, String);

impl Template {
    /// The mapping without holes that is null.
    #[must_use]
    pub fn null() -> Template {
        Template::Literal(Value::Null)
    }

    /// Reads a mapping.
    pub(super) fn read(value: &Value) -> Result<Template, Wrong> {
        read(value, &mut String::new(), 0)
    }

    /// Each hole.
    pub fn holes(&self) -> Vec<&Hole> {
        match self {
            Template::Literal(_) => Vec::new(),
            Template::Hole(hole) => vec![hole],
            Template::Object(fields) => fields.iter().flat_map(|(_, part)| part.holes()).collect(),
            Template::Array(parts) => parts.iter().flat_map(Template::holes).collect(),
        }
    }

    /// Fills the holes.
    ///
    /// # Errors
    /// The first hole whose pointer finds nothing and that has no default.
    pub fn fill(&self, document: &dyn Document) -> Result<Value, String> {
        Ok(match self {
            Template::Literal(value) => value.clone(),
            Template::Hole(hole) => hole.fill(document).ok_or_else(|| {
                format!("the mapping `{}` finds nothing, and has no $default", hole.pointer)
            })?,
            Template::Object(fields) => {
                let filled =
                    fields.iter().map(|(name, part)| Ok((name.clone(), part.fill(document)?)));
                Value::Object(filled.collect::<Result<Map<_, _>, String>>()?)
            }
            Template::Array(parts) => {
                let filled = parts.iter().map(|part| part.fill(document));
                Value::Array(filled.collect::<Result<_, String>>()?)
            }
        })
    }

    /// Fills the holes; what finds nothing is null. For results, which are a report and start nothing.
    #[must_use]
    pub fn fill_or_null(&self, document: &dyn Document) -> Value {
        match self {
            Template::Literal(value) => value.clone(),
            Template::Hole(hole) => hole.fill(document).unwrap_or(Value::Null),
            Template::Object(fields) => {
                let filled =
                    fields.iter().map(|(name, part)| (name.clone(), part.fill_or_null(document)));
                Value::Object(filled.collect())
            }
            Template::Array(parts) => {
                Value::Array(parts.iter().map(|part| part.fill_or_null(document)).collect())
            }
        }
    }
}

impl Hole {
    fn fill(&self, document: &dyn Document) -> Option<Value> {
        let value = document.value(&self.source);
        let found = value.as_ref().and_then(|value| value.pointer(&self.rest)).cloned();
        found.or_else(|| self.default.clone())
    }
}

fn read(value: &Value, place: &mut String, depth: usize) -> Result<Template, Wrong> {
    if depth > MAPPING_NESTING_MAX {
        let message = format!("a mapping may be nested {MAPPING_NESTING_MAX} deep");
        return Err((place.clone(), message));
    }
    match value {
        Value::Object(fields) if fields.keys().any(|key| key.starts_with('$')) => {
            special(fields, place)
        }
        Value::Object(fields) => {
            let mut parts = Vec::with_capacity(fields.len());
            for (name, field) in fields {
                let part = within(place, name, |place| read(field, place, depth + 1))?;
                parts.push((name.clone(), part));
            }
            Ok(if is_special(value) { Template::Object(parts) } else { literal(value) })
        }
        Value::Array(items) => {
            let mut parts = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let name = index.to_string();
                parts.push(within(place, &name, |place| read(item, place, depth + 1))?);
            }
            Ok(if is_special(value) { Template::Array(parts) } else { literal(value) })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(literal(value)),
    }
}

fn literal(value: &Value) -> Template {
    Template::Literal(value.clone())
}

fn within<T>(
    place: &mut String,
    name: &str,
    read: impl FnOnce(&mut String) -> Result<T, Wrong>,
) -> Result<T, Wrong> {
    let length = place.len();
    place.push('/');
    place.push_str(&name.replace('~', "~0").replace('/', "~1"));
    let result = read(place);
    place.truncate(length);
    result
}

/// Whether anything in it is not what is written there.
fn is_special(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.iter().any(|(name, field)| name.starts_with('$') || is_special(field))
        }
        Value::Array(items) => items.iter().any(is_special),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn special(fields: &Map<String, Value>, place: &str) -> Result<Template, Wrong> {
    let wrong = |message: String| (place.to_owned(), message);
    let (from, default) = (fields.get("$from"), fields.get("$default"));
    match (from, fields.get("$value"), fields.len()) {
        (None, Some(value), 1) => Ok(Template::Literal(value.clone())),
        (Some(Value::String(pointer)), None, 1 | 2) if fields.len() == 1 + usize::from(default.is_some()) => {
            let (source, rest) = source(pointer).map_err(wrong)?;
            let default = default.cloned();
            Ok(Template::Hole(Hole { pointer: pointer.as_str().into(), source, rest, default }))
        }
        _ => Err(wrong(
            "an object with a `$` key is {\"$from\": pointer}, with \"$default\" or not, or {\"$value\": \
             anything}"
                .to_owned(),
        )),
    }
}

/// What a pointer begins with, and its rest.
fn source(pointer: &str) -> Result<(Source, Arc<str>), String> {
    let bad = || {
        format!(
            "`{pointer}` is no pointer into /input, /results/<step>, /each/<loop>/item or \
             /each/<loop>/index"
        )
    };
    let mut parts = pointer.strip_prefix('/').ok_or_else(bad)?.split('/');
    let source = match (parts.next(), parts.clone().next()) {
        (Some("input"), _) => Source::Input,
        (Some("results"), Some(step)) if !step.is_empty() => {
            parts.next();
            Source::Result(step.into())
        }
        (Some("each"), Some(of)) if !of.is_empty() => {
            parts.next();
            match parts.next() {
                Some("item") => Source::Item(of.into()),
                Some("index") => Source::Index(of.into()),
                Some(_) | None => return Err(bad()),
            }
        }
        (Some(_) | None, _) => return Err(bad()),
    };
    let rest: String = parts.flat_map(|part| ["/", part]).collect();
    Ok((source, rest.into()))
}
