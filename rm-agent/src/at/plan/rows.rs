//! UPDATE and DELETE: which table's rows, and how they are found.

use sqlparser::ast::{Ident, JoinOperator, TableFactor, TableWithJoins};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::change::{Assignments, assignments, finish, refuse_modifiers, target_table};
use super::names::{self, Named};
use super::reader::{Reader, With};
use super::{Change, ChangeKind, Part, Refused, Source, Update};
use crate::db::Kind;

const QUALIFY: &str = "qualify each assigned column with the table that is changed";
const ONE_TABLE: &str = "send one statement for each table";

pub(super) fn plan_update(
    mut reader: Reader<'_, '_>,
    with: Option<With>,
) -> Result<Change, Refused> {
    let statement = "UPDATE";
    reader.expect(Keyword::UPDATE)?;
    if reader.is_next(Keyword::OR) {
        let why = "it leaves out or removes rows that are in the way of its own";
        return Err(reader.refuse(why, "look for such rows first, and use a plain UPDATE"));
    }
    refuse_modifiers(&reader)?;
    let (named, from, assigned) = match reader.text.kind {
        Kind::Sqlite | Kind::Postgres => {
            let (named, from) = one_table(&mut reader, statement)?;
            reader.expect(Keyword::SET)?;
            (named, from, assignments(&mut reader, statement)?)
        }
        Kind::Mysql => {
            let (tables, from) = tables(&mut reader)?;
            reader.expect(Keyword::SET)?;
            let assigned = assignments(&mut reader, statement)?;
            (update_target(&reader, &tables, &assigned)?, from, assigned)
        }
    };
    let joined =
        if reader.text.kind == Kind::Mysql { None } else { joined(&mut reader, Keyword::FROM)? };
    let head = reader.text.cut(0, reader.at()).sql.len();
    let condition = reader.condition()?;
    let (order, limit) = order_and_limit(&mut reader)?;
    let returning = returning_unless_mysql(&mut reader)?;
    let rows = Source {
        with: with.as_ref().map(|with| with.part.clone()),
        skipped: 0,
        from,
        set: Some(assigned.part),
        joined,
        condition,
        order,
        limit,
        head,
    };
    let kind = ChangeKind::Update(Update { assigned: assigned.columns, rows });
    finish(&reader, with.as_ref(), named, returning, kind)
}

pub(super) fn plan_delete(
    mut reader: Reader<'_, '_>,
    with: Option<With>,
) -> Result<Change, Refused> {
    reader.expect(Keyword::DELETE)?;
    refuse_modifiers(&reader)?;
    let mut rows =
        Source { with: with.as_ref().map(|with| with.part.clone()), ..Source::default() };
    let named = match reader.text.kind {
        Kind::Sqlite | Kind::Postgres => {
            reader.expect(Keyword::FROM)?;
            let (named, from) = one_table(&mut reader, "DELETE")?;
            rows.from = from;
            rows.joined = joined(&mut reader, Keyword::USING)?;
            named
        }
        Kind::Mysql => {
            let (named, from) = mysql_delete(&mut reader)?;
            rows.from = from;
            named
        }
    };
    rows.head = reader.text.cut(0, reader.at()).sql.len();
    rows.condition = reader.condition()?;
    (rows.order, rows.limit) = order_and_limit(&mut reader)?;
    let returning = reader.returning()?;
    finish(&reader, with.as_ref(), named, returning, ChangeKind::Delete(rows))
}

/// `[ONLY] t [AS a]`.
fn one_table(
    reader: &mut Reader<'_, '_>,
    statement: &'static str,
) -> Result<(Named, Part), Refused> {
    let start = reader.at();
    if reader.text.kind == Kind::Postgres {
        reader.take(Keyword::ONLY);
    }
    let named = target_table(reader, statement)?;
    Ok((named, reader.text.cut(start, reader.at())))
}

/// `FROM u JOIN v ON …`, without its first word.
fn joined(reader: &mut Reader<'_, '_>, word: Keyword) -> Result<Option<Part>, Refused> {
    if !reader.take(word) {
        return Ok(None);
    }
    if reader.text.kind == Kind::Sqlite && word == Keyword::USING {
        return Err(reader.refuse("SQLite has no DELETE … USING", "use a subquery in its WHERE"));
    }
    let (tables, part) = reader.list(Parser::parse_table_and_joins)?;
    // There a comma binds no weaker than JOIN, and the changed table would be on the outer side.
    let operators = tables.iter().flat_map(|table| &table.joins).map(|join| &join.join_operator);
    if reader.text.kind == Kind::Sqlite && !operators.map(keeps).all(|keeps| keeps.left) {
        let why = "its FROM has an outer join that would make rows without the changed table";
        return Err(reader.refuse(why, "write the join as a subquery in the FROM"));
    }
    Ok(Some(part))
}

fn order_and_limit(reader: &mut Reader<'_, '_>) -> Result<(Option<Part>, Option<Part>), Refused> {
    if reader.text.kind != Kind::Mysql {
        return Ok((None, None));
    }
    let start = reader.at();
    let order = if reader.take_all(&[Keyword::ORDER, Keyword::BY]) {
        reader.list(Parser::parse_order_by_expr)?;
        Some(reader.text.cut(start, reader.at()))
    } else {
        None
    };
    let start = reader.at();
    let limit = if reader.take(Keyword::LIMIT) {
        reader.expression()?;
        Some(reader.text.cut(start, reader.at()))
    } else {
        None
    };
    Ok((order, limit))
}

fn returning_unless_mysql(reader: &mut Reader<'_, '_>) -> Result<Option<Part>, Refused> {
    if reader.text.kind == Kind::Mysql { Ok(None) } else { reader.returning() }
}

/// MySQL's table references: any number, joined in any way.
fn tables(reader: &mut Reader<'_, '_>) -> Result<(Vec<TableWithJoins>, Part), Refused> {
    reader.list(Parser::parse_table_and_joins)
}

/// The one table whose columns are assigned.
fn update_target(
    reader: &Reader<'_, '_>,
    tables: &[TableWithJoins],
    assigned: &Assignments,
) -> Result<Named, Refused> {
    if let [table] = tables
        && table.joins.is_empty()
    {
        let named = name_factor(reader, &table.relation)?;
        let foreign = assigned
            .qualifiers
            .iter()
            .flatten()
            .find(|name| !name.eq_ignore_ascii_case(&named.qualifier));
        if foreign.is_some() {
            return Err(reader.refuse("it assigns columns of another table", QUALIFY));
        }
        return Ok(named);
    }
    let mut target: Option<Named> = None;
    for qualifier in &assigned.qualifiers {
        let Some(qualifier) = qualifier else {
            let why = "it joins tables and does not say whose columns it assigns";
            return Err(reader.refuse(why, QUALIFY));
        };
        let found = find_target(reader, tables, qualifier)?;
        match &target {
            None => target = Some(found),
            Some(before) if before.qualifier == found.qualifier => {}
            Some(_) => return Err(reader.refuse("it changes rows of two tables", ONE_TABLE)),
        }
    }
    target.ok_or_else(|| reader.refuse("it assigns nothing", QUALIFY))
}

/// `DELETE FROM t …`, `DELETE FROM t USING t JOIN u …`, `DELETE t FROM t JOIN u …`.
fn mysql_delete(reader: &mut Reader<'_, '_>) -> Result<(Named, Part), Refused> {
    if reader.take(Keyword::FROM) {
        let start = reader.at();
        let mut ahead = Reader::from(reader.text, "DELETE", start);
        let names = delete_names(&mut ahead);
        if let Ok(names) = names
            && ahead.take(Keyword::USING)
        {
            *reader = ahead;
            return delete_joined(reader, &names);
        }
        let (tables, from) = tables(reader)?;
        return match tables.as_slice() {
            [table] if table.joins.is_empty() => Ok((name_factor(reader, &table.relation)?, from)),
            _ => Err(reader.refuse(
                "it joins tables and does not say from which it removes rows",
                "use `DELETE t FROM …`",
            )),
        };
    }
    let names = delete_names(reader)?;
    reader.expect(Keyword::FROM)?;
    delete_joined(reader, &names)
}

/// `a, db.b.*`: the last part of each name.
fn delete_names(reader: &mut Reader<'_, '_>) -> Result<Vec<Ident>, Refused> {
    let mut names = Vec::new();
    loop {
        names.push(reader.identifier()?.0);
        while reader.take_token(&Token::Period) {
            if reader.take_token(&Token::Mul) {
                break;
            }
            names.pop();
            names.push(reader.identifier()?.0);
        }
        if !reader.take_token(&Token::Comma) {
            return Ok(names);
        }
    }
}

fn delete_joined(reader: &mut Reader<'_, '_>, names: &[Ident]) -> Result<(Named, Part), Refused> {
    let [name] = names else {
        return Err(reader.refuse("it removes rows of two tables", ONE_TABLE));
    };
    let name = names::value(Kind::Mysql, name);
    let (tables, from) = tables(reader)?;
    Ok((find_target(reader, &tables, &name)?, from))
}

/// The table that is called so, if it is a plain one and every row of the join has a row of it.
fn find_target(
    reader: &Reader<'_, '_>,
    tables: &[TableWithJoins],
    qualifier: &str,
) -> Result<Named, Refused> {
    let mut found = None;
    for table in tables {
        let factors = std::iter::once(&table.relation);
        let factors = factors.chain(table.joins.iter().map(|join| &join.relation));
        for (place, factor) in factors.enumerate() {
            let Some((name, alias)) = names::plain_table(factor) else { continue };
            let named = names::named(reader.text, reader.statement(), name, alias)?;
            if !named.qualifier.eq_ignore_ascii_case(qualifier) {
                continue;
            }
            if found.is_some() {
                let why = "two of its tables go by the name of the one that it changes";
                return Err(reader.refuse(why, "give each table an alias of its own"));
            }
            if !keeps_rows(table, place) {
                let why = "it joins the table that it changes in a way that makes rows without it";
                return Err(reader.refuse(why, "use an inner join for the changed table"));
            }
            found = Some(named);
        }
    }
    let why = "the table that it changes is not among those that it names plainly";
    found.ok_or_else(|| reader.refuse(why, QUALIFY))
}

fn name_factor(reader: &Reader<'_, '_>, factor: &TableFactor) -> Result<Named, Refused> {
    let plain = names::plain_table(factor);
    let (name, alias) = plain.ok_or_else(|| {
        reader.refuse("it is not on one plain table", "leave out partitions and index hints")
    })?;
    names::named(reader.text, reader.statement(), name, alias)
}

/// Whether the row of the table at `place` is never missing from a joined row.
fn keeps_rows(table: &TableWithJoins, place: usize) -> bool {
    let mut joins = table.joins.iter().map(|join| keeps(&join.join_operator));
    match place.checked_sub(1) {
        None => joins.all(|keeps| keeps.left),
        Some(own) => {
            joins.nth(own).is_some_and(|keeps| keeps.right) && joins.all(|keeps| keeps.left)
        }
    }
}

/// Which sides of a join are in each of its rows.
#[derive(Clone, Copy)]
struct Keeps {
    left: bool,
    right: bool,
}

fn keeps(operator: &JoinOperator) -> Keeps {
    match operator {
        JoinOperator::Join(_)
        | JoinOperator::Inner(_)
        | JoinOperator::CrossJoin(_)
        | JoinOperator::StraightJoin(_) => Keeps { left: true, right: true },
        JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => Keeps { left: true, right: false },
        JoinOperator::Right(_) | JoinOperator::RightOuter(_) => Keeps { left: false, right: true },
        JoinOperator::FullOuter(_)
        | JoinOperator::Semi(_)
        | JoinOperator::LeftSemi(_)
        | JoinOperator::RightSemi(_)
        | JoinOperator::Anti(_)
        | JoinOperator::LeftAnti(_)
        | JoinOperator::RightAnti(_)
        | JoinOperator::CrossApply
        | JoinOperator::OuterApply
        | JoinOperator::AsOf { .. }
        | JoinOperator::ArrayJoin
        | JoinOperator::LeftArrayJoin
        | JoinOperator::InnerArrayJoin => Keeps { left: false, right: false },
    }
}
