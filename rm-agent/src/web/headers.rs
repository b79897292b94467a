//! The header names, and what is written in them.

use http::{HeaderMap, HeaderName, HeaderValue};
use pactum_core::id::BranchId;

use crate::context::TransactionContext;
use crate::session::VETO_REASON_BYTES_MAX;

/// Request: the global transaction.
pub(super) static XID: HeaderName = HeaderName::from_static("pactum-xid");
/// Request: the coordinator's store that made it, 32 hexadecimal digits.
pub(super) static STORE: HeaderName = HeaderName::from_static("pactum-store");
/// Request: what remained until its deadline when the caller sent the request, in milliseconds.
pub(super) static REMAINING_MS: HeaderName = HeaderName::from_static("pactum-remaining-ms");
/// Request: the nested scopes that the work belongs to, outermost first, as decimal ids with commas.
pub(super) static SCOPES: HeaderName = HeaderName::from_static("pactum-scopes");
/// Request: as Seata's clients name the XID.
pub(super) static SEATA_XID: HeaderName = HeaderName::from_static("tx_xid");
/// Response: the branches whose phase one is done, as decimal ids with commas.
pub(super) static BRANCHES: HeaderName = HeaderName::from_static("pactum-branches");
/// Response: why a participant vetoes, percent-encoded.
pub(super) static VETO: HeaderName = HeaderName::from_static("pactum-veto");

/// How many branches a header names: some 4 KiB of digits, half of what servers accept in all. The
/// coordinator hears of each from its own agent as well.
const BRANCHES_MAX: usize = 200;

/// Writes the transaction into the headers of a request.
pub fn inject(context: &TransactionContext, headers: &mut HeaderMap) {
    let remaining = context.remaining().as_millis();
    for (name, value) in [
        (&XID, context.xid().to_string()),
        (&STORE, context.store_id().to_string()),
        (&REMAINING_MS, remaining.to_string()),
    ] {
        headers.insert(name, ascii(&value));
    }
    let scopes: Vec<String> = context.scopes().iter().map(|scope| scope.0.to_string()).collect();
    if scopes.is_empty() {
        // A request that is sent on may have its own caller's.
        headers.remove(&SCOPES);
    } else {
        headers.insert(&SCOPES, ascii(&scopes.join(",")));
    }
}

/// Takes what came back in the headers (or gRPC trailers) of an answer: the branches that are done,
/// which the commit will name, and a veto, over which it will not commit. Inside a nested scope, both
/// are the scope's.
///
/// An answer that never came leaves this undone, and that is safe: the branches that it would have
/// named are reported to the coordinator by their own agents, and a commit waits for them. Whether
/// to commit without knowing what the callee did is the application's decision.
pub fn absorb(context: &TransactionContext, headers: &HeaderMap) {
    for value in headers.get_all(&BRANCHES) {
        let ids = value.to_str().unwrap_or_default().split(',');
        for id in ids.map(str::trim).filter(|id| !id.is_empty()) {
            match id.parse() {
                Ok(id) => context.record_done(BranchId(id)),
                Err(_) => tracing::warn!(header = %BRANCHES, "an answer names a malformed branch"),
            }
        }
    }
    if let Some(reason) = headers.get(&VETO) {
        context.record_veto(&unescape(reason.as_bytes()));
    }
}

/// Writes what the caller has to know, from the branch `from` on.
pub(super) fn answer(context: &TransactionContext, from: usize, headers: &mut HeaderMap) {
    let done = context.done_branches();
    let names: Vec<String> =
        done.iter().skip(from).take(BRANCHES_MAX).map(BranchId::to_string).collect();
    if !names.is_empty() {
        headers.insert(&BRANCHES, ascii(&names.join(",")));
    }
    if let Some(reason) = context.veto() {
        headers.insert(&VETO, escape(&reason));
    }
}

/// A text for people as a header value: printable ASCII stays, all else and `%` is percent-encoded.
pub(super) fn escape(text: &str) -> HeaderValue {
    use std::fmt::Write as _;

    let text = &text[..text.floor_char_boundary(VETO_REASON_BYTES_MAX)];
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => escaped.push(char::from(byte)),
            _ => write!(escaped, "%{byte:02X}").expect("a String takes everything"),
        }
    }
    ascii(&escaped)
}

pub(super) fn unescape(value: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        let code = match tail {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        if let Some((high, low)) = code {
            bytes.push(high << 4 | low);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("ids and escaped texts are printable ASCII")
}
