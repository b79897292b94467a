//! AT on a real MariaDB.

mod commit;
mod locks;
mod refusals;
mod statements;
mod types;
mod world;
