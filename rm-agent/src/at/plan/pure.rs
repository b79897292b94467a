//! What in a query is more than a query.
//!
//! A subquery that changes rows is a change that no image shows, and one that locks rows locks them
//! past the global locks. Functions are the database's and the users' own, and what they do cannot
//! be known from a text: refused here are those of the database whose effect a rollback would leave.
//! The users' own are [`called`](super::called)'s.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, ObjectName, Query, Select, SetExpr, Statement, TableFactor, Visit, Visitor,
};

use super::Refused;
use crate::db::Kind;

/// Functions by name, or by the beginning of a name that ends with `*`, and why not.
const STAYS: &str = "the session's lock would stay when the local transaction has ended";
const RUNS_TEXT: &str = "it runs SQL that is given as a text";
const FUNCTIONS: [(Kind, &str, &str); 18] = [
    (Kind::Postgres, "set_config", "it changes a setting, and so what later statements mean"),
    (Kind::Postgres, "lo_*", "large objects are rows that have no image"),
    (Kind::Postgres, "lowrite", "large objects are rows that have no image"),
    (Kind::Postgres, "dblink*", "it reaches another database, which no rollback does"),
    (Kind::Postgres, "pg_notify", "the message would go out with the local commit"),
    (Kind::Postgres, "pg_logical_emit_message", "the message would go out with the local commit"),
    (Kind::Postgres, "pg_file_*", "files have no image"),
    (Kind::Postgres, "pg_advisory_lock*", STAYS),
    (Kind::Postgres, "pg_try_advisory_lock*", STAYS),
    (Kind::Postgres, "pg_advisory_unlock*", STAYS),
    (Kind::Postgres, "query_to_xml*", RUNS_TEXT),
    (Kind::Postgres, "cursor_to_xml*", RUNS_TEXT),
    (Kind::Postgres, "ts_stat", RUNS_TEXT),
    (Kind::Mysql, "get_lock", STAYS),
    (Kind::Mysql, "release_lock", STAYS),
    (Kind::Mysql, "release_all_locks", STAYS),
    (Kind::Postgres, "pg_terminate_backend", "it may end the session that does phase two"),
    (Kind::Sqlite, "load_extension", "an extension may change anything"),
];

/// Whether a part of a statement only reads.
///
/// # Errors
/// [`Refused`] with what it does beside.
pub(super) fn check(statement: &'static str, kind: Kind, part: &impl Visit) -> Result<(), Refused> {
    match part.visit(&mut Look { statement, kind }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refused) => Err(refused),
    }
}

struct Look {
    statement: &'static str,
    kind: Kind,
}

impl Look {
    fn refuse(&self, why: &'static str, instead: &'static str) -> ControlFlow<Refused> {
        ControlFlow::Break(Refused::new(self.statement, why, instead))
    }

    fn function(&self, name: &ObjectName) -> ControlFlow<Refused> {
        let Some(name) = name.0.last().and_then(|part| part.as_ident()) else {
            return ControlFlow::Continue(());
        };
        let name = name.value.to_ascii_lowercase();
        let is_it = |(kind, function, _): &&(Kind, &str, &str)| {
            let named = match function.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => name == *function,
            };
            *kind == self.kind && named
        };
        match FUNCTIONS.iter().find(is_it) {
            None => ControlFlow::Continue(()),
            Some((_, _, why)) => ControlFlow::Break(Refused::new(
                self.statement,
                format!("of its function `{name}`: {why}"),
                "call it outside of global transactions",
            )),
        }
    }
}

impl Visitor for Look {
    type Break = Refused;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refused> {
        if !query.locks.is_empty() {
            let why = "a part of it asks for locks, which are not checked there";
            return self.refuse(why, "lock rows with a `SELECT … FOR UPDATE` of its own");
        }
        if reads(&query.body) {
            return ControlFlow::Continue(());
        }
        self.refuse("a part of it changes rows", "send the change as a statement of its own")
    }

    fn pre_visit_statement(&mut self, _: &Statement) -> ControlFlow<Refused> {
        self.refuse("a part of it is another statement", "send that as a statement of its own")
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Refused> {
        if select.into.is_none() {
            return ControlFlow::Continue(());
        }
        self.refuse("SELECT … INTO makes a table or sets variables", "use INSERT … SELECT")
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Refused> {
        match expr {
            Expr::Function(function) => self.function(&function.name),
            // The parser's enum has every expression that SQL has.
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Refused> {
        match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                self.function(name)
            }
            // As above.
            _ => ControlFlow::Continue(()),
        }
    }
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
