//! Requests, checked field by field and made into events. What is refused here changed nothing.
//!
//! A [`RequestReader`] knows who this coordinator is and what it allows. This file holds what every
//! request needs and the transaction manager's requests; `branches` and `work` hold the
//! participant's.

use std::sync::Arc;
use std::time::Duration;

use pactum_core::event::{Begin, Event, NamedBegin, Proof, Target};
use pactum_core::id::{
    BranchId, GroupName, Malformed, NodeId, ResourceId, ResourceUid, ScopeId, SessionId, StoreId,
    Xid, XidNumber,
};
use pactum_core::step::ReplyTo;
use pactum_core::transaction::{Caller, SCOPE_DEPTH_MAX};

use super::error::{foreign, invalid, invalid_over, limit_reached, protocol_version, shown};
use super::{Identity, enums, sagas};
use crate::v1;

/// The longest name of a transaction, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// The longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 64;
/// The longest reason of a veto, in bytes.
pub const REASON_BYTES_MAX: usize = 512;
/// The longest agent version, in bytes.
pub const AGENT_VERSION_BYTES_MAX: usize = 64;
/// How many capabilities a hello may name.
pub const CAPABILITIES_MAX: usize = 64;
/// The longest capability, in bytes.
pub const CAPABILITY_BYTES_MAX: usize = 64;
/// How many resources one unary attach may name.
pub const RESOURCES_PER_ATTACH_MAX: usize = 64;
/// The longest XID that is worth parsing: group name, colon, nineteen digits.
const XID_BYTES_MAX: usize = 24 + 1 + 19;

/// What a coordinator allows, as far as a request alone can break it.
#[derive(Clone, Debug)]
pub struct RequestLimits {
    /// The longest timeout of a transaction, and the longest wait for keys.
    pub transaction_timeout_max: Duration,
    /// How many branches a transaction may have, and a commit may name.
    pub branches_per_transaction_max: usize,
    /// How many lock keys a request may name.
    pub locks_per_branch_max: usize,
    /// Whether a registration may say that its participant never reports phase one.
    pub phase_one_assumed_allowed: bool,
}

/// Reads requests for one coordinator.
#[derive(Clone, Debug)]
pub struct RequestReader {
    group: GroupName,
    store: StoreId,
    pub(super) limits: RequestLimits,
}

/// A hello that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The agent's process.
    pub node: NodeId,
    /// For people.
    pub agent_version: String,
}

impl RequestReader {
    /// A reader for the coordinator of this identity.
    #[must_use]
    pub fn new(identity: &Identity, limits: RequestLimits) -> Self {
        RequestReader { group: identity.group.clone(), store: identity.store, limits }
    }

    /// A begin. `node` is the session's; `None` for a unary call.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn begin(
        &self,
        request: v1::BeginRequest,
        node: Option<NodeId>,
        reply: ReplyTo,
    ) -> Result<Event, v1::Error> {
        let name = name(request.name)?;
        let timeout = self.timeout(request.timeout_ms)?;
        let key = bounded("idempotency_key", request.idempotency_key, IDEMPOTENCY_KEY_BYTES_MAX)?;
        let outer = self.outer(&request.outer_xid)?;
        let idempotency_key = (!key.is_empty()).then(|| Arc::from(key));
        Ok(Event::BeginRequested(Box::new(Begin {
            name,
            timeout,
            node,
            idempotency_key,
            outer,
            reply,
        })))
    }

    /// A begin under a number of the session's own.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn named_begin(
        &self,
        begin: v1::NamedBegin,
        session: SessionId,
    ) -> Result<Event, v1::Error> {
        let number = XidNumber(begin.number);
        let (name, timeout) = (name(begin.name)?, self.timeout(begin.timeout_ms)?);
        let outer = self.outer(&begin.outer_xid)?;
        Ok(Event::NamedBegun(Box::new(NamedBegin { session, number, name, timeout, outer })))
    }

    /// A request to commit.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn commit(&self, request: v1::CommitRequest, reply: ReplyTo) -> Result<Event, v1::Error> {
        let target = self.target(&request.xid, &request.store_id)?;
        let named = request.done_branch_ids;
        let max = self.limits.branches_per_transaction_max;
        if named.len() > max {
            return Err(limit_reached(
                "done_branch_ids",
                wide(max),
                format!(
                    "`done_branch_ids` names {} branches, and a transaction has at most {max}; \
                     split the work",
                    named.len()
                ),
            ));
        }
        let done = named.into_iter().map(|id| branch_id("done_branch_ids", id));
        let done = done.collect::<Result<_, _>>()?;
        let delegate_to = match request.delegate_to {
            0 => None,
            id => Some(branch_id("delegate_to", id)?),
        };
        let caller = Caller { reply, wait: enums::wait(request.wait)? };
        Ok(Event::CommitRequested { target, done, delegate_to, caller })
    }

    /// A request to roll back.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn rollback(
        &self,
        request: &v1::RollbackRequest,
        reply: ReplyTo,
    ) -> Result<Event, v1::Error> {
        let target = self.target(&request.xid, &request.store_id)?;
        let caller = Caller { reply, wait: enums::wait(request.wait)? };
        Ok(Event::RollbackRequested { target, caller })
    }

    /// A request to roll back a nested scope.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn rollback_scope(
        &self,
        request: &v1::RollbackScopeRequest,
        reply: ReplyTo,
    ) -> Result<Event, v1::Error> {
        let target = self.target(&request.xid, &request.store_id)?;
        let scope = scope("scope", request.scope)?;
        let caller = Caller { reply, wait: enums::wait(request.wait)? };
        Ok(Event::ScopeRollbackRequested { target, scope, caller })
    }

    /// A veto. Its answer waits for the decision only: the participant has a caller of its own.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn veto(&self, request: &v1::VetoRequest, reply: ReplyTo) -> Result<Event, v1::Error> {
        let target = self.target(&request.xid, &request.store_id)?;
        let scopes = scope_path(&request.scopes)?;
        check_length("reason", request.reason.len(), REASON_BYTES_MAX)?;
        let caller = Caller { reply, wait: pactum_core::transaction::Wait::Decided };
        Ok(Event::Vetoed { target, scopes, caller })
    }

    /// A question where a transaction stands.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn get(&self, request: &v1::GetRequest, reply: ReplyTo) -> Result<Event, v1::Error> {
        let target = self.target(&request.xid, &request.store_id)?;
        let caller = Caller { reply, wait: enums::wait(request.wait)? };
        Ok(Event::OutcomeRequested { target, caller })
    }

    /// An operator's XID, which names no store.
    ///
    /// # Errors
    /// The typed refusal if it is malformed or of another group.
    pub fn operator_xid(&self, xid: &str) -> Result<XidNumber, v1::Error> {
        self.xid("xid", xid)
    }

    /// The transaction that a request names.
    pub(super) fn target(&self, xid: &str, store_id: &[u8]) -> Result<Target, v1::Error> {
        let xid = self.xid("xid", xid)?;
        Ok(Target { xid, store_named: self.store_named(store_id)? })
    }

    fn store_named(&self, store_id: &[u8]) -> Result<bool, v1::Error> {
        if store_id.is_empty() {
            return Ok(false);
        }
        let store = StoreId::from_bytes(store_id).ok_or_else(|| {
            invalid_over(
                "store_id",
                16,
                format!(
                    "`store_id` has {} bytes; send the 16 bytes that begin answered",
                    store_id.len()
                ),
            )
        })?;
        if store == self.store {
            return Ok(true);
        }
        Err(foreign(
            "store_id",
            format!(
                "the request is for store {store}, and this coordinator's store is {}; check the \
                 coordinator's address",
                self.store
            ),
        ))
    }

    fn outer(&self, text: &str) -> Result<Option<XidNumber>, v1::Error> {
        (!text.is_empty()).then(|| self.xid("outer_xid", text)).transpose()
    }

    fn xid(&self, field: &str, text: &str) -> Result<XidNumber, v1::Error> {
        let parsed = if text.len() > XID_BYTES_MAX { Err(Malformed::Xid) } else { text.parse() };
        let xid: Xid = parsed.map_err(|malformed| match text {
            "" => invalid(field, format!("`{field}` is missing; send it as begin returned it")),
            text => {
                invalid(field, format!("`{field}` `{}` is malformed: {malformed}", shown(text)))
            }
        })?;
        if xid.group == self.group {
            return Ok(xid.number);
        }
        Err(foreign(
            field,
            format!(
                "`{xid}` belongs to group `{}`, and this coordinator leads group `{}`; check the \
                 coordinator's address",
                xid.group, self.group
            ),
        ))
    }

    fn timeout(&self, timeout_ms: u64) -> Result<Duration, v1::Error> {
        let max = self.limits.transaction_timeout_max;
        let timeout = Duration::from_millis(timeout_ms);
        if timeout.is_zero() || timeout > max {
            let max_ms = millis(max);
            return Err(invalid_over(
                "timeout_ms",
                max_ms,
                format!("`timeout_ms` is {timeout_ms}; send 1 to {max_ms}"),
            ));
        }
        Ok(timeout)
    }

    /// A wait for keys; zero for not at all.
    pub(super) fn wait(&self, wait_ms: u32) -> Result<Duration, v1::Error> {
        let max = self.limits.transaction_timeout_max;
        let wait = Duration::from_millis(u64::from(wait_ms));
        if wait > max {
            let max_ms = millis(max);
            return Err(invalid_over(
                "wait_ms",
                max_ms,
                format!("`wait_ms` is {wait_ms}; send 0 to {max_ms}"),
            ));
        }
        Ok(wait)
    }

    /// The first frame of a session.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn hello(&self, hello: v1::Hello) -> Result<Hello, v1::Error> {
        check_version(hello.protocol_version)?;
        let node = node(&hello.node_id)?;
        check_count("capabilities", hello.capabilities.len(), CAPABILITIES_MAX)?;
        for capability in &hello.capabilities {
            check_length("capabilities", capability.len(), CAPABILITY_BYTES_MAX)?;
        }
        let agent_version = bounded("agent_version", hello.agent_version, AGENT_VERSION_BYTES_MAX)?;
        Ok(Hello { node, agent_version })
    }

    /// A unary attach: the node and its resources.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn attach(&self, request: v1::AttachRequest) -> Result<(NodeId, Vec<Proof>), v1::Error> {
        check_version(request.protocol_version)?;
        let node = node(&request.node_id)?;
        check_length("agent_version", request.agent_version.len(), AGENT_VERSION_BYTES_MAX)?;
        check_count("resources", request.resources.len(), RESOURCES_PER_ATTACH_MAX)?;
        if request.resources.is_empty() {
            return Err(invalid("resources", "`resources` is empty; name at least one"));
        }
        let resources = request.resources.iter().map(|resource| self.resource(resource));
        Ok((node, resources.collect::<Result<_, _>>()?))
    }

    /// A resource that a session wants to work on.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn resource(&self, resource: &v1::Resource) -> Result<Proof, v1::Error> {
        let id = resource_id(&resource.resource_id)?;
        let uid = resource.resource_uid.as_ref();
        let offers = sagas::offers(&resource.actions)?;
        match resource.kind() {
            v1::ResourceKind::Database => {
                let uid = ResourceUid::from_bytes(uid).ok_or_else(|| {
                    invalid_over(
                        "resource_uid",
                        16,
                        format!(
                            "`resource_uid` of database `{id}` has {} bytes; send the 16 bytes of \
                             its agent tables",
                            uid.len()
                        ),
                    )
                })?;
                Ok(Proof { resource: id, uid: Some(uid), offers })
            }
            v1::ResourceKind::Service if uid.is_empty() => {
                Ok(Proof { resource: id, uid: None, offers })
            }
            v1::ResourceKind::Service => Err(invalid_over(
                "resource_uid",
                0,
                format!(
                    "service `{id}` has a `resource_uid`; leave it empty, or send the kind DATABASE"
                ),
            )),
            v1::ResourceKind::Unspecified => Err(invalid(
                "kind",
                format!(
                    "`kind` of resource `{id}` is missing or unknown; send DATABASE or SERVICE"
                ),
            )),
        }
    }
}

fn name(name: String) -> Result<Arc<str>, v1::Error> {
    required("name", name, NAME_BYTES_MAX).map(Into::into)
}

fn check_version(theirs: u32) -> Result<(), v1::Error> {
    if theirs == crate::PROTOCOL_VERSION {
        return Ok(());
    }
    Err(protocol_version(theirs, crate::PROTOCOL_VERSION))
}

fn node(bytes: &[u8]) -> Result<NodeId, v1::Error> {
    NodeId::from_bytes(bytes).ok_or_else(|| {
        invalid_over(
            "node_id",
            16,
            format!(
                "`node_id` has {} bytes; send 16 random bytes, the same for the life of the process",
                bytes.len()
            ),
        )
    })
}

pub(super) fn resource_id(text: &str) -> Result<ResourceId, v1::Error> {
    text.parse().map_err(|malformed| {
        invalid_over(
            "resource_id",
            wide(pactum_core::id::RESOURCE_ID_BYTES_MAX),
            format!("`resource_id` `{}` is malformed: {malformed}", shown(text)),
        )
    })
}

/// Ids fit the signed integers of every store.
pub(super) fn branch_id(field: &str, id: u64) -> Result<BranchId, v1::Error> {
    let max = XidNumber::MAX.0;
    if id == 0 || id > max {
        return Err(invalid_over(
            field,
            max,
            format!("`{field}` holds {id}; send an id from the attachment's block"),
        ));
    }
    Ok(BranchId(id))
}

fn scope(field: &str, scope: u64) -> Result<ScopeId, v1::Error> {
    if scope == 0 {
        let message = format!("`{field}` holds 0; send the random number of a nested scope");
        return Err(invalid(field, message));
    }
    Ok(ScopeId(scope))
}

/// The nested scopes of a branch or a veto, outermost first.
pub(super) fn scope_path(scopes: &[u64]) -> Result<Vec<ScopeId>, v1::Error> {
    check_count("scopes", scopes.len(), SCOPE_DEPTH_MAX)?;
    let path = scopes.iter().map(|number| scope("scopes", *number));
    let path: Vec<ScopeId> = path.collect::<Result<_, _>>()?;
    let repeated = path.iter().enumerate().find(|(place, scope)| path[..*place].contains(scope));
    match repeated {
        None => Ok(path),
        Some((_, scope)) => Err(invalid(
            "scopes",
            format!("`scopes` names scope {scope} twice; a scope does not lie within itself"),
        )),
    }
}

pub(super) fn required(field: &str, text: String, max: usize) -> Result<String, v1::Error> {
    if text.is_empty() {
        return Err(invalid_over(
            field,
            wide(max),
            format!("`{field}` is missing; send 1 to {max} bytes"),
        ));
    }
    bounded(field, text, max)
}

pub(super) fn bounded(field: &str, text: String, max: usize) -> Result<String, v1::Error> {
    check_length(field, text.len(), max)?;
    Ok(text)
}

pub(super) fn check_length(field: &str, length: usize, max: usize) -> Result<(), v1::Error> {
    if length <= max {
        return Ok(());
    }
    let message = format!("`{field}` has {length} bytes; send at most {max}");
    Err(invalid_over(field, wide(max), message))
}

pub(super) fn check_count(field: &str, count: usize, max: usize) -> Result<(), v1::Error> {
    if count <= max {
        return Ok(());
    }
    let message = format!("`{field}` has {count} entries; send at most {max}");
    Err(invalid_over(field, wide(max), message))
}

pub(super) fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
