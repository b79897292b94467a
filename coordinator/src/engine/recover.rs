//! Taking the lead: raise the epoch, read back, rebuild, reserve ids. Only then is anything answered.

use std::sync::Arc;
use std::time::Duration;

use pactum_core::event::{Event, Timer};
use pactum_core::group::Group;
use pactum_core::step::{Change, Command};
use pactum_core::time::Timestamp;
use pactum_proto::convert::{Identity, RequestReader};

use super::{Leading, Setup};
use crate::environment::Clock;
use crate::store;

/// A group that is ready to answer.
pub(super) struct Recovered {
    pub(super) group: Group,
    pub(super) leading: Arc<Leading>,
    pub(super) timers: Vec<(Timestamp, Timer)>,
}

/// The back-off between attempts to load a group that could not be loaded.
pub(super) const RELOAD_PAUSE: Duration = Duration::from_millis(200);

/// Leads and loads the group. The epoch is raised before anything is read: a write of the old one
/// that is still under way lands before, or never.
pub(super) async fn recover(setup: &Setup, clock: &Clock) -> Result<Recovered, store::Error> {
    let options = &setup.options;
    let lease = setup.store.lead().await?;
    let found = setup.store.load().await?;
    let (unfinished, ended) = (found.unfinished.len(), found.history.len());
    let now = clock.now();
    let (mut group, step) = Group::recover(options.policy.clone(), lease.horizon, found, now);
    debug_assert!(step.replies.is_empty(), "nobody has asked yet");
    let mut timers = step.timers;

    let (xids, branches) = (options.engine.xids_reserved, options.engine.branch_ids_reserved);
    let wall = setup.environment.wall();
    let (xids, branches) = setup.store.reserve_ids(lease.epoch, wall, xids, branches).await?;
    let step = group.handle(Event::IdsReserved { xids, branches }, clock.now());
    debug_assert!(step.changes.iter().all(|change| matches!(change, Change::Volatile(_))));
    debug_assert!(step.commands.iter().all(|command| matches!(command, Command::ReserveIds)));
    timers.extend(step.timers);

    let identity = Identity::new(options.group.clone(), lease.store_id, lease.epoch);
    let reader = RequestReader::new(&identity, options.request_limits());
    tracing::info!(
        coord.epoch = lease.epoch.0,
        coord.group = %identity.group,
        coord.store = %identity.store,
        unfinished,
        ended,
        "group loaded"
    );
    Ok(Recovered { group, leading: Arc::new(Leading { identity, reader }), timers })
}
