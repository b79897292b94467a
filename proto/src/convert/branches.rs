//! The requests of a participant: registrations, claims, checks and reports of phase one.

use std::sync::Arc;

use pactum_core::event::{Event, KeysFor, PhaseOneReport, Register, RequestKeys};
use pactum_core::id::{NodeId, SessionId};
use pactum_core::lock::LockRequest;
use pactum_core::lock::key::EncodedKey;
use pactum_core::lock::wait::ClaimId;
use pactum_core::step::ReplyTo;
use pactum_core::transaction::{Action, BranchMode};

use super::enums;
use super::error::{invalid, invalid_over, limit_reached};
use super::requests::{RequestReader, branch_id, check_length, resource_id, scope_path, wide};
use crate::v1;

/// The longest lock key, in bytes.
pub const LOCK_KEY_BYTES_MAX: usize = 4 * 1024;
/// The most bytes of lock keys in one request: a branch's row carries them all.
pub const LOCKS_BYTES_MAX: usize = 1024 * 1024;
/// The longest name of an action, in bytes.
pub const ACTION_BYTES_MAX: usize = 128;
/// The longest payload of an action, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

impl RequestReader {
    /// A registration by this session.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn register(
        &self,
        request: &v1::RegisterRequest,
        session: SessionId,
        reply: ReplyTo,
    ) -> Result<Event, v1::Error> {
        let target = self.target(&request.xid, &request.store_id)?;
        let branch = branch_id("branch_id", request.branch_id)?;
        let resource = resource_id(&request.resource_id)?;
        let mode = enums::mode(request.mode)?;
        let scopes = scope_path(&request.scopes)?;
        let action = action(mode, &request.action, &request.payload)?;
        let locks = self.locks(&request.locks)?;
        if request.lock_only && locks.is_empty() {
            return Err(no_locks());
        }
        if request.phase_one_assumed && !self.limits.phase_one_assumed_allowed {
            return Err(invalid(
                "phase_one_assumed",
                "`phase_one_assumed` is not allowed here; report phase one, or let the operator \
                 allow it",
            ));
        }
        Ok(Event::RegisterRequested(Box::new(Register {
            target,
            session,
            branch,
            resource,
            mode,
            scopes,
            lock_only: request.lock_only,
            locks,
            action,
            wait: self.wait(request.wait_ms)?,
            holds_local_locks: request.holds_local_locks,
            claim: (request.claim_id != 0).then_some(ClaimId(request.claim_id)),
            phase_one_assumed: request.phase_one_assumed,
            reply,
        })))
    }

    /// A claim by this session.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn claim(
        &self,
        request: &v1::ClaimRequest,
        session: SessionId,
        reply: ReplyTo,
    ) -> Result<Event, v1::Error> {
        let target = self.target(&request.xid, &request.store_id)?;
        Ok(Event::KeysRequested(Box::new(RequestKeys {
            purpose: KeysFor::Claim,
            target: Some(target),
            session,
            resource: resource_id(&request.resource_id)?,
            locks: self.some_locks(&request.locks)?,
            wait: self.wait(request.wait_ms)?,
            // A claim waits outside any local transaction: that is what it is for.
            holds_local_locks: false,
            reply,
        })))
    }

    /// A check by this session.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn check(
        &self,
        request: &v1::CheckRequest,
        session: SessionId,
        reply: ReplyTo,
    ) -> Result<Event, v1::Error> {
        let target = match request.xid.as_str() {
            "" => None,
            xid => Some(self.target(xid, &request.store_id)?),
        };
        Ok(Event::KeysRequested(Box::new(RequestKeys {
            purpose: KeysFor::Check,
            target,
            session,
            resource: resource_id(&request.resource_id)?,
            locks: self.some_locks(&request.locks)?,
            wait: self.wait(request.wait_ms)?,
            holds_local_locks: request.holds_local_locks,
            reply,
        })))
    }

    /// A report of phase one by this node; `reply` is `None` for a one-way report.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn phase_one(
        &self,
        report: &v1::PhaseOneReport,
        node: NodeId,
        reply: Option<ReplyTo>,
    ) -> Result<Event, v1::Error> {
        Ok(Event::PhaseOneReported(Box::new(PhaseOneReport {
            target: self.target(&report.xid, &report.store_id)?,
            branch: branch_id("branch_id", report.branch_id)?,
            node,
            resource: resource_id(&report.resource_id)?,
            result: enums::phase_one_result(report.result)?,
            reply,
        })))
    }

    fn some_locks(&self, locks: &[v1::Lock]) -> Result<Arc<[LockRequest]>, v1::Error> {
        if locks.is_empty() {
            return Err(no_locks());
        }
        self.locks(locks)
    }

    fn locks(&self, locks: &[v1::Lock]) -> Result<Arc<[LockRequest]>, v1::Error> {
        let max = self.limits.locks_per_branch_max;
        if locks.len() > max {
            return Err(limit_reached(
                "locks",
                wide(max),
                format!(
                    "`locks` names {} keys, and a request may name {max}; split the work, or raise \
                     locks_per_branch_max",
                    locks.len()
                ),
            ));
        }
        let bytes: usize = locks.iter().map(|lock| lock.key.len()).sum();
        if bytes > LOCKS_BYTES_MAX {
            return Err(limit_reached(
                "locks",
                wide(LOCKS_BYTES_MAX),
                format!(
                    "the keys of `locks` have {bytes} bytes together, and a request may have \
                     {LOCKS_BYTES_MAX}; split the work"
                ),
            ));
        }
        locks.iter().map(lock).collect()
    }
}

fn lock(lock: &v1::Lock) -> Result<LockRequest, v1::Error> {
    if lock.key.len() > LOCK_KEY_BYTES_MAX {
        return Err(invalid_over(
            "locks.key",
            wide(LOCK_KEY_BYTES_MAX),
            format!(
                "a lock key has {} bytes, and a key may have {LOCK_KEY_BYTES_MAX}; lock the table \
                 instead",
                lock.key.len()
            ),
        ));
    }
    let key = EncodedKey::parse(&lock.key).map_err(|malformed| {
        invalid("locks.key", format!("{malformed}; encode it as the protocol describes"))
    })?;
    Ok(LockRequest { key, mode: enums::lock_mode(lock.mode)? })
}

fn no_locks() -> v1::Error {
    invalid("locks", "`locks` is empty; name the keys to lock or to look at")
}

/// TCC and saga branches name what phase two calls; the other modes have nothing to call.
pub(super) fn action(
    mode: BranchMode,
    name: &str,
    payload: &[u8],
) -> Result<Option<Arc<Action>>, v1::Error> {
    check_length("action", name.len(), ACTION_BYTES_MAX)?;
    check_length("payload", payload.len(), PAYLOAD_BYTES_MAX)?;
    match mode {
        BranchMode::Tcc | BranchMode::Saga if name.is_empty() => Err(invalid_over(
            "action",
            wide(ACTION_BYTES_MAX),
            format!(
                "`action` is missing; name the registered action in 1 to {ACTION_BYTES_MAX} bytes"
            ),
        )),
        BranchMode::Tcc | BranchMode::Saga => {
            Ok(Some(Arc::new(Action { name: name.into(), payload: payload.into() })))
        }
        BranchMode::At | BranchMode::Xa if !name.is_empty() => {
            Err(invalid("action", "an AT or XA branch has an `action`; leave it empty"))
        }
        BranchMode::At | BranchMode::Xa if !payload.is_empty() => {
            Err(invalid("payload", "an AT or XA branch has a `payload`; leave it empty"))
        }
        BranchMode::At | BranchMode::Xa => Ok(None),
    }
}
