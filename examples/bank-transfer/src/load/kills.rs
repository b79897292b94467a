//! Who is killed how often, and when.
//!
//! A moment is a number of finished transfers, drawn from the first nine tenths of the run: so every
//! kill that was asked for happens while transfers are under way, however fast they are.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use fastrand::Rng;
use serde::Serialize;

/// The most kills of one kind: more would be a test of patience.
const KILLS_MAX: u32 = 1000;

/// How many SIGKILLs each kind of process gets, written `tc:2,bank:1,tm:1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct KillCounts {
    /// The coordinator.
    pub(crate) tc: u32,
    /// The banks together.
    pub(crate) bank: u32,
    /// The transfer service.
    pub(crate) tm: u32,
}

impl FromStr for KillCounts {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let [mut tc, mut bank, mut tm] = [None; 3];
        for part in text.split(',').map(str::trim) {
            let (victim, count) =
                part.split_once(':').with_context(|| format!("`{part}` is not like `tc:2`"))?;
            let place = match victim {
                "tc" => &mut tc,
                "bank" => &mut bank,
                "tm" => &mut tm,
                _ => bail!("`{victim}` cannot be killed: name `tc`, `bank` or `tm`"),
            };
            let count: u32 = count
                .parse()
                .ok()
                .filter(|count| *count <= KILLS_MAX)
                .with_context(|| format!("`{count}` is not a number from 0 to {KILLS_MAX}"))?;
            if place.replace(count).is_some() {
                bail!("`{victim}` is named twice");
            }
        }
        let [tc, bank, tm] = [tc, bank, tm].map(Option::unwrap_or_default);
        Ok(KillCounts { tc, bank, tm })
    }
}

impl fmt::Display for KillCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KillCounts { tc, bank, tm } = self;
        write!(f, "tc:{tc},bank:{bank},tm:{tm}")
    }
}

impl KillCounts {
    /// Whether nobody is killed.
    pub(crate) fn is_empty(self) -> bool {
        self == KillCounts::default()
    }
}

/// After how many finished transfers each of `count` kills comes, in order.
pub(crate) fn moments(rng: &mut Rng, count: u32, transfers: u32) -> Vec<u32> {
    let last = transfers - transfers.div_ceil(10).min(transfers);
    let mut moments: Vec<u32> = (0..count).map(|_| rng.u32(0..=last)).collect();
    moments.sort_unstable();
    moments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> KillCounts {
        text.parse().unwrap()
    }

    #[test]
    fn a_plan_names_its_victims_in_any_order() {
        assert_eq!(parsed("tc:2,bank:1,tm:1"), KillCounts { tc: 2, bank: 1, tm: 1 });
        assert_eq!(parsed("tm:3, tc:0"), KillCounts { tc: 0, bank: 0, tm: 3 });
        assert!(parsed("bank:0").is_empty());
    }

    #[test]
    fn a_plan_that_is_none_says_what_is_wrong() {
        for (text, says) in [
            ("", "not like"),
            ("tc", "not like"),
            ("tc=2", "not like"),
            ("rm:1", "name `tc`"),
            ("tc:-1", "not a number"),
            ("tc:1001", "not a number"),
            ("tc:1,tc:1", "twice"),
            ("tc:1,", "not like"),
        ] {
            let error = text.parse::<KillCounts>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn every_kill_comes_while_transfers_are_under_way() {
        let mut rng = Rng::with_seed(7);
        for transfers in [1, 2, 9, 10, 200, 2000] {
            let moments = moments(&mut rng, 50, transfers);
            assert_eq!(moments.len(), 50);
            assert!(moments.is_sorted());
            assert!(moments.iter().all(|at| *at < transfers), "{transfers}: {moments:?}");
        }
    }

    #[test]
    fn one_seed_gives_the_same_moments() {
        let of = |seed| moments(&mut Rng::with_seed(seed), 4, 2000);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
