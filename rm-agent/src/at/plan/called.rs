//! The names of what a statement may call.
//!
//! What the users' own functions do cannot be known from a text, but the database knows what they
//! are. Here are all names that a parenthesis follows, some of them words of the language or lists of
//! columns: too many cost a look, one too few would let a change pass unseen.

use std::collections::BTreeSet;

use sqlparser::tokenizer::{Token, Word};

use super::text::Text;
use crate::db::Kind;

/// The names, as the database folds them. None for a text that cannot be read: it is refused anyway.
pub(crate) fn called(sql: &str, kind: Kind) -> Vec<String> {
    let Ok(text) = Text::new(sql, kind) else { return Vec::new() };
    let names = text.pieces.windows(2).filter_map(|pair| match (&pair[0].token, &pair[1].token) {
        (Token::Word(word), Token::LParen) => Some(spelled(word)),
        // Every other token there is.
        _ => None,
    });
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

fn spelled(word: &Word) -> String {
    match word.quote_style {
        None => word.value.to_lowercase(),
        Some(quote) => word.value.replace(&format!("{quote}{quote}"), &quote.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_parenthesis_follows_may_be_called() {
        let sql =
            "SELECT Pay (7), s.\"Do\"\"it\"(1), 'no(1)' /* no(2) */ FROM t WHERE a IN (1) AND b";
        assert_eq!(called(sql, Kind::Postgres), ["Do\"it", "in", "pay"]);
        assert_eq!(called("SELECT `f`(1), @g, h", Kind::Mysql), ["f"]);
        assert!(called("SELECT 'open", Kind::Sqlite).is_empty());
    }
}
