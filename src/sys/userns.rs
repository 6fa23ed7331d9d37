//! User namespaces for processes without privileges: which ids may be mapped, and entering one.
//!
//! Container id 0 is always the caller's own id. The ids from 1 on are the caller's subordinate ids
//! (<https://man7.org/linux/man-pages/man5/subuid.5.html>), which only newuidmap(1) and newgidmap(1)
//! may map. Without those, 0 is the only id (<https://man7.org/linux/man-pages/man7/user_namespaces.7.html>).

#![expect(unsafe_code, reason = "fork: the tools must stay outside the namespace that their caller enters")]

use crate::plan::{IdMap, IdMappings};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Gid, Pid, Uid};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Tables of subordinate ids, subuid(5) and subgid(5).
const SUBUID: &str = "/etc/subuid";
const SUBGID: &str = "/etc/subgid";

/// Where the two tools are looked for before `PATH`, which a supervisor does not have.
/// `/run/wrappers/bin` is where NixOS keeps programs with privileges.
const TOOL_DIRECTORIES: [&str; 4] = ["/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin"];

/// Lines that `/proc/PID/uid_map` takes (kernel constant `UID_GID_MAP_MAX_EXTENTS`).
const MAX_LINES: usize = 340;

/// Why only the caller's own id is mapped, and what to do about it. For the user's eyes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// newuidmap(1) or newgidmap(1) is not installed.
    NoTool { tool: &'static str },
    /// The caller has no range in this table.
    NoRange { table: &'static str, user: String },
    /// `no_new_privs` is set, so that the tools could not gain the privileges they need.
    NoNewPrivileges,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "only your own user and group id can be used in containers, files of others count as root's: ")?;
        match self {
            Note::NoTool { tool } => write!(f, "{tool} is not installed (Debian package uidmap)"),
            Note::NoRange { table, user } => {
                let option = if *table == SUBUID { "--add-subuids" } else { "--add-subgids" };
                write!(f, "{user} has no range in {table} (as root: usermod {option} 100000-165535 {user})")
            }
            Note::NoNewPrivileges => {
                write!(f, "no_new_privs is set for this process, so newuidmap cannot work")
            }
        }
    }
}

/// A user namespace cannot be prepared or entered.
#[derive(Debug, thiserror::Error)]
pub enum UserNsError {
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "failed to create a user namespace; the host may forbid it to users without privileges \
         (see sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone and \
         kernel.apparmor_restrict_unprivileged_userns)"
    )]
    Unshare { source: io::Error },
    #[error("failed to write {path}")]
    WriteMap { path: &'static str, source: io::Error },
    #[error("failed to find {tool}, which mapping subordinate ids needs (Debian package uidmap)")]
    ToolMissing { tool: &'static str },
    #[error("failed to run {}", tool.display())]
    RunTool { tool: PathBuf, source: io::Error },
    #[error("failed to map subordinate ids: {} ended with {status}: {stderr}", tool.display())]
    ToolFailed {
        tool: PathBuf,
        /// What the tool said, trimmed.
        stderr: String,
        /// `exit code N` or `signal N`.
        status: String,
    },
    #[error("failed to become root in the user namespace")]
    BecomeRoot { source: io::Error },
}

/// The ids that this user may map: their own as 0, then their subordinate ranges; with the reason
/// when there are none of the latter.
///
/// # Errors
/// [`UserNsError::Read`] when a table exists but cannot be read.
pub fn host_mappings() -> Result<(IdMappings, Option<Note>), UserNsError> {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let own = |id| vec![IdMap { container: 0, host: id, count: 1 }];
    let single = |note| Ok((IdMappings { uids: own(uid), gids: own(gid) }, Some(note)));
    for tool in ["newuidmap", "newgidmap"] {
        if find_tool(tool).is_none() {
            return single(Note::NoTool { tool });
        }
    }
    // Both tables are keyed by the user, subgid(5) too.
    let names = names_of(&read_table("/etc/passwd")?, uid);
    let user = || names.first().map_or_else(|| uid.to_string(), |name| String::from_utf8_lossy(name).into_owned());
    let uids = mapping(uid, &ranges(&read_table(SUBUID)?, uid, &names));
    let gids = mapping(gid, &ranges(&read_table(SUBGID)?, uid, &names));
    for (maps, table) in [(&uids, SUBUID), (&gids, SUBGID)] {
        if maps.len() < 2 {
            return single(Note::NoRange { table, user: user() });
        }
    }
    if nix::sys::prctl::get_no_new_privs().unwrap_or(false) {
        return single(Note::NoNewPrivileges);
    }
    Ok((IdMappings { uids, gids }, None))
}

/// Moves this process, which must have one thread only, into a new user namespace with these
/// mappings, together with new namespaces of the kinds in `extra`, and makes it root there with all
/// capabilities. Supplementary groups are dropped where the kernel allows it (not with a single
/// mapping). No child is left. `PR_SET_PDEATHSIG` and the dumpable flag survive.
///
/// # Errors
/// See [`UserNsError`]. After an error the process may already be in the new namespace and is of
/// use only for reporting it.
pub fn enter(maps: &IdMappings, extra: CloneFlags) -> Result<(), UserNsError> {
    let flags = CloneFlags::CLONE_NEWUSER | extra;
    if maps.is_single() {
        unshare(flags).map_err(|errno| UserNsError::Unshare { source: errno.into() })?;
        // The kernel lets an unprivileged process map a group only when setgroups(2) is denied.
        write_map("/proc/self/setgroups", "deny")?;
        write_map("/proc/self/uid_map", &map_lines(&maps.uids))?;
        write_map("/proc/self/gid_map", &map_lines(&maps.gids))?;
    } else {
        let tools = MapTools::start(maps)?;
        match unshare(flags) {
            Ok(()) => tools.run()?,
            Err(errno) => {
                tools.dismiss();
                return Err(UserNsError::Unshare { source: errno.into() });
            }
        }
    }
    let become_root = || -> nix::Result<()> {
        if !maps.is_single() {
            nix::unistd::setgroups(&[])?;
        }
        let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
        nix::unistd::setresgid(gid, gid, gid)?;
        nix::unistd::setresuid(uid, uid, uid)
    };
    become_root().map_err(|errno| UserNsError::BecomeRoot { source: errno.into() })
}

/// newuidmap and newgidmap, forked off but waiting: they must start outside the namespace and may
/// map only after it exists. Both run at once.
struct MapTools {
    running: Vec<MapTool>,
    /// One byte per tool starts them; closing it unwritten ends them.
    go: File,
}

struct MapTool {
    path: PathBuf,
    pid: Pid,
    stderr: File,
}

impl MapTools {
    fn start(maps: &IdMappings) -> Result<MapTools, UserNsError> {
        let target = nix::unistd::getpid();
        let (go_reader, go) = pipe().map_err(|source| UserNsError::RunTool { tool: "newuidmap".into(), source })?;
        let mut tools = MapTools { running: Vec::with_capacity(2), go };
        for (name, lines) in [("newuidmap", &maps.uids), ("newgidmap", &maps.gids)] {
            let started = find_tool(name)
                .ok_or(UserNsError::ToolMissing { tool: name })
                .and_then(|path| MapTool::fork(path, target, lines, &go_reader, &tools.go));
            match started {
                Ok(tool) => tools.running.push(tool),
                Err(error) => {
                    tools.dismiss();
                    return Err(error);
                }
            }
        }
        Ok(tools)
    }

    /// Lets both map the ids of this process and waits for them.
    fn run(mut self) -> Result<(), UserNsError> {
        let started = self.go.write_all(&[b'g'; 2]);
        drop(self.go);
        let mut result = Ok(());
        for tool in self.running {
            let path = tool.path.clone();
            // The first failure is the one to report; the other tool is reaped all the same.
            result = result.and(tool.finish());
            if let (Err(source), Ok(())) = (&started, &result) {
                result = Err(UserNsError::RunTool { tool: path, source: io::Error::from(source.kind()) });
            }
        }
        result
    }

    /// Ends the waiting children.
    fn dismiss(self) {
        drop(self.go);
        for tool in self.running {
            // They exit without having done anything; another error is being reported.
            let _ = tool.finish();
        }
    }
}

impl MapTool {
    fn fork(path: PathBuf, target: Pid, maps: &[IdMap], go: &File, go_writer: &File) -> Result<MapTool, UserNsError> {
        let failed = |source| UserNsError::RunTool { tool: path.clone(), source };
        let c_string = |bytes: &[u8]| CString::new(bytes).map_err(|error| failed(error.into()));
        let program = c_string(path.as_os_str().as_encoded_bytes())?;
        let mut arguments = vec![program.clone(), c_string(target.as_raw().to_string().as_bytes())?];
        for map in maps {
            for number in [map.container, map.host, map.count] {
                arguments.push(c_string(number.to_string().as_bytes())?);
            }
        }
        let (stderr, stderr_writer) = pipe().map_err(failed)?;
        // SAFETY: the callers of `enter` have one thread (unshare of a user namespace fails
        // otherwise), so the child's copy of the heap and of all locks is consistent.
        match unsafe { nix::unistd::fork() }.map_err(|errno| failed(errno.into()))? {
            ForkResult::Parent { child } => Ok(MapTool { path, pid: child, stderr }),
            ForkResult::Child => run_tool(&program, &arguments, go, go_writer, &stderr_writer),
        }
    }

    fn finish(mut self) -> Result<(), UserNsError> {
        let mut stderr = Vec::new();
        let read = self.stderr.read_to_end(&mut stderr);
        let status = loop {
            match waitpid(self.pid, None) {
                Err(Errno::EINTR) => {}
                other => break other,
            }
        };
        let status = match status {
            Ok(WaitStatus::Exited(_, 0)) => {
                return read.map(|_| ()).map_err(|source| UserNsError::RunTool { tool: self.path, source });
            }
            Ok(WaitStatus::Exited(_, code)) => format!("exit code {code}"),
            Ok(WaitStatus::Signaled(_, signal, _)) => format!("signal {}", signal as i32),
            Ok(other) => format!("{other:?}"),
            Err(errno) => return Err(UserNsError::RunTool { tool: self.path, source: errno.into() }),
        };
        let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
        Err(UserNsError::ToolFailed { tool: self.path, stderr, status })
    }
}

/// The forked child: waits for the word, then becomes the tool, with an empty environment.
fn run_tool(program: &CString, arguments: &[CString], go: &File, go_writer: &File, stderr: &File) -> ! {
    /// What a shell returns for a program that cannot be run.
    const NOT_RUN: i32 = 126;
    // SAFETY: closes this process's only copy of the pipe's writing end, so that the parent's death
    // is seen as its end; the `File` it belongs to is never used or dropped here, as this function
    // ends in _exit or execve.
    unsafe { libc::close(go_writer.as_raw_fd()) };
    let mut byte = [0];
    let told = (&*go).read_exact(&mut byte).is_ok();
    if told {
        for stream in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
            // SAFETY: both are open descriptors or the call fails; nothing in this process relies on
            // what the standard streams were.
            unsafe { libc::dup2(stderr.as_raw_fd(), stream) };
        }
        let Err(errno) = nix::unistd::execve::<_, CString>(program, arguments, &[]);
        // Best effort: the exit status tells it as well.
        let _ = writeln!(&*stderr, "{}", errno.desc());
    }
    // SAFETY: ends the process without running destructors or exit handlers of the parent's copy.
    unsafe { libc::_exit(NOT_RUN) }
}

fn pipe() -> io::Result<(File, File)> {
    let (reader, writer): (OwnedFd, OwnedFd) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    Ok((reader.into(), writer.into()))
}

#[expect(clippy::disallowed_methods, reason = "a file of the kernel: the map must come in one write")]
fn write_map(path: &'static str, text: &str) -> Result<(), UserNsError> {
    std::fs::write(path, text).map_err(|source| UserNsError::WriteMap { path, source })
}

fn map_lines(maps: &[IdMap]) -> String {
    maps.iter().map(|map| format!("{} {} {}\n", map.container, map.host, map.count)).collect()
}

fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = TOOL_DIRECTORIES.iter().map(PathBuf::from).chain(std::env::split_paths(&path));
    directories
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|candidate| nix::unistd::access(candidate, nix::unistd::AccessFlags::X_OK).is_ok() && candidate.is_file())
}

/// The table's bytes; a missing one is empty.
fn read_table(path: &str) -> Result<Vec<u8>, UserNsError> {
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|source| UserNsError::Read { path: Path::new(path).to_owned(), source }),
    }
}

/// The names of `uid` in passwd(5). Not getpwuid(3): a static binary has no name service modules,
/// and users of those can be listed by number.
fn names_of(passwd: &[u8], uid: u32) -> Vec<Vec<u8>> {
    passwd
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b':');
            let (name, id) = (fields.next()?, fields.nth(1)?);
            (number(id)? == uid && !name.is_empty()).then(|| name.to_owned())
        })
        .collect()
}

/// The subordinate ranges (first id, count) of a user, by name or number. As in shadow's tools,
/// a malformed line counts for nothing.
fn ranges(table: &[u8], uid: u32, names: &[Vec<u8>]) -> Vec<(u32, u32)> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b':');
            let (owner, first, count) = (fields.next()?, number(fields.next()?)?, number(fields.next()?)?);
            let ours = names.iter().any(|name| name == owner) || number(owner) == Some(uid);
            (ours && fields.next().is_none() && count > 0).then_some((first, count))
        })
        .collect()
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.trim().parse().ok()
}

/// The own id as 0, then the ranges one after the other. A range that overlaps an earlier one or
/// leaves the ids that exist would make the kernel refuse the whole map: it is left out.
fn mapping(own: u32, ranges: &[(u32, u32)]) -> Vec<IdMap> {
    let mut maps = vec![IdMap { container: 0, host: own, count: 1 }];
    let mut next: u32 = 1;
    for &(first, count) in ranges {
        let overlaps = |map: &IdMap| {
            let (start, end) = (u64::from(map.host), u64::from(map.host) + u64::from(map.count));
            u64::from(first) < end && start < u64::from(first) + u64::from(count)
        };
        // 2^32 - 1 is not an id, inside or outside.
        let (Some(_), Some(after)) = (first.checked_add(count), next.checked_add(count)) else { continue };
        if maps.iter().any(overlaps) || maps.len() == MAX_LINES {
            continue;
        }
        maps.push(IdMap { container: next, host: first, count });
        next = after;
    }
    maps
}

#[cfg(test)]
#[path = "userns_tests.rs"]
mod tests;
