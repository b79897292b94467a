//! SeaORM in AT mode: entities are saved as always, and undone if the global transaction rolls back.
//!
//! [`SeaPool`] stands where an application holds a `DatabaseConnection`. Each statement on it is a
//! branch of its own, [`begin`](sea_orm::TransactionTrait::begin) begins one branch for several, and inside that it
//! sets savepoints.
//!
//! ```no_run
//! use pactum_agent::{Agent, AtOptions, AtPool};
//! use pactum_seaorm::SeaPool;
//! use sea_orm::{ConnectionTrait, TransactionSession, TransactionTrait};
//! use sqlx::PgPool;
//!
//! # async fn f(agent: Agent) -> Result<(), Box<dyn std::error::Error>> {
//! let pool = PgPool::connect("postgres://bank-a").await?;
//! let db = SeaPool::new(AtPool::attach(&agent, "bank-a", pool, AtOptions::default()).await?);
//! let tx = db.begin().await?;
//! // account::Entity::update_many().…exec(&tx).await?;
//! tx.commit().await?;
//! # Ok(())
//! # }
//! ```
//!
//! What the agent refuses comes as `DbErr::Exec` or `DbErr::Query` with its own text; [`agent_error`]
//! takes the agent's error out again.

mod pool;
mod run;
mod transaction;

use pactum_agent::AtError;
use sea_orm::{DbErr, RuntimeErr, SqlxError};

pub use pool::SeaPool;
pub use run::SeaDatabase;
pub use transaction::SeaTransaction;

/// The agent's error inside one of SeaORM's, if it is one.
#[must_use]
pub fn agent_error(error: &DbErr) -> Option<&AtError> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => AtError::of(error),
        // SeaORM's enum; everything else is its own.
        _ => None,
    }
}

fn sqlx_error(error: impl Into<SqlxError>) -> RuntimeErr {
    RuntimeErr::SqlxError(std::sync::Arc::new(error.into()))
}
