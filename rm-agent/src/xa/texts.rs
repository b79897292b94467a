//! What is known of statements by their text, kept.

use dashmap::DashMap;

use super::error::XaError;
use crate::at::only_reads;
use crate::db::Kind;

/// Statements kept. Applications have some hundreds; more means that they build texts with values in
/// them, and then the cache begins anew.
const STATEMENTS_MAX: usize = 4096;

/// Whether statements only read, by their text.
#[derive(Debug)]
pub(super) struct Texts {
    kind: Kind,
    known: DashMap<String, bool>,
}

impl Texts {
    pub(super) fn new(kind: Kind) -> Self {
        Texts { kind, known: DashMap::new() }
    }

    /// Whether a statement certainly changes and locks nothing.
    ///
    /// # Errors
    /// [`XaError::Refused`] if it would end or change the branch that it runs in.
    pub(super) fn only_reads(&self, sql: &str) -> Result<bool, XaError> {
        if let Some(known) = self.known.get(sql) {
            return Ok(*known);
        }
        let reads = only_reads(sql, self.kind).map_err(|refused| XaError::Refused {
            statement: refused.statement.into_owned(),
            why: refused.why.into_owned(),
            instead: refused.instead.into_owned(),
        })?;
        if self.known.len() >= STATEMENTS_MAX {
            self.known.clear();
        }
        self.known.insert(sql.to_owned(), reads);
        Ok(reads)
    }
}
