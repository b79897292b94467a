//! AT on real databases, against a coordinator in memory: SQLite files here, servers in modules of
//! their own.

mod barrier;
mod capture;
mod commit;
mod executor;
mod fake;
mod locks;
mod on_mysql;
mod property;
mod refusals;
mod rollback;
mod world;
