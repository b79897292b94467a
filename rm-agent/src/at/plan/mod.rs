//! What a statement is, and whether AT can undo it: pure, by its text alone.
//!
//! ```text
//! text ──tokens──▶ first word ──parser──▶ Plan::Read          changes nothing: runs as it is
//!                                         Plan::LockingRead   SELECT … FOR UPDATE, clause cut
//!                                         Plan::Change        INSERT, UPDATE, DELETE of one table
//!                                         Refused             everything else, before it runs
//! ```
//!
//! The parser only classifies. What is sent to the database is the *original* text, cut at the
//! offsets of tokens: a parser that prints what it read loses comments, escapes and spellings.
//!
//! The rule is default-deny: a word, a clause or a shape that is not known here is refused, because
//! what runs untracked cannot be undone.

mod change;
mod classify;
mod read;
mod refused;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use classify::plan;
pub(crate) use read::plan_locking_read;
pub use refused::Refused;

/// A statement that AT understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Changes nothing.
    Read,
    /// Reads rows whose global locks are to be checked.
    LockingRead(LockingRead),
    /// Changes rows of one table.
    Change(Change),
}

/// A SELECT of one table's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LockingRead {
    pub(crate) table: String,
    /// The statement without its locking clause, parameters numbered.
    pub(crate) text: String,
    pub(crate) rows: RowsRead,
}

/// How to learn which rows a SELECT reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RowsRead {
    /// Each row it returns is a row of the table: the key columns can be appended to its items, at
    /// this offset of the text.
    Returned { items_end: usize },
    /// It aggregates, so its rows are all that meet the condition.
    Matching(Source),
}

/// The rows that a statement is about, as the text of a FROM item and of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) from: String,
    pub(crate) condition: Option<String>,
}

/// A statement that changes rows of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) table: String,
    /// The statement, parameters numbered, without a trailing semicolon or comment.
    pub(crate) text: String,
    /// Whether the text ends with a RETURNING clause of the user's.
    pub(crate) returning: bool,
    pub(crate) kind: ChangeKind,
}

/// What it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Insert,
    Update {
        /// The assigned columns, in lower case.
        assigned: Vec<String>,
        rows: Source,
    },
    Delete,
}

impl Change {
    /// The statement with more columns returned, after the user's own.
    pub(crate) fn returning(&self, columns: &str) -> String {
        let joint = if self.returning { ", " } else { " RETURNING " };
        format!("{}{joint}{columns}", self.text)
    }
}

impl LockingRead {
    /// The statement with more columns returned, after the user's own; `None` where its rows are
    /// not the table's.
    pub(crate) fn returning(&self, columns: &str) -> Option<String> {
        match &self.rows {
            RowsRead::Returned { items_end } => {
                let (items, rest) = self.text.split_at(*items_end);
                Some(format!("{items}, {columns}{rest}"))
            }
            RowsRead::Matching(_) => None,
        }
    }
}
