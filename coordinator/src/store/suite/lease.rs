//! Who leads: a stale epoch writes nothing.

use pactum_core::id::Epoch;
use pactum_core::recovery::Found;
use pactum_core::time::WallTime;
use pactum_core::transaction::Status;

use super::Place;
use super::rows::{SEED, put, transaction};
use crate::store::Error;

pub(in crate::store) async fn each_lead_raises_the_epoch(place: &dyn Place) {
    let store = place.open().await;
    let epochs = [store.lead().await.unwrap().epoch, store.lead().await.unwrap().epoch];
    assert!(epochs[0] > Epoch(0));
    assert!(epochs[1] > epochs[0]);
}

pub(in crate::store) async fn an_older_epoch_writes_nothing(place: &dyn Place) {
    let store = place.open().await;
    let old = store.lead().await.unwrap().epoch;
    let new = store.lead().await.unwrap().epoch;
    let batch = || vec![put(&transaction(7, Status::Active))];
    for stale in [old, Epoch(0), Epoch(new.0 + 1)] {
        let refused = store.write(stale, batch()).await;
        assert!(matches!(refused, Err(Error::Refused(epoch)) if epoch == stale), "{refused:?}");
    }
    assert_eq!(store.load().await.unwrap(), Found::default());
    store.write(new, batch()).await.unwrap();
    assert_eq!(store.load().await.unwrap().unfinished.len(), 1);
}

pub(in crate::store) async fn an_older_epoch_reserves_nothing(place: &dyn Place) {
    let store = place.open().await;
    let old = store.lead().await.unwrap().epoch;
    let new = store.lead().await.unwrap().epoch;
    let refused = store.reserve_ids(old, WallTime(0), 10, 10).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    let (xids, branches) = store.reserve_ids(new, WallTime(0), 10, 10).await.unwrap();
    assert_eq!(xids.first, SEED.created_at.0 << 20);
    assert_eq!(branches.first, 1);
}

pub(in crate::store) async fn an_epoch_survives_a_restart(place: &dyn Place) {
    let store = place.open().await;
    let before = store.lead().await.unwrap().epoch;
    drop(store);
    let store = place.open().await;
    let after = store.lead().await.unwrap().epoch;
    assert!(after > before);
    let refused = store.write(before, vec![]).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
}

pub(in crate::store) async fn the_store_keeps_its_identity(place: &dyn Place) {
    let store = place.open().await;
    assert_eq!(store.lead().await.unwrap().store_id, SEED.store_id);
    drop(store);
    assert_eq!(place.open().await.lead().await.unwrap().store_id, SEED.store_id);
}
