//! Plans by the text of their statement, ready to run.
//!
//! A plan is good for one state of the schema. That it still is, is checked by the database itself
//! in the statement that writes the barrier row, so a look into this cache costs no round trip; who
//! finds it stale empties it.

use std::sync::Arc;

use dashmap::DashMap;

use super::engine::{CompiledChange, CompiledRead};
use super::plan::ChangeKind;
use super::table::Table;

/// Statements kept. Applications have some hundreds; more means that they build texts with values in
/// them, and then the cache begins anew.
const STATEMENTS_MAX: usize = 4096;

/// A statement that was planned.
#[derive(Clone, Debug)]
pub(super) enum Ready {
    Read,
    LockingRead(Arc<ReadyRead>),
    Change(Arc<ReadyChange>),
}

#[derive(Debug)]
pub(super) struct ReadyRead {
    pub(super) table: Arc<Table>,
    pub(super) compiled: CompiledRead,
}

#[derive(Debug)]
pub(super) struct ReadyChange {
    pub(super) table: Arc<Table>,
    pub(super) kind: ChangeKind,
    /// Whether the user asked for rows.
    pub(super) returning: bool,
    pub(super) compiled: CompiledChange,
}

#[derive(Debug, Default)]
pub(super) struct Cache(DashMap<String, Ready>);

impl Cache {
    pub(super) fn find(&self, sql: &str) -> Option<Ready> {
        self.0.get(sql).map(|ready| ready.clone())
    }

    pub(super) fn insert(&self, sql: &str, ready: Ready) {
        if self.0.len() >= STATEMENTS_MAX {
            self.0.clear();
        }
        self.0.insert(sql.to_owned(), ready);
    }

    pub(super) fn clear(&self) {
        self.0.clear();
    }
}
