//! Resource limits of the job's process, setrlimit(2).
//!
//! libcontainer would set them before it makes the container: it needs more files and processes for
//! that than a job may want to allow itself. So they are taken out of its spec and set at the very end.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use oci_spec::runtime::{PosixRlimitType, Spec};

/// What to set right before the job's program is executed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rlimits(Vec<(Resource, u64, u64)>);

impl Rlimits {
    /// Moves the limits out of `spec`.
    pub fn take(spec: &mut Spec) -> Rlimits {
        let Some(process) = spec.process_mut() else { return Rlimits::default() };
        let limits = process.rlimits().iter().flatten();
        let limits = limits.map(|limit| (resource(limit.typ()), limit.soft(), limit.hard())).collect();
        process.set_rlimits(None);
        Rlimits(limits)
    }

    /// Raises this process's own hard limits where [`Rlimits::apply`] in a child would be too late for
    /// it: by then the privileges are gone.
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_RESOURCE; such a plan is refused before.
    pub fn make_room(&self) -> nix::Result<()> {
        for &(resource, _, wanted) in &self.0 {
            let (soft, hard) = getrlimit(resource)?;
            if wanted > hard {
                setrlimit(resource, soft, wanted)?;
            }
        }
        Ok(())
    }

    /// Sets the limits of the calling process.
    ///
    /// # Errors
    /// `EPERM` for a hard limit above the present one.
    pub fn apply(&self) -> nix::Result<()> {
        self.0.iter().try_for_each(|&(resource, soft, hard)| setrlimit(resource, soft, hard))
    }
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => Resource::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => Resource::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => Resource::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => Resource::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => Resource::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => Resource::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => Resource::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => Resource::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => Resource::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => Resource::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => Resource::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => Resource::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => Resource::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => Resource::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => Resource::RLIMIT_RTTIME,
    }
}
