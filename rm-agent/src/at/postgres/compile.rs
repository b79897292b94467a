//! What is run for a change, and which images come back with it.
//!
//! ```text
//! INSERT, DELETE          one statement: RETURNING gives the image
//! UPDATE                  one statement: its rows are read and locked in its FROM
//! UPDATE … FROM           SELECT … FOR NO KEY UPDATE, then UPDATE … RETURNING
//! INSERT … DO UPDATE      SELECT what is in the way FOR NO KEY UPDATE, then INSERT … RETURNING
//! ```
//!
//! Under READ COMMITTED each statement sees what was committed before it began. A row that came
//! between two of ours is in the one image and not in the other, and the change fails.
//!
//! Easy to get wrong: names of ours that hide the user's. Everything that is added is called
//! `__pactum_…`, and a bare `*` in the user's RETURNING is made to mean the table alone.
//!
//! The parameters keep their numbers: sqlx declares the types of all of them, so a part of a statement
//! runs with the whole list. It prepares by text alone, though, and two statements with differently
//! typed lists may have the same WHERE: what is derived from a part begins with a mark of the whole, and
//! of the table's version.

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::dialect::{capture, quote};
use crate::at::engine::{CompiledChange, CompiledRead, Yields};
use crate::at::plan::{
    Change, ChangeKind, ConflictTarget, Insert, InsertSource, LockingRead, OnConflict, Part,
    Refused, RowsRead, Source, Update,
};
use crate::at::table::{KeyColumn, Table};

/// The user's own subquery in an UPDATE of ours.
const BEFORE: &str = "__pactum_before";

pub(super) fn change(change: &Change, table: &Table) -> Result<CompiledChange, Refused> {
    let after = || captures(table, &change.target);
    let (before, text, yields) = match &change.kind {
        ChangeKind::Update(update) if update.rows.joined.is_none() => {
            (None, update_with_before(change, update, table), Yields::BeforeAndAfter)
        }
        ChangeKind::Update(update) => {
            let before = joined_before(&update.rows, &change.target, table);
            (Some(before), change.returning(&after()), Yields::After)
        }
        ChangeKind::Delete(_) => (None, change.returning(&after()), Yields::Before),
        ChangeKind::Insert(insert) => match &insert.on_conflict {
            OnConflict::Fail | OnConflict::Skip => {
                (None, change.returning(&after()), Yields::After)
            }
            OnConflict::Update { target, assigned: _ } => {
                let new = "CASE WHEN xmax = 0 THEN 'new' ELSE 'old' END AS __pactum_new";
                let columns = format!("{}, {new}", after());
                (
                    in_the_way(insert, target, table)?,
                    change.returning(&columns),
                    Yields::AfterAndNew,
                )
            }
            OnConflict::Replace => {
                return Err(Refused::new("REPLACE", "PostgreSQL has none", "use ON CONFLICT"));
            }
        },
    };
    // A statement that was prepared before a column changed its type returns the old one, and fails.
    let whole = format!("{} {}", table.version, change.text.sql);
    let marked = |sql: String| mark(&whole, &sql).into();
    Ok(CompiledChange {
        written: None,
        restricted: None,
        before: before.map(marked),
        change: marked(text),
        after: None,
        yields,
        counted: true,
        counts_changes_twice: false,
        numbered: false,
        repeatable_read: false,
    })
}

pub(super) fn read(read: &LockingRead, table: &Table) -> CompiledRead {
    let key = table.key.iter().map(|key: &KeyColumn| key.column);
    let keys = key.map(|place| aliased(table, place, &read.target));
    let keys = keys.collect::<Vec<_>>().join(", ");
    // What is looked at must stay as it is until the local transaction ends.
    let locking = if read.locking.is_empty() { "FOR UPDATE" } else { &read.locking };
    match &read.rows {
        RowsRead::Returned { items_end: _ } => {
            let text = read.returning(&keys).unwrap_or_else(|| read.text.sql.clone());
            CompiledRead::Together(format!("{text} {locking}").into())
        }
        RowsRead::Matching(rows) => {
            let condition = condition(rows.condition.as_ref());
            let found = format!("SELECT {keys} FROM {}{condition} {locking}", rows.from.sql);
            CompiledRead::Apart {
                keys: mark(&read.text.sql, &found).into(),
                read: read.text.sql.as_str().into(),
            }
        }
    }
}

/// A comment that keeps texts apart which are prepared with different types.
fn mark(whole: &str, part: &str) -> String {
    format!("/* pactum {:08x} */ {part}", crc32fast::hash(whole.as_bytes()))
}

/// A captured column of the table that the statement calls `target`.
fn aliased(table: &Table, place: usize, target: &str) -> String {
    format!("{} AS __pactum_{place}", capture(&table.columns[place], Some(target)))
}

fn captures(table: &Table, target: &str) -> String {
    let places = 0..table.columns.len();
    places.map(|place| aliased(table, place, target)).collect::<Vec<_>>().join(", ")
}

fn condition(part: Option<&Part>) -> String {
    part.map(|part| format!(" WHERE {}", part.sql)).unwrap_or_default()
}

fn with(part: Option<&Part>) -> String {
    part.map(|part| format!("{} ", part.sql)).unwrap_or_default()
}

/// In the message of the error by which an UPDATE says that a row of its image got another key.
pub(super) const MOVED: &str = "pactum: the row has another key now";

/// The rows are read and locked first, in the statement's own FROM; what waited for another
/// transaction there meets the row as that one left it. Then each is changed by its key.
///
/// If that transaction has given the row another key, the statement, which sees the rows as they were
/// before it began, finds none by it. Plain SQL would have changed the row, so this one fails.
fn update_with_before(change: &Change, update: &Update, table: &Table) -> String {
    let Source { with: common, from, set, condition: wanted, .. } = &update.rows;
    let target = &change.target;
    let column = |place: usize| quote(&table.columns[place].source);
    let keys = table.primary.iter().enumerate();
    let keys: Vec<String> = keys
        .map(|(number, place)| format!("{target}.{} AS __pactum_k{number}", column(*place)))
        .collect();
    let images: Vec<String> = (0..table.columns.len())
        .map(|place| {
            format!("{} AS __pactum_b{place}", capture(&table.columns[place], Some(target)))
        })
        .collect();
    let same_row: Vec<String> = table
        .primary
        .iter()
        .enumerate()
        .map(|(number, place)| format!("{target}.{} = {BEFORE}.__pactum_k{number}", column(*place)))
        .collect();
    let there: Vec<String> = table
        .primary
        .iter()
        .enumerate()
        .map(|(number, place)| {
            format!("__pactum_there.{} = {BEFORE}.__pactum_k{number}", column(*place))
        })
        .collect();
    let asked = change.returning.as_ref();
    let asked = asked.map(|part| format!("{}, ", own_columns(&part.sql, target)));
    let before: Vec<String> =
        (0..table.columns.len()).map(|place| format!("{BEFORE}.__pactum_b{place}")).collect();
    format!(
        "{}UPDATE {from} SET {set} FROM (SELECT {}, {} FROM {from}{} FOR NO KEY UPDATE) {BEFORE} \
         WHERE {} AND CASE WHEN EXISTS (SELECT FROM {} __pactum_there WHERE {}) THEN true \
         ELSE ({BEFORE}.__pactum_k0::text || ' {MOVED}')::boolean END RETURNING {}{}, {}",
        with(common.as_ref()),
        keys.join(", "),
        images.join(", "),
        condition(wanted.as_ref()),
        same_row.join(" AND "),
        table.name,
        there.join(" AND "),
        asked.unwrap_or_default(),
        before.join(", "),
        captures(table, target),
        from = from.sql,
        set = set.as_ref().map_or("", |part| part.sql.as_str()),
    )
}

/// The rows that an UPDATE with a FROM of its own will change.
fn joined_before(rows: &Source, target: &str, table: &Table) -> String {
    let joined = rows.joined.as_ref().map(|part| format!(", {}", part.sql)).unwrap_or_default();
    format!(
        "{}SELECT {} FROM {}{joined}{} FOR NO KEY UPDATE OF {}",
        with(rows.with.as_ref()),
        captures(table, target),
        rows.from.sql,
        condition(rows.condition.as_ref()),
        unqualified(target),
    )
}

/// The last name of `schema.table`: what a locking clause takes.
fn unqualified(target: &str) -> &str {
    let mut quoted = false;
    let mut from = 0;
    for (at, letter) in target.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '.' if !quoted => from = at + 1,
            _ => {}
        }
    }
    target[from..].trim()
}

/// A bare `*` of the user's means the table's columns; with rows of ours beside it, it has to say so.
/// Tokens only tell where it stands: the text stays the user's.
fn own_columns(items: &str, target: &str) -> String {
    let mut tokens = Tokenizer::new(&PostgreSqlDialect {}, items).with_unescape(false);
    let Ok(tokens) = tokens.tokenize_with_location() else { return items.to_owned() };
    let mut depth = 0_u32;
    let mut begins = true;
    let mut out = String::with_capacity(items.len());
    let mut copied = 0;
    for TokenWithSpan { token, span } in tokens {
        match &token {
            Token::Whitespace(_) => continue,
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            Token::Mul if begins && depth == 0 => {
                let star = offset(items, span.start);
                out.push_str(&items[copied..star]);
                out.push_str(&format!("{target}.*"));
                copied = star + 1;
            }
            _ => {}
        }
        begins = token == Token::Comma && depth == 0;
    }
    out.push_str(&items[copied..]);
    out
}

/// Where a token begins, in bytes; lines and characters count from 1.
fn offset(text: &str, at: Location) -> usize {
    let (mut line, mut column) = (1, 1);
    for (offset, letter) in text.char_indices() {
        if (line, column) == (at.line, at.column) {
            return offset;
        }
        (line, column) = if letter == '\n' { (line + 1, 1) } else { (line, column + 1) };
    }
    text.len()
}

/// Reads the rows that an upsert may find in its way, by the values of the key that it names. A row
/// whose value there is a default is not looked for: should it be found, the change fails.
fn in_the_way(
    insert: &Insert,
    target: &ConflictTarget,
    table: &Table,
) -> Result<Option<String>, Refused> {
    let arbiter = arbiter(target, table)?;
    let names: Vec<&str> = if insert.columns.is_empty() {
        table.columns.iter().filter(|c| c.name == c.source).map(|c| c.name.as_str()).collect()
    } else {
        insert.columns.iter().map(String::as_str).collect()
    };
    let place_of = |column: &usize| {
        let source = &table.columns[*column].source;
        names.iter().position(|name| name == source)
    };
    let Some(places) = arbiter.iter().map(place_of).collect::<Option<Vec<usize>>>() else {
        return Ok(None);
    };
    let cast = |column: usize, expression: &str| table.columns[column].restore.around(expression);
    let (values, equal) = match &insert.source {
        InsertSource::Defaults => return Ok(None),
        InsertSource::Values(rows) => {
            let row = |row: &Vec<Option<Part>>| {
                let value = |(column, place): (&usize, &usize)| {
                    let part = row.get(*place)?.as_ref()?;
                    Some(cast(*column, &format!("({})", part.sql)))
                };
                let values: Option<Vec<String>> = arbiter.iter().zip(&places).map(value).collect();
                Some(format!("({})", values?.join(", ")))
            };
            let rows: Vec<String> = rows.iter().filter_map(row).collect();
            if rows.is_empty() {
                return Ok(None);
            }
            let columns: Vec<String> =
                (0..arbiter.len()).map(|number| format!("c{number}")).collect();
            let equal = |(number, column): (usize, &usize)| {
                format!("t.{} = v.c{number}", quote(&table.columns[*column].source))
            };
            let equal: Vec<String> = arbiter.iter().enumerate().map(equal).collect();
            (format!("(VALUES {}) v({})", rows.join(", "), columns.join(", ")), equal)
        }
        InsertSource::Query(query) => {
            // The query may give fewer columns than the table has, but all of those that are named.
            let known = places.iter().max().map_or(0, |last| last + 1);
            let columns: Vec<String> = (0..known).map(|number| format!("c{number}")).collect();
            let equal = |(column, place): (&usize, &usize)| {
                let value = cast(*column, &format!("v.c{place}"));
                format!("t.{} = {value}", quote(&table.columns[*column].source))
            };
            let equal: Vec<String> = arbiter.iter().zip(&places).map(equal).collect();
            (format!("({}) v({})", query.sql, columns.join(", ")), equal)
        }
    };
    Ok(Some(format!(
        "{}SELECT {} FROM {values} JOIN {} t ON {} FOR NO KEY UPDATE OF t",
        with(insert.with.as_ref()),
        captures(table, "t"),
        table.name,
        equal.join(" AND "),
    )))
}

/// The columns of the unique key that decides whether a row is in the way.
fn arbiter(target: &ConflictTarget, table: &Table) -> Result<Vec<usize>, Refused> {
    let source = |place: usize| {
        let source = &table.columns[place].source;
        table.columns.iter().position(|column| column.name == *source)
    };
    match target {
        ConflictTarget::Columns(names) => {
            let place = |name: &String| table.columns.iter().position(|c| c.name == *name);
            let places: Option<Vec<usize>> = names.iter().map(place).collect();
            places.ok_or_else(|| {
                Refused::new(
                    format!("INSERT … ON CONFLICT into `{}`", table.name),
                    "its conflict target is not a list of the table's columns",
                    "name the columns of a unique key",
                )
            })
        }
        ConflictTarget::Constraint(name) => {
            let unique = table.uniques.iter().find(|unique| unique.name == *name);
            let columns = unique
                .map(|unique| unique.columns.iter().filter_map(|key| source(key.column)).collect());
            // A constraint that is none of these can only be the primary key, or not be there.
            Ok(columns.unwrap_or_else(|| table.primary.clone()))
        }
        ConflictTarget::Any => Err(Refused::new(
            format!("INSERT … ON CONFLICT into `{}`", table.name),
            "it does not say which key has to be in the way",
            "write ON CONFLICT (column, …) DO UPDATE",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_star_is_the_tables() {
        for (items, expected) in [
            ("*", "a.*"),
            ("id, *", "id, a.*"),
            ("*, now()", "a.*, now()"),
            ("balance * 2, count(*), a.*", "balance * 2, count(*), a.*"),
            ("'*', \"*\", -- , *\n id", "'*', \"*\", -- , *\n id"),
            ("x -> '*' AS \"y\"", "x -> '*' AS \"y\""),
            ("E'\\'*', ü\n, * -- *", "E'\\'*', ü\n, a.* -- *"),
            ("$$, *$$ /* , * */, *", "$$, *$$ /* , * */, a.*"),
            ("ARRAY[1, 2 * 3], (*)", "ARRAY[1, 2 * 3], (*)"),
        ] {
            assert_eq!(own_columns(items, "a"), expected);
        }
    }

    #[test]
    fn a_locking_clause_takes_the_last_name() {
        for (target, expected) in [
            ("account", "account"),
            ("public.account", "account"),
            ("\"a.b\".\"c.d\"", "\"c.d\""),
            ("a", "a"),
        ] {
            assert_eq!(unqualified(target), expected);
        }
    }
}
