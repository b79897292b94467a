//! Random definitions and random histories, judged by what must hold of any.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Story, graph_of};
use crate::saga::graph::NodeKind;
use crate::saga::{Graph, Next, Slot, StepState, next_steps};
use crate::time::WallTime;

/// A level of steps: each follows some of those before it; some are choices, waits and loops.
fn level(prefix: String, depth: u32) -> BoxedStrategy<Value> {
    let step = (0_u32..10, any::<u8>(), any::<bool>());
    let inner =
        if depth == 0 { Just(Value::Null).boxed() } else { level(format!("{prefix}i"), depth - 1) };
    (prop::collection::vec(step, 1..6), inner, 1_u32..3)
        .prop_map(move |(steps, inner, parallel)| {
            let mut written: Vec<Value> = Vec::new();
            let mut led_to = BTreeSet::new();
            let mut has_loop = false;
            for (index, (kind, after, flag)) in steps.iter().enumerate() {
                let id = |index: usize| format!("{prefix}{index}");
                let mut before: Vec<String> = (0..index)
                    .filter(|one| after & (1 << one) != 0 && written[*one].get("choice").is_none())
                    .map(id)
                    .collect();
                if before.is_empty() && led_to.contains(&index) {
                    before.clear();
                }
                let mut step = json!({ "id": id(index), "after": before });
                match kind {
                    0 | 1 if index + 1 < steps.len() => {
                        led_to.insert(index + 1);
                        let when = if *flag { "true" } else { "false" };
                        step["choice"] = json!([{ "when": when, "then": id(index + 1) }]);
                        if index + 2 < steps.len() {
                            led_to.insert(index + 2);
                            step["else"] = json!(id(index + 2));
                        }
                    }
                    2 => step["wait"] = json!({ "event": true }),
                    3 | 4 if inner.is_array() && !has_loop => {
                        has_loop = true;
                        step["each"] = json!({ "in": [1, 2, 3], "limit": 3, "parallel": parallel, "steps": inner });
                    }
                    _ => {
                        step["action"] = json!("do");
                        step["resource"] = json!("r");
                    }
                }
                written.push(step);
            }
            Value::Array(written)
        })
        .boxed()
}

/// What happens at each turn, as numbers to choose by.
fn history() -> impl Strategy<Value = Vec<(u8, u8)>> {
    prop::collection::vec((any::<u8>(), any::<u8>()), 0..60)
}

#[derive(Default)]
struct Seen {
    sent: BTreeSet<Slot>,
    done: BTreeSet<Slot>,
    surely_failed: BTreeSet<Slot>,
    asked_to_undo: BTreeSet<Slot>,
    undone: BTreeSet<Slot>,
}

/// The steps right before and right after each within its body, and everything that follows.
fn followers(graph: &Graph, slot: Slot) -> BTreeSet<Slot> {
    let mut all = BTreeSet::new();
    let mut todo = vec![slot];
    while let Some(slot) = todo.pop() {
        let Some(place) = graph.locate(slot) else { continue };
        for next in &place.node().after {
            let next = place.sibling(*next).slot();
            if all.insert(next) {
                todo.push(next);
            }
        }
    }
    all
}

/// A step and all the steps in it.
fn within(graph: &Graph, slot: Slot) -> std::ops::Range<u32> {
    let width = graph
        .locate(slot)
        .map_or(1, |place| 1 + place.node().inner().map_or(0, |(body, times)| body.size * times));
    slot.0..slot.0 + width
}

fn forward_turn(
    story: &mut Story,
    seen: &mut Seen,
    started: &BTreeMap<Slot, bool>,
    (what, which): (u8, u8),
) {
    let open: Vec<Slot> =
        started.iter().filter(|(_, open)| **open).map(|(slot, _)| *slot).collect();
    if open.is_empty() {
        return;
    }
    let slot = open[usize::from(which) % open.len()];
    let path = story.graph.path(slot);
    let is_action = story.graph.action(slot).is_some();
    match what % 8 {
        0 if is_action => {
            story.failed(&path, true);
            seen.surely_failed.insert(slot);
        }
        1 if is_action => {
            story.record(&path, StepState::Waiting { since: WallTime(1) }, None);
        }
        _ => {
            story.done(&path, &json!(1));
            seen.done.insert(slot);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_starts_too_early_and_everything_is_undone_once_in_order(
        steps in level("s".to_owned(), 1),
        history in history(),
        turn in 0_usize..60,
        restart in 0_usize..60,
    ) {
        let definition = json!({ "saga": "s", "version": 1, "steps": steps });
        let mut story = Story::of(graph_of(&definition, &[]), &json!(null));
        let mut seen = Seen::default();
        let mut started: BTreeMap<Slot, bool> = BTreeMap::new();
        for (number, choice) in history.iter().enumerate() {
            for next in next_steps(&story.graph, &story.run) {
                let (Next::Act { slot, .. } | Next::BeginWait { slot, .. }) = next else { continue };
                let place = story.graph.locate(slot).expect("it is a step");
                for before in &place.node().before {
                    let before = place.sibling(*before);
                    let running = story.run.is_running(&story.graph, before.slot());
                    prop_assert!(!running, "{} started before its predecessor was over", story.graph.path(slot));
                    if matches!(before.node().kind, NodeKind::Action(_) | NodeKind::Wait(_)) {
                        let over = seen.done.contains(&before.slot()) || !started.contains_key(&before.slot());
                        prop_assert!(over);
                    }
                }
                story.run.sent(slot);
                if story.graph.action(slot).is_some() {
                    seen.sent.insert(slot);
                }
                started.entry(slot).or_insert(true);
            }
            if number == turn {
                break;
            }
            if number == restart {
                story.restart();
                continue;
            }
            for (slot, open) in &mut started {
                *open = story.run.row(*slot).is_none_or(|row| matches!(row.state, StepState::Waiting { .. }));
            }
            forward_turn(&mut story, &mut seen, &started, *choice);
        }
        let restarted = restart < history.len().min(turn);
        story.back();
        for choice in history.iter().cycle().take(400) {
            let next = next_steps(&story.graph, &story.run);
            if next.contains(&Next::Undone) {
                break;
            }
            for next in next {
                let Next::Undo(undo) = next else { continue };
                let slot = undo.slot;
                prop_assert!(seen.asked_to_undo.insert(slot), "undone twice");
                prop_assert!(seen.sent.contains(&slot) || restarted, "{} was never sent", story.graph.path(slot));
                prop_assert!(restarted || !seen.surely_failed.contains(&slot));
                for after in followers(&story.graph, slot) {
                    for inner in within(&story.graph, after) {
                        let may = seen.sent.contains(&Slot(inner)) && !seen.surely_failed.contains(&Slot(inner));
                        prop_assert!(!may || seen.undone.contains(&Slot(inner)), "{} before {}", story.graph.path(slot), story.graph.path(Slot(inner)));
                    }
                }
                story.run.sent(slot);
            }
            let open: Vec<Slot> = seen.asked_to_undo.difference(&seen.undone).copied().collect();
            if let Some(slot) = open.get(usize::from(choice.1) % open.len().max(1)).copied() {
                let path = story.graph.path(slot);
                story.undone(&path);
                seen.undone.insert(slot);
            }
        }
        prop_assert!(next_steps(&story.graph, &story.run).contains(&Next::Undone), "it never ends");
        for slot in &seen.sent {
            prop_assert!(seen.undone.contains(slot) || seen.surely_failed.contains(slot), "{} was not undone", story.graph.path(*slot));
        }
    }
}
