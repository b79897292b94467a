//! INSERT … SELECT: by what its rows are found, since only the query knows them.
//!
//! ```text
//! the query gives a unique key    its values are read first, and the rows that have them before
//!                                 and after: what came into being between is the INSERT's
//! the database makes the key      as many numbers as rows were written, from the first one on
//! neither                         refused, with RETURNING as the way out
//! ```
//!
//! Easy to get wrong: a query that is run twice may give other rows the second time, because it reads
//! its own target or because somebody wrote between. So nothing follows from its being the same: the
//! rows are looked at, and counted. An upsert also counts rows that it only found, so for one the
//! count would prove nothing, and it is refused.

use sqlparser::dialect::MySqlDialect as Tokens;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::compile::{all, captures, plain, swallow};
use super::dialect::quote;
use super::insert::{WRITTEN, refuse};
use super::table::Facts;
use crate::at::engine::{CompiledChange, Written};
use crate::at::plan::{Change, Insert, OnConflict, Part, Refused};
use crate::at::table::Table;

/// An INSERT or INSERT IGNORE from a query.
pub(super) fn insert(
    change: &Change,
    table: &Table,
    facts: &Facts,
    insert: &Insert,
    query: &Part,
) -> Result<CompiledChange, Refused> {
    let places: Option<Vec<usize>> = if insert.columns.is_empty() {
        Some(facts.visible.clone())
    } else {
        insert.columns.iter().map(|name| table.column(name)).collect()
    };
    let places = places.ok_or_else(|| refuse(table, "it names a column that is not there"))?;
    let made = facts
        .auto_increment
        .filter(|place| !places.contains(place) && facts.unique_keys.contains(&Some(vec![*place])));
    // What IGNORE skips may have taken a number all the same.
    if let Some(place) = made.filter(|_| insert.on_conflict == OnConflict::Fail)
        && facts.consecutive_numbers
    {
        let after = Some(numbered(change, table, place)?.into());
        return Ok(CompiledChange { after, ..plain(change) });
    }
    let given = |key: &&Vec<usize>| key.iter().all(|place| places.contains(place));
    let Some(key) = facts.unique_keys.iter().flatten().find(given) else {
        return Err(refuse(
            table,
            match made {
                Some(_) if insert.on_conflict == OnConflict::Fail => {
                    "a query decides how many rows it writes, and this server does not number them \
                     one after another (innodb_autoinc_lock_mode, or partitions)"
                }
                _ => "a query decides which rows it writes, and gives them no unique key",
            },
        ));
    };
    if is_unstable(query) {
        let why = "its query gives other rows each time it is asked, and it is asked for their keys \
                   first";
        return Err(refuse(table, why));
    }
    let written =
        Written { sql: values(change, table, facts, query, &places, key).into(), key: key.clone() };
    Ok(CompiledChange { written: Some(written), repeatable_read: true, ..plain(change) })
}

/// A read of as many rows as the INSERT before it wrote, from the first number that it got.
fn numbered(change: &Change, table: &Table, place: usize) -> Result<String, Refused> {
    if change.text.sql.to_ascii_lowercase().contains("last_insert_id") {
        return Err(refuse(table, "it may set the number by which its rows would be found"));
    }
    const STEP: &str = "@@auto_increment_increment";
    let name = quote(&table.name);
    let columns = captures(table, &all(table), Some(&name));
    let column = format!("{name}.{}", quote(&table.columns[place].source));
    let swallowed = swallow(change.text.parameters).map(|swallowed| swallowed + " AND ");
    let swallowed = swallowed.unwrap_or_default();
    Ok(format!(
        "SELECT {columns} FROM {name} WHERE {swallowed}{column} >= LAST_INSERT_ID() \
         AND {column} < LAST_INSERT_ID() + ROW_COUNT() * {STEP} \
         AND MOD({column}, {STEP}) = MOD(LAST_INSERT_ID(), {STEP}) ORDER BY {column} FOR UPDATE"
    ))
}

/// A read of the key's values, as they are captured once they are stored.
fn values(
    change: &Change,
    table: &Table,
    facts: &Facts,
    query: &Part,
    places: &[usize],
    key: &[usize],
) -> String {
    let value = |place: &usize| {
        let index = places.iter().position(|written| written == place).unwrap_or_default();
        let value = facts.compared[*place].around(&format!("{WRITTEN}.c{index}"));
        table.columns[*place].capture.around(&value)
    };
    let values = key.iter().map(value).collect::<Vec<_>>().join(", ");
    let names = (0..places.len()).map(|index| format!("c{index}")).collect::<Vec<_>>().join(", ");
    let rest = swallow(change.text.parameters.saturating_sub(query.parameters));
    let rest = rest.map(|rest| format!(" WHERE {rest}")).unwrap_or_default();
    let words = Words::of(query);
    let mut ending = String::new();
    // Else the order would be left out, and it tells which row may refer to which.
    if words.is_plain && words.has_any(&["order"]) && !words.has_any(&["limit", "fetch"]) {
        ending.push_str("LIMIT 18446744073709551615 ");
    }
    // The INSERT reads the newest rows and locks them, so this must, and not an old snapshot.
    if words.is_plain {
        ending.push_str("LOCK IN SHARE MODE");
    }
    let query = &query.sql;
    // The query may end in a comment.
    format!("WITH {WRITTEN} ({names}) AS ({query}\n{ending}) SELECT {values} FROM {WRITTEN}{rest}")
}

/// What gives another value each time, or counts how often it was asked. Others that do are found
/// out by looking at the rows.
const UNSTABLE: [&str; 12] = [
    "uuid",
    "uuid_short",
    "sys_guid",
    "rand",
    "random_bytes",
    "nextval",
    "next",
    "setval",
    "sysdate",
    "sleep",
    "last_insert_id",
    "row_count",
];

/// Whether a part of a statement calls such a function.
pub(super) fn is_unstable(part: &Part) -> bool {
    let tokens = Tokenizer::new(&Tokens {}, &part.sql).with_unescape(false).tokenize();
    let tokens = tokens.unwrap_or_default();
    let tokens: Vec<&Token> =
        tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect();
    tokens.windows(2).any(|pair| match pair {
        [Token::Word(word), next] => {
            let name = word.value.to_lowercase();
            let is_called = **next == Token::LParen
                || (name == "next" && matches!(next, Token::Word(next) if next.value.eq_ignore_ascii_case("value")));
            is_called && UNSTABLE.contains(&name.as_str())
        }
        _ => false,
    })
}

/// With which a clause at the end may not be one of the whole. What locks by itself is not planned.
const NOT_PLAIN: [&str; 5] = ["union", "except", "intersect", "minus", "values"];

/// The words of a query, in lower case.
struct Words {
    words: Vec<String>,
    /// Whether a clause at its end is one of the whole.
    is_plain: bool,
}

impl Words {
    fn of(query: &Part) -> Words {
        let tokens = Tokenizer::new(&Tokens {}, &query.sql).with_unescape(false).tokenize();
        // It was read once before.
        let tokens = tokens.unwrap_or_default();
        let word = |token: &Token| match token {
            Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_lowercase()),
            _ => None,
        };
        let words = tokens.iter().filter_map(word).collect();
        let mut words = Words { words, is_plain: false };
        words.is_plain =
            matches!(tokens.first(), Some(Token::Word(_))) && !words.has_any(&NOT_PLAIN);
        words
    }

    fn has_any(&self, some: &[&str]) -> bool {
        self.words.iter().any(|word| some.contains(&word.as_str()))
    }
}
