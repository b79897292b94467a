//! A change on its way through: image, change, image, note.
//!
//! What is noted is what the database says it did: the images that it returned or that lie under the
//! same keys, as many as it counted. Anything else leaves the connection to be rolled back.

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt;
use pactum_core::lock::key::KeyValue;
use sqlx::Either;

use super::cache::ReadyChange;
use super::connection::{AtConnection, CUT_SHORT, Health};
use super::engine::{AtDatabase, Statement, Step, Written, Yields, last_values};
use super::error::AtError;
use super::keys;
use super::plan::{ChangeKind, OnConflict};
use super::table::Table;
use super::told::Told;
use super::undo::RowChange;
use crate::db::{Failure, Row, Value};

const HALF_DONE: &str = "an upsert failed, and what it did before may not have been undone";
const DRIFTED: &str = "a statement changed other rows than its image showed";
const STORED_OTHERWISE: &str = "the rows of an INSERT were not found under the keys that its text gives \
    them: the table stores them as others (a 0 for AUTO_INCREMENT, a text in a column of numbers): \
    write them as they are stored, or end it with RETURNING";
const OTHER_KEYS: &str = "the query of an INSERT gave other keys when it was asked for them than when \
    it was run, or the table stores them as others: read first, and INSERT the values";
const ONE_ROW_TWICE: &str = "an upsert, REPLACE or INSERT IGNORE wrote one row twice, by the same key or \
    by two: write each row once in a statement";
const TWO_ROWS_AT_ONCE: &str = "an upsert, REPLACE or INSERT IGNORE met other rows than those under the \
    keys in its text: one of its rows is in the way of two, or the table stores a key as another (a \
    text in a column of numbers): name one key, and write it as it is stored";
/// Rows that are read again by one statement.
const ROWS_PER_STATEMENT: usize = 200;

impl<DB: AtDatabase> AtConnection<DB> {
    /// Runs a change, and notes what it did.
    pub(super) async fn change(
        &mut self,
        ready: &ReadyChange,
        statement: &mut Statement<DB>,
    ) -> Result<Vec<Step<DB>>, AtError> {
        self.use_table(&ready.table)?;
        let width = ready.table.columns.len();
        self.gathered.assumed.repeatable_read |= ready.compiled.repeatable_read;
        let mut images = Images::default();
        let mut found_by = Vec::new();
        if let Some(written) = &ready.compiled.written {
            let values = statement.with_sql(&written.sql);
            found_by = self.read_images(ready, values, written.key.len()).await?;
            images.before = self.read_written(ready, written, &found_by).await?;
        }
        if let Some(sql) = &ready.compiled.before {
            images.before = self.read_images(ready, statement.with_sql(sql), width).await?;
        }
        let change = DB::change_to_send(statement, &ready.compiled, &ready.table, &images.before)?;
        // From here on a dropped future leaves a change that nobody noted.
        self.health = Health::OnlyRollback(CUT_SHORT);
        let steps = match self.collect_change(change).await {
            Ok(steps) => steps,
            Err(error) => return Err(self.change_failed(ready, error).await),
        };
        let (affected, steps) = images.take_returned::<DB>(ready, steps)?;
        if let Some(sql) = &ready.compiled.after {
            let width = width + usize::from(ready.compiled.numbered);
            images.after = self.read_images(ready, statement.with_sql(sql), width).await?;
            if ready.compiled.numbered && !images.take_numbers() {
                return Err(self.drifted(ready));
            }
            images.note_made(ready)?;
            images.note_one_row_twice(ready);
        }
        if let Some(written) = &ready.compiled.written {
            images.after = self.read_written(ready, written, &found_by).await?;
        }
        if let Some(read) = images.to_be_read(ready) {
            let again = self.read_again(&ready.table, &ready.table.primary, &read).await?;
            images.read_again(ready, again);
        }
        let twice = images.one_row_twice;
        let Some(rows) = images.pair(ready, affected) else {
            return Err(if twice {
                self.only_rollback(ONE_ROW_TWICE)
            } else {
                self.drifted(ready)
            });
        };
        self.note(ready, rows)?;
        self.health = Health::Sound;
        Ok(steps)
    }

    /// The images are not about the rows that were changed: somebody else committed in between, or, where
    /// nobody else could, the statement is such that they never will be.
    fn drifted(&mut self, ready: &ReadyChange) -> AtError {
        let compiled = &ready.compiled;
        if compiled.after.is_some() && compiled.before.is_none() {
            return self.only_rollback(STORED_OTHERWISE);
        }
        if compiled.after.is_some() {
            return self.only_rollback(TWO_ROWS_AT_ONCE);
        }
        if compiled.written.is_some() {
            return self.only_rollback(OTHER_KEYS);
        }
        if DB::WRITERS > 1 && !compiled.repeatable_read {
            self.health = Health::OnlyRollback(DRIFTED);
            return AtError::Drifted(Told::default());
        }
        self.only_rollback(DRIFTED)
    }

    fn only_rollback(&mut self, why: &'static str) -> AtError {
        self.health = Health::OnlyRollback(why);
        AtError::OnlyRollback { why }
    }

    /// A statement that the database refused as a whole changed nothing. After anything else it may
    /// have rolled back by itself, and what follows would run outside of any transaction.
    ///
    /// Of one that deals with conflicts by itself that is not sure: SQLite keeps no journal for it,
    /// so what it did before it failed on something else (a text for a row number) stays.
    async fn change_failed(&mut self, ready: &ReadyChange, error: sqlx::Error) -> AtError {
        let stays = matches!(&ready.kind, ChangeKind::Insert(insert)
            if insert.on_conflict != OnConflict::Fail);
        if DB::has_drifted(&error) {
            return self.drifted(ready);
        }
        self.health = if stays { Health::OnlyRollback(HALF_DONE) } else { Health::Sound };
        self.explain(ready, error).await
    }

    /// What an error of one of our statements means.
    async fn explain(&mut self, ready: &ReadyChange, error: sqlx::Error) -> AtError {
        self.note_failure(&error);
        // What was refused may be what we made of it, for a table that is no longer like that.
        if DB::classify(&error) == Failure::Statement && self.is_stale(&ready.table).await {
            return AtError::SchemaChanged(Told::default());
        }
        self.refused(error)
    }

    /// Whether a table is not, or no more, as its plans take it.
    async fn is_stale(&mut self, table: &Table) -> bool {
        let found = if DB::SURVIVES_ERRORS {
            DB::dialect().load(&mut *DB::sql(&mut self.local), &table.written).await
        } else {
            let Ok(mut local) = self.shared.own.begin().await else { return false };
            let found = DB::dialect().load(&mut *local, &table.name).await;
            local.rollback().await;
            found
        };
        found.is_ok_and(|found| found.is_none_or(|now| now.version != table.version))
    }

    /// Reads rows by a statement of the change's, the last `width` values of each.
    async fn read_images(
        &mut self,
        ready: &ReadyChange,
        statement: Statement<DB>,
        width: usize,
    ) -> Result<Vec<Row>, AtError> {
        let limit = self.shared.options.undo_log_bytes_max;
        let mut left = limit.saturating_sub(self.gathered.undo_bytes);
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
        match outcome {
            Err(AtError::Database(error)) => Err(self.explain(ready, error).await),
            outcome => outcome,
        }
    }

    /// The rows that have the values that a query gave: each once, in the order of the values, in
    /// which they may refer to each other.
    async fn read_written(
        &mut self,
        ready: &ReadyChange,
        written: &Written,
        values: &[Row],
    ) -> Result<Vec<Row>, AtError> {
        let table = &ready.table;
        let wanted = values.iter().filter(|values| !values.contains(&Value::Null)).map(|values| {
            let mut row = vec![Value::Null; table.columns.len()];
            for (place, value) in written.key.iter().zip(values) {
                row[*place] = value.clone();
            }
            row
        });
        let wanted: Vec<Row> = wanted.collect();
        let found = self.read_again(table, &written.key, &wanted).await?;
        let mut order: HashMap<Vec<&Value>, usize> = HashMap::with_capacity(values.len());
        for (place, values) in values.iter().enumerate() {
            order.entry(values.iter().collect()).or_insert(place);
        }
        let Some(mut found) = distinct(table, found) else { return Err(self.drifted(ready)) };
        found.sort_by_cached_key(|row| {
            let key: Vec<&Value> = written.key.iter().map(|place| &row[*place]).collect();
            order.get(&key).copied().unwrap_or(values.len())
        });
        Ok(found)
    }

    /// What lies under the keys of these rows now.
    async fn read_again(
        &mut self,
        table: &Table,
        key: &[usize],
        rows: &[Row],
    ) -> Result<Vec<Row>, AtError> {
        let mut found = Vec::with_capacity(rows.len());
        for chunk in rows.chunks(ROWS_PER_STATEMENT) {
            let keys: Vec<&Row> = chunk.iter().collect();
            let spoken = DB::dialect().select(table, key, &keys);
            let read = DB::sql(&mut self.local).query(&spoken.sql, &spoken.values).await;
            match read {
                Ok(rows) => found.extend(rows),
                Err(error) => {
                    self.health = Health::OnlyRollback(CUT_SHORT);
                    return Err(AtError::from_db(error));
                }
            }
        }
        Ok(found)
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

/// What is known of the rows of one change.
#[derive(Debug, Default)]
struct Images {
    before: Vec<Row>,
    after: Vec<Row>,
    /// The keys of rows that an upsert says it found, not made.
    found: HashSet<Vec<KeyValue>>,
    /// The keys of rows that a REPLACE says it made.
    made: HashSet<Vec<KeyValue>>,
    /// Whether two of the written values of an upsert found one row.
    one_row_twice: bool,
}

impl Images {
    /// Takes the images out of what a change returned. Returns how many rows it says it changed,
    /// and what the user gets.
    fn take_returned<DB: AtDatabase>(
        &mut self,
        ready: &ReadyChange,
        steps: Vec<Step<DB>>,
    ) -> Result<(u64, Vec<Step<DB>>), AtError> {
        let columns = ready.table.columns.len();
        let yields = ready.compiled.yields;
        for mut row in last_values::<DB>(&steps, yields.width(columns))? {
            match yields {
                Yields::Nothing => {}
                Yields::Before => self.before.push(row),
                Yields::After => self.after.push(row),
                Yields::BeforeAndAfter => {
                    self.after.push(row.split_off(columns));
                    self.before.push(row);
                }
                Yields::AfterAndNew => {
                    let is_new = row.pop().is_some_and(|mark| mark.as_text() == Some("new"));
                    if !is_new {
                        self.found.extend(keys::identity(&ready.table, &row));
                    }
                    self.after.push(row);
                }
            }
        }
        self.note_made(ready)?;
        let affected = steps.iter().map(|step| match step {
            Either::Left(result) => DB::rows_affected(result),
            Either::Right(_) => 0,
        });
        let affected = affected.sum();
        let steps = steps.into_iter().filter(|step| ready.returning || step.is_left()).collect();
        Ok((affected, steps))
    }

    /// Takes the numbers off the rows that were read by them. Whether each found one row at most.
    fn take_numbers(&mut self) -> bool {
        let mut seen = HashSet::with_capacity(self.after.len());
        self.after.iter_mut().all(|row| !row.is_empty() && seen.insert(row.remove(0)))
    }

    /// Of a REPLACE, the rows seen so far after the change are those that it made.
    fn note_made(&mut self, ready: &ReadyChange) -> Result<(), AtError> {
        if matches!(&ready.kind, ChangeKind::Insert(it) if it.on_conflict == OnConflict::Replace) {
            for row in &self.after {
                let key = keys::identity(&ready.table, row);
                let problem = |problem| AtError::from_key(problem, &ready.table.name);
                self.made.insert(key.map_err(problem)?);
            }
        }
        Ok(())
    }

    /// What was found by the values that an upsert wrote, value by value.
    fn note_one_row_twice(&mut self, ready: &ReadyChange) {
        if ready.compiled.before.is_some() {
            let mut seen = HashSet::with_capacity(self.after.len());
            let mut keys =
                self.after.iter().filter_map(|row| keys::identity(&ready.table, row).ok());
            self.one_row_twice = !keys.all(|key| seen.insert(key));
        }
    }

    /// The rows whose keys tell where the images after the change are still to be read.
    fn to_be_read(&self, ready: &ReadyChange) -> Option<Vec<Row>> {
        match &ready.kind {
            ChangeKind::Update(_) if ready.compiled.yields == Yields::Nothing => {
                Some(self.before.clone()).filter(|rows| !rows.is_empty())
            }
            ChangeKind::Insert(insert) => match insert.on_conflict {
                // A row of the statement may have replaced another one of it, and the image may be
                // of rows that were not in the way after all.
                OnConflict::Replace => {
                    let rows: Vec<Row> = self.before.iter().chain(&self.after).cloned().collect();
                    Some(rows).filter(|rows| rows.len() > 1)
                }
                // It may have changed the values that its rows are found by.
                OnConflict::Update { .. } if ready.compiled.after.is_some() => {
                    Some(self.before.clone()).filter(|rows| !rows.is_empty())
                }
                OnConflict::Fail | OnConflict::Skip | OnConflict::Update { .. } => None,
            },
            ChangeKind::Update(_) | ChangeKind::Delete(_) => None,
        }
    }

    /// Takes what was read by keys.
    fn read_again(&mut self, ready: &ReadyChange, rows: Vec<Row>) {
        match &ready.kind {
            ChangeKind::Insert(insert)
                if matches!(insert.on_conflict, OnConflict::Update { .. }) =>
            {
                self.after.extend(rows);
            }
            // In the order in which the statement met its rows: undone in any other order, one row
            // may want a unique value that another still has.
            ChangeKind::Update(_) => {
                let mut found = by_key(&ready.table, rows).unwrap_or_default();
                let order = self.before.iter();
                let order = order.filter_map(|row| keys::identity(&ready.table, row).ok());
                self.after = order.filter_map(|key| found.remove(&key)).collect();
            }
            ChangeKind::Insert(_) | ChangeKind::Delete(_) => self.after = rows,
        }
    }

    /// What happened to each row; `None` if the images are not about the rows that were changed.
    fn pair(self, ready: &ReadyChange, affected: u64) -> Option<Vec<RowChange>> {
        let table = &ready.table;
        let Images { before, after, found, made, one_row_twice: _ } = self;
        let rows: Vec<RowChange> = match &ready.kind {
            ChangeKind::Update(_) => {
                let mut before = by_key(table, before)?;
                let mut rows = Vec::with_capacity(after.len());
                for after in after {
                    let before = before.remove(&keys::identity(table, &after).ok()?)?;
                    rows.push(RowChange::Updated { before, after });
                }
                before.is_empty().then_some(rows)?
            }
            ChangeKind::Delete(_) => {
                let rows = distinct(table, before)?;
                rows.into_iter().map(RowChange::Deleted).collect()
            }
            ChangeKind::Insert(insert) => match &insert.on_conflict {
                OnConflict::Fail if before.is_empty() => {
                    after.into_iter().map(RowChange::Inserted).collect()
                }
                OnConflict::Fail | OnConflict::Skip => {
                    let before = by_key(table, before)?;
                    let mut rows = Vec::with_capacity(after.len());
                    for after in distinct(table, after)? {
                        // What was there before was skipped, or is another row.
                        if !before.contains_key(&keys::identity(table, &after).ok()?) {
                            rows.push(RowChange::Inserted(after));
                        }
                    }
                    rows
                }
                OnConflict::Update { .. } => {
                    let mut before = by_key(table, before)?;
                    let mut rows = Vec::with_capacity(after.len());
                    for after in distinct(table, after)? {
                        let key = keys::identity(table, &after).ok()?;
                        rows.push(match before.remove(&key) {
                            Some(before) => RowChange::Updated { before, after },
                            // Somebody else made it since the image was read.
                            None if found.contains(&key) => return None,
                            None => RowChange::Inserted(after),
                        });
                    }
                    rows
                }
                OnConflict::Replace => {
                    let is_made =
                        |row: &Row| keys::identity(table, row).is_ok_and(|key| made.contains(&key));
                    let (new, left): (Vec<Row>, Vec<Row>) =
                        distinct(table, after)?.into_iter().partition(is_made);
                    let left = by_key(table, left)?;
                    let is_left = |row: &Row| {
                        keys::identity(table, row).is_ok_and(|key| left.contains_key(&key))
                    };
                    let gone = distinct(table, before)?.into_iter().filter(|row| !is_left(row));
                    let gone = gone.map(RowChange::Deleted);
                    gone.chain(new.into_iter().map(RowChange::Inserted)).collect()
                }
            },
        };
        let changed = |row: &&RowChange| match row {
            RowChange::Updated { before, after } => before != after,
            RowChange::Inserted(_) | RowChange::Deleted(_) => false,
        };
        let mut count = rows.len();
        if ready.compiled.counts_changes_twice {
            count += rows.iter().filter(changed).count();
        }
        (!ready.compiled.counted || count as u64 == affected).then_some(rows)
    }
}

fn by_key(table: &Table, rows: Vec<Row>) -> Option<HashMap<Vec<KeyValue>, Row>> {
    let keyed = rows.into_iter().map(|row| Some((keys::identity(table, &row).ok()?, row)));
    keyed.collect()
}

/// Each row once, as it was seen last, in the order in which the rows were first seen.
fn distinct(table: &Table, rows: Vec<Row>) -> Option<Vec<Row>> {
    let mut places: HashMap<Vec<KeyValue>, usize> = HashMap::with_capacity(rows.len());
    let mut kept: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        match places.entry(keys::identity(table, &row).ok()?) {
            std::collections::hash_map::Entry::Occupied(place) => kept[*place.get()] = row,
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(kept.len());
                kept.push(row);
            }
        }
    }
    Some(kept)
}
