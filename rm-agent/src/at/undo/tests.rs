//! The stored forms: read as they were written, and nothing else is read.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::db::test_values::value;

const MAX: usize = 1 << 20;

fn row() -> impl Strategy<Value = Row> {
    vec(value(), 3)
}

fn row_change() -> impl Strategy<Value = RowChange> {
    prop_oneof![
        row().prop_map(RowChange::Inserted),
        row().prop_map(RowChange::Deleted),
        (row(), row()).prop_map(|(before, after)| RowChange::Updated { before, after }),
    ]
}

fn log() -> impl Strategy<Value = UndoLog> {
    let change = (prop_oneof![Just("a"), Just("b \"é\"")], vec(row_change(), 0..4));
    vec(change, 0..4).prop_map(|changes| {
        let mut log = UndoLog::default();
        for (table, rows) in changes {
            let columns = ["id", "x", "y"].map(str::to_owned).to_vec();
            let shape = Shape { fingerprint: "00".into(), columns, key: vec!["id".to_owned()] };
            log.tables.insert(table.to_owned(), shape);
            log.changes.push(TableChange { table: table.to_owned(), rows });
        }
        log
    })
}

proptest! {
    #[test]
    fn a_log_survives_its_stored_form(log in log()) {
        prop_assert_eq!(decode(1, &encode(&log), MAX), Ok(log));
    }

    #[test]
    fn a_log_that_is_cut_short_is_refused(log in log(), part in 0.0..1.0_f64) {
        let body = encode(&log);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss,
            clippy::cast_precision_loss, reason = "a place in a short text")]
        let end = (body.len() as f64 * part) as usize;
        if body.is_char_boundary(end) {
            prop_assert!(matches!(decode(1, &body[..end], MAX), Err(Unreadable::Malformed(_))));
        }
    }
}

fn golden() -> UndoLog {
    let mut log = UndoLog::default();
    let columns = ["id", "owner", "balance"].map(str::to_owned).to_vec();
    let shape = Shape { fingerprint: "1a2b3c4d".into(), columns, key: vec!["id".to_owned()] };
    log.tables.insert("account".to_owned(), shape);
    let row = |id: i64, owner: Value, balance: Value| vec![Value::Integer(id), owner, balance];
    log.changes.push(TableChange {
        table: "account".to_owned(),
        rows: vec![
            RowChange::Updated {
                before: row(1, Value::text("A"), Value::Integer(100)),
                after: row(1, Value::text("A"), Value::Integer(70)),
            },
            RowChange::Inserted(row(2, Value::Null, Value::Float(1.5_f64.to_bits()))),
            RowChange::Deleted(row(3, Value::Bytes(vec![0, 255]), Value::Unsigned(u64::MAX))),
            RowChange::Inserted(row(4, Value::RawText(vec![0x61, 0xff]), Value::Integer(0))),
        ],
    });
    log
}

#[test]
fn version_1_is_read_and_written_as_released() {
    let body = include_str!("v1.json").trim_end();
    assert_eq!(encode(&golden()), body);
    assert_eq!(decode(1, body, MAX), Ok(golden()));
}

/// What `pack` makes of a log may change with its library; what it made once is read for ever.
#[test]
fn version_2_is_read_as_released() {
    let body = include_str!("v2.txt").trim_end();
    assert_eq!(decode(2, body, MAX), Ok(golden()));
    let shown = read_undo(2, body).unwrap();
    assert_eq!(shown, read_undo(1, include_str!("v1.json").trim_end()).unwrap());
    assert!(shown.contains("\n      \"rows\": ["), "{shown}");
    assert!(shown.contains("\"balance\": 70"), "{shown}");
}

/// A log of many rows, as an application's table makes it.
fn large(rows: i64) -> UndoLog {
    let mut log = golden();
    let row = |id: i64| {
        let owner = format!("customer {}", id.wrapping_mul(0x9E37_79B9) % 100_000);
        let balance = Value::Integer(id.wrapping_mul(7_919) % 1_000_003);
        (vec![Value::Integer(id), Value::text(owner), balance], Value::Integer(id * 31))
    };
    let rows = (10..10 + rows).map(row).map(|(before, balance)| {
        let after = vec![before[0].clone(), before[1].clone(), balance];
        RowChange::Updated { before, after }
    });
    log.changes.push(TableChange { table: "account".to_owned(), rows: rows.collect() });
    log
}

#[test]
fn a_small_log_stays_readable_and_a_large_one_is_packed() {
    assert_eq!(store(&golden(), MAX).unwrap(), Stored { format: 1, body: encode(&golden()) });
    let log = large(1000);
    let plain = encode(&log);
    let stored = store(&log, MAX).unwrap();
    assert_eq!(stored.format, 2);
    assert!(stored.body.len() * 3 < plain.len(), "{} of {}", stored.body.len(), plain.len());
    assert_eq!(decode(2, &stored.body, MAX), Ok(log));
    let shown = read_undo(2, &stored.body).unwrap();
    assert!(shown.contains("customer"), "{shown}");
}

#[test]
fn the_limit_is_on_what_is_unpacked() {
    let log = large(1000);
    let size = encode(&log).len();
    assert_eq!(store(&log, size - 1), None, "packed it would be far below the limit");
    let stored = store(&log, size).unwrap();
    assert_eq!(decode(2, &stored.body, size), Ok(log));
    let Err(Unreadable::Malformed(why)) = decode(2, &stored.body, size - 1) else {
        panic!("it is larger than it may be")
    };
    assert!(why.contains(&format!("more than {} bytes", size - 1)), "{why}");
}

/// Goal: a body made to fill the memory does not. Method: megabytes of blanks in some kilobytes.
#[test]
fn a_body_that_unpacks_to_far_more_is_given_up_at_the_limit() {
    let bomb = pack::pack(&" ".repeat(64 << 20)).unwrap();
    assert!(bomb.len() < 1 << 20);
    assert!(matches!(decode(2, &bomb, MAX), Err(Unreadable::Malformed(_))));
}

#[test]
fn what_is_not_packed_by_an_agent_is_refused() {
    let packed = store(&large(100), MAX).unwrap().body;
    for body in ["", "?", "AAAA", &packed[..packed.len() / 2], &format!("{packed}AAAA")] {
        assert!(matches!(decode(2, body, MAX), Err(Unreadable::Malformed(_))), "{body}");
        assert!(read_undo(2, body).is_err());
    }
    let error = read_undo(7, "{}").unwrap_err().to_string();
    assert!(error.contains("format 7"), "{error}");
    let error = read_undo(1, "").unwrap_err().to_string();
    assert!(error.contains("empty"), "{error}");
}

#[test]
fn what_no_agent_writes_is_refused() {
    let table = r#""tables":{"t":{"fingerprint":"","columns":["id"],"key":["id"]}}"#;
    let with = |changes: &str| format!(r#"{{"v":1,{table},"changes":[{changes}]}}"#);
    for body in [
        String::new(),
        "{}".to_owned(),
        with(r#"{"table":"u","rows":[]}"#),
        with(r#"{"table":"t","rows":[{"inserted":[1,2]}]}"#),
        with(r#"{"table":"t","rows":[{"deleted":[]}]}"#),
        with(r#"{"table":"t","rows":[{"updated":{"before":[1],"set":{"x":1}}}]}"#),
        with(r#"{"table":"t","rows":[{"moved":[1]}]}"#),
    ] {
        assert!(matches!(decode(1, &body, MAX), Err(Unreadable::Malformed(_))), "{body}");
    }
    assert!(matches!(decode(2, &with(""), MAX), Err(Unreadable::Malformed(_))));
    for unknown in [0, 3, 257, -1, i64::MAX] {
        assert_eq!(decode(unknown, &with(""), MAX), Err(Unreadable::Version(unknown)));
    }
    assert_eq!(decode(1, &with("").replace(":1,", ":9,"), MAX), Err(Unreadable::Version(9)));
}
