//! Opening a data directory: who may, in which version, and from which durable state.
//!
//! The order matters. The lock comes before anything is read, because the file may belong to a
//! coordinator that is still writing. The checkpoint comes before the first answer: a process that
//! died of a failed sync may have left bytes in the operating system's cache that are not on disk,
//! and what we read back must be durable before anyone hears of it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pactum_core::id::{GroupName, StoreId};
use pactum_migrations::coordinator::{Migration, SQLITE};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use tokio::sync::Mutex;

use super::SqliteStore;
use super::statements::Statements;
use super::write::Writer;
use crate::store::{Seed, ids};

const DATABASE_FILE: &str = "pactum.db";
const LOG_FILE: &str = "pactum.db-wal";
const LOCK_FILE: &str = "LOCK";
/// How long a statement waits for someone who has opened the file by hand. Longer than a careful
/// hand needs; then the write counts as failed.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// After so many pages of log the commit that wrote the last one checkpoints: 32 MiB. More would
/// make the start after a crash slower, less would sync the file itself more often.
const CHECKPOINT_PAGES: u64 = 8192;
/// What a page takes in the log: 4 KiB, SQLite's default, and its header. With the log's own header
/// this is where it begins anew after a checkpoint.
const LOG_BYTES: u64 = CHECKPOINT_PAGES * (4096 + 24) + 32;
/// The writer's page cache in KiB, as SQLite wants it: enough to keep the pages of a million
/// unfinished transactions that are being changed.
const CACHE: &str = "-65536";
/// Searches at the same time. An operator runs one.
const READERS_MAX: u32 = 4;
/// Each kind of row has a statement for each chunk size, and there are a few more.
const STATEMENTS_MAX: usize = 128;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not there and cannot be made, or its lock file cannot be written.
    #[error("open data directory `{}`", directory.display())]
    Directory {
        /// Which.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another coordinator runs on it.
    #[error(
        "data directory `{}` is in use by {}: stop that one, or give this one a directory of its own",
        directory.display(), holder(.process)
    )]
    InUse {
        /// Which.
        directory: PathBuf,
        /// The process that holds it, if it left its id.
        process: Option<u32>,
    },
    /// It was written by a later build.
    #[error(
        "data directory `{}` has schema version {found}, and this build reads up to {known}: \
         use the newer build", directory.display()
    )]
    Newer {
        /// Which.
        directory: PathBuf,
        /// The version found.
        found: u32,
        /// The greatest version that this build knows.
        known: u32,
    },
    /// It keeps another group.
    #[error(
        "data directory `{}` keeps group `{found}`, not `{wanted}`: a directory keeps one group",
        directory.display()
    )]
    OtherGroup {
        /// Which.
        directory: PathBuf,
        /// The group that it keeps.
        found: String,
        /// The group that was asked for.
        wanted: GroupName,
    },
    /// SQLite refused.
    #[error("open data directory `{}`: {doing}", directory.display())]
    Database {
        /// Which.
        directory: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
}

fn holder(process: &Option<u32>) -> String {
    match process {
        Some(process) => format!("process {process}"),
        None => "another process".to_owned(),
    }
}

pub(super) async fn open(
    directory: &Path,
    group: &GroupName,
    seed: Seed,
) -> Result<SqliteStore, OpenError> {
    let lock = lock(directory)?;
    let file = directory.join(DATABASE_FILE);
    let opening = Opening { directory };
    let writing = options(&file).create_if_missing(true);
    let writing = writing
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string())
        .pragma("cache_size", CACHE);
    let mut connection = opening.doing("open the file", writing.connect().await)?;
    opening.migrate(&mut connection).await?;
    opening.ensure_lease(&mut connection, group, seed).await?;
    opening.make_durable(&mut connection, &file).await?;
    opening.lay_out_log()?;
    let store_id = opening.store_id(&mut connection).await?;
    let statements = opening.statements(&file)?;
    let reading = options(&file).read_only(true);
    let readers = SqlitePoolOptions::new().max_connections(READERS_MAX);
    Ok(SqliteStore {
        directory: directory.to_owned(),
        store_id,
        writer: Mutex::new(Writer::new(connection, statements, group.clone(), store_id)),
        readers: readers.connect_lazy_with(reading.clone()),
        reading,
        _lock: lock,
    })
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS_MAX)
        .disable_statement_logging()
}

/// Makes the directory and takes its lock, which the system gives up when the process ends,
/// however it ends.
fn lock(directory: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Directory { directory: directory.to_owned(), source };
    fs::create_dir_all(directory).map_err(failed)?;
    let options = File::options().read(true).write(true).create(true).truncate(false).to_owned();
    let mut file = options.open(directory.join(LOCK_FILE)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let process = holder_of(&mut file);
            return Err(OpenError::InUse { directory: directory.to_owned(), process });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    leave_process_id(&mut file).map_err(failed)?;
    Ok(file)
}

/// For the message of whoever comes second.
fn leave_process_id(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder_of(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// The steps of opening, with the directory for their errors.
struct Opening<'a> {
    directory: &'a Path,
}

impl Opening<'_> {
    fn doing<T>(&self, doing: &'static str, result: sqlx::Result<T>) -> Result<T, OpenError> {
        let directory = self.directory.to_owned();
        result.map_err(|source| OpenError::Database { directory, doing, source })
    }

    async fn migrate(&self, connection: &mut SqliteConnection) -> Result<(), OpenError> {
        let read = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await;
        let found: u32 = self.doing("read the schema version", read)?;
        let known = SQLITE.last().map_or(0, |migration| migration.version);
        if found > known {
            let directory = self.directory.to_owned();
            return Err(OpenError::Newer { directory, found, known });
        }
        for migration in SQLITE.iter().filter(|migration| migration.version > found) {
            let done = run_migration(connection, migration).await;
            self.doing("bring the schema up to date", done)?;
        }
        Ok(())
    }

    /// The store's identity and the group's lease, made once.
    async fn ensure_lease(
        &self,
        connection: &mut SqliteConnection,
        group: &GroupName,
        seed: Seed,
    ) -> Result<(), OpenError> {
        let read = sqlx::query_scalar("SELECT group_name FROM lease");
        let found: Option<String> =
            self.doing("read the lease", read.fetch_optional(&mut *connection).await)?;
        match found {
            None => self.doing("create the lease", create(connection, group, seed).await),
            Some(found) if found == group.as_str() => Ok(()),
            Some(found) => {
                let directory = self.directory.to_owned();
                Err(OpenError::OtherGroup { directory, found, wanted: group.clone() })
            }
        }
    }

    async fn make_durable(
        &self,
        connection: &mut SqliteConnection,
        file: &Path,
    ) -> Result<(), OpenError> {
        let doing = "checkpoint and sync";
        let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(connection).await;
        let busy: i64 = self.doing(doing, checkpoint.and_then(|row| row.try_get(0)))?;
        if busy != 0 {
            // The lock file keeps other coordinators out, so someone has opened the file by hand.
            let process = None;
            return Err(OpenError::InUse { directory: self.directory.to_owned(), process });
        }
        let synced = File::open(file)
            .and_then(|file| file.sync_all())
            .and_then(|()| File::open(self.directory)?.sync_all());
        self.doing(doing, synced.map_err(sqlx::Error::Io))
    }

    /// Gives the log its full length at once, as zeros. A sync of a file that has grown writes the
    /// file's own data too, and takes twice as long as one of a file that was overwritten.
    ///
    /// SQLite keeps this length: it writes from the start again after each checkpoint, and a log is
    /// read as far as its checksums hold, which zeros do not. It must be empty here, and is after
    /// [`Opening::make_durable`].
    fn lay_out_log(&self) -> Result<(), OpenError> {
        let laid_out =
            File::options().write(true).open(self.directory.join(LOG_FILE)).and_then(|mut log| {
                if log.metadata()?.len() != 0 {
                    return Ok(());
                }
                io::copy(&mut io::repeat(0).take(LOG_BYTES), &mut log)?;
                log.sync_all()
            });
        self.doing("lay out the log", laid_out.map_err(sqlx::Error::Io))
    }

    /// The connection of batches.
    fn statements(&self, file: &Path) -> Result<Statements, OpenError> {
        let opened = Statements::open(file, CHECKPOINT_PAGES, CACHE);
        let opened = opened.map_err(|error| sqlx::Error::Io(io::Error::other(error)));
        self.doing("open the file for batches", opened)
    }

    async fn store_id(&self, connection: &mut SqliteConnection) -> Result<StoreId, OpenError> {
        let read = sqlx::query_scalar("SELECT store_id FROM store").fetch_one(connection).await;
        let bytes: Vec<u8> = self.doing("read the store's identity", read)?;
        let store_id = StoreId::from_bytes(&bytes);
        let store_id = store_id.ok_or_else(|| sqlx::Error::Decode("not 16 bytes".into()));
        self.doing("read the store's identity", store_id)
    }
}

async fn run_migration(
    connection: &mut SqliteConnection,
    migration: &Migration,
) -> sqlx::Result<()> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(migration.sql).execute(&mut *transaction).await?;
    let version = AssertSqlSafe(format!("PRAGMA user_version = {}", migration.version));
    sqlx::raw_sql(version).execute(&mut *transaction).await?;
    transaction.commit().await
}

async fn create(
    connection: &mut SqliteConnection,
    group: &GroupName,
    seed: Seed,
) -> sqlx::Result<()> {
    let ends = ids::Ends::at_creation(seed.created_at);
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("INSERT INTO store (singleton, store_id, created_at) VALUES (1, ?, ?)")
        .bind(seed.store_id.to_bytes().to_vec())
        .bind(seed.created_at.0.cast_signed())
        .execute(&mut *transaction)
        .await?;
    sqlx::query(
        "INSERT INTO lease (group_name, epoch, xid_end, branch_end, horizon) VALUES (?, 0, ?, ?, ?)",
    )
    .bind(group.as_str())
    .bind(ends.xid.cast_signed())
    .bind(ends.branch.cast_signed())
    .bind((ends.xid - 1).cast_signed())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}
