//! libcontainer, and what must be known of the root file system right before a process is made in it.

use super::pid1::JobProcess;
use super::volume;
use crate::plan::{PLAN_VERSION, Plan, ProcessPlan, UserRequest};
use crate::state_dir::ContainerDir;
use crate::user::{self, ResolvedUser};
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use oci_spec::runtime::Spec;
use pathrs::error::ErrorKind;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// More than any real passwd(5) or group(5) file; a hostile image cannot make us read on.
const MAX_USER_TABLE: u64 = 16 * 1024 * 1024;

/// The container could not be made or started.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    #[error("failed to {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is not a plan of this version: {reason}", path.display())]
    Plan { path: PathBuf, reason: String },
    #[error("failed to {action} {target:?} in the image: {reason}")]
    InRoot { action: &'static str, target: String, reason: String },
    #[error(transparent)]
    User(#[from] user::UserError),
    #[error(
        "{kind} {id} has no id on the host: only ids below {limit} are mapped for this user; \
         give it more subordinate ids (subuid(5)) or use another user in the job"
    )]
    Unmapped { kind: &'static str, id: u32, limit: u32 },
    #[error("{0}")]
    Library(String),
}

impl From<LibcontainerError> for ContainerError {
    /// The library's errors repeat their cause in some texts and leave it out in others.
    fn from(error: LibcontainerError) -> ContainerError {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            let inner_text = inner.to_string();
            if !text.contains(&inner_text) {
                text = format!("{text}: {inner_text}");
            }
            cause = inner.source();
        }
        ContainerError::Library(text)
    }
}

/// The plan of an execution.
///
/// # Errors
/// When it cannot be read or is of another version.
pub fn read_plan(directory: &ContainerDir) -> Result<Plan, ContainerError> {
    let path = directory.plan();
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(source) => return Err(ContainerError::Io { action: "read", path, source }),
    };
    let plan: Plan = match serde_json::from_slice(&bytes) {
        Ok(plan) => plan,
        Err(error) => return Err(ContainerError::Plan { path, reason: error.to_string() }),
    };
    if plan.version != PLAN_VERSION {
        return Err(ContainerError::Plan { path, reason: format!("it has version {}", plan.version) });
    }
    Ok(plan)
}

/// The runtime spec with what only the mounted root file system can tell: ids and home of the user.
/// Makes the working directory, and fills volumes that no process had before.
///
/// # Errors
/// [`ContainerError`]; what was made stays in the job's own writable layer.
pub fn finish_spec(plan: &Plan, index: usize, process: &ProcessPlan) -> Result<Spec, ContainerError> {
    let open = |path: &Path| {
        pathrs::Root::open(path).map_err(|error| ContainerError::InRoot {
            action: "open",
            target: "/".into(),
            reason: error.to_string(),
        })
    };
    // From the job's own image, whichever process comes first.
    if !plan.rootfs.volumes.is_empty() {
        let root = open(&plan.rootfs.mountpoint)?;
        plan.rootfs.volumes.iter().try_for_each(|volume| volume::fill(&root, volume))?;
    }
    let root = open(&plan.root_of(index).mountpoint)?;
    let user = resolve_user(&root, &process.user)?;
    if let Some(mappings) = &plan.rootless {
        check_mapped(mappings, &user)?;
    }
    let mut spec = (*process.spec).clone();
    for mount in spec.mounts().iter().flatten() {
        // Of a single file: `rbind` is for directories.
        if mount.options().iter().flatten().any(|option| option == "bind") {
            remove_dangling_link(&root, mount.destination())?;
        }
    }
    let specified =
        spec.process_mut().as_mut().ok_or_else(|| ContainerError::Library("the plan has no process".into()))?;
    let cwd = specified.cwd().clone();
    if cwd.as_path() != Path::new("/") {
        // Docker makes a missing working directory with these permissions.
        use std::os::unix::fs::PermissionsExt;
        root.mkdir_all(&cwd, &std::fs::Permissions::from_mode(0o755)).map_err(|error| ContainerError::InRoot {
            action: "make the working directory",
            target: cwd.display().to_string(),
            reason: error.to_string(),
        })?;
    }
    specified.user_mut().set_uid(user.uid).set_gid(user.gid);
    // With a single id mapped the kernel lets nobody set groups, and the job has its own one alone.
    let single = plan.rootless.as_ref().is_some_and(crate::plan::IdMappings::is_single);
    specified.user_mut().set_additional_gids((!single).then_some(user.additional_gids));
    let mut environment = specified.env().clone().unwrap_or_default();
    if !environment.iter().any(|entry| entry.starts_with("HOME=")) {
        environment.push(format!("HOME={}", user.home));
    }
    specified.set_env(Some(environment));
    if user.uid != 0 {
        specified.set_capabilities(process.user_capabilities.clone());
    }
    Ok(spec)
}

/// A symbolic link to nowhere in the place where a file will be mounted, as `/etc/resolv.conf` of an
/// image that was made on a host with systemd-resolved: libcontainer can neither follow nor replace
/// it. The job gets a file there instead, in its own writable layer.
fn remove_dangling_link(root: &pathrs::Root, target: &Path) -> Result<(), ContainerError> {
    let is_missing = |error: &pathrs::error::Error| matches!(error.kind(), ErrorKind::OsError(Some(libc::ENOENT)));
    if !root.resolve(target).is_err_and(|error| is_missing(&error)) || root.readlink(target).is_err() {
        return Ok(());
    }
    root.remove_file(target).map_err(|error| ContainerError::InRoot {
        action: "replace the dangling link",
        target: target.display().to_string(),
        reason: error.to_string(),
    })
}

fn resolve_user(root: &pathrs::Root, request: &UserRequest) -> Result<ResolvedUser, ContainerError> {
    let passwd = read_in_root(root, "/etc/passwd")?;
    let group = read_in_root(root, "/etc/group")?;
    Ok(user::resolve(request, &passwd, &group)?)
}

/// The text of a small file of the image; empty when it does not exist. Bytes that are not UTF-8
/// cannot match any name and become replacement characters.
fn read_in_root(root: &pathrs::Root, path: &str) -> Result<String, ContainerError> {
    let failed = |reason: String| ContainerError::InRoot { action: "read", target: path.to_owned(), reason };
    let handle = match root.resolve(path) {
        Ok(handle) => handle,
        Err(error) if matches!(error.kind(), ErrorKind::OsError(Some(libc::ENOENT | libc::ENOTDIR))) => {
            return Ok(String::new());
        }
        Err(error) => return Err(failed(error.to_string())),
    };
    let file = handle
        .reopen(pathrs::flags::OpenFlags::O_RDONLY | pathrs::flags::OpenFlags::O_NONBLOCK)
        .map_err(|error| failed(error.to_string()))?;
    if !file.metadata().map_err(|error| failed(error.to_string()))?.is_file() {
        return Err(failed("it is not a regular file".into()));
    }
    let mut bytes = Vec::new();
    file.take(MAX_USER_TABLE).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn check_mapped(mappings: &crate::plan::IdMappings, user: &ResolvedUser) -> Result<(), ContainerError> {
    let limit =
        |maps: &[crate::plan::IdMap]| maps.iter().map(|map| map.container.saturating_add(map.count)).max().unwrap_or(0);
    if !mappings.has_uid(user.uid) {
        return Err(ContainerError::Unmapped { kind: "user", id: user.uid, limit: limit(&mappings.uids) });
    }
    // With a single id mapped, groups of the image's own tables are left out; see `finish_spec`.
    let additional = if mappings.is_single() { &[] } else { user.additional_gids.as_slice() };
    for gid in std::iter::once(&user.gid).chain(additional) {
        if !mappings.has_gid(*gid) {
            return Err(ContainerError::Unmapped { kind: "group", id: *gid, limit: limit(&mappings.gids) });
        }
    }
    Ok(())
}

/// The standard streams of the job.
pub struct Stdio {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// A container whose init waits for the start.
pub struct Created(Container);

/// Creates the container with the number `serial`, which no other of the execution has; its init becomes the
/// child of this process's parent.
///
/// # Errors
/// The library's, as text: its types stay behind this module.
pub fn create(
    directory: &ContainerDir,
    plan: &Plan,
    serial: u32,
    spec: &Spec,
    hook: JobProcess,
    stdio: Stdio,
) -> Result<Created, ContainerError> {
    let state = directory.runtime();
    let bundle = state.join(format!("bundle-{serial}"));
    let io = |action, path: &std::path::Path| {
        let path = path.to_owned();
        move |source| ContainerError::Io { action, path, source }
    };
    std::fs::create_dir_all(&bundle).map_err(io("create", &bundle))?;
    let config = bundle.join("config.json");
    let bytes = serde_json::to_vec(spec).map_err(|error| ContainerError::Library(error.to_string()))?;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&config)
        .and_then(|mut file| io::Write::write_all(&mut file, &bytes))
        .map_err(io("write", &config))?;
    let container = ContainerBuilder::new(format!("{}-{serial}", plan.container_id), SyscallType::default())
        .with_root_path(&state)?
        .with_stdin(stdio.stdin)
        .with_stdout(stdio.stdout)
        .with_stderr(stdio.stderr)
        .with_executor(hook)
        .as_init(&bundle)
        .with_systemd(false)
        .with_detach(true)
        .as_sibling(true)
        .build()?;
    Ok(Created(container))
}

impl Created {
    /// Pid of the container's init in this pid namespace.
    pub fn pid(&self) -> i32 {
        // Set by a build that succeeded.
        self.0.pid().map_or(0, |pid| pid.as_raw())
    }

    /// Lets the process run.
    ///
    /// # Errors
    /// The library's.
    pub fn start(&mut self) -> Result<(), ContainerError> {
        Ok(self.0.start()?)
    }

    /// Ends an init that will not be started. It is an unreaped child of the supervisor, so its pid
    /// cannot have become another's.
    pub fn kill(&self) {
        // It may have been killed already, by the supervisor.
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{IdMap, IdMappings};
    use std::os::unix::fs::symlink;

    #[test]
    fn only_links_to_nowhere_give_way_to_a_mount() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("file"), "kept").unwrap();
        symlink("file", path("link")).unwrap();
        symlink("/run/nothing/stub-resolv.conf", path("dangling")).unwrap();
        // Outside of the root this one leads somewhere; inside it does not.
        symlink("/proc/self/status", path("outside")).unwrap();
        let root = pathrs::Root::open(directory.path()).unwrap();
        for name in ["file", "link", "dangling", "outside", "missing"] {
            remove_dangling_link(&root, &Path::new("/").join(name)).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path("link")).unwrap(), "kept");
        assert!(path("dangling").symlink_metadata().is_err());
        assert!(path("outside").symlink_metadata().is_err());
    }

    #[test]
    fn groups_of_the_image_do_not_stop_a_job_with_a_single_id() {
        let map = |count| vec![IdMap { container: 0, host: 1000, count }];
        let mappings = |count| IdMappings { uids: map(count), gids: map(count) };
        let user = |uid, gid, gids: &[u32]| ResolvedUser { uid, gid, additional_gids: gids.into(), home: "/".into() };
        // Alpine's root is a member of seven groups.
        assert!(check_mapped(&mappings(1), &user(0, 0, &[0, 1, 10])).is_ok());
        assert!(check_mapped(&mappings(1), &user(0, 1, &[])).is_err());
        assert!(check_mapped(&mappings(1), &user(1, 0, &[])).is_err());
        assert!(check_mapped(&mappings(100), &user(5, 5, &[5, 99])).is_ok());
        assert!(check_mapped(&mappings(100), &user(5, 5, &[100])).is_err());
    }
}
