//! Kills processes in the middle of their work, and starts them again.
//!
//! The kinds of processes are killed independently, so that a bank can die while the coordinator is away.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fastrand::Rng;
use tokio::sync::watch;
use tokio::time::sleep;

use super::kills::{KillCounts, moments};
use crate::world::{Server, World};

/// A kill comes at most so long after the transfer that sets it off: at no fixed place of the next.
const DELAY_MAX: Duration = Duration::from_millis(20);

/// One process to be killed, and when.
struct Kill {
    /// How many transfers are finished then.
    at: u32,
    delay: Duration,
    victim: Arc<Server>,
}

/// Carries the plan out, and returns how many were killed.
pub(crate) async fn kill(
    world: &World,
    counts: KillCounts,
    rng: &mut Rng,
    transfers: u32,
    finished: &watch::Sender<u32>,
) -> Result<KillCounts> {
    let mut draw = |count: u32, victims: &[&Arc<Server>]| -> Vec<Kill> {
        let moments = moments(rng, count, transfers).into_iter();
        let mut kill = |at| Kill {
            at,
            delay: DELAY_MAX.mul_f64(rng.f64()),
            victim: Arc::clone(victims[rng.usize(0..victims.len())]),
        };
        moments.map(&mut kill).collect()
    };
    let banks: Vec<_> = world.banks.iter().map(|bank| &bank.server).collect();
    let tc = world.tc.as_ref().map_or_else(Vec::new, |tc| draw(counts.tc, &[tc]));
    let bank = draw(counts.bank, &banks);
    let tm = draw(counts.tm, &[&world.tm]);

    let each = |kills| kill_each(kills, finished.subscribe());
    let (tc, bank, tm) = tokio::try_join!(each(tc), each(bank), each(tm))?;
    Ok(KillCounts { tc, bank, tm })
}

async fn kill_each(kills: Vec<Kill>, mut finished: watch::Receiver<u32>) -> Result<u32> {
    let mut killed = 0;
    for Kill { at, delay, victim } in kills {
        finished.wait_for(|finished| *finished >= at).await.context("the run ended early")?;
        sleep(delay).await;
        victim.kill().await?;
        killed += 1;
        victim.restart().await?;
    }
    Ok(killed)
}
