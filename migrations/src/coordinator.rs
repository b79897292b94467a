//! What the coordinator runs on its own store at start.

/// A step of the coordinator's schema. The steps of a database, run in order on an empty one, make
/// the schema of this build; a released step never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its number, from 1 without a gap: the version that the schema has after it.
    pub version: u32,
    /// The statements.
    pub sql: &'static str,
}

/// The steps for SQLite.
pub const SQLITE: &[Migration] =
    &[Migration { version: 1, sql: include_str!("../coordinator/sqlite/0001_start.sql") }];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_numbered_from_one_without_a_gap() {
        let versions: Vec<u32> = SQLITE.iter().map(|step| step.version).collect();
        let expected: Vec<u32> = (1..).take(SQLITE.len()).collect();
        assert_eq!(versions, expected);
    }
}
