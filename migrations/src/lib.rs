//! The SQL of both sides, one folder a database.

pub mod agent;
pub mod coordinator;
