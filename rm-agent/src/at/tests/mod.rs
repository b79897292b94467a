//! AT on real databases, against a coordinator in memory: on SQLite files here, on servers in the
//! modules that are named for them.

mod barrier;
mod capture;
mod commit;
mod executor;
mod fake;
mod locks;
mod on_mysql;
mod on_postgres;
mod property;
mod refusals;
mod rollback;
mod world;
