//! The audit: was every transfer done in full, or not at all?
//!
//! Three witnesses, none of which trusts another: what the transfer service answered, what the
//! coordinator has on record, and what is in the banks' databases. Each branch wrote a ledger row in its
//! local transaction; so a transfer is seen row by row, and two errors that cancel in the sum are
//! still two errors.
//!
//! Easy to get wrong: a caller that was killed has told nobody what became of its transfer. Then the
//! record says it: committed, rolled back, or rolled back without anybody having asked for an end,
//! which is *never asked*. The ledgers have to agree whichever it is.

use std::collections::{BTreeMap, BTreeSet};

use crate::admin::Standing;
use crate::books::Book;
use crate::services::order::Leg;

/// A transfer that was sent off.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) id: String,
    pub(crate) legs: Vec<Leg>,
    pub(crate) heard: Heard,
    /// The global transaction that was answered about.
    pub(crate) xid: Option<String>,
}

/// What the transfer service answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Committed,
    RolledBack,
    /// It asked for the commit and got no answer itself.
    InDoubt,
    /// It was killed before it answered.
    Nothing,
}

/// What the coordinator has on record for each transfer, newest first. One that was run again has
/// several.
pub(crate) type Record = BTreeMap<String, Vec<Standing>>;

/// What the audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Audit {
    pub(crate) committed: u64,
    pub(crate) rolled_back: u64,
    pub(crate) in_doubt: u64,
    pub(crate) never_asked: u64,
    pub(crate) sum_before: i64,
    pub(crate) sum_after: i64,
    /// One sentence for each thing that is wrong.
    pub(crate) findings: Vec<String>,
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Committed,
    RolledBack,
    InDoubt,
    NeverAsked,
}

/// Compares the witnesses. `opening` is what every account held at first.
pub(crate) fn audit(opening: i64, sent: &[Sent], record: &Record, books: &[Book]) -> Audit {
    let mut audit = Audit::default();
    for transfer in sent {
        let standings = record.get(&transfer.id).map_or(&[][..], Vec::as_slice);
        let end = end_of(transfer.heard, standings.first().copied());
        match end {
            End::Committed => audit.committed += 1,
            End::RolledBack => audit.rolled_back += 1,
            End::InDoubt => audit.in_doubt += 1,
            End::NeverAsked => audit.never_asked += 1,
        }
        audit.findings.extend(contradiction(transfer, standings));
        audit.findings.extend(wrong_rows(transfer, end, books));
    }
    audit.findings.extend(strange_records(sent, record));
    audit.findings.extend(strange_rows(sent, books));
    audit.findings.extend(books.iter().flat_map(|book| wrong_balances(opening, book)));
    for book in books {
        audit.sum_before += opening * i64::try_from(book.accounts.len()).unwrap_or(i64::MAX);
        audit.sum_after += book.sum();
    }
    if audit.sum_before != audit.sum_after {
        let Audit { sum_before, sum_after, .. } = audit;
        audit.findings.push(format!("the banks held {sum_before} and hold {sum_after}"));
    }
    audit
}

fn end_of(heard: Heard, newest: Option<Standing>) -> End {
    match (heard, newest) {
        (Heard::Committed, _) => End::Committed,
        (Heard::RolledBack, _) => End::RolledBack,
        (Heard::InDoubt | Heard::Nothing, Some(Standing::Committed)) => End::Committed,
        (Heard::InDoubt | Heard::Nothing, Some(Standing::RolledBack)) => End::RolledBack,
        (Heard::InDoubt | Heard::Nothing, Some(Standing::Active)) => End::InDoubt,
        // It did ask, and its question came too late.
        (Heard::InDoubt, Some(Standing::Unasked)) => End::RolledBack,
        // It did ask, and the coordinator has forgotten it.
        (Heard::InDoubt, None) => End::InDoubt,
        (Heard::Nothing, Some(Standing::Unasked) | None) => End::NeverAsked,
    }
}

/// What the transfer service heard and what the coordinator has on record must be one story.
fn contradiction(transfer: &Sent, standings: &[Standing]) -> Option<String> {
    let id = &transfer.id;
    let commits = standings.iter().filter(|standing| **standing == Standing::Committed).count();
    let newest = standings.first();
    match transfer.heard {
        _ if commits > 1 => Some(format!("transfer {id} was committed {commits} times")),
        Heard::Committed if newest != Some(&Standing::Committed) => {
            Some(format!("transfer {id} was answered as committed; on record it is {newest:?}"))
        }
        Heard::RolledBack if commits > 0 => {
            Some(format!("transfer {id} was answered as rolled back; on record it is committed"))
        }
        Heard::Committed | Heard::RolledBack | Heard::InDoubt | Heard::Nothing => None,
    }
}

/// A committed transfer has its row in every bank concerned, any other has none.
fn wrong_rows(transfer: &Sent, end: End, books: &[Book]) -> Option<String> {
    let id = &transfer.id;
    let found = |leg: &Leg| {
        let book = books.iter().find(|book| book.bank == leg.bank);
        book.and_then(|book| book.ledger.get(&(id.clone(), leg.account))).copied()
    };
    let done = transfer.legs.iter().filter(|leg| found(leg) == Some(leg.amount)).count();
    let touched = transfer.legs.iter().filter(|leg| found(leg).is_some()).count();
    let all = transfer.legs.len();
    match end {
        End::Committed if done == all => None,
        End::RolledBack | End::NeverAsked if touched == 0 => None,
        End::Committed | End::RolledBack | End::NeverAsked => {
            Some(format!("transfer {id} is {end:?}, with {done} right and {touched} of {all} rows"))
        }
        End::InDoubt => Some(format!("transfer {id} is in doubt, with {touched} of {all} rows")),
    }
}

/// The coordinator has run nothing that nobody asked for.
fn strange_records(sent: &[Sent], record: &Record) -> Vec<String> {
    let asked: BTreeSet<&str> = sent.iter().map(|transfer| transfer.id.as_str()).collect();
    let strange = record.keys().filter(|id| !asked.contains(id.as_str()));
    strange.map(|id| format!("the coordinator has {id} on record, which no transfer is")).collect()
}

/// No ledger has a row that no transfer asked for.
fn strange_rows(sent: &[Sent], books: &[Book]) -> Vec<String> {
    let asked: BTreeSet<(&str, &str, i64)> = sent
        .iter()
        .flat_map(|transfer| {
            let legs = transfer.legs.iter();
            legs.map(|leg| (leg.bank.as_str(), transfer.id.as_str(), leg.account))
        })
        .collect();
    let mut findings = Vec::new();
    for book in books {
        for (id, account) in book.ledger.keys() {
            if !asked.contains(&(book.bank.as_str(), id.as_str(), *account)) {
                let bank = &book.bank;
                findings
                    .push(format!("bank {bank} has a row of {id} for {account} nobody asked for"));
            }
        }
    }
    findings
}

/// Each account holds what it held at first, and what its ledger rows add.
fn wrong_balances(opening: i64, book: &Book) -> Vec<String> {
    let mut expected: BTreeMap<i64, i64> =
        book.accounts.keys().map(|account| (*account, opening)).collect();
    for ((_, account), amount) in &book.ledger {
        *expected.entry(*account).or_default() += amount;
    }
    expected
        .into_iter()
        .filter(|(account, expected)| book.accounts.get(account) != Some(expected))
        .map(|(account, expected)| {
            let bank = &book.bank;
            let held =
                book.accounts.get(&account).map_or_else(|| "nothing".to_owned(), i64::to_string);
            format!("account {account} of bank {bank} holds {held}; its ledger says {expected}")
        })
        .collect()
}

#[cfg(test)]
mod tests;
