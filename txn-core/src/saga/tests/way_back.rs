//! Going back.

use std::sync::Arc;

use expect_test::expect;
use serde_json::{Value, json};

use super::{Story, graph_of};
use crate::saga::StepState;

fn chain() -> Value {
    json!([
        { "id": "a", "action": "do", "resource": "r" },
        { "id": "b", "action": "do", "resource": "r" },
        { "id": "c", "action": "do", "resource": "r" },
    ])
}

#[test]
fn what_took_place_is_undone_newest_first() {
    Story::new(&chain(), &json!(null))
        .next(&expect!["act a null"])
        .done("a", &json!(1))
        .next(&expect!["act b null"])
        .done("b", &json!(2))
        .next(&expect!["act c null"])
        .failed("c", true)
        .back()
        .next(&expect!["undo b done"])
        .next(&expect![""])
        .undone("b")
        .next(&expect!["undo a done"])
        .undone("a")
        .next(&expect!["undone"]);
}

#[test]
fn what_may_have_taken_place_is_undone_too() {
    // Sent, and no answer.
    Story::new(&chain(), &json!(null))
        .next(&expect!["act a null"])
        .back()
        .next(&expect!["undo a unknown"])
        .undone("a")
        .next(&expect!["undone"]);
    // An attempt failed, and another one may still be under way.
    Story::new(&chain(), &json!(null))
        .next(&expect!["act a null"])
        .failed("a", false)
        .back()
        .next(&expect!["undo a unknown"]);
    // Passed over, answered ongoing, or parked.
    for state in [StepState::Skipped, StepState::Waiting { since: crate::time::WallTime(1) }] {
        Story::new(&chain(), &json!(null))
            .next(&expect!["act a null"])
            .record("a", state, None)
            .back()
            .next(&expect!["undo a unknown"]);
    }
    Story::new(&chain(), &json!(null))
        .next(&expect!["act a null"])
        .parked("a")
        .back()
        .next(&expect!["undo a unknown"]);
}

#[test]
fn what_surely_did_not_take_place_is_not_undone() {
    Story::new(&chain(), &json!(null)).back().next(&expect!["undone"]);
    Story::new(&chain(), &json!(null))
        .next(&expect!["act a null"])
        .done("a", &json!(1))
        .back()
        .next(&expect!["undo a done"]);
}

#[test]
fn after_a_restart_what_was_due_may_have_been_sent() {
    Story::new(&chain(), &json!(null))
        .next(&expect!["act a null"])
        .done("a", &json!(1))
        .restart()
        .back()
        .next(&expect!["undo b unknown"])
        .restart()
        .next(&expect!["undo b unknown"])
        .undone("b")
        .restart()
        .next(&expect!["undo a done"]);
}

#[test]
fn a_parked_compensation_holds_back_what_stands_before_it_and_nothing_else() {
    let steps = json!([
        { "id": "a", "action": "do", "resource": "r" },
        { "id": "left", "action": "do", "resource": "r" },
        { "id": "right", "action": "do", "resource": "r", "after": ["a"] },
    ]);
    Story::new(&steps, &json!(null))
        .next(&expect!["act a null"])
        .done("a", &json!(1))
        .next(&expect!["act left null\nact right null"])
        .done("left", &json!(1))
        .done("right", &json!(1))
        .back()
        .next(&expect!["undo left done\nundo right done"])
        .parked("left")
        .undone("right")
        .next(&expect![""])
        .restart()
        .next(&expect![""])
        .undone("left")
        .next(&expect!["undo a done"]);
}

#[test]
fn a_step_that_was_passed_over_still_orders_those_around_it() {
    let steps = json!([
        { "id": "a", "action": "do", "resource": "r" },
        { "id": "b", "action": "do", "resource": "r", "after": [] },
        { "id": "way", "after": ["a"], "choice": [{ "when": "false", "then": "x" }] },
        { "id": "x", "action": "do", "resource": "r" },
        { "id": "c", "action": "do", "resource": "r", "after": ["x", "b"], "input": { "$from": "/results/a" } },
    ]);
    Story::new(&steps, &json!(null))
        .next(&expect!["act a null\nact b null"])
        .done("a", &json!(1))
        .done("b", &json!(1))
        .next(&expect!["act c 1"])
        .done("c", &json!(1))
        .back()
        .next(&expect!["undo c done"])
        .undone("c")
        .next(&expect!["undo a done\nundo b done"]);
}

#[test]
fn iterations_one_after_the_other_are_undone_in_reverse() {
    let each = |parallel: u32| {
        json!([{ "id": "all", "each": { "in": [1, 2, 3], "limit": 3, "parallel": parallel, "steps": [
            { "id": "x", "action": "do", "resource": "r" }, { "id": "y", "action": "do", "resource": "r" }] } }])
    };
    Story::new(&each(1), &json!(null))
        .next(&expect!["act all[0]/x null"])
        .done("all[0]/x", &json!(1))
        .done("all[0]/y", &json!(1))
        .next(&expect!["act all[1]/x null"])
        .done("all[1]/x", &json!(1))
        .next(&expect!["act all[1]/y null"])
        .failed("all[1]/y", true)
        .back()
        .next(&expect!["undo all[1]/x done"])
        .undone("all[1]/x")
        .next(&expect!["undo all[0]/y done"])
        .undone("all[0]/y")
        .next(&expect!["undo all[0]/x done"])
        .undone("all[0]/x")
        .next(&expect!["undone"]);
    Story::new(&each(3), &json!(null))
        .next(&expect!["act all[0]/x null\nact all[1]/x null\nact all[2]/x null"])
        .done("all[0]/x", &json!(1))
        .done("all[2]/x", &json!(1))
        .failed("all[1]/x", true)
        .back()
        .next(&expect!["undo all[0]/x done\nundo all[2]/x done"]);
}

#[test]
fn a_sub_saga_is_undone_as_a_part() {
    let part = json!({ "saga": "part", "version": 1, "steps": [
        { "id": "x", "action": "do", "resource": "r" }, { "id": "y", "action": "do", "resource": "r" }] });
    let part = Arc::new(graph_of(&part, &[]));
    let whole = json!({ "saga": "whole", "version": 1, "steps": [
        { "id": "a", "action": "do", "resource": "r" },
        { "id": "sub", "saga": { "name": "part", "version": 1 } },
        { "id": "b", "action": "do", "resource": "r" }] });
    Story::of(graph_of(&whole, &[part]), &json!(null))
        .next(&expect!["act a null"])
        .done("a", &json!(1))
        .next(&expect!["act sub/x null"])
        .done("sub/x", &json!(1))
        .done("sub/y", &json!(1))
        .next(&expect!["act b null"])
        .back()
        .next(&expect!["undo b unknown"])
        .undone("b")
        .next(&expect!["undo sub/y done"])
        .undone("sub/y")
        .next(&expect!["undo sub/x done"])
        .undone("sub/x")
        .next(&expect!["undo a done"]);
}
