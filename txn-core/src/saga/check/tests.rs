//! Each thing that can be wrong with a definition, and what is said of it.

use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::check;
use crate::saga::builder::{Saga, Step, from};
use crate::saga::{Definition, DefinitionKey, Graph};

fn faults_with(definition: &Value, parts: &[Arc<Graph>], expected: &Expect) {
    let find = |key: &DefinitionKey| parts.iter().find(|part| part.key() == key).cloned();
    let text = definition.to_string();
    let checked = Definition::from_json(text.as_bytes())
        .map_err(|fault| vec![fault])
        .and_then(|definition| check(&definition, &find));
    let said = match checked {
        Ok(graph) => format!("fine: {} slots", graph.slots()),
        Err(faults) => faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    };
    expected.assert_eq(&said);
}

#[track_caller]
fn faults(steps: &Value, expected: &Expect) {
    faults_with(&json!({ "saga": "s", "version": 1, "steps": steps }), &[], expected);
}

fn act(id: &str) -> Value {
    json!({ "id": id, "action": "do", "resource": "r" })
}

fn act_with(id: &str, more: &Value) -> Value {
    let mut step = act(id);
    for (name, value) in more.as_object().expect("an object") {
        step[name] = value.clone();
    }
    step
}

#[test]
fn every_fault_is_found_at_once() {
    let definition = json!({
        "saga": "Trip!", "version": 0, "timeout": "0s",
        "steps": [
            { "id": "a" },
            act_with("a", &json!({ "after": ["nobody"], "retry": { "attempts": 0 } })),
            act_with("c", &json!({ "timeout": "2h", "input": { "$from": "/result/a" } })),
        ],
    });
    faults_with(
        &definition,
        &[],
        &expect![[r#"
            /saga: the name of a saga is 1 to 64 of `a-z`, `0-9`, `-` and `_`, not `Trip!`
            /version: versions begin with 1
            /timeout: it is more than nothing and at most 10years 7days 12h
            /steps/1/id: another step is named `a`
            /steps/1/after/0: no step beside this one is named `nobody`
            /steps/0: a step has exactly one of `action`, `choice`, `wait`, `each` and `saga`
            /steps/1/retry/attempts: 1 to 1000000 attempts
            /steps/2/input: `/result/a` is no pointer into /input, /results/<step>, /each/<loop>/item or /each/<loop>/index
            /steps/2/timeout: it is more than nothing and at most 1h"#]],
    );
}

#[test]
fn the_shape_is_said_with_its_place() {
    faults(
        &json!([{ "id": "a", "action": "x", "resource": "r", "retries": 3 }]),
        &expect![
            "/steps/0/retries: unknown field `retries`, expected one of `id`, `after`, `action`, `resource`, `input`, `timeout`, `retry`, `unknown`, `recovery`, `compensable`, `choice`, `else`, `wait`, `each`, `saga` at line 1 column 68"
        ],
    );
    faults(
        &json!([{ "id": "a", "wait": { "for": "soon" } }]),
        &expect![
            "/steps/0/wait/for: `soon` is no duration (expected number at 0); write one as `10m` at line 1 column 52"
        ],
    );
    faults(
        &json!([{ "action": "x" }]),
        &expect!["/steps/0: missing field `id` at line 1 column 35"],
    );
    faults(&json!([]), &expect!["/steps: there is no step"]);
}

#[test]
fn a_cycle_is_named() {
    faults(
        &json!([
            act_with("a", &json!({ "after": ["c"] })),
            act("b"),
            act("c"),
            act_with("own", &json!({ "after": ["own"] })),
        ]),
        &expect!["/steps/0: cycle: b → c → a → b"],
    );
    faults(
        &json!([act("a"), { "id": "again", "choice": [{ "when": "true", "then": "a" }] }, act_with("b", &json!({"after": ["a"]}))]),
        &expect!["/steps/0: cycle: again → a → again"],
    );
}

#[test]
fn a_step_that_nothing_leads_to_is_dead() {
    faults(
        &json!([{ "id": "way", "choice": [{ "when": "true", "then": "a" }] }, act_with("b", &json!({})), act("a")]),
        &expect![
            "/steps/1: dead step: the choice `way` never leads to `b`; name it there, or say which step it is `after`"
        ],
    );
}

#[test]
fn a_result_is_there_if_its_step_surely_ran_before() {
    let choice = json!({ "id": "way", "choice": [{ "when": "input.left", "then": "left" }], "else": "right" });
    let reads = |from: &str| json!({ "input": { "$from": from } });
    // Through a choice: what stood before it is sure, what one of its ways ran is not.
    faults(
        &json!([
            act("first"),
            choice,
            act("left"),
            act_with("right", &json!({})),
            act_with(
                "last",
                &json!({ "after": ["left", "right"], "input": [{ "$from": "/results/first" }, { "$from": "/results/left" }] })
            )
        ]),
        &expect![
            "/steps/4/input: `/results/left`: step `left` may have been passed over by then: give a default"
        ],
    );
    // With a default it may be absent; within its own way it is sure.
    faults(
        &json!([
            choice,
            act("left"),
            act_with("more", &reads("/results/left/x")),
            act_with("right", &json!({})),
            act_with(
                "last",
                &json!({ "after": ["more", "right"], "input": { "$from": "/results/left", "$default": 0 } })
            )
        ]),
        &expect!["fine: 5 slots"],
    );
    // Beside each other: not over by then.
    faults(
        &json!([
            act("a"),
            act_with("b", &json!({ "after": [], "input": { "$from": "/results/a" } }))
        ]),
        &expect![
            "/steps/1/input: `/results/a`: step `a` is not always over by then: add it to `after`"
        ],
    );
    // Both sides of a fork are sure after the join.
    faults(
        &json!([
            act("a"),
            act_with("b", &json!({ "after": [] })),
            act_with(
                "c",
                &json!({ "after": ["a", "b"], "input": [{ "$from": "/results/a" }, { "$from": "/results/b" }] })
            )
        ]),
        &expect!["fine: 3 slots"],
    );
    faults(
        &json!([act_with("a", &reads("/results/nobody"))]),
        &expect!["/steps/0/input: `/results/nobody`: no step `nobody` can be seen from here"],
    );
    faults(
        &json!([act_with("a", &reads("/each/l/item"))]),
        &expect!["/steps/0/input: `/each/l/item`: this is not inside a loop `l`"],
    );
    faults(
        &json!([choice, act("left"), act_with("right", &reads("/results/way"))]),
        &expect!["/steps/2/input: `/results/way`: the choice `way` has no result"],
    );
}

#[test]
fn a_condition_sees_what_is_sure_and_walks_over_nothing() {
    let choice = |when: &str| {
        json!([act("a"), { "id": "way", "choice": [{ "when": when, "then": "b" }] }, act("b"), act_with("c", &json!({"after": ["b"]})),
               { "id": "late", "after": ["c"], "choice": [{ "when": when, "then": "d" }] }, act("d")])
    };
    faults(&choice("results.a.n > 3 && input.x == 'y'"), &expect!["fine: 6 slots"]);
    faults(
        &choice("results[\"a\"] == 1 || results.d == 2"),
        &expect![[r#"
        /steps/1/choice/0/when: `results.d`: step `d` is not always over by then: add it to `after`
        /steps/4/choice/0/when: `results.d`: step `d` is not always over by then: add it to `after`"#]],
    );
    faults(
        &choice("input.list.all(x, x > 0)"),
        &expect![[r#"
        /steps/1/choice/0/when: a condition may not walk over a list or map (all, exists, exists_one, map, filter): let a step do that and return what it found
        /steps/4/choice/0/when: a condition may not walk over a list or map (all, exists, exists_one, map, filter): let a step do that and return what it found"#]],
    );
    faults(
        &choice("has(results.c) ? true : false"),
        &expect![
            "/steps/1/choice/0/when: `results.c`: step `c` is not always over by then: add it to `after`"
        ],
    );
    faults(
        &choice("a +"),
        &expect![[r#"
        /steps/1/choice/0/when: the condition is not CEL: ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}
        /steps/4/choice/0/when: the condition is not CEL: ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"#]],
    );
    faults(
        &choice("secret == 1"),
        &expect![[r#"
        /steps/1/choice/0/when: `secret` is not known to a condition, or not as a whole; it may use `input`, `results.<step>`, `each.<loop>.item` and `each.<loop>.index`
        /steps/4/choice/0/when: `secret` is not known to a condition, or not as a whole; it may use `input`, `results.<step>`, `each.<loop>.item` and `each.<loop>.index`"#]],
    );
    faults(
        &choice(&"(".repeat(500)),
        &expect![[r#"
            /steps/1/choice/0/when: the condition is nested deeper than 6
            /steps/4/choice/0/when: the condition is nested deeper than 6"#]],
    );
    faults(&choice(&format!("{}true", "!".repeat(200))), &expect!["fine: 6 slots"]);
    faults(
        &choice(&"1".repeat(2000)),
        &expect![[r#"
        /steps/1/choice/0/when: the condition has 2000 bytes; it may have 1024
        /steps/4/choice/0/when: the condition has 2000 bytes; it may have 1024"#]],
    );
}

#[test]
fn loops_and_waits_have_what_belongs_to_them() {
    let body = json!([
        act_with(
            "pack",
            &json!({ "input": [{ "$from": "/each/lines/item/n" }, { "$from": "/results/a" }] })
        ),
        act("send")
    ]);
    faults(
        &json!([act("a"), { "id": "lines", "each": { "in": { "$from": "/input" }, "limit": 100, "steps": body, "output": { "$from": "/results/send" } } },
                act_with("z", &json!({ "input": { "$from": "/results/pack" } }))]),
        &expect!["/steps/2/input: `/results/pack`: no step `pack` can be seen from here"],
    );
    faults(
        &json!([{ "id": "lines", "each": { "in": [], "limit": 0, "parallel": 0, "steps": [] } }]),
        &expect![[r#"
            /steps/0/each/limit: the limit of a loop is 1 to 10000
            /steps/0/each/parallel: at least one item is worked on at a time
            /steps/0/each/steps: there is no step"#]],
    );
    faults(
        &json!([{ "id": "w", "wait": { "event": true, "expired": "continue" } }, { "id": "v", "wait": {} },
                { "id": "u", "wait": { "for": "1s" }, "timeout": "1s", "else": "w" }]),
        &expect![[r#"
            /steps/0: cycle: v → u → w → v
            /steps/0/wait: `expired` says what follows a `timeout`, and there is none
            /steps/1/wait: a wait is either `for` a duration or `event: true`
            /steps/2/timeout: `timeout` belongs to a step with an `action`
            /steps/2/else: `else` belongs to a step with a `choice`"#]],
    );
    // Unrolled to its limit it is too large.
    let inner =
        json!({ "id": "inner", "each": { "in": [], "limit": 10_000, "steps": [act("x")] } });
    faults(
        &json!([{ "id": "outer", "each": { "in": [], "limit": 100, "steps": [inner] } }]),
        &expect![
            "/steps: with every loop at its limit it has 1000101 steps; it may have 100000: lower the limits"
        ],
    );
}

#[test]
fn sub_sagas_are_known_and_no_part_of_themselves() {
    let find = |_: &DefinitionKey| None;
    let part = Saga::new("part", 2).step(Step::action("quote", "r", "quote")).build();
    let part = Arc::new(check(&part, &find).expect("it is fine"));
    let of = |name: &str, version: u32, parts: &[Arc<Graph>], expected: &Expect| {
        let sub = json!({ "id": "sub", "saga": { "name": "part", "version": version, "input": { "$from": "/input" } } });
        faults_with(&json!({ "saga": name, "version": 1, "steps": [sub] }), parts, expected);
    };
    let parts = [Arc::clone(&part)];
    of("whole", 2, &parts, &expect!["fine: 2 slots"]);
    of(
        "whole",
        3,
        &parts,
        &expect!["/steps/0/saga: no saga `part@3` is defined: define it before this one"],
    );
    of("part", 2, &parts, &expect!["/steps/0/saga: recursion: `part@2` would be a part of itself"]);
    let inner = json!({ "saga": "whole", "version": 1, "steps": [{ "id": "sub", "saga": { "name": "part", "version": 2 } }] });
    let inner = Definition::from_json(inner.to_string().as_bytes()).expect("it is one");
    let inner = check(&inner, &|_| Some(Arc::clone(&part))).expect("it is fine");
    let again = json!({ "saga": "part", "version": 3, "steps": [{ "id": "x", "saga": { "name": "whole", "version": 1 } }] });
    faults_with(
        &again,
        &[Arc::new(inner)],
        &expect!["/steps/0/saga: recursion: `whole@1` has `part@2` as a part"],
    );
}

#[test]
fn what_is_too_large_is_refused_before_it_costs_anything() {
    let steps: Vec<Value> = (0..10_000).map(|number| act(&format!("s{number}"))).collect();
    faults(
        &Value::Array(steps),
        &expect!["/steps: a definition has at most 2000 steps: use sub-sagas"],
    );
    let large = vec![b' '; 10 * 1024 * 1024];
    expect!["/: the definition has 10485760 bytes; it may have 1048576"]
        .assert_eq(&Definition::from_json(&large).expect_err("too large").to_string());
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    faults(
        &json!([act_with("a", &json!({ "input": deep }))]),
        &expect![
            "/steps/0/input/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0: a mapping may be nested 32 deep"
        ],
    );
}

#[test]
fn what_was_built_is_what_was_written() {
    let built = Saga::new("s", 1)
        .step(Step::action("a", "r", "do").input(json!({ "x": from("/input") })).attempts(5))
        .build();
    let read = Definition::from_json(&built.to_json()).expect("it reads what it wrote");
    assert_eq!(read, built);
}
