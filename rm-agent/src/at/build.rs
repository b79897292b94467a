//! A statement of ours in the making: its text, and the values of its parameters. How names and
//! parameters are spelled, each database's dialect says.

use super::restore::Spoken;
use super::table::{Column, Table};
use crate::db::{Row, Value};

/// What differs from database to database.
pub(super) struct Spelling {
    /// A name, quoted so that it can be nothing but a name.
    pub(super) quote: fn(&str) -> String,
    /// What stands for a value of a column, around the parameter that it is bound to.
    pub(super) value: fn(&Column, &Value, &str) -> String,
}

pub(super) struct Build {
    spelling: &'static Spelling,
    spoken: Spoken,
}

impl Build {
    pub(super) fn new(spelling: &'static Spelling, text: &str) -> Self {
        Build { spelling, spoken: Spoken::default() }.push(text)
    }

    pub(super) fn finish(self) -> Spoken {
        self.spoken
    }

    pub(super) fn push(mut self, text: &str) -> Self {
        self.spoken.sql.push_str(text);
        self
    }

    pub(super) fn name(self, name: &str) -> Self {
        let quoted = (self.spelling.quote)(name);
        self.push(&quoted)
    }

    pub(super) fn value(mut self, column: &Column, value: &Value) -> Self {
        self.spoken.values.push(value.clone());
        let parameter = format!("?{}", self.spoken.values.len());
        let spelled = (self.spelling.value)(column, value, &parameter);
        self.push(&spelled)
    }

    pub(super) fn list<T>(
        mut self,
        items: impl IntoIterator<Item = T>,
        joint: &str,
        each: impl Fn(Self, T) -> Self,
    ) -> Self {
        for (index, item) in items.into_iter().enumerate() {
            self = if index == 0 { self } else { self.push(joint) };
            self = each(self, item);
        }
        self
    }

    /// The row with this primary key.
    pub(super) fn row_of(self, table: &Table, row: &Row) -> Self {
        self.push(" WHERE ").key_of(table, &table.primary, row)
    }

    pub(super) fn key_of(self, table: &Table, key: &[usize], row: &Row) -> Self {
        self.list(key, " AND ", |build, place| {
            let column = &table.columns[*place];
            build.name(&column.source).push(" = ").value(column, &row[*place])
        })
    }
}
