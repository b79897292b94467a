//! The rows of the bare store for sagas of two steps: the fewest that the protocol needs.
//!
//! ```text
//! insert transaction + saga │ insert step 1 │ insert step 2 + update: ended
//! ```
//!
//! That is five rows in three batches.

use std::path::Path;

use anyhow::Result;
use sqlx::sqlite::SqliteArguments;
use tokio::time::Duration;

use crate::bare::{self, Batch, Each, Statement, add, insert, put_number, update};
use crate::report::Line;

const EACH: Each = Each { rows: 5, batches: 3 };
const COMMITTED: u8 = 10;

/// Writes batches of about `rows_a_batch` rows for `duration`.
pub(super) async fn measure(
    directory: &Path,
    rows_a_batch: f64,
    duration: Duration,
) -> Result<Line> {
    bare::measure(directory, EACH, rows_a_batch, duration, |generation| {
        let plan = Plan::new(generation);
        move |number| plan.batch(number)
    })
    .await
}

/// The statements of every batch.
struct Plan {
    generation: u64,
    put_transaction: Statement,
    put_saga: Statement,
    put_step: Statement,
    set_committed: Statement,
}

impl Plan {
    fn new(generation: u64) -> Self {
        Plan {
            generation,
            put_transaction: insert(
                "global_transaction (xid, name, status, timeout_ms, begun_at)",
                "(?, 'two', 1, 316224000000, 1800000000000)",
            ),
            put_saga: insert("saga (xid, name, version, input, paused)", "(?, 'two', 1, ?, 0)"),
            put_step: insert("saga_step (xid, slot, state, took_place, result)", "(?, ?, 2, 1, ?)"),
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
        self.put_transaction.add(&mut batch, &members(0), put_number);
        self.put_saga.add(&mut batch, &members(0), put_saga);
        let steps = [2, 1].into_iter();
        let rows = steps.flat_map(|age| members(age).into_iter().map(move |xid| (xid, age - 1)));
        self.put_step.add(&mut batch, &rows.collect::<Vec<_>>(), put_step);
        self.set_committed.add(&mut batch, &members(2), put_number);
        batch
    }
}

fn put_saga(arguments: &mut SqliteArguments, xid: u64) {
    put_number(arguments, xid);
    add(arguments, b"null".to_vec());
}

fn put_step(arguments: &mut SqliteArguments, (xid, slot): (u64, u64)) {
    put_number(arguments, xid);
    put_number(arguments, slot);
    add(arguments, b"null".to_vec());
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::*;
    use crate::bare::{open, write};

    #[tokio::test]
    async fn every_generation_ends_and_leaves_its_steps() {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = open(&directory.path().join("rows.db")).await.unwrap();
        let plan = Plan::new(3);
        for number in 0..10 {
            write(&mut connection, plan.batch(number)).await.unwrap();
        }
        let text = "SELECT count(*), sum(status = 10), (SELECT count(*) FROM saga), \
                    (SELECT count(*) FROM saga_step) FROM global_transaction";
        let counts = sqlx::query(text).fetch_one(&mut connection).await.unwrap();
        let count = |column| counts.get::<i64, _>(column);
        // Ten generations of three have begun; the last has no step, the one before it one.
        assert_eq!((count(0), count(1), count(2)), (30, 24, 30));
        assert_eq!(count(3), 27 + 24);
    }
}
