//! A change on its way through: image, change, image, note.
//!
//! What is noted is what the database says it did: the rows that RETURNING gave, as many as it
//! counted, each with the image that was read before. Anything else leaves the connection to be
//! rolled back.

use std::collections::HashMap;

use futures_util::TryStreamExt;
use pactum_core::lock::key::KeyValue;
use sqlx::Either;

use super::cache::ReadyChange;
use super::connection::{AtConnection, Health, LOST};
use super::engine::{AtDatabase, Statement, Step, last_values};
use super::error::AtError;
use super::keys;
use super::plan::ChangeKind;
use super::undo::RowChange;
use crate::db::{Failure, Row, Value};

const CUT_SHORT: &str = "a statement was cut short";
const DRIFTED: &str = "a statement changed other rows than its image showed";

impl<DB: AtDatabase> AtConnection<DB> {
    /// Runs a change, and notes what it did.
    pub(super) async fn change(
        &mut self,
        ready: &ReadyChange,
        statement: &mut Statement<DB>,
    ) -> Result<Vec<Step<DB>>, AtError> {
        self.use_schema(ready.table.schema_version)?;
        let before = match &ready.compiled.before {
            Some(sql) => self.read_images(ready, statement.with_sql(sql)).await?,
            None => Vec::new(),
        };
        // From here on a dropped future leaves a change that nobody noted.
        self.health = Health::OnlyRollback(CUT_SHORT);
        let steps = match self.collect_change(statement.with_sql(&ready.compiled.change)).await {
            Ok(steps) => steps,
            Err(error) => return Err(self.change_failed(error)),
        };
        let (images, affected, steps) = split_images::<DB>(ready, steps)?;
        let rows = pair(ready, before, images).filter(|rows| rows.len() as u64 == affected);
        let Some(rows) = rows else {
            self.health = Health::OnlyRollback(DRIFTED);
            return Err(AtError::OnlyRollback { why: DRIFTED });
        };
        self.note(ready, rows)?;
        self.health = Health::Sound;
        Ok(steps)
    }

    /// A statement that the database refused as a whole changed nothing. After anything else, SQLite
    /// may have rolled back by itself, and what follows would run outside of any transaction.
    fn change_failed(&mut self, error: sqlx::Error) -> AtError {
        self.shared.cache.clear();
        self.health = match DB::classify(&error) {
            Failure::Unique | Failure::Constraint | Failure::Statement => Health::Sound,
            Failure::Busy | Failure::Other => Health::OnlyRollback(LOST),
        };
        AtError::Database(error)
    }

    /// The rows that a change is about to meet.
    async fn read_images(
        &mut self,
        ready: &ReadyChange,
        statement: Statement<DB>,
    ) -> Result<Vec<Row>, AtError> {
        let limit = self.shared.options.undo_log_bytes_max;
        let mut left = limit.saturating_sub(self.gathered.undo_bytes);
        let width = ready.table.columns.len();
        let mut images = Vec::new();
        let mut steps = DB::run(&mut self.local, statement);
        let outcome = loop {
            match steps.try_next().await {
                Ok(None) => break Ok(images),
                Ok(Some(Either::Left(_))) => {}
                Ok(Some(Either::Right(row))) => {
                    let image = DB::last_values(&row, width).map_err(AtError::Database)?;
                    let bytes: usize = image.iter().map(Value::size).sum();
                    match left.checked_sub(bytes) {
                        Some(rest) => left = rest,
                        None => break Err(AtError::UndoLogTooLarge { limit }),
                    }
                    images.push(image);
                }
                Err(error) => break Err(AtError::Database(error)),
            }
        };
        drop(steps);
        if let Err(AtError::Database(error)) = &outcome {
            self.note_failure(error);
        }
        outcome
    }

    fn note(&mut self, ready: &ReadyChange, rows: Vec<RowChange>) -> Result<(), AtError> {
        let table = &ready.table;
        for row in &rows {
            let keys = &mut self.gathered.keys;
            keys::add_change_keys(keys, table, row.before(), row.after())
                .map_err(|problem| AtError::from_key(problem, &table.name))?;
            // A guarded local transaction has no undo log to keep.
            if self.context.is_some() {
                self.gathered.undo_bytes += row.size();
            }
        }
        let limit = self.shared.options.undo_log_bytes_max;
        if self.gathered.undo_bytes > limit {
            return Err(AtError::UndoLogTooLarge { limit });
        }
        if !rows.is_empty() && self.context.is_some() {
            self.gathered.undo.push(table, rows);
        }
        Ok(())
    }

    async fn collect_change(
        &mut self,
        statement: Statement<DB>,
    ) -> Result<Vec<Step<DB>>, sqlx::Error> {
        DB::run(&mut self.local, statement).try_collect().await
    }
}

/// The images that a change returned, how many rows it says it changed, and what the user gets of
/// its steps.
#[allow(clippy::type_complexity, reason = "three things that belong together once")]
fn split_images<DB: AtDatabase>(
    ready: &ReadyChange,
    steps: Vec<Step<DB>>,
) -> Result<(Vec<Row>, u64, Vec<Step<DB>>), AtError> {
    let images = last_values::<DB>(&steps, ready.table.columns.len())?;
    let affected = steps.iter().map(|step| match step {
        Either::Left(result) => DB::rows_affected(result),
        Either::Right(_) => 0,
    });
    let affected = affected.sum();
    let steps = steps.into_iter().filter(|step| ready.returning || step.is_left()).collect();
    Ok((images, affected, steps))
}

/// Brings before and after images together; `None` if they are not about the same rows.
fn pair(ready: &ReadyChange, before: Vec<Row>, images: Vec<Row>) -> Option<Vec<RowChange>> {
    match ready.kind {
        ChangeKind::Insert => Some(images.into_iter().map(RowChange::Inserted).collect()),
        ChangeKind::Delete => Some(images.into_iter().map(RowChange::Deleted).collect()),
        ChangeKind::Update { .. } => {
            let table = &ready.table;
            let mut by_key: HashMap<Vec<KeyValue>, Row> = HashMap::with_capacity(before.len());
            for row in before {
                if by_key.insert(keys::identity(table, &row).ok()?, row).is_some() {
                    return None;
                }
            }
            let mut rows = Vec::with_capacity(images.len());
            for after in images {
                let before = by_key.remove(&keys::identity(table, &after).ok()?)?;
                rows.push(RowChange::Updated { before, after });
            }
            by_key.is_empty().then_some(rows)
        }
    }
}
