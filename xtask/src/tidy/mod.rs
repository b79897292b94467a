//! The house rules that no compiler knows, each with a test that plants its violation.
//!
//! [`check`] reads the tree and runs every rule; the rules are pure functions over [`Tree`], in
//! [`source`] (Rust files), [`text`] (words, paths, links) and [`layout`] (crates, codes,
//! migrations).

mod layout;
mod source;
#[cfg(test)]
mod tests;
mod text;

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// A rule looks at the whole tree and says what is wrong with it.
type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: [Rule; 12] = [
    source::heads_on_rule_files,
    source::no_sleep_in_tests,
    source::long_files_explain_themselves,
    source::core_is_pure,
    text::no_banned_words,
    text::no_paths_of_machines,
    text::relative_links_resolve,
    layout::error_codes_have_pages,
    layout::migrations_are_numbered_and_paired,
    layout::crates_share_the_lints,
    layout::crates_are_members,
    layout::dependencies_point_one_way,
];

/// The committed text files of the workspace, and those about to be committed.
pub(crate) struct Tree {
    files: Vec<File>,
}

/// A text file, with its path from the root, separated by `/`.
pub(crate) struct File {
    path: String,
    text: String,
}

impl Tree {
    fn with_extension<'a>(&'a self, extension: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| {
            Path::new(&file.path).extension().is_some_and(|found| found == extension)
        })
    }

    fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// A file of this path, or a folder with files in it.
    fn has(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty()
            || self.files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
    }
}

impl File {
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// The lines with their numbers from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, message: message.into() }
    }
}

/// What is wrong, where, and what to do about it.
#[derive(Debug)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Runs every rule over the tree at `root`.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>> {
    let tree = read(root)?;
    Ok(RULES.iter().flat_map(|rule| rule(&tree)).collect())
}

fn read(root: &Path) -> Result<Tree> {
    let mut files = Vec::new();
    for path in paths(root)? {
        let full = root.join(&path);
        // Deleted but not committed yet, or a link to a folder.
        if !full.is_file() {
            continue;
        }
        let bytes = fs::read(&full).with_context(|| format!("read `{}`", full.display()))?;
        // A picture has no rules; it is listed so that links to it resolve.
        let text = String::from_utf8(bytes).unwrap_or_default();
        files.push(File { path, text });
    }
    Ok(Tree { files })
}

/// What git holds or would add: a store or a log left in the checkout is nobody's business.
fn paths(root: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = git.output().context("start `git ls-files`; tidy needs git and a checkout")?;
    ensure!(
        output.status.success(),
        "`git ls-files` failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let list = String::from_utf8(output.stdout).context("read the paths that git lists")?;
    Ok(list.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}
