//! The first look at a statement: by its first word, then by the parser.

use sqlparser::ast::Statement;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::text::Text;
use super::{Plan, Refused, change, read};
use crate::db::Kind;

pub(super) const BYPASS: &str = "run it outside of global transactions, through `bypass()`";
const REWRITE: &str = "write it in a form that the parser knows, or run it through `bypass()`";
/// How deeply expressions may nest; the parser is recursive.
const NESTING_MAX: usize = 100;

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
    match (first.keyword(), &first.token) {
        (Some(Keyword::SELECT | Keyword::VALUES | Keyword::WITH), _) | (_, Token::LParen) => {
            read::plan_read(&text)
        }
        // EXPLAIN never runs what it explains.
        (Some(Keyword::EXPLAIN), _) => Ok(Plan::Read),
        (Some(Keyword::PRAGMA), _) => plan_pragma(&text),
        (Some(Keyword::INSERT | Keyword::UPDATE | Keyword::DELETE), _) => {
            if text.mixes_parameters() {
                return Err(Refused::new(
                    "statement",
                    "it mixes `?` and numbered parameters",
                    "use one kind",
                ));
            }
            change::plan_change(&text, parse(&text)?).map(|change| Plan::Change(Box::new(change)))
        }
        (Some(keyword), _) => Err(refuse_keyword(keyword, &first.token)),
        (None, token) => Err(unknown(token)),
    }
}

/// The text of a single statement.
pub(super) fn single(sql: &str, kind: Kind) -> Result<Text<'_>, Refused> {
    // SQLite stops reading there, the parser does not.
    if sql.contains('\0') {
        return Err(Refused::new("statement", "its text contains a NUL character", "bind values"));
    }
    let text = Text::new(sql, kind).map_err(|error| {
        Refused::new("statement", format!("it cannot be read: {error}"), REWRITE)
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

pub(super) fn parse(text: &Text<'_>) -> Result<Statement, Refused> {
    let unparsable =
        |error: String| Refused::new("statement", format!("it cannot be parsed: {error}"), REWRITE);
    let mut statements = Parser::new(text.kind.dialect())
        .with_recursion_limit(NESTING_MAX)
        .with_tokens_with_locations(text.tokens.clone())
        .parse_statements()
        .map_err(|error| unparsable(error.to_string()))?;
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        (Some(_), false) | (None, _) => Err(unparsable("it is not one statement".to_owned())),
    }
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

fn refuse_keyword(keyword: Keyword, token: &Token) -> Refused {
    match keyword {
        Keyword::REPLACE => change::refuse_or("REPLACE"),
        Keyword::BEGIN | Keyword::COMMIT | Keyword::END | Keyword::ROLLBACK | Keyword::START => {
            Refused::new(
                "transaction control",
                "the agent must know where its local transaction begins and ends",
                "use `begin()`, `commit()` and `rollback()`; for a savepoint, `savepoint()`",
            )
        }
        Keyword::SAVEPOINT | Keyword::RELEASE => Refused::new(
            "savepoint",
            "as text it would leave the undo log and the database out of step",
            "use `savepoint()` of the transaction",
        ),
        Keyword::CREATE | Keyword::ALTER | Keyword::DROP | Keyword::REINDEX | Keyword::TRUNCATE => {
            Refused::new("DDL", "a change of the schema has no before image", BYPASS)
        }
        Keyword::ATTACH | Keyword::DETACH => Refused::new(
            "ATTACH",
            "another database's rows are not this resource's",
            "attach each database to the agent as a resource of its own",
        ),
        Keyword::VACUUM | Keyword::ANALYZE => {
            Refused::new("maintenance statement", "it works on the whole database", BYPASS)
        }
        // Not one of our enums: every word that SQL has.
        _ => unknown(token),
    }
}

fn unknown(token: &Token) -> Refused {
    let why = format!("a statement that begins with `{token}` is not known here");
    Refused::new("statement", why, REWRITE)
}
