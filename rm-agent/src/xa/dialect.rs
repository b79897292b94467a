//! What is said to a database about a branch, and what its refusals mean: one file a database.
//!
//! Everything here is a text that is sent as it is, unprepared: MySQL does not prepare XA statements,
//! and what holds a name is never run twice. Whatever belongs together goes in one round trip.

use std::time::Duration;

use super::name::{DatabaseMark, Name};
use super::{mysql, postgres};
use crate::db::{DbError, Failure, Row, Sql};

/// Which database, and what must be known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Postgres,
    Mysql(AfterPrepare),
}

/// What becomes of the connection on which a branch was prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterPrepare {
    /// It is as any other.
    Free,
    /// It keeps the branch: nobody else can finish it before the connection is closed.
    Bound,
}

/// How long statements of a branch may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For the database's own locks.
    pub(super) lock_wait: Duration,
    /// Until the deadline.
    pub(super) left: Duration,
}

/// What a database says when it is to finish a prepared transaction and does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It knows none of that name, or says that it was rolled back: what that means is to be found
    /// out.
    Unknown,
    /// Not now, or not by this one: it may do so later.
    Passing,
}

impl Dialect {
    /// Begins a branch and writes its barrier row.
    pub(super) fn begin(self, name: &Name, limits: Limits, row: &str) -> String {
        match self {
            Dialect::Postgres => postgres::begin(limits, row),
            Dialect::Mysql(_) => mysql::begin(name, limits, row),
        }
    }

    /// Begins a branch whose barrier row is written at its end, where the database must know at its begin
    /// that it will be prepared.
    pub(super) fn begin_bare(self, name: &Name, limits: Limits) -> Option<String> {
        match self {
            Dialect::Postgres => None,
            Dialect::Mysql(_) => Some(mysql::begin_bare(name, limits)),
        }
    }

    /// Prepares it. `table` is where its barrier row is.
    pub(super) fn prepare(self, name: &Name, table: &str) -> String {
        match self {
            Dialect::Postgres => postgres::prepare(name, table),
            Dialect::Mysql(AfterPrepare::Bound) => mysql::prepare(name),
            Dialect::Mysql(AfterPrepare::Free) => {
                format!("{}; {}", mysql::prepare(name), mysql::GIVE_BACK)
            }
        }
    }

    /// Commits it without preparing it, on the connection that began it, which is free then.
    pub(super) fn commit_one_phase(self, name: &Name, table: &str) -> String {
        match self {
            Dialect::Postgres => postgres::commit_one_phase(name, table),
            Dialect::Mysql(_) => mysql::commit_one_phase(name),
        }
    }

    pub(super) fn after_prepare(self) -> AfterPrepare {
        match self {
            Dialect::Postgres => AfterPrepare::Free,
            Dialect::Mysql(after) => after,
        }
    }

    /// Ends it without a trace, on the connection that began it and before it is prepared.
    pub(super) fn abandon(self, name: &Name) -> String {
        match self {
            Dialect::Postgres => "ROLLBACK".to_owned(),
            Dialect::Mysql(_) => mysql::abandon(name),
        }
    }

    /// Commits the prepared transaction.
    pub(super) fn commit(self, name: &Name) -> String {
        match self {
            Dialect::Postgres => format!("COMMIT PREPARED '{}'", name.postgres()),
            Dialect::Mysql(_) => format!("XA COMMIT {}", name.mysql()),
        }
    }

    /// Rolls the prepared transaction back.
    pub(super) fn roll_back(self, name: &Name) -> String {
        match self {
            Dialect::Postgres => format!("ROLLBACK PREPARED '{}'", name.postgres()),
            Dialect::Mysql(_) => format!("XA ROLLBACK {}", name.mysql()),
        }
    }

    /// What a refusal to commit or roll back means.
    pub(super) fn refusal(self, error: &DbError) -> Refusal {
        match self {
            Dialect::Postgres => postgres::refusal(error),
            Dialect::Mysql(_) => mysql::refusal(error),
        }
    }

    /// The barrier's table under a name that means the same in every session.
    pub(super) async fn barrier_table(self, sql: &mut dyn Sql) -> Result<String, DbError> {
        let asked = match self {
            Dialect::Postgres => postgres::BARRIER_TABLE,
            Dialect::Mysql(_) => mysql::BARRIER_TABLE,
        };
        let rows = sql.query(asked, &[]).await?;
        let name = rows.first().and_then(|row| row.first()?.as_text());
        name.map(str::to_owned).ok_or_else(|| DbError {
            failure: Failure::Statement,
            doing: "find the table `pactum_barrier`",
            source: "it is not there".into(),
        })
    }

    /// All prepared transactions in this database that bear a name of ours.
    pub(super) async fn listed(
        self,
        sql: &mut dyn Sql,
        database: DatabaseMark,
    ) -> Result<Vec<Name>, DbError> {
        let (asked, read): (&str, fn(&Row) -> Option<Name>) = match self {
            Dialect::Postgres => (postgres::LIST, postgres::read_listed),
            Dialect::Mysql(_) => (mysql::LIST, mysql::read_listed),
        };
        let rows = sql.run(asked).await?;
        let names = rows.iter().filter_map(read);
        Ok(names.filter(|name| name.database == database).collect())
    }
}
