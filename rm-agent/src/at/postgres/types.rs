//! How values of each type are captured, put back and compared.
//!
//! A column is captured as text, which PostgreSQL reads back exactly for nearly every type. The
//! exceptions are here: `char` without a length, whose cast to text drops blanks; `"char"`, whose high
//! half is no UTF-8; and names of catalog objects, which mean something else under another
//! search_path.
//!
//! As a key a text will do only where equal values have equal texts. 1.0 and 1.00 are one number, and
//! a collation may hold `a` and `A` equal: such a column has a second captured form, computed by the
//! database, so that nothing here has to know how it compares.

use crate::at::table::Wrap;

/// A type, down to what a domain is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Type {
    /// Its number in the catalog.
    pub(super) oid: i64,
    /// Its name, if it is built in.
    pub(super) name: String,
    /// The name of its elements' type if it is an array of a built-in type.
    pub(super) element: String,
    pub(super) is_enum: bool,
    pub(super) is_array: bool,
    /// Whether the database can hash its values as it compares them.
    pub(super) hashable: bool,
    /// As a cast names it, wherever the search_path points.
    pub(super) cast: String,
}

/// What of a value tells which values are equal to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Its captured text.
    Captured,
    /// A number without trailing zeros.
    Trimmed,
    /// A text of fixed length without its padding.
    Unpadded,
    /// A hash by which equal values are equal; others may be too, and then too much is locked.
    Hashed,
    /// The same with the bounds of an array, which its hash leaves out: under equal hashes it is another
    /// row all the same.
    HashedWithBounds,
}

/// Types whose equal values have one captured text.
const CANONICAL: [&str; 26] = [
    "bit",
    "bool",
    "bytea",
    "char",
    "date",
    "int2",
    "int4",
    "int8",
    "macaddr",
    "macaddr8",
    "name",
    "oid",
    "pg_lsn",
    "regclass",
    "regconfig",
    "regnamespace",
    "regrole",
    "regtype",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "uuid",
    "varbit",
    "varchar",
    "xid8",
];

/// Types that hold the number of a catalog object and show its name.
const REGISTERED: [&str; 11] = [
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
];

const TEXT: &str = "::pg_catalog.text";

impl Type {
    /// Around the column, where it is captured.
    pub(super) fn capture(&self) -> Wrap {
        let wrap = |before: &'static str, after: String| Wrap {
            before: before.into(),
            after: after.into(),
        };
        match self.name.as_str() {
            "bpchar" => wrap("pg_catalog.textin(pg_catalog.bpcharout(", "))".to_owned()),
            "char" => wrap("", format!("::pg_catalog.int4{TEXT}")),
            name if REGISTERED.contains(&name) => wrap("", format!("::pg_catalog.oid{TEXT}")),
            _ if REGISTERED.contains(&self.element.as_str()) => {
                wrap("", format!("::pg_catalog.oid[]{TEXT}"))
            }
            _ => wrap("", TEXT.to_owned()),
        }
    }

    /// Around the parameter, where it is written back or looked for.
    pub(super) fn restore(&self) -> Wrap {
        let through = match self.name.as_str() {
            "char" => "::pg_catalog.int4",
            name if REGISTERED.contains(&name) => "::pg_catalog.oid",
            _ if REGISTERED.contains(&self.element.as_str()) => "::pg_catalog.oid[]",
            _ => "",
        };
        Wrap { before: "".into(), after: format!("{TEXT}{through}::{}", self.cast).into() }
    }

    /// How a key of this type is told apart under a collation; `None` if it cannot be.
    pub(super) fn form(&self, deterministic: bool) -> Option<Form> {
        let name = self.name.as_str();
        let hashed = if self.is_array { Form::HashedWithBounds } else { Form::Hashed };
        if !deterministic {
            return self.hashable.then_some(hashed);
        }
        match name {
            "numeric" => Some(Form::Trimmed),
            "bpchar" => Some(Form::Unpadded),
            _ if self.is_enum || CANONICAL.contains(&name) => Some(Form::Captured),
            _ => self.hashable.then_some(hashed),
        }
    }

    /// Whether a value of the one type and an equal one of the other have the same form.
    pub(super) fn compares_like(&self, other: &Type) -> bool {
        const FAMILIES: [&[&str]; 2] = [&["int2", "int4", "int8"], &["text", "varchar"]];
        let together = |family: &&[&str]| {
            family.contains(&self.name.as_str()) && family.contains(&other.name.as_str())
        };
        self.oid == other.oid || FAMILIES.iter().any(together)
    }

    /// Whether its text depends on `lc_monetary`.
    pub(super) fn is_money(&self) -> bool {
        self.name == "money" || self.element == "money"
    }
}

impl Form {
    /// Around the column, in the form in which it is compared.
    pub(super) fn capture(self) -> Option<Wrap> {
        let wrap = |before: &'static str, after: &'static str| {
            Some(Wrap { before: before.into(), after: after.into() })
        };
        match self {
            Form::Captured => None,
            Form::Trimmed => wrap("pg_catalog.trim_scale(", ")::pg_catalog.text"),
            Form::Unpadded => wrap("", TEXT),
            Form::HashedWithBounds => wrap(
                "(SELECT pg_catalog.concat(pg_catalog.hash_record_extended(ROW(v), 0), \
                 pg_catalog.array_dims(v)) FROM (SELECT ",
                ") s(v))",
            ),
            Form::Hashed => wrap("pg_catalog.hash_record_extended(ROW(", "), 0)::pg_catalog.text"),
        }
    }
}
