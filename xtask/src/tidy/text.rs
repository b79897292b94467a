//! Rules about every text file: words, paths, links.

use super::{File, Finding, Tree};

/// Words that the glossary replaces, in lower case, with what to write instead.
const BANNED_WORDS: [(&str, &str); 16] = [
    ("rollbacked", "rolled back"),
    ("rollbacking", "rolling back"),
    ("global session", "global transaction"),
    ("global_session", "global_transaction"),
    ("globalsession", "GlobalTransaction"),
    ("branch session", "branch"),
    ("branchsession", "Branch"),
    ("sub-transaction", "branch"),
    ("subtransaction", "branch"),
    ("gid", "xid"),
    ("transaction_id", "xid"),
    ("datasource", "resource"),
    ("fencing token", "epoch"),
    ("rollback info", "undo log"),
    ("rollback_info", "undo_log"),
    ("null compensation", "empty rollback"),
];

/// Where the other words may stand: beside ours in the glossary, where they are translated, and where
/// the operating system means something else by them.
const WORDS_MAY_STAND_IN: [&str; 5] = [
    "docs/glossary.md",
    "proto/src/convert",
    "testkit/src/server/instance.rs",
    "xtask/src/tidy/text.rs",
    "xtask/src/tidy/tests.rs",
];

/// One word, one meaning.
pub(super) fn no_banned_words(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, number, line) in lines_outside(tree, &WORDS_MAY_STAND_IN) {
        let line = line.to_lowercase();
        for (banned, ours) in BANNED_WORDS.iter().filter(|(word, _)| has_word(&line, word)) {
            let message = format!("`{banned}`: our word is `{ours}` (docs/glossary.md)");
            findings.push(file.finding(number, message));
        }
    }
    findings
}

/// Where a machine's owner or worker keeps files: such a path means nothing to anybody else.
const MACHINE_PATHS: [&str; 6] =
    ["/home/", "/root/", "/Users/", "/work/", "/tmp/target", "C:\\Users"];

const PATHS_MAY_STAND_IN: [&str; 2] = ["xtask/src/tidy/text.rs", "xtask/src/tidy/tests.rs"];

/// What is committed works on every machine.
pub(super) fn no_paths_of_machines(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, number, line) in lines_outside(tree, &PATHS_MAY_STAND_IN) {
        let starts_path = |at: usize| {
            // `docs/home/x` and `https://host/home/` are no paths of a machine.
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | '/'))
        };
        for path in MACHINE_PATHS {
            if line.match_indices(path).any(|(at, _)| starts_path(at)) {
                findings.push(file.finding(number, format!("`{path}` is a path of one machine")));
            }
        }
    }
    findings
}

/// A relative link in a page leads to a file of the tree.
pub(super) fn relative_links_resolve(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.with_extension("md") {
        let mut in_code = false;
        for (number, line) in file.lines() {
            if line.trim_start().starts_with("```") {
                in_code = !in_code;
            }
            if in_code {
                continue;
            }
            for target in link_targets(line) {
                if !resolve(file.folder(), target).is_some_and(|path| tree.has(&path)) {
                    findings
                        .push(file.finding(number, format!("the link `{target}` leads nowhere")));
                }
            }
        }
    }
    findings
}

/// The relative targets of the links `[…](target)` in a line, without their anchors.
fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let (target, _) = rest.split_once(')')?;
        let (path, _) = target.split_once('#').unwrap_or((target, ""));
        let relative = !path.is_empty() && !path.contains("://") && !path.starts_with("mailto:");
        relative.then_some(path)
    })
}

/// The path from the root that `target` means in a page of `folder`; none if it leaves the root.
fn resolve(folder: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

fn lines_outside<'a>(
    tree: &'a Tree,
    exceptions: &'a [&str],
) -> impl Iterator<Item = (&'a File, usize, &'a str)> {
    tree.files
        .iter()
        .filter(|file| !exceptions.iter().any(|exception| file.path.starts_with(exception)))
        .filter(|file| file.name() != "Cargo.lock")
        .flat_map(|file| file.lines().map(move |(number, line)| (file, number, line)))
}

/// `word` stands in `line` and is not part of a longer word.
fn has_word(line: &str, word: &str) -> bool {
    let joins = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    line.match_indices(word).any(|(at, _)| {
        !joins(line[..at].chars().next_back()) && !joins(line[at + word.len()..].chars().next())
    })
}
