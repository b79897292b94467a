//! Whether a row is chosen by its own columns, and by nothing that may change under two statements.
//!
//! By tokens, and default-deny: a function that is not known here, a variable, another table or a clock
//! is more than the row.

use sqlparser::dialect::MySqlDialect as Tokens;
use sqlparser::tokenizer::{Token, Tokenizer};

use crate::at::plan::{Part, Source};

/// Functions that look at nothing but their arguments, and words that may stand before a parenthesis. Not
/// those that make a date: of a mere time they make one of today.
const OWN: [&str; 55] = [
    "abs",
    "all",
    "and",
    "as",
    "ascii",
    "between",
    "binary",
    "case",
    "ceil",
    "ceiling",
    "char",
    "char_length",
    "coalesce",
    "concat",
    "concat_ws",
    "crc32",
    "div",
    "else",
    "field",
    "find_in_set",
    "floor",
    "greatest",
    "hex",
    "if",
    "ifnull",
    "in",
    "instr",
    "interval",
    "is",
    "isnull",
    "least",
    "left",
    "length",
    "like",
    "locate",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "mod",
    "not",
    "nullif",
    "or",
    "regexp",
    "replace",
    "right",
    "round",
    "rpad",
    "rtrim",
    "substr",
    "substring",
    "then",
    "trim",
    "upper",
    "xor",
];

/// What reads more than the row, or asks a clock, without a parenthesis behind it. A column may be
/// called so; then its statement is sent with keys for nothing.
const FOREIGN: [&str; 20] = [
    "select",
    "with",
    "table",
    "values",
    "exists",
    "match",
    "join",
    "straight_join",
    "next",
    "previous",
    "nextval",
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "utc_date",
    "utc_time",
    "utc_timestamp",
    "lateral",
];

/// Whether a row is chosen by its own columns, whatever else changes. What is `computed` may ask a clock.
pub(super) fn is_chosen_by_itself(rows: &Source, computed: &[&str]) -> bool {
    let parts = [&rows.condition, &rows.order].into_iter().flatten();
    rows.with.is_none()
        && rows.joined.is_none()
        && rows.limit.is_none()
        && reads_own_columns(&rows.from, computed, Commas::JoinTables)
        && parts.into_iter().all(|part| reads_own_columns(part, computed, Commas::ListValues))
}

/// What a comma means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Commas {
    JoinTables,
    ListValues,
}

fn reads_own_columns(part: &Part, computed: &[&str], commas: Commas) -> bool {
    let tokens = Tokenizer::new(&Tokens {}, &part.sql).with_unescape(false).tokenize();
    let Ok(tokens) = tokens else { return false };
    let tokens: Vec<&Token> =
        tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect();
    let before = |at: usize| at.checked_sub(1).map(|at| tokens[at]);
    tokens.iter().enumerate().all(|(at, token)| match token {
        Token::Word(word) => {
            let name = word.value.to_ascii_lowercase();
            let is_plain = word.quote_style.is_none();
            let is_called = tokens.get(at + 1).is_some_and(|next| **next == Token::LParen);
            // `other.lower(…)` is somebody's own.
            let is_qualified = before(at) == Some(&Token::Period);
            if is_called {
                is_plain && !is_qualified && OWN.contains(&name.as_str())
            } else {
                !computed.iter().any(|column| column.eq_ignore_ascii_case(&name))
                    && (!is_plain || !(FOREIGN.contains(&name.as_str()) || name.starts_with('@')))
            }
        }
        // A variable.
        Token::AtSign => false,
        Token::Placeholder(name) => name == "?",
        Token::Comma | Token::LParen => commas == Commas::ListValues,
        // Numbers, texts, parameters, operators.
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::at::plan::{ChangeKind, Plan, plan};
    use crate::db::Kind;

    fn is_own(statement: &str) -> bool {
        let Ok(Plan::Change(change)) = plan(statement, Kind::Mysql) else { panic!("{statement}") };
        match &change.kind {
            ChangeKind::Update(update) => is_chosen_by_itself(&update.rows, &["age"]),
            ChangeKind::Delete(rows) => is_chosen_by_itself(rows, &["age"]),
            ChangeKind::Insert(_) => panic!("{statement}"),
        }
    }

    #[test]
    fn a_row_that_its_own_columns_choose_needs_no_key() {
        for statement in [
            "UPDATE t SET a = (SELECT max(x) FROM s) WHERE id = ?",
            "UPDATE t SET a = NOW()",
            "UPDATE `t` AS x SET a = 1 WHERE x.id IN (?, ?) AND lower(b) LIKE 'x%' ORDER BY a, id",
            "UPDATE d.t SET a = 1 WHERE NOT (a = 1 OR `now` = 2) AND b BETWEEN 1 AND (2 + 3)",
            "DELETE FROM t WHERE at < '2024-01-01' - INTERVAL 1 DAY AND f = 'SELECT now()'",
            "DELETE FROM t",
        ] {
            assert!(is_own(statement), "{statement}");
        }
    }

    #[test]
    fn what_more_than_its_own_columns_chooses_is_sent_with_keys() {
        for statement in [
            "UPDATE t SET a = 1 WHERE id IN (SELECT id FROM s)",
            "UPDATE t SET a = 1 WHERE EXISTS (SELECT 1 FROM s)",
            "UPDATE t SET a = 1 WHERE at < NOW()",
            "UPDATE t SET a = 1 WHERE at < CURRENT_TIMESTAMP",
            "UPDATE t SET a = 1 WHERE at < utc_timestamp - INTERVAL 1 DAY",
            "UPDATE t SET a = 1 WHERE DATE(a) = ?",
            "UPDATE t SET a = 1 WHERE a = @x",
            "UPDATE t SET a = 1 WHERE a = @@timestamp",
            "UPDATE t SET a = 1 WHERE own(a)",
            "UPDATE t SET a = 1 WHERE `lower`(a) = 'x'",
            "UPDATE t SET a = 1 WHERE d.lower(a) = 'x'",
            "UPDATE t SET a = 1 ORDER BY own(a)",
            "UPDATE t SET a = 1 WHERE `Age` > 17",
            "UPDATE t SET a = 1 LIMIT 1",
            "UPDATE t, s SET t.a = 1 WHERE t.id = s.id",
            "UPDATE t JOIN s ON t.id = s.id SET t.a = 1",
            "DELETE t FROM t STRAIGHT_JOIN s ON t.id = s.id",
            "UPDATE t SET a = 1 WHERE MATCH (a) AGAINST ('x')",
        ] {
            assert!(!is_own(statement), "{statement}");
        }
    }
}
