//! From a job to a directory in which a supervisor can work: image, bundle, files, plan.

use super::error::ExecError;
use super::executor::JobExecutor;
use super::model::JobExecutionId;
use super::references::Wanted;
use super::started::Notice;
use crate::bundle::{self, Bundle, HostFacts, Images, Place, StepImage};
use crate::image::{Digest, Image, Platform};
use crate::plan::{IdMappings, Overlay, PLAN_VERSION, Plan};
use crate::runtime::cgroup;
use crate::seccomp;
use crate::spec::ServiceSpec;
use crate::state_dir::ExecutionDir;
use crate::sys::file::write_atomic_volatile;
use crate::sys::userns::{self, UserNsError};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The host, found fit for the job.
pub(super) struct Host {
    facts: HostFacts,
    notices: Vec<Notice>,
}

impl Host {
    /// Looks at the host and checks what can be checked before anything is recorded.
    ///
    /// # Errors
    /// A limit that cannot be enforced, a file of the job that is not there, …
    pub fn probe(job: &ServiceSpec) -> Result<Host, ExecError> {
        cgroup::check(&bundle::limits(&job.resources))?;
        let (rootless, note) = own_mappings()?;
        let notices = note.map(|note| Notice(note.to_string())).into_iter().collect();
        Ok(Host { facts: HostFacts::probe(job, rootless)?, notices })
    }
}

/// What an execution was prepared with.
pub(super) struct Prepared {
    pub manifest_digest: Digest,
    pub reference: String,
    /// True when something was fetched or unpacked.
    pub pulled: bool,
}

/// The ids that containers of this user have; `None` for root, whose are the host's.
pub(super) fn own_mappings() -> Result<(Option<IdMappings>, Option<userns::Note>), UserNsError> {
    if nix::unistd::geteuid().is_root() {
        return Ok((None, None));
    }
    let (mappings, note) = userns::host_mappings()?;
    Ok((Some(mappings), note))
}

impl JobExecutor {
    /// Fetches the image if needed and fills the execution's directory. When it returns, the plan keeps the
    /// image from being collected.
    ///
    /// # Errors
    /// [`ExecError`]; whoever gets it removes the directory with the execution.
    pub(super) async fn prepare(
        &self,
        id: &JobExecutionId,
        job: &ServiceSpec,
        host: Host,
        notice: &mut dyn FnMut(Notice),
    ) -> Result<Prepared, ExecError> {
        host.notices.into_iter().for_each(&mut *notice);
        let mappings = host.facts.rootless.clone();
        let image = self.image(job, &job.image.name, mappings.clone(), notice).await?;
        let (mut others, mut leases) = (BTreeMap::new(), Vec::new());
        for name in bundle::other_images(job) {
            let Image { config, layers, lease, .. } = self.image(job, name, mappings.clone(), notice).await?;
            others.insert(name.to_owned(), StepImage { config, layers });
            leases.push(lease);
        }
        let directory = self.execution_dir(id);
        let capabilities = bundle::bounding_capabilities(job, &host.facts)?;
        let variables =
            [("CORACLE_EXECUTION_ID", id.as_str()), ("CORACLE_JOB_NAME", &job.name), ("CORACLE_ATTEMPT", "1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let place = Place {
            id: id.as_str(),
            rootfs: directory.rootfs(),
            files: directory.files(),
            named_volumes: self.state().volumes(),
            anonymous_volumes: directory.volumes(),
            step_roots: directory.steps(),
            seccomp_filter: seccomp::cached(&self.state().cache(), &capabilities)?,
            variables: &variables,
        };
        let images = Images { job: &image.config, others: &others };
        let bundle = bundle::build(job, &images, &host.facts, &place)?;
        bundle.notes.iter().cloned().map(Notice).for_each(&mut *notice);
        make_directories(&directory)?;
        for file in &bundle.files {
            write(&file.source, file.content.as_bytes())?;
            set_mode(&file.source, 0o644)?;
        }
        let plan = plan(id, job, bundle, host.facts.rootless, image.layers, &directory);
        let bytes =
            serde_json::to_vec(&plan).map_err(|error| ExecError::io("write", directory.plan())(error.into()))?;
        write(&directory.plan(), &bytes)?;
        // The plan keeps the layers of all images from here on.
        drop(leases);
        Ok(Prepared { manifest_digest: image.manifest_digest, reference: image.reference, pulled: image.pulled })
    }

    async fn image(
        &self,
        job: &ServiceSpec,
        name: &str,
        mappings: Option<IdMappings>,
        notice: &mut dyn FnMut(Notice),
    ) -> Result<Image, ExecError> {
        let platform = job.image.platform.as_ref().map(|platform| Platform {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
        });
        let wanted = Wanted { policy: job.image.pull_policy, platform: platform.as_ref() };
        let image = self.resolve_image(&self.image_store(mappings), name, wanted).await?;
        image.notes.iter().map(|note| Notice(note.to_string())).for_each(notice);
        Ok(image)
    }
}

fn plan(
    id: &JobExecutionId,
    job: &ServiceSpec,
    bundle: Bundle,
    rootless: Option<IdMappings>,
    layers: Vec<PathBuf>,
    directory: &ExecutionDir,
) -> Plan {
    Plan {
        version: PLAN_VERSION,
        execution_id: id.0.clone(),
        attempt: 1,
        job_name: job.name.clone(),
        rootless,
        rootfs: Overlay {
            layers,
            upper: directory.upper(),
            work: directory.work(),
            mountpoint: directory.rootfs(),
            volumes: bundle.volumes,
        },
        step_roots: bundle.step_roots,
        private_network: bundle.private_network,
        network_sysctls: bundle.network_sysctls,
        steps: bundle.steps,
        on_init_failure: job.on_init_failure.clone(),
        main: bundle.main,
        limits: bundle.limits,
        deadline: job.policy.deadline,
        stop_signal: bundle.stop_signal,
        stop_grace_period: job.stop.grace_period,
        max_log_size: job.logs.max_size,
    }
}

/// For nobody but the owner: the job reaches its files through mounts, not along these paths.
fn make_directories(directory: &ExecutionDir) -> Result<(), ExecError> {
    let make = |path: PathBuf, mode: u32| {
        DirBuilder::new().mode(mode).create(&path).map_err(ExecError::io("create the directory", path))
    };
    make(directory.path().to_owned(), 0o700)?;
    // What the container's root directory looks like comes from the upper one.
    make(directory.upper(), 0o755)?;
    set_mode(&directory.upper(), 0o755)?;
    let (files, runtime, steps) = (directory.files(), directory.runtime(), directory.steps());
    for path in [directory.work(), directory.rootfs(), files, directory.volumes(), runtime, steps] {
        make(path, 0o700)?;
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ExecError> {
    write_atomic_volatile(path, bytes).map_err(ExecError::io("write", path))
}

/// What the job sees must not depend on the umask of whoever started it.
fn set_mode(path: &Path, mode: u32) -> Result<(), ExecError> {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(ExecError::io("set the permissions of", path))
}
