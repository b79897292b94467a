//! The bytes of a branch's nested scopes, and of those that a transaction rolled back, where there are
//! any.
//!
//! ```text
//! version u8 = 1 | each scope: u64, big-endian
//! version u8 = 1 | count | each: asked for by the transaction manager u8, length, that many scopes
//! ```

use pactum_core::id::ScopeId;
use pactum_core::transaction::UndoneScope;

use super::{Input, corrupt, cut_short, put_number, wide};
use crate::store::Error;

const SCOPES_VERSION: u8 = 1;
const SCOPE_BYTES: usize = 8;

/// The bytes of a branch's nested scopes; null for almost every branch.
pub(in crate::store) fn scopes_to_row(scopes: &[ScopeId]) -> Option<Vec<u8>> {
    if scopes.is_empty() {
        return None;
    }
    let mut out = vec![SCOPES_VERSION];
    put_scopes(&mut out, scopes);
    Some(out)
}

/// The scopes behind the bytes.
pub(in crate::store) fn scopes_from_row(bytes: Option<&[u8]>) -> Result<Vec<ScopeId>, Error> {
    let Some(bytes) = bytes else { return Ok(Vec::new()) };
    let mut input = Input(bytes);
    input.scopes_version()?;
    let count = input.0.len() / SCOPE_BYTES;
    let scopes = input.scopes(count)?;
    if input.0.is_empty() && count > 0 { Ok(scopes) } else { Err(cut_short()) }
}

/// The bytes of the scopes that a transaction rolled back; null for almost every one.
pub(in crate::store) fn undone_scopes_to_row(undone: &[UndoneScope]) -> Option<Vec<u8>> {
    if undone.is_empty() {
        return None;
    }
    let mut out = vec![SCOPES_VERSION];
    put_number(&mut out, wide(undone.len()));
    for UndoneScope { path, requested } in undone {
        out.push(u8::from(*requested));
        put_number(&mut out, wide(path.len()));
        put_scopes(&mut out, path);
    }
    Some(out)
}

/// The rolled back scopes behind the bytes.
pub(in crate::store) fn undone_scopes_from_row(
    bytes: Option<&[u8]>,
) -> Result<Vec<UndoneScope>, Error> {
    let Some(bytes) = bytes else { return Ok(Vec::new()) };
    let mut input = Input(bytes);
    input.scopes_version()?;
    let mut undone = Vec::new();
    for _ in 0..input.number()? {
        let requested = match input.byte()? {
            0 => false,
            1 => true,
            other => return Err(corrupt(format!("who rolled back a scope: {other}"))),
        };
        let length = input.length()?;
        let path = input.scopes(length)?;
        // The last one is the scope itself.
        if path.is_empty() {
            return Err(cut_short());
        }
        undone.push(UndoneScope { path, requested });
    }
    if input.0.is_empty() { Ok(undone) } else { Err(cut_short()) }
}

fn put_scopes(out: &mut Vec<u8>, scopes: &[ScopeId]) {
    scopes.iter().for_each(|scope| out.extend_from_slice(&scope.0.to_be_bytes()));
}

impl Input<'_> {
    fn scopes_version(&mut self) -> Result<(), Error> {
        match self.byte()? {
            SCOPES_VERSION => Ok(()),
            other => Err(corrupt(format!("scopes in encoding version {other}"))),
        }
    }

    fn scopes(&mut self, count: usize) -> Result<Vec<ScopeId>, Error> {
        let length = count.checked_mul(SCOPE_BYTES).ok_or_else(cut_short)?;
        let (scopes, _) = self.take(length)?.as_chunks();
        Ok(scopes.iter().map(|bytes| ScopeId(u64::from_be_bytes(*bytes))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored bytes: if this fails, old stores can no longer be read.
    #[test]
    fn the_bytes_of_the_scopes_are_these() {
        let (big, small) = (ScopeId(u64::MAX - 1), ScopeId(258));
        let bytes = scopes_to_row(&[big, small]).unwrap();
        #[rustfmt::skip]
        let expected = [
            1,
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
            0, 0, 0, 0, 0, 0, 1, 2,
        ];
        assert_eq!(bytes, expected);
        assert_eq!(scopes_from_row(Some(&bytes)).unwrap(), [big, small]);
        assert_eq!(scopes_to_row(&[]), None);
        assert_eq!(scopes_from_row(None).unwrap(), []);
        for wrong in [&[][..], &[1], &[2, 0, 0, 0, 0, 0, 0, 0, 1], &bytes[..16], &[1, 0]] {
            assert!(scopes_from_row(Some(wrong)).is_err(), "{wrong:?}");
        }
    }

    /// Stored bytes: if this fails, old stores can no longer be read.
    #[test]
    fn the_bytes_of_the_rolled_back_scopes_are_these() {
        let undone = [
            UndoneScope { path: vec![ScopeId(1), ScopeId(2)], requested: false },
            UndoneScope { path: vec![ScopeId(3)], requested: true },
        ];
        let bytes = undone_scopes_to_row(&undone).unwrap();
        #[rustfmt::skip]
        let expected = [
            1, 2,
            0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2,
            1, 1, 0, 0, 0, 0, 0, 0, 0, 3,
        ];
        assert_eq!(bytes, expected);
        assert_eq!(undone_scopes_from_row(Some(&bytes)).unwrap(), undone);
        assert_eq!(undone_scopes_to_row(&[]), None);
        assert_eq!(undone_scopes_from_row(None).unwrap(), []);
        for length in 0..bytes.len() {
            assert!(undone_scopes_from_row(Some(&bytes[..length])).is_err(), "cut at {length}");
        }
        for wrong in [&[2, 0][..], &[1, 0, 0], &[1, 1, 2, 0], &[1, 1, 1, 0]] {
            assert!(undone_scopes_from_row(Some(wrong)).is_err(), "{wrong:?}");
        }
    }
}
