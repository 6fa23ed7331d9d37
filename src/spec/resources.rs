//! Limits: the `resources` block.

use super::job::Resources;
use super::quantity::{check_cpu_millis, cpuset, parse_bytes, parse_cpu_millis};
use super::reader::At;
use super::value_error::ValueError;

/// What Docker asks for at least; with less, not even a runtime's own start fits
/// (<https://docs.docker.com/engine/containers/resource_constraints/#limit-a-containers-access-to-memory>).
pub const MIN_MEMORY: u64 = 6 << 20;

/// Processes and threads of a job whose [`Resources::pids_limit`] is `None`, as podman has it
/// (`pids_limit` in <https://github.com/containers/common/blob/main/docs/containers.conf.5.md>).
pub const DEFAULT_PIDS_LIMIT: u64 = 2048;

/// Unlimited swap, in [`Resources::memory_swap`].
pub const UNLIMITED: u64 = u64::MAX;

/// The kernel's PID_MAX_LIMIT on 64 bits (<https://man7.org/linux/man-pages/man5/proc_sys_kernel.5.html>).
const MAX_PIDS: i64 = 4 << 20;

pub(super) fn memory(text: &str) -> Result<u64, ValueError> {
    let bytes = parse_bytes(text)?;
    check_memory(bytes, text)?;
    Ok(bytes)
}

fn check_memory(bytes: u64, text: &str) -> Result<(), ValueError> {
    if bytes < MIN_MEMORY {
        let range = "at least 6Mi".into();
        return Err(ValueError::OutOfRange { what: "an amount of memory", text: text.to_owned(), range });
    }
    Ok(())
}

fn memory_swap(text: &str) -> Result<u64, ValueError> {
    if text == "-1" { Ok(UNLIMITED) } else { parse_bytes(text) }
}

/// What the limits must be to each other, wherever each came from.
pub(super) fn check_swap(resources: &Resources) -> Result<(), ValueError> {
    match (resources.memory_swap, resources.memory) {
        (Some(_), None) => Err(ValueError::SwapWithoutMemory),
        (Some(swap), Some(memory)) if swap < memory => Err(ValueError::SwapBelowMemory { swap, memory }),
        _ => Ok(()),
    }
}

pub(super) fn check_reservation(resources: &Resources) -> Result<(), ValueError> {
    match (resources.memory_reservation, resources.memory) {
        (Some(reservation), Some(memory)) if reservation > memory => {
            Err(ValueError::ReservationAboveMemory { reservation, memory })
        }
        _ => Ok(()),
    }
}

/// The whole of what flags may have changed.
pub(super) fn check(resources: &Resources) -> Result<(), ValueError> {
    if let Some(bytes) = resources.memory {
        check_memory(bytes, &bytes.to_string())?;
    }
    if let Some(millis) = resources.cpu_millis {
        check_cpu_millis(millis, &format!("{millis}m"))?;
    }
    if let Some(limit) = resources.pids_limit
        && limit > MAX_PIDS.unsigned_abs()
    {
        let range = format!("-1 to {MAX_PIDS}");
        return Err(ValueError::OutOfRange { what: "pids_limit", text: limit.to_string(), range });
    }
    check_swap(resources)?;
    check_reservation(resources)
}

pub(super) fn read_resources(at: &At) -> Resources {
    let Some(mut fields) = at.fields("write fields such as `memory: 512Mi` below it") else {
        return Resources::default();
    };
    let pids = |at: At| at.integer("pids_limit", -1..=MAX_PIDS).map(|limit| u64::try_from(limit).unwrap_or(0));
    let swap = fields.take("memory_swap");
    let reservation = fields.take("memory_reservation");
    let resources = Resources {
        cpu_millis: fields.take("cpu").and_then(|at| at.parse(parse_cpu_millis)),
        memory: fields.take("memory").and_then(|at| at.parse(memory)),
        memory_swap: swap.as_ref().and_then(|at| at.parse(memory_swap)),
        memory_reservation: reservation.as_ref().and_then(|at| at.parse(memory)),
        pids_limit: fields.take("pids_limit").and_then(pids),
        cpuset: fields.take("cpuset").and_then(|at| at.parse(cpuset)),
        // MIN_SHARES and MAX_SHARES of https://github.com/torvalds/linux/blob/master/kernel/sched/sched.h
        cpu_shares: fields
            .take("cpu_shares")
            .and_then(|at| at.integer("cpu_shares", 2..=262_144))
            .map(i64::unsigned_abs),
        // https://man7.org/linux/man-pages/man5/proc_pid_oom_score_adj.5.html
        oom_score_adj: fields
            .take("oom_score_adj")
            .and_then(|at| at.integer("oom_score_adj", -1000..=1000))
            .and_then(|score| i32::try_from(score).ok()),
    };
    // A memory that could not be read says nothing about the others.
    let memory_given = fields.at.has("memory");
    if resources.memory.is_some() || !memory_given {
        if let Some(at) = swap {
            at.check(check_swap(&resources));
        }
        if let Some(at) = reservation {
            at.check(check_reservation(&resources));
        }
    }
    fields.finish();
    resources
}
