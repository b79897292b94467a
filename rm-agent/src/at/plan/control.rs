//! What any local transaction of ours must know of a text that is not planned: does it end or change
//! the transaction it runs in, and does it only read?
//!
//! For XA, where the database undoes whatever ran. The text may hold several statements.
//!
//! Easy to get wrong: *only reads* is a promise, since a branch that only read is rolled back at its
//! end, and what it wrote after all would be lost. So a function that is not known to be harmless
//! makes it false. A view whose own functions write is beyond a text, as `docs/xa.md` says.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::Token;

use super::refused::Refused;
use super::text::{Piece, Text};
use super::{Plan, plan};
use crate::db::Kind;

/// Words that may stand before a parenthesis and are no functions, and functions that only compute.
const HARMLESS: [&str; 38] = [
    "ALL",
    "AND",
    "ANY",
    "AS",
    "BETWEEN",
    "BY",
    "CASE",
    "ELSE",
    "EXCEPT",
    "EXISTS",
    "FROM",
    "IN",
    "INTERSECT",
    "JOIN",
    "LIMIT",
    "NOT",
    "ON",
    "OR",
    "OVER",
    "SELECT",
    "SOME",
    "THEN",
    "UNION",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE", // functions:
    "ABS",
    "AVG",
    "CAST",
    "COALESCE",
    "COUNT",
    "LENGTH",
    "LOWER",
    "MAX",
    "MIN",
    "SUM",
    "UPPER",
];

/// Whether a text that may run inside a branch certainly changes and locks nothing.
///
/// # Errors
/// [`Refused`] if it would end or change the local transaction, or cannot be read.
pub(crate) fn only_reads(sql: &str, kind: Kind) -> Result<bool, Refused> {
    let text = Text::new(sql, kind).map_err(|error| {
        let instead = "write it in a form that cannot be misread, or bind texts as parameters";
        Refused::new("statement", format!("it cannot be read: {error}"), instead)
    })?;
    for statement in text.pieces.split(Piece::ends_statement) {
        check(statement)?;
    }
    let calls =
        text.pieces.windows(2).any(|pair| pair[1].token == Token::LParen && may_call(&pair[0]));
    // A name with a schema in front is not the database's own.
    let qualified =
        |three: &[Piece]| three[0].token == Token::Period && three[2].token == Token::LParen;
    let calls = calls || text.pieces.windows(3).any(qualified);
    Ok(!calls && matches!(plan(sql, kind), Ok(Plan::Read)))
}

fn may_call(piece: &Piece) -> bool {
    match &piece.token {
        Token::Word(word) if word.quote_style.is_none() => !HARMLESS.contains(&&*piece.word()),
        Token::Word(_) => true,
        _ => false,
    }
}

fn check(statement: &[Piece]) -> Result<(), Refused> {
    let word = |place: usize| statement.get(place).map(Piece::word).unwrap_or_default();
    let is_savepoint =
        || statement.iter().take(3).any(|piece| piece.keyword() == Some(Keyword::TO));
    let ends = "use `commit()` and `rollback()` of the transaction";
    match word(0).as_str() {
        "ROLLBACK" if is_savepoint() => Ok(()),
        "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" => {
            let why = "the agent must know where its local transaction begins and ends";
            Err(Refused::new("transaction control", why, ends))
        }
        "XA" => Err(Refused::new("XA statement", "the branch is the agent's to prepare", ends)),
        "PREPARE" if word(1) == "TRANSACTION" => {
            let why = "the branch is the agent's to prepare";
            Err(Refused::new("PREPARE TRANSACTION", why, ends))
        }
        "SET" | "RESET" if (1..=2).any(|place| changes_role(&word(place))) => {
            let why = "the agent could not finish what another role prepared";
            Err(Refused::new("change of the role", why, "connect as the role that is meant"))
        }
        _ => Ok(()),
    }
}

fn changes_role(word: &str) -> bool {
    matches!(word, "ROLE" | "AUTHORIZATION")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_transaction_is_refused_wherever_it_stands() {
        for sql in [
            "COMMIT",
            "commit work",
            "/* so */ Rollback",
            "SELECT 1; END",
            "SELECT 1;;\n-- then\nabort;",
            "BEGIN",
            "START TRANSACTION",
            "PREPARE TRANSACTION 'x'",
            "ROLLBACK PREPARED 'x'",
            "SET LOCAL ROLE other",
            "SET SESSION AUTHORIZATION other",
            "SELECT 'open",
        ] {
            assert!(only_reads(sql, Kind::Postgres).is_err(), "{sql}");
        }
        for sql in ["XA END 'x'", "xa prepare 'x'", "SELECT 1 /*! ; COMMIT */", "SELECT 1;COMMIT"] {
            assert!(only_reads(sql, Kind::Mysql).is_err(), "{sql}");
        }
    }

    /// A branch that only read is rolled back at its end, so what these write would be lost.
    #[test]
    fn what_reads_and_writes_is_no_read() {
        for (kind, sql) in [
            (Kind::Postgres, "EXPLAIN ANALYZE DELETE FROM account"),
            (Kind::Postgres, "EXPLAIN (ANALYZE) UPDATE account SET a = 1"),
            (Kind::Postgres, "EXPLAIN (COSTS OFF, ANALYZE TRUE) INSERT INTO account VALUES (1)"),
            (Kind::Postgres, "SELECT * INTO other FROM account"),
            (Kind::Postgres, "CREATE TABLE other AS SELECT 1"),
            (Kind::Postgres, "WITH gone AS (DELETE FROM a RETURNING *) SELECT * FROM gone"),
            (Kind::Postgres, "WITH gone AS (DELETE FROM a RETURNING *) TABLE gone"),
            (Kind::Postgres, "SELECT 1; DELETE FROM account"),
            (Kind::Postgres, "LOCK TABLE account"),
            (Kind::Postgres, "EXECUTE stored"),
            (Kind::Postgres, "FETCH ALL FROM writing"),
            (Kind::Postgres, "COPY account FROM STDIN"),
            (Kind::Postgres, "COPY (DELETE FROM account RETURNING *) TO STDOUT"),
            (Kind::Postgres, "NOTIFY somebody"),
            (Kind::Postgres, "SELECT withdraw (1)"),
            (Kind::Postgres, "SELECT \"max\"(1)"),
            (Kind::Postgres, "SELECT app.max(1)"),
            (Kind::Postgres, "SELECT app . max (1)"),
            (Kind::Postgres, "SELECT a FROM account FOR SHARE"),
            (Kind::Postgres, "(SELECT a FROM account FOR UPDATE)"),
            (Kind::Postgres, "SELECT * FROM (SELECT a FROM account FOR NO KEY UPDATE) b"),
            (Kind::Mysql, "ANALYZE DELETE FROM account"),
            (Kind::Mysql, "ANALYZE FORMAT=JSON UPDATE account SET a = 1"),
            (Kind::Mysql, "EXPLAIN ANALYZE DELETE FROM account"),
            (Kind::Mysql, "SELECT a FROM account LOCK IN SHARE MODE"),
            (Kind::Mysql, "SELECT a FROM account FOR UPDATE"),
            (Kind::Mysql, "SELECT a INTO OUTFILE '/x' FROM account"),
            (Kind::Mysql, "DELETE FROM account RETURNING id"),
            (Kind::Mysql, "REPLACE INTO account VALUES (1)"),
            (Kind::Mysql, "SELECT NEXT VALUE FOR numbers"),
            (Kind::Mysql, "SELECT PREVIOUS VALUE FOR numbers, NEXT VALUE FOR app.numbers"),
            (Kind::Mysql, "DO withdraw(1)"),
            (Kind::Mysql, "SELECT 1 /*!, withdraw(1) */"),
            (Kind::Mysql, "SELECT 1 /*M! FROM account FOR UPDATE */"),
            (Kind::Mysql, "EXECUTE stored"),
            (Kind::Mysql, "LOCK TABLES account WRITE"),
        ] {
            assert_ne!(only_reads(sql, kind).ok(), Some(true), "{sql}");
        }
    }

    #[test]
    fn savepoints_and_texts_that_only_look_so_are_not() {
        for sql in [
            "SAVEPOINT a",
            "ROLLBACK TO a",
            "ROLLBACK WORK TO SAVEPOINT a",
            "RELEASE SAVEPOINT a",
            "UPDATE t SET note = '; COMMIT'",
            "SELECT \"commit\" FROM t",
            "PREPARE q AS SELECT 1",
            "DO $$ BEGIN PERFORM 1; END $$",
        ] {
            assert!(only_reads(sql, Kind::Postgres).is_ok(), "{sql}");
        }
    }

    #[test]
    fn only_what_certainly_reads_counts_as_a_read() {
        for sql in [
            "SELECT balance FROM account WHERE id = $1",
            "SELECT count(*), max(id) FROM t WHERE a IN (1, 2) AND (b OR c)",
            "WITH x AS (SELECT 1) SELECT * FROM x",
        ] {
            assert_eq!(only_reads(sql, Kind::Postgres), Ok(true), "{sql}");
        }
        for sql in [
            "SELECT withdraw(30)",
            "SELECT \"count\"(1)",
            "SELECT app.sum(1)",
            "SELECT nextval('s')",
            "SELECT * FROM t FOR UPDATE",
            "SELECT 1; DELETE FROM t",
            "UPDATE t SET a = 1 WHERE false",
            "CALL p()",
        ] {
            assert_eq!(only_reads(sql, Kind::Postgres), Ok(false), "{sql}");
        }
    }
}
