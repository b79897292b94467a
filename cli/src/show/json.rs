//! Answers as JSON: every field of the wire, with words for the enums. Ids are texts, because they
//! do not fit the numbers of JavaScript.

use pactum_agent::Evidence;
use pactum_proto::v1::{BoundResource, Branch, ParkReport, Resolved, SummaryReply, Transaction};
use serde_json::{Value, json};

use super::{
    cause, hex, mode, moment, park_reason, phase_one, phase_two, resolution, resource_kind,
    shown_scope, status,
};

pub(crate) fn transactions(transactions: &[Transaction]) -> Value {
    transactions.iter().map(row).collect()
}

pub(crate) fn transaction(transaction: &Transaction, branches: &[Branch]) -> Value {
    let mut value = row(transaction);
    value["branches"] = branches.iter().map(branch).collect();
    value
}

fn row(transaction: &Transaction) -> Value {
    let outcome = transaction.outcome.unwrap_or_default();
    json!({
        "xid": transaction.xid,
        "name": transaction.name,
        "status": status(&outcome),
        "cause": cause(&outcome),
        "parked": outcome.parked,
        "begun_at": moment(transaction.begun_at_unix_ms),
        "timeout_ms": transaction.timeout_ms,
        "ended_at": Some(moment(transaction.ended_at_unix_ms)).filter(|at| !at.is_empty()),
        "branch_count": transaction.branch_count,
        "undone_scopes": scopes(&transaction.undone_scopes),
    })
}

fn scopes(scopes: &[u64]) -> Value {
    scopes.iter().map(|scope| shown_scope(*scope)).collect()
}

fn branch(branch: &Branch) -> Value {
    json!({
        "branch_id": branch.branch_id.to_string(),
        "sequence": branch.sequence,
        "resource_id": branch.resource_id,
        "mode": mode(branch),
        "phase_one": phase_one(branch),
        "phase_two": phase_two(branch),
        "attempt": branch.attempt,
        "scopes": scopes(&branch.scopes),
        "scope_undone": branch.scope_undone,
        "action": Some(&branch.action).filter(|action| !action.is_empty()),
        "locks": branch.locks,
        "park_report": branch.park_report.as_ref().map(park_report),
        "last_reason": Some(&branch.last_reason).filter(|reason| !reason.is_empty()),
        "resolutions": branch.resolutions.iter().map(resolved).collect::<Value>(),
    })
}

fn resolved(resolved: &Resolved) -> Value {
    json!({
        "resolution": resolution(resolved.resolution()),
        "reason": resolved.reason,
        "at": moment(resolved.at_unix_ms),
        "parked": park_reason(resolved.parked()),
    })
}

pub(crate) fn park_report(report: &ParkReport) -> Value {
    let rows = report.rows.iter().map(|row| {
        let columns = row.columns.iter().map(|column| {
            json!({
                "column": column.column,
                "before": column.before,
                "after": column.after,
                "current": column.current,
            })
        });
        json!({ "table": row.table, "key": row.key, "columns": columns.collect::<Value>() })
    });
    json!({
        "reason": park_reason(report.reason()),
        "message": report.message,
        "rows": rows.collect::<Value>(),
        "rows_left_out": report.rows_left_out,
    })
}

pub(crate) fn resources(resources: &[BoundResource]) -> Value {
    let one = |resource: &BoundResource| {
        let uid = Some(hex(&resource.resource_uid)).filter(|uid| !uid.is_empty());
        json!({
            "resource_id": resource.resource_id,
            "kind": resource_kind(resource.kind()),
            "resource_uid": uid,
            "sessions": resource.sessions,
            "unfinished_branches": resource.unfinished_branches,
        })
    };
    resources.iter().map(one).collect()
}

pub(crate) fn summary(summary: &SummaryReply) -> Value {
    json!({
        "store_id": hex(&summary.store_id),
        "group": summary.group,
        "epoch": summary.epoch,
        "version": summary.version,
        "active": summary.active,
        "unfinished": summary.unfinished,
        "parked_branches": summary.parked_branches,
        "locks": summary.locks,
        "waiters": summary.waiters,
        "sessions": summary.sessions,
    })
}

pub(crate) fn evidence(found: &[Evidence]) -> Value {
    let rows = found.iter().map(|row| {
        let body = match &row.body {
            Ok(body) => serde_json::from_str(body).unwrap_or_else(|_| body.as_str().into()),
            Err(why) => json!({ "unreadable": why.to_string() }),
        };
        json!({ "branch_id": row.branch.0, "mode": row.mode, "state": row.state, "body": body })
    });
    rows.collect()
}
