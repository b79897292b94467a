//! What a service links to take part in global transactions.

mod branch;
mod context;
mod session;

pub use context::TransactionContext;
