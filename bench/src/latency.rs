//! How long transactions took, and how many there were in how much time.

use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;

/// Longer ones count as this long.
const LONGEST: Duration = Duration::from_secs(60);

/// A histogram in microseconds, with three digits.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Result<Self> {
        let longest = u64::try_from(LONGEST.as_micros()).context("a minute fits 64 bits")?;
        Ok(Latencies(Histogram::new_with_max(longest, 3).context("make a histogram")?))
    }

    pub(crate) fn record(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn add(&mut self, other: &Latencies) -> Result<()> {
        self.0.add(&other.0).context("add up two histograms")
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_latency_that_so_many_did_not_exceed() {
        let mut latencies = Latencies::new().unwrap();
        (1..=100).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        assert_eq!(latencies.quantile_ms(0.5).round(), 50.0);
        assert_eq!(latencies.quantile_ms(0.99).round(), 99.0);
        let mut both = Latencies::new().unwrap();
        both.add(&latencies).unwrap();
        both.add(&latencies).unwrap();
        assert_eq!(both.count(), 200);
    }

    #[test]
    fn what_takes_longer_than_the_longest_is_not_lost() {
        let mut latencies = Latencies::new().unwrap();
        latencies.record(Duration::from_secs(3600));
        assert_eq!(latencies.count(), 1);
        assert!(latencies.quantile_ms(1.0) >= 59_000.0);
    }
}
