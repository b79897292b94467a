//! INSERT and REPLACE: which columns, from where, and what about rows that are in the way.

use sqlparser::ast::{Query, SetExpr};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{IsOptional, Parser};
use sqlparser::tokenizer::Token;

use super::change::{assignments, finish, refuse_modifiers, value};
use super::names::{self, Named};
use super::reader::{Reader, With};
use super::{Change, ChangeKind, ConflictTarget, Insert, InsertSource, OnConflict, Refused};
use crate::db::Kind;

const STATEMENT: &str = "INSERT";

pub(super) fn plan_insert(
    mut reader: Reader<'_, '_>,
    with: Option<With>,
) -> Result<Change, Refused> {
    let kind = reader.text.kind;
    let resolved = verb(&mut reader)?;
    let named = table(&mut reader)?;
    let mut columns = columns(&mut reader)?;
    if reader.is_next_word("OVERRIDING") {
        overriding(&mut reader)?;
    }
    let source = source(&mut reader, &mut columns)?;
    let source_end = reader.at();
    if kind == Kind::Mysql && reader.take(Keyword::AS) {
        row_alias(&mut reader)?;
    }
    let clause = on_conflict(&mut reader)?;
    let on_conflict = match (resolved, clause) {
        (resolved, OnConflict::Fail) => resolved,
        (OnConflict::Fail, clause) => clause,
        // Of IGNORE and ON DUPLICATE KEY UPDATE, or of OR … and ON CONFLICT, each decides for some
        // of the rows.
        (_, _) => {
            let why = "it says in two ways what to do about rows that are in the way";
            return Err(reader.refuse(why, "leave out one of the two"));
        }
    };
    let conflict_parameters = reader.text.count(source_end, reader.at());
    let returning = reader.returning()?;
    let insert = Insert {
        with: with.as_ref().map(|with| with.part.clone()),
        columns,
        source,
        on_conflict,
        conflict_parameters,
    };
    finish(&reader, with.as_ref(), named, returning, ChangeKind::Insert(insert))
}

/// `INSERT [IGNORE | OR …]` or `REPLACE`.
fn verb(reader: &mut Reader<'_, '_>) -> Result<OnConflict, Refused> {
    let kind = reader.text.kind;
    if reader.take(Keyword::REPLACE) {
        refuse_modifiers(reader)?;
        return match kind {
            Kind::Sqlite | Kind::Mysql => Ok(OnConflict::Replace),
            Kind::Postgres => Err(reader.refuse("PostgreSQL has no such statement", UPSERT)),
        };
    }
    reader.expect(Keyword::INSERT)?;
    match kind {
        Kind::Sqlite if reader.take(Keyword::OR) => {
            if reader.take(Keyword::IGNORE) {
                Ok(OnConflict::Skip)
            } else if reader.take(Keyword::REPLACE) {
                Ok(OnConflict::Replace)
            } else {
                let why = "it ends the statement, or the local transaction, in the middle of it";
                Err(reader.refuse(why, "use `OR IGNORE`, `OR REPLACE` or no OR"))
            }
        }
        Kind::Mysql if reader.take(Keyword::IGNORE) => Ok(OnConflict::Skip),
        Kind::Sqlite | Kind::Postgres | Kind::Mysql => {
            refuse_modifiers(reader).map(|()| OnConflict::Fail)
        }
    }
}

const UPSERT: &str = "use `INSERT … ON CONFLICT`";

fn table(reader: &mut Reader<'_, '_>) -> Result<Named, Refused> {
    let kind = reader.text.kind;
    if !reader.take(Keyword::INTO) && kind != Kind::Mysql {
        reader.expect(Keyword::INTO)?;
    }
    let (name, _) = reader.name()?;
    let alias = match kind {
        Kind::Sqlite | Kind::Postgres if reader.take(Keyword::AS) => Some(reader.identifier()?.0),
        Kind::Sqlite | Kind::Postgres | Kind::Mysql => None,
    };
    names::named(reader.text, STATEMENT, &name, alias.as_ref())
}

fn columns(reader: &mut Reader<'_, '_>) -> Result<Vec<String>, Refused> {
    let kind = reader.text.kind;
    let at = reader.at();
    let is_open =
        |at: usize| reader.text.pieces.get(at).is_some_and(|piece| piece.token == Token::LParen);
    let begins_query = is_open(at + 1)
        || matches!(
            reader.text.keyword(at + 1),
            Some(Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::TABLE)
        );
    if !is_open(at) || begins_query {
        return Ok(Vec::new());
    }
    let may_be_empty = kind == Kind::Mysql;
    let (list, _) = reader.read(|parser| {
        parser.parse_parenthesized_qualified_column_list(IsOptional::Mandatory, may_be_empty)
    })?;
    let mut columns = Vec::with_capacity(list.len());
    for column in &list {
        let (name, _) = names::column(kind, STATEMENT, column)?;
        if kind == Kind::Postgres && column.0.len() > 1 {
            let why = "it fills a field of a column, and not the column";
            return Err(reader.refuse(why, "insert the column's whole value"));
        }
        columns.push(name);
    }
    Ok(columns)
}

/// `OVERRIDING SYSTEM VALUE` inserts what is written; `USER VALUE` something else.
fn overriding(reader: &mut Reader<'_, '_>) -> Result<(), Refused> {
    reader.identifier()?;
    if reader.text.kind != Kind::Postgres || !reader.is_next_word("SYSTEM") {
        let why = "the values that it inserts are not those that it holds";
        return Err(reader.refuse(why, "leave out the columns that are generated"));
    }
    reader.identifier()?;
    reader.expect(Keyword::VALUE)
}

fn source(reader: &mut Reader<'_, '_>, columns: &mut Vec<String>) -> Result<InsertSource, Refused> {
    if reader.take_all(&[Keyword::DEFAULT, Keyword::VALUES]) {
        return Ok(InsertSource::Defaults);
    }
    if reader.text.kind == Kind::Mysql && columns.is_empty() && reader.take(Keyword::SET) {
        return set(reader, columns).map(|row| InsertSource::Values(vec![row]));
    }
    let start = reader.at();
    let (query, part) = reader.query()?;
    match plain_values(&query) {
        None => Ok(InsertSource::Query(part)),
        Some(widths) => {
            let rows = rows(&mut Reader::from(reader.text, STATEMENT, start + 1), &widths)?;
            match rows.as_slice() {
                [row] if row.is_empty() => Ok(InsertSource::Defaults),
                rows if rows.iter().any(Vec::is_empty) => {
                    Err(reader.refuse("it has rows without values", "write one such row"))
                }
                _ => Ok(InsertSource::Values(rows)),
            }
        }
    }
}

type Row = Vec<Option<super::Part>>;

/// `SET a = 1, b = 2`.
fn set(reader: &mut Reader<'_, '_>, columns: &mut Vec<String>) -> Result<Row, Refused> {
    let mut row = Vec::new();
    loop {
        let (name, _) = reader.name()?;
        columns.push(names::column(reader.text.kind, STATEMENT, &name)?.0);
        reader.read(|parser| parser.expect_token(&Token::Eq))?;
        row.push(value(reader)?);
        if !reader.take_token(&Token::Comma) {
            return Ok(row);
        }
    }
}

/// How many values each row has, if a query is nothing but VALUES.
fn plain_values(query: &Query) -> Option<Vec<usize>> {
    let Query {
        with: None,
        body,
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks,
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators,
    } = query
    else {
        return None;
    };
    match body.as_ref() {
        SetExpr::Values(values) if locks.is_empty() && pipe_operators.is_empty() => {
            Some(values.rows.iter().map(|row| row.content.len()).collect())
        }
        SetExpr::Values(_)
        | SetExpr::Select(_)
        | SetExpr::Query(_)
        | SetExpr::SetOperation { .. }
        | SetExpr::Insert(_)
        | SetExpr::Update(_)
        | SetExpr::Delete(_)
        | SetExpr::Merge(_)
        | SetExpr::Table(_) => None,
    }
}

/// The values one by one, as many as the parser found.
fn rows(reader: &mut Reader<'_, '_>, widths: &[usize]) -> Result<Vec<Row>, Refused> {
    let mut rows = Vec::with_capacity(widths.len());
    for width in widths {
        reader.take(Keyword::ROW);
        reader.read(|parser| parser.expect_token(&Token::LParen))?;
        let mut row = Vec::with_capacity(*width);
        for _ in 0..*width {
            row.push(value(reader)?);
            reader.take_token(&Token::Comma);
        }
        reader.read(|parser| parser.expect_token(&Token::RParen))?;
        reader.take_token(&Token::Comma);
        rows.push(row);
    }
    Ok(rows)
}

/// `AS new (a, b)`.
fn row_alias(reader: &mut Reader<'_, '_>) -> Result<(), Refused> {
    reader.identifier()?;
    let optional = IsOptional::Optional;
    reader.read(|parser| parser.parse_parenthesized_column_list(optional, false)).map(|_| ())
}

fn on_conflict(reader: &mut Reader<'_, '_>) -> Result<OnConflict, Refused> {
    match reader.text.kind {
        Kind::Mysql => {
            let clause = [Keyword::ON, Keyword::DUPLICATE, Keyword::KEY, Keyword::UPDATE];
            if !reader.take_all(&clause) {
                return Ok(OnConflict::Fail);
            }
            let assigned = assignments(reader, STATEMENT)?.columns;
            Ok(OnConflict::Update { target: ConflictTarget::Any, assigned })
        }
        Kind::Sqlite | Kind::Postgres => {
            if !reader.take_all(&[Keyword::ON, Keyword::CONFLICT]) {
                return Ok(OnConflict::Fail);
            }
            let target = conflict_target(reader)?;
            reader.expect(Keyword::DO)?;
            let action = conflict_action(reader, target)?;
            if reader.is_next(Keyword::ON) {
                let why = "it says more than once what to do about rows that are in the way";
                return Err(reader.refuse(why, "leave one ON CONFLICT clause"));
            }
            Ok(action)
        }
    }
}

/// `None` for one that no list of columns can express.
fn conflict_target(reader: &mut Reader<'_, '_>) -> Result<Option<ConflictTarget>, Refused> {
    if reader.text.kind == Kind::Postgres && reader.take_all(&[Keyword::ON, Keyword::CONSTRAINT]) {
        let (name, _) = reader.identifier()?;
        let name = names::value(reader.text.kind, &name);
        return Ok(Some(ConflictTarget::Constraint(name)));
    }
    let at = reader.at();
    if reader.text.pieces.get(at).is_none_or(|piece| piece.token != Token::LParen) {
        return Ok(Some(ConflictTarget::Any));
    }
    let kind = reader.text.kind;
    let mut ahead = Reader::from(reader.text, STATEMENT, at);
    let mandatory = IsOptional::Mandatory;
    let list = ahead.read(|parser| parser.parse_parenthesized_column_list(mandatory, false));
    if let Ok((columns, _)) = list
        && ahead.is_next(Keyword::DO)
    {
        *reader = ahead;
        let columns = columns.iter().map(|column| names::value(kind, column)).collect();
        return Ok(Some(ConflictTarget::Columns(columns)));
    }
    reader.read(|parser| parser.expect_token(&Token::LParen))?;
    reader.list(Parser::parse_order_by_expr)?;
    reader.read(|parser| parser.expect_token(&Token::RParen))?;
    reader.condition()?;
    Ok(None)
}

fn conflict_action(
    reader: &mut Reader<'_, '_>,
    target: Option<ConflictTarget>,
) -> Result<OnConflict, Refused> {
    if reader.take(Keyword::NOTHING) {
        // Whichever key it is: a row is inserted or left alone.
        return Ok(OnConflict::Skip);
    }
    reader.expect(Keyword::UPDATE)?;
    reader.expect(Keyword::SET)?;
    let assigned = assignments(reader, STATEMENT)?.columns;
    reader.condition()?;
    let Some(target) = target else {
        let why = "its conflict target is an expression or a part of the table, for which the rows \
                   in the way cannot be looked up";
        return Err(reader.refuse(why, "name the columns of a unique key without a condition"));
    };
    Ok(OnConflict::Update { target, assigned })
}
