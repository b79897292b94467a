//! A statement's text and where its tokens are in it.
//!
//! Tokens are found by the parser's own tokenizer with unescaping off; what is cut out is always a
//! slice of the original. Anonymous parameters are numbered on the way out, so that a part of the
//! statement can be run with the whole list of arguments.

use sqlparser::dialect::{Dialect, MySqlDialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::Part;
use crate::db::Kind;

impl Kind {
    /// How the parser reads this database's SQL.
    pub(super) fn dialect(self) -> &'static dyn Dialect {
        match self {
            Kind::Sqlite => &SQLiteDialect {},
            Kind::Postgres => &PostgreSqlDialect {},
            Kind::Mysql => &MySqlDialect {},
        }
    }
}

/// A token that means something (no blank, no comment), with its place.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) token: Token,
    pub(super) start: usize,
    pub(super) end: usize,
    /// How many parentheses are open around it; a parenthesis counts as outside of itself.
    depth: u32,
}

impl Piece {
    /// The unquoted word, if it is one.
    pub(super) fn keyword(&self) -> Option<Keyword> {
        match &self.token {
            Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
            _ => None,
        }
    }

    pub(super) fn ends_statement(&self) -> bool {
        self.depth == 0 && self.token == Token::SemiColon
    }

    fn is_anonymous_parameter(&self) -> bool {
        matches!(&self.token, Token::Placeholder(name) if name == "?")
    }

    fn is_numbered_parameter(&self) -> bool {
        matches!(&self.token, Token::Placeholder(name) if name != "?")
    }
}

/// A statement in pieces.
#[derive(Debug)]
pub(super) struct Text<'a> {
    sql: &'a str,
    pub(super) kind: Kind,
    /// Everything, for the parser.
    pub(super) tokens: Vec<TokenWithSpan>,
    pub(super) pieces: Vec<Piece>,
}

impl<'a> Text<'a> {
    pub(super) fn new(sql: &'a str, kind: Kind) -> Result<Self, String> {
        let tokens = Tokenizer::new(kind.dialect(), sql)
            .with_unescape(false)
            .tokenize_with_location()
            .map_err(|error| error.to_string())?;
        let starts = starts(sql, &tokens);
        let mut depth = 0_u32;
        let mut pieces = Vec::new();
        for (index, token) in tokens.iter().enumerate() {
            if matches!(token.token, Token::Whitespace(_) | Token::EOF) {
                continue;
            }
            if token.token == Token::RParen {
                depth = depth.saturating_sub(1);
            }
            let end = starts.get(index + 1).copied().unwrap_or(sql.len());
            pieces.push(Piece { token: token.token.clone(), start: starts[index], end, depth });
            if token.token == Token::LParen {
                depth += 1;
            }
        }
        while pieces.last().is_some_and(|piece| piece.token == Token::SemiColon) {
            pieces.pop();
        }
        Ok(Text { sql, kind, tokens, pieces })
    }

    /// Whether there is a second statement in it.
    pub(super) fn is_multiple(&self) -> bool {
        self.pieces.iter().any(|piece| piece.token == Token::SemiColon)
    }

    pub(super) fn mixes_parameters(&self) -> bool {
        self.pieces.iter().any(Piece::is_anonymous_parameter)
            && self.pieces.iter().any(Piece::is_numbered_parameter)
    }

    /// The first piece from `from` on that is this word outside of all parentheses.
    pub(super) fn find(&self, keyword: Keyword, from: usize) -> Option<usize> {
        let found = self
            .pieces
            .iter()
            .skip(from)
            .position(|piece| piece.depth == 0 && piece.keyword() == Some(keyword))?;
        Some(from + found)
    }

    /// The last such piece.
    pub(super) fn find_last(&self, keyword: Keyword) -> Option<usize> {
        self.pieces.iter().rposition(|piece| piece.depth == 0 && piece.keyword() == Some(keyword))
    }

    /// The pieces from `from` up to, not including, `to`, as they are written, with anonymous
    /// parameters numbered by their place in the whole statement.
    pub(super) fn cut(&self, from: usize, to: usize) -> Part {
        let Some(last) = to.checked_sub(1).filter(|last| *last >= from) else {
            return Part::default();
        };
        let before = self.pieces[..from].iter().filter(|p| p.is_anonymous_parameter()).count();
        let mut number = before;
        let mut out = String::new();
        let mut copied = self.pieces[from].start;
        for piece in self.pieces[from..to].iter().filter(|p| p.is_anonymous_parameter()) {
            number += 1;
            if self.kind == Kind::Sqlite {
                out.push_str(&self.sql[copied..piece.start]);
                out.push_str(&format!("?{number}"));
                copied = piece.end;
            }
        }
        out.push_str(&self.sql[copied..self.pieces[last].end]);
        Part { sql: out, parameters: number - before }
    }
}

/// The byte offset of each token. The tokenizer counts lines and characters, in ascending order.
fn starts(sql: &str, tokens: &[TokenWithSpan]) -> Vec<usize> {
    let mut starts = Vec::with_capacity(tokens.len());
    let (mut line, mut column) = (1_u64, 1_u64);
    let mut rest = sql.char_indices().peekable();
    for token in tokens {
        let wanted = token.span.start;
        while (line, column) < (wanted.line, wanted.column) {
            match rest.next() {
                Some((_, '\n')) => (line, column) = (line + 1, 1),
                Some(_) => column += 1,
                None => break,
            }
        }
        starts.push(rest.peek().map_or(sql.len(), |(offset, _)| *offset));
    }
    starts
}
