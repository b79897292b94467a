//! Definitions in files, and what the command line takes.

use std::fs;
use std::path::PathBuf;

use pactum_proto::v1::SagaName;

use super::args::Named;
use super::files::{json, read};

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Files(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

const TRIP: &str = "
saga: trip
version: 2
timeout: 2d
steps:
  - { id: flight, action: book, resource: flights, input: { $from: /input/guest } }
  - id: class
    choice: [{ when: results.flight.price > 1000, then: approve }]
    else: part
  - { id: approve, wait: { event: true, timeout: 1d } }
  - { id: part, after: [approve], saga: { name: part, version: 1 } }
";

const PART: &str =
    r#"{ "saga": "part", "version": 1, "steps": [{ "id": "rest", "wait": { "for": "1s" } }] }"#;

/// What is wrong with one file, a line each.
fn faults(text: impl AsRef<[u8]>) -> String {
    let files = Files::new();
    let path = files.write("saga.yaml", text);
    match read(&[path]) {
        Err(error) => format!("{error:#}"),
        Ok(mut checked) => match checked.remove(0).result {
            Ok(defined) => format!("{} is right", defined.row.key.name),
            Err(faults) => faults.iter().map(|fault| format!("{fault}\n")).collect(),
        },
    }
}

#[test]
fn a_saga_has_a_name_and_perhaps_a_version() {
    let named = |name: &str, version| Ok(Named(SagaName { name: name.to_owned(), version }));
    assert_eq!("trip".parse(), named("trip", 0));
    assert_eq!("trip@2".parse(), named("trip", 2));
    for wrong in ["", "@2", "trip@", "trip@0", "trip@x", "trip@1@2"] {
        assert!(wrong.parse::<Named>().is_err(), "{wrong}");
    }
}

#[test]
fn parts_are_found_among_the_files_in_any_order() {
    let files = Files::new();
    let (trip, part) = (files.write("trip.yaml", TRIP), files.write("part.json", PART));
    for order in [[&trip, &part], [&part, &trip]] {
        let checked = read(&order.map(Clone::clone)).unwrap();
        let right: Vec<_> = checked
            .into_iter()
            .map(|checked| checked.defined().unwrap().row.key.name.to_string())
            .collect();
        assert_eq!(right, ["part", "trip"]);
    }
    let alone = read(&[trip]).unwrap().remove(0).defined().unwrap_err().to_string();
    assert!(alone.contains("/steps/3/saga"), "{alone}");
}

#[test]
fn sagas_that_are_parts_of_each_other_are_refused() {
    let files = Files::new();
    let saga = |name: &str, part: &str| {
        let text = format!(
            r#"{{ "saga": "{name}", "version": 1, "steps": [{{ "id": "s", "saga": {{ "name": "{part}", "version": 1 }} }}] }}"#
        );
        files.write(&format!("{name}.json"), text)
    };
    let checked = read(&[saga("a", "b"), saga("b", "a")]).unwrap();
    assert!(checked.iter().all(|checked| checked.result.is_err()), "{checked:?}");
}

#[test]
fn every_fault_is_told_with_its_place() {
    let text = "
saga: Trip
version: 0
steps:
  - { id: a, after: [b], action: x, resource: r }
  - { id: b, after: [a], action: y, resource: r, input: { $from: /results/nowhere } }
";
    let told = faults(text);
    for place in ["/saga: ", "/version: ", "/steps/1/input"] {
        assert!(told.contains(place), "{place}: {told}");
    }
    assert!(told.contains("cycle"), "{told}");
}

#[test]
fn yaml_stays_what_was_written() {
    let yaml = "{ n: 9007199254740993, f: 1.5, yes: no, text: '1', none: null, true: x }";
    let value: serde_json::Value = serde_json::from_slice(&json(yaml).unwrap()).unwrap();
    let expected = serde_json::json!({
        "n": 9_007_199_254_740_993_u64, "f": 1.5, "yes": "no", "text": "1", "none": null, "true": "x"
    });
    assert_eq!(value, expected);
}

/// Goal: no file harms whoever checks it. Method: files that are large, deep, or no text, and what YAML
/// alone can say.
#[test]
fn hostile_files_are_refused() {
    let deep = format!("steps: {}1{}", "[".repeat(5000), "]".repeat(5000));
    let bomb =
        (1..10).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, level| {
            let before = level - 1;
            let alias = format!("*a{before}, ").repeat(10);
            format!("{text}a{level}: &a{level} [{alias}]\n")
        });
    for (what, text) in [
        ("large", "x".repeat(10 << 20).into_bytes()),
        ("deep", deep.into_bytes()),
        ("bomb", bomb.into_bytes()),
        ("no text", vec![0xff, 0xfe, 0x00]),
        ("empty", Vec::new()),
        ("two documents", b"saga: a\n---\nsaga: b\n".to_vec()),
        ("a key twice", b"saga: a\nsaga: b\nversion: 1\nsteps: []\n".to_vec()),
        ("a list as a key", b"? [a, b]\n: 1\n".to_vec()),
        ("an unknown field", format!("{TRIP}\nsteeps: []\n").into_bytes()),
        ("many steps", many_steps().into_bytes()),
    ] {
        let told = faults(text);
        assert!(!told.contains("is right") && !told.is_empty(), "{what}: {told}");
        assert!(told.len() < 4000, "{what}: {} bytes are told", told.len());
    }
}

fn many_steps() -> String {
    let steps = (0..10_000).map(|step| format!("  - {{ id: s{step}, wait: {{ for: 1s }} }}\n"));
    format!("saga: many\nversion: 1\nsteps:\n{}", steps.collect::<String>())
}
