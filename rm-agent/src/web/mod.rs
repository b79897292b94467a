//! How a global transaction travels with calls between services, over HTTP and gRPC.
//!
//! ```text
//! caller ── pactum-xid, -store, -remaining-ms, -scopes ─────────────▶ ServerLayer ─▶ service
//!        ◀─ pactum-branches, pactum-veto (headers, gRPC: trailers too) ──┘   (inside the scope)
//! ```
//!
//! The caller's side is [`ClientLayer`] for tonic and other tower clients, [`RequestBuilderExt`] for
//! reqwest, and [`inject`] and [`absorb`] for anything else. `docs/propagation.md` has the rules.

mod body;
mod client;
mod headers;
mod incoming;
mod judge;
mod rules;
mod server;
#[cfg(test)]
mod tests;

pub use body::PropagatedBody;
pub use client::{ClientLayer, ClientService, RequestBuilderExt};
pub use headers::{absorb, inject};
pub use server::{ServerLayer, ServerService};
