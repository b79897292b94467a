//! The hardest rule of AT, as a pure function: may a row be put back?
//!
//! ```text
//! current = after image   -> Restore           nobody touched it since phase one
//! current = before image  -> AlreadyRestored   somebody put it back
//! anything else           -> DirtyWrite        someone passed the global lock: touch nothing
//! ```
//!
//! A row that came out of the branch as it went in is restored like every other: it may have changed
//! in between, and other rows may have taken in the meantime what it gave up.
//!
//! An image of `None` means that the row did not exist. Rows are compared as the captured values
//! are, so `R` holds every stored column of the row and its `Eq` is byte for byte.

/// What to do with one row at rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum RowRestore {
    /// Put the before image back.
    Restore,
    /// The branch changed the row, and the before image is there again: leave it.
    AlreadyRestored,
    /// The row equals neither image: change nothing in this branch and park it.
    DirtyWrite,
}

/// Judges one row from what it was, what phase one made of it, and what it is now.
pub fn plan_restore<R: Eq + ?Sized>(
    before: Option<&R>,
    after: Option<&R>,
    current: Option<&R>,
) -> RowRestore {
    // The order matters where both images are equal: the row takes part in what is undone.
    if current == after {
        RowRestore::Restore
    } else if current == before {
        RowRestore::AlreadyRestored
    } else {
        RowRestore::DirtyWrite
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_restored_only_from_the_after_image() {
        use RowRestore::{AlreadyRestored, DirtyWrite, Restore};
        let rows = [None, Some(&1), Some(&2), Some(&3)];
        let plan = |before: usize, after: usize, current: usize| {
            plan_restore(rows[before], rows[after], rows[current])
        };
        // An update of 1 to 2.
        assert_eq!(plan(1, 2, 2), Restore);
        assert_eq!(plan(1, 2, 1), AlreadyRestored);
        assert_eq!(plan(1, 2, 3), DirtyWrite);
        assert_eq!(plan(1, 2, 0), DirtyWrite, "deleted behind our back");
        // An insert of 2, and a delete of 1.
        assert_eq!(plan(0, 2, 2), Restore);
        assert_eq!(plan(0, 2, 0), AlreadyRestored);
        assert_eq!(plan(0, 2, 3), DirtyWrite);
        assert_eq!(plan(1, 0, 0), Restore);
        assert_eq!(plan(1, 0, 1), AlreadyRestored);
        assert_eq!(plan(1, 0, 2), DirtyWrite, "someone inserted the key anew");
        // There and back, and came and went.
        assert_eq!(plan(1, 1, 1), Restore);
        assert_eq!(plan(1, 1, 2), DirtyWrite);
        assert_eq!(plan(0, 0, 0), Restore);
    }
}
