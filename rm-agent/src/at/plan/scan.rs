//! What of a text is comment, string or quoted name, by the lexical rules of its database.
//!
//! The parser's tokenizer serves many databases and is not exact for any of them. Where it took the
//! inside of a string for code, or code for a comment, a clause would go unnoticed. So the text is
//! read a second time, by these rules alone, and a statement that the two read differently is
//! refused ([`Text::new`](super::text::Text::new)).
//!
//! | | SQLite | PostgreSQL | MySQL |
//! |---|---|---|---|
//! | `--` | to the newline | to the newline or return | only before a blank |
//! | `#` | no | no | to the newline |
//! | `/* */` | flat | nested | flat, `/*! */` is code |
//! | `'…'` | doubled | doubled; `E'…'` also `\` | doubled and `\` |
//! | `"…"` | name | name | string, doubled and `\` |
//! | others | `` `…` `` `[…]` | `$tag$…$tag$` | `` `…` `` |

use std::ops::Range;

use crate::db::Kind;

/// A stretch of text that is no code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opaque {
    pub(super) place: Range<usize>,
    pub(super) is_comment: bool,
}

/// Finds them all, or says why the text cannot be read.
pub(super) fn scan(sql: &str, kind: Kind) -> Result<Vec<Opaque>, &'static str> {
    let mut scan = Scan { bytes: sql.as_bytes(), at: 0, kind, found: Vec::new() };
    while scan.at < scan.bytes.len() {
        scan.step()?;
    }
    Ok(scan.found)
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    kind: Kind,
    found: Vec<Opaque>,
}

impl Scan<'_> {
    fn step(&mut self) -> Result<(), &'static str> {
        match (self.bytes[self.at], self.kind) {
            (b'-', _) if self.begins_line_comment() => self.line_comment(),
            (b'#', Kind::Mysql) => self.line_comment(),
            (b'/', _) if self.peek(1) == Some(b'*') => self.block_comment()?,
            (b'\'', Kind::Postgres) => self.postgres_string()?,
            (b'\'', Kind::Sqlite) | (b'"', Kind::Sqlite | Kind::Postgres) => self.quoted(false)?,
            (b'`', Kind::Sqlite | Kind::Mysql) => self.quoted(false)?,
            (b'\'' | b'"', Kind::Mysql) => self.quoted(true)?,
            (b'[', Kind::Sqlite) => self.bracketed()?,
            (b'$', Kind::Postgres) => self.dollar()?,
            _ => self.at += 1,
        }
        Ok(())
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn push(&mut self, start: usize, is_comment: bool) {
        self.found.push(Opaque { place: start..self.at, is_comment });
    }

    fn begins_line_comment(&self) -> bool {
        let blank = |byte: u8| byte.is_ascii_whitespace() || byte.is_ascii_control();
        self.peek(1) == Some(b'-') && (self.kind != Kind::Mysql || self.peek(2).is_none_or(blank))
    }

    fn line_comment(&mut self) {
        let start = self.at;
        let ends = |byte: &u8| *byte == b'\n' || (*byte == b'\r' && self.kind == Kind::Postgres);
        let length = self.bytes[start..].iter().position(ends);
        self.at = length.map_or(self.bytes.len(), |length| start + length);
        self.push(start, true);
    }

    fn block_comment(&mut self) -> Result<(), &'static str> {
        let start = self.at;
        self.at += 2;
        let executable = self.peek(0) == Some(b'!')
            || (matches!(self.peek(0), Some(b'M' | b'm')) && self.peek(1) == Some(b'!'));
        if self.kind == Kind::Mysql && executable {
            return Err("a comment that begins with `/*!` is code for some servers");
        }
        let mut open = 1;
        while open > 0 {
            match (self.peek(0), self.peek(1)) {
                (Some(b'*'), Some(b'/')) => (open, self.at) = (open - 1, self.at + 2),
                (Some(b'/'), Some(b'*')) if self.kind == Kind::Postgres => {
                    (open, self.at) = (open + 1, self.at + 2);
                }
                (Some(_), _) => self.at += 1,
                (None, _) => return Err("a comment is not closed"),
            }
        }
        self.push(start, true);
        Ok(())
    }

    /// From one quote to the next of its kind; a doubled one is a character of the content.
    fn quoted(&mut self, backslash: bool) -> Result<(), &'static str> {
        let start = self.at;
        self.skip_quoted(backslash)?;
        self.push(start, false);
        Ok(())
    }

    fn skip_quoted(&mut self, backslash: bool) -> Result<(), &'static str> {
        let quote = self.bytes[self.at];
        self.at += 1;
        loop {
            match self.peek(0) {
                Some(b'\\') if backslash => self.at += 2,
                Some(byte) if byte == quote && self.peek(1) == Some(quote) => self.at += 2,
                Some(byte) if byte == quote => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) => self.at += 1,
                None => return Err("a string or a quoted name is not closed"),
            }
        }
    }

    /// A string may go on after a line break, and keeps its escapes then.
    fn postgres_string(&mut self) -> Result<(), &'static str> {
        let word = self.word_before();
        let backslash = word.eq_ignore_ascii_case(b"e");
        self.quoted(backslash)?;
        while backslash && self.continues() {
            return Err("a string with escapes goes on after a line break");
        }
        Ok(())
    }

    /// Whether another quote follows after blanks with a line break among them. A comment between
    /// the two is taken for one.
    fn continues(&self) -> bool {
        let rest = &self.bytes[self.at..];
        let blanks = rest.iter().position(|byte| !byte.is_ascii_whitespace() && *byte != 0x0b);
        let Some(blanks) = blanks else { return false };
        match rest[blanks] {
            b'\'' => rest[..blanks].iter().any(|byte| matches!(byte, b'\n' | b'\r')),
            b'-' | b'/' => rest[blanks..].contains(&b'\''),
            _ => false,
        }
    }

    /// The letters of a name that end right here.
    fn word_before(&self) -> &[u8] {
        let before = &self.bytes[..self.at];
        let start = before.iter().rposition(|byte| !is_name(*byte)).map_or(0, |last| last + 1);
        &before[start..]
    }

    fn bracketed(&mut self) -> Result<(), &'static str> {
        let start = self.at;
        let length = self.bytes[start..].iter().position(|byte| *byte == b']');
        self.at = start + length.ok_or("a quoted name is not closed")? + 1;
        self.push(start, false);
        Ok(())
    }

    /// `$tag$ … $tag$`, or the `$` of a parameter or of a name.
    fn dollar(&mut self) -> Result<(), &'static str> {
        let start = self.at;
        let rest = &self.bytes[start + 1..];
        let length = rest.iter().position(|byte| *byte == b'$' || !is_name(*byte));
        let tag = match length {
            Some(length) if rest[length] == b'$' => &rest[..length],
            Some(_) | None => &b"0"[..],
        };
        if tag.first().is_some_and(u8::is_ascii_digit) || !self.word_before().is_empty() {
            self.at += 1;
            return Ok(());
        }
        let fence = &self.bytes[start..start + tag.len() + 2];
        let content = start + fence.len();
        let end = self.bytes[content..].windows(fence.len()).position(|bytes| bytes == fence);
        self.at = content + end.ok_or("a string is not closed")? + fence.len();
        self.push(start, false);
        Ok(())
    }
}

/// A byte of an unquoted name.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || !byte.is_ascii()
}
