//! What a saga was given, as mappings and conditions see it.
//!
//! Parsed, JSON takes some twenty times its bytes, and a hundred thousand sagas may wait. So a small input
//! is parsed whenever it is looked at, as the results of steps are; a large one once, because every step
//! may look at it.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

/// Up to so many bytes an input is parsed each time. 1 KiB: a few microseconds.
const SMALL_BYTES_MAX: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// The bytes are the row's.
    Small(Arc<[u8]>),
    Large(Arc<Value>),
}

impl Input {
    pub(super) fn new(json: &Arc<[u8]>) -> Input {
        if json.len() <= SMALL_BYTES_MAX {
            Input::Small(Arc::clone(json))
        } else {
            Input::Large(Arc::new(parsed(json)))
        }
    }

    pub(super) fn value(&self) -> Cow<'_, Value> {
        match self {
            Input::Small(json) => Cow::Owned(parsed(json)),
            Input::Large(value) => Cow::Borrowed(value),
        }
    }
}

impl Default for Input {
    fn default() -> Self {
        Input::Small(Arc::from([]))
    }
}

/// What is no JSON is null; the edge lets none in.
fn parsed(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_inputs_are_seen_alike() {
        for bytes in [0, 1, SMALL_BYTES_MAX, SMALL_BYTES_MAX + 1, 100_000] {
            let value = Value::String("x".repeat(bytes));
            let json: Arc<[u8]> = value.to_string().into_bytes().into();
            assert_eq!(*Input::new(&json).value(), value);
        }
        assert_eq!(*Input::new(&Arc::from(*b"no JSON")).value(), Value::Null);
    }
}
