//! AT on real databases, against a coordinator in memory: on SQLite files here, on servers in the
//! modules that are named for them.

mod barrier;
mod capture;
mod check;
mod commit;
mod contention;
mod cut_short;
mod executor;
mod left_open;
mod locks;
mod matrix;
mod on_mysql;
mod on_postgres;
mod page;
mod property;
mod reading;
mod refusals;
mod resolve;
mod rollback;
mod setbacks;
mod side_by_side;
mod sweep;
mod unique;
mod upserts;
mod world;
