//! The demo as its users run it: the built program, real processes, nothing inside looked at but
//! what it prints and writes.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn demo(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bank-transfer"));
    command.args(args).output().expect("the demo is built beside its tests")
}

#[track_caller]
fn text_of_success(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    stdout
}

/// Runs the load form and gives its JSON back.
#[track_caller]
fn load(dir: &Path, args: &str) -> Value {
    let json = dir.join("result.json");
    let mut args: Vec<&str> = args.split_whitespace().collect();
    args.extend(["--json", json.to_str().expect("a temporary path is text")]);
    let text = text_of_success(&demo(&args));
    let result = std::fs::read(json).expect("a run that succeeds writes its result");
    let result: Value = serde_json::from_slice(&result).expect("the result is JSON");
    assert_eq!(result["failed"], Value::Array(Vec::new()), "{text}");
    result
}

fn number(result: &Value, name: &str) -> i64 {
    result[name].as_i64().unwrap_or_else(|| panic!("{name}: {result}"))
}

#[track_caller]
fn nothing_is_left(result: &Value) {
    let left = ["in_doubt", "locks_left", "undo_rows_left", "prepared_left", "unfinished_left"];
    for name in left {
        assert_eq!(number(result, name), 0, "{name}: {result}");
    }
    assert_eq!(number(result, "sum_before"), number(result, "sum_after"));
}

/// The five parts with their XIDs and all eight steps, and the books at the end.
#[test]
fn the_story_is_told_to_its_end() {
    let told = text_of_success(&demo(&[]));
    for part in ["(a)", "(b)", "(c)", "(d)", "(e)"] {
        assert!(told.lines().any(|line| line.starts_with(part)), "{part}\n{told}");
    }
    let steps = "1 begin|2 call|3 work|4 register|5 local commit|6 answer|7 decide|8 phase two";
    for step in steps.split('|') {
        assert!(told.lines().any(|line| line.trim_start().starts_with(step)), "{step}\n{told}");
    }
    let begun = told.lines().filter(|line| line.trim_start().starts_with("1 begin"));
    let xids: BTreeSet<&str> = begun.filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(xids.len(), 6, "{told}");
    assert!(xids.iter().all(|xid| xid.contains(':')), "{xids:?}");
    for says in ["pactum tx show", "pactum tx retry", "→ A 35   B 70   C 195", "  ✓ "] {
        assert!(told.contains(says), "{says}\n{told}");
    }
    // The park report: the key, and the balance before, after and now.
    let is_report = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words == ["account", "id=1", "balance", "40", "10", "15"]
    };
    assert!(told.lines().any(is_report), "{told}");
    assert!(!told.contains('\x1b'), "colours are for terminals");
}

/// Every process is killed once in the middle of its work, and still no transfer is done by half.
#[test]
fn load_under_kills_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("there is room");
    let args = "--transfers 200 --concurrency 8 --fail-percent 20 --kill tc:1,bank:1,tm:1";
    let result = load(dir.path(), args);
    nothing_is_left(&result);
    let ends = ["committed", "rolled_back", "in_doubt", "never_asked"];
    assert_eq!(ends.iter().map(|name| number(&result, name)).sum::<i64>(), 200);
    assert!(number(&result, "committed") >= 128, "{result}");
    assert!(number(&result, "rolled_back") >= 32, "{result}");
    assert_eq!(result["kills"], serde_json::json!({ "tc": 1, "bank": 1, "tm": 1 }));
    for name in ["tps", "p50_ms", "p99_ms"] {
        assert!(result[name].as_f64().is_some_and(|figure| figure > 0.0), "{name}: {result}");
    }
}

/// All on the same few rows: transfers wait for each other, crosswise too.
#[test]
fn load_on_few_accounts_waits_its_turn() {
    let dir = tempfile::tempdir().expect("there is room");
    let result = load(dir.path(), "--transfers 60 --concurrency 6 --accounts 2 --fail-percent 10");
    nothing_is_left(&result);
    assert_eq!(number(&result, "never_asked"), 0);
    assert_eq!(number(&result, "committed") + number(&result, "rolled_back"), 60);
}

/// What is planned is named, and what is nonsense refused, both before anything is started.
#[test]
fn what_is_not_there_is_refused_with_2() {
    for (args, says) in [
        (&["--mode", "tcc"][..], "`--mode tcc` is planned and not there yet"),
        (&["--mode", "all", "--transfers", "5"], "`--mode all` is planned and not there yet"),
        (&["--db", "postgres"], "`--db postgres` is planned and not there yet"),
        (&["--kill", "rm:1"], "name `tc`, `bank` or `tm`"),
        (&["--tc", "http://127.0.0.1:1", "--kill", "tc:1"], "leave `--tc` out"),
        (&["--transfers", "0"], "--transfers"),
        (&["--mode", "magic"], "--mode"),
    ] {
        let output = demo(args);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {complaint}");
        assert!(complaint.contains(says), "{args:?}: {complaint}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

/// A run that cannot reach its coordinator fails, rather than calling nothing a success.
#[test]
fn a_coordinator_that_is_not_there_is_an_error() {
    let output = demo(&["--tc", "http://127.0.0.1:1", "--transfers", "1"]);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("reach the coordinator"), "{complaint}");
}
