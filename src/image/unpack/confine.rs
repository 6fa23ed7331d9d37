//! What the unpacker gives up before it reads the first byte.

use crate::plan::IdMappings;
use crate::seccomp::{self, Architecture};
use crate::sys::{capabilities, process, userns};
use nix::sched::CloneFlags;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use std::path::Path;

/// Every system call that applying a layer takes, with those that allocating memory and ending take.
/// Any other one kills the process.
const SYSTEM_CALLS: &[&str] = &[
    // The stream, the report, files.
    "close",
    "fcntl",
    "fstat",
    "ftruncate",
    "lseek",
    "newfstatat",
    "openat",
    "read",
    "statx",
    "write",
    "writev",
    // What entries become.
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "fsetxattr",
    "linkat",
    "lsetxattr",
    "mkdirat",
    "mknodat",
    "setxattr",
    "symlinkat",
    "unlinkat",
    "utimensat",
    // Removing the tree that an entry replaces.
    "faccessat",
    "faccessat2",
    "getdents64",
    "openat2",
    "renameat",
    "renameat2",
    // Memory, and the end.
    "brk",
    "exit",
    "exit_group",
    "futex",
    "getrandom",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "restart_syscall",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
];

/// Bytes of heap. The largest need is that of a sparse file's map, some 10 MiB.
const MEMORY: u64 = 64 << 20;

/// Bytes of address space: the program and its libraries, the stack, and [`MEMORY`].
const ADDRESS_SPACE: u64 = 1 << 30;

/// The standard streams, a directory, a file, and what removing a tree takes.
const DESCRIPTORS: u64 = 32;

/// Leaves this process with the directory and the standard streams as all it can reach, and little to
/// do there. `largest` is the size of the largest file that it may make.
///
/// # Errors
/// The step that failed; the process is then of use only for reporting it.
pub fn confine(
    directory: &Path,
    parent: i32,
    mappings: Option<&IdMappings>,
    largest: Option<u64>,
) -> Result<(), String> {
    fn step<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> String {
        move |error| format!("{what}: {error}")
    }
    nix::unistd::chdir(directory).map_err(step("enter the layer's directory"))?;
    if let Some(mappings) = mappings {
        userns::enter(mappings, CloneFlags::empty()).map_err(|error| match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })?;
    }
    // After the last change of credentials, which would clear it.
    process::set_parent_death_signal(Signal::SIGKILL).map_err(step("follow the parent"))?;
    if nix::unistd::getppid().as_raw() != parent {
        return Err("the parent is gone".into());
    }
    process::close_all_except(&[]).map_err(step("close descriptors"))?;
    nix::unistd::chroot(".").map_err(step("make the layer's directory the root"))?;
    nix::unistd::chdir("/").map_err(step("enter the new root"))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    nix::sys::prctl::set_no_new_privs().map_err(step("set no_new_privs"))?;
    limit_resources(largest).map_err(step("limit resources"))?;
    let mut keep = vec![
        capabilities::CHOWN,
        capabilities::DAC_OVERRIDE,
        capabilities::FOWNER,
        capabilities::FSETID,
        capabilities::SETFCAP,
    ];
    if mappings.is_none() {
        // For devices and, the only use of CAP_SYS_ADMIN here, attributes of the class `trusted`.
        keep.extend([capabilities::MKNOD, capabilities::SYS_ADMIN]);
    }
    capabilities::keep_only(&keep).map_err(step("give up capabilities"))?;
    // On an architecture without a table of call numbers the rest has to do.
    if let Some(architecture) = Architecture::host() {
        let filter = seccomp::only(SYSTEM_CALLS, architecture);
        crate::sys::seccomp::load(&filter.bytes()).map_err(step("load the seccomp filter"))?;
    }
    Ok(())
}

/// Lowers the limits that are higher; nobody raises them again without CAP_SYS_RESOURCE.
fn limit_resources(largest: Option<u64>) -> nix::Result<()> {
    for (resource, value) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_DATA, MEMORY),
        (Resource::RLIMIT_AS, ADDRESS_SPACE),
        (Resource::RLIMIT_NOFILE, DESCRIPTORS),
        (Resource::RLIMIT_FSIZE, largest.unwrap_or(u64::MAX)),
    ] {
        let (_, hard) = getrlimit(resource)?;
        let value = value.min(hard);
        setrlimit(resource, value, value)?;
    }
    Ok(())
}
