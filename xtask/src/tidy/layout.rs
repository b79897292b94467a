//! Rules about what lies where: crates, error pages, migrations.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, Finding, Tree};

const ERROR_CODES: &str = "proto/proto/pactum/v1/types.proto";
const ERROR_PAGES: &str = "docs/errors";
/// What a page answers, in this order.
const PAGE_SECTIONS: [&str; 3] = ["## What happened", "## Why", "## What to do"];

/// Each code of the wire has its page, and each page a code.
pub(super) fn error_codes_have_pages(tree: &Tree) -> Vec<Finding> {
    let Some(types) = tree.file(ERROR_CODES) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let mut known = BTreeSet::new();
    for (line, number, name) in error_codes(types) {
        let page = format!("{ERROR_PAGES}/TX{number:04}.md");
        match tree.file(&page) {
            Some(page) => findings.extend(check_page(page, number, name)),
            None => findings.push(types.finding(line, format!("`{name}` has no page `{page}`"))),
        }
        known.insert(page);
    }
    let pages = tree.files.iter().filter(|file| file.folder() == ERROR_PAGES);
    let orphans = pages.filter(|page| page.name() != "README.md" && !known.contains(&page.path));
    findings.extend(orphans.map(|page| page.finding(1, "no code of the wire has this page")));
    findings
}

/// The lines `ERROR_CODE_NAME = number;` but for the zero that proto3 asks for.
fn error_codes(types: &File) -> impl Iterator<Item = (usize, u32, &str)> {
    types.lines().filter_map(|(line, text)| {
        let (name, value) = text.trim().strip_prefix("ERROR_CODE_")?.split_once(" = ")?;
        let number = value.strip_suffix(';')?.parse().ok()?;
        (number != 0).then_some((line, number, name))
    })
}

fn check_page(page: &File, number: u32, name: &str) -> Vec<Finding> {
    let title = format!("# TX{number:04} {name}");
    let mut findings = Vec::new();
    if page.text.lines().next() != Some(title.as_str()) {
        findings.push(page.finding(1, format!("the first line is to be `{title}`")));
    }
    for section in PAGE_SECTIONS {
        if !page.text.lines().any(|line| line == section) {
            findings.push(page.finding(1, format!("the section `{section}` is missing")));
        }
    }
    findings
}

/// `migrations/<side>/<database>/NNNN_what.sql`: numbered from 1 without a gap, and the same for
/// every database of a side.
pub(super) fn migrations_are_numbered_and_paired(tree: &Tree) -> Vec<Finding> {
    let mut sides: BTreeMap<&str, BTreeMap<&str, Vec<&File>>> = BTreeMap::new();
    for file in tree.with_extension("sql") {
        let Some(folder) = file.folder().strip_prefix("migrations/") else {
            continue;
        };
        if let Some((side, database)) = folder.split_once('/') {
            sides.entry(side).or_default().entry(database).or_default().push(file);
        }
    }
    let mut findings = Vec::new();
    for databases in sides.values_mut() {
        for files in databases.values_mut() {
            files.sort_by_key(|file| file.name());
            findings.extend(check_numbers(files));
        }
        findings.extend(check_pairs(databases));
    }
    findings
}

fn check_numbers(files: &[&File]) -> Vec<Finding> {
    let numbered = files.iter().zip(1_u32..);
    let wrong =
        numbered.filter(|(file, number)| !file.name().starts_with(&format!("{number:04}_")));
    wrong
        .map(|(file, number)| file.finding(1, format!("its name is to be `{number:04}_….sql`")))
        .collect()
}

fn check_pairs(databases: &BTreeMap<&str, Vec<&File>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in databases.values().flatten() {
        for (database, others) in databases {
            if !others.iter().any(|other| other.name() == file.name()) {
                findings.push(file.finding(1, format!("`{database}` has no file of this name")));
            }
        }
    }
    findings
}

/// One set of lints, kept in the root.
pub(super) fn crates_share_the_lints(tree: &Tree) -> Vec<Finding> {
    crates(tree)
        .filter(|manifest| {
            let mut lines = section(manifest, "lints");
            !lines.any(|(_, line)| line == "workspace = true")
        })
        .map(|manifest| manifest.finding(1, "add `[lints]` with `workspace = true`"))
        .collect()
}

/// A crate outside the workspace would be neither tested nor linted.
pub(super) fn crates_are_members(tree: &Tree) -> Vec<Finding> {
    let Some(root) = tree.file("Cargo.toml") else {
        return Vec::new();
    };
    crates(tree)
        .filter(|manifest| !root.text.contains(&format!("    \"{}\",", manifest.folder())))
        .map(|manifest| manifest.finding(1, "add this crate to the members of the root Cargo.toml"))
        .collect()
}

/// Which crates of ours a crate may depend on; dev-dependencies are free.
const MAY_DEPEND_ON: [(&str, &[&str]); 8] = [
    ("txn-core", &[]),
    ("proto", &["pactum-core"]),
    ("migrations", &[]),
    ("coordinator", &["pactum-core", "pactum-proto", "pactum-migrations"]),
    ("rm-agent", &["pactum-core", "pactum-proto", "pactum-migrations", "pactum-macros"]),
    ("rm-agent/macros", &[]),
    ("testkit", &[]),
    // Not what is under test: what it runs on.
    ("xtask", &["pactum-testkit"]),
];

/// Coordinator and agent meet on the wire only, and the core knows nobody.
pub(super) fn dependencies_point_one_way(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, allowed) in MAY_DEPEND_ON {
        let Some(manifest) = tree.file(&format!("{folder}/Cargo.toml")) else {
            continue;
        };
        for (number, line) in section(manifest, "dependencies") {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if name.starts_with("pactum-") && !allowed.contains(&name) {
                let message = format!("`{folder}` must not depend on `{name}` (ARCHITECTURE.md)");
                findings.push(manifest.finding(number, message));
            }
        }
    }
    findings
}

/// The manifests of all crates.
fn crates(tree: &Tree) -> impl Iterator<Item = &File> {
    tree.files.iter().filter(|file| file.name() == "Cargo.toml" && !file.folder().is_empty())
}

/// The lines of a manifest's section.
fn section<'a>(manifest: &'a File, name: &str) -> impl Iterator<Item = (usize, &'a str)> {
    let header = format!("[{name}]");
    manifest
        .lines()
        .skip_while(move |(_, line)| *line != header)
        .skip(1)
        .take_while(|(_, line)| !line.starts_with('['))
}
