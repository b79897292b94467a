//! Blocks of ids: no id is ever reserved twice.

use pactum_core::event::IdBlock;
use pactum_core::id::XidNumber;
use pactum_core::time::WallTime;

use super::Place;
use super::rows::SEED;
use crate::store::{Error, Store};

async fn reserve(store: &dyn Store, wall: u64, xids: u64, branches: u64) -> (IdBlock, IdBlock) {
    let epoch = store.lead().await.unwrap().epoch;
    store.reserve_ids(epoch, WallTime(wall), xids, branches).await.unwrap()
}

pub(in crate::store) async fn a_new_stores_horizon_lies_below_its_first_id(place: &dyn Place) {
    let store = place.open().await;
    let lease = store.lead().await.unwrap();
    assert_eq!(lease.horizon.0, (SEED.created_at.0 << 20) - 1);
    let (xids, _) = reserve(&*store, 0, 1, 1).await;
    assert_eq!(xids.first, lease.horizon.0 + 1);
}

pub(in crate::store) async fn ids_start_at_the_wall_clock(place: &dyn Place) {
    let store = place.open().await;
    let (xids, branches) = reserve(&*store, 5_000, 100, 10).await;
    assert_eq!(xids, IdBlock { first: 5_000 << 20, end: (5_000 << 20) + 100 });
    assert_eq!(branches, IdBlock { first: 1, end: 11 });
}

pub(in crate::store) async fn ids_are_never_reserved_twice(place: &dyn Place) {
    let store = place.open().await;
    let mut end = (0, 0);
    for wall in [5_000, 5_000, 5_001, 5_001, 6_000] {
        // More than a millisecond's worth.
        let (xids, branches) = reserve(&*store, wall, 3 << 20, 7).await;
        assert!(xids.first >= end.0);
        assert_eq!(xids.end - xids.first, 3 << 20);
        assert!(branches.first >= end.1);
        assert_eq!(branches.end - branches.first, 7);
        end = (xids.end, branches.end);
    }
}

pub(in crate::store) async fn ids_go_on_when_the_clock_goes_back(place: &dyn Place) {
    let store = place.open().await;
    let (before, _) = reserve(&*store, 9_000, 10, 1).await;
    let (after, _) = reserve(&*store, 10, 10, 1).await;
    assert_eq!(after.first, before.end);
    // A clock that is off by ages must not use the ids up.
    let (far, _) = reserve(&*store, u64::MAX, 10, 1).await;
    assert_eq!(far.first, after.end);
}

pub(in crate::store) async fn ids_go_on_after_a_restart(place: &dyn Place) {
    let store = place.open().await;
    let before = reserve(&*store, 9_000, 10, 20).await;
    drop(store);
    let store = place.open().await;
    let after = reserve(&*store, 0, 10, 20).await;
    assert_eq!(after.0.first, before.0.end);
    assert_eq!(after.1.first, before.1.end);
}

pub(in crate::store) async fn ids_that_do_not_fit_are_refused(place: &dyn Place) {
    let store = place.open().await;
    let epoch = store.lead().await.unwrap().epoch;
    for (xids, branches) in [(XidNumber::MAX.0, 1), (1, XidNumber::MAX.0), (u64::MAX, 1)] {
        let refused = store.reserve_ids(epoch, WallTime(0), xids, branches).await;
        assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");
    }
    let (xids, branches) = reserve(&*store, 0, 1, 1).await;
    assert_eq!((xids.first, branches.first), (SEED.created_at.0 << 20, 1), "nothing was used up");
}
