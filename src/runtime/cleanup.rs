//! What an execution leaves on disk besides its log, and removing it: by the supervisor at the
//! end, or by whoever finds that the supervisor was lost. Every step may be done again.

use super::cgroup;
use super::state::LiveState;
use crate::state_dir::ContainerDir;
use crate::sys::process;
use crate::sys::tree;
use nix::sched::{CloneFlags, setns};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::ForkResult;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Directories that hold files of the job, with ids of the container.
fn job_trees(directory: &ContainerDir) -> [PathBuf; 6] {
    [directory.upper(), directory.work(), directory.rootfs(), directory.volumes(), directory.tmpfs(), directory.steps()]
}

/// For the supervisor, with the namespaces of its job (user first when rootless): removes the job's trees.
///
/// # Errors
/// The first failure; the rest is still tried.
pub(super) fn remove_files_from_namespace(directory: &ContainerDir, namespaces: &[OwnedFd]) -> io::Result<()> {
    // Without privileges the namespaces begin with the user namespace, and only in there do files of
    // subordinate ids obey. The mount namespace is left alone: its overlay would be in the way.
    let Some(user) = namespaces.first().filter(|_| !nix::unistd::geteuid().is_root()) else {
        return remove_all(&job_trees(directory));
    };
    match process::fork()? {
        ForkResult::Child => {
            let removed = setns(user, CloneFlags::CLONE_NEWUSER)
                .map_err(io::Error::from)
                .and_then(|()| remove_all(&job_trees(directory)));
            process::exit_now(i32::from(removed.is_err()));
        }
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            _ => Err(io::Error::other("files of the job could not be removed")),
        },
    }
}

/// For whoever settles: removes cgroups and files of an execution whose supervisor has ended. What cannot be removed,
/// as only a user namespace may do it, is left to `remove_tree`, which gets the path and the error of each such tree.
/// It may look into the plan, which goes last.
///
/// # Errors
/// The first failure; the rest is still tried.
pub fn remove_leftovers(
    directory: &ContainerDir,
    remove_tree: &dyn Fn(&Path, io::Error) -> io::Result<()>,
) -> io::Result<()> {
    let mut first = Ok(());
    let left = cgroup::remove_directories(cgroups(directory));
    if let Some(path) = left.first() {
        first = Err(io::Error::other(format!("the cgroup {} is still in use", path.display())));
    }
    let mut trees = Ok(());
    for path in job_trees(directory) {
        trees = trees.and(tree::remove(&path).or_else(|error| remove_tree(&path, error)));
    }
    let plan = directory.plan();
    let (plan, others): (Vec<_>, Vec<_>) = own_files(directory).into_iter().partition(|path| *path == plan);
    let others = remove_all(&others);
    // Whoever tries again needs its id mappings.
    let plan = if trees.is_ok() { remove_all(&plan) } else { Ok(()) };
    first.and(trees).and(others).and(plan)
}

fn cgroups(directory: &ContainerDir) -> Vec<PathBuf> {
    match LiveState::read(&directory.state()) {
        Ok(Some(state)) if !state.cgroups.is_empty() => state.cgroups,
        // Its supervisor may have made them and not have come to say so.
        Ok(Some(_)) => cgroup::directories_of(&directory.name()),
        _ => Vec::new(),
    }
}

/// Everything of ours that is of no use after the end, temporary files included. The logs stay, and
/// what tells of the end until that is recorded.
fn own_files(directory: &ContainerDir) -> Vec<PathBuf> {
    let kept = [directory.log(), directory.state(), directory.outcome()];
    // A directory that cannot be listed has nothing to remove, or fails with the execution itself.
    let entries = std::fs::read_dir(directory.path()).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| !kept.contains(path) && !job_trees(directory).contains(path))
        .collect()
}

fn remove_all(paths: &[PathBuf]) -> io::Result<()> {
    let mut first = Ok(());
    for path in paths {
        first = first
            .and(tree::remove(path).map_err(|error| {
                io::Error::new(error.kind(), format!("failed to remove {}: {error}", path.display()))
            }));
    }
    first
}
