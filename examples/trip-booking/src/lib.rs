//! Booking a trip as a declared saga: the example to learn declared sagas by.
//!
//! ```text
//! flight ───────────────┐                         ┌─▶ approve (an event) ─┐
//!                       ├─▶ price > 1000 ? ───────┤                       ├─▶ pay ─▶ confirm (a mail)
//! nights: hotel, each ──┘                         └───────────────────────┘
//! ```
//!
//! `trip.json` declares it, and the coordinator drives it. Read on:
//!
//! - [`services`]: who does the steps. Three have a database, and a [`SagaStep`](pactum_agent::SagaStep)
//!   with its compensation; the mail service has none, and a [`ServiceStep`](pactum_agent::ServiceStep).
//! - [`trips`]: whoever books: defines the saga, submits it, watches it, approves.
//! - [`books`]: what was done by the end, and what is wrong with it.
//! - [`world`]: all of them as real processes.

pub mod books;
pub mod services;
pub mod trips;
pub mod world;
