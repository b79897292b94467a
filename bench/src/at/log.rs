//! The durable writes of a coordinator, by hand: records appended to one file, synced before anybody
//! hears of them, and many at a time if many wait.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow};
use tokio::sync::{mpsc, oneshot};

/// What one group of records may hold.
const GROUP_MAX: usize = 1024;

/// Whether records are synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    Yes,
    /// They go nowhere at all: for what the floor is without them.
    NoLog,
}

type Record = (Vec<u8>, oneshot::Sender<()>);

/// The way to the one writer.
#[derive(Clone, Debug)]
pub(super) struct Log(Option<mpsc::UnboundedSender<Record>>);

/// Ends when every [`Log`] is gone.
pub(super) type Writer = Option<JoinHandle<Result<()>>>;

impl Log {
    pub(super) fn open(folder: &Path, sync: Sync) -> Result<(Self, Writer)> {
        if sync == Sync::NoLog {
            return Ok((Log(None), None));
        }
        let path = folder.join("log");
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let (records, to_write) = mpsc::unbounded_channel();
        let writer = std::thread::Builder::new().name("log".to_owned());
        let writer =
            writer.spawn(move || write(file, to_write)).context("start the log's writer")?;
        Ok((Log(Some(records)), Some(writer)))
    }

    /// Returns when the record is on the disk.
    pub(super) async fn append(&self, record: String) -> Result<()> {
        let Some(records) = &self.0 else { return Ok(()) };
        let (written, wait) = oneshot::channel();
        let sent = records.send((record.into_bytes(), written));
        sent.map_err(|_| anyhow!("the log's writer has ended"))?;
        wait.await.context("wait for a record to be written")
    }
}

/// The writer's end, once nobody can send it anything.
pub(super) fn ended(writer: Writer) -> Result<()> {
    let Some(writer) = writer else { return Ok(()) };
    writer.join().map_err(|_| anyhow!("the log's writer has panicked"))?
}

fn write(mut file: File, mut to_write: mpsc::UnboundedReceiver<Record>) -> Result<()> {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while to_write.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
        let bytes: Vec<u8> = group.iter().flat_map(|(record, _)| record.iter().copied()).collect();
        file.write_all(&bytes).and_then(|()| file.sync_data()).context("write the log")?;
        for (_, written) in group.drain(..) {
            // Who does not wait does not mind.
            let _ = written.send(());
        }
    }
    Ok(())
}
