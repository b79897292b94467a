//! The forms in which keys are compared: a table's columns, and after them what is captured beside
//! them.

use super::column::KeyForm;
use super::raw::{IndexColumn, PRIMARY, Raw};
use crate::at::keys::Fold;
use crate::at::plan::Refused;
use crate::at::table::{Column, KeyColumn, Parent, Unique, Wrap};
use crate::db::Row;
use pactum_core::lock::key::KeyKind;

/// A table's columns, growing by the forms that keys are compared in.
pub(super) struct Shape {
    pub(super) columns: Vec<Column>,
}

impl Shape {
    pub(super) fn new(raw: &Raw) -> Self {
        let columns = raw.columns.iter().map(|column| {
            let (capture, restore) = column.wraps().unwrap_or_default();
            Column {
                name: column.name.clone(),
                source: column.name.clone(),
                generated: column.is_generated(),
                capture,
                restore,
            }
        });
        Shape { columns: columns.collect() }
    }

    /// The place of a column in the form in which a key compares it, which is added if need be.
    pub(super) fn key_column(
        &mut self,
        raw: &Raw,
        place: usize,
        prefix: Option<i64>,
    ) -> Option<KeyColumn> {
        let column = &raw.columns[place];
        match column.key_form(prefix)? {
            KeyForm::AsCaptured(fold) => Some(KeyColumn { column: place, fold }),
            KeyForm::Captured { wrap, fold } => {
                let name = match prefix {
                    None => format!("key of {}", column.name),
                    Some(count) => format!("key of {}({count})", column.name),
                };
                let there = self.columns.iter().position(|column| column.name == name);
                let place = there.unwrap_or_else(|| {
                    let source = column.name.clone();
                    let restore = Wrap::default();
                    let column = Column { name, source, generated: true, capture: wrap, restore };
                    self.columns.push(column);
                    self.columns.len() - 1
                });
                Some(KeyColumn { column: place, fold })
            }
        }
    }

    pub(super) fn key(&mut self, raw: &Raw, index: &[IndexColumn]) -> Option<Vec<KeyColumn>> {
        let column = |key: &IndexColumn| self.key_column(raw, key.column?, key.prefix);
        index.iter().map(column).collect()
    }

    pub(super) fn keys(&mut self, raw: &Raw) -> Keys {
        let mut keys = Keys {
            primary: raw.primary().iter().filter_map(|key| key.column).collect(),
            key: Vec::new(),
            uniques: Vec::new(),
            locks_whole_table: false,
        };
        for (name, index) in &raw.indexes {
            match self.key(raw, index) {
                Some(columns) if name == PRIMARY => keys.key = columns,
                Some(columns) => {
                    keys.uniques.push(Unique { name: name.to_lowercase(), columns });
                }
                None => keys.locks_whole_table = true,
            }
        }
        keys
    }
}

pub(super) struct Keys {
    pub(super) primary: Vec<usize>,
    pub(super) key: Vec<KeyColumn>,
    pub(super) uniques: Vec<Unique>,
    pub(super) locks_whole_table: bool,
}

impl Keys {
    pub(super) fn refusal(&self, table: &str) -> Option<Refused> {
        self.key.is_empty().then(|| {
            Refused::new(
                format!("change of `{table}`"),
                "its primary key compares text by a collation whose idea of equal is not known here",
                "use a collation of utf8mb4 for it, such as utf8mb4_general_ci or utf8mb4_bin",
            )
        })
    }
}

/// Which key of the parent a foreign key refers to. Where that is not certain, the whole parent.
pub(super) fn resolve_parent(
    lock_name: String,
    parent: &Raw,
    raw: &Raw,
    shape: &mut Shape,
    reference: &[Row],
) -> Parent {
    let from: Vec<usize> =
        reference.iter().filter_map(|row| raw.place(row[1].as_text()?)).collect();
    let to: Vec<usize> =
        reference.iter().filter_map(|row| parent.place(row[4].as_text()?)).collect();
    let alike = from.len() == to.len()
        && from
            .iter()
            .zip(&to)
            .all(|(from, to)| raw.columns[*from].compares_like(&parent.columns[*to]));
    let indexes = parent.indexes.iter().filter(|_| alike);
    for (name, index) in indexes {
        let Some(columns) = arrange(index, &from, &to) else { continue };
        let key: Option<Vec<KeyColumn>> =
            columns.iter().map(|place| shape.key_column(raw, *place, None)).collect();
        let Some(columns) = key else { continue };
        let kind =
            if name == PRIMARY { KeyKind::Row } else { KeyKind::Unique(name.to_lowercase()) };
        return Parent { columns, lock_name, kind };
    }
    let any = |column: &usize| KeyColumn { column: *column, fold: Fold::Binary };
    Parent { columns: from.iter().map(any).collect(), lock_name, kind: KeyKind::Table }
}

/// The child's columns in the order of the parent's index, if the foreign key refers to exactly it.
pub(super) fn arrange(index: &[IndexColumn], from: &[usize], to: &[usize]) -> Option<Vec<usize>> {
    if index.len() != to.len() {
        return None;
    }
    let child = |key: &IndexColumn| {
        let column = key.column.filter(|_| key.prefix.is_none())?;
        to.iter().position(|to| *to == column).map(|place| from[place])
    };
    index.iter().map(child).collect()
}
