//! The name of a prepared transaction: what tells ours from everybody else's.
//!
//! ```text
//! PostgreSQL       'pactum1:<store>:<database>:<branch>:<xid>'
//! MySQL, MariaDB   X'<xid>', X'<store>:<database>:<branch>', <format>
//! ```
//!
//! It carries the version of its format, the store of the coordinator that made the transaction, the
//! beginning of the database's uid (a MySQL server lists the prepared transactions of all its
//! databases), the XID and the branch. All of it is ASCII, so that an operator can read it in the
//! database's list.
//!
//! Easy to get wrong: the limits. PostgreSQL takes less than 200 bytes, MySQL 64 for each part; the
//! longest name has 115, and 44 with 61. A test holds them.

use std::fmt::Write as _;

use pactum_core::id::{BranchId, ResourceUid, StoreId, Xid};

use crate::branch::BranchKey;

/// Begins every name of ours on PostgreSQL, and holds the version of the format.
const PREFIX: &str = "pactum1";
/// The `formatID` of our names on MySQL and MariaDB: `PX01`, version 1.
pub(super) const FORMAT: i64 = 0x5058_3031;

/// Which prepared transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) key: BranchKey,
    pub(crate) store: StoreId,
    pub(crate) database: DatabaseMark,
}

/// Which database: enough of its uid to tell it from its neighbours on one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DatabaseMark(u32);

impl From<ResourceUid> for DatabaseMark {
    fn from(uid: ResourceUid) -> Self {
        let bytes = uid.to_bytes();
        DatabaseMark(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}

impl Name {
    /// Whether it is another branch of the same global transaction.
    pub(super) fn is_beside(&self, other: &Name) -> bool {
        (&self.key.xid, self.store) == (&other.key.xid, other.store)
            && self.key.branch != other.key.branch
    }

    /// As PostgreSQL takes it, without its quotes; nothing in it needs escaping.
    pub(super) fn postgres(&self) -> String {
        format!("{PREFIX}:{}:{}", self.second(), self.key.xid)
    }

    pub(super) fn from_postgres(text: &str) -> Option<Name> {
        let rest = text.strip_prefix(PREFIX)?.strip_prefix(':')?;
        let end = rest.match_indices(':').nth(2)?.0;
        Name::from_parts(&rest[end + 1..], &rest[..end])
    }

    /// The list of three that MySQL takes.
    pub(super) fn mysql(&self) -> String {
        let (first, second) = (self.key.xid.to_string(), self.second());
        format!("X'{}',X'{}',{FORMAT}", hex(&first), hex(&second))
    }

    /// From what its list shows: the format, the length of the first part, and both parts as one.
    pub(super) fn from_mysql(format: i64, first: i64, data: &str) -> Option<Name> {
        if format != FORMAT {
            return None;
        }
        let (first, second) = data.split_at_checked(usize::try_from(first).ok()?)?;
        Name::from_parts(first, second)
    }

    fn second(&self) -> String {
        format!("{}:{:08x}:{}", self.store, self.database.0, self.key.branch)
    }

    fn from_parts(xid: &str, second: &str) -> Option<Name> {
        let xid: Xid = xid.parse().ok()?;
        let mut parts = second.split(':');
        let (store, database, branch) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || store.len() != 32 || database.len() != 8 {
            return None;
        }
        let name = Name {
            key: BranchKey { xid, branch: BranchId(branch.parse().ok()?) },
            store: StoreId(u128::from_str_radix(store, 16).ok()?),
            database: DatabaseMark(u32::from_str_radix(database, 16).ok()?),
        };
        // One branch has one spelling: what is written otherwise was not written by us.
        (name.second() == second).then_some(name)
    }
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::with_capacity(2 * text.len()), |mut out, byte| {
        write!(out, "{byte:02x}").expect("a string takes everything");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(xid: &str, branch: u64) -> Name {
        Name {
            key: BranchKey { xid: xid.parse().unwrap(), branch: BranchId(branch) },
            store: StoreId(0x5707),
            database: DatabaseMark::from(ResourceUid(u128::MAX - 1)),
        }
    }

    #[test]
    fn a_name_is_read_back_as_it_was_written() {
        for name in [name("default:1", 1), name("a-b-c:9223372036854775807", u64::MAX)] {
            assert_eq!(Name::from_postgres(&name.postgres()), Some(name.clone()));
            let first = name.key.xid.to_string();
            let data = format!("{first}{}", name.second());
            let length = i64::try_from(first.len()).unwrap();
            assert_eq!(Name::from_mysql(FORMAT, length, &data), Some(name));
        }
    }

    #[test]
    fn the_longest_name_fits_every_database() {
        let longest = name(&format!("{}:9223372036854775807", "g".repeat(24)), u64::MAX);
        assert!(longest.postgres().len() < 200);
        assert!(longest.key.xid.to_string().len() <= 64);
        assert!(longest.second().len() <= 64);
        assert!(i32::try_from(FORMAT).is_ok());
    }

    #[test]
    fn what_others_prepared_is_none_of_ours() {
        let ours = name("default:7", 3);
        let text = ours.postgres();
        for other in [
            "",
            "pactum1",
            "pactum1:",
            "order-17",
            &text.replace("pactum1", "pactum2"),
            &text.replace("default:7", "default:07"),
            &text.replace(":3:", ":+3:"),
            &text.replace(":3:", ":03:"),
            &text.to_uppercase(),
            &format!("{text}0:1"),
            &format!(" {text}"),
        ] {
            assert_eq!(Name::from_postgres(other), None, "{other:?}");
        }
        let data = format!("default:7{}", ours.second());
        assert_eq!(Name::from_mysql(1, 9, &data), None);
        assert_eq!(Name::from_mysql(FORMAT, 8, &data), None);
        assert_eq!(Name::from_mysql(FORMAT, 900, &data), None);
        assert_eq!(Name::from_mysql(FORMAT, -1, &data), None);
    }
}
