//! Where everything lives on disk: the one place that knows file names under the state root.

use crate::id::ContainerId;
use crate::sys::file::{is_temporary, write_atomic};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The state root and the runtime root, with the names of everything below them.
///
/// ```text
/// ROOT/VERSION                     store format, one decimal number
/// ROOT/coracle.db                  SQLite: the record
/// ROOT/reserve                     takes room, which is given up for removals on a full disk
/// ROOT/executions/ID/ATTEMPT-NONCE/ see [`ContainerDir`]
/// ROOT/busy/CONTAINER              empty: that container has more on disk than its log
/// ROOT/blobs/sha256/HEX            manifests, indexes and image configs
/// ROOT/layers/KIND/HEX/            one directory per unpacked layer, named by its diff id
/// ROOT/timer.lock                  flock: held by the settler that waits for what is due
/// ROOT/waiters.lock                locks on ranges: one for each execution whose end is waited for
/// ROOT/images.lock                 flock: shared by who resolves images, held alone by a collection
/// ROOT/staging/                    layers being unpacked; whatever no live process owns is garbage
/// ROOT/volumes/NAME/               named volumes
/// ROOT/cache/seccomp-KEY-HASH.bpf  compiled seccomp filters
/// RUNTIME/                         runtime files (tmpfs where the host has one)
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
    runtime: PathBuf,
}

/// Format of everything under the root except the database, which has its own schema version.
pub const STORE_VERSION: u32 = 1;

/// Environment variable that names the state root.
pub const ROOT_VARIABLE: &str = "CORACLE_ROOT";

/// The state root cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    #[error(
        "the state root has no place: neither HOME nor XDG_DATA_HOME is set; name one with --root or {ROOT_VARIABLE}"
    )]
    NoHome,
    #[error("failed to {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error(
        "the state root {} belongs to uid {owner}, but this is uid {user}; \
         use a root of your own (--root or {ROOT_VARIABLE}) or run as its owner", root.display()
    )]
    WrongOwner { root: PathBuf, owner: u32, user: u32 },
    #[error(
        "the state root {} was written by a newer coracle (store version {found}, this one knows {STORE_VERSION}); \
         use that version or another root", root.display()
    )]
    Newer { root: PathBuf, found: u32 },
    #[error("{} does not hold a store version; if this directory is not coracle's, name another root", path.display())]
    NotOurs { path: PathBuf },
    #[error(
        "{} cannot become a state root: it holds other things, such as {}; name a directory that is empty or not there",
        root.display(), other.display()
    )]
    NotEmpty { root: PathBuf, other: PathBuf },
}

impl StateDir {
    /// The root that applies: `explicit` (from `--root` or [`ROOT_VARIABLE`]; it holds the runtime
    /// files too), else `/var/lib/coracle` and `/run/coracle` for root, else
    /// `$XDG_DATA_HOME/coracle` (`~/.local/share/coracle`) and `$XDG_RUNTIME_DIR/coracle`.
    /// Creates what is missing and checks owner and store version.
    ///
    /// # Errors
    /// See [`StateDirError`]; nothing is created in a directory that is not ours, or that holds other things.
    pub fn open(explicit: Option<&Path>) -> Result<StateDir, StateDirError> {
        let dir = StateDir::locate(explicit, nix::unistd::geteuid().is_root(), |name| {
            std::env::var_os(name).map(PathBuf::from)
        })?;
        dir.prepare()?;
        dir.resolved()
    }

    /// True when nothing is where [`StateDir::open`] would make a root. Whatever else is wrong there, that says.
    pub fn is_missing(explicit: Option<&Path>) -> bool {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let located = StateDir::locate(explicit, nix::unistd::geteuid().is_root(), variable);
        located.is_ok_and(|dir| {
            dir.root.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        })
    }

    /// The same with no symbolic link in its paths: SQLite refuses those.
    fn resolved(self) -> Result<StateDir, StateDirError> {
        let resolve =
            |path: PathBuf| path.canonicalize().map_err(|source| StateDirError::Io { action: "resolve", path, source });
        Ok(StateDir { root: resolve(self.root)?, runtime: resolve(self.runtime)? })
    }

    /// The pure part of [`StateDir::open`]: `variable` looks up the environment.
    fn locate(
        explicit: Option<&Path>,
        is_root: bool,
        variable: impl Fn(&str) -> Option<PathBuf>,
    ) -> Result<StateDir, StateDirError> {
        // The XDG base directory specification wants relative paths in these variables ignored.
        let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
        if let Some(root) = explicit {
            let root = std::path::absolute(root).map_err(|source| StateDirError::Io {
                action: "make absolute",
                path: root.to_owned(),
                source,
            })?;
            return Ok(StateDir { runtime: root.join("run"), root });
        }
        if is_root {
            return Ok(StateDir { root: "/var/lib/coracle".into(), runtime: "/run/coracle".into() });
        }
        let root = absolute("XDG_DATA_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
            .ok_or(StateDirError::NoHome)?
            .join("coracle");
        let runtime = absolute("XDG_RUNTIME_DIR").map_or_else(|| root.join("run"), |dir| dir.join("coracle"));
        Ok(StateDir { root, runtime })
    }

    /// An opened root whose paths are known; for roles that are told both by their starter.
    pub fn from_parts(root: PathBuf, runtime: PathBuf) -> StateDir {
        StateDir { root, runtime }
    }

    fn prepare(&self) -> Result<(), StateDirError> {
        use std::os::unix::fs::{DirBuilderExt, MetadataExt};
        let io = |action: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| StateDirError::Io { action, path, source }
        };
        // Nobody else may walk in: layers and containers hold set-user-ID programs (CVE-2021-41091). The
        // job itself reaches its files through mounts, not along these paths.
        let create = |path: &Path, mode: u32| {
            std::fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(io("create the directory", path))
        };
        create(&self.root, 0o700)?;
        let owner = std::fs::metadata(&self.root).map_err(io("look at", &self.root))?.uid();
        let user = nix::unistd::geteuid().as_raw();
        if owner != user {
            return Err(StateDirError::WrongOwner { root: self.root.clone(), owner, user });
        }
        let version_file = self.root.join("VERSION");
        match std::fs::read_to_string(&version_file) {
            Ok(text) => match text.trim().parse::<u32>() {
                Ok(found) if found > STORE_VERSION => {
                    return Err(StateDirError::Newer { root: self.root.clone(), found });
                }
                Ok(_) => {}
                Err(_) => return Err(StateDirError::NotOurs { path: version_file }),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if let Some(other) = self.foreign().map_err(io("list", &self.root))? {
                    return Err(StateDirError::NotEmpty { root: self.root.clone(), other: other.into() });
                }
                for directory in FIRST_DIRECTORIES {
                    create(&self.root.join(directory), 0o700)?;
                }
                write_atomic(&version_file, format!("{STORE_VERSION}\n").as_bytes())
                    .map_err(io("write", &version_file))?;
            }
            Err(error) => return Err(io("read", &version_file)(error)),
        }
        create(&self.runtime, 0o700)
    }

    /// What is in the directory and not ours, as far as it is to become a root.
    fn foreign(&self) -> std::io::Result<Option<OsString>> {
        for entry in std::fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            // With a record it is one: others have just made it, or its version is lost.
            if !may_be_in_a_new_root(&name) && !self.database().exists() {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// That of the record under a root.
    pub fn database_in(root: &Path) -> PathBuf {
        root.join("coracle.db")
    }

    /// The waiters' lock under a root.
    pub fn waiters_lock_in(root: &Path) -> PathBuf {
        root.join("waiters.lock")
    }

    pub fn timer_lock(&self) -> PathBuf {
        self.root.join("timer.lock")
    }

    pub fn database(&self) -> PathBuf {
        StateDir::database_in(&self.root)
    }

    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub fn images_lock(&self) -> PathBuf {
        self.root.join("images.lock")
    }

    pub fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// The directories of executions under a root.
    pub fn executions_in(root: &Path) -> PathBuf {
        root.join("executions")
    }

    pub fn executions(&self) -> PathBuf {
        StateDir::executions_in(&self.root)
    }

    /// Directory of the marks of containers that have more on disk than their logs.
    pub fn busy(&self) -> PathBuf {
        self.root.join("busy")
    }

    /// Everything of one execution: a directory for each of its containers.
    pub fn execution(&self, id: &str) -> PathBuf {
        self.executions().join(id)
    }

    pub fn container(&self, container: &ContainerId) -> ContainerDir {
        let execution = self.execution(container.execution());
        // Versions without attempts had one container for each execution.
        ContainerDir { path: container.own_part().map_or(execution.clone(), |own| execution.join(own)) }
    }
}

/// What is made before the root has its version.
const FIRST_DIRECTORIES: [&str; 6] = ["executions", "blobs/sha256", "layers/sha256", "staging", "volumes", "cache"];

/// Others may be making the same root, or have died at it; and a file system of its own has a directory too.
fn may_be_in_a_new_root(name: &OsStr) -> bool {
    let is_first = |path: &&str| Path::new(path).components().next().is_some_and(|first| first.as_os_str() == name);
    let is_file = |name: &str| matches!(name, "VERSION" | "lost+found") || is_temporary(name);
    FIRST_DIRECTORIES.iter().any(is_first) || name.to_str().is_some_and(is_file)
}

/// One container's directory.
///
/// ```text
/// plan.json        what the supervisor is to do (`plan::Plan`)
/// state            live stage, written by the supervisor alone (`runtime::state`)
/// outcome          how it ended (`outcome::Outcome`), complete or absent
/// cancel           a request to cancel: grace period in milliseconds
/// log.ring         captured stdio (`log`)
/// files/           generated files that are mounted into the container (hosts, resolv.conf, …)
/// upper/ work/ rootfs/ volumes/   writable layer, overlay work directory, mountpoint, anonymous volumes
/// steps/N/         writable layer, work directory and mountpoint of a step on an image of its own
/// runtime/         libcontainer's own state and the bundles
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerDir {
    path: PathBuf,
}

impl ContainerDir {
    pub fn from_path(path: PathBuf) -> ContainerDir {
        ContainerDir { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The container's name: that of the execution and its own part.
    pub fn name(&self) -> OsString {
        let part = |path: Option<&Path>| path.and_then(Path::file_name).unwrap_or_default().to_owned();
        let mut name = part(self.path.parent());
        name.push("-");
        name.push(part(Some(&self.path)));
        name
    }

    pub fn plan(&self) -> PathBuf {
        self.path.join("plan.json")
    }

    pub fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    pub fn outcome(&self) -> PathBuf {
        self.path.join("outcome")
    }

    pub fn cancel_request(&self) -> PathBuf {
        self.path.join("cancel")
    }

    pub fn log(&self) -> PathBuf {
        self.path.join("log.ring")
    }

    pub fn files(&self) -> PathBuf {
        self.path.join("files")
    }

    pub fn upper(&self) -> PathBuf {
        self.path.join("upper")
    }

    pub fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    pub fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    pub fn volumes(&self) -> PathBuf {
        self.path.join("volumes")
    }

    /// Mountpoints of what the job's processes share in memory; in the host's own mount namespace they are empty.
    pub fn tmpfs(&self) -> PathBuf {
        self.path.join("tmpfs")
    }

    /// Directory for the root file systems of steps.
    pub fn steps(&self) -> PathBuf {
        self.path.join("steps")
    }

    pub fn runtime(&self) -> PathBuf {
        self.path.join("runtime")
    }
}
