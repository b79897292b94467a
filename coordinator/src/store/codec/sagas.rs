//! How the values of declared sagas look in a row: the state of a step, and the bytes of what operators
//! said to a saga, where there is any.
//!
//! ```text
//! version u8 = 1 | count | each: verb u8, 0 or the step's slot + 1, moment, length, the reason's UTF-8
//! ```

use std::sync::Arc;

use pactum_core::saga::{Defined, DefinitionRow, SagaVerb, SagaWord, Slot, StepState, read_all};
use pactum_core::time::WallTime;

use super::{Input, corrupt, cut_short, put_number, reason_from_row, reason_to_row, wide};
use crate::store::Error;

const WORDS_VERSION: u8 = 1;

/// What a step's state is in a row: its number, since when it waits, why it is parked.
pub(in crate::store) type StateColumns = (i64, Option<WallTime>, Option<i64>);

pub(in crate::store) fn step_state_to_row(state: StepState) -> StateColumns {
    match state {
        StepState::Waiting { since } => (1, Some(since), None),
        StepState::Done => (2, None, None),
        StepState::Failed { certain: true } => (3, None, None),
        StepState::Failed { certain: false } => (4, None, None),
        StepState::Skipped => (5, None, None),
        StepState::Parked(reason) => (6, None, Some(reason_to_row(reason))),
        StepState::UndoParked(reason) => (7, None, Some(reason_to_row(reason))),
        StepState::Undone => (8, None, None),
        StepState::Open => (9, None, None),
    }
}

pub(in crate::store) fn step_state_from_row(
    (state, since, reason): StateColumns,
) -> Result<StepState, Error> {
    match (state, since, reason) {
        (1, Some(since), None) => Ok(StepState::Waiting { since }),
        (2, None, None) => Ok(StepState::Done),
        (3, None, None) => Ok(StepState::Failed { certain: true }),
        (4, None, None) => Ok(StepState::Failed { certain: false }),
        (5, None, None) => Ok(StepState::Skipped),
        (6, None, Some(reason)) => Ok(StepState::Parked(reason_from_row(reason)?)),
        (7, None, Some(reason)) => Ok(StepState::UndoParked(reason_from_row(reason)?)),
        (8, None, None) => Ok(StepState::Undone),
        (9, None, None) => Ok(StepState::Open),
        (state, ..) => Err(corrupt(format!("step state {state}, park reason {reason:?}"))),
    }
}

/// The bytes of what operators said; null for almost every saga.
pub(in crate::store) fn words_to_row(words: &[SagaWord]) -> Option<Vec<u8>> {
    if words.is_empty() {
        return None;
    }
    let mut out = vec![WORDS_VERSION];
    put_number(&mut out, wide(words.len()));
    for SagaWord { verb, slot, reason, at } in words {
        out.push(verb_to_row(*verb));
        put_number(&mut out, slot.map_or(0, |slot| u64::from(slot.0) + 1));
        put_number(&mut out, at.0);
        put_number(&mut out, wide(reason.len()));
        out.extend_from_slice(reason.as_bytes());
    }
    Some(out)
}

/// The words behind the bytes.
pub(in crate::store) fn words_from_row(bytes: Option<&[u8]>) -> Result<Vec<SagaWord>, Error> {
    let Some(bytes) = bytes else { return Ok(Vec::new()) };
    let mut input = Input(bytes);
    match input.byte()? {
        WORDS_VERSION => {}
        other => return Err(corrupt(format!("words in encoding version {other}"))),
    }
    let mut words = Vec::new();
    for _ in 0..input.number()? {
        let verb = verb_from_row(input.byte()?)?;
        let slot = input.number()?.checked_sub(1).map(u32::try_from).transpose();
        let slot = slot.map_err(|_| cut_short())?.map(Slot);
        let at = WallTime(input.number()?);
        let length = input.length()?;
        let reason = std::str::from_utf8(input.take(length)?);
        let reason = reason.map_err(|error| corrupt(format!("word: {error}")))?.into();
        words.push(SagaWord { verb, slot, reason, at });
    }
    if input.0.is_empty() { Ok(words) } else { Err(cut_short()) }
}

fn verb_to_row(verb: SagaVerb) -> u8 {
    match verb {
        SagaVerb::Pause => 1,
        SagaVerb::Resume => 2,
        SagaVerb::Retry => 3,
        SagaVerb::Skip => 4,
        SagaVerb::Force => 5,
        SagaVerb::Cancel => 6,
    }
}

fn verb_from_row(verb: u8) -> Result<SagaVerb, Error> {
    Ok(match verb {
        1 => SagaVerb::Pause,
        2 => SagaVerb::Resume,
        3 => SagaVerb::Retry,
        4 => SagaVerb::Skip,
        5 => SagaVerb::Force,
        6 => SagaVerb::Cancel,
        other => return Err(corrupt(format!("saga verb {other}"))),
    })
}

/// The definitions behind their rows.
pub(in crate::store) fn definitions(rows: Vec<DefinitionRow>) -> Result<Vec<Arc<Defined>>, Error> {
    read_all(rows).map_err(|(key, fault)| corrupt(format!("definition `{key}`: {fault}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_said_is_stored_in_these_bytes() {
        let words = vec![
            SagaWord {
                verb: SagaVerb::Skip,
                slot: Some(Slot(0)),
                reason: "no".into(),
                at: WallTime(300),
            },
            SagaWord { verb: SagaVerb::Cancel, slot: None, reason: "".into(), at: WallTime(1) },
        ];
        let bytes = [1, 2, 4, 1, 0xac, 2, 2, b'n', b'o', 6, 0, 1, 0];
        assert_eq!(words_to_row(&words).as_deref(), Some(&bytes[..]));
        assert_eq!(words_from_row(Some(&bytes)).unwrap(), words);
        for cut in 1..bytes.len() {
            assert!(words_from_row(Some(&bytes[..cut])).is_err(), "{cut}");
        }
        assert_eq!(words_to_row(&[]), None);
    }

    #[test]
    fn every_state_of_a_step_has_its_number() {
        use pactum_core::transaction::ParkReason;
        let states = [
            (StepState::Waiting { since: WallTime(5) }, 1),
            (StepState::Done, 2),
            (StepState::Failed { certain: true }, 3),
            (StepState::Failed { certain: false }, 4),
            (StepState::Skipped, 5),
            (StepState::Parked(ParkReason::HandlerFatal), 6),
            (StepState::UndoParked(ParkReason::EvidenceLost), 7),
            (StepState::Undone, 8),
            (StepState::Open, 9),
        ];
        for (state, number) in states {
            let row = step_state_to_row(state);
            assert_eq!(row.0, number);
            assert_eq!(step_state_from_row(row).unwrap(), state);
        }
        assert!(step_state_from_row((1, None, None)).is_err());
        assert!(step_state_from_row((10, None, None)).is_err());
    }
}
