use std::fs;
use std::sync::Arc;

use futures_util::FutureExt as _;
use pactum_core::transaction::{BranchRow, PhaseOne, Status};
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use super::*;
use crate::store::suite::rows::{SEED, branch, transaction};
use crate::store::suite::{Place, conformance};

/// A directory of its own, gone with the test.
struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        Directory(tempfile::tempdir().unwrap())
    }
}

#[async_trait::async_trait]
impl Place for Directory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(open(self.0.path()).await.unwrap())
    }
}

conformance!(Directory::new());

async fn open(directory: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(directory, &"default".parse().unwrap(), SEED).await
}

fn batch(number: u64) -> Vec<Write> {
    vec![
        Write::PutTransaction(transaction(number, Status::Active)),
        Write::PutBranch(branch(number, number, 0)),
    ]
}

#[tokio::test]
async fn a_second_process_on_the_directory_is_refused_with_the_first_ones_id() {
    let directory = Directory::new();
    let first = open(directory.0.path()).await.unwrap();
    let refused = open(directory.0.path()).await.unwrap_err().to_string();
    let path = directory.0.path().display().to_string();
    let process = format!("in use by process {}", std::process::id());
    assert!(refused.contains(&path), "{refused}");
    assert!(refused.contains(&process), "{refused}");
    drop(first);
    open(directory.0.path()).await.unwrap();
}

#[tokio::test]
async fn a_directory_keeps_one_group() {
    let directory = Directory::new();
    drop(open(directory.0.path()).await.unwrap());
    let other = "other".parse().unwrap();
    let refused = SqliteStore::open(directory.0.path(), &other, SEED).await;
    assert!(matches!(refused, Err(OpenError::OtherGroup { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_later_schema_is_refused_and_left_as_it_is() {
    let directory = Directory::new();
    open(directory.0.path()).await.unwrap().close().await;
    let file = directory.0.path().join("pactum.db");
    let raw = SqliteConnectOptions::new().filename(&file);
    let mut connection = raw.connect().await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 1000").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let refused = open(directory.0.path()).await.unwrap_err();
    assert!(matches!(refused, OpenError::Newer { found: 1000, .. }), "{refused:?}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let directory = Directory::new();
    let file = directory.0.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = open(&file.join("data")).await.unwrap_err().to_string();
    assert!(refused.contains(&file.display().to_string()), "{refused}");
}

/// Goal: what was answered survives the death of the process. Method: the files are copied while the
/// store is open and nothing was closed or checkpointed, and another store opens the copy.
#[tokio::test]
async fn what_was_answered_is_in_the_files_before_anything_is_closed() {
    let directory = Directory::new();
    let store = open(directory.0.path()).await.unwrap();
    let epoch = store.lead().await.unwrap().epoch;
    for number in 1..=20 {
        store.write(epoch, batch(number)).await.unwrap();
        let copy = Directory::new();
        for file in ["pactum.db", "pactum.db-wal"] {
            fs::copy(directory.0.path().join(file), copy.0.path().join(file)).unwrap();
        }
        let found = open(copy.0.path()).await.unwrap().load().await.unwrap();
        assert_eq!(found, store.load().await.unwrap());
        assert_eq!(u64::try_from(found.branches.len()).unwrap(), number);
    }
}

/// Goal: a batch is all or nothing on disk too. Method: the log is cut at every few bytes of the last
/// batch, as a power failure does, and the copy opened.
#[tokio::test]
async fn a_torn_batch_is_gone_as_a_whole() {
    let directory = Directory::new();
    let store = open(directory.0.path()).await.unwrap();
    let epoch = store.lead().await.unwrap().epoch;
    store.write(epoch, batch(1)).await.unwrap();
    let whole = written_log(&directory).len();
    store.write(epoch, batch(2)).await.unwrap();
    let log = written_log(&directory);
    assert!(log.len() > whole);
    for length in (whole..log.len()).step_by(1021) {
        // The rest was never there, or still is as it was laid out.
        for rest in [0, log.len() - length] {
            let copy = Directory::new();
            let file = copy.0.path().join("pactum.db");
            fs::copy(directory.0.path().join("pactum.db"), file).unwrap();
            let torn = [&log[..length], &vec![0; rest]].concat();
            fs::write(copy.0.path().join("pactum.db-wal"), torn).unwrap();
            let found = open(copy.0.path()).await.unwrap().load().await.unwrap();
            assert_eq!((found.unfinished.len(), found.branches.len()), (1, 1), "cut at {length}");
        }
    }
}

/// The log as far as anything was written to it.
fn written_log(directory: &Directory) -> Vec<u8> {
    let mut log = fs::read(directory.0.path().join("pactum.db-wal")).unwrap();
    let end = log.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    log.truncate(end);
    log
}

/// Goal: no commit waits for the log's file to grow. Method: its length, from the first batch to one
/// that was written behind a checkpoint.
#[tokio::test]
async fn the_log_has_its_full_length_from_the_start() {
    let directory = Directory::new();
    let length = || fs::metadata(directory.0.path().join("pactum.db-wal")).unwrap().len();
    let store = open(directory.0.path()).await.unwrap();
    let full = length();
    assert!(full > 8192 * 4096);
    let epoch = store.lead().await.unwrap().epoch;
    for number in 1..=20 {
        store.write(epoch, batch(number)).await.unwrap();
        if number == 10 {
            let raw = SqliteConnectOptions::new().filename(directory.0.path().join("pactum.db"));
            let mut connection = raw.connect().await.unwrap();
            let checkpoint = sqlx::raw_sql("PRAGMA wal_checkpoint(RESTART)");
            checkpoint.execute(&mut connection).await.unwrap();
        }
        assert_eq!(length(), full);
    }
    // Nothing of it is left by a store that is closed, and a new one lays it out again.
    store.close().await;
    let store = open(directory.0.path()).await.unwrap();
    assert_eq!(length(), full);
    assert_eq!(store.load().await.unwrap().branches.len(), 20);
}

/// A write waits only for whoever has the file; large or small, dropped then it never happened.
#[tokio::test]
async fn a_write_that_is_dropped_while_it_waits_leaves_nothing() {
    let directory = Directory::new();
    let store = open(directory.0.path()).await.unwrap();
    let epoch = store.lead().await.unwrap().epoch;
    let raw = SqliteConnectOptions::new().filename(directory.0.path().join("pactum.db"));
    let mut connection = raw.connect().await.unwrap();
    for (number, size) in [(1, 1), (1_000, 100)] {
        let by_hand = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let all: Vec<_> = (0..size).flat_map(|more| batch(number + more)).collect();
        assert!(store.write(epoch, all).now_or_never().is_none());
        by_hand.rollback().await.unwrap();
        store.write(epoch, batch(number + 500)).await.unwrap();
        let found = store.load().await.unwrap();
        let written: Vec<_> = found.unfinished.iter().map(|row| row.number.0).collect();
        assert!(written.contains(&(number + 500)));
        assert!(!written.contains(&number), "{written:?}");
    }
}

#[tokio::test]
async fn a_write_that_fails_is_unknown_and_ends_the_process() {
    let directory = Directory::new();
    let store = open(directory.0.path()).await.unwrap();
    assert_eq!(store.after_unknown(), AfterUnknown::EndProcess);
    let epoch = store.lead().await.unwrap().epoch;
    let raw = SqliteConnectOptions::new().filename(directory.0.path().join("pactum.db"));
    let mut connection = raw.connect().await.unwrap();
    sqlx::raw_sql("DROP TABLE branch").execute(&mut connection).await.unwrap();
    let failed = store.write(epoch, batch(1)).await;
    assert!(matches!(failed, Err(Error::Unknown(_))), "{failed:?}");
    // And nothing of it landed.
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM global_transaction")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

/// Batches that go to SQLite in different ways.
fn batches(number: u64) -> [Vec<Write>; 3] {
    let mut both = batch(number);
    let branch = both.pop().unwrap();
    [batch(number), both, vec![branch]]
}

#[tokio::test]
async fn a_writer_waits_for_whoever_has_the_file_locked() {
    let directory = Directory::new();
    let store = Arc::new(open(directory.0.path()).await.unwrap());
    let epoch = store.lead().await.unwrap().epoch;
    let raw = SqliteConnectOptions::new().filename(directory.0.path().join("pactum.db"));
    let mut connection = raw.connect().await.unwrap();
    for batch in batches(1) {
        // It changes the file too: the writer's view of it is an old one then.
        let mut by_hand = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let change = sqlx::raw_sql("UPDATE store SET created_at = created_at + 1");
        change.execute(&mut *by_hand).await.unwrap();
        let write = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.write(epoch, batch).await }
        });
        tokio::task::yield_now().await;
        assert!(!write.is_finished());
        by_hand.commit().await.unwrap();
        write.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_small_batch_of_an_earlier_epoch_is_refused_whatever_is_in_it() {
    let directory = Directory::new();
    let store = open(directory.0.path()).await.unwrap();
    let earlier = store.lead().await.unwrap().epoch;
    let epoch = store.lead().await.unwrap().epoch;
    for (number, batch) in (1..).zip(batches(1)) {
        let refused = store.write(earlier, batch.clone()).await;
        assert!(matches!(refused, Err(Error::Refused(of)) if of == earlier), "{refused:?}");
        let found = store.load().await.unwrap();
        assert_eq!(found.unfinished.len() + found.branches.len(), 2 * usize::from(number > 1));
        // The next one is written all the same, also over rows that are there.
        store.write(epoch, batch).await.unwrap();
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_is_reported_not_guessed() {
    let directory = Directory::new();
    let store = open(directory.0.path()).await.unwrap();
    let epoch = store.lead().await.unwrap().epoch;
    store.write(epoch, batch(1)).await.unwrap();
    let raw = SqliteConnectOptions::new().filename(directory.0.path().join("pactum.db"));
    let mut connection = raw.connect().await.unwrap();
    for damage in [
        "UPDATE branch SET resolutions = x'07'",
        "UPDATE branch SET resolutions = NULL, locks = x'07'",
        "UPDATE branch SET locks = x'0100', phase_one = 9",
        "UPDATE branch SET phase_one = 1, node = x'00'",
        "UPDATE global_transaction SET status = 5",
    ] {
        sqlx::raw_sql(damage).execute(&mut connection).await.unwrap();
        let read = store.load().await;
        assert!(matches!(read, Err(Error::Corrupt(_))), "{damage}: {read:?}");
    }
}

/// Stored rows: if this fails, data directories of an earlier build can no longer be read.
#[tokio::test]
async fn a_row_of_the_first_schema_reads_back() {
    let directory = Directory::new();
    let store = open(directory.0.path()).await.unwrap();
    let raw = SqliteConnectOptions::new().filename(directory.0.path().join("pactum.db"));
    let mut connection = raw.connect().await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO global_transaction VALUES \
         (7, 'transfer', x'fffffffffffffffffffffffffffffff8', 1, NULL, 60000, 1700000000000, \
          NULL, NULL, NULL, NULL);
         INSERT INTO branch VALUES \
         (7, 1, 0, x'0000000000000000000000000000000b', 3, 1, NULL, 0, \
          x'010102140100076163636f756e7400008000000000000001', NULL, NULL, 2, 1, NULL, NULL, NULL)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let found = store.load().await.unwrap();
    assert_eq!(found.unfinished, [transaction(7, Status::Active)]);
    assert_eq!(found.branches, [BranchRow { phase_one: PhaseOne::Done, ..branch(7, 1, 0) }]);
}
