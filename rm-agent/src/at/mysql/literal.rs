//! Values in the text of an INSERT: which give the same when they are asked for again, and what a column
//! makes of them.
//!
//! Easy to get wrong: what is stored is not always what is written. A literal is made the number that an
//! INT stores of it, exactly or not at all: a row that has another key must not be taken for the
//! statement's.

use sqlparser::dialect::MySqlDialect as Tokens;
use sqlparser::tokenizer::{Token, Tokenizer};

use crate::at::plan::Part;

/// DEFAULT or NULL.
pub(super) fn is_nothing(value: Option<&Part>) -> bool {
    value.is_none_or(|part| part.sql.eq_ignore_ascii_case("NULL"))
}

/// A literal as a column of whole numbers stores it. Only where a cast does the same as storing does: of
/// numbers with an exponent, of texts, and of what may be out of range it does not.
pub(super) fn stored(part: &Part, whole: Option<&'static str>) -> String {
    let sql = part.sql.as_str();
    let is_hex = |text: &str| {
        (1..=15).contains(&text.len()) && text.chars().all(|digit| digit.is_ascii_hexdigit())
    };
    let is_bits =
        |text: &str| (1..=63).contains(&text.len()) && text.chars().all(|b| "01".contains(b));
    let is_decimal = |text: &str| {
        text.split_once('.').is_some_and(|(before, after)| {
            let mut digits = before.chars().chain(after.chars());
            before.len() <= 18 && digits.all(|digit| digit.is_ascii_digit())
        })
    };
    let bits = sql.strip_prefix(['b', 'B']).and_then(|text| text.strip_prefix('\''));
    let bits = bits.and_then(|text| text.strip_suffix('\''));
    let unsigned = sql.strip_prefix('-').filter(|_| whole == Some("SIGNED")).unwrap_or(sql);
    let is_known = sql.strip_prefix("0x").is_some_and(is_hex)
        || bits.is_some_and(is_bits)
        || is_decimal(unsigned);
    match whole {
        Some(whole) if is_known => format!("CAST({sql} AS {whole})"),
        Some(_) | None => sql.to_owned(),
    }
}

/// Functions that give the same value for the same arguments, and words that are no functions.
const STABLE: [&str; 44] = [
    "abs",
    "as",
    "binary",
    "bin_to_uuid",
    "ceil",
    "ceiling",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "convert",
    "cast",
    "date",
    "datetime",
    "decimal",
    "div",
    "false",
    "floor",
    "greatest",
    "hex",
    "if",
    "ifnull",
    "least",
    "left",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "mod",
    "not",
    "null",
    "nullif",
    "replace",
    "right",
    "round",
    "rpad",
    "rtrim",
    "sha1",
    "sha2",
    "signed",
    "trim",
    "true",
    "unhex",
    "upper",
];

/// Whether an expression has the same value when it is evaluated once more.
pub(super) fn is_stable(part: &Part) -> bool {
    let tokens = Tokenizer::new(&Tokens {}, &part.sql).with_unescape(false).tokenize();
    tokens.is_ok_and(|tokens| {
        tokens.iter().all(|token| match token {
            Token::Word(word) => {
                let word_text = word.value.to_ascii_lowercase();
                word.quote_style.is_none() && STABLE.contains(&word_text.as_str())
            }
            Token::AtSign => false,
            // Numbers, texts, parameters, operators.
            _ => true,
        })
    })
}
