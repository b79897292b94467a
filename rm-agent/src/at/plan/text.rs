//! A statement's text and where its tokens are in it.
//!
//! Tokens are found by the parser's own tokenizer with unescaping off, and must agree with what
//! [`scan`](super::scan) finds; what is cut out is always a slice of the original. Anonymous
//! parameters are numbered on the way out where the database can, so that a part of the statement
//! can be run with the whole list of arguments.

use sqlparser::ast::Ident;
use sqlparser::dialect::{Dialect, MySqlDialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Whitespace};

use super::Part;
use super::scan::{Opaque, scan};
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
    pub(super) location: Location,
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

    /// The unquoted word in capitals; empty if it is none.
    pub(super) fn word(&self) -> String {
        match &self.token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
            _ => String::new(),
        }
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
        let opaque = scan(sql, kind)?;
        let tokens = Tokenizer::new(kind.dialect(), sql)
            .with_unescape(false)
            .tokenize_with_location()
            .map_err(|error| error.to_string())?;
        let starts = starts(sql, &tokens);
        let end = |index: usize| starts.get(index + 1).copied().unwrap_or(sql.len());
        let placed = tokens.iter().enumerate().map(|(index, token)| {
            let text = sql.get(starts[index]..end(index)).unwrap_or_default();
            (&token.token, text, starts[index])
        });
        if !agree(placed, &opaque) {
            return Err("its quotes or comments can be read in two ways".to_owned());
        }
        let mut depth = 0_u32;
        let mut pieces = Vec::new();
        for (index, token) in tokens.iter().enumerate() {
            if matches!(token.token, Token::Whitespace(_) | Token::EOF) {
                continue;
            }
            if token.token == Token::RParen {
                depth = depth.saturating_sub(1);
            }
            pieces.push(Piece {
                token: token.token.clone(),
                location: token.span.start,
                start: starts[index],
                end: end(index),
                depth,
            });
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

    pub(super) fn numbers_parameters(&self) -> bool {
        self.pieces.iter().any(Piece::is_numbered_parameter)
    }

    /// Whether a comment holds hints for the planner.
    pub(super) fn has_hints(&self) -> bool {
        self.tokens.iter().any(|token| match &token.token {
            Token::Whitespace(Whitespace::MultiLineComment(comment)) => comment.starts_with('+'),
            _ => false,
        })
    }

    /// The keyword at a place.
    pub(super) fn keyword(&self, at: usize) -> Option<Keyword> {
        self.pieces.get(at).and_then(Piece::keyword)
    }

    /// The last piece that is this word outside of all parentheses.
    pub(super) fn find_last(&self, keyword: Keyword) -> Option<usize> {
        self.pieces.iter().rposition(|piece| piece.depth == 0 && piece.keyword() == Some(keyword))
    }

    /// The piece that begins at a location of the parser's.
    pub(super) fn place(&self, location: Location) -> Option<usize> {
        self.pieces.binary_search_by_key(&location, |piece| piece.location).ok()
    }

    /// An identifier's text, quotes and all.
    pub(super) fn written(&self, first: &Ident, last: &Ident) -> Option<String> {
        let first = self.place(first.span.start)?;
        let last = self.place(last.span.start)?;
        (first <= last).then(|| self.cut(first, last + 1).sql)
    }

    /// How many anonymous parameters there are in the pieces from `from` up to `to`.
    pub(super) fn count(&self, from: usize, to: usize) -> usize {
        let pieces = self.pieces.get(from..to).unwrap_or_default();
        pieces.iter().filter(|piece| piece.is_anonymous_parameter()).count()
    }

    /// The pieces from `from` up to, not including, `to`, as they are written, with anonymous
    /// parameters numbered by their place in the whole statement.
    pub(super) fn cut(&self, from: usize, to: usize) -> Part {
        let Some(last) = to.checked_sub(1).filter(|last| *last >= from) else {
            return Part::default();
        };
        let before = self.count(0, from);
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

/// Whether the tokenizer found the same comments, strings and quoted names. A token may begin before
/// its quote, with the letters that say what kind of string it is; a comment of a line may hold the
/// line break.
fn agree<'t>(tokens: impl Iterator<Item = (&'t Token, &'t str, usize)>, opaque: &[Opaque]) -> bool {
    let mut opaque = opaque.iter();
    for (token, text, start) in tokens {
        let (is_comment, is_quoted) = match token {
            Token::Whitespace(Whitespace::Space | Whitespace::Newline | Whitespace::Tab)
            | Token::EOF => (false, false),
            Token::Whitespace(_) => (true, false),
            Token::DollarQuotedString(_) => (false, true),
            Token::Word(word) => (false, word.quote_style.is_some()),
            _ => (false, text.contains(['\'', '"', '`'])),
        };
        if !is_comment && !is_quoted {
            continue;
        }
        let Some(found) = opaque.next() else { return false };
        let Some(text) = text.get(found.place.start.saturating_sub(start)..) else { return false };
        let before = found.place.start.checked_sub(start);
        let rest = text.get(found.place.len()..);
        let agrees = if is_comment {
            before == Some(0) && matches!(rest, Some("" | "\n" | "\r" | "\r\n"))
        } else {
            before.is_some_and(|prefix| prefix <= 2) && rest == Some("")
        };
        if found.is_comment != is_comment || !agrees {
            return false;
        }
    }
    opaque.next().is_none()
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
