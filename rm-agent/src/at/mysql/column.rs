//! How a column is captured, written back, and compared in a key.
//!
//! Most types travel as text that the server itself makes. Two traps: a text whose character set has
//! codes that Unicode has not comes back as another one, so only known character sets travel as text
//! and the others as bytes; and the server's idea of equal text is its collation's, so such a key is
//! captured a second time as the weights that its index compares.

use std::borrow::Cow;

use crate::at::keys::Fold;
use crate::at::table::Wrap;
use crate::db::Row;

/// Character sets whose every text is the same text in Unicode.
const UNICODE: [&str; 6] = ["utf8mb4", "utf8mb3", "utf8", "ascii", "latin1", "utf16"];
/// Those whose collations give weights that were found exact, for every collation and many ugly
/// texts. Beside them, `big5`, `tis620`, `cp1250` and `latin7` gave wrong ones.
const WEIGHED: [&str; 9] =
    ["utf8mb4", "utf8mb3", "utf8", "ascii", "latin1", "utf16", "utf16le", "utf32", "ucs2"];

/// A column as the information schema describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawColumn {
    pub(super) name: String,
    /// Such as `varchar`.
    pub(super) data_type: String,
    /// Such as `varchar(20)`.
    pub(super) column_type: String,
    pub(super) character_set: String,
    pub(super) collation: String,
    /// How many characters a text can have.
    pub(super) length: i64,
    pub(super) extra: String,
    /// Whether a row that does not name it has NULL there.
    pub(super) is_null_by_default: bool,
}

impl RawColumn {
    pub(super) const QUERY: &'static str = "SELECT column_name, data_type, column_type, coalesce(character_set_name, ''), \
         coalesce(collation_name, ''), CAST(coalesce(character_maximum_length, 0) AS SIGNED), extra, \
         is_nullable = 'YES' AND coalesce(column_default, 'NULL') = 'NULL' \
         FROM information_schema.columns \
         WHERE table_schema = ?1 AND table_name = ?2 ORDER BY ordinal_position";

    pub(super) fn read(row: &Row) -> Self {
        let text = |index: usize| row[index].as_text().unwrap_or_default().to_owned();
        RawColumn {
            name: text(0),
            data_type: text(1).to_ascii_lowercase(),
            column_type: text(2).to_ascii_lowercase(),
            character_set: text(3),
            collation: text(4),
            length: row[5].as_integer().unwrap_or_default(),
            extra: text(6).to_ascii_lowercase(),
            is_null_by_default: row[7].as_integer() == Some(1),
        }
    }

    pub(super) fn is_generated(&self) -> bool {
        self.extra.contains("generated") && !self.extra.contains("default_generated")
    }

    pub(super) fn is_auto_increment(&self) -> bool {
        self.extra.contains("auto_increment")
    }

    pub(super) fn is_updated_by_itself(&self) -> bool {
        self.extra.contains("on update")
    }

    pub(super) fn is_invisible(&self) -> bool {
        self.extra.contains("invisible")
    }

    fn is_unsigned(&self) -> bool {
        self.column_type.contains("unsigned")
    }

    /// Around the column where it is captured, around the parameter where it is written; `None` for
    /// a type that is not known here.
    pub(super) fn wraps(&self) -> Option<(Wrap, Wrap)> {
        let plain = || (Wrap::default(), Wrap::default());
        let capture = |after: &'static str| (wrap("CAST(", after), Wrap::default());
        Some(match self.data_type.as_str() {
            // The driver takes `tinyint(1)` for a boolean.
            "tinyint" if self.is_unsigned() => capture(" AS UNSIGNED)"),
            "tinyint" => capture(" AS SIGNED)"),
            "smallint" | "mediumint" | "int" | "bigint" | "double" | "binary" | "varbinary"
            | "tinyblob" | "blob" | "mediumblob" | "longblob" | "geometry" | "point"
            | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
            | "geometrycollection" | "geomcollection" => plain(),
            // Compared with a text it would be rounded to a double.
            "decimal" => (Wrap::default(), wrap("CAST(", format!(" AS {})", self.precision()))),
            "float" => capture(" AS DOUBLE)"),
            "bit" | "year" => capture(" AS UNSIGNED)"),
            "date" | "time" | "datetime" | "timestamp" | "uuid" | "inet4" | "inet6" => {
                capture(" AS CHAR)")
            }
            "json" => (wrap("CAST(", " AS CHAR)"), wrap("CAST(", " AS JSON)")),
            // An empty member looks like the error value, whose number is 0.
            "enum" | "set" if self.has_empty_member() => {
                (wrap("CAST(", " AS UNSIGNED)"), Wrap::default())
            }
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum"
            | "set" => {
                if UNICODE.contains(&self.character_set.as_str()) {
                    plain()
                } else if matches!(self.data_type.as_str(), "enum" | "set") {
                    (wrap("CAST(", " AS UNSIGNED)"), Wrap::default())
                } else {
                    let after =
                        format!(" USING {}) COLLATE {}", self.character_set, self.collation);
                    (wrap("CAST(", " AS BINARY)"), wrap("CONVERT(", after))
                }
            }
            _ => return None,
        })
    }

    /// Around an expression that is compared with the column, or would be written to it.
    pub(super) fn compared(&self) -> Wrap {
        if self.is_text() {
            let after = format!(" USING {}) COLLATE {}", self.character_set, self.collation);
            return wrap("CONVERT(", after);
        }
        self.wraps().map(|(_, restore)| restore).unwrap_or_default()
    }

    /// What kind of whole number it holds, if it does.
    pub(super) fn whole(&self) -> Option<&'static str> {
        let is_whole = matches!(
            self.data_type.as_str(),
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint"
        );
        is_whole.then_some(if self.is_unsigned() { "UNSIGNED" } else { "SIGNED" })
    }

    /// `decimal(20,2)` of `decimal(20,2) unsigned`.
    fn precision(&self) -> &str {
        let end = self.column_type.find(')').map_or(self.column_type.len(), |end| end + 1);
        &self.column_type[..end]
    }

    fn has_empty_member(&self) -> bool {
        self.column_type.contains("('',")
            || self.column_type.contains(",'',")
            || self.column_type.ends_with(",'')")
            || self.column_type.ends_with("('')")
    }

    fn is_text(&self) -> bool {
        matches!(
            self.data_type.as_str(),
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext"
        )
    }

    /// In what form a key compares the column, or its first `prefix` characters or bytes. `None`
    /// where that is not known.
    pub(super) fn key_form(&self, prefix: Option<i64>) -> Option<KeyForm> {
        if !self.is_text() {
            return Some(match prefix {
                None => KeyForm::AsCaptured(Fold::Binary),
                Some(count) => KeyForm::Captured {
                    wrap: wrap("LEFT(", format!(", {count})")),
                    fold: Fold::Binary,
                },
            });
        }
        let pads = !self.collation.contains("nopad") && !self.collation.contains("_0900_");
        if self.collation.ends_with("_bin") && UNICODE.contains(&self.character_set.as_str()) {
            let fold = if pads { Fold::RTrim } else { Fold::Binary };
            return Some(match prefix {
                None => KeyForm::AsCaptured(fold),
                Some(count) => {
                    KeyForm::Captured { wrap: wrap("LEFT(", format!(", {count})")), fold }
                }
            });
        }
        let wrap = self.weights(pads, prefix)?;
        Some(KeyForm::Captured { wrap, fold: Fold::Binary })
    }

    /// The weights that an index compares, of equal texts the same.
    fn weights(&self, pads: bool, prefix: Option<i64>) -> Option<Wrap> {
        if !WEIGHED.contains(&self.character_set.as_str()) {
            return None;
        }
        let (open, close) = match prefix {
            None => (String::new(), String::new()),
            Some(count) => ("LEFT(".to_owned(), format!(", {count})")),
        };
        let levels = self.collation.contains("uca1400") || self.collation.ends_with("_w2");
        let (charset, collation) = (&self.character_set, &self.collation);
        Some(match (pads, levels) {
            (false, false) => wrap(format!("HEX(WEIGHT_STRING({open}"), format!("{close}))")),
            // Its weights differ for texts that it holds equal.
            (false, true) => return None,
            // Trailing blanks do not count, and neither does what weighs the same.
            (true, false) => wrap(
                format!(
                    "TRIM(TRAILING HEX(WEIGHT_STRING(CONVERT(' ' USING {charset}) COLLATE \
                     {collation})) FROM HEX(WEIGHT_STRING({open}"
                ),
                format!("{close})))"),
            ),
            // The blanks of one level lie before the next level: only the padded text is canonical.
            (true, true) => wrap(
                format!("SHA2(WEIGHT_STRING({open}"),
                format!("{close} AS CHAR({})), 256)", prefix.unwrap_or(self.length)),
            ),
        })
    }

    /// Whether equal values of the two have the same form in a key.
    pub(super) fn compares_like(&self, other: &RawColumn) -> bool {
        if self.whole().is_some() && other.whole().is_some() {
            return true;
        }
        if self.is_text() && other.is_text() {
            return self.collation == other.collation
                && self.key_form(None) == other.key_form(None);
        }
        self.data_type == other.data_type && self.column_type == other.column_type
    }
}

fn wrap(before: impl Into<Cow<'static, str>>, after: impl Into<Cow<'static, str>>) -> Wrap {
    Wrap { before: before.into(), after: after.into() }
}

/// The form of a column in a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyForm {
    /// The column as it is captured.
    AsCaptured(Fold),
    /// Captured once more, like this.
    Captured { wrap: Wrap, fold: Fold },
}
