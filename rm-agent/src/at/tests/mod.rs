//! AT on real SQLite files, against a coordinator in memory.

mod barrier;
mod capture;
mod commit;
mod executor;
mod fake;
mod locks;
mod property;
mod refusals;
mod rollback;
mod upserts;
mod world;
