//! Whether a value or a query gives the same when it is asked twice.
//!
//! The rows in the way of an upsert are looked up by the values that it is about to insert. Were those
//! other values when the statement itself asks for them, a row that was there before would be taken
//! for a new one, and a rollback would delete it.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, GroupByExpr, Query, Select, SetExpr, SetOperator, SetQuantifier, Visit, Visitor,
};

use super::reader::Reader;
use super::text::Text;
use super::{Part, Refused};
use crate::db::Kind;

const STATEMENT: &str = "upsert";

/// Functions of one value for the same arguments, in every database here. Others may be, too; what
/// they give has to be bound as a parameter.
const SAME: [&str; 19] = [
    "abs",
    "ceil",
    "char_length",
    "coalesce",
    "concat",
    "floor",
    "hex",
    "ifnull",
    "instr",
    "length",
    "lower",
    "ltrim",
    "nullif",
    "replace",
    "round",
    "rtrim",
    "substr",
    "trim",
    "upper",
];

/// That an expression always has the same value.
///
/// # Errors
/// [`Refused`] if that cannot be told.
pub(crate) fn check_repeatable_value(value: &Part, kind: Kind) -> Result<(), Refused> {
    let text = Text::new(&value.sql, kind).map_err(|_| refused())?;
    let (expr, _) = Reader::new(&text, STATEMENT).expression()?;
    check(&expr)
}

/// That a query always has the same rows, in any order.
///
/// # Errors
/// [`Refused`] if that cannot be told.
pub(crate) fn check_repeatable_query(query: &Part, kind: Kind) -> Result<(), Refused> {
    let text = Text::new(&query.sql, kind).map_err(|_| refused())?;
    let (query, _) = Reader::new(&text, STATEMENT).query()?;
    check(&query)
}

fn check(part: &impl Visit) -> Result<(), Refused> {
    if part.visit(&mut Changing).is_continue() { Ok(()) } else { Err(refused()) }
}

fn refused() -> Refused {
    Refused::new(
        STATEMENT,
        "a key of the rows that it inserts may be another each time it is asked for: it has a \
         function, a limit or a grouping",
        "bind the values as parameters, or use INSERT and UPDATE",
    )
}

struct Changing;

impl Visitor for Changing {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let limited = query.limit_clause.is_some() || query.fetch.is_some();
        if limited || merges(&query.body) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// A group or a set of equals is shown by any of its rows.
    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let ungrouped = matches!(&select.group_by, GroupByExpr::Expressions(by, with)
            if by.is_empty() && with.is_empty());
        if ungrouped && select.distinct.is_none() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => {
                let name = function.name.0.last().and_then(|part| part.as_ident());
                let is_same = name.is_some_and(|name| {
                    SAME.iter().any(|same| name.value.eq_ignore_ascii_case(same))
                });
                if is_same { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            }
            // The parser's enum has every expression that SQL has.
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Whether equal rows of two queries become one.
fn merges(body: &SetExpr) -> bool {
    match body {
        SetExpr::SetOperation { op, set_quantifier, left, right } => {
            *op != SetOperator::Union
                || *set_quantifier != SetQuantifier::All
                || merges(left)
                || merges(right)
        }
        SetExpr::Select(_) | SetExpr::Values(_) | SetExpr::Table(_) | SetExpr::Query(_) => false,
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => true,
    }
}
