//! Which global locks a change of a row takes.
//!
//! ```text
//! the row's primary key                               exclusive
//! each unique value that appears or disappears        exclusive
//! each parent that a foreign key newly refers to,
//! or would refer to again after a rollback            shared
//! ```
//!
//! A value that stays is not locked for itself: who wants it must change this row, and that is
//! locked. Keys hold what the *database* takes for equal: an index compares 1 and 1.0 as one number,
//! and text by its collation. Locking too much is allowed, too little never.

use std::collections::BTreeMap;

use pactum_core::lock::key::{EncodedKey, KeyError, KeyKind, KeyValue, LockKey, LockMode};

use super::table::{KeyColumn, Table};
use crate::db::{Row, Value};

/// How an index compares text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    /// Byte for byte.
    Binary,
    /// ASCII letters without their case.
    NoCase,
    /// Without trailing blanks.
    RTrim,
}

/// The key's form of a value; `None` for NULL, which no unique index holds equal to anything.
pub(crate) fn fold(value: &Value, fold: Fold) -> Option<KeyValue> {
    Some(match value {
        Value::Null => return None,
        Value::Integer(value) => KeyValue::Integer(*value),
        Value::Unsigned(value) => KeyValue::unsigned(*value),
        Value::Float(bits) => KeyValue::float(f64::from_bits(*bits)),
        Value::Text(text) => KeyValue::Text(fold_text(text, fold)),
        // May be one key with an equal blob: too much, never too little.
        Value::RawText(bytes) => KeyValue::Bytes(fold_bytes(bytes, fold)),
        Value::Bytes(bytes) => KeyValue::Bytes(bytes.clone()),
    })
}

fn fold_text(text: &str, fold: Fold) -> String {
    match fold {
        Fold::Binary => text.to_owned(),
        Fold::NoCase => upto_nul(text.as_bytes())
            .map_or_else(|| text.to_ascii_lowercase(), |end| text[..end].to_ascii_lowercase()),
        Fold::RTrim => text.trim_end_matches(' ').to_owned(),
    }
}

fn fold_bytes(bytes: &[u8], fold: Fold) -> Vec<u8> {
    match fold {
        Fold::Binary => bytes.to_vec(),
        Fold::NoCase => bytes[..upto_nul(bytes).unwrap_or(bytes.len())].to_ascii_lowercase(),
        Fold::RTrim => {
            let end = bytes.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
            bytes[..end].to_vec()
        }
    }
}

/// NOCASE looks no further than a NUL that both texts have, so what follows it cannot be in the key;
/// the NUL itself stays, which tells the key from the text that ends there.
fn upto_nul(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == 0).map(|nul| nul + 1)
}

/// A change whose keys cannot be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyProblem {
    /// The row's primary key holds a NULL, so nothing can find the row again.
    NullKey,
    /// The key does not fit its encoding.
    Encoding(KeyError),
}

impl From<KeyError> for KeyProblem {
    fn from(error: KeyError) -> Self {
        KeyProblem::Encoding(error)
    }
}

/// The values of a row in a key; `None` if one of them is NULL.
fn values(row: &Row, columns: &[KeyColumn]) -> Option<Vec<KeyValue>> {
    columns.iter().map(|key| fold(&row[key.column], key.fold)).collect()
}

/// What makes a row this row.
pub(crate) fn identity(table: &Table, row: &Row) -> Result<Vec<KeyValue>, KeyProblem> {
    values(row, &table.key).ok_or(KeyProblem::NullKey)
}

fn row_key(table: &Table, row: &Row) -> Result<EncodedKey, KeyProblem> {
    let key = LockKey {
        table: table.lock_name.clone(),
        kind: KeyKind::Row,
        values: identity(table, row)?,
    };
    Ok(key.encode()?)
}

/// The key of a row that is only read.
pub(crate) fn read_key(table: &Table, key: Vec<KeyValue>) -> Result<EncodedKey, KeyProblem> {
    let kind = KeyKind::Row;
    Ok(LockKey { table: table.lock_name.clone(), kind, values: key }.encode()?)
}

/// Adds the keys of one changed row.
pub(crate) fn add_change_keys(
    keys: &mut KeySet,
    table: &Table,
    before: Option<&Row>,
    after: Option<&Row>,
) -> Result<(), KeyProblem> {
    for row in [before, after].into_iter().flatten() {
        keys.push(row_key(table, row)?, LockMode::Exclusive);
        // An update keeps its key, so the second is the first again: the set merges them.
    }
    if table.locks_whole_table {
        keys.push(table_key(&table.lock_name)?, LockMode::Exclusive);
    }
    for unique in &table.uniques {
        let kind = KeyKind::Unique(unique.name.clone());
        for values in moved(before, after, &unique.columns) {
            let table = table.lock_name.clone();
            keys.push(LockKey { table, kind: kind.clone(), values }.encode()?, LockMode::Exclusive);
        }
    }
    for parent in &table.parents {
        for values in moved(before, after, &parent.columns) {
            let table = parent.lock_name.clone();
            let kind = parent.kind.clone();
            let values = if kind == KeyKind::Table { Vec::new() } else { values };
            keys.push(LockKey { table, kind, values }.encode()?, LockMode::Shared);
        }
    }
    Ok(())
}

/// The values that only one of the two images has.
fn moved(before: Option<&Row>, after: Option<&Row>, columns: &[KeyColumn]) -> Vec<Vec<KeyValue>> {
    let of = |row: Option<&Row>| row.and_then(|row| values(row, columns));
    let (before, after) = (of(before), of(after));
    if before == after { Vec::new() } else { before.into_iter().chain(after).collect() }
}

pub(crate) fn table_key(lock_name: &str) -> Result<EncodedKey, KeyError> {
    LockKey { table: lock_name.to_owned(), kind: KeyKind::Table, values: Vec::new() }.encode()
}

/// The keys a branch has gathered, in the order of its statements, so that a savepoint can be
/// rolled back to.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeySet(Vec<(EncodedKey, LockMode)>);

impl KeySet {
    pub(crate) fn push(&mut self, key: EncodedKey, mode: LockMode) {
        self.0.push((key, mode));
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }

    pub(crate) fn append(&mut self, mut other: KeySet) {
        self.0.append(&mut other.0);
    }

    /// Each key once, in its strongest mode. Of a table with more than `row_locks_max` keys the
    /// table itself is locked instead.
    pub(crate) fn merged(&self, row_locks_max: usize) -> Vec<(EncodedKey, LockMode)> {
        let mut merged: BTreeMap<&EncodedKey, LockMode> = BTreeMap::new();
        for (key, mode) in &self.0 {
            let held = merged.entry(key).or_insert(*mode);
            *held = stronger(*held, *mode);
        }
        // Keys of one table lie together, because their encodings begin with its name.
        let mut out: Vec<(EncodedKey, LockMode)> = Vec::with_capacity(merged.len());
        let mut rest = merged.into_iter().peekable();
        while let Some((key, mode)) = rest.next() {
            let table = key.table();
            let mut of_table = vec![(key.clone(), mode)];
            while let Some((key, mode)) = rest.next_if(|(key, _)| key.table() == table) {
                of_table.push((key.clone(), mode));
            }
            if of_table.len() > row_locks_max || of_table.iter().any(|(key, _)| *key == table) {
                let mode = of_table.iter().map(|(_, mode)| *mode).reduce(stronger);
                out.push((table, mode.expect("a table is looked at for a key of it")));
            } else {
                out.append(&mut of_table);
            }
        }
        out
    }
}

fn stronger(a: LockMode, b: LockMode) -> LockMode {
    match (a, b) {
        (LockMode::Shared, LockMode::Shared) => LockMode::Shared,
        (LockMode::Exclusive, _) | (_, LockMode::Exclusive) => LockMode::Exclusive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(value: &Value, how: Fold) -> KeyValue {
        fold(value, how).unwrap()
    }

    #[test]
    fn what_the_index_holds_equal_is_one_key() {
        let text = |text: &str| Value::text(text);
        let pairs = [
            (Value::Integer(1), Value::Float(1.0_f64.to_bits()), Fold::Binary),
            (Value::Float(0.0_f64.to_bits()), Value::Float((-0.0_f64).to_bits()), Fold::Binary),
            (text("Straße"), text("sTRAßE"), Fold::NoCase),
            (text("a"), text("a   "), Fold::RTrim),
            // Same length, same text up to the NUL: NOCASE compares no further.
            (text("A\0x"), text("a\0y"), Fold::NoCase),
            (Value::RawText(vec![0x41, 0xff]), Value::RawText(vec![0x61, 0xff]), Fold::NoCase),
            (Value::RawText(vec![0xff, 0x20]), Value::RawText(vec![0xff]), Fold::RTrim),
        ];
        for (a, b, how) in pairs {
            assert_eq!(folded(&a, how), folded(&b, how), "{a} {b} {how:?}");
        }
    }

    #[test]
    fn what_the_index_tells_apart_is_two_keys() {
        let text = |text: &str| Value::text(text);
        let pairs = [
            (text("1"), Value::Integer(1), Fold::Binary),
            (text("a"), Value::Bytes(b"a".to_vec()), Fold::Binary),
            (text("a"), text("A"), Fold::Binary),
            (text("ä"), text("Ä"), Fold::NoCase),
            (text("a"), text("a "), Fold::NoCase),
            (text("a"), text("a\t"), Fold::RTrim),
            (text("a"), text("a\0"), Fold::NoCase),
            (text(" a"), text("a"), Fold::RTrim),
        ];
        for (a, b, how) in pairs {
            assert_ne!(folded(&a, how), folded(&b, how), "{a} {b} {how:?}");
        }
        assert_eq!(fold(&Value::Null, Fold::Binary), None);
    }

    #[test]
    fn keys_merge_to_the_strongest_mode_and_many_become_the_table() {
        let row = |table: &str, id: i64| {
            let values = vec![KeyValue::Integer(id)];
            LockKey { table: table.to_owned(), kind: KeyKind::Row, values }.encode().unwrap()
        };
        let mut keys = KeySet::default();
        keys.push(row("b", 1), LockMode::Shared);
        keys.push(row("a", 1), LockMode::Shared);
        keys.push(row("a", 1), LockMode::Exclusive);
        keys.push(row("b", 2), LockMode::Shared);
        keys.push(row("b", 1), LockMode::Shared);
        let few = keys.merged(2);
        assert_eq!(
            few,
            vec![
                (row("a", 1), LockMode::Exclusive),
                (row("b", 1), LockMode::Shared),
                (row("b", 2), LockMode::Shared),
            ]
        );
        let coarse = keys.merged(1);
        assert_eq!(
            coarse,
            vec![(row("a", 1), LockMode::Exclusive), (row("b", 1).table(), LockMode::Shared)]
        );
    }
}
