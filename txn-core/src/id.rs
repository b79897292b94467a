//! The names of things: every id is a type of its own, so that two of them can never be swapped.
//!
//! Only [`Xid`] is text to the outside; it is opaque to everyone but [`Xid::from_str`]. Inside a
//! group a transaction is known by its [`XidNumber`] alone, because a transaction lives in one
//! group.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest group name, in bytes.
pub const GROUP_NAME_BYTES_MAX: usize = 24;
/// The longest resource id, in bytes.
pub const RESOURCE_ID_BYTES_MAX: usize = 128;

/// Why a text is not the id it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A group name is 1 to 24 characters of `a-z`, `0-9` and `-`.
    GroupName,
    /// An XID is `<group>:<decimal>`, with the decimal from 1 to 2^63 - 1 and no leading zero.
    Xid,
    /// A resource id is 1 to 128 printable ASCII characters without blanks.
    ResourceId,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::GroupName => "a group name is 1 to 24 characters of a-z, 0-9 and `-`",
            Malformed::Xid => "an XID is `<group>:<number>`, as begin returned it",
            Malformed::ResourceId => {
                "a resource id is 1 to 128 printable ASCII characters without blanks"
            }
        })
    }
}

impl std::error::Error for Malformed {}

/// The name of a group: an independent world with one writer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(Arc<str>);

impl GroupName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GroupName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let fits = (1..=GROUP_NAME_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(allowed) {
            Ok(GroupName(text.into()))
        } else {
            Err(Malformed::GroupName)
        }
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A transaction's number within its group: 1 to 2^63 - 1, ordered by time of begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct XidNumber(pub u64);

impl XidNumber {
    /// The greatest number: it must fit the signed integers of every store.
    pub const MAX: XidNumber = XidNumber(i64::MAX as u64);
}

impl fmt::Display for XidNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a global transaction: `<group>:<number>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xid {
    /// The group in which the transaction lives.
    pub group: GroupName,
    /// Its number there.
    pub number: XidNumber,
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.group, self.number)
    }
}

impl FromStr for Xid {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (group, number) = text.split_once(':').ok_or(Malformed::Xid)?;
        // One transaction has one spelling: `+7` and `07` would parse, and would not compare equal
        // to what the barrier rows hold.
        let canonical =
            number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
        let number = number.parse().ok().filter(|_| canonical).ok_or(Malformed::Xid)?;
        if number > XidNumber::MAX.0 {
            return Err(Malformed::Xid);
        }
        let group = group.parse().map_err(|_| Malformed::Xid)?;
        Ok(Xid { group, number: XidNumber(number) })
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id! {
    /// The id of a branch, unique within the coordinator; the agent names it from its block.
    BranchId(u64)
}
number_id! {
    /// A resource's number in its group: what branches, locks and store rows carry for it.
    ResourceNumber(u32)
}
number_id! {
    /// A nested scope within its transaction: a random number that the transaction manager chose,
    /// so that opening one costs no round trip. Never 0.
    ScopeId(u64)
}
number_id! {
    /// One attachment of an agent, never re-used while the coordinator runs.
    SessionId(u64)
}
number_id! {
    /// The number of a coordinator's leadership of a group; stale epochs cannot write.
    Epoch(u64)
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:032x})"), self.0)
            }
        }

        impl $name {
            /// The id from its 16 bytes, big-endian; `None` for any other length.
            #[must_use]
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(|bytes| $name(u128::from_be_bytes(bytes)))
            }

            /// Its 16 bytes, big-endian.
            #[must_use]
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }
        }
    };
}

random_id! {
    /// One running agent: a process that begins transactions, owns branches, or both.
    NodeId
}
random_id! {
    /// A coordinator's store, random from its creation. An agent acts only for the store that made
    /// a row.
    StoreId
}
random_id! {
    /// A participant's database, random from the creation of the agent's tables in it.
    ResourceUid
}

/// The declared, logical id of a resource, such as `bank-a`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId(Arc<str>);

impl ResourceId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ResourceId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let fits = (1..=RESOURCE_ID_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(ResourceId(text.into()))
        } else {
            Err(Malformed::ResourceId)
        }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_xid_has_one_spelling() {
        let xid: Xid = "default:42".parse().unwrap();
        assert_eq!(xid.to_string(), "default:42");
        for wrong in [
            "",
            "default",
            "default:",
            ":1",
            "Default:1",
            "d:0",
            "d:01",
            "d:+1",
            "d:-1",
            "d: 1",
            "d:1 ",
            "d:1:2",
            "d:9223372036854775808",
            "dääh:1",
        ] {
            assert_eq!(wrong.parse::<Xid>(), Err(Malformed::Xid), "{wrong:?}");
        }
        assert!("d:9223372036854775807".parse::<Xid>().is_ok());
    }

    #[test]
    fn names_have_bounds() {
        assert!("a".repeat(24).parse::<GroupName>().is_ok());
        assert!("a".repeat(25).parse::<GroupName>().is_err());
        assert!("a".repeat(128).parse::<ResourceId>().is_ok());
        assert!("a".repeat(129).parse::<ResourceId>().is_err());
        assert!("two words".parse::<ResourceId>().is_err());
    }
}
