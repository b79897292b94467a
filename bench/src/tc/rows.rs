//! The rows of the bare store for global transactions: the fewest that the protocol needs.
//!
//! For a transaction with n branches:
//!
//! ```text
//! insert transaction + branch 1 │ insert branch 2 │ … │ update: decided │ update: ended
//! ```
//!
//! That is n + 3 rows, or one if there is no branch, in n + 2 batches.

use std::path::Path;

use anyhow::{Context as _, Result};
use sqlx::sqlite::SqliteArguments;
use tokio::time::Duration;

use crate::bare::{self, Batch, Each, Statement, add, insert, put_number, update};
use crate::client::key_of;
use crate::report::Line;

const COMMITTING: u8 = 2;
const COMMITTED: u8 = 10;

/// Row writes of one transaction.
pub(crate) fn rows_each(branches: usize) -> u64 {
    if branches == 0 { 1 } else { branches as u64 + 3 }
}

/// Writes batches of about `rows_a_batch` rows for `duration`.
pub(crate) async fn measure(
    directory: &Path,
    branches: usize,
    rows_a_batch: f64,
    duration: Duration,
) -> Result<Line> {
    let batches = u32::try_from(branches + 2).context("a handful of branches")?;
    let each = Each { rows: rows_each(branches), batches };
    bare::measure(directory, each, rows_a_batch, duration, |generation| {
        let plan = Plan::new(branches as u64, generation);
        move |number| plan.batch(number)
    })
    .await
}

/// The statements of every batch.
struct Plan {
    branches: u64,
    generation: u64,
    put_transaction: Statement,
    put_branch: Statement,
    set_committing: Statement,
    set_committed: Statement,
}

impl Plan {
    fn new(branches: u64, generation: u64) -> Self {
        Plan {
            branches,
            generation,
            put_transaction: insert(
                "global_transaction (xid, name, node, status, timeout_ms, begun_at)",
                "(?, 'bench', ?, 1, 3600000, 1800000000000)",
            ),
            put_branch: insert(
                "branch (xid, branch_id, sequence, node, resource, mode, lock_only, locks, \
                 phase_one, phase_two)",
                "(?, ?, 1, ?, 1, 1, 0, ?, 1, 1)",
            ),
            set_committing: update(COMMITTING, ""),
            set_committed: update(COMMITTED, ", ended_at = 1800000000000"),
        }
    }

    /// One batch: each of the generations under way comes one step further.
    fn batch(&self, number: u64) -> Batch {
        let first_of =
            |age: u64| number.checked_sub(age).map(|number| 1 + number * self.generation);
        let members = |age: u64| {
            let range = first_of(age).map_or(0..0, |first| first..first + self.generation);
            range.collect::<Vec<u64>>()
        };
        let mut batch = Vec::new();
        self.put_transaction.add(&mut batch, &members(0), put_transaction);
        if self.branches > 0 {
            // All branches of a batch go as the rows of the same statements.
            let ages = 0..self.branches;
            let rows = ages.flat_map(|age| members(age).into_iter().map(move |xid| (xid, age)));
            self.put_branch.add(&mut batch, &rows.collect::<Vec<_>>(), put_branch);
            self.set_committing.add(&mut batch, &members(self.branches), put_number);
            self.set_committed.add(&mut batch, &members(self.branches + 1), put_number);
        }
        batch
    }
}

fn put_transaction(arguments: &mut SqliteArguments, xid: u64) {
    put_number(arguments, xid);
    add(arguments, vec![7_u8; 16]);
}

fn put_branch(arguments: &mut SqliteArguments, (xid, age): (u64, u64)) {
    put_number(arguments, xid);
    put_number(arguments, xid * 8 + age);
    add(arguments, vec![7_u8; 16]);
    add(arguments, key_of(xid * 8 + age));
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::*;
    use crate::bare::{open, write};

    #[tokio::test]
    async fn every_generation_ends_and_leaves_its_branches() {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = open(&directory.path().join("rows.db")).await.unwrap();
        let plan = Plan::new(2, 3);
        for number in 0..10 {
            write(&mut connection, plan.batch(number)).await.unwrap();
        }
        let text = "SELECT count(*), sum(status = 10), sum(status = 2), \
                    (SELECT count(*) FROM branch) FROM global_transaction";
        let counts = sqlx::query(text).fetch_one(&mut connection).await.unwrap();
        let count = |column| counts.get::<i64, _>(column);
        // Ten generations of three have begun; those of the last batches are still under way.
        assert_eq!((count(0), count(1), count(2)), (30, 21, 3));
        assert_eq!(count(3), 30 + 27);
    }

    #[test]
    fn a_transaction_with_two_branches_needs_five_rows() {
        assert_eq!(rows_each(2), 5);
        assert_eq!(rows_each(0), 1);
    }
}
