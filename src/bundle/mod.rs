//! From job, image config and host facts to what a supervisor carries out: pure functions.
//!
//! The runtime specs are made for our own use of libcontainer: no user namespace (without privileges
//! the launcher is in one already), no network namespace (see `Plan::private_network`), no cgroup
//! mount and no resources (the supervisor has the cgroups), no seccomp section (pid 1 loads a
//! compiled filter), always `no_new_privs`.

mod capabilities;
mod command;
mod error;
mod files;
mod host;
mod identity;
mod mounts;
mod process;
mod steps;
#[cfg(test)]
mod tests;

pub use error::BundleError;
pub use files::GeneratedFile;
pub use host::{DeviceFacts, HostFacts};
pub use steps::{other_images, step_that_needs};

use crate::plan::{Limits, Overlay, ProcessPlan, SharedTmpfs, StepPlan, Volume};
use crate::spec::{NetworkMode, Resources, Seccomp, ServiceSpec};
use oci_spec::image::ImageConfiguration;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// SIGTERM, when neither job nor image names a stop signal (`docker run --stop-signal`).
const DEFAULT_STOP_SIGNAL: i32 = libc::SIGTERM;

/// Where things are and what they are called.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// The execution's id.
    pub id: &'a str,
    /// Where the root file system will be mounted.
    pub rootfs: PathBuf,
    /// Directory for [`GeneratedFile`]s.
    pub files: PathBuf,
    /// Directory that holds one directory per named volume.
    pub named_volumes: PathBuf,
    /// Directory for the volumes of this execution alone.
    pub anonymous_volumes: PathBuf,
    /// Directory for the mountpoints of what the job's processes share in memory.
    pub tmpfs: PathBuf,
    /// Directory for the root file systems of steps on other images, one directory for each.
    pub step_roots: PathBuf,
    /// Compiled filter; used unless the job is unconfined.
    pub seccomp_filter: PathBuf,
    /// Environment of every process of the job, such as `CORACLE_EXECUTION_ID`. Programs rely on these to
    /// tell executions apart, so they win over the image's and the spec's.
    pub variables: &'a [(String, String)],
}

/// The images of a job.
#[derive(Debug, Clone)]
pub struct Images<'a> {
    /// Config of the job's own.
    pub job: &'a ImageConfiguration,
    /// Those that [`other_images`] names, or why one cannot be had that no step needs.
    pub others: &'a BTreeMap<String, Result<StepImage, String>>,
}

/// An image that a step runs on.
#[derive(Debug, Clone)]
pub struct StepImage {
    pub config: ImageConfiguration,
    /// Unpacked, lowest first.
    pub layers: Vec<PathBuf>,
}

/// What [`build`] makes; the caller writes the files and assembles the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// In order, before the main process.
    pub steps: Vec<StepPlan>,
    /// By the index of the step.
    pub step_roots: BTreeMap<usize, Overlay>,
    pub main: ProcessPlan,
    pub limits: Limits,
    pub volumes: Vec<Volume>,
    pub shared_tmpfs: Vec<SharedTmpfs>,
    pub private_network: bool,
    pub network_sysctls: BTreeMap<String, String>,
    pub files: Vec<GeneratedFile>,
    pub stop_signal: i32,
    /// For the user's eyes.
    pub notes: Vec<String>,
}

/// The capabilities that the job's processes may ever have, for the seccomp profile, which allows
/// more to those who have more.
///
/// # Errors
/// A capability that cannot be given.
pub fn bounding_capabilities(job: &ServiceSpec, host: &HostFacts) -> Result<BTreeSet<String>, BundleError> {
    Ok(capabilities::bounding(&job.security, host)?.0)
}

/// Makes everything that a plan needs of the job.
///
/// # Errors
/// [`BundleError`] naming the field of the job, or what in the image does not fit.
pub fn build(
    job: &ServiceSpec,
    images: &Images<'_>,
    host: &HostFacts,
    place: &Place<'_>,
) -> Result<Bundle, BundleError> {
    identity::check(job, host)?;
    let (bounding, mut notes) = capabilities::bounding(&job.security, host)?;
    let hostname = hostname(job, place.id);
    let files = files::generate(job, host, &hostname, &place.files);
    let mounts::Mounts { mounts, volumes, shared_tmpfs } = mounts::mounts(job, host, place, &files)?;
    let container = process::Container { job, host, place, hostname: &hostname, bounding: &bounding, mounts: &mounts };
    let commands = command::Commands { job, hostname: &hostname, variables: place.variables };
    let steps::Steps { steps, roots } = steps::steps(&commands, &container, images)?;
    let main = container.plan(commands.main(images.job)?, steps.len(), &place.rootfs)?;
    if job.security.seccomp == Seccomp::Unconfined {
        notes.push("security_opt: the job runs without a seccomp filter".into());
    }
    Ok(Bundle {
        steps,
        step_roots: roots,
        main,
        limits: limits(&job.resources),
        volumes,
        shared_tmpfs,
        private_network: job.network.mode == NetworkMode::None,
        network_sysctls: sysctls(job, true),
        files,
        stop_signal: stop_signal(job, images.job)?,
        notes,
    })
}

/// Those of the job's network namespace, which the launcher makes and sets, or all others, which
/// libcontainer sets: it refuses the former when it has not made the namespace itself.
fn sysctls(job: &ServiceSpec, of_network: bool) -> BTreeMap<String, String> {
    let wanted = |(name, _): &(&String, &String)| name.starts_with("net.") == of_network;
    job.process.sysctls.iter().filter(wanted).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What cgroups have to enforce for a job.
pub fn limits(resources: &Resources) -> Limits {
    Limits {
        memory: resources.memory,
        memory_swap: resources.memory_swap,
        memory_reservation: resources.memory_reservation,
        cpu_millis: resources.cpu_millis,
        cpu_shares: resources.cpu_shares,
        cpuset: resources.cpuset.clone(),
        pids: match resources.pids_limit {
            None => Some(crate::spec::DEFAULT_PIDS_LIMIT),
            Some(0) => None,
            Some(limit) => Some(limit),
        },
        pids_is_default: resources.pids_limit.is_none(),
    }
}

/// Twelve hexadecimal digits, as Docker's; the random end of the id, for its start is the time.
fn hostname(job: &ServiceSpec, id: &str) -> String {
    let derived =
        || id.chars().rev().filter(char::is_ascii_hexdigit).take(12).collect::<Vec<_>>().into_iter().rev().collect();
    job.process.hostname.clone().unwrap_or_else(derived)
}

fn stop_signal(job: &ServiceSpec, image: &ImageConfiguration) -> Result<i32, BundleError> {
    if let Some(signal) = job.stop.signal {
        return Ok(signal);
    }
    match image.config().as_ref().and_then(|config| config.stop_signal().as_deref()).filter(|signal| !signal.is_empty())
    {
        None => Ok(DEFAULT_STOP_SIGNAL),
        Some(signal) => crate::spec::parse_signal(signal)
            .map_err(|_| BundleError::BadStopSignal { image: job.image.name.clone(), signal: signal.to_owned() }),
    }
}
