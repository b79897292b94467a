//! Reading declared sagas: all that have not ended at start, one for whoever asks.
//!
//! A saga has its input and a step its result in it, so rows with much in them come one by one, as
//! [`read`](super::read) does it for branches.

use std::sync::Arc;

use pactum_core::id::XidNumber;
use pactum_core::saga::{Defined, SagaRow, StepRow};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, SqlitePool};

use super::read::{page, pages, reading, text};
use super::rows::Fields;
use super::saga_rows::{DEFINITION, SAGA, STEP};
use crate::store::{Error, codec};

/// A row with more bytes than this in its values is read by itself.
const SMALL_BYTES_MAX: u32 = 4096;

pub(super) async fn definitions(
    connection: &mut SqliteConnection,
) -> Result<Vec<Arc<Defined>>, Error> {
    let doing = "read the definitions of sagas";
    let sql = format!("SELECT {} FROM saga_definition ORDER BY rowid", DEFINITION.text);
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await;
    let rows = rows.map_err(reading(doing))?;
    let rows = rows.iter().map(|row| Fields::of(text(row, 0)?).definition());
    codec::definitions(rows.collect::<Result<_, _>>()?)
}

pub(super) async fn unfinished(
    connection: &mut SqliteConnection,
) -> Result<(Vec<SagaRow>, Vec<StepRow>), Error> {
    let size = "length(saga.input) + ifnull(length(saga.words), 0)";
    let from = "FROM global_transaction CROSS JOIN saga USING (xid) WHERE status < 10";
    let small = format!(
        "{from} AND global_transaction.xid > ?1 AND {size} <= {SMALL_BYTES_MAX} \
         ORDER BY global_transaction.xid"
    );
    let mut decode = |fields: &mut Fields<'_>| {
        let row = fields.saga()?;
        Ok(((row.xid.0, 0), row))
    };
    let doing = "read the unfinished sagas";
    let mut sagas = pages(connection, doing, page(SAGA.text, &small), &mut decode).await?;
    let large = format!("SELECT {} {from} AND {size} > {SMALL_BYTES_MAX}", SAGA.text);
    let large = sqlx::query(AssertSqlSafe(large)).fetch_all(&mut *connection).await;
    for row in large.map_err(reading(doing))? {
        sagas.push(Fields::of(text(&row, 0)?).saga()?);
    }
    sagas.sort_by_key(|row| row.xid);
    Ok((sagas, steps(connection).await?))
}

async fn steps(connection: &mut SqliteConnection) -> Result<Vec<StepRow>, Error> {
    let size = "ifnull(length(result), 0) + ifnull(length(report), 0)";
    let from = "FROM global_transaction CROSS JOIN saga_step USING (xid) WHERE status < 10";
    let small = format!(
        "{from} AND global_transaction.xid >= ?1 AND (saga_step.xid > ?1 OR slot >= ?2) \
         AND {size} <= {SMALL_BYTES_MAX} ORDER BY global_transaction.xid, slot"
    );
    // The first slot is 0, so the key of a page is the next one.
    let mut decode = |fields: &mut Fields<'_>| {
        let row = fields.step()?;
        Ok(((row.xid.0, u64::from(row.slot.0) + 1), row))
    };
    let doing = "read the unfinished steps";
    let mut steps = pages(connection, doing, page(STEP.text, &small), &mut decode).await?;
    let large = format!("SELECT {} {from} AND {size} > {SMALL_BYTES_MAX}", STEP.text);
    let large = sqlx::query(AssertSqlSafe(large)).fetch_all(connection).await;
    for row in large.map_err(reading(doing))? {
        steps.push(Fields::of(text(&row, 0)?).step()?);
    }
    steps.sort_by_key(|row| (row.xid, row.slot));
    Ok(steps)
}

/// One saga with its steps, in one snapshot.
pub(super) async fn saga(
    readers: &SqlitePool,
    xid: XidNumber,
) -> Result<Option<(SagaRow, Vec<StepRow>)>, Error> {
    let doing = "read a saga";
    let Ok(number) = i64::try_from(xid.0) else { return Ok(None) };
    let mut reader = readers.begin().await.map_err(reading(doing))?;
    let sql = format!("SELECT {} FROM saga WHERE xid = ?", SAGA.text);
    let row = sqlx::query(AssertSqlSafe(sql)).bind(number).fetch_optional(&mut *reader).await;
    let Some(row) = row.map_err(reading(doing))? else { return Ok(None) };
    let saga = Fields::of(text(&row, 0)?).saga()?;
    let sql = format!("SELECT {} FROM saga_step WHERE xid = ? ORDER BY slot", STEP.text);
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(number).fetch_all(&mut *reader).await;
    let rows = rows.map_err(reading(doing))?;
    let steps = rows.iter().map(|row| Fields::of(text(row, 0)?).step());
    Ok(Some((saga, steps.collect::<Result<_, _>>()?)))
}
