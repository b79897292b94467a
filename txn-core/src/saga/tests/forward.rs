//! Going forward.

use std::sync::Arc;

use expect_test::expect;
use serde_json::json;

use super::{Story, graph_of};
use crate::saga::StepState;

#[test]
fn steps_follow_each_other_and_may_use_what_came_before() {
    let steps = json!([
        { "id": "a", "action": "do", "resource": "r", "input": { "who": { "$from": "/input/who" } } },
        { "id": "b", "action": "do", "resource": "r", "input": [{ "$from": "/results/a/id" }, 1] },
    ]);
    Story::new(&steps, &json!({ "who": "me" }))
        .next(&expect![[r#"act a {"who":"me"}"#]])
        .next(&expect![""])
        .done("a", &json!({ "id": 7 }))
        .next(&expect!["act b [7,1]"])
        .done("b", &json!(null))
        .next(&expect!["complete null"]);
}

#[test]
fn what_starts_at_once_runs_side_by_side_and_joins() {
    let steps = json!([
        { "id": "a", "action": "do", "resource": "r" },
        { "id": "b", "action": "do", "resource": "r", "after": [] },
        { "id": "c", "action": "do", "resource": "r", "after": ["a", "b"] },
    ]);
    Story::new(&steps, &json!(null))
        .next(&expect!["act a null\nact b null"])
        .done("b", &json!(1))
        .next(&expect![""])
        .done("a", &json!(1))
        .next(&expect!["act c null"]);
}

#[test]
fn a_choice_leads_one_way_and_the_others_are_passed_over() {
    let steps = json!([
        { "id": "way", "choice": [{ "when": "input.n > 10", "then": "big" }, { "when": "input.n > 5", "then": "mid" }], "else": "end" },
        { "id": "big", "action": "do", "resource": "r" },
        { "id": "more", "action": "do", "resource": "r" },
        { "id": "mid", "action": "do", "resource": "r" },
        { "id": "end", "action": "do", "resource": "r", "after": ["more", "mid"], "input": { "$from": "/results/mid", "$default": "none" } },
    ]);
    Story::new(&steps, &json!({ "n": 7 }))
        .next(&expect!["act mid null"])
        .done("mid", &json!("m"))
        .next(&expect![[r#"act end "m""#]]);
    Story::new(&steps, &json!({ "n": 1 })).next(&expect![[r#"act end "none""#]]);
    Story::new(&steps, &json!({ "n": 11 }))
        .next(&expect!["act big null"])
        .done("big", &json!(0))
        .next(&expect!["act more null"]);
    Story::new(&steps, &json!({})).next(&expect![
        "fail way pactum-mapping: the condition `input.n > 10` cannot be evaluated: No such key: n"
    ]);
}

#[test]
fn a_choice_that_leads_nowhere_ends_there() {
    let steps = json!([
        { "id": "way", "choice": [{ "when": "false", "then": "x" }] },
        { "id": "x", "action": "do", "resource": "r" },
        { "id": "y", "action": "do", "resource": "r" },
    ]);
    Story::new(&steps, &json!(null)).next(&expect!["complete null"]);
}

#[test]
fn a_loop_takes_its_items_in_turn_or_side_by_side() {
    let each = |parallel: u32| {
        json!([{ "id": "lines", "each": {
            "in": { "$from": "/input" }, "limit": 5, "parallel": parallel,
            "steps": [
                { "id": "pack", "action": "do", "resource": "r", "input": [{ "$from": "/each/lines/index" }, { "$from": "/each/lines/item/n" }] },
                { "id": "send", "action": "do", "resource": "r", "input": { "$from": "/results/pack" } }],
            "output": { "$from": "/results/send/no" } } },
            { "id": "end", "action": "do", "resource": "r", "input": { "$from": "/results/lines" } }])
    };
    let input = json!([{ "n": "x" }, { "n": "y" }, { "n": "z" }]);
    Story::new(&each(1), &input)
        .next(&expect![[r#"act lines[0]/pack [0,"x"]"#]])
        .done("lines[0]/pack", &json!("p0"))
        .next(&expect![[r#"act lines[0]/send "p0""#]])
        .done("lines[0]/send", &json!({ "no": 10 }))
        .next(&expect![[r#"act lines[1]/pack [1,"y"]"#]]);
    let mut story = Story::new(&each(2), &input);
    story
        .next(&expect![[r#"
            act lines[0]/pack [0,"x"]
            act lines[1]/pack [1,"y"]"#]])
        .done("lines[1]/pack", &json!(1))
        .done("lines[1]/send", &json!({ "no": 11 }))
        .next(&expect![[r#"act lines[2]/pack [2,"z"]"#]])
        .done("lines[2]/pack", &json!(1))
        .done("lines[2]/send", &json!(null))
        .done("lines[0]/pack", &json!(1))
        .done("lines[0]/send", &json!({ "no": 10 }))
        .next(&expect!["act end [10,11,null]"]);
    Story::new(&each(1), &json!([])).next(&expect!["act end []"]);
    Story::new(&each(1), &json!([1, 2, 3, 4, 5, 6]))
        .next(&expect!["fail lines pactum-limit: its list has 6 items, and its limit is 5"]);
    Story::new(&each(1), &json!("x"))
        .next(&expect!["fail lines pactum-mapping: what it loops over is no list"]);
    Story::new(&each(1), &json!([{ "m": 1 }]))
        .next(&expect!["fail lines[0]/pack pactum-mapping: the mapping `/each/lines/item/n` finds nothing, and has no $default"]);
}

#[test]
fn a_sub_saga_sees_what_it_was_given_and_no_more() {
    let part = json!({ "saga": "part", "version": 1, "steps": [
        { "id": "quote", "action": "do", "resource": "r", "input": { "$from": "/input" } }],
        "output": { "price": { "$from": "/results/quote/p" }, "none": { "$from": "/results/quote/q" } } });
    let part = Arc::new(graph_of(&part, &[]));
    let whole = json!({ "saga": "whole", "version": 1, "steps": [
        { "id": "all", "each": { "in": { "$from": "/input" }, "limit": 3, "steps": [
            { "id": "sub", "saga": { "name": "part", "version": 1, "input": { "of": { "$from": "/each/all/item" } } } }],
            "output": { "$from": "/results/sub/price" } } }],
        "output": { "$from": "/results/all" } });
    Story::of(graph_of(&whole, &[part]), &json!(["a", "b"]))
        .next(&expect![[r#"act all[0]/sub/quote {"of":"a"}"#]])
        .done("all[0]/sub/quote", &json!({ "p": 5 }))
        .next(&expect![[r#"act all[1]/sub/quote {"of":"b"}"#]])
        .done("all[1]/sub/quote", &json!({ "p": 6 }))
        .next(&expect!["complete [5,6]"]);
}

#[test]
fn an_event_may_come_before_its_wait() {
    let steps = json!([
        { "id": "a", "action": "do", "resource": "r" },
        { "id": "paid", "wait": { "event": true } },
        { "id": "b", "action": "do", "resource": "r", "input": { "$from": "/results/paid/by" } },
    ]);
    Story::new(&steps, &json!(null))
        .next(&expect!["act a null"])
        .done("paid", &json!({ "by": "card" }))
        .next(&expect![""])
        .done("a", &json!(0))
        .next(&expect![[r#"act b "card""#]]);
    Story::new(&steps, &json!(null))
        .next(&expect!["act a null"])
        .done("a", &json!(0))
        .next(&expect!["wait paid"])
        .waiting("paid")
        .restart()
        .next(&expect![""])
        .done("paid", &json!({ "by": "cash" }))
        .next(&expect![[r#"act b "cash""#]]);
}

#[test]
fn a_step_that_was_passed_over_by_hand_returns_null() {
    let steps = json!([
        { "id": "a", "action": "do", "resource": "r" },
        { "id": "b", "action": "do", "resource": "r", "input": { "$from": "/results/a" } },
        { "id": "c", "action": "do", "resource": "r", "input": { "$from": "/results/a/x" } },
    ]);
    Story::new(&steps, &json!(null))
        .next(&expect!["act a null"])
        .parked("a")
        .next(&expect![""])
        .record("a", StepState::Skipped, None)
        .next(&expect!["act b null"])
        .done("b", &json!(1))
        .next(&expect![
            "fail c pactum-mapping: the mapping `/results/a/x` finds nothing, and has no $default"
        ]);
}

#[test]
fn a_restart_attempts_again_what_has_no_result() {
    let steps = json!([
        { "id": "a", "action": "do", "resource": "r" },
        { "id": "b", "action": "do", "resource": "r" },
    ]);
    Story::new(&steps, &json!(null))
        .next(&expect!["act a null"])
        .restart()
        .next(&expect!["act a null"])
        .done("a", &json!(1))
        .restart()
        .next(&expect!["act b null"]);
}

#[test]
fn a_long_saga_looks_at_each_edge_once() {
    for count in [10, 100, 1_000] {
        let step =
            |number: usize| json!({ "id": format!("s{number}"), "action": "do", "resource": "r" });
        let steps: Vec<_> = (0..count).map(step).collect();
        let definition = json!({ "saga": "s", "version": 1, "steps": steps });
        let mut story = Story::of(graph_of(&definition, &[]), &json!(null));
        for number in 0..count {
            let slot = story.slot(&format!("s{number}"));
            assert_eq!(crate::saga::next_steps(&story.graph, &story.run).len(), 1);
            story.run.sent(slot);
            let row = std::sync::Arc::new(crate::saga::StepRow {
                xid: crate::id::XidNumber(1),
                slot,
                state: StepState::Done,
                took_place: true,
                result: None,
                error: None,
                report: None,
            });
            story.run.record(&story.graph, &row);
        }
        assert_eq!(story.run.edges_looked_at, count - 1);
        assert!(story.run.output().is_some());
    }
}
