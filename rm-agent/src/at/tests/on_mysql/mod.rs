//! AT on a real MariaDB.

mod statements;
mod world;
