//! SELECT: what only reads, and what asks for locks.
//!
//! On SQLite a statement that begins with SELECT or VALUES cannot change anything, so one that the
//! parser does not know (`a IS NOT ?`) still runs. One that begins with WITH can, so it must parse.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, GroupByExpr, LockType, Query, Select, SetExpr, Statement, Visit, Visitor,
};
use sqlparser::keywords::Keyword;

use super::change::{plain_table, table_name};
use super::classify::{parse, single};
use super::text::Text;
use super::{LockingRead, Plan, Refused, RowsRead, Source};
use crate::db::Kind;

const STATEMENT: &str = "locking SELECT";
const SINGLE_TABLE: &str = "select the rows to be locked from one table, without grouping";

pub(super) fn plan_read(text: &Text<'_>) -> Result<Plan, Refused> {
    if locking_clause(text).is_some() {
        return locking_read(text).map(Plan::LockingRead);
    }
    let must_parse = text.pieces[0].keyword() != Some(Keyword::SELECT)
        && text.pieces[0].keyword() != Some(Keyword::VALUES);
    match parse(text) {
        Ok(Statement::Query(query)) if is_pure(query.as_ref()) && query.locks.is_empty() => {
            Ok(Plan::Read)
        }
        Err(_) if !must_parse => Ok(Plan::Read),
        Err(refused) => Err(refused),
        Ok(_) => Err(Refused::new(
            "query",
            "a part of it changes rows, or asks for locks inside",
            "send the change as a statement of its own",
        )),
    }
}

/// A SELECT, with or without FOR UPDATE, whose rows' global locks are wanted.
///
/// # Errors
/// [`Refused`] if its rows cannot be told.
pub(crate) fn plan_locking_read(sql: &str, kind: Kind) -> Result<LockingRead, Refused> {
    locking_read(&single(sql, kind)?)
}

/// Where `FOR UPDATE` or one of its sisters begins.
fn locking_clause(text: &Text<'_>) -> Option<usize> {
    let found = text.find_last(Keyword::FOR)?;
    let next = text.pieces.get(found + 1)?.keyword()?;
    matches!(next, Keyword::UPDATE | Keyword::SHARE | Keyword::NO | Keyword::KEY).then_some(found)
}

fn locking_read(text: &Text<'_>) -> Result<LockingRead, Refused> {
    let refused = |why: &'static str| Refused::new(STATEMENT, why, SINGLE_TABLE);
    let Statement::Query(query) = parse(text)? else { return Err(refused("it is no SELECT")) };
    check_lock(&query)?;
    if !is_pure(query.as_ref()) {
        return Err(refused("a part of it changes rows"));
    }
    if query.with.is_some() || query.fetch.is_some() || !query.pipe_operators.is_empty() {
        return Err(refused("its rows cannot be told from its text"));
    }
    let SetExpr::Select(select) = query.body.as_ref() else {
        return Err(refused("it is not one SELECT"));
    };
    let [from] = select.from.as_slice() else { return Err(refused("it is not on one table")) };
    let name = plain_table(&from.relation)
        .filter(|_| from.joins.is_empty())
        .ok_or_else(|| refused("it is not on one plain table"))?;
    let table = table_name(STATEMENT, name)?;

    let end = locking_clause(text).unwrap_or(text.pieces.len());
    let from = text.find(Keyword::FROM, 1).ok_or_else(|| refused("it has no FROM"))?;
    let rows = if returns_table_rows(select) {
        RowsRead::Returned { items_end: text.cut(0, from).sql.len() }
    } else if query.limit_clause.is_some() {
        return Err(refused("it limits rows that are not the table's"));
    } else {
        RowsRead::Matching(matching(text, select, from, end))
    };
    let target = name.to_string();
    let locking = text.cut(end, text.pieces.len()).sql;
    Ok(LockingRead { table, target, text: text.cut(0, end), locking, rows })
}

fn check_lock(query: &Query) -> Result<(), Refused> {
    let plain = query.locks.iter().all(|lock| {
        lock.lock_type == LockType::Update && lock.of.is_none() && lock.nonblock.is_none()
    });
    if plain && query.locks.len() <= 1 {
        return Ok(());
    }
    Err(Refused::new(STATEMENT, "only a plain FOR UPDATE is known here", "use `FOR UPDATE`"))
}

/// Whether each returned row is one row of the table, so that its key may be returned beside it. A
/// function may be an aggregate, which only the database knows.
fn returns_table_rows(select: &Select) -> bool {
    let ungrouped = matches!(&select.group_by, GroupByExpr::Expressions(by, with)
        if by.is_empty() && with.is_empty());
    ungrouped
        && select.having.is_none()
        && select.distinct.is_none()
        && select.named_window.is_empty()
        && !select.projection.iter().any(has_function)
}

/// The rows before any grouping: those that meet the condition.
fn matching(text: &Text<'_>, select: &Select, from: usize, end: usize) -> Source {
    let tail = [Keyword::GROUP, Keyword::HAVING, Keyword::WINDOW, Keyword::ORDER];
    let tail = tail.iter().filter_map(|word| text.find(*word, from)).min().unwrap_or(end);
    match text.find(Keyword::WHERE, from).filter(|_| select.selection.is_some()) {
        Some(found) => Source {
            from: text.cut(from + 1, found),
            condition: Some(text.cut(found + 1, tail)),
            ..Source::default()
        },
        None => Source { from: text.cut(from + 1, tail), ..Source::default() },
    }
}

fn has_function(item: &impl Visit) -> bool {
    struct Functions;
    impl Visitor for Functions {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Function(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    item.visit(&mut Functions).is_break()
}

/// Whether nothing in it changes rows: no statement inside but queries, at any depth.
pub(super) fn is_pure(part: &impl Visit) -> bool {
    struct Changes;
    impl Visitor for Changes {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            if reads(&query.body) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        }
        fn pre_visit_statement(&mut self, _: &Statement) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
            if select.into.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    part.visit(&mut Changes).is_continue()
}

fn reads(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(_) | SetExpr::Values(_) | SetExpr::Table(_) => true,
        SetExpr::Query(query) => reads(&query.body),
        SetExpr::SetOperation { left, right, op: _, set_quantifier: _ } => {
            reads(left) && reads(right)
        }
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => false,
    }
}
