//! What the system says about a process: the processor time it used, and its memory. Linux only.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Linux counts processor time for user space in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of a process so far, of all its threads, in user space and kernel.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    parse_cpu_time(&text).with_context(|| format!("understand {path}"))
}

/// Of this process, and of a server if there is one.
pub(crate) fn cpu_times(server: Option<u32>) -> Result<(Duration, Duration)> {
    let server = server.map_or(Ok(Duration::ZERO), cpu_time)?;
    Ok((cpu_time(std::process::id())?, server))
}

fn parse_cpu_time(stat: &str) -> Option<Duration> {
    // The name may hold spaces and brackets; what follows its last bracket does not.
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * (user + system))
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    parse_kib(&text, "VmRSS:").with_context(|| format!("find VmRSS in {path}"))
}

/// The value in bytes of a line such as `VmRSS:   1234 kB`.
pub(crate) fn parse_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 98 0 0 0 150 50 0 0 20 0 1 0 5 0 0";
        assert_eq!(parse_cpu_time(stat), Some(Duration::from_secs(2)));
        assert_eq!(parse_cpu_time("7 (cut"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmPeak:\t  9 kB\nVmRSS:\t  2048 kB\n";
        assert_eq!(parse_kib(status, "VmRSS:"), Some(2 << 20));
        assert_eq!(parse_kib(status, "VmSwap:"), None);
    }
}
