//! Limits as the files and values of the kernel's cgroup interface: pure functions.

use super::hierarchy::{Controller, Version};
use crate::plan::Limits;

/// Period of the CPU quota in microseconds, the kernel's and Docker's default
/// (<https://docs.kernel.org/scheduler/sched-bwc.html>).
const CPU_PERIOD_MICROS: u64 = 100_000;
/// Smallest quota the kernel takes, in microseconds (same page).
const MIN_CPU_QUOTA_MICROS: u64 = 1_000;

/// One value to write; `optional` means that a kernel without the file only costs a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub controller: Controller,
    pub file: &'static str,
    pub value: String,
    pub optional: bool,
}

/// Everything that `limits` means for the hierarchies' versions, in the order of writing.
pub fn settings(limits: &Limits, version: impl Fn(Controller) -> Version) -> Vec<Setting> {
    let mut all = Vec::new();
    let mut set = |controller, file, value: String, optional| all.push(Setting { controller, file, value, optional });
    let is_v1 = |controller| version(controller) == Version::V1;
    if let Some(memory) = limits.memory {
        let v1 = is_v1(Controller::Memory);
        set(Controller::Memory, if v1 { "memory.limit_in_bytes" } else { "memory.max" }, memory.to_string(), false);
        // Docker's rule: as much swap again as memory, when nothing is said.
        let with_swap = limits.memory_swap.unwrap_or(memory.saturating_mul(2));
        let asked = limits.memory_swap.is_some();
        let value = match (with_swap, v1) {
            (u64::MAX, true) => "-1".to_owned(),
            (u64::MAX, false) => "max".to_owned(),
            (sum, true) => sum.to_string(),
            (sum, false) => sum.saturating_sub(memory).to_string(),
        };
        // Swap accounting can be off in the kernel; without swap on the host nothing is lost then.
        set(Controller::Memory, if v1 { "memory.memsw.limit_in_bytes" } else { "memory.swap.max" }, value, !asked);
    }
    if let Some(reservation) = limits.memory_reservation {
        let file = if is_v1(Controller::Memory) { "memory.soft_limit_in_bytes" } else { "memory.low" };
        set(Controller::Memory, file, reservation.to_string(), false);
    }
    if let Some(millis) = limits.cpu_millis {
        let quota = (millis * CPU_PERIOD_MICROS / 1000).max(MIN_CPU_QUOTA_MICROS);
        if is_v1(Controller::Cpu) {
            set(Controller::Cpu, "cpu.cfs_period_us", CPU_PERIOD_MICROS.to_string(), false);
            set(Controller::Cpu, "cpu.cfs_quota_us", quota.to_string(), false);
        } else {
            set(Controller::Cpu, "cpu.max", format!("{quota} {CPU_PERIOD_MICROS}"), false);
        }
    }
    if let Some(shares) = limits.cpu_shares {
        if is_v1(Controller::Cpu) {
            set(Controller::Cpu, "cpu.shares", shares.to_string(), false);
        } else {
            set(Controller::Cpu, "cpu.weight", weight_of_shares(shares).to_string(), false);
        }
    }
    if let Some(cpuset) = &limits.cpuset {
        set(Controller::Cpuset, "cpuset.cpus", cpuset.clone(), false);
    }
    if let Some(pids) = limits.pids {
        set(Controller::Pids, "pids.max", pids.to_string(), false);
    }
    all
}

/// The mapping of 2..=262144 shares to 1..=10000 weight that runc and crun use
/// (<https://github.com/containers/crun/blob/main/crun.1.md#cgroup-v2>).
fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(limits: &Limits, version: Version) -> Vec<(&'static str, String)> {
        settings(limits, |_| version).into_iter().map(|setting| (setting.file, setting.value)).collect()
    }

    #[test]
    fn the_same_limits_on_both_versions() {
        let limits = Limits {
            memory: Some(1 << 26),
            memory_swap: Some(3 << 26),
            memory_reservation: Some(1 << 25),
            cpu_millis: Some(500),
            cpu_shares: Some(1024),
            cpuset: Some("0-1".into()),
            pids: Some(7),
            pids_is_default: false,
        };
        let v1 = [
            ("memory.limit_in_bytes", "67108864"),
            ("memory.memsw.limit_in_bytes", "201326592"),
            ("memory.soft_limit_in_bytes", "33554432"),
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "50000"),
            ("cpu.shares", "1024"),
            ("cpuset.cpus", "0-1"),
            ("pids.max", "7"),
        ];
        assert_eq!(written(&limits, Version::V1), v1.map(|(file, value)| (file, value.to_owned())));
        let v2 = [
            ("memory.max", "67108864"),
            ("memory.swap.max", "134217728"),
            ("memory.low", "33554432"),
            ("cpu.max", "50000 100000"),
            ("cpu.weight", "39"),
            ("cpuset.cpus", "0-1"),
            ("pids.max", "7"),
        ];
        assert_eq!(written(&limits, Version::V2), v2.map(|(file, value)| (file, value.to_owned())));
    }

    #[test]
    fn bounds() {
        assert_eq!((weight_of_shares(2), weight_of_shares(262_144)), (1, 10_000));
        let unlimited = Limits { memory: Some(8), memory_swap: Some(u64::MAX), ..Limits::default() };
        assert_eq!(written(&unlimited, Version::V1)[1].1, "-1");
        assert_eq!(written(&unlimited, Version::V2)[1].1, "max");
        let tiny = Limits { cpu_millis: Some(1), ..Limits::default() };
        assert_eq!(written(&tiny, Version::V2)[0].1, "1000 100000");
    }
}
