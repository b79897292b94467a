//! The rows of declared sagas: their columns, values and texts, as in [`rows`](super::rows).

use std::sync::Arc;

use pactum_core::id::XidNumber;
use pactum_core::saga::{DefinitionKey, DefinitionRow, SagaRow, Slot, StepError, StepRow};
use pactum_core::time::WallTime;

use super::rows::{Fields, Table, ToRow, Values};
use crate::store::Error;
use crate::store::codec::{self, corrupt};

pub(super) const DEFINITION: Table = Table {
    name: "saga_definition",
    key: "name, version",
    columns: &["name", "version", "body"],
    text: "printf('%d,%s,%s', saga_definition.version, hex(saga_definition.name), \
           hex(saga_definition.body))",
};

pub(super) const SAGA: Table = Table {
    name: "saga",
    key: "xid",
    columns: &["xid", "name", "version", "input", "paused", "words"],
    text: "printf('%d,%d,%d,%s,%s,%s', saga.xid, saga.version, saga.paused, hex(saga.name), \
           hex(saga.input), iif(saga.words IS NULL, '-', hex(saga.words)))",
};

pub(super) const STEP: Table = Table {
    name: "saga_step",
    key: "xid, slot",
    columns: &[
        "xid",
        "slot",
        "state",
        "since",
        "park_reason",
        "took_place",
        "result",
        "error_code",
        "error_message",
        "report",
    ],
    text: "printf('%d,%d,%d,%d,%d,%d,%s,%s,%s,%s', saga_step.xid, saga_step.slot, \
           saga_step.state, ifnull(saga_step.since, -1), saga_step.park_reason, \
           saga_step.took_place, \
           iif(saga_step.result IS NULL, '-', hex(saga_step.result)), \
           iif(saga_step.error_code IS NULL, '-', hex(saga_step.error_code)), \
           iif(saga_step.error_message IS NULL, '-', hex(saga_step.error_message)), \
           iif(saga_step.report IS NULL, '-', hex(saga_step.report)))",
};

impl ToRow for DefinitionRow {
    const TABLE: Table = DEFINITION;

    fn to_row<'r>(&'r self, values: &mut Values<'r>) {
        values.text(Some(&self.key.name));
        values.number(u64::from(self.key.version));
        values.bytes(Some(&self.body));
    }
}

impl ToRow for SagaRow {
    const TABLE: Table = SAGA;

    fn to_row<'r>(&'r self, values: &mut Values<'r>) {
        values.number(self.xid.0);
        values.text(Some(&self.definition.name));
        values.number(u64::from(self.definition.version));
        values.bytes(Some(&self.input));
        values.number(u64::from(self.paused));
        values.add(codec::words_to_row(&self.words));
    }
}

impl ToRow for StepRow {
    const TABLE: Table = STEP;

    fn to_row<'r>(&'r self, values: &mut Values<'r>) {
        let (state, since, park_reason) = codec::step_state_to_row(self.state);
        values.number(self.xid.0);
        values.number(u64::from(self.slot.0));
        values.add(state);
        values.add(since.map(|since| since.0.cast_signed()));
        values.add(park_reason);
        values.number(u64::from(self.took_place));
        values.bytes(self.result.as_deref());
        values.text(self.error.as_ref().map(|error| &*error.code));
        values.text(self.error.as_ref().map(|error| &*error.message));
        values.bytes(self.report.as_deref());
    }
}

impl Fields<'_> {
    pub(super) fn definition(&mut self) -> Result<DefinitionRow, Error> {
        let version = self.number()?;
        let key = DefinitionKey { name: self.text()?.into(), version };
        Ok(DefinitionRow { key, body: self.bytes()?.into() })
    }

    pub(super) fn saga(&mut self) -> Result<SagaRow, Error> {
        let xid = XidNumber(self.number()?);
        let version = self.number()?;
        let paused = self.number::<u8>()? != 0;
        Ok(SagaRow {
            xid,
            definition: DefinitionKey { name: self.text()?.into(), version },
            input: self.bytes()?.into(),
            paused,
            words: codec::words_from_row(self.maybe_bytes()?)?,
        })
    }

    pub(super) fn step(&mut self) -> Result<StepRow, Error> {
        let (xid, slot) = (XidNumber(self.number()?), Slot(self.number()?));
        let state = self.number()?;
        // 0 is a moment, so here null is -1.
        let since: i64 = self.number()?;
        let since = u64::try_from(since).ok().map(WallTime);
        let state = codec::step_state_from_row((state, since, self.maybe_number()?))?;
        let took_place = self.number::<u8>()? != 0;
        let result = self.maybe_bytes()?.map(Into::into);
        let error = match (self.maybe_text()?, self.maybe_text()?) {
            (None, None) => None,
            (Some(code), Some(message)) => Some(Arc::new(StepError { code, message })),
            (Some(_), None) | (None, Some(_)) => return Err(corrupt("half an error".to_owned())),
        };
        let report = self.maybe_bytes()?.map(Into::into);
        Ok(StepRow { xid, slot, state, took_place, result, error, report })
    }
}
