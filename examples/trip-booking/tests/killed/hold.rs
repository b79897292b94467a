//! Services held in the middle of a handler, without a word about it in their code: a trigger that never
//! ends in a database, and the lock of the outbox.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result};
use trip_booking::books::open;
use trip_booking::services::{OUTBOX, Service};

use crate::stage::Handler;

/// A statement of a handler meets it, and goes on for ever: after the barrier row, before the local commit.
/// A trigger may not have a recursive query, but may look at a view of one.
const ENDLESS: &str = "CREATE VIEW endless AS
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";

/// The statement of each handler that is held.
fn statement(service: Service, handler: Handler) -> &'static str {
    match (service, handler) {
        (Service::Flights, Handler::Action) => "INSERT ON ticket",
        (Service::Flights, Handler::Compensation) => "DELETE ON ticket",
        (Service::Hotels, Handler::Action) => "INSERT ON stay",
        (Service::Hotels, Handler::Compensation) => "DELETE ON stay",
        (Service::Payments, _) => "UPDATE ON card",
        (Service::Mail, _) => unreachable!("it has no database"),
    }
}

/// Held until [`Hold::release`].
#[derive(Debug)]
pub(crate) enum Hold {
    Trigger(Service),
    Lock(File),
}

impl Hold {
    /// Whenever the service is in this handler.
    pub(crate) async fn inside(dir: &Path, service: Service, handler: Handler) -> Result<Hold> {
        if service == Service::Mail {
            let outbox = File::options().create(true).append(true).open(dir.join(OUTBOX))?;
            outbox.lock().context("lock the outbox")?;
            return Ok(Hold::Lock(outbox));
        }
        let trigger = format!(
            "{ENDLESS}; CREATE TRIGGER hold BEFORE {} BEGIN SELECT MAX(i) FROM endless; END",
            statement(service, handler)
        );
        let mut database = open(dir, service).await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(trigger)).execute(&mut database).await?;
        Ok(Hold::Trigger(service))
    }

    /// The service is dead by now, and so is its local transaction.
    pub(crate) async fn release(self, dir: &Path) -> Result<()> {
        match self {
            Hold::Trigger(service) => {
                let mut database = open(dir, service).await?;
                let drop_it = "DROP TRIGGER hold; DROP VIEW endless";
                sqlx::raw_sql(drop_it).execute(&mut database).await?;
            }
            Hold::Lock(outbox) => outbox.unlock()?,
        }
        Ok(())
    }
}
