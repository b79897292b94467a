//! What the driver, the transfer service and the banks say to each other, in JSON.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The banks' saga step, as definitions name it.
pub(crate) const BOOK_LEG: &str = "book-leg";
/// The code with which it fails where an account is short.
pub(crate) const SHORT: &str = "short";

/// A transfer: every leg of it, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Never used for another transfer. The ledger rows carry it, and the global transaction's name; of a
    /// declared saga it is the idempotency key.
    pub(crate) id: String,
    pub(crate) legs: Vec<Leg>,
    /// How far the answer waits.
    pub(crate) wait: WaitFor,
    /// How often it is run before a passing trouble, such as a deadlock, is its end.
    pub(crate) attempts_max: u32,
}

/// One account's part in a transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leg {
    pub(crate) bank: String,
    pub(crate) account: i64,
    /// What the account gains; a debit is below zero.
    pub(crate) amount: i64,
}

/// What an account holds; what is reserved is part of the balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holding {
    pub(crate) balance: i64,
    pub(crate) reserved: i64,
}

/// How a bank takes part in a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub(crate) enum BranchMode {
    At,
    Tcc,
    Saga,
    Xa,
}

/// How far the transfer service's answer waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WaitFor {
    /// Until the decision is durable.
    Decided,
    /// Until every bank has confirmed it, as long as that takes a moment only.
    Completed,
}

/// What the transfer service answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Committed {
        xid: String,
    },
    /// None of it happened, and why.
    RolledBack {
        xid: String,
        why: String,
    },
    /// The commit was asked for, or a saga submitted, and there is no definite answer.
    InDoubt {
        xid: String,
        why: String,
    },
    /// There was not even a global transaction: the same order may be sent again.
    NotBegun {
        why: String,
    },
}

/// What the transfer service asks a bank.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) transfer: String,
    pub(crate) account: i64,
    /// More than zero; the route says which way.
    pub(crate) amount: i64,
}

/// Why a bank did not do it. Nothing of it stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) why: String,
    /// Whether the whole transfer may succeed when it is run again.
    pub(crate) passing: bool,
}

impl BranchMode {
    /// As it is written in an argument.
    pub(crate) fn name(self) -> &'static str {
        match self {
            BranchMode::At => "at",
            BranchMode::Tcc => "tcc",
            BranchMode::Saga => "saga",
            BranchMode::Xa => "xa",
        }
    }
}

impl Order {
    /// The global transaction's name; [`order_named`] undoes it.
    pub(crate) fn name(&self) -> String {
        format!("{NAME_PREFIX}{}", self.id)
    }
}

const NAME_PREFIX: &str = "transfer ";

/// The id of the order whose global transaction has this name.
pub(crate) fn order_named(name: &str) -> Option<&str> {
    name.strip_prefix(NAME_PREFIX)
}

impl Leg {
    pub(crate) fn new(bank: &str, account: i64, amount: i64) -> Self {
        Leg { bank: bank.to_owned(), account, amount }
    }

    pub(crate) fn is_debit(&self) -> bool {
        self.amount < 0
    }

    /// What the account loses.
    pub(crate) fn taken(&self) -> i64 {
        self.amount.min(0).abs()
    }

    /// What it is called, and its route at the bank.
    pub(crate) fn verb(&self) -> &'static str {
        if self.is_debit() { "debit" } else { "credit" }
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
