use std::sync::Arc;

use pactum_core::transaction::Status;

use super::*;
use crate::store::suite::rows::{SEED, transaction};
use crate::store::suite::{Place, conformance};

/// Opening again is a clone: the rows are shared.
struct Memory(MemoryStore);

impl Memory {
    fn new() -> Self {
        Memory(MemoryStore::new(SEED))
    }
}

#[async_trait::async_trait]
impl Place for Memory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.0.clone())
    }
}

conformance!(Memory::new());

fn batch(number: u64) -> Vec<Write> {
    vec![Write::PutTransaction(transaction(number, Status::Active))]
}

async fn unfinished(store: &MemoryStore) -> Vec<u64> {
    store.load().await.unwrap().unfinished.iter().map(|row| row.number.0).collect()
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_its_batch_has_landed() {
    let store = MemoryStore::new(SEED);
    let epoch = store.lead().await.unwrap().epoch;
    store.faults().fail_next_write(WriteFault::UnknownLanded);
    assert!(matches!(store.write(epoch, batch(1)).await, Err(Error::Unknown(_))));
    assert_eq!(unfinished(&store).await, [1]);
    store.write(epoch, batch(2)).await.unwrap();
}

#[tokio::test]
async fn a_lost_batch_is_unknown_and_has_not_landed() {
    let store = MemoryStore::new(SEED);
    let epoch = store.lead().await.unwrap().epoch;
    store.faults().fail_next_write(WriteFault::UnknownLost);
    assert!(matches!(store.write(epoch, batch(1)).await, Err(Error::Unknown(_))));
    assert!(unfinished(&store).await.is_empty());
}

#[tokio::test]
async fn a_refused_writer_stays_refused_until_it_leads_again() {
    let store = MemoryStore::new(SEED);
    let epoch = store.lead().await.unwrap().epoch;
    store.faults().fail_next_write(WriteFault::Refused);
    for _ in 0..2 {
        assert!(matches!(store.write(epoch, batch(1)).await, Err(Error::Refused(_))));
    }
    let epoch = store.lead().await.unwrap().epoch;
    store.write(epoch, batch(1)).await.unwrap();
}

#[tokio::test]
async fn after_the_cut_every_write_is_lost_until_it_is_mended() {
    let store = MemoryStore::new(SEED);
    let epoch = store.lead().await.unwrap().epoch;
    store.faults().cut_after(1);
    store.write(epoch, batch(1)).await.unwrap();
    for _ in 0..3 {
        assert!(matches!(store.write(epoch, batch(2)).await, Err(Error::Unknown(_))));
    }
    assert_eq!(store.faults().writes(), 1);
    store.faults().mend();
    store.write(epoch, batch(3)).await.unwrap();
    assert_eq!(unfinished(&store).await, [1, 3]);
}

#[tokio::test]
async fn a_held_write_proves_its_epoch_when_it_lands() {
    let store = MemoryStore::new(SEED);
    let epoch = store.lead().await.unwrap().epoch;
    let faults = store.faults();
    faults.hold_writes();
    let write = tokio::spawn({
        let store = store.clone();
        async move { store.write(epoch, batch(1)).await }
    });
    faults.until_held(1).await;
    assert!(unfinished(&store).await.is_empty());
    faults.take_over();
    faults.release_writes();
    assert!(matches!(write.await.unwrap(), Err(Error::Refused(_))));
    assert!(unfinished(&store).await.is_empty());
}

#[tokio::test]
async fn a_failed_load_fails_once() {
    let store = MemoryStore::new(SEED);
    store.faults().fail_next_load();
    assert!(matches!(store.load().await, Err(Error::Read { .. })));
    assert!(unfinished(&store).await.is_empty());
}
