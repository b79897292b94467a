//! The columns of each table, a row as values to bind, and a row from the values that were read.
//!
//! Ids fit 63 bits, so they are SQLite's signed integers as they are. Tables are `STRICT`, so a value
//! has its column's type or is null.
//!
//! A row is *read* as one text: its fields between commas, numbers as they are (null as 0), texts and
//! bytes in hex (null as `-`). sqlx allocates for every value and wakes a task for every row, which
//! made a million branches a matter of ten seconds; so [`read`](super::read) lets SQLite join a
//! thousand rows into one value, and every reader decodes the same text.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use pactum_core::id::{BranchId, NodeId, ResourceId, ResourceNumber, ResourceUid, XidNumber};
use pactum_core::recovery::Ended;
use pactum_core::time::WallTime;
use pactum_core::transaction::{Action, BranchRow, ResourceRow, TransactionRow};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};

use crate::store::Error;
use crate::store::codec::{self, corrupt};

/// A table that rows are put into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) key: &'static str,
    pub(super) columns: &'static [&'static str],
    /// The expression that makes a row one text; qualified, so that it also stands in a join.
    pub(super) text: &'static str,
}

pub(super) const RESOURCE: Table = Table {
    name: "resource",
    key: "number",
    columns: &["number", "resource_id", "resource_uid"],
    text: "printf('%d,%s,%s', resource.number, hex(resource.resource_id), \
           iif(resource.resource_uid IS NULL, '-', hex(resource.resource_uid)))",
};

pub(super) const TRANSACTION: Table = Table {
    name: "global_transaction",
    key: "xid",
    columns: &[
        "xid",
        "name",
        "node",
        "status",
        "cause",
        "timeout_ms",
        "begun_at",
        "ended_at",
        "idempotency_key",
        "outer_xid",
        "undone_scopes",
    ],
    text: "printf('%d,%d,%d,%d,%d,%d,%d,%s,%s,%s,%s', \
           global_transaction.xid, global_transaction.status, global_transaction.cause, \
           global_transaction.timeout_ms, global_transaction.begun_at, \
           ifnull(global_transaction.ended_at, -1), global_transaction.outer_xid, \
           hex(global_transaction.name), \
           iif(global_transaction.node IS NULL, '-', hex(global_transaction.node)), \
           iif(global_transaction.idempotency_key IS NULL, '-', \
               hex(global_transaction.idempotency_key)), \
           iif(global_transaction.undone_scopes IS NULL, '-', \
               hex(global_transaction.undone_scopes)))",
};

pub(super) const BRANCH: Table = Table {
    name: "branch",
    key: "xid, branch_id",
    columns: &[
        "xid",
        "branch_id",
        "sequence",
        "node",
        "resource",
        "mode",
        "scopes",
        "lock_only",
        "locks",
        "action_name",
        "action_payload",
        "phase_one",
        "phase_two",
        "park_reason",
        "park_report",
        "resolutions",
    ],
    text: "printf('%d,%d,%d,%d,%d,%d,%d,%d,%d,%s,%s,%s,%s,%s,%s,%s', \
           branch.xid, branch.branch_id, branch.sequence, branch.resource, branch.mode, \
           branch.lock_only, branch.phase_one, branch.phase_two, branch.park_reason, \
           iif(branch.scopes IS NULL, '-', hex(branch.scopes)), \
           hex(branch.node), hex(branch.locks), \
           iif(branch.action_name IS NULL, '-', hex(branch.action_name)), \
           iif(branch.action_payload IS NULL, '-', hex(branch.action_payload)), \
           iif(branch.park_report IS NULL, '-', hex(branch.park_report)), \
           iif(branch.resolutions IS NULL, '-', hex(branch.resolutions)))",
};

/// Values on their way to a statement; what a row has already is not copied.
#[derive(Debug, Default)]
pub(super) struct Values<'r>(Vec<ToSqlOutput<'r>>);

impl<'r> Values<'r> {
    pub(super) fn with_capacity(count: usize) -> Self {
        Values(Vec::with_capacity(count))
    }

    /// Makes room for the next rows'.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, ToSqlOutput<'r>> {
        self.0.iter()
    }

    pub(super) fn add(&mut self, value: impl Into<Value>) {
        self.0.push(ToSqlOutput::Owned(value.into()));
    }

    pub(super) fn number(&mut self, number: u64) {
        self.add(number.cast_signed());
    }

    /// Bytes that the row has.
    pub(super) fn bytes(&mut self, bytes: Option<&'r [u8]>) {
        self.0.push(ToSqlOutput::Borrowed(bytes.map_or(ValueRef::Null, ValueRef::Blob)));
    }

    pub(super) fn text(&mut self, text: Option<&'r str>) {
        let text = text.map(str::as_bytes);
        self.0.push(ToSqlOutput::Borrowed(text.map_or(ValueRef::Null, ValueRef::Text)));
    }
}

/// A row that can be put into its table.
pub(super) trait ToRow {
    const TABLE: Table;

    /// Adds as many values as the table has columns, in their order.
    fn to_row<'r>(&'r self, values: &mut Values<'r>);
}

impl ToRow for ResourceRow {
    const TABLE: Table = RESOURCE;

    fn to_row<'r>(&'r self, values: &mut Values<'r>) {
        values.number(u64::from(self.number.0));
        values.text(Some(self.id.as_str()));
        values.add(self.uid.map(|uid| uid.to_bytes().to_vec()));
    }
}

impl ToRow for TransactionRow {
    const TABLE: Table = TRANSACTION;

    fn to_row<'r>(&'r self, values: &mut Values<'r>) {
        let (status, cause) = codec::status_to_row(self.status);
        values.number(self.number.0);
        values.text(Some(&self.name));
        values.add(self.node.map(|node| node.to_bytes().to_vec()));
        values.add(status);
        values.add(cause);
        values.number(millis(self.timeout));
        values.number(self.begun_at.0);
        values.add(self.ended_at.map(|at| at.0.cast_signed()));
        values.text(self.idempotency_key.as_deref());
        values.add(self.outer.map(|outer| outer.0.cast_signed()));
        values.add(codec::undone_scopes_to_row(&self.undone_scopes));
    }
}

impl ToRow for BranchRow {
    const TABLE: Table = BRANCH;

    fn to_row<'r>(&'r self, values: &mut Values<'r>) {
        let (phase_two, reason) = codec::phase_two_to_row(self.phase_two);
        values.number(self.xid.0);
        values.number(self.id.0);
        values.add(i64::from(self.sequence));
        values.add(self.node.to_bytes().to_vec());
        values.add(i64::from(self.resource.0));
        values.add(codec::mode_to_row(self.mode));
        values.add(codec::scopes_to_row(&self.scopes));
        values.add(i64::from(self.lock_only));
        values.add(codec::locks_to_row(&self.locks));
        values.text(self.action.as_ref().map(|action| &*action.name));
        values.bytes(self.action.as_ref().map(|action| &*action.payload));
        values.add(codec::phase_one_to_row(self.phase_one));
        values.add(phase_two);
        values.add(reason);
        values.bytes(self.park_report.as_deref());
        values.add(codec::resolutions_to_row(&self.resolutions));
    }
}

/// A wait shorter than a millisecond is stored as one: zero would mean that there is no time at all.
fn millis(duration: Duration) -> u64 {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis).unwrap_or(u64::MAX).min(i64::MAX.cast_unsigned())
}

/// The expression that makes a text of what the history needs of an ended transaction.
pub(super) const ENDED: &str = "printf('%d,%d,%d,%d,%s', xid, status, cause, ended_at, \
     iif(idempotency_key IS NULL, '-', hex(idempotency_key)))";

/// A row's text, taken apart from the left.
pub(super) struct Fields<'a> {
    rest: std::str::Split<'a, char>,
    /// Where hex is undone before its value is made.
    buffer: Vec<u8>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Fields { rest: text.split(','), buffer: Vec::new() }
    }

    /// The next row's text, with the buffer of the last.
    pub(super) fn restart(&mut self, text: &'a str) {
        self.rest = text.split(',');
    }

    fn field(&mut self) -> Result<&'a str, Error> {
        self.rest.next().ok_or_else(|| corrupt("a row of too few fields".to_owned()))
    }

    pub(super) fn number<N: FromStr>(&mut self) -> Result<N, Error> {
        let field = self.field()?;
        field.parse().map_err(|_| corrupt(format!("number `{field}`")))
    }

    /// Null is 0, which none of these numbers can be.
    pub(super) fn maybe_number<N: FromStr + PartialEq + From<u8>>(
        &mut self,
    ) -> Result<Option<N>, Error> {
        let number = self.number()?;
        Ok((number != N::from(0)).then_some(number))
    }

    pub(super) fn maybe_bytes(&mut self) -> Result<Option<&[u8]>, Error> {
        let field = self.field()?;
        if field == "-" {
            return Ok(None);
        }
        self.buffer.clear();
        for pair in field.as_bytes().chunks(2) {
            self.buffer.push(unhex(pair)?);
        }
        Ok(Some(&self.buffer))
    }

    pub(super) fn bytes(&mut self) -> Result<&[u8], Error> {
        self.maybe_bytes()?.ok_or_else(|| corrupt("a null that must not be".to_owned()))
    }

    pub(super) fn text(&mut self) -> Result<&str, Error> {
        utf8(self.bytes()?)
    }

    pub(super) fn maybe_text(&mut self) -> Result<Option<Arc<str>>, Error> {
        let text = self.maybe_bytes()?.map(utf8).transpose()?;
        Ok(text.map(Into::into))
    }

    fn id128<T>(&mut self, from_bytes: fn(&[u8]) -> Option<T>) -> Result<T, Error> {
        let id = self.maybe_id128(from_bytes)?;
        id.ok_or_else(|| corrupt("a null that must not be".to_owned()))
    }

    fn maybe_id128<T>(&mut self, from_bytes: fn(&[u8]) -> Option<T>) -> Result<Option<T>, Error> {
        let parse = |bytes: &[u8]| {
            from_bytes(bytes).ok_or_else(|| corrupt(format!("uuid of {} bytes", bytes.len())))
        };
        self.maybe_bytes()?.map(parse).transpose()
    }

    pub(super) fn resource(&mut self) -> Result<ResourceRow, Error> {
        let number = ResourceNumber(self.number()?);
        let id = self.text()?;
        let id: ResourceId = id.parse().map_err(|_| corrupt(format!("resource id `{id}`")))?;
        Ok(ResourceRow { number, id, uid: self.maybe_id128(ResourceUid::from_bytes)? })
    }

    /// `names` is the last name read: neighbours mostly share one, and then they share its memory.
    pub(super) fn transaction(&mut self, names: &mut Arc<str>) -> Result<TransactionRow, Error> {
        let number = XidNumber(self.number()?);
        let status = codec::status_from_row(self.number()?, self.maybe_number()?)?;
        let timeout = Duration::from_millis(self.number()?);
        let begun_at = WallTime(self.number()?);
        // 0 is a moment, so here null is -1.
        let ended_at: i64 = self.number()?;
        let outer = self.maybe_number()?.map(XidNumber);
        let name = self.text()?;
        if **names != *name {
            *names = name.into();
        }
        Ok(TransactionRow {
            number,
            name: Arc::clone(names),
            node: self.maybe_id128(NodeId::from_bytes)?,
            status,
            timeout,
            begun_at,
            ended_at: u64::try_from(ended_at).ok().map(WallTime),
            idempotency_key: self.maybe_text()?,
            outer,
            undone_scopes: codec::undone_scopes_from_row(self.maybe_bytes()?)?,
        })
    }

    pub(super) fn branch(&mut self) -> Result<BranchRow, Error> {
        Ok(BranchRow {
            xid: XidNumber(self.number()?),
            id: BranchId(self.number()?),
            sequence: self.number()?,
            resource: ResourceNumber(self.number()?),
            mode: codec::mode_from_row(self.number()?)?,
            lock_only: self.number::<u8>()? != 0,
            phase_one: codec::phase_one_from_row(self.number()?)?,
            phase_two: codec::phase_two_from_row(self.number()?, self.maybe_number()?)?,
            scopes: codec::scopes_from_row(self.maybe_bytes()?)?,
            node: self.id128(NodeId::from_bytes)?,
            locks: codec::locks_from_row(self.bytes()?)?.into(),
            action: self.action()?,
            park_report: self.maybe_bytes()?.map(Into::into),
            resolutions: codec::resolutions_from_row(self.maybe_bytes()?)?,
        })
    }

    fn action(&mut self) -> Result<Option<Arc<Action>>, Error> {
        match (self.maybe_text()?, self.maybe_bytes()?) {
            (None, None) => Ok(None),
            (Some(name), Some(payload)) => {
                Ok(Some(Arc::new(Action { name, payload: payload.into() })))
            }
            (Some(_), None) | (None, Some(_)) => Err(corrupt("half an action".to_owned())),
        }
    }

    pub(super) fn ended(&mut self) -> Result<Ended, Error> {
        Ok(Ended {
            xid: XidNumber(self.number()?),
            status: codec::status_from_row(self.number()?, self.maybe_number()?)?,
            at: WallTime(self.number()?),
            idempotency_key: self.maybe_text()?,
        })
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|error| corrupt(format!("text: {error}")))
}

fn unhex(pair: &[u8]) -> Result<u8, Error> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    match pair {
        [high, low] => digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low),
        _ => None,
    }
    .ok_or_else(|| corrupt(format!("hex digits {pair:?}")))
}
