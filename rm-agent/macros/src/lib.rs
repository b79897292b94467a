//! `#[global_transaction]`, which `pactum-agent` exports and documents. Nothing here is for direct
//! use.
//!
//! ```text
//! arguments.rs   what may stand in the attribute
//! expand.rs      the function that comes of it
//! ```

mod arguments;
mod expand;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// Runs an `async fn` as a global transaction.
///
/// ```
/// use pactum_agent::{Agent, AtError, AtPool, TransactionError, global_transaction};
/// # use sqlx::Sqlite;
///
/// struct Bank { agent: Agent, accounts: AtPool<Sqlite> }
///
/// #[derive(Debug)]
/// enum BankError { Database(AtError), Transaction(TransactionError) }
/// # impl From<AtError> for BankError {
/// #     fn from(error: AtError) -> Self { BankError::Database(error) }
/// # }
/// # impl From<TransactionError> for BankError {
/// #     fn from(error: TransactionError) -> Self { BankError::Transaction(error) }
/// # }
///
/// impl Bank {
///     #[global_transaction(agent = self.agent, timeout = "30s")]
///     async fn transfer(&self, amount: i64) -> Result<(), BankError> {
///         let mut tx = self.accounts.begin().await?;
///         sqlx::query("UPDATE account SET balance = balance - ?").bind(amount)
///             .execute(&mut *tx).await.map_err(AtError::from)?;
///         Ok(tx.commit().await?)
///     }
/// }
/// ```
///
/// The body runs inside [`run`](https://docs.rs/pactum-agent) of that agent's `global`: `Ok` commits,
/// `Err` rolls back. The function's own errors come back as they are. What the transaction adds of its
/// own, that it could not be begun, rolls back or is in doubt, is a `TransactionError`, from which the
/// function's error type must convert (`E: From<TransactionError>`; with thiserror, a variant with
/// `#[from]`).
///
/// | argument | |
/// |---|---|
/// | `agent = self.agent` | required: an expression for an `Agent`, `&Agent` or `Arc<Agent>`; it may use the function's arguments |
/// | `name = "transfer"` | the transaction's name; default the function's |
/// | `timeout = "30s"` | `"500ms"`, `"30s"`, `"2m"`; or a number of seconds; default 60 s |
/// | `propagation = nested` | `required` (default), `supports`, `mandatory`, `requires_new`, `not_supported`, `never`, `nested` |
/// | `wait = decided` | `completed` (default) or `decided` |
/// | `no_rollback_on = \|e: &E\| …` | an error that lets the work stand; may be repeated |
/// | `rollback_on = \|e: &E\| …` | an exception from that; may be repeated |
///
/// Inside, `TransactionContext::current()` is the transaction. The arguments are moved into the body.
#[proc_macro_attribute]
pub fn global_transaction(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand::expand(arguments.into(), function.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
