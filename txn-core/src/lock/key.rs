//! What a global lock is taken on, and its one canonical encoding.
//!
//! A [`LockKey`] is structure: (table, kind, values), inside a resource. Its encoding is what the
//! wire carries, the store keeps and the lock table compares, so it must be injective (two keys,
//! two encodings), canonical (one key, one encoding) and versioned (it is stored):
//!
//! ```text
//! version u8 = 1 | table: len u16, UTF-8 | kind u8 | (unique: index name: len u16, UTF-8)
//!                | each value: tag u8, then by tag
//!                    0 integer, i64 with the sign bit flipped, 8 bytes
//!                    1 unsigned above i64::MAX, 8 bytes
//!                    2 float, its 8 bits-bytes         (never one that is an integer; no NaN twin)
//!                    3 text,  len u32, UTF-8
//!                    4 bytes, len u32
//! ```
//!
//! All numbers are big-endian. The table comes first, so that all keys of a table share a prefix.
//!
//! Easy to get wrong: the values are what the *database* holds equal, not what the text looks
//! like. Folding `'a'`, `'A'` and `'a '` into one value is the agent's work, column by column;
//! [`KeyValue::float`] folds `1.0` into `1`, because an index compares numbers by value.

use std::fmt;
use std::sync::Arc;

const VERSION: u8 = 1;
const KIND_ROW: u8 = 0;
const KIND_UNIQUE: u8 = 1;
const KIND_TABLE: u8 = 2;
const TAG_INTEGER: u8 = 0;
const TAG_UNSIGNED: u8 = 1;
const TAG_FLOAT: u8 = 2;
const TAG_TEXT: u8 = 3;
const TAG_BYTES: u8 = 4;
const SIGN_BIT: u64 = 1 << 63;

/// The longest table or index name inside a key, in bytes.
pub const NAME_BYTES_MAX: usize = 512;

/// A value inside a key, already in the form in which the database compares it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyValue {
    /// A whole number.
    Integer(i64),
    /// A whole number above `i64::MAX`; build it with [`KeyValue::unsigned`].
    Unsigned(u64),
    /// The bits of a number that is not whole; build it with [`KeyValue::float`].
    Float(u64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl KeyValue {
    /// The value of an unsigned column: the same key as the equal signed value.
    #[must_use]
    pub fn unsigned(value: u64) -> Self {
        i64::try_from(value).map_or(KeyValue::Unsigned(value), KeyValue::Integer)
    }

    /// The value of a floating-point column: a whole number is the same key as the integer, the two
    /// zeros are one, and every NaN is one.
    #[must_use]
    pub fn float(value: f64) -> Self {
        // 2^63 is the first float that no longer fits; -2^63 still does.
        let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value);
        if fits && value.trunc() == value {
            #[allow(clippy::cast_possible_truncation, reason = "the range was checked above")]
            return KeyValue::Integer(value as i64);
        }
        let value = if value.is_nan() { f64::NAN } else { value };
        KeyValue::Float(value.to_bits())
    }
}

/// What kind of thing a key stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// A row, by the values of its primary key.
    Row,
    /// A value of the named unique index, which two rows must not hold at the same time.
    Unique(String),
    /// The whole table: conflicts with every row and value in it.
    Table,
}

/// A key inside a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockKey {
    /// The table, as the database names it: qualified where the database has schemas.
    pub table: String,
    /// Row, unique value or table.
    pub kind: KeyKind,
    /// The values, in the order of the index; empty for a table.
    pub values: Vec<KeyValue>,
}

/// How a key is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockMode {
    /// Many transactions may share it; none may hold it exclusively.
    Shared,
    /// One transaction holds it.
    Exclusive,
}

/// Why bytes are not the canonical encoding of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The bytes end too early, or go on after the last value.
    Length,
    /// An encoding version this build does not read.
    Version(u8),
    /// A kind or tag that does not exist.
    Tag(u8),
    /// A name or a text is not UTF-8.
    Utf8,
    /// A value that has a shorter, canonical form, a table with values, or a row without.
    NotCanonical,
    /// A table or index name that is empty or longer than [`NAME_BYTES_MAX`].
    Name,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Length => f.write_str("the lock key is cut short or has bytes left over"),
            KeyError::Version(version) => {
                write!(f, "lock key encoding version {version} is unknown")
            }
            KeyError::Tag(tag) => write!(f, "the lock key has an unknown kind or value tag {tag}"),
            KeyError::Utf8 => f.write_str("a name or text in the lock key is not UTF-8"),
            KeyError::NotCanonical => f.write_str("the lock key is not in its canonical form"),
            KeyError::Name => {
                write!(f, "a name in the lock key is empty or longer than {NAME_BYTES_MAX} bytes")
            }
        }
    }
}

impl std::error::Error for KeyError {}

/// The canonical encoding of a [`LockKey`]: what is compared, sent and stored.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EncodedKey(Arc<[u8]>);

impl EncodedKey {
    /// Reads an encoding that came from outside.
    ///
    /// # Errors
    /// [`KeyError`] if the bytes are not exactly one key in its canonical form.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        LockKey::decode(bytes)?;
        Ok(EncodedKey(bytes.into()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The structure behind the bytes.
    #[must_use]
    pub fn decode(&self) -> LockKey {
        LockKey::decode(&self.0).expect("an encoded key is checked when it is made")
    }

    /// The key of the table in which this key lies: itself, if it is a table's.
    #[must_use]
    pub fn table(&self) -> EncodedKey {
        if self.is_table() { self.clone() } else { EncodedKey::of_table(self.table_bytes()) }
    }

    /// Whether this is a table's key.
    pub(crate) fn is_table(&self) -> bool {
        self.0[self.table_bytes().len()] == KIND_TABLE
    }

    /// The bytes with which every key of its table begins, and no key of another table.
    pub(crate) fn table_bytes(&self) -> &[u8] {
        let name_length = usize::from(u16::from_be_bytes([self.0[1], self.0[2]]));
        &self.0[..3 + name_length]
    }

    /// The key of a table, from what [`EncodedKey::table_bytes`] returned.
    pub(crate) fn of_table(bytes: &[u8]) -> EncodedKey {
        EncodedKey(bytes.iter().copied().chain([KIND_TABLE]).collect())
    }
}

impl fmt::Debug for EncodedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.decode())
    }
}

/// For people: `account[7]`, `account.email["a@b"]`, `account.*`.
impl fmt::Display for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.table)?;
        match &self.kind {
            KeyKind::Row => {}
            KeyKind::Unique(index) => write!(f, ".{index}")?,
            KeyKind::Table => return f.write_str(".*"),
        }
        let mut list = f.debug_list();
        for value in &self.values {
            match value {
                KeyValue::Integer(value) => list.entry(value),
                KeyValue::Unsigned(value) => list.entry(value),
                KeyValue::Float(bits) => list.entry(&f64::from_bits(*bits)),
                KeyValue::Text(value) => list.entry(value),
                KeyValue::Bytes(value) => list.entry(value),
            };
        }
        list.finish()
    }
}

impl LockKey {
    /// The canonical encoding.
    ///
    /// # Errors
    /// [`KeyError::Name`] or [`KeyError::NotCanonical`] if the parts do not make a key.
    pub fn encode(&self) -> Result<EncodedKey, KeyError> {
        let mut out = vec![VERSION];
        put_name(&mut out, &self.table)?;
        match &self.kind {
            KeyKind::Row => out.push(KIND_ROW),
            KeyKind::Unique(index) => {
                out.push(KIND_UNIQUE);
                put_name(&mut out, index)?;
            }
            KeyKind::Table => out.push(KIND_TABLE),
        }
        if self.values.is_empty() != (self.kind == KeyKind::Table) {
            return Err(KeyError::NotCanonical);
        }
        for value in &self.values {
            put_value(&mut out, value)?;
        }
        Ok(EncodedKey(out.into()))
    }

    /// The structure behind an encoding.
    ///
    /// # Errors
    /// [`KeyError`] if the bytes are not exactly one key in its canonical form.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut input = Input(bytes);
        match input.byte()? {
            VERSION => {}
            other => return Err(KeyError::Version(other)),
        }
        let table = input.name()?;
        let kind = match input.byte()? {
            KIND_ROW => KeyKind::Row,
            KIND_UNIQUE => KeyKind::Unique(input.name()?),
            KIND_TABLE => KeyKind::Table,
            other => return Err(KeyError::Tag(other)),
        };
        let mut values = Vec::new();
        while !input.0.is_empty() {
            values.push(input.value()?);
        }
        if values.is_empty() != (kind == KeyKind::Table) {
            return Err(KeyError::NotCanonical);
        }
        Ok(LockKey { table, kind, values })
    }
}

fn put_name(out: &mut Vec<u8>, name: &str) -> Result<(), KeyError> {
    let length = u16::try_from(name.len()).map_err(|_| KeyError::Name)?;
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(KeyError::Name);
    }
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(name.as_bytes());
    Ok(())
}

fn put_value(out: &mut Vec<u8>, value: &KeyValue) -> Result<(), KeyError> {
    if !is_canonical(value) {
        return Err(KeyError::NotCanonical);
    }
    match value {
        KeyValue::Integer(value) => {
            out.push(TAG_INTEGER);
            out.extend_from_slice(&(value.cast_unsigned() ^ SIGN_BIT).to_be_bytes());
        }
        KeyValue::Unsigned(value) => {
            out.push(TAG_UNSIGNED);
            out.extend_from_slice(&value.to_be_bytes());
        }
        KeyValue::Float(bits) => {
            out.push(TAG_FLOAT);
            out.extend_from_slice(&bits.to_be_bytes());
        }
        KeyValue::Text(text) => put_bytes(out, TAG_TEXT, text.as_bytes())?,
        KeyValue::Bytes(bytes) => put_bytes(out, TAG_BYTES, bytes)?,
    }
    Ok(())
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) -> Result<(), KeyError> {
    let length = u32::try_from(bytes.len()).map_err(|_| KeyError::Length)?;
    out.push(tag);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

fn is_canonical(value: &KeyValue) -> bool {
    match value {
        KeyValue::Integer(_) | KeyValue::Text(_) | KeyValue::Bytes(_) => true,
        KeyValue::Unsigned(number) => KeyValue::unsigned(*number) == *value,
        KeyValue::Float(bits) => KeyValue::float(f64::from_bits(*bits)) == *value,
    }
}

/// The rest of an encoding, read from the front.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], KeyError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(KeyError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], KeyError> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("take returns as many bytes as were asked for"))
    }

    fn byte(&mut self) -> Result<u8, KeyError> {
        Ok(self.array::<1>()?[0])
    }

    fn name(&mut self) -> Result<String, KeyError> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        if length == 0 || length > NAME_BYTES_MAX {
            return Err(KeyError::Name);
        }
        text(self.take(length)?)
    }

    fn sized(&mut self) -> Result<&'a [u8], KeyError> {
        let length =
            usize::try_from(u32::from_be_bytes(self.array()?)).map_err(|_| KeyError::Length)?;
        self.take(length)
    }

    fn value(&mut self) -> Result<KeyValue, KeyError> {
        let value = match self.byte()? {
            TAG_INTEGER => {
                KeyValue::Integer((u64::from_be_bytes(self.array()?) ^ SIGN_BIT).cast_signed())
            }
            TAG_UNSIGNED => KeyValue::Unsigned(u64::from_be_bytes(self.array()?)),
            TAG_FLOAT => KeyValue::Float(u64::from_be_bytes(self.array()?)),
            TAG_TEXT => KeyValue::Text(text(self.sized()?)?),
            TAG_BYTES => KeyValue::Bytes(self.sized()?.to_vec()),
            other => return Err(KeyError::Tag(other)),
        };
        if is_canonical(&value) { Ok(value) } else { Err(KeyError::NotCanonical) }
    }
}

fn text(bytes: &[u8]) -> Result<String, KeyError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| KeyError::Utf8)
}

#[cfg(test)]
mod tests;
