//! Rules about Rust files.

use super::{File, Finding, Tree};

/// Above this many lines a file says in its head why it is one file.
const LINES_MAX: usize = 600;
/// How the head of a longer file begins its reason.
const LONG_BECAUSE: &str = "Long because";

/// Every file of the core holds a rule, and every crate begins somewhere: both say what they are
/// for before anything else.
pub(super) fn heads_on_rule_files(tree: &Tree) -> Vec<Finding> {
    let needs_head = |file: &&File| {
        (file.path.starts_with("txn-core/src/") || file.path.ends_with("src/lib.rs"))
            && !is_test_file(file)
    };
    tree.with_extension("rs")
        .filter(needs_head)
        .filter(|file| head(file).is_empty())
        .map(|file| file.finding(1, "begin with a `//!` head: what is this file for?"))
        .collect()
}

/// Plants each violation as a text.
const OWN_TESTS: &str = "xtask/src/tidy/tests.rs";

/// A test waits for a condition, or pauses the clock; one that sleeps is slow and fails on a
/// slower machine.
pub(super) fn no_sleep_in_tests(tree: &Tree) -> Vec<Finding> {
    let files = tree.with_extension("rs").filter(|file| file.path != OWN_TESTS);
    files.flat_map(sleeps_in_tests).collect()
}

fn sleeps_in_tests(file: &File) -> Vec<Finding> {
    let mut in_tests = is_test_file(file);
    let mut clock_is_paused = false;
    let mut findings = Vec::new();
    for (number, line) in file.lines() {
        let code = without_comment(line);
        let attribute = code.trim_start().strip_prefix("#[").unwrap_or_default();
        if attribute.starts_with("cfg(test)") {
            in_tests = true;
        }
        if attribute.starts_with("test]") || attribute.starts_with("tokio::test") {
            clock_is_paused = attribute.contains("start_paused = true");
        }
        if in_tests && !clock_is_paused && code.contains("sleep(") {
            let message = "no sleep in tests: wait for a condition, or pause the clock \
                           (`#[tokio::test(start_paused = true)]`)";
            findings.push(file.finding(number, message));
        }
    }
    findings
}

/// A file that no screen can hold explains itself.
pub(super) fn long_files_explain_themselves(tree: &Tree) -> Vec<Finding> {
    tree.with_extension("rs")
        .filter_map(|file| {
            let lines = file.text.lines().count();
            let explained = head(file).contains(LONG_BECAUSE);
            let message = format!(
                "{lines} lines: split it by subject, or say `{LONG_BECAUSE} …` in its head"
            );
            (lines > LINES_MAX && !explained).then(|| file.finding(1, message))
        })
        .collect()
}

/// What would make a step of the core depend on anything but its arguments.
const IMPURE: [&str; 9] = [
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::fs",
    "std::net",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio",
    "async fn",
];

/// The core sees no clock, no network, no disk, no order of a hash seed.
pub(super) fn core_is_pure(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.with_extension("rs").filter(|file| file.path.starts_with("txn-core/src/")) {
        for (number, line) in file.lines() {
            let code = without_comment(line);
            for word in IMPURE.iter().filter(|word| code.contains(**word)) {
                let message = format!("`{word}` in the core: what it needs comes with the event");
                findings.push(file.finding(number, message));
            }
        }
    }
    findings
}

/// Files that hold tests only.
fn is_test_file(file: &File) -> bool {
    let in_tests_folder = file.path.split('/').any(|part| part == "tests");
    in_tests_folder || file.name() == "tests.rs"
}

/// The `//!` lines at the top.
fn head(file: &File) -> String {
    let lines = file.text.lines().take_while(|line| line.starts_with("//!"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The line up to its comment. A `//` inside a string cuts it too early, which only hides a little.
fn without_comment(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}
