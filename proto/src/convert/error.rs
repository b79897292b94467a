//! Refusals on the wire: one table from [`Rejection`], and the refusals of the edge itself.
//!
//! Each message says what happened, to which object, and what to do. Codes and fields are what
//! programs read; the message is for people.

use std::time::Duration;

use pactum_core::id::{GroupName, XidNumber};
use pactum_core::lock::key::EncodedKey;
use pactum_core::rejection::{ActionMissing, Limit, Rejection};
use pactum_core::saga::Fault;
use pactum_core::step::Outcome;
use pactum_core::transaction::{BranchMode, Resolution, Status};

use super::enums::UnknownValue;
use crate::v1::{self, ErrorCode};

/// The most of a caller's own text that a message repeats, in bytes.
const SHOWN_BYTES_MAX: usize = 80;

/// The code's number as people look it up: `TX0003`.
#[must_use]
pub fn code_name(code: ErrorCode) -> String {
    format!("TX{:04}", i32::from(code))
}

/// A field is missing or not what it should be.
#[must_use]
pub fn invalid(field: &str, message: impl Into<String>) -> v1::Error {
    error(ErrorCode::InvalidArgument, field, message)
}

/// A field is longer, larger or more than its limit.
#[must_use]
pub fn invalid_over(field: &str, limit: u64, message: impl Into<String>) -> v1::Error {
    v1::Error { limit, ..invalid(field, message) }
}

/// The XID or the store belongs to another coordinator.
pub(super) fn foreign(field: &str, message: impl Into<String>) -> v1::Error {
    error(ErrorCode::Foreign, field, message)
}

/// A limit is reached.
#[must_use]
pub fn limit_reached(field: &str, limit: u64, message: impl Into<String>) -> v1::Error {
    v1::Error { limit, ..error(ErrorCode::LimitReached, field, message) }
}

/// Not now: ask again after the delay.
#[must_use]
pub fn unavailable(message: impl Into<String>, retry_after: Duration) -> v1::Error {
    v1::Error { retry_after_ms: millis(retry_after), ..error(ErrorCode::Unavailable, "", message) }
}

/// The attachment or its resource is not known to this coordinator.
#[must_use]
pub fn not_attached(field: &str, message: impl Into<String>) -> v1::Error {
    error(ErrorCode::NotAttached, field, message)
}

/// Nobody knows whether it happened.
#[must_use]
pub fn outcome_unknown() -> v1::Error {
    error(
        ErrorCode::OutcomeUnknown,
        "",
        "the store did not answer, so it is not known whether the request took effect; ask again \
         for the outcome",
    )
}

/// A definition of a saga is not one.
#[must_use]
pub fn invalid_definition(faults: &[Fault]) -> v1::Error {
    let first = faults.first().map_or_else(String::new, |fault| format!(": {fault}"));
    let faults_on_wire = faults
        .iter()
        .map(|fault| v1::Fault { place: fault.place.clone(), message: fault.message.clone() });
    v1::Error {
        faults: Some(Box::new(v1::Faults { faults: faults_on_wire.collect() })),
        ..error(
            ErrorCode::InvalidDefinition,
            "definition",
            format!("the definition has {} faults{first}", faults.len()),
        )
    }
}

/// A rule of the protocol would have been broken.
#[must_use]
pub fn internal(message: impl Into<String>) -> v1::Error {
    error(ErrorCode::Internal, "", message)
}

/// The two sides speak different versions.
#[must_use]
pub fn protocol_version(theirs: u32, ours: u32) -> v1::Error {
    let message = format!(
        "the agent speaks protocol version {theirs}, this coordinator speaks {ours}; upgrade the \
         older of the two"
    );
    v1::Error {
        limit: u64::from(ours),
        ..error(ErrorCode::ProtocolVersion, "protocol_version", message)
    }
}

/// What the core refused, on the wire.
#[must_use]
#[allow(clippy::too_many_lines, reason = "one table, to be read as one")]
pub fn rejection(group: &GroupName, rejection: &Rejection) -> v1::Error {
    match rejection {
        Rejection::NotReady => unavailable(
            "no transaction ids are reserved yet; try again in a moment",
            Duration::from_millis(50),
        ),
        Rejection::NotBegun => unavailable(
            "the global transaction is named by a session that has not begun it yet; try again in a \
             moment",
            Duration::from_millis(10),
        ),
        Rejection::Expired => error(
            ErrorCode::Expired,
            "xid",
            "the global transaction ended longer ago than the history reaches, and its outcome is \
             not known any more; look into the business data",
        ),
        Rejection::UnknownTransaction => error(
            ErrorCode::UnknownTransaction,
            "xid",
            "nothing is known of the global transaction, and the request did not name this store; \
             check the coordinator's address and send the store_id that begin answered",
        ),
        Rejection::LostState(branch) => error(
            ErrorCode::LostState,
            "done_branch_ids",
            format!(
                "the commit names branch {branch}, which this store never saw: it lost state; the \
                 outcome is in doubt, call the operator"
            ),
        ),
        Rejection::NotActive(outcome) => not_active(*outcome),
        Rejection::ScopeRolledBack(scope) => error(
            ErrorCode::ScopeRolledBack,
            "scopes",
            format!(
                "nested scope {scope} was rolled back, and no branch joins it any more; undo the \
                 local work and let the scope end"
            ),
        ),
        Rejection::NotDelegable(branch) => error(
            ErrorCode::NotDelegable,
            "delegate_to",
            format!(
                "the commit cannot be left to branch {branch}: it must be of mode XA, not yet \
                 prepared, and the only one that counts; prepare it, then commit without \
                 `delegate_to`"
            ),
        ),
        Rejection::NotAttached(resource) => not_attached(
            "resource_id",
            format!("resource `{resource}` is not attached; attach it first"),
        ),
        Rejection::BranchMismatch(branch) => error(
            ErrorCode::BranchMismatch,
            "branch_id",
            format!(
                "branch {branch} is already registered with another node, resource, mode or keys; \
                 use a fresh id from the block"
            ),
        ),
        Rejection::BranchFailed(branch) => error(
            ErrorCode::BranchMismatch,
            "branch_id",
            format!(
                "phase one of branch {branch} was reported as failed, and it cannot come back; use \
                 a fresh id from the block"
            ),
        ),
        Rejection::BranchDone(branch) => error(
            ErrorCode::BranchMismatch,
            "result",
            format!(
                "phase one of branch {branch} is known to be done, and that stands; report a \
                 branch as failed only before it is reported as done"
            ),
        ),
        Rejection::WrongResource(branch, resource) => error(
            ErrorCode::BranchMismatch,
            "resource_id",
            format!(
                "branch {branch} does not work on resource `{resource}`; name the one that it was \
                 registered for"
            ),
        ),
        Rejection::ForeignBranchId(branch) => error(
            ErrorCode::InvalidArgument,
            "branch_id",
            format!(
                "branch id {branch} is not of a block that this attachment was given; take ids \
                 from its own blocks only"
            ),
        ),
        Rejection::NoDatabase { resource, mode } => error(
            ErrorCode::InvalidArgument,
            "mode",
            format!(
                "resource `{resource}` is a service without a database, and a branch of mode {} \
                 needs one; attach it as a database, or register a TCC or saga branch",
                mode_name(*mode)
            ),
        ),
        Rejection::UnknownBranch(branch) => error(
            ErrorCode::UnknownBranch,
            "branch_id",
            format!(
                "branch {branch} is not registered in the global transaction; register it first"
            ),
        ),
        Rejection::NotParked(branch) => error(
            ErrorCode::NotResolvable,
            "branch_id",
            format!(
                "branch {branch} is not parked: it is still worked on, or settled; show the \
                 transaction again"
            ),
        ),
        Rejection::NotResolvable { branch, resolution, mode } => error(
            ErrorCode::NotResolvable,
            "resolution",
            format!(
                "branch {branch} of mode {} cannot be resolved by {} here; put right what its \
                 report shows, then retry it",
                mode_name(*mode),
                resolution_name(*resolution)
            ),
        ),
        Rejection::Limit { limit, max } => reached(*limit, *max),
        Rejection::HeldByOuter { holder, key } => held(group, Some(*holder), key, Duration::ZERO),
        Rejection::LockConflict { holder, key, retry_after } => {
            held(group, *holder, key, *retry_after)
        }
        Rejection::ResourceBound { id, uid } => {
            let bound = uid.map_or_else(|| "a service".to_owned(), |uid| format!("database {uid}"));
            error(
                ErrorCode::ResourceBound,
                "resource_id",
                format!(
                    "resource `{id}` is bound to {bound}; use the id that this database was \
                     declared under, or let an operator forget the binding"
                ),
            )
        }
        Rejection::UnknownResource(id) => invalid(
            "resource_id",
            format!("resource `{id}` is not bound; list the resources to see what is"),
        ),
        Rejection::ResourceBusy { branches, sessions } => error(
            ErrorCode::ResourceBusy,
            "resource_id",
            format!(
                "the resource has {branches} unfinished branches and {sessions} attached sessions; \
                 finish the branches and stop its services first"
            ),
        ),
        Rejection::IsSaga(xid) => invalid(
            "xid",
            format!(
                "global transaction `{group}:{xid}` is a declared saga, which the coordinator drives \
                 by itself; operate it, or roll it back"
            ),
        ),
        Rejection::IsNoSaga(xid) => error(
            ErrorCode::UnknownSaga,
            "xid",
            format!(
                "global transaction `{group}:{xid}` is no declared saga; look at it with `pactum tx \
                 show`"
            ),
        ),
        Rejection::UnknownSaga { name, version } => {
            let version =
                version.map_or_else(String::new, |version| format!(" of version {version}"));
            error(
                ErrorCode::UnknownSaga,
                "saga",
                format!("no saga `{}`{version} is defined; define it first", shown(name)),
            )
        }
        Rejection::DefinitionTaken(key) => error(
            ErrorCode::DefinitionTaken,
            "definition",
            format!(
                "saga `{key}` is defined already, with another content; raise `version`, because \
                 sagas that run keep what they began with"
            ),
        ),
        Rejection::UnknownAction { step, action, resource, why } => {
            let why = match why {
                ActionMissing::Resource => {
                    "no such resource has ever attached; correct the name, or start its service"
                }
                ActionMissing::Action => {
                    "nobody who is attached offers it; correct the name, or register the action"
                }
                ActionMissing::Compensation => {
                    "it is offered without a compensation; mark the step `compensable: false`"
                }
            };
            error(
                ErrorCode::UnknownAction,
                "saga",
                format!("step `{step}` needs action `{action}` of resource `{resource}`: {why}"),
            )
        }
        Rejection::StepState { step, why } => {
            let of = match &**step {
                "" => "the saga".to_owned(),
                step => format!("step `{}` of the saga", shown(step)),
            };
            let message =
                format!("{of}: {why}; ask for the saga with its steps to see where it stands");
            error(ErrorCode::StepState, "step", message)
        }
        Rejection::Invariant(rule) => {
            internal(format!("invariant {rule} would have been broken; report this"))
        }
    }
}

fn not_active(outcome: Outcome) -> v1::Error {
    let stands = match outcome.status {
        Status::Active => "its commit was asked for",
        Status::Delegated => "its only branch decides",
        Status::Committing | Status::Committed => "it is decided to commit",
        Status::RollingBack(_) | Status::RolledBack(_) => "it is decided to roll back",
    };
    v1::Error {
        outcome: Some(outcome.into()),
        ..error(
            ErrorCode::NotActive,
            "xid",
            format!(
                "the global transaction takes no more work, {stands}; undo the local work and read \
                 the outcome"
            ),
        )
    }
}

fn mode_name(mode: BranchMode) -> &'static str {
    match mode {
        BranchMode::At => "AT",
        BranchMode::Tcc => "TCC",
        BranchMode::Saga => "saga",
        BranchMode::Xa => "XA",
    }
}

fn resolution_name(resolution: Resolution) -> &'static str {
    match resolution {
        Resolution::Retry => "retry",
        Resolution::Restore => "restore",
        Resolution::Keep => "keep",
    }
}

fn reached(limit: Limit, max: u64) -> v1::Error {
    let (field, what, retry_after) = match limit {
        Limit::BranchesPerTransaction => {
            ("branch_id", "branches of one global transaction; split the work", 0)
        }
        Limit::LocksPerBranch => ("locks", "lock keys of one registration; split the work", 0),
        Limit::ActiveTransactions => {
            ("active_transactions_max", "undecided global transactions; try again later", 1_000)
        }
        Limit::UndoneScopes => (
            "scope",
            "nested scopes of one global transaction that were rolled back; roll it back",
            0,
        ),
        Limit::Definitions => {
            ("definitions_max", "definitions of sagas; give old ones no new versions", 0)
        }
        Limit::Waiters => ("waiters_max", "requests that wait for keys; try again later", 1_000),
    };
    let message = format!("the limit of {max} is reached for {what}, or raise the limit");
    v1::Error { retry_after_ms: retry_after, ..limit_reached(field, max, message) }
}

fn held(
    group: &GroupName,
    holder: Option<XidNumber>,
    key: &EncodedKey,
    retry_after: Duration,
) -> v1::Error {
    let holder = holder.map(|number| format!("{group}:{number}"));
    let key = key.decode().to_string();
    let key = shown(&key);
    let message = match &holder {
        Some(holder) if retry_after.is_zero() => format!(
            "global transaction `{holder}` holds `{key}`, and waiting for it would never end; roll \
             back the local work"
        ),
        Some(holder) => format!(
            "global transaction `{holder}` holds `{key}`; roll back the local work and try again"
        ),
        None => format!(
            "`{key}` is kept for a global transaction that waits for it; roll back the local work \
             and try again"
        ),
    };
    v1::Error {
        holder: holder.unwrap_or_default(),
        retry_after_ms: millis(retry_after),
        ..error(ErrorCode::LockConflict, "locks", message)
    }
}

impl From<UnknownValue> for v1::Error {
    fn from(unknown: UnknownValue) -> Self {
        let UnknownValue { field, value } = unknown;
        invalid(
            field,
            format!("`{field}` has the unknown value {value}; use one that the protocol names"),
        )
    }
}

fn error(code: ErrorCode, field: &str, message: impl Into<String>) -> v1::Error {
    v1::Error {
        code: code.into(),
        message: message.into(),
        field: field.to_owned(),
        ..v1::Error::default()
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// A caller's text, cut so that a message stays a message.
pub(super) fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)]
}
