//! A table's columns and unique indexes, as the server lists them, and what in them stands in AT's
//! way.

use super::column::RawColumn;
use super::table::text;
use crate::at::plan::Refused;
use crate::db::{DbError, Sql, Value};

pub(super) const SPLIT: &str =
    "keep such tables out of AT transactions, or change them through `bypass()`";

/// A column of an index, and how much of it.
#[derive(Clone, Debug)]
pub(super) struct IndexColumn {
    /// `None` for an expression.
    pub(super) column: Option<usize>,
    pub(super) prefix: Option<i64>,
}

/// A table's columns and unique indexes, as the server lists them.
pub(super) struct Raw {
    pub(super) columns: Vec<RawColumn>,
    /// With their names; the primary key is called `PRIMARY`.
    pub(super) indexes: Vec<(String, Vec<IndexColumn>)>,
}

impl Raw {
    pub(super) async fn load(
        sql: &mut dyn Sql,
        database: &str,
        table: &str,
    ) -> Result<Raw, DbError> {
        let of_table = [Value::text(database), Value::text(table)];
        let rows = sql.query(RawColumn::QUERY, &of_table).await?;
        let mut raw = Raw { columns: rows.iter().map(RawColumn::read).collect(), indexes: vec![] };
        let rows = sql
            .query(
                "SELECT index_name, column_name, sub_part FROM information_schema.statistics \
                 WHERE table_schema = ?1 AND table_name = ?2 AND non_unique = 0 \
                 ORDER BY index_name, seq_in_index",
                &of_table,
            )
            .await?;
        for index in rows.chunk_by(|a, b| a[0] == b[0]) {
            let columns = index.iter().map(|row| IndexColumn {
                column: row[1].as_text().and_then(|name| raw.place(name)),
                prefix: row[2].as_integer(),
            });
            let columns = columns.collect();
            raw.indexes.push((text(&index[0][0]), columns));
        }
        Ok(raw)
    }

    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
    }

    pub(super) fn places(&self, which: impl Fn(&RawColumn) -> bool) -> Vec<usize> {
        (0..self.columns.len()).filter(|place| which(&self.columns[*place])).collect()
    }

    pub(super) fn primary(&self) -> &[IndexColumn] {
        let primary = self.indexes.iter().find(|(name, _)| name == PRIMARY);
        primary.map_or(&[], |(_, columns)| columns)
    }

    /// The primary key first: rows are found by it where there is a choice.
    pub(super) fn unique_keys(&self) -> Vec<Option<Vec<usize>>> {
        let whole = |index: &Vec<IndexColumn>| {
            // A member may be written by its name or its number, and is compared otherwise than it
            // is stored.
            let is_list =
                |place: &usize| matches!(self.columns[*place].data_type.as_str(), "enum" | "set");
            let column = |key: &IndexColumn| {
                key.column.filter(|place| key.prefix.is_none() && !is_list(place))
            };
            index.iter().map(column).collect()
        };
        let mut indexes: Vec<_> = self.indexes.iter().collect();
        indexes.sort_by_key(|(name, _)| name != PRIMARY);
        indexes.into_iter().map(|(_, index)| whole(index)).collect()
    }

    pub(super) fn nobodys_if_absent(&self) -> Vec<bool> {
        let nobodys = |column: &RawColumn| {
            column.is_auto_increment() || (column.is_null_by_default && !column.is_generated())
        };
        self.columns.iter().map(nobodys).collect()
    }

    pub(super) fn refuse(&self, table: &str) -> Option<Refused> {
        let refused = |why: String, instead: &'static str| {
            Some(Refused::new(format!("change of `{table}`"), why, instead))
        };
        if let Some(column) = self.columns.iter().find(|column| column.wraps().is_none()) {
            let why = format!("`{}` is of type {}", column.name, column.data_type);
            return refused(format!("{why}, which is not known here"), SPLIT);
        }
        if self.primary().is_empty() {
            let why = "the table has no primary key, so its rows cannot be found again";
            return refused(why.to_owned(), "give it a primary key");
        }
        let generated =
            |key: &&IndexColumn| key.column.is_none_or(|place| self.columns[place].is_generated());
        if self.primary().iter().any(|key| generated(&key)) {
            let why = "its primary key is computed, so a change of another column may change it";
            return refused(why.to_owned(), "use a primary key of plain columns");
        }
        None
    }

    /// Changes whenever a row captured before would not mean the same after.
    pub(super) fn fingerprint(&self) -> String {
        let mut hasher = crc32fast::Hasher::new();
        for column in &self.columns {
            let RawColumn { name, data_type: _, column_type, character_set, collation, .. } =
                column;
            let generated = column.is_generated();
            let line =
                format!("{name}\0{column_type}\0{character_set}\0{collation}\0{generated}\n");
            hasher.update(line.as_bytes());
        }
        for key in self.primary() {
            hasher.update(format!("{:?}\n", key.column).as_bytes());
        }
        format!("{:08x}", hasher.finalize())
    }
}

pub(super) const PRIMARY: &str = "PRIMARY";
