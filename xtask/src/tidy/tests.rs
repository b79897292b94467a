//! The tree is tidy, and each rule finds what it is there to find.

use super::*;

#[test]
fn the_tree_is_tidy() {
    let findings = check(&crate::root()).unwrap();
    let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} to mend:\n{}", list.len(), list.join("\n"));
}

/// Runs a rule over these files and returns the places it finds, as `path:line`.
fn places<const N: usize>(rule: Rule, files: [(&str, &str); N]) -> Vec<String> {
    let files = files.map(|(path, text)| File { path: path.to_owned(), text: text.to_owned() });
    let findings = rule(&Tree { files: files.into() });
    findings.iter().map(|finding| format!("{}:{}", finding.path, finding.line)).collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_rule_file_without_a_head_is_found() {
    let files = [
        ("txn-core/src/a.rs", "//! Why.\n"),
        ("txn-core/src/b.rs", "use std::fmt;\n//! Too late.\n"),
        ("txn-core/src/b/tests.rs", "use super::*;\n"),
        ("cli/src/lib.rs", "mod a;\n"),
        ("cli/src/a.rs", "fn a() {}\n"),
    ];
    assert_eq!(
        places(source::heads_on_rule_files, files),
        ["txn-core/src/b.rs:1", "cli/src/lib.rs:1"]
    );
}

#[test]
fn a_sleep_in_a_test_is_found_unless_the_clock_is_paused() {
    let paused = "#[tokio::test(start_paused = true)]\nsleep(a)\n#[test]\nsleep(b)\n";
    let files = [
        ("a/src/a.rs", "sleep(a); // sleep(b)\n#[cfg(test)]\n// sleep(c)\nsleep(d);\n"),
        ("a/tests/b.rs", "fn helper() {\n    sleep(a);\n}\n"),
        ("a/src/c/tests.rs", paused),
    ];
    let expected = ["a/src/a.rs:4", "a/tests/b.rs:2", "a/src/c/tests.rs:4"];
    assert_eq!(places(source::no_sleep_in_tests, files), expected);
}

#[test]
fn a_long_file_without_a_reason_is_found() {
    let long = "\n".repeat(601);
    let explained = format!("//! All of it.\n//! Long because it is one table.\n{long}");
    let too_late = format!("{long}// Long because\n");
    let files = [("a.rs", "\n"), ("b.rs", explained.as_str()), ("c.rs", too_late.as_str())];
    assert_eq!(places(source::long_files_explain_themselves, files), ["c.rs:1"]);
}

#[test]
fn a_clock_or_a_random_order_in_the_core_is_found() {
    let files = [
        ("txn-core/src/a.rs", "// std::time::Instant\nuse std::time::Instant;\n"),
        ("txn-core/src/b.rs", "use std::collections::BTreeMap;\n"),
        ("coordinator/src/a.rs", "use std::collections::HashMap;\n"),
    ];
    assert_eq!(places(source::core_is_pure, files), ["txn-core/src/a.rs:2"]);
}

#[test]
fn a_banned_word_is_found_but_not_inside_another_word() {
    let files = [
        ("a.md", "It was Rollbacked.\nrigid, gid, GIDs\nglobal_sessions\n"),
        ("docs/glossary.md", "gid\n"),
        ("b.rs", "let global_session = 1;\n"),
    ];
    assert_eq!(places(text::no_banned_words, files), ["a.md:1", "a.md:2", "b.rs:1"]);
}

#[test]
fn a_path_of_one_machine_is_found() {
    let files = [
        ("a.md", "See `/home/me/x`.\nsee docs/home/x and https://host/root/\n"),
        ("b.toml", "path = \"/work/x\"\n"),
    ];
    assert_eq!(places(text::no_paths_of_machines, files), ["a.md:1", "b.toml:1"]);
}

#[test]
fn a_link_to_nowhere_is_found() {
    let page = "[a](b.md) [c](../README.md#x) [d](e/) [f](https://x/y.md) [g](#h)\n\
                [lost](c.md)\n```\n[code](d.md)\n```\n[out](../../x.md)\n";
    let files = [("docs/a.md", page), ("docs/b.md", ""), ("README.md", ""), ("docs/e/f.md", "")];
    assert_eq!(places(text::relative_links_resolve, files), ["docs/a.md:2", "docs/a.md:6"]);
}

#[test]
fn an_error_code_without_a_page_and_a_page_without_a_code_are_found() {
    let proto = "enum ErrorCode {\n  ERROR_CODE_UNSPECIFIED = 0;\n  ERROR_CODE_A = 1;\n  \
                 ERROR_CODE_B = 2;\n  ERROR_CODE_C = 3;\n}\n";
    let good = "# TX0001 A\n\n## What happened\n\n## Why\n\n## What to do\n";
    let files = [
        ("proto/proto/pactum/v1/types.proto", proto),
        ("docs/errors/TX0001.md", good),
        ("docs/errors/TX0002.md", "# TX0002 B\n\n## What happened\n\n## Why\n"),
        ("docs/errors/TX0004.md", "# TX0004 D\n"),
    ];
    let expected = [
        "docs/errors/TX0002.md:1",
        "proto/proto/pactum/v1/types.proto:5",
        "docs/errors/TX0004.md:1",
    ];
    assert_eq!(places(layout::error_codes_have_pages, files), expected);
}

#[test]
fn a_gap_and_a_missing_twin_among_migrations_are_found() {
    let files = [
        ("migrations/agent/sqlite/0001_start.sql", ""),
        ("migrations/coordinator/postgres/0001_start.sql", ""),
        ("migrations/coordinator/sqlite/0001_start.sql", ""),
        ("migrations/coordinator/sqlite/0003_more.sql", ""),
    ];
    let expected = ["migrations/coordinator/sqlite/0003_more.sql:1"; 2];
    assert_eq!(places(layout::migrations_are_numbered_and_paired, files), expected);
}

#[test]
fn a_crate_without_the_lints_or_outside_the_workspace_is_found() {
    let root = ("Cargo.toml", "members = [\n    \"a\",\n    \"b\",\n]\n");
    let good = ("a/Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n");
    let bad = "[lints]\n\n[dependencies]\nworkspace = true\n";
    let files = [root, good, ("b/Cargo.toml", bad)];
    assert_eq!(places(layout::crates_share_the_lints, files), ["b/Cargo.toml:1"]);
    let files = [root, good, ("c/Cargo.toml", bad)];
    assert_eq!(places(layout::crates_are_members, files), ["c/Cargo.toml:1"]);
}

#[test]
fn a_dependency_of_the_coordinator_on_the_agent_is_found() {
    let manifest = "[dependencies]\npactum-core.workspace = true\npactum-agent.workspace = true\n\
                    [dev-dependencies]\npactum-agent.workspace = true\n";
    let files = [("coordinator/Cargo.toml", manifest)];
    assert_eq!(places(layout::dependencies_point_one_way, files), ["coordinator/Cargo.toml:3"]);
    let files = [("proto/Cargo.toml", "[dependencies]\npactum-core = { path = \"x\" }\n")];
    assert_eq!(places(layout::dependencies_point_one_way, files), NOTHING);
}
