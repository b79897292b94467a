//! AT on a real MariaDB.

mod statements;
mod types;
mod world;
