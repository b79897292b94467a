//! The demo as its users run it: the built program, real processes, nothing inside looked at but
//! what it prints and writes.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use pactum_testkit::server::Kind;
use pactum_testkit::wait::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const BOUND: Duration = Duration::from_secs(60);

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
    let left = "in_doubt locks_left undo_rows_left prepared_left reserved_left unfinished_left";
    for name in left.split_whitespace() {
        assert_eq!(number(result, name), 0, "{name}: {result}");
    }
    assert_eq!(number(result, "sum_before"), number(result, "sum_after"));
}

/// The flags for a database: in the server that the environment names, as for every test, or in one
/// that the demo starts by itself.
fn on(kind: Kind) -> Vec<String> {
    let db = match kind {
        Kind::Postgres => "postgres",
        Kind::Mysql => "mysql",
    };
    let url = std::env::var(kind.url_variable()).ok().filter(|url| !url.is_empty());
    let url = url.into_iter().flat_map(|url| ["--db-url".to_owned(), url]);
    ["--db".to_owned(), db.to_owned()].into_iter().chain(url).collect()
}

/// The five parts with their XIDs and all eight steps, and the books at the end.
#[track_caller]
fn the_story_is_told(on: &[String]) {
    let on: Vec<&str> = on.iter().map(String::as_str).collect();
    let told = text_of_success(&demo(&on));
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
        // A value that was captured as a text is shown as one.
        let line = line.replace('\'', "");
        let words: Vec<&str> = line.split_whitespace().collect();
        words.ends_with(&["id=1", "balance", "40", "10", "15"])
    };
    assert!(told.lines().any(is_report), "{told}");
    assert!(!told.contains('\x1b'), "colours are for terminals");
}

#[test]
fn the_story_is_told_to_its_end() {
    the_story_is_told(&[]);
}

/// Every process is killed once in the middle of its work, and still no transfer is done by half.
#[track_caller]
fn load_under_kills(on: &[String]) {
    let dir = tempfile::tempdir().expect("there is room");
    let args = "--transfers 200 --concurrency 8 --fail-percent 20 --kill tc:1,bank:1,tm:1";
    let result = load(dir.path(), &format!("{args} {}", on.join(" ")));
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

#[test]
fn load_under_kills_leaves_nothing_behind() {
    load_under_kills(&[]);
}

/// The story of a mode but AT: what all tell, and what is said only there.
#[track_caller]
fn the_story_of_a_mode_is_told(args: &str, says: &[&str]) {
    let args: Vec<&str> = args.split_whitespace().collect();
    let told = text_of_success(&demo(&args));
    for part in ["(a)", "(b)", "(c)"] {
        assert!(told.lines().any(|line| line.starts_with(part)), "{part}\n{told}");
    }
    for says in says.iter().chain(&["→ A 70   B 50   C 180", "  ✓ "]) {
        assert!(told.contains(says), "{says}\n{told}");
    }
}

#[test]
fn tcc_reserves_and_its_confirm_has_effect_once() {
    let says = [
        "4 try           bank a       reserved 0 → 30 of 100",
        "a reader sees 100 at A, of which 30 are reserved",
        "confirm: balance 100 → 70, reserved 30 → 0",
        "cancel: reserved 30 → 0 of 70",
        "it answers, and books nothing",
        "and nothing is reserved",
    ];
    the_story_of_a_mode_is_told("--mode tcc", &says);
}

#[test]
fn a_saga_compensates_the_newest_first() {
    let says = ["4 action", "compensation: balance 710 → 180", "compensation: balance 40 → 70"];
    the_story_of_a_mode_is_told("--mode saga", &says);
}

/// A declared saga ends as declared, whoever is killed, each effect once: its caller, the coordinator, a
/// bank before its answer.
#[track_caller]
fn the_coordinator_drives_a_saga(on: &[String]) {
    let says = [
        "4 local commit  bank a",
        "`legs[2]/b` failed with `short`",
        "undo          bank c       compensation: balance 710 → 180",
        "the same saga, and its end: nothing is booked twice",
        "its barrier row has the answer: nothing is booked twice",
        "pause   all",
        "→ A 40   B 40   C 220",
    ];
    the_story_of_a_mode_is_told(&format!("--mode saga-declared {}", on.join(" ")), &says);
}

#[test]
fn a_declared_saga_needs_nobody_who_began_it() {
    the_coordinator_drives_a_saga(&[]);
}

/// Whatever is killed under them, all transfers end as their input says: who has no answer sends again.
#[test]
fn declared_sagas_end_as_declared_under_kills() {
    let dir = tempfile::tempdir().expect("there is room");
    let flags = "--transfers 200 --concurrency 8 --fail-percent 20 --kill tc:2,bank:3,tm:2";
    let result = load(dir.path(), &format!("--mode saga-declared {flags}"));
    nothing_is_left(&result);
    let ends = ["committed", "rolled_back", "never_asked"].map(|name| number(&result, name));
    assert_eq!(ends, [160, 40, 0]);
    assert_eq!(result["kills"], serde_json::json!({ "tc": 2, "bank": 3, "tm": 2 }));
}

#[test]
fn one_decision_is_carried_out_in_several_modes() {
    let says = ["undo row deleted", "confirm: balance", "nothing to do"];
    the_story_of_a_mode_is_told("--mode mixed", &says);
}

/// Every mode that SQLite has, and the table that compares them.
#[test]
fn all_modes_are_told_and_compared() {
    let told = text_of_success(&demo(&["--mode", "all"]));
    for mode in ["── AT ──", "── TCC ──", "── saga ──", "── declared saga ──", "── mixed ──"]
    {
        assert!(told.contains(mode), "{mode}\n{told}");
    }
    assert!(told.contains("XA is not available there"), "{told}");
    for line in ["  AT ", "  TCC ", "  saga ", "  declared saga ", "  mixed "] {
        let compared = |found: &str| found.starts_with(line) && found.contains(" ms ");
        assert!(told.lines().any(compared), "{line}\n{told}");
    }
}

/// Every process is killed once in every mode that SQLite has.
#[test]
fn load_in_all_modes_conserves_money() {
    let dir = tempfile::tempdir().expect("there is room");
    let json = dir.path().join("result.json");
    let load = "--mode all --transfers 100 --concurrency 8 --kill tc:1,bank:1,tm:1 --json";
    let mut args: Vec<&str> = load.split_whitespace().collect();
    args.push(json.to_str().expect("a temporary path is text"));
    text_of_success(&demo(&args));
    let results = std::fs::read(json).expect("a run that succeeds writes its result");
    let results: Vec<Value> = serde_json::from_slice(&results).expect("it is a list");
    let modes: Vec<&str> = results.iter().filter_map(|result| result["mode"].as_str()).collect();
    assert_eq!(modes, ["at", "tcc", "saga", "saga-declared", "mixed"]);
    results.iter().for_each(nothing_is_left);
}

/// What is prepared survives the bank that prepared it, one by one and under load.
#[track_caller]
fn xa_survives_its_banks(on: &[String]) {
    let on = on.join(" ");
    let says = ["4 work", "5 prepare", "what it prepared is its database's now"];
    the_story_of_a_mode_is_told(&format!("--mode xa {on}"), &says);
    let dir = tempfile::tempdir().expect("there is room");
    let flags = "--transfers 150 --concurrency 8 --fail-percent 20 --kill tc:1,bank:2,tm:1";
    nothing_is_left(&load(dir.path(), &format!("--mode xa {flags} {on}")));
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

/// What cannot be and what is nonsense is refused before anything is started.
#[test]
fn what_is_not_there_is_refused_with_2() {
    for (args, says) in [
        (&["--mode", "xa"][..], "SQLite has none: add `--db postgres` or `--db mysql`"),
        (&["--mode", "xa", "--transfers", "5"], "`--mode xa` needs prepared transactions"),
        (&["--db", "oracle"], "--db"),
        (&["--db-url", "postgres://db"], "add `--db postgres` or `--db mysql`"),
        (&["--db", "postgres", "--db-url", "mysql://db"], "write `postgres://`"),
        (&["--json", "/no/such/folder/result"], "cannot write `--json /no/such/folder/result`"),
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

/// Asked to end in the middle of its work, it takes everything along.
#[test]
fn a_demo_that_is_terminated_leaves_no_files() {
    let dir = tempfile::tempdir().expect("there is room");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bank-transfer"));
    command.args(["--transfers", "1000000"]).env("TMPDIR", dir.path());
    let mut running = command.spawn().expect("the demo is built beside its tests");
    let files = || std::fs::read_dir(dir.path()).expect("it is there").count();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let begun = wait_until("the demo to make its folder", BOUND, async || files() > 0);
    runtime.block_on(begun).expect("it begins");
    let pid = i32::try_from(running.id()).ok().and_then(Pid::from_raw).expect("it runs");
    kill_process(pid, Signal::TERM).expect("it can be told");
    assert_eq!(running.wait().expect("it ends").code(), Some(143));
    assert_eq!(files(), 0);
}

mod on_postgres {
    use super::*;

    #[test]
    fn the_story_is_told_to_its_end() {
        the_story_is_told(&on(Kind::Postgres));
    }

    #[test]
    fn load_under_kills_leaves_nothing_behind() {
        load_under_kills(&on(Kind::Postgres));
    }

    #[test]
    fn a_declared_saga_needs_nobody_who_began_it() {
        the_coordinator_drives_a_saga(&on(Kind::Postgres));
    }

    #[test]
    fn xa_survives_its_banks() {
        super::xa_survives_its_banks(&on(Kind::Postgres));
    }
}

mod on_mysql {
    use super::*;

    #[test]
    fn the_story_is_told_to_its_end() {
        the_story_is_told(&on(Kind::Mysql));
    }

    #[test]
    fn load_under_kills_leaves_nothing_behind() {
        load_under_kills(&on(Kind::Mysql));
    }

    #[test]
    fn a_declared_saga_needs_nobody_who_began_it() {
        the_coordinator_drives_a_saga(&on(Kind::Mysql));
    }

    #[test]
    fn xa_survives_its_banks() {
        super::xa_survives_its_banks(&on(Kind::Mysql));
    }
}
