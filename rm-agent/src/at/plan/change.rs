//! INSERT, UPDATE and DELETE: what they have in common.

use sqlparser::ast::{Assignment, AssignmentTarget};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::names::{self, Named};
use super::reader::{Reader, With};
use super::text::Text;
use super::{Change, ChangeKind, Part, Refused, insert, rows};
use crate::db::Kind;

pub(super) const PLAIN: &str = "use a statement on one table, with a subquery in its WHERE or SET";

/// A statement that begins with INSERT, REPLACE, UPDATE or DELETE, or with WITH and one of them.
pub(super) fn plan_change(text: &Text<'_>) -> Result<Change, Refused> {
    check_parameters(text)?;
    check_mysql(text)?;
    let mut reader = Reader::new(text, "WITH");
    let with = reader.with()?;
    match text.keyword(reader.at()) {
        Some(Keyword::UPDATE) => rows::plan_update(reader.named("UPDATE"), with),
        Some(Keyword::DELETE) => rows::plan_delete(reader.named("DELETE"), with),
        Some(Keyword::REPLACE) => insert::plan_insert(reader.named("REPLACE"), with),
        Some(_) | None => insert::plan_insert(reader.named("INSERT"), with),
    }
}

/// Parts of a statement are run with all of its arguments, so all must agree on which is which.
pub(super) fn check_parameters(text: &Text<'_>) -> Result<(), Refused> {
    let refused = |why| Err(Refused::new("statement", why, "use one kind of parameters"));
    if text.mixes_parameters() {
        return refused("it mixes `?` and numbered parameters");
    }
    if text.kind == Kind::Mysql && text.numbers_parameters() {
        return refused("it names parameters, where MySQL only knows `?`");
    }
    Ok(())
}

/// What would make a part of a statement mean something else when it is run by itself.
fn check_mysql(text: &Text<'_>) -> Result<(), Refused> {
    if text.kind != Kind::Mysql {
        return Ok(());
    }
    if text.has_hints() {
        let why = "an optimizer hint can change settings for this one statement";
        return Err(Refused::new("statement", why, "leave out the hint"));
    }
    if text.pieces.iter().any(|piece| piece.token == Token::Assignment) {
        let why = "it assigns a user variable, which its image would do once more";
        return Err(Refused::new("statement", why, "bind the value as a parameter"));
    }
    Ok(())
}

/// MySQL's words between the verb and the table, which the parser would take for a table.
pub(super) fn refuse_modifiers(reader: &Reader<'_, '_>) -> Result<(), Refused> {
    let is_next = |words: &[&str]| {
        reader.text.kind == Kind::Mysql && words.iter().any(|word| reader.is_next_word(word))
    };
    if is_next(&["IGNORE"]) {
        let why = "it leaves out rows that it should change, or changes them to other values";
        return Err(reader.refuse(why, "leave out IGNORE"));
    }
    if is_next(&["LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "QUICK"]) {
        let why = "it says when to run, which its transaction decides";
        return Err(reader.refuse(why, "leave out the word"));
    }
    Ok(())
}

/// The assignments of an UPDATE.
pub(super) struct Assignments {
    pub(super) columns: Vec<String>,
    /// What the columns are qualified with, where they are.
    pub(super) qualifiers: Vec<Option<String>>,
    pub(super) part: Part,
}

/// What follows SET.
pub(super) fn assignments(
    reader: &mut Reader<'_, '_>,
    statement: &'static str,
) -> Result<Assignments, Refused> {
    let kind = reader.text.kind;
    let (list, part) = reader.list(Parser::parse_assignment)?;
    let mut all = Assignments { columns: Vec::new(), qualifiers: Vec::new(), part };
    for Assignment { target, value: _ } in &list {
        let columns = match target {
            AssignmentTarget::ColumnName(column) => std::slice::from_ref(column),
            AssignmentTarget::Tuple(columns) => columns.as_slice(),
        };
        for column in columns {
            let (column, qualifier) = names::column(kind, statement, column)?;
            all.columns.push(column);
            all.qualifiers.push(qualifier.last().map(|ident| names::value(kind, ident)));
        }
    }
    Ok(all)
}

/// An expression; `None` for DEFAULT.
pub(super) fn value(reader: &mut Reader<'_, '_>) -> Result<Option<Part>, Refused> {
    let start = reader.at();
    let (_, part) = reader.expression()?;
    let is_default =
        reader.at() == start + 1 && reader.text.keyword(start) == Some(Keyword::DEFAULT);
    Ok((!is_default).then_some(part))
}

/// A table by its name alone, with its alias if it has one.
pub(super) fn target_table(
    reader: &mut Reader<'_, '_>,
    statement: &'static str,
) -> Result<Named, Refused> {
    let (table, _) = reader.read_pure(Parser::parse_table_and_joins)?;
    let plain = names::plain_table(&table.relation).filter(|_| table.joins.is_empty());
    let (name, alias) =
        plain.ok_or_else(|| Refused::new(statement, "it is not on one plain table", PLAIN))?;
    names::named(reader.text, statement, name, alias)
}

/// The whole of it.
pub(super) fn finish(
    reader: &Reader<'_, '_>,
    with: Option<&With>,
    named: Named,
    returning: Option<Part>,
    kind: ChangeKind,
) -> Result<Change, Refused> {
    reader.finish()?;
    if with.is_some_and(|with| with.hides(&named.last) || with.hides(&named.qualifier)) {
        let why = "a query in its WITH has the name of the table that it changes";
        return Err(reader.refuse(why, "give the query another name"));
    }
    let text = reader.text.cut(0, reader.text.pieces.len());
    Ok(Change { table: named.table, target: named.target, text, returning, kind })
}
