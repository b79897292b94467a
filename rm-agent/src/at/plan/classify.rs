//! The first look at a statement: by its first word.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::Token;

use super::reader::Reader;
use super::refusals::refuse;
use super::text::Text;
use super::{Plan, Refused, change, read};
use crate::db::Kind;

/// Pragmas that only report. Any of them with a value set is refused too.
const READING_PRAGMAS: [&str; 19] = [
    "collation_list",
    "compile_options",
    "database_list",
    "encoding",
    "foreign_key_check",
    "foreign_key_list",
    "freelist_count",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "page_count",
    "page_size",
    "quick_check",
    "schema_version",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// What AT will do with a statement.
///
/// # Errors
/// [`Refused`] if it cannot be undone, or is not understood.
pub(crate) fn plan(sql: &str, kind: Kind) -> Result<Plan, Refused> {
    let text = single(sql, kind)?;
    let Some(first) = text.pieces.first() else {
        return Err(Refused::new("text", "it holds no statement", "send one statement"));
    };
    if first.token == Token::LParen {
        return read::plan_read(&text);
    }
    match (first.word().as_str(), kind) {
        ("SELECT" | "VALUES", _) | ("TABLE", Kind::Postgres | Kind::Mysql) => {
            read::plan_read(&text)
        }
        ("WITH", _) => plan_with(&text),
        ("SHOW", Kind::Postgres | Kind::Mysql) | ("EXPLAIN", Kind::Sqlite) => Ok(Plan::Read),
        ("EXPLAIN", Kind::Postgres | Kind::Mysql) | ("DESCRIBE" | "DESC", Kind::Mysql) => {
            plan_explain(&text)
        }
        ("PRAGMA", Kind::Sqlite) => plan_pragma(&text),
        ("INSERT" | "UPDATE" | "DELETE", _) | ("REPLACE", Kind::Sqlite | Kind::Mysql) => {
            plan_change(&text)
        }
        (word, _) => Err(refuse(word, &first.token)),
    }
}

/// The text of a single statement.
pub(super) fn single(sql: &str, kind: Kind) -> Result<Text<'_>, Refused> {
    // SQLite stops reading there, the parser does not.
    if sql.contains('\0') {
        return Err(Refused::new("statement", "its text contains a NUL character", "bind values"));
    }
    let text = Text::new(sql, kind).map_err(|error| {
        let instead = "write it in a form that cannot be misread, or bind texts as parameters";
        Refused::new("statement", format!("it cannot be read: {error}"), instead)
    })?;
    if text.is_multiple() {
        return Err(Refused::new(
            "text",
            "it holds more than one statement",
            "send the statements one by one",
        ));
    }
    Ok(text)
}

fn plan_change(text: &Text<'_>) -> Result<Plan, Refused> {
    change::plan_change(text).map(|change| Plan::Change(Box::new(change)))
}

/// `WITH …`, and then a query or a change.
fn plan_with(text: &Text<'_>) -> Result<Plan, Refused> {
    let mut reader = Reader::new(text, "WITH");
    reader.with()?;
    match text.keyword(reader.at()) {
        Some(Keyword::INSERT | Keyword::UPDATE | Keyword::DELETE | Keyword::REPLACE) => {
            plan_change(text)
        }
        Some(_) | None => read::plan_read(text),
    }
}

/// EXPLAIN runs what it explains only where it is told to ANALYZE it.
fn plan_explain(text: &Text<'_>) -> Result<Plan, Refused> {
    let begins = |word: &str| {
        matches!(word, "SELECT" | "VALUES" | "TABLE" | "WITH" | "INSERT" | "UPDATE" | "DELETE")
            || matches!(word, "REPLACE" | "MERGE" | "EXECUTE" | "CREATE" | "DECLARE" | "REFRESH")
    };
    let words: Vec<String> = text.pieces.iter().map(super::text::Piece::word).collect();
    let start = words.iter().position(|word| begins(word)).unwrap_or(words.len());
    let runs = words[..start].iter().any(|word| word == "ANALYZE" || word == "ANALYSE");
    if !runs {
        return Ok(Plan::Read);
    }
    let statement = "EXPLAIN ANALYZE";
    let mut reader = Reader::from(text, statement, start);
    reader.query()?;
    reader.finish()?;
    Ok(Plan::Read)
}

fn plan_pragma(text: &Text<'_>) -> Result<Plan, Refused> {
    let words: Vec<String> =
        text.pieces.iter().map(|p| p.token.to_string().to_lowercase()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (name, rest) = match words.as_slice() {
        ["pragma", "main", ".", name, rest @ ..] | ["pragma", name, rest @ ..] => (*name, rest),
        _ => ("", words.as_slice()),
    };
    // `encoding('UTF-16')` sets, as `encoding = …` does; `table_info(t)` asks.
    let asks_by_table = ["check", "info", "list"].iter().any(|end| name.ends_with(end));
    if READING_PRAGMAS.contains(&name) && !rest.contains(&"=") && (rest.is_empty() || asks_by_table)
    {
        return Ok(Plan::Read);
    }
    let why = "it may change how the connection or the database behaves";
    Err(Refused::new("PRAGMA", why, "set it in the connect options, or use `bypass()`"))
}
