//! Pictures, slots and paths.

use std::sync::Arc;

use expect_test::expect;
use serde_json::json;

use super::graph_of;
use crate::saga::{Slot, draw};

fn trip() -> crate::saga::Graph {
    let part = json!({ "saga": "insure", "version": 2, "steps": [{ "id": "quote", "action": "quote", "resource": "ins" }] });
    let part = Arc::new(graph_of(&part, &[]));
    let trip = json!({ "saga": "trip", "version": 1, "steps": [
        { "id": "hotel", "action": "book", "resource": "hotels" },
        { "id": "way", "choice": [{ "when": "input.n > 1", "then": "pay" }], "else": "lines" },
        { "id": "pay", "wait": { "event": true, "timeout": "1d" } },
        { "id": "lines", "each": { "in": [], "limit": 2, "steps": [
            { "id": "pack", "action": "pack", "resource": "store", "compensable": false },
            { "id": "rest", "wait": { "for": "10s" } }] } },
        { "id": "insurance", "saga": { "name": "insure", "version": 2 } }] });
    graph_of(&trip, &[part])
}

#[test]
fn every_slot_has_a_path_and_every_path_its_slot() {
    let graph = trip();
    let paths: Vec<String> = (0..graph.slots()).map(|slot| graph.path(Slot(slot))).collect();
    expect![[r#"
        hotel way pay lines lines[0]/pack lines[0]/rest lines[1]/pack lines[1]/rest insurance insurance/quote"#]]
    .assert_eq(&paths.join(" "));
    for (number, path) in (0..).zip(&paths) {
        assert_eq!(graph.slot(path), Some(Slot(number)), "{path}");
        assert_eq!(graph.locate(Slot(number)).map(|place| place.slot()), Some(Slot(number)));
        assert_eq!(Slot::of_branch(Slot(number).branch()), Some(Slot(number)));
    }
    for path in [
        "",
        "x",
        "lines[2]/pack",
        "lines/pack",
        "hotel/x",
        "lines[0]",
        "insurance[0]/quote",
        "lines[-1]/pack",
        "/",
    ] {
        assert_eq!(graph.slot(path), None, "{path}");
    }
    assert!(graph.locate(Slot(graph.slots())).is_none());
    assert_eq!(Slot::of_branch(crate::id::BranchId(0)), None);
}

#[test]
fn a_picture_names_every_step_and_every_way() {
    expect![[r#"
        flowchart TD
          s_hotel["hotel: book at hotels"]
          s_way{"way?"}
          s_pay(["pay: wait for an event, at most 1day"])
          subgraph s_lines["lines: for each of up to 2"]
            s_lines_spack["pack: pack at store, not compensable"]
            s_lines_srest(["rest: wait 10s"])
            s_lines_spack --> s_lines_srest
          end
          subgraph s_insurance["insurance: saga insure@2"]
            s_insurance_squote["quote: quote at ins"]
          end
          s_hotel --> s_way
          s_way -->|"input.n > 1"| s_pay
          s_way -->|"else"| s_lines
          s_lines --> s_insurance
    "#]]
    .assert_eq(&draw::mermaid(&trip()));
    expect![[r#"
        digraph "trip@1" {
          compound=true;
          node [shape=box];
          s_hotel [label="hotel: book at hotels", shape=box];
          s_way [label="way?", shape=diamond];
          s_pay [label="pay: wait for an event, at most 1day", shape=oval];
          subgraph cluster_s_lines {
            label="lines: for each of up to 2";
            s_lines [shape=point, style=invis];
            s_lines_spack [label="pack: pack at store, not compensable", shape=box];
            s_lines_srest [label="rest: wait 10s", shape=oval];
            s_lines_spack -> s_lines_srest;
          }
          subgraph cluster_s_insurance {
            label="insurance: saga insure@2";
            s_insurance [shape=point, style=invis];
            s_insurance_squote [label="quote: quote at ins", shape=box];
          }
          s_hotel -> s_way;
          s_way -> s_pay [label="input.n > 1"];
          s_way -> s_lines [label="else", lhead=cluster_s_lines];
          s_lines -> s_insurance [ltail=cluster_s_lines, lhead=cluster_s_insurance];
        }
    "#]]
    .assert_eq(&draw::dot(&trip()));
}
