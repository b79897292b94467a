//! A change that is sent for the rows of its image alone.
//!
//! An image and the change are two statements here, each of which chooses rows. Where the rows' own
//! columns decide, and all that meet the condition are meant, they cannot choose differently unnoticed:
//! the image locks its rows, so these stay, and others are counted. What a subquery, another table, a
//! clock or a limit decides may have changed in between. There the change is sent with the keys of the
//! image's rows beside its own condition:
//!
//! ```text
//! UPDATE t SET … WHERE c ORDER BY o LIMIT n
//! UPDATE t SET … WHERE (c) AND COALESCE(1, n) AND t.id IN (…) ORDER BY o
//! ```
//!
//! It changes no other row then, and if it changes fewer, that is counted.
//!
//! Easy to get wrong: parameters have no numbers. Those of the keys are bound last, so nothing that
//! stands behind the keys may have any.

use std::collections::HashSet;
use std::iter::repeat_n;

use sqlx::{AssertSqlSafe, MySql, SqlSafeStr};

use super::compile::swallow;
use super::dialect::{quote, spell};
use crate::at::engine::{Restricted, Statement};
use crate::at::error::AtError;
use crate::at::plan::{Change, Part, Refused, Source};
use crate::at::table::Table;
use crate::db::{Row, Value, add_mysql_value};

/// How many rows a statement that is sent so may change. 8192: a transaction of a business has some
/// hundreds, and the keys are in one text.
const ROWS_MAX: usize = 8192;
/// What the protocol counts parameters with.
const PARAMETERS_MAX: usize = u16::MAX as usize;

/// The statement with a gap for the keys.
///
/// # Errors
/// [`Refused`] where a parameter would stand behind the gap.
pub(super) fn restricted(
    change: &Change,
    rows: &Source,
    order: Option<&Part>,
) -> Result<Restricted, Refused> {
    if order.is_some_and(|order| order.parameters > 0) {
        return Err(Refused::new(
            format!("change of `{}`", change.table),
            "its ORDER BY has parameters, and its rows are chosen by more than their own columns",
            "write the values into the ORDER BY, or choose the rows with a SELECT first, and change \
             them by their keys",
        ));
    }
    let limit = rows.limit.as_ref().and_then(|limit| swallow(limit.parameters));
    let condition = rows.condition.as_ref().map(|condition| format!("({})", condition.sql));
    let conditions = condition.into_iter().chain(limit).map(|condition| condition + " AND ");
    let order = order.map(|order| format!(" {}", order.sql)).unwrap_or_default();
    Ok(Restricted {
        start: format!(
            "{} WHERE {}",
            &change.text.sql[..rows.head],
            conditions.collect::<String>()
        ),
        target: change.target.clone(),
        end: order,
    })
}

/// The statement for these rows.
///
/// # Errors
/// [`AtError::Refused`] if they are too many; nothing was sent then.
pub(super) fn statement(
    statement: &Statement<MySql>,
    restricted: &Restricted,
    table: &Table,
    rows: &[Row],
) -> Result<Statement<MySql>, AtError> {
    let mut seen = HashSet::with_capacity(rows.len());
    let keys = rows.iter().map(|row| table.primary.iter().map(|place| &row[*place]).collect());
    let keys: Vec<Vec<&Value>> = keys.filter(|key| seen.insert(Vec::clone(key))).collect();
    let mut arguments = statement.arguments.clone().unwrap_or_default();
    let room = PARAMETERS_MAX.saturating_sub(sqlx::Arguments::len(&arguments));
    // Few lengths, so that few texts are prepared.
    let count = if keys.is_empty() { 0 } else { keys.len().next_power_of_two() };
    if count > ROWS_MAX || count * table.primary.len() > room {
        return Err(too_many(table));
    }
    let padding = keys.last().into_iter().flat_map(|key| repeat_n(key, count - keys.len()));
    let padded: Vec<&Vec<&Value>> = keys.iter().chain(padding).collect();
    for value in padded.iter().flat_map(|key| key.iter()) {
        add_mysql_value(&mut arguments, value)
            .map_err(|error| AtError::Database(sqlx::Error::Encode(error)))?;
    }
    let sql = format!(
        "{}{}{}",
        restricted.start,
        condition(table, &restricted.target, &padded),
        restricted.end
    );
    Ok(Statement {
        sql: AssertSqlSafe(sql).into_sql_str(),
        arguments: Some(arguments),
        persistent: statement.persistent,
    })
}

/// That a row has one of these keys.
fn condition(table: &Table, target: &str, keys: &[&Vec<&Value>]) -> String {
    if keys.is_empty() {
        return "FALSE".to_owned();
    }
    let column = |place: usize| &table.columns[table.primary[place]];
    let name = |place: usize| format!("{target}.{}", quote(&column(place).source));
    if let [_] = *table.primary {
        let values = keys.iter().map(|key| spell(column(0), key[0], "?"));
        return format!("{} IN ({})", name(0), values.collect::<Vec<_>>().join(", "));
    }
    let equal = |(place, value): (usize, &&Value)| {
        format!("{} = {}", name(place), spell(column(place), value, "?"))
    };
    let row = |key: &&Vec<&Value>| {
        let equal = key.iter().enumerate().map(equal);
        format!("({})", equal.collect::<Vec<_>>().join(" AND "))
    };
    format!("({})", keys.iter().map(row).collect::<Vec<_>>().join(" OR "))
}

fn too_many(table: &Table) -> AtError {
    AtError::Refused(Refused::new(
        format!("change of `{}`", table.name),
        format!(
            "it chooses more than {ROWS_MAX} rows (or too many parameters of their keys) by a \
             subquery, another table, a clock or a limit"
        ),
        "change fewer rows in one statement, or by a condition on the table's own columns",
    ))
}
