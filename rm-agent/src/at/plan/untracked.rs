//! A statement that AT cannot undo, for a branch that the database itself will undo: which tables does
//! it name?
//!
//! Only the tables are known of it, so they are what it locks. A statement that would end the local
//! transaction, or change what later statements mean, is refused here too.

use std::ops::ControlFlow;

use sqlparser::ast::{ObjectName, Visit as _, Visitor};
use sqlparser::parser::Parser;

use super::Refused;
use super::classify::single;
use super::control::only_reads;
use crate::db::Kind;

/// First words of statements about rows.
const ROWS: [&str; 9] =
    ["SELECT", "VALUES", "TABLE", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE"];
/// And of those that change rows which their text does not name.
const UNNAMED: [&str; 3] = ["CALL", "DO", "EXECUTE"];
/// How deeply expressions may nest; the parser is recursive.
const NESTING_MAX: usize = 100;

/// The tables that a statement names, as written; empty if it names none, or none that the parser
/// finds.
///
/// # Errors
/// [`Refused`] if it is no statement about rows.
pub(crate) fn named_tables(sql: &str, kind: Kind) -> Result<Vec<String>, Refused> {
    let text = single(sql, kind)?;
    only_reads(sql, kind)?;
    let first = text.pieces.first().map(super::text::Piece::word).unwrap_or_default();
    if UNNAMED.contains(&first.as_str()) {
        return Ok(Vec::new());
    }
    if !ROWS.contains(&first.as_str()) {
        let why = "only statements about rows can run in a branch that falls back to XA";
        return Err(Refused::new("statement", why, "run it outside, through `bypass()`"));
    }
    let parsed = Parser::new(kind.dialect())
        .with_recursion_limit(NESTING_MAX)
        .with_tokens_with_locations(text.tokens)
        .parse_statements();
    let mut names = Names(Vec::new());
    // What the parser does not understand names nothing that could be relied on.
    if let Ok(statements) = parsed {
        let _ = statements.visit(&mut names);
    }
    Ok(names.0)
}

struct Names(Vec<String>);

impl Visitor for Names {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let name = relation.to_string();
        if !self.0.contains(&name) {
            self.0.push(name);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_names_every_table_that_it_reads_or_changes() {
        for (sql, tables) in [
            ("TRUNCATE account", &["account"][..]),
            ("TRUNCATE TABLE a, b", &["a", "b"]),
            ("DELETE FROM app.account", &["app.account"]),
            ("UPDATE \"Account\" SET a = 1", &["\"Account\""]),
            ("MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN DELETE", &["a", "b"]),
            ("INSERT INTO a SELECT * FROM b WHERE x IN (SELECT x FROM c)", &["a", "b", "c"]),
            (
                "WITH gone AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM gone",
                &["a", "b", "gone"],
            ),
            ("SELECT withdraw(id) FROM account", &["account"]),
            ("SELECT withdraw(1)", &[]),
            ("CALL withdraw(1)", &[]),
            ("DO $$ BEGIN DELETE FROM a; END $$", &[]),
        ] {
            let mut named = named_tables(sql, Kind::Postgres).unwrap();
            named.sort();
            assert_eq!(named, tables, "{sql}");
        }
    }

    #[test]
    fn what_is_not_about_rows_is_refused() {
        for sql in [
            "COMMIT",
            "TRUNCATE a; TRUNCATE b",
            "DROP TABLE a",
            "CREATE TABLE a (id INT)",
            "SET search_path = b",
            "PREPARE TRANSACTION 'x'",
            "LISTEN x",
        ] {
            assert!(named_tables(sql, Kind::Postgres).is_err(), "{sql}");
        }
    }
}
