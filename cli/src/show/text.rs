//! Answers as text for people.

use std::fmt::Write as _;
use std::time::Duration;

use pactum_agent::{Evidence, UnreadableUndo};
use pactum_proto::v1::{
    BoundResource, Branch, ColumnReport, Outcome, ParkReport, PhaseTwoState, Resolution, Resolved,
    SummaryReply, Transaction, TransactionStatus,
};

use super::{
    cause, hex, mode, moment, park_reason, phase_one, phase_two, resolution, resource_kind,
    shown_scope, status,
};

/// Rows under a header, each column as wide as it must be. The last one is not padded.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        Table { rows: vec![header.iter().map(ToString::to_string).collect()] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| one_line(&cell)).collect());
    }

    pub(crate) fn show(&self, indent: &str) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let mut text = String::new();
        for row in &self.rows {
            let mut line = indent.to_owned();
            for (column, cell) in row.iter().enumerate() {
                let padding = width(column) - cell.chars().count();
                let _ = write!(line, "{cell}{:padding$}  ", "");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

pub(crate) fn transactions(transactions: &[Transaction]) -> String {
    if transactions.is_empty() {
        return "no such global transactions\n".to_owned();
    }
    let mut table = Table::new(&["XID", "STATUS", "BRANCHES", "BEGUN", "NAME"]);
    for transaction in transactions {
        table.row([
            transaction.xid.clone(),
            outcome(&transaction.outcome.unwrap_or_default()),
            transaction.branch_count.to_string(),
            moment(transaction.begun_at_unix_ms),
            transaction.name.clone(),
        ]);
    }
    table.show("")
}

pub(crate) fn outcome(outcome: &Outcome) -> String {
    let mut text = status(outcome).to_owned();
    if let Some(cause) = cause(outcome) {
        let _ = write!(text, " ({cause})");
    }
    if outcome.parked > 0 {
        let _ = write!(text, ", needs attention: {} parked", outcome.parked);
    }
    text
}

pub(crate) fn transaction(transaction: &Transaction, branches: &[Branch]) -> String {
    let stands = transaction.outcome.unwrap_or_default();
    let timeout = humantime::format_duration(Duration::from_millis(transaction.timeout_ms));
    let mut text = format!("global transaction {}\n", transaction.xid);
    let mut field = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<9} {value}");
        }
    };
    field("name", transaction.name.clone());
    field("status", outcome(&stands));
    field("begun", moment(transaction.begun_at_unix_ms));
    field("timeout", timeout.to_string());
    field("ended", moment(transaction.ended_at_unix_ms));
    field("branches", branches.len().to_string());
    let undone: Vec<_> =
        transaction.undone_scopes.iter().map(|scope| shown_scope(*scope)).collect();
    field("undone", undone.join(", "));
    for one in branches {
        text.push('\n');
        text.push_str(&branch(one));
    }
    if let Some(next) = advice(transaction, &stands) {
        let _ = write!(text, "\n{next}\n");
    }
    text
}

/// What an operator can do about it.
fn advice(transaction: &Transaction, outcome: &Outcome) -> Option<String> {
    let ended = match outcome.status() {
        TransactionStatus::Committed | TransactionStatus::RolledBack => true,
        TransactionStatus::Unspecified
        | TransactionStatus::Active
        | TransactionStatus::Delegated
        | TransactionStatus::Committing
        | TransactionStatus::RollingBack => false,
    };
    (outcome.parked > 0 && !ended).then(|| {
        format!(
            "Mend what the report shows, then: pactum tx retry {xid}\n\
             Or decide about a branch: pactum tx resolve {xid} BRANCH restore|keep|retry --reason TEXT\n\
             The steps are in docs/operating.md.",
            xid = transaction.xid
        )
    })
}

fn branch(branch: &Branch) -> String {
    let mut text = format!(
        "branch {}  {} on {}, number {}\n",
        branch.branch_id,
        mode(branch),
        branch.resource_id,
        branch.sequence
    );
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<9} {value}");
        }
    };
    field("phase one", phase_one(branch));
    field("phase two", &phase_two_text(branch));
    field("scope", &scope_path(branch));
    field("action", &branch.action);
    field("locks", &branch.locks.join(", "));
    if let Some(report) = &branch.park_report {
        text.push_str(&park_report(report));
    }
    for word in &branch.resolutions {
        text.push_str(&resolution_line(word));
    }
    text
}

/// The nested scopes of a branch, outermost first, and whether one of them was rolled back.
fn scope_path(branch: &Branch) -> String {
    let path: Vec<_> = branch.scopes.iter().map(|scope| shown_scope(*scope)).collect();
    let undone = if branch.scope_undone { " (rolled back)" } else { "" };
    path.join(" > ") + undone
}

/// One decision of an operator. A retry of the whole transaction has no reason of its own.
fn resolution_line(word: &Resolved) -> String {
    let mut line = format!(
        "  resolved  {} {}, when parked: {}",
        moment(word.at_unix_ms),
        resolution(word.resolution()),
        park_reason(word.parked())
    );
    if !word.reason.is_empty() {
        let _ = write!(line, ": {}", one_line(&word.reason));
    }
    line.push('\n');
    line
}

/// What `pactum tx resolve` did, with the reason as it is on record.
pub(crate) fn resolved(xid: &str, branch: u64, word: Resolution, reason: &str) -> String {
    format!("branch {branch} of {xid} is resolved by {}: {}\n", resolution(word), one_line(reason))
}

/// Text of somebody else's, on one line whatever it holds.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn phase_two_text(branch: &Branch) -> String {
    let mut text = phase_two(branch).to_owned();
    if let (PhaseTwoState::Parked, Some(report)) = (branch.phase_two(), &branch.park_report) {
        let _ = write!(text, ": {}", park_reason(report.reason()));
    }
    match branch.attempt {
        0 => {}
        1 => text.push_str(", tried once"),
        many => {
            let _ = write!(text, ", tried {many} times");
        }
    }
    if !branch.last_reason.is_empty() {
        let _ = write!(text, ", later: {}", one_line(&branch.last_reason));
    }
    text
}

fn park_report(report: &ParkReport) -> String {
    let mut text = format!("  report    {}\n", one_line(&report.message));
    if !report.rows.is_empty() {
        let mut table = Table::new(&["TABLE", "KEY", "COLUMN", "BEFORE", "AFTER", "CURRENT"]);
        for row in &report.rows {
            for column in &row.columns {
                let ColumnReport { column, before, after, current } = column;
                let values = [before, after, current].map(shown_value);
                let place = [row.table.clone(), row.key.clone(), column.clone()];
                table.row(place.into_iter().chain(values));
            }
        }
        text.push_str(&table.show("    "));
    }
    if report.rows_left_out > 0 {
        let _ = writeln!(text, "    and {} more rows that differ", report.rows_left_out);
    }
    text
}

/// The row did not exist where there is no value.
fn shown_value(value: &Option<String>) -> String {
    value.clone().unwrap_or_else(|| "(no row)".to_owned())
}

pub(crate) fn resources(resources: &[BoundResource]) -> String {
    if resources.is_empty() {
        return "no resources are bound\n".to_owned();
    }
    let mut table = Table::new(&["RESOURCE", "KIND", "SESSIONS", "UNFINISHED", "UID"]);
    for resource in resources {
        table.row([
            resource.resource_id.clone(),
            resource_kind(resource.kind()).to_owned(),
            resource.sessions.to_string(),
            resource.unfinished_branches.to_string(),
            hex(&resource.resource_uid),
        ]);
    }
    table.show("")
}

pub(crate) fn summary(summary: &SummaryReply) -> String {
    let mut text = format!("coordinator {} of group {}\n", summary.version, summary.group);
    let fields = [
        ("store", hex(&summary.store_id)),
        ("epoch", summary.epoch.to_string()),
        ("sessions", summary.sessions.to_string()),
        ("active", summary.active.to_string()),
        ("unfinished", summary.unfinished.to_string()),
        ("parked branches", summary.parked_branches.to_string()),
        ("locks", summary.locks.to_string()),
        ("waiters", summary.waiters.to_string()),
    ];
    for (name, value) in fields {
        let _ = writeln!(text, "  {name:<16} {value}");
    }
    text
}

/// What a participant's database says of the branches.
pub(crate) fn evidence(database: &str, found: &[Evidence]) -> String {
    let mut out = format!("\n{database}\n");
    if found.is_empty() {
        out.push_str("  no barrier row of this transaction\n");
    }
    for row in found {
        out.push_str(&format!("  branch {}: {}, {}\n", row.branch.0, row.mode, row.state));
        match &row.body {
            Ok(body) => body.lines().for_each(|line| out.push_str(&format!("    {line}\n"))),
            Err(UnreadableUndo::Empty) => {}
            Err(why) => out.push_str(&format!("    {why}\n")),
        }
    }
    out
}
