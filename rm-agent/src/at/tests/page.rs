//! Sections of the documentation that are written from what the tests did, so that no page claims
//! what nobody tried.
//!
//! A section stands between `<!-- name: written by the tests -->` and `<!-- end of name -->`. A test
//! compares it, and with `UPDATE_EXPECT=1` writes it anew.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

/// Tests of several databases write to one page.
static WRITING: Mutex<()> = Mutex::new(());

/// Compares a section of `docs/<page>` with what `written` makes of it as it is.
pub(super) fn check(page: &str, section: &str, written: impl FnOnce(&str) -> String) {
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- {section}: written by the tests -->\n");
    let begin = text.find(&begin).expect("the page marks where the section begins") + begin.len();
    let end = text[begin..].find(&format!("<!-- end of {section} -->"));
    let end = begin + end.expect("the page marks where the section ends");
    let old = &text[begin..end];
    let new = written(old);
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, format!("{}{new}{}", &text[..begin], &text[end..])).unwrap();
    } else {
        assert!(old == new, "docs/{page} says something else; UPDATE_EXPECT=1 mends it:\n{new}");
    }
}

/// Types with the values that were tried, as a table.
pub(super) fn types(types: &[(&str, &[&str])]) -> String {
    let mut table = "| type | values tried, beside NULL |\n|---|---|\n".to_owned();
    for (name, values) in types {
        writeln!(table, "| {} | {} |", code(name), codes(values)).unwrap();
    }
    table
}

pub(super) fn codes(texts: &[&str]) -> String {
    texts.iter().map(|text| code(text)).collect::<Vec<_>>().join(" · ")
}

/// As code in a cell. A text with backticks stands between two of them.
fn code(text: &str) -> String {
    let text = text.replace('|', "\\|");
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}
