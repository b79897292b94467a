//! A value as a database stores it, and how an undo log spells it.
//!
//! ```text
//! null                                  Null
//! 7, 18446744073709551615               Integer, Unsigned
//! "text"                                Text
//! {"float":"3ff8000000000000","is":"1.5"}   Float: the bits count, the rest is for people
//! {"bytes":"00ff"}                      Bytes
//! {"text":"61ff"}                       RawText: text that is not UTF-8
//! ```
//!
//! Values are compared byte for byte: `-0.0` is not `0.0`, and one NaN is not another. What the
//! *database* holds equal is the lock keys' business.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Value {
    /// SQL's NULL.
    Null,
    /// A signed whole number.
    Integer(i64),
    /// A whole number above `i64::MAX`.
    Unsigned(u64),
    /// The bits of a floating-point number.
    Float(u64),
    /// Text.
    Text(String),
    /// Text that is not UTF-8: read as bytes, put back as text.
    RawText(Vec<u8>),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Value {
    pub(crate) fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    /// About how many bytes this takes in an undo log.
    pub(crate) fn size(&self) -> usize {
        match self {
            Value::Null => 5,
            Value::Integer(_) | Value::Unsigned(_) => 12,
            Value::Float(_) => 48,
            Value::Text(text) => text.len() + 3,
            Value::RawText(bytes) | Value::Bytes(bytes) => bytes.len() * 2 + 13,
        }
    }

    pub(crate) fn as_integer(&self) -> Option<i64> {
        match self {
            Value::Integer(value) => Some(*value),
            Value::Null
            | Value::Unsigned(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::RawText(_)
            | Value::Bytes(_) => None,
        }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            Value::Null
            | Value::Integer(_)
            | Value::Unsigned(_)
            | Value::Float(_)
            | Value::RawText(_)
            | Value::Bytes(_) => None,
        }
    }
}

/// For people: as an SQL literal would read.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("NULL"),
            Value::Integer(value) => value.fmt(f),
            Value::Unsigned(value) => value.fmt(f),
            Value::Float(bits) => write!(f, "{:?}", f64::from_bits(*bits)),
            Value::Text(text) => write!(f, "'{text}'"),
            Value::RawText(bytes) => write!(f, "CAST(x'{}' AS TEXT)", hex(bytes)),
            Value::Bytes(bytes) => write!(f, "x'{}'", hex(bytes)),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some((digit(*high)? << 4) | digit(*low)?)).collect()
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Spelled {
    Null,
    Integer(i64),
    Unsigned(u64),
    Text(String),
    Float(FloatSpelled),
    Bytes(BytesSpelled),
    RawText(RawTextSpelled),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FloatSpelled {
    float: String,
    is: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BytesSpelled {
    bytes: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTextSpelled {
    text: String,
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Integer(value) => serializer.serialize_i64(*value),
            Value::Unsigned(value) => serializer.serialize_u64(*value),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Float(bits) => {
                let is = format!("{:?}", f64::from_bits(*bits));
                FloatSpelled { float: format!("{bits:016x}"), is }.serialize(serializer)
            }
            Value::Bytes(bytes) => BytesSpelled { bytes: hex(bytes) }.serialize(serializer),
            Value::RawText(bytes) => RawTextSpelled { text: hex(bytes) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let malformed = || de::Error::custom("a value is not spelled as the undo log spells it");
        Ok(match Spelled::deserialize(deserializer)? {
            Spelled::Null => Value::Null,
            Spelled::Integer(value) => Value::Integer(value),
            Spelled::Unsigned(value) => Value::Unsigned(value),
            Spelled::Text(text) => Value::Text(text),
            Spelled::Float(value) if value.float.len() == 16 => {
                Value::Float(u64::from_str_radix(&value.float, 16).map_err(|_| malformed())?)
            }
            Spelled::Float(_) => return Err(malformed()),
            Spelled::Bytes(value) => Value::Bytes(unhex(&value.bytes).ok_or_else(malformed)?),
            Spelled::RawText(value) => Value::RawText(unhex(&value.text).ok_or_else(malformed)?),
        })
    }
}

#[cfg(test)]
pub(crate) mod test_values {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::Value;

    /// Any value.
    pub(crate) fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::Integer),
            (i64::MAX as u64 + 1..=u64::MAX).prop_map(Value::Unsigned),
            any::<u64>().prop_map(Value::Float),
            any::<String>().prop_map(Value::Text),
            vec(any::<u8>(), 0..8).prop_map(Value::Bytes),
            vec(128_u8..=255, 1..4).prop_map(Value::RawText),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::test_values::value;
    use super::*;

    proptest! {
        #[test]
        fn a_value_survives_its_spelling(value in value()) {
            let spelled = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&spelled).unwrap(), value);
        }
    }

    #[test]
    fn people_can_read_the_spelling() {
        let values = [
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Unsigned(u64::MAX),
            Value::Float((-0.0_f64).to_bits()),
            Value::text("a\0\"ü"),
            Value::Bytes(vec![0, 255]),
            Value::RawText(vec![0x61, 0xff]),
        ];
        assert_eq!(
            serde_json::to_string(&values).unwrap(),
            concat!(
                r#"[null,-9223372036854775808,18446744073709551615,"#,
                r#"{"float":"8000000000000000","is":"-0.0"},"a\u0000\"ü","#,
                r#"{"bytes":"00ff"},{"text":"61ff"}]"#
            )
        );
    }

    #[test]
    fn a_wrong_spelling_is_refused() {
        for wrong in [
            r#"{"bytes":"0"}"#,
            r#"{"bytes":"0G"}"#,
            r#"{"bytes":"00","text":"00"}"#,
            r#"{"float":"1","is":"1"}"#,
            "1.5",
            "true",
            "[]",
            "{}",
        ] {
            assert!(serde_json::from_str::<Value>(wrong).is_err(), "{wrong}");
        }
    }
}
