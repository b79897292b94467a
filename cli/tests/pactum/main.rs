//! The `pactum` binary, as it is used: a server process, and operator commands beside it.

#![allow(clippy::unwrap_used, reason = "these are tests, and what serves them")]

mod commands;
mod databases;
mod lifecycle;
mod sagas;
mod server;
