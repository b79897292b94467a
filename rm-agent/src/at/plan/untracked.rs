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
use super::names::table;
use crate::db::Kind;

/// First words of statements about rows.
const ROWS: [&str; 9] =
    ["SELECT", "VALUES", "TABLE", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE"];
/// And of those that change rows which their text does not name.
const UNNAMED: [&str; 3] = ["CALL", "DO", "EXECUTE"];
/// How deeply expressions may nest; the parser is recursive.
const NESTING_MAX: usize = 100;

/// The tables that a statement names, as [`Dialect::named`](super::super::restore::Dialect::named) takes
/// them; empty if it names none, or none that the parser finds.
///
/// # Errors
/// [`Refused`] if it is no statement about rows, or ends the local transaction.
pub(crate) fn named_tables(sql: &str, kind: Kind) -> Result<Vec<String>, Refused> {
    let text = single(sql, kind)?;
    only_reads(sql, kind)?;
    let first = text.pieces.first().map(super::text::Piece::word).unwrap_or_default();
    if UNNAMED.contains(&first.as_str()) {
        return Ok(Vec::new());
    }
    let is_about_rows = match kind {
        Kind::Postgres | Kind::Sqlite => ROWS.contains(&first.as_str()),
        // TRUNCATE commits by itself there.
        Kind::Mysql => {
            first == "REPLACE" || (ROWS.contains(&first.as_str()) && first != "TRUNCATE")
        }
    };
    if !is_about_rows {
        let why = "only statements about rows can run in a branch that falls back to XA";
        return Err(Refused::new("statement", why, "run it outside, through `bypass()`"));
    }
    let parsed = Parser::new(kind.dialect())
        .with_recursion_limit(NESTING_MAX)
        .with_tokens_with_locations(text.tokens)
        .parse_statements();
    let mut names = Names { kind, found: Vec::new() };
    // What the parser does not understand names nothing that could be relied on.
    if let Ok(statements) = parsed
        && let ControlFlow::Break(refused) = statements.visit(&mut names)
    {
        return Err(refused);
    }
    Ok(names.found)
}

struct Names {
    kind: Kind,
    found: Vec<String>,
}

impl Visitor for Names {
    type Break = Refused;

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Refused> {
        match table(self.kind, "statement", relation) {
            Ok(name) if self.found.contains(&name) => ControlFlow::Continue(()),
            Ok(name) => {
                self.found.push(name);
                ControlFlow::Continue(())
            }
            Err(refused) => ControlFlow::Break(refused),
        }
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
            ("UPDATE \"Account\" SET a = 1", &["Account"]),
            ("UPDATE Account SET a = 1", &["account"]),
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
            let named = named_tables(sql, Kind::Postgres).unwrap();
            let mut named: Vec<String> = named.iter().map(|name| name.replace('"', "")).collect();
            named.sort();
            assert_eq!(named, tables, "{sql}");
        }
    }

    #[test]
    fn on_mysql_names_have_other_quotes_and_truncate_is_a_commit() {
        for (sql, tables) in [
            ("UPDATE a JOIN `b` USING (id) SET a.x = 1, b.x = 2", &["a", "b"][..]),
            ("DELETE a, b FROM a JOIN b ON a.id = b.id", &["a", "b"]),
            ("REPLACE INTO app.a SELECT * FROM b", &["`app`.`a`", "b"]),
            ("SELECT withdraw(1)", &[]),
            ("DO withdraw(1)", &[]),
        ] {
            let mut named = named_tables(sql, Kind::Mysql).unwrap();
            named.sort();
            assert_eq!(named, tables, "{sql}");
        }
        for sql in ["TRUNCATE a", "XA END 'x'", "UPDATE x.y.z SET a = 1", "LOCK TABLES a WRITE"] {
            assert!(named_tables(sql, Kind::Mysql).is_err(), "{sql}");
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
