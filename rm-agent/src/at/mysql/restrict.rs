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

use sqlparser::dialect::MySqlDialect as Tokens;
use sqlparser::tokenizer::{Token, Tokenizer};
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

/// Functions that look at nothing but their arguments, and words that may stand before a parenthesis.
const OWN: [&str; 62] = [
    "abs",
    "all",
    "and",
    "as",
    "ascii",
    "between",
    "binary",
    "case",
    "cast",
    "ceil",
    "ceiling",
    "char",
    "char_length",
    "coalesce",
    "concat",
    "concat_ws",
    "convert",
    "crc32",
    "date",
    "datetime",
    "day",
    "decimal",
    "div",
    "else",
    "field",
    "find_in_set",
    "floor",
    "greatest",
    "hex",
    "if",
    "ifnull",
    "in",
    "instr",
    "interval",
    "is",
    "isnull",
    "least",
    "left",
    "length",
    "like",
    "locate",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "mod",
    "month",
    "not",
    "nullif",
    "or",
    "regexp",
    "replace",
    "right",
    "round",
    "rpad",
    "rtrim",
    "substr",
    "substring",
    "then",
    "trim",
    "upper",
    "xor",
];

/// What reads more than the row, or asks a clock, without a parenthesis behind it. A column may be
/// called so; then its statement is sent with keys for nothing.
const FOREIGN: [&str; 20] = [
    "select",
    "with",
    "table",
    "values",
    "exists",
    "match",
    "join",
    "straight_join",
    "next",
    "previous",
    "nextval",
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "utc_date",
    "utc_time",
    "utc_timestamp",
    "lateral",
];

/// Whether a row is chosen by its own columns, whatever else changes.
pub(super) fn is_chosen_by_itself(rows: &Source) -> bool {
    let parts = [&rows.condition, &rows.order].into_iter().flatten();
    rows.with.is_none()
        && rows.joined.is_none()
        && rows.limit.is_none()
        && reads_own_columns(&rows.from, Commas::JoinTables)
        && parts.into_iter().all(|part| reads_own_columns(part, Commas::ListValues))
}

/// What a comma means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Commas {
    JoinTables,
    ListValues,
}

fn reads_own_columns(part: &Part, commas: Commas) -> bool {
    let tokens = Tokenizer::new(&Tokens {}, &part.sql).with_unescape(false).tokenize();
    let Ok(tokens) = tokens else { return false };
    let tokens: Vec<&Token> =
        tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect();
    let before = |at: usize| at.checked_sub(1).map(|at| tokens[at]);
    tokens.iter().enumerate().all(|(at, token)| match token {
        Token::Word(word) => {
            let name = word.value.to_ascii_lowercase();
            let is_plain = word.quote_style.is_none();
            let is_called = tokens.get(at + 1).is_some_and(|next| **next == Token::LParen);
            // `other.lower(…)` is somebody's own.
            let is_qualified = before(at) == Some(&Token::Period);
            if is_called {
                is_plain && !is_qualified && OWN.contains(&name.as_str())
            } else {
                !is_plain || !(FOREIGN.contains(&name.as_str()) || name.starts_with('@'))
            }
        }
        // A variable.
        Token::AtSign => false,
        Token::Placeholder(name) => name == "?",
        Token::Comma | Token::LParen => commas == Commas::ListValues,
        // Numbers, texts, parameters, operators.
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::at::plan::{ChangeKind, Plan, plan};
    use crate::db::Kind;

    fn is_own(statement: &str) -> bool {
        let Ok(Plan::Change(change)) = plan(statement, Kind::Mysql) else { panic!("{statement}") };
        match &change.kind {
            ChangeKind::Update(update) => is_chosen_by_itself(&update.rows),
            ChangeKind::Delete(rows) => is_chosen_by_itself(rows),
            ChangeKind::Insert(_) => panic!("{statement}"),
        }
    }

    #[test]
    fn a_row_that_its_own_columns_choose_needs_no_key() {
        for statement in [
            "UPDATE t SET a = (SELECT max(x) FROM s) WHERE id = ?",
            "UPDATE t SET a = NOW()",
            "UPDATE `t` AS x SET a = 1 WHERE x.id IN (?, ?) AND lower(b) LIKE 'x%' ORDER BY a, id",
            "UPDATE d.t SET a = 1 WHERE NOT (a = 1 OR `now` = 2) AND b BETWEEN 1 AND (2 + 3)",
            "DELETE FROM t WHERE at < '2024-01-01' - INTERVAL 1 DAY AND f = 'SELECT now()'",
            "DELETE FROM t",
        ] {
            assert!(is_own(statement), "{statement}");
        }
    }

    #[test]
    fn what_more_than_its_own_columns_chooses_is_sent_with_keys() {
        for statement in [
            "UPDATE t SET a = 1 WHERE id IN (SELECT id FROM s)",
            "UPDATE t SET a = 1 WHERE EXISTS (SELECT 1 FROM s)",
            "UPDATE t SET a = 1 WHERE at < NOW()",
            "UPDATE t SET a = 1 WHERE at < CURRENT_TIMESTAMP",
            "UPDATE t SET a = 1 WHERE at < utc_timestamp - INTERVAL 1 DAY",
            "UPDATE t SET a = 1 WHERE a = @x",
            "UPDATE t SET a = 1 WHERE a = @@timestamp",
            "UPDATE t SET a = 1 WHERE own(a)",
            "UPDATE t SET a = 1 WHERE `lower`(a) = 'x'",
            "UPDATE t SET a = 1 WHERE d.lower(a) = 'x'",
            "UPDATE t SET a = 1 ORDER BY own(a)",
            "UPDATE t SET a = 1 LIMIT 1",
            "UPDATE t, s SET t.a = 1 WHERE t.id = s.id",
            "UPDATE t JOIN s ON t.id = s.id SET t.a = 1",
            "DELETE t FROM t STRAIGHT_JOIN s ON t.id = s.id",
            "UPDATE t SET a = 1 WHERE MATCH (a) AGAINST ('x')",
        ] {
            assert!(!is_own(statement), "{statement}");
        }
    }
}
