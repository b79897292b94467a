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
    match read(&[path]).remove(0).result {
        Ok(defined) => format!("{} is right", defined.row.key.name),
        Err(why) => why.to_string(),
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
        let checked = read(&order.map(Clone::clone));
        let right: Vec<_> = checked
            .into_iter()
            .map(|checked| checked.defined().unwrap().row.key.name.to_string())
            .collect();
        assert_eq!(right, ["part", "trip"]);
    }
    let alone = read(&[trip]).remove(0).defined().unwrap_err().to_string();
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
    let checked = read(&[saga("a", "b"), saga("b", "a")]);
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

/// Goal: no file harms whoever checks it. Method: definitions that would be right but for one thing, which
/// YAML alone can say, or which is too much of something; each is refused for that.
#[test]
fn hostile_files_are_refused_for_what_they_are() {
    assert_eq!(faults(RIGHT), "rest is right");
    let with = |more: &str| format!("{RIGHT}{more}\n").into_bytes();
    let deep = format!("output: {}1{}", "[".repeat(5000), "]".repeat(5000));
    let bomb = (1..10).fold("a0: &a0 [x, x, x, x, x, x, x, x]".to_owned(), |text, level| {
        let alias = format!("*a{}, ", level - 1).repeat(10);
        format!("{text}, a{level}: &a{level} [{alias}]")
    });
    for (what, text, why) in [
        ("large", with(&format!("# {}", "x".repeat(10 << 20))), "larger than"),
        ("deep", with(&deep), "recursion limit"),
        ("bomb", with(&format!("output: {{ {bomb} }}")), "budget"),
        ("no text", [RIGHT.as_bytes(), b"# \xff\xfe\n"].concat(), "UTF-8"),
        ("empty", Vec::new(), ""),
        ("two documents", with(&format!("---\n{RIGHT}")), "document"),
        ("a key twice", with("saga: rest"), "duplicate"),
        ("a key twice inside", with("output: { a: 1, a: 2 }"), "duplicate"),
        ("a list as a key", with("output: { ? [a, b] : 1 }"), ""),
        ("an unknown field", with("steeps: []"), "steeps"),
        ("many steps", many_steps().into_bytes(), "2000"),
    ] {
        let told = faults(text);
        assert!(!told.contains("is right"), "{what}");
        assert!(told.to_lowercase().contains(&why.to_lowercase()), "{what}: {told}");
        assert!(told.len() < 4000, "{what}: {} bytes are told", told.len());
    }
}

const RIGHT: &str = "
saga: rest
version: 1
steps:
  - { id: rest, wait: { for: 1s } }
";

#[test]
fn one_file_that_cannot_be_read_hides_no_other() {
    let files = Files::new();
    let paths = [files.0.path().join("gone.yaml"), files.write("right.yaml", RIGHT)];
    let checked = read(&paths);
    assert!(checked[0].result.is_err() && checked[1].result.is_ok(), "{checked:?}");
}

fn many_steps() -> String {
    let steps = (0..10_000).map(|step| format!("  - {{ id: s{step}, wait: {{ for: 1s }} }}\n"));
    format!("saga: many\nversion: 1\nsteps:\n{}", steps.collect::<String>())
}
