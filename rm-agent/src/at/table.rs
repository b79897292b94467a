//! What AT must know about a table to undo changes of it. Read from the database, cached by the
//! version of its schema.

use std::borrow::Cow;
use std::sync::Arc;

use pactum_core::lock::key::KeyKind;

use super::keys::Fold;
use super::mysql::Facts;
use super::plan::{ChangeKind, OnConflict, Refused};

/// A table whose rows can be captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// As undo logs and reports name it, and as [`Dialect::load`](super::restore::Dialect::load)
    /// finds it again on any connection.
    pub(crate) name: String,
    /// As the statement named it that it was loaded for.
    pub(crate) written: String,
    /// As lock keys name it: one spelling for each table.
    pub(crate) lock_name: String,
    /// The version of its schema: differs whenever anything read here may.
    pub(crate) version: String,
    /// Tells whether the columns are still those that a row was captured from.
    pub(crate) fingerprint: String,
    /// Every column that has a value, generated ones too, and after them the forms in which the
    /// database compares those of a key whose stored form does not tell what is equal.
    pub(crate) columns: Vec<Column>,
    /// The primary key by which a row is found: places in `columns`, in the order of the key.
    pub(crate) primary: Vec<usize>,
    /// The primary key as it is compared: what makes a row this row.
    pub(crate) key: Vec<KeyColumn>,
    pub(crate) uniques: Vec<Unique>,
    /// A unique index that holds no plain columns: its values are not known, so the table is locked.
    pub(crate) locks_whole_table: bool,
    pub(crate) parents: Vec<Parent>,
    pub(crate) children: Vec<Child>,
    /// Why no statement may change it.
    pub(crate) refusal: Option<Refused>,
    /// What only MySQL's plans ask.
    pub(crate) mysql: Option<Arc<Facts>>,
}

/// A column, or a form of one that is captured beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// As undo logs and reports name it.
    pub(crate) name: String,
    /// The column that it is read from.
    pub(crate) source: String,
    /// The database computes it: captured and verified, never written.
    pub(crate) generated: bool,
    /// Around the column, where it is captured.
    pub(crate) capture: Wrap,
    /// Around the parameter, where it is written back or looked for.
    pub(crate) restore: Wrap,
}

/// What stands around an expression: `CAST(` and ` AS CHAR)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrap {
    pub(crate) before: Cow<'static, str>,
    pub(crate) after: Cow<'static, str>,
}

impl Wrap {
    pub(crate) fn around(&self, expression: &str) -> String {
        format!("{}{expression}{}", self.before, self.after)
    }
}

/// A column of a key, and how the key's index compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyColumn {
    pub(crate) column: usize,
    pub(crate) fold: Fold,
}

/// A unique secondary index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unique {
    /// In lock keys.
    pub(crate) name: String,
    pub(crate) columns: Vec<KeyColumn>,
}

/// A foreign key of this table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    /// Its columns here, in the order of the parent's index, compared as that index does.
    pub(crate) columns: Vec<KeyColumn>,
    /// The parent, as lock keys name it.
    pub(crate) lock_name: String,
    /// Which of the parent's keys it refers to; the table if that cannot be told.
    pub(crate) kind: KeyKind,
}

/// A foreign key of another table that refers to this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) table: String,
    /// The child's columns, and the places here of what they refer to.
    pub(crate) columns: Vec<(String, usize)>,
    /// Whether the database changes child rows by itself when a row here is deleted.
    pub(crate) acts_on_delete: bool,
    /// The same when the referenced columns change.
    pub(crate) acts_on_update: bool,
}

impl Table {
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// Whether AT can undo this kind of change of this table.
    pub(crate) fn check(&self, kind: &ChangeKind) -> Result<(), Refused> {
        if let Some(refused) = &self.refusal {
            return Err(refused.clone());
        }
        match kind {
            ChangeKind::Insert(insert) => match &insert.on_conflict {
                OnConflict::Fail | OnConflict::Skip => Ok(()),
                OnConflict::Update { assigned, target: _ } => self.check_update(assigned),
                // It removes the rows that are in the way.
                OnConflict::Replace => self.check_delete("REPLACE"),
            },
            ChangeKind::Update(update) => self.check_update(&update.assigned),
            ChangeKind::Delete(_) => self.check_delete("DELETE"),
        }
    }

    fn check_delete(&self, statement: &str) -> Result<(), Refused> {
        match self.children.iter().find(|child| child.acts_on_delete) {
            None => Ok(()),
            Some(child) => Err(cascade(statement, &self.name, &child.table)),
        }
    }

    fn check_update(&self, assigned: &[String]) -> Result<(), Refused> {
        let is_assigned = |place: usize| {
            assigned.iter().any(|name| name.eq_ignore_ascii_case(&self.columns[place].name))
        };
        // What the database sets by itself changes as if it were assigned.
        let sets_itself = |place: usize| {
            let column = &self.columns[place];
            let on_update = self.mysql.as_ref().is_some_and(|facts| facts.sets_on_update(place));
            column.generated || on_update
        };
        if self.primary.iter().any(|place| is_assigned(*place)) {
            return Err(Refused::new(
                format!("UPDATE of `{}`", self.name),
                "it assigns the primary key, by which rows are found again",
                "delete the row and insert it with its new key",
            ));
        }
        // A hidden row number is no column of ours, and yet some rows' identity.
        let unknown = assigned.iter().find(|name| self.column(name).is_none());
        if let Some(column) = unknown {
            return Err(Refused::new(
                format!("UPDATE of `{}`", self.name),
                format!("`{column}` is not one of its columns"),
                "assign columns of the table",
            ));
        }
        if self.primary.iter().any(|place| sets_itself(*place)) {
            return Err(Refused::new(
                format!("UPDATE of `{}`", self.name),
                "the database itself may change its primary key, by which rows are found again",
                "give the table a primary key that is neither generated nor set by updates",
            ));
        }
        let changes = |place: usize| is_assigned(place) || sets_itself(place);
        let acting = |child: &&Child| {
            child.acts_on_update && child.columns.iter().any(|(_, place)| changes(*place))
        };
        match self.children.iter().find(acting) {
            None => Ok(()),
            Some(child) => Err(cascade("UPDATE", &self.name, &child.table)),
        }
    }
}

fn cascade(statement: &str, table: &str, child: &str) -> Refused {
    Refused::new(
        format!("{statement} of `{table}`"),
        format!("a foreign key of `{child}` makes the database change rows there by itself"),
        format!("change the rows of `{child}` first, and declare the foreign key NO ACTION"),
    )
}
