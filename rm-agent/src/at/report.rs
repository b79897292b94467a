//! What a person sees of a branch on which automatic work has stopped.

use pactum_proto::v1::{ColumnReport, ParkReason, ParkReport, RowReport};

use super::table::Table;
use crate::db::Row;

/// The whole report, so that it fits a message and a store row.
const REPORT_BYTES_MAX: usize = 64 * 1024;
/// One value. Enough to recognise it; the rest is in the database.
const VALUE_BYTES_MAX: usize = 1024;
/// What a row or a column takes beside its texts.
const OVERHEAD_BYTES: usize = 16;

/// A row in three states; `None` where it does not exist.
#[derive(Clone, Copy, Debug)]
pub(super) struct Images<'a> {
    pub(super) before: Option<&'a Row>,
    pub(super) after: Option<&'a Row>,
    pub(super) current: Option<&'a Row>,
}

/// A report in the making, capped.
#[derive(Debug)]
pub(super) struct Report {
    report: ParkReport,
    bytes: usize,
}

impl Report {
    pub(super) fn new(reason: ParkReason, message: String) -> Self {
        let message = shortened(message);
        let bytes = message.len() + OVERHEAD_BYTES;
        let report = ParkReport { reason: reason.into(), message, rows: vec![], rows_left_out: 0 };
        Report { report, bytes }
    }

    /// Adds a row, with the columns in which its images differ.
    pub(super) fn add(&mut self, table: &Table, images: &Images<'_>) {
        let row = describe(table, images);
        let columns = row.columns.iter().map(|column| {
            let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
            OVERHEAD_BYTES
                + column.column.len()
                + length(&column.before)
                + length(&column.after)
                + length(&column.current)
        });
        let bytes = OVERHEAD_BYTES + row.table.len() + row.key.len() + columns.sum::<usize>();
        if self.bytes + bytes > REPORT_BYTES_MAX {
            self.report.rows_left_out += 1;
        } else {
            self.bytes += bytes;
            self.report.rows.push(row);
        }
    }

    pub(super) fn has_rows(&self) -> bool {
        !self.report.rows.is_empty() || self.report.rows_left_out > 0
    }

    pub(super) fn finish(self) -> ParkReport {
        self.report
    }
}

fn describe(table: &Table, images: &Images<'_>) -> RowReport {
    let value = |row: Option<&Row>, place: usize| row.map(|row| shortened(row[place].to_string()));
    let differs = |place: &usize| {
        let of = |row: Option<&Row>| row.map(|row| row[*place].clone());
        let before = of(images.before);
        before != of(images.after) || before != of(images.current)
    };
    let columns = (0..table.columns.len()).filter(differs).map(|place| ColumnReport {
        column: table.columns[place].name.clone(),
        before: value(images.before, place),
        after: value(images.after, place),
        current: value(images.current, place),
    });
    let any = images.after.or(images.before).or(images.current);
    let key = |row: &Row| {
        let part = |place: usize| format!("{}={}", table.columns[place].name, row[place]);
        table.key.iter().map(|key| part(key.column)).collect::<Vec<_>>().join(", ")
    };
    RowReport {
        table: table.name.clone(),
        key: shortened(any.map(key).unwrap_or_default()),
        columns: columns.collect(),
    }
}

fn shortened(text: String) -> String {
    if text.len() <= VALUE_BYTES_MAX {
        return text;
    }
    let end = text.floor_char_boundary(VALUE_BYTES_MAX);
    format!("{}… ({} bytes)", &text[..end], text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::at::keys::Fold;
    use crate::at::table::{Column, KeyColumn, Wrap};
    use crate::db::Value;

    fn table() -> Table {
        let column = |name: &str| Column {
            name: name.to_owned(),
            source: name.to_owned(),
            generated: false,
            capture: Wrap::default(),
            restore: Wrap::default(),
        };
        Table {
            name: "t".into(),
            lock_name: "t".into(),
            written: "account".to_owned(),
            version: String::new(),
            fingerprint: String::new(),
            columns: vec![column("id"), column("x")],
            primary: vec![0],
            key: vec![KeyColumn { column: 0, fold: Fold::Binary }],
            uniques: vec![],
            locks_whole_table: false,
            parents: vec![],
            children: vec![],
            refusal: None,
            mysql: None,
        }
    }

    #[test]
    fn a_report_shows_what_differs_and_stays_within_its_bytes() {
        let mut report = Report::new(ParkReason::DirtyWrite, "m".to_owned());
        let row = |text: String| vec![Value::Integer(7), Value::Text(text)];
        let (before, after) = (row("a".into()), row("b".into()));
        report.add(&table(), &Images { before: Some(&before), after: Some(&after), current: None });
        let long = row("ü".repeat(5000));
        for _ in 0..200 {
            let images = Images { before: Some(&long), after: Some(&long), current: Some(&before) };
            report.add(&table(), &images);
        }
        assert!(report.has_rows());
        let report = report.finish();
        let first = &report.rows[0];
        assert_eq!((first.table.as_str(), first.key.as_str()), ("t", "id=7"));
        let shown = |place: usize| {
            let column: &ColumnReport = &first.columns[place];
            let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            [text(&column.before), text(&column.after), text(&column.current)].join(" ")
        };
        assert_eq!(shown(0), "7 7 -");
        assert_eq!(shown(1), "'a' 'b' -");
        let bytes: usize = report
            .rows
            .iter()
            .flat_map(|row| &row.columns)
            .map(|column| column.before.as_ref().map_or(0, String::len))
            .sum();
        assert!(report.rows.len() > 10);
        assert!(bytes < REPORT_BYTES_MAX);
        assert_eq!(report.rows.len() + usize::try_from(report.rows_left_out).unwrap(), 201);
    }
}
