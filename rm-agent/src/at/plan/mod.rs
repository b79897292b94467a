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

mod called;
mod change;
mod classify;
mod control;
mod insert;
mod names;
mod pure;
mod read;
mod reader;
mod refusals;
mod refused;
mod repeat;
mod rows;
mod scan;
mod split;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use called::called;
pub(crate) use classify::plan;
pub(crate) use control::only_reads;
pub(crate) use read::plan_locking_read;
pub use refused::Refused;
pub(crate) use repeat::{check_repeatable_query, check_repeatable_value};
pub(crate) use split::statements;

/// A statement that AT understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Changes nothing.
    Read,
    /// Reads rows whose global locks are to be checked.
    LockingRead(Box<LockingRead>),
    /// Changes rows of one table.
    Change(Box<Change>),
}

/// A piece of a statement as it is written, and how many anonymous parameters stand in it. Where
/// the database can number parameters, they carry the numbers that they have in the whole statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) sql: String,
    pub(crate) parameters: usize,
}

/// A SELECT of one table's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LockingRead {
    pub(crate) table: String,
    /// How the statement calls the table: its alias, or its name as written.
    pub(crate) target: String,
    /// The statement without its locking clause.
    pub(crate) text: Part,
    /// The locking clause as it is written; empty if there is none.
    pub(crate) locking: String,
    pub(crate) rows: RowsRead,
}

/// How to learn which rows a SELECT reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RowsRead {
    /// Each row it returns is a row of the table: the key columns can be appended to its items, at
    /// this offset of the text.
    Returned { items_end: usize },
    /// It aggregates, so its rows are all that meet the condition.
    Matching(Box<Source>),
}

/// The rows that a statement is about. The parts are in the order of the statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Source {
    /// `WITH …`, if there is one.
    pub(crate) with: Option<Part>,
    /// Parameters before `from` that belong to no other part here (a SELECT's items).
    pub(crate) skipped: usize,
    /// The table and its alias. Where UPDATE and DELETE are written with JOIN, the joined ones too.
    pub(crate) from: Part,
    /// Between `from` and `joined`: the assignments of an UPDATE, without SET.
    pub(crate) set: Option<Part>,
    /// What follows FROM in `UPDATE … FROM`, or USING in `DELETE … USING`.
    pub(crate) joined: Option<Part>,
    /// What follows WHERE.
    pub(crate) condition: Option<Part>,
    /// `ORDER BY …` without its LIMIT.
    pub(crate) order: Option<Part>,
    /// `LIMIT …`.
    pub(crate) limit: Option<Part>,
    /// How long the statement's text is in front of `condition`, `order` and `limit`.
    pub(crate) head: usize,
}

/// A statement that changes rows of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The table, as [`Dialect::load`](super::restore::Dialect::load) takes it.
    pub(crate) table: String,
    /// How the statement calls the table: its alias, or its name as written.
    pub(crate) target: String,
    /// The statement, without a trailing semicolon or comment.
    pub(crate) text: Part,
    /// What follows RETURNING, which is the last clause of `text`.
    pub(crate) returning: Option<Part>,
    pub(crate) kind: ChangeKind,
}

/// What it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Insert(Insert),
    Update(Update),
    Delete(Source),
}

/// An UPDATE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    /// The assigned columns, spelled as the database names them where it folds names.
    pub(crate) assigned: Vec<String>,
    pub(crate) rows: Source,
}

/// An INSERT or REPLACE. The parts are in the order of the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Insert {
    /// `WITH …`, if there is one in front.
    pub(crate) with: Option<Part>,
    /// The named columns; empty for all of the table, in its order.
    pub(crate) columns: Vec<String>,
    pub(crate) source: InsertSource,
    pub(crate) on_conflict: OnConflict,
    /// Parameters after the source and before RETURNING.
    pub(crate) conflict_parameters: usize,
}

/// Where an INSERT takes its rows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InsertSource {
    /// `DEFAULT VALUES`, or an empty list.
    Defaults,
    /// One list of expressions a row; `None` for DEFAULT.
    Values(Vec<Vec<Option<Part>>>),
    /// A query.
    Query(Part),
}

/// What an INSERT does about rows that are in its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OnConflict {
    Fail,
    /// `DO NOTHING`, `INSERT IGNORE`, `INSERT OR IGNORE`.
    Skip,
    /// `DO UPDATE`, `ON DUPLICATE KEY UPDATE`.
    Update {
        target: ConflictTarget,
        /// As in [`Update`].
        assigned: Vec<String>,
    },
    /// `REPLACE`, `INSERT OR REPLACE`.
    Replace,
}

/// Which unique key has to be in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConflictTarget {
    Any,
    Columns(Vec<String>),
    Constraint(String),
}

impl Change {
    /// The statement with more columns returned, after the user's own.
    pub(crate) fn returning(&self, columns: &str) -> String {
        let joint = if self.returning.is_some() { ", " } else { " RETURNING " };
        format!("{}{joint}{columns}", self.text.sql)
    }
}

impl LockingRead {
    /// The statement with more columns returned, after the user's own; `None` where its rows are
    /// not the table's.
    pub(crate) fn returning(&self, columns: &str) -> Option<String> {
        match &self.rows {
            RowsRead::Returned { items_end } => {
                let (items, rest) = self.text.sql.split_at(*items_end);
                Some(format!("{items}, {columns}{rest}"))
            }
            RowsRead::Matching(_) => None,
        }
    }
}
