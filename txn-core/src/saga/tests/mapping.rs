//! Mappings and conditions by themselves.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::saga::condition::Condition;
use crate::saga::template::{Document, Source, Template};

struct Fixed(Value);

impl Document for Fixed {
    fn value(&self, source: &Source) -> Option<Cow<'_, Value>> {
        let value = match source {
            Source::Input => self.0.get("input"),
            Source::Result(step) => self.0.pointer(&format!("/results/{step}")),
            Source::Item(of) => self.0.pointer(&format!("/each/{of}/item")),
            Source::Index(of) => self.0.pointer(&format!("/each/{of}/index")),
        };
        value.map(Cow::Borrowed)
    }
}

fn document() -> Fixed {
    Fixed(json!({
        "input": { "n": 3, "f": 2.5, "s": "x", "a/b": 1, "null": null, "big": u64::MAX },
        "results": { "one": { "id": 7, "list": [1, 2] }, "book-it": true },
        "each": { "l": { "item": "i", "index": 4 } },
    }))
}

#[track_caller]
fn fills(template: &Value, expected: Result<Value, &str>) {
    let read = Template::read(template).expect("it is a mapping");
    assert_eq!(read.fill(&document()), expected.map_err(str::to_owned));
}

#[test]
fn holes_are_filled_and_the_rest_is_itself() {
    fills(&json!({ "$from": "/input/n" }), Ok(json!(3)));
    fills(&json!({ "a": [{ "$from": "/results/one/list/1" }, 9] }), Ok(json!({ "a": [2, 9] })));
    fills(&json!({ "$from": "/input/a~1b" }), Ok(json!(1)));
    fills(&json!({ "$from": "/each/l/item" }), Ok(json!("i")));
    fills(&json!([{ "$from": "/each/l/index" }]), Ok(json!([4])));
    fills(&json!({ "$from": "/input/x", "$default": [0] }), Ok(json!([0])));
    // Null is there.
    fills(&json!({ "$from": "/input/null", "$default": 1 }), Ok(json!(null)));
    fills(&json!({ "$value": { "$from": "/input" } }), Ok(json!({ "$from": "/input" })));
    fills(&json!({ "a": { "$value": 1 } }), Ok(json!({ "a": 1 })));
    fills(
        &json!({ "$from": "/results/one/x" }),
        Err("the mapping `/results/one/x` finds nothing, and has no $default"),
    );
}

#[test]
fn what_is_no_mapping_is_refused() {
    for wrong in [
        json!({ "$from": 1 }),
        json!({ "$from": "input" }),
        json!({ "$from": "/results" }),
        json!({ "$from": "/each/l/other" }),
        json!({ "$from": "/input", "more": 1 }),
        json!({ "$default": 1 }),
        json!([{ "deep": { "$fro": 1 } }]),
    ] {
        assert!(Template::read(&wrong).is_err(), "{wrong}");
    }
}

#[track_caller]
fn holds(text: &str) -> Result<bool, String> {
    Condition::read(text).expect("it is a condition").holds(&document())
}

#[test]
fn a_condition_takes_whole_numbers_as_they_are_written() {
    for text in [
        "input.n == 3",
        "input.n + 1 > 3 && input.f < 3.0",
        "results.one.id in [7, 8]",
        "results[\"book-it\"]",
        "each.l.index == 4 && each.l.item == 'i'",
        "has(input.n) && !has(input.zzz)",
        "has(results.one) && !has(results.other)",
        "input.s.startsWith('x') && size(results.one.list) == 2",
        "input[\"null\"] == null",
    ] {
        assert_eq!(holds(text), Ok(true), "{text}");
    }
    assert_eq!(holds("input.n == 4"), Ok(false));
}

#[test]
fn a_condition_that_is_neither_true_nor_false_says_so() {
    for text in ["input.n", "input.zzz == 1", "results.other.x", "1 / 0 == 1", "'a' > 1"] {
        let error = holds(text).expect_err(text);
        assert!(error.contains(text) && error.contains("cannot be evaluated"), "{error}");
    }
}

#[test]
fn no_condition_overflows_the_stack() {
    let limit = crate::saga::limits::CONDITION_BYTES_MAX;
    let deepest = crate::saga::limits::CONDITION_NESTING_MAX;
    for (open, close) in
        [("(", ")"), ("[", "]"), ("{1:", "}"), ("a[", "]"), ("a(", ")"), ("!(", ")")]
    {
        let text = format!("{}1{}", open.repeat(deepest), close.repeat(deepest));
        drop(Condition::read(&text));
        assert!(Condition::read(&open.repeat(limit / open.len())).is_err());
    }
    for part in ["!", "-", "a.", "true?1:", "1+", "a&&", "a||", "1<", "b'"] {
        drop(Condition::read(&format!("{}1", part.repeat(limit / part.len() - 1))));
    }
}
