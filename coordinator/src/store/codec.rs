//! How the core's values look in a row: the small integers of each enum, and the bytes of the locks,
//! of operators' decisions; `scopes` adds those of nested scopes, `sagas` those of declared sagas.
//!
//! The numbers are stored, so they never change and are never derived from the order of variants.
//! Locks are one value of the branch's row:
//!
//! ```text
//! version u8 = 1 | count | each lock: mode u8, length, the canonical bytes of the key
//! ```
//!
//! So are the decisions of operators, where there are any:
//!
//! ```text
//! version u8 = 1 | count | each: resolution u8, park reason u8, moment, length, the reason's UTF-8
//! ```
//!
//! Counts, lengths and moments are LEB128: seven bits a byte, lowest first, the high bit says that more follow.

mod sagas;
mod scopes;

use pactum_core::lock::LockRequest;
use pactum_core::lock::key::{EncodedKey, LockMode};
use pactum_core::time::WallTime;
use pactum_core::transaction::{
    BranchMode, ParkReason, PhaseOne, PhaseTwo, Resolution, Resolved, RollbackCause, Status,
};

use super::Error;
pub(super) use sagas::{
    definitions, step_state_from_row, step_state_to_row, words_from_row, words_to_row,
};
pub(super) use scopes::{
    scopes_from_row, scopes_to_row, undone_scopes_from_row, undone_scopes_to_row,
};

const LOCKS_VERSION: u8 = 1;
const RESOLUTIONS_VERSION: u8 = 1;

/// A status and its cause, as two columns.
pub(super) fn status_to_row(status: Status) -> (i64, Option<i64>) {
    match status {
        Status::Active => (1, None),
        Status::Committing => (2, None),
        Status::RollingBack(cause) => (3, Some(cause_to_row(cause))),
        Status::Delegated => (4, None),
        // From 10 on a transaction has ended: an index of the schema relies on it.
        Status::Committed => (10, None),
        Status::RolledBack(cause) => (11, Some(cause_to_row(cause))),
    }
}

pub(super) fn status_from_row(status: i64, cause: Option<i64>) -> Result<Status, Error> {
    match (status, cause) {
        (1, None) => Ok(Status::Active),
        (2, None) => Ok(Status::Committing),
        (3, Some(cause)) => Ok(Status::RollingBack(cause_from_row(cause)?)),
        (4, None) => Ok(Status::Delegated),
        (10, None) => Ok(Status::Committed),
        (11, Some(cause)) => Ok(Status::RolledBack(cause_from_row(cause)?)),
        (status, cause) => Err(corrupt(format!("transaction status {status}, cause {cause:?}"))),
    }
}

fn cause_to_row(cause: RollbackCause) -> i64 {
    match cause {
        RollbackCause::Requested => 1,
        RollbackCause::TimedOut => 2,
        RollbackCause::Vetoed => 3,
        RollbackCause::Deadlock => 4,
        RollbackCause::PhaseOneUnknown => 5,
        RollbackCause::PhaseOneFailed => 6,
        RollbackCause::ManagerLost => 7,
        RollbackCause::Unrecorded => 8,
        RollbackCause::ScopeNotUndone => 9,
        RollbackCause::StepFailed => 10,
    }
}

fn cause_from_row(cause: i64) -> Result<RollbackCause, Error> {
    Ok(match cause {
        1 => RollbackCause::Requested,
        2 => RollbackCause::TimedOut,
        3 => RollbackCause::Vetoed,
        4 => RollbackCause::Deadlock,
        5 => RollbackCause::PhaseOneUnknown,
        6 => RollbackCause::PhaseOneFailed,
        7 => RollbackCause::ManagerLost,
        8 => RollbackCause::Unrecorded,
        9 => RollbackCause::ScopeNotUndone,
        10 => RollbackCause::StepFailed,
        other => return Err(corrupt(format!("rollback cause {other}"))),
    })
}

pub(super) fn mode_to_row(mode: BranchMode) -> i64 {
    match mode {
        BranchMode::At => 1,
        BranchMode::Tcc => 2,
        BranchMode::Saga => 3,
        BranchMode::Xa => 4,
    }
}

pub(super) fn mode_from_row(mode: i64) -> Result<BranchMode, Error> {
    Ok(match mode {
        1 => BranchMode::At,
        2 => BranchMode::Tcc,
        3 => BranchMode::Saga,
        4 => BranchMode::Xa,
        other => return Err(corrupt(format!("branch mode {other}"))),
    })
}

pub(super) fn phase_one_to_row(phase_one: PhaseOne) -> i64 {
    match phase_one {
        PhaseOne::Unknown => 1,
        PhaseOne::Done => 2,
        PhaseOne::Failed => 3,
    }
}

pub(super) fn phase_one_from_row(phase_one: i64) -> Result<PhaseOne, Error> {
    Ok(match phase_one {
        1 => PhaseOne::Unknown,
        2 => PhaseOne::Done,
        3 => PhaseOne::Failed,
        other => return Err(corrupt(format!("phase one {other}"))),
    })
}

/// Phase two and the reason for parking, as two columns.
pub(super) fn phase_two_to_row(phase_two: PhaseTwo) -> (i64, Option<i64>) {
    match phase_two {
        PhaseTwo::Pending => (1, None),
        PhaseTwo::Done => (2, None),
        PhaseTwo::Parked(reason) => (3, Some(reason_to_row(reason))),
    }
}

pub(super) fn phase_two_from_row(phase_two: i64, reason: Option<i64>) -> Result<PhaseTwo, Error> {
    match (phase_two, reason) {
        (1, None) => Ok(PhaseTwo::Pending),
        (2, None) => Ok(PhaseTwo::Done),
        (3, Some(reason)) => Ok(PhaseTwo::Parked(reason_from_row(reason)?)),
        (phase_two, reason) => {
            Err(corrupt(format!("phase two {phase_two}, park reason {reason:?}")))
        }
    }
}

fn reason_to_row(reason: ParkReason) -> i64 {
    match reason {
        ParkReason::DirtyWrite => 1,
        ParkReason::EvidenceLost => 2,
        ParkReason::EvidenceTampered => 3,
        ParkReason::SchemaChanged => 4,
        ParkReason::HandlerFatal => 5,
        ParkReason::Heuristic => 6,
        ParkReason::Invariant => 7,
    }
}

fn reason_from_row(reason: i64) -> Result<ParkReason, Error> {
    Ok(match reason {
        1 => ParkReason::DirtyWrite,
        2 => ParkReason::EvidenceLost,
        3 => ParkReason::EvidenceTampered,
        4 => ParkReason::SchemaChanged,
        5 => ParkReason::HandlerFatal,
        6 => ParkReason::Heuristic,
        7 => ParkReason::Invariant,
        other => return Err(corrupt(format!("park reason {other}"))),
    })
}

/// The bytes of a branch's locks.
pub(super) fn locks_to_row(locks: &[LockRequest]) -> Vec<u8> {
    let keys: usize = locks.iter().map(|lock| lock.key.as_bytes().len() + 3).sum();
    let mut out = Vec::with_capacity(4 + keys);
    out.push(LOCKS_VERSION);
    put_number(&mut out, wide(locks.len()));
    for lock in locks {
        out.push(lock_mode_to_row(lock.mode));
        put_number(&mut out, wide(lock.key.as_bytes().len()));
        out.extend_from_slice(lock.key.as_bytes());
    }
    out
}

/// The locks behind the bytes.
pub(super) fn locks_from_row(bytes: &[u8]) -> Result<Vec<LockRequest>, Error> {
    let mut input = Input(bytes);
    match input.byte()? {
        LOCKS_VERSION => {}
        other => return Err(corrupt(format!("locks in encoding version {other}"))),
    }
    let count = input.length()?;
    // A lock is at least two bytes, so a count that lies cannot make us allocate.
    if count > input.0.len() {
        return Err(cut_short());
    }
    let mut locks = Vec::with_capacity(count);
    for _ in 0..count {
        let mode = lock_mode_from_row(input.byte()?)?;
        let length = input.length()?;
        let key = EncodedKey::parse(input.take(length)?);
        let key = key.map_err(|error| corrupt(format!("lock key: {error}")))?;
        locks.push(LockRequest { key, mode });
    }
    if input.0.is_empty() { Ok(locks) } else { Err(cut_short()) }
}

/// The bytes of what operators decided about a branch; null for almost every branch.
pub(super) fn resolutions_to_row(resolutions: &[Resolved]) -> Option<Vec<u8>> {
    if resolutions.is_empty() {
        return None;
    }
    let mut out = vec![RESOLUTIONS_VERSION];
    put_number(&mut out, wide(resolutions.len()));
    for Resolved { resolution, reason, at, parked } in resolutions {
        out.push(resolution_to_row(*resolution));
        out.push(u8::try_from(reason_to_row(*parked)).expect("the numbers of reasons are small"));
        put_number(&mut out, at.0);
        put_number(&mut out, wide(reason.len()));
        out.extend_from_slice(reason.as_bytes());
    }
    Some(out)
}

/// The decisions behind the bytes.
pub(super) fn resolutions_from_row(bytes: Option<&[u8]>) -> Result<Vec<Resolved>, Error> {
    let Some(bytes) = bytes else { return Ok(Vec::new()) };
    let mut input = Input(bytes);
    match input.byte()? {
        RESOLUTIONS_VERSION => {}
        other => return Err(corrupt(format!("resolutions in encoding version {other}"))),
    }
    let mut resolutions = Vec::new();
    for _ in 0..input.number()? {
        let resolution = resolution_from_row(input.byte()?)?;
        let parked = reason_from_row(i64::from(input.byte()?))?;
        let at = WallTime(input.number()?);
        let length = input.length()?;
        let reason = std::str::from_utf8(input.take(length)?);
        let reason = reason.map_err(|error| corrupt(format!("resolution: {error}")))?.into();
        resolutions.push(Resolved { resolution, reason, at, parked });
    }
    if input.0.is_empty() { Ok(resolutions) } else { Err(cut_short()) }
}

fn resolution_to_row(resolution: Resolution) -> u8 {
    match resolution {
        Resolution::Retry => 1,
        Resolution::Restore => 2,
        Resolution::Keep => 3,
    }
}

fn resolution_from_row(resolution: u8) -> Result<Resolution, Error> {
    match resolution {
        1 => Ok(Resolution::Retry),
        2 => Ok(Resolution::Restore),
        3 => Ok(Resolution::Keep),
        other => Err(corrupt(format!("resolution {other}"))),
    }
}

fn lock_mode_to_row(mode: LockMode) -> u8 {
    match mode {
        LockMode::Shared => 1,
        LockMode::Exclusive => 2,
    }
}

fn lock_mode_from_row(mode: u8) -> Result<LockMode, Error> {
    match mode {
        1 => Ok(LockMode::Shared),
        2 => Ok(LockMode::Exclusive),
        other => Err(corrupt(format!("lock mode {other}"))),
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(low_bits(number) | 0x80);
        number >>= 7;
    }
    out.push(low_bits(number));
}

fn low_bits(number: u64) -> u8 {
    u8::try_from(number & 0x7f).expect("seven bits fit a byte")
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The rest of the bytes, read from the front.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(cut_short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    fn length(&mut self) -> Result<usize, Error> {
        usize::try_from(self.number()?).map_err(|_| cut_short())
    }

    fn number(&mut self) -> Result<u64, Error> {
        let mut number = 0;
        for shift in (0..u64::BITS - 7).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(corrupt("a number in a row's bytes is too long".to_owned()))
    }
}

fn cut_short() -> Error {
    corrupt("a row's bytes are cut short or have some left over".to_owned())
}

pub(super) fn corrupt(what: String) -> Error {
    Error::Corrupt(what)
}

#[cfg(test)]
mod tests {
    use pactum_core::lock::key::{KeyKind, KeyValue, LockKey};

    use super::*;

    fn lock(table: &str, id: i64, mode: LockMode) -> LockRequest {
        let values = vec![KeyValue::Integer(id)];
        let key = LockKey { table: table.to_owned(), kind: KeyKind::Row, values };
        LockRequest { key: key.encode().unwrap(), mode }
    }

    /// Stored bytes: if this fails, old stores can no longer be read.
    #[test]
    fn the_bytes_of_the_locks_are_these() {
        let locks = [lock("a", 7, LockMode::Exclusive), lock("b", -1, LockMode::Shared)];
        let bytes = locks_to_row(&locks);
        #[rustfmt::skip]
        let expected = [
            1, 2,
            2, 14, 1, 0, 1, b'a', 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 7,
            1, 14, 1, 0, 1, b'b', 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        ];
        assert_eq!(bytes, expected);
        assert_eq!(locks_from_row(&bytes).unwrap(), locks);
        assert_eq!(locks_to_row(&[]), [1, 0]);
    }

    #[test]
    fn long_keys_and_many_locks_round_trip() {
        let long = "t".repeat(300);
        let locks: Vec<_> = (0..200).map(|id| lock(&long, id, LockMode::Exclusive)).collect();
        assert_eq!(locks_from_row(&locks_to_row(&locks)).unwrap(), locks);
    }

    #[test]
    fn bytes_that_are_no_locks_are_refused() {
        let good = locks_to_row(&[lock("a", 7, LockMode::Exclusive)]);
        for length in 0..good.len() {
            assert!(locks_from_row(&good[..length]).is_err(), "cut at {length}");
        }
        for wrong in [&[1, 0, 0][..], &[2, 0], &[1, 0x80], &[1, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
            assert!(locks_from_row(wrong).is_err(), "{wrong:?}");
        }
    }

    /// Stored bytes: if this fails, old stores can no longer be read.
    #[test]
    fn the_bytes_of_the_resolutions_are_these() {
        let resolved = |resolution, reason: &str, at, parked| {
            let (reason, at) = (reason.into(), WallTime(at));
            Resolved { resolution, reason, at, parked }
        };
        let resolutions = [
            resolved(Resolution::Retry, "", 0, ParkReason::Invariant),
            resolved(Resolution::Restore, "ü", 300, ParkReason::DirtyWrite),
            resolved(Resolution::Keep, "no", (1 << 63) - 1, ParkReason::EvidenceLost),
        ];
        let bytes = resolutions_to_row(&resolutions).unwrap();
        #[rustfmt::skip]
        let expected = [
            1, 3,
            1, 7, 0, 0,
            2, 1, 0xac, 2, 2, 0xc3, 0xbc,
            3, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 2, b'n', b'o',
        ];
        assert_eq!(bytes, expected);
        assert_eq!(resolutions_from_row(Some(&bytes)).unwrap(), resolutions);
        assert_eq!(resolutions_to_row(&[]), None);
        assert_eq!(resolutions_from_row(None).unwrap(), []);
        for length in 0..bytes.len() {
            assert!(resolutions_from_row(Some(&bytes[..length])).is_err(), "cut at {length}");
        }
        let wrongs: [&[u8]; 5] = [
            &[2, 0],
            &[1, 0, 0],
            &[1, 1, 4, 1, 0, 0],
            &[1, 1, 1, 8, 0, 0],
            &[1, 1, 1, 1, 0, 1, 0xff],
        ];
        for wrong in wrongs {
            assert!(resolutions_from_row(Some(wrong)).is_err(), "{wrong:?}");
        }
    }

    /// Stored numbers: if this fails, old stores can no longer be read.
    #[test]
    fn the_numbers_are_these() {
        let causes = [
            (RollbackCause::Requested, 1),
            (RollbackCause::TimedOut, 2),
            (RollbackCause::Vetoed, 3),
            (RollbackCause::Deadlock, 4),
            (RollbackCause::PhaseOneUnknown, 5),
            (RollbackCause::PhaseOneFailed, 6),
            (RollbackCause::ManagerLost, 7),
            (RollbackCause::Unrecorded, 8),
            (RollbackCause::ScopeNotUndone, 9),
            (RollbackCause::StepFailed, 10),
        ];
        let without_cause = [
            (Status::Active, 1),
            (Status::Committing, 2),
            (Status::Delegated, 4),
            (Status::Committed, 10),
        ];
        for (status, code) in without_cause {
            check_status(status, (code, None));
        }
        for (cause, code) in causes {
            check_status(Status::RollingBack(cause), (3, Some(code)));
            check_status(Status::RolledBack(cause), (11, Some(code)));
        }
        let modes =
            [(BranchMode::At, 1), (BranchMode::Tcc, 2), (BranchMode::Saga, 3), (BranchMode::Xa, 4)];
        for (mode, code) in modes {
            assert_eq!(mode_to_row(mode), code);
            assert_eq!(mode_from_row(code).unwrap(), mode);
        }
        for (phase, code) in [(PhaseOne::Unknown, 1), (PhaseOne::Done, 2), (PhaseOne::Failed, 3)] {
            assert_eq!(phase_one_to_row(phase), code);
            assert_eq!(phase_one_from_row(code).unwrap(), phase);
        }
        let phases_two = [
            (PhaseTwo::Pending, (1, None)),
            (PhaseTwo::Done, (2, None)),
            (PhaseTwo::Parked(ParkReason::DirtyWrite), (3, Some(1))),
            (PhaseTwo::Parked(ParkReason::EvidenceLost), (3, Some(2))),
            (PhaseTwo::Parked(ParkReason::EvidenceTampered), (3, Some(3))),
            (PhaseTwo::Parked(ParkReason::SchemaChanged), (3, Some(4))),
            (PhaseTwo::Parked(ParkReason::HandlerFatal), (3, Some(5))),
            (PhaseTwo::Parked(ParkReason::Heuristic), (3, Some(6))),
            (PhaseTwo::Parked(ParkReason::Invariant), (3, Some(7))),
        ];
        for (phase, (code, reason)) in phases_two {
            assert_eq!(phase_two_to_row(phase), (code, reason));
            assert_eq!(phase_two_from_row(code, reason).unwrap(), phase);
        }
    }

    #[track_caller]
    fn check_status(status: Status, row: (i64, Option<i64>)) {
        assert_eq!(status_to_row(status), row);
        assert_eq!(status_from_row(row.0, row.1).unwrap(), status);
        // The index on the unfinished relies on it.
        assert_eq!(status.is_ended(), row.0 >= 10, "{status:?}");
    }

    #[test]
    fn numbers_that_mean_nothing_are_refused() {
        for (status, cause) in
            [(0, None), (1, Some(1)), (3, None), (3, Some(11)), (4, Some(1)), (12, None)]
        {
            assert!(status_from_row(status, cause).is_err(), "{status} {cause:?}");
        }
        assert!(mode_from_row(5).is_err());
        assert!(phase_one_from_row(0).is_err());
        for (phase, reason) in [(0, None), (1, Some(1)), (3, None), (3, Some(8)), (4, None)] {
            assert!(phase_two_from_row(phase, reason).is_err(), "{phase} {reason:?}");
        }
    }
}
