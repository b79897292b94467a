//! SELECT: what only reads, and what asks for locks.
//!
//! On SQLite a statement that begins with SELECT or VALUES cannot change anything, so one that the
//! parser does not know (`a IS NOT ?`) still runs. Everywhere else a query may hold a change, or
//! make a table, so it must parse.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, GroupByExpr, Query, Select, Visit, Visitor};
use sqlparser::keywords::Keyword;

use super::change::check_parameters;
use super::classify::single;
use super::names;
use super::reader::Reader;
use super::text::Text;
use super::{LockingRead, Plan, Refused, RowsRead, Source, pure};
use crate::db::Kind;

const STATEMENT: &str = "locking SELECT";
const SINGLE_TABLE: &str = "select the rows to be locked from one table, without grouping";
const FOR_UPDATE: &str = "use `FOR UPDATE`, which checks the global locks";

pub(super) fn plan_read(text: &Text<'_>) -> Result<Plan, Refused> {
    if locking_clause(text).is_some() {
        return locking_read(text).map(Plan::LockingRead);
    }
    let begins_plainly =
        matches!(text.keyword(0), Some(Keyword::SELECT | Keyword::VALUES | Keyword::TABLE));
    let mut reader = Reader::new(text, "query");
    let parsed = reader.read(|parser| parser.parse_query()).and_then(|(query, _)| {
        reader.finish()?;
        Ok(query)
    });
    match parsed {
        Ok(query) => pure::check("query", text.kind, &query).map(|()| Plan::Read),
        Err(_) if text.kind == Kind::Sqlite && begins_plainly => Ok(Plan::Read),
        Err(refused) => Err(refused),
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
    let words = [Keyword::UPDATE, Keyword::SHARE, Keyword::NO, Keyword::KEY];
    let locks = |at: usize| text.keyword(at + 1).is_some_and(|next| words.contains(&next));
    let shares = |at: usize| text.keyword(at + 1) == Some(Keyword::IN);
    let after_for = text.find_last(Keyword::FOR).filter(|at| locks(*at));
    after_for.or_else(|| text.find_last(Keyword::LOCK).filter(|at| *at > 0 && shares(*at)))
}

fn locking_read(text: &Text<'_>) -> Result<LockingRead, Refused> {
    check_parameters(text)?;
    let refused = |why: &'static str| Refused::new(STATEMENT, why, SINGLE_TABLE);
    let end = locking_clause(text).unwrap_or(text.pieces.len());
    let is_plain = end == text.pieces.len() || check_clause(text, end)?;
    let mut reader = Reader::upto(text, STATEMENT, end);
    let (query, _) = reader.query()?;
    reader.finish()?;
    let select =
        select(&query).ok_or_else(|| refused("it is not one SELECT, or has more to it"))?;
    let [from] = select.from.as_slice() else { return Err(refused("it is not on one table")) };
    let (name, alias) = names::plain_table(&from.relation)
        .filter(|_| from.joins.is_empty())
        .ok_or_else(|| refused("it is not on one plain table"))?;
    let named = names::named(text, STATEMENT, name, alias)?;

    // The FROM is the word before the table's name.
    let first = name.0.first().and_then(|part| part.as_ident());
    let from = first
        .and_then(|first| text.place(first.span.start))
        .and_then(|place| place.checked_sub(1))
        .filter(|from| text.keyword(*from) == Some(Keyword::FROM))
        .ok_or_else(|| refused("it has no plain FROM"))?;
    let rows = if returns_table_rows(select) {
        RowsRead::Returned { items_end: text.cut(0, from).sql.len() }
    } else if query.limit_clause.is_some() {
        return Err(refused("it limits rows that are not the table's"));
    } else if !is_plain {
        return Err(refused("it waits for no lock, and so its groups may be of other rows"));
    } else {
        RowsRead::Matching(matching(text, select, from, end)?)
    };
    let locking = text.cut(end, text.pieces.len()).sql;
    Ok(LockingRead {
        table: named.table,
        target: named.target,
        text: text.cut(0, end),
        locking,
        rows,
    })
}

/// Reads the locking clause. Returns whether it waits for rows that are locked.
fn check_clause(text: &Text<'_>, at: usize) -> Result<bool, Refused> {
    let words: Vec<String> = text.pieces[at..].iter().map(super::text::Piece::word).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let rest = match words.as_slice() {
        ["FOR", "UPDATE", rest @ ..] => rest,
        ["FOR", "NO", "KEY", "UPDATE", rest @ ..] if text.kind == Kind::Postgres => rest,
        ["FOR", "SHARE", ..] | ["FOR", "KEY", "SHARE", ..] | ["LOCK", ..] => {
            let why = "it lets others read on, and global locks of readers are not kept";
            return Err(Refused::new(STATEMENT, why, FOR_UPDATE));
        }
        _ => return Err(unknown_clause()),
    };
    if text.kind == Kind::Sqlite {
        return if rest.is_empty() { Ok(true) } else { Err(unknown_clause()) };
    }
    // Of one table, so whichever it is, it is that.
    let rest = match rest {
        ["OF", _, rest @ ..] => rest,
        rest => rest,
    };
    match rest {
        [] => Ok(true),
        ["NOWAIT"] | ["SKIP", "LOCKED"] => Ok(false),
        _ => Err(unknown_clause()),
    }
}

fn unknown_clause() -> Refused {
    let why = "its locking clause is not known here, or is not its last clause";
    Refused::new(STATEMENT, why, "end it with `FOR UPDATE`")
}

/// The SELECT that a query is, if it is nothing else.
fn select(query: &Query) -> Option<&Select> {
    let Query {
        with: None,
        body,
        order_by: _,
        limit_clause: _,
        fetch: None,
        locks: _,
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators,
    } = query
    else {
        return None;
    };
    body.as_select().filter(|_| pipe_operators.is_empty())
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
fn matching(text: &Text<'_>, select: &Select, from: usize, end: usize) -> Result<Source, Refused> {
    let skipped = text.count(0, from);
    let mut reader = Reader::upto(text, STATEMENT, end);
    reader.skip(from + 1);
    let (_, table) = reader.read(|parser| parser.parse_table_and_joins())?;
    let condition = reader.condition()?;
    let next = text.keyword(reader.at());
    let clauses = [Keyword::GROUP, Keyword::HAVING, Keyword::WINDOW, Keyword::ORDER];
    let is_known = reader.finish().is_ok() || next.is_some_and(|next| clauses.contains(&next));
    if !is_known || condition.is_some() != select.selection.is_some() {
        let why = "the condition on its rows cannot be told";
        return Err(Refused::new(STATEMENT, why, SINGLE_TABLE));
    }
    Ok(Source { skipped, from: table, condition, ..Source::default() })
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
