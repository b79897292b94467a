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
/// The body runs inside `agent.global(name).run(…)`: `Ok` commits,
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
