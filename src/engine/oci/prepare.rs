//! From a job to a directory in which a supervisor can work: image, bundle, files, plan.

use super::OciRuntime;
use crate::bundle::{self, Bundle, HostFacts, Images, Place, StepImage};
use crate::engine::{CreateRequest, RuntimeError};
use crate::image::Image;
use crate::plan::{IdMappings, Overlay, PLAN_VERSION, Plan};
use crate::runtime::cgroup;
use crate::seccomp;
use crate::spec::ServiceSpec;
use crate::state_dir::ContainerDir;
use crate::sys::file::write_atomic_volatile;
use crate::sys::userns::{self, UserNsError};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The host, found fit for the job.
pub(super) struct Host {
    facts: HostFacts,
    notes: Vec<String>,
}

impl Host {
    /// Looks at the host and checks what can be checked before anything is recorded.
    ///
    /// # Errors
    /// A limit that cannot be enforced, a file of the job that is not there, …
    pub fn probe(job: &ServiceSpec) -> Result<Host, RuntimeError> {
        cgroup::check(&bundle::limits(&job.resources))?;
        let (rootless, note) = own_mappings()?;
        let notes = note.iter().map(ToString::to_string).collect();
        Ok(Host { facts: HostFacts::probe(job, rootless)?, notes })
    }
}

/// The ids that containers of this user have; `None` for root, whose are the host's.
pub(super) fn own_mappings() -> Result<(Option<IdMappings>, Option<userns::Note>), UserNsError> {
    if nix::unistd::geteuid().is_root() {
        return Ok((None, None));
    }
    let (mappings, note) = userns::host_mappings()?;
    Ok((Some(mappings), note))
}

impl OciRuntime {
    /// Fills the execution's directory and returns what a user should know. When it has, the plan keeps the
    /// images from being collected. `others` are those of [`bundle::other_images`].
    ///
    /// # Errors
    /// A job that does not fit host or image, a file that cannot be written; what was made by then stays.
    pub(super) fn prepare(
        &self,
        request: &CreateRequest<'_>,
        host: Host,
        image: &Image,
        others: &BTreeMap<String, Result<StepImage, String>>,
    ) -> Result<Vec<String>, RuntimeError> {
        let (id, job) = (request.execution, request.job);
        let directory = self.state_dir().container(request.container);
        let capabilities = bundle::bounding_capabilities(job, &host.facts)?;
        let place = Place {
            id: id.as_str(),
            rootfs: directory.rootfs(),
            files: directory.files(),
            named_volumes: self.state_dir().volumes(),
            anonymous_volumes: directory.volumes(),
            tmpfs: directory.tmpfs(),
            step_roots: directory.steps(),
            seccomp_filter: seccomp::cached(&self.state_dir().cache(), &capabilities)?,
            variables: &request.env,
        };
        let bundle = bundle::build(job, &Images { job: &image.config, others }, &host.facts, &place)?;
        let notes = host.notes.into_iter().chain(bundle.notes.iter().cloned()).collect();
        make_directories(&directory)?;
        for file in &bundle.files {
            write(&file.source, file.content.as_bytes())?;
            set_mode(&file.source, 0o644)?;
        }
        let plan = plan(request, bundle, host.facts.rootless, image.layers.clone(), &directory);
        let bytes =
            serde_json::to_vec(&plan).map_err(|error| RuntimeError::io("write", directory.plan())(error.into()))?;
        write(&directory.plan(), &bytes)?;
        Ok(notes)
    }
}

fn plan(
    request: &CreateRequest<'_>,
    bundle: Bundle,
    rootless: Option<IdMappings>,
    layers: Vec<PathBuf>,
    directory: &ContainerDir,
) -> Plan {
    Plan {
        version: PLAN_VERSION,
        container_id: request.container.0.clone(),
        attempt: request.attempt,
        job_name: request.job.name.clone(),
        rootless,
        rootfs: Overlay {
            layers,
            upper: directory.upper(),
            work: directory.work(),
            mountpoint: directory.rootfs(),
            volumes: bundle.volumes,
        },
        step_roots: bundle.step_roots,
        shared_tmpfs: bundle.shared_tmpfs,
        private_network: bundle.private_network,
        network_sysctls: bundle.network_sysctls,
        steps: bundle.steps,
        on_init_failure: request.job.on_init_failure.clone(),
        main: bundle.main,
        limits: bundle.limits,
        deadline: request.deadline,
        stop_signal: bundle.stop_signal,
        stop_grace_period: request.job.stop.grace_period,
        max_log_size: request.max_log_size,
    }
}

/// For nobody but the owner: the job reaches its files through mounts, not along these paths.
fn make_directories(directory: &ContainerDir) -> Result<(), RuntimeError> {
    // That of the execution is there when this is not its first container.
    let make = |path: PathBuf, mode: u32| {
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(&path)
            .map_err(RuntimeError::io("create the directory", path))
    };
    let own = || make(directory.path().to_owned(), 0o700);
    // Whoever removes what an earlier attempt has left removes the execution's directory too, should it be empty, and
    // that may come between the two.
    own().or_else(|_| own())?;
    // What the container's root directory looks like comes from the upper one.
    make(directory.upper(), 0o755)?;
    set_mode(&directory.upper(), 0o755)?;
    let (files, runtime, steps) = (directory.files(), directory.runtime(), directory.steps());
    for path in [directory.work(), directory.rootfs(), files, directory.volumes(), runtime, steps] {
        make(path, 0o700)?;
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RuntimeError> {
    write_atomic_volatile(path, bytes).map_err(RuntimeError::io("write", path))
}

/// What the job sees must not depend on the umask of whoever started it.
fn set_mode(path: &Path, mode: u32) -> Result<(), RuntimeError> {
    std::fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(RuntimeError::io("set the permissions of", path))
}
