//! Reads the clauses of a statement one by one, and knows where each begins and ends.
//!
//! The grammar of INSERT, UPDATE and DELETE is ours, clause by clause, so that nothing is taken that
//! is not known here; expressions, queries and table references are the parser's. Where a clause
//! ends is where the parser stopped, never where a keyword happens to stand.

use sqlparser::ast::{Cte, Expr, Ident, ObjectName, Query, Visit};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::text::Text;
use super::{Part, Refused, names, pure};

const REWRITE: &str = "write it in a form that the parser knows, or run it through `bypass()`";
/// How deeply expressions may nest; the parser is recursive.
const NESTING_MAX: usize = 100;

/// A place in a statement.
pub(super) struct Reader<'t, 's> {
    pub(super) text: &'t Text<'s>,
    statement: &'static str,
    parser: Parser<'static>,
    /// Where the text ends for the parser.
    end: usize,
}

/// `WITH …`.
pub(super) struct With {
    pub(super) part: Part,
    names: Vec<String>,
}

impl<'t, 's> Reader<'t, 's> {
    /// From the first piece on.
    pub(super) fn new(text: &'t Text<'s>, statement: &'static str) -> Self {
        Reader::over(text, statement, text.tokens.clone(), text.pieces.len())
    }

    /// From another piece on.
    pub(super) fn from(text: &'t Text<'s>, statement: &'static str, at: usize) -> Self {
        let mut reader = Reader::new(text, statement);
        reader.skip(at);
        reader
    }

    pub(super) fn skip(&mut self, at: usize) {
        while self.at() < at {
            self.parser.next_token();
        }
    }

    /// From the first piece on, up to another.
    pub(super) fn upto(text: &'t Text<'s>, statement: &'static str, end: usize) -> Self {
        let mut tokens = text.tokens.clone();
        if let Some(piece) = text.pieces.get(end) {
            tokens.retain(|token| token.span.start < piece.location);
        }
        Reader::over(text, statement, tokens, end)
    }

    fn over(
        text: &'t Text<'s>,
        statement: &'static str,
        tokens: Vec<TokenWithSpan>,
        end: usize,
    ) -> Self {
        let parser = Parser::new(text.kind.dialect())
            .with_recursion_limit(NESTING_MAX)
            .with_tokens_with_locations(tokens);
        Reader { text, statement, parser, end }
    }

    pub(super) fn named(mut self, statement: &'static str) -> Self {
        self.statement = statement;
        self
    }

    /// The piece that is read next.
    pub(super) fn at(&self) -> usize {
        let next = self.parser.peek_token_ref();
        self.text.place(next.span.start).unwrap_or(self.end)
    }

    pub(super) fn is_next(&self, keyword: Keyword) -> bool {
        self.text.keyword(self.at()) == Some(keyword)
    }

    /// For words that the parser does not know.
    pub(super) fn is_next_word(&self, word: &str) -> bool {
        self.text.pieces.get(self.at()).is_some_and(|piece| piece.word() == word)
    }

    pub(super) fn take(&mut self, keyword: Keyword) -> bool {
        self.parser.parse_keyword(keyword)
    }

    pub(super) fn take_all(&mut self, keywords: &[Keyword]) -> bool {
        self.parser.parse_keywords(keywords)
    }

    pub(super) fn take_token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    pub(super) fn expect(&mut self, keyword: Keyword) -> Result<(), Refused> {
        self.read(|parser| parser.expect_keyword_is(keyword)).map(|_| ())
    }

    /// What the parser makes of the next pieces, and their text.
    pub(super) fn read<T>(
        &mut self,
        read: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>,
    ) -> Result<(T, Part), Refused> {
        let start = self.at();
        let read = read(&mut self.parser).map_err(|error| unparsable(&error))?;
        Ok((read, self.text.cut(start, self.at())))
    }

    /// The same for something that must not change rows.
    pub(super) fn read_pure<T: Visit>(
        &mut self,
        read: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>,
    ) -> Result<(T, Part), Refused> {
        let (read, part) = self.read(read)?;
        pure::check(self.statement, self.text.kind, &read)?;
        Ok((read, part))
    }

    pub(super) fn list<T: Visit>(
        &mut self,
        read: impl FnMut(&mut Parser<'static>) -> Result<T, ParserError>,
    ) -> Result<(Vec<T>, Part), Refused> {
        self.read_pure(|parser| parser.parse_comma_separated(read))
    }

    pub(super) fn expression(&mut self) -> Result<(Expr, Part), Refused> {
        self.read_pure(Parser::parse_expr)
    }

    pub(super) fn query(&mut self) -> Result<(Box<Query>, Part), Refused> {
        self.read_pure(Parser::parse_query)
    }

    pub(super) fn name(&mut self) -> Result<(ObjectName, Part), Refused> {
        self.read(|parser| parser.parse_object_name(false))
    }

    pub(super) fn identifier(&mut self) -> Result<(Ident, Part), Refused> {
        self.read(Parser::parse_identifier)
    }

    /// A clause that is there if its first word is: `WHERE …`.
    pub(super) fn condition(&mut self) -> Result<Option<Part>, Refused> {
        if !self.take(Keyword::WHERE) {
            return Ok(None);
        }
        self.expression().map(|(_, part)| Some(part))
    }

    /// `RETURNING …`.
    pub(super) fn returning(&mut self) -> Result<Option<Part>, Refused> {
        if !self.take(Keyword::RETURNING) {
            return Ok(None);
        }
        self.list(Parser::parse_select_item).map(|(_, part)| Some(part))
    }

    /// `WITH …` in front of a statement.
    pub(super) fn with(&mut self) -> Result<Option<With>, Refused> {
        let start = self.at();
        if !self.take(Keyword::WITH) {
            return Ok(None);
        }
        self.take(Keyword::RECURSIVE);
        let (ctes, _) = self.list(Parser::parse_cte)?;
        let name = |cte: &Cte| names::value(self.text.kind, &cte.alias.name);
        let names = ctes.iter().map(name).collect();
        Ok(Some(With { part: self.text.cut(start, self.at()), names }))
    }

    /// That nothing is left.
    pub(super) fn finish(&self) -> Result<(), Refused> {
        match self.text.pieces[..self.end].get(self.at()) {
            None => Ok(()),
            Some(piece) => {
                let why = format!("`{}` is not known in this place", piece.token);
                Err(Refused::new(self.statement, why, REWRITE))
            }
        }
    }

    pub(super) fn statement(&self) -> &'static str {
        self.statement
    }

    pub(super) fn refuse(&self, why: &'static str, instead: &'static str) -> Refused {
        Refused::new(self.statement, why, instead)
    }
}

impl With {
    /// A query under the name of the changed table would be imaged in its place.
    pub(super) fn hides(&self, name: &str) -> bool {
        self.names.iter().any(|hidden| hidden.eq_ignore_ascii_case(name))
    }
}

fn unparsable(error: &ParserError) -> Refused {
    Refused::new("statement", format!("it cannot be parsed: {error}"), REWRITE)
}
