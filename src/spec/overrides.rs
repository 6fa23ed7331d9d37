//! Jobs from flags: the defaults that specs have too, and changes to a job under the same rules.

use super::job::{
    CommandSpec, ImageSpec, InitAction, InitFailure, JobPolicy, Logs, Network, NetworkMode, OnConflict, Platform,
    ProcessOptions, PullPolicy, Resources, Security, ServiceSpec, StopPolicy, Storage,
};
use super::names::{
    absolute_image, c_string, container_path, env_name, hostname, identifier, image_name, label_name, local_image,
    mount_target, user,
};
use super::policy::{check_attempts, check_limit, concurrency};
use super::process::{check_sysctl_network, parse_signal};
use super::resources;
use super::value_error::ValueError;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What flags change about a job; `None` and empty leave it as it is.
#[derive(Clone, Default, PartialEq)]
pub struct Overrides {
    /// The job's name, as `ps` shows it.
    pub name: Option<String>,
    pub image: Option<String>,
    pub pull_policy: Option<PullPolicy>,
    pub platform: Option<Platform>,
    /// With an entrypoint and no args, the args of the spec and the image are dropped, as Docker does.
    pub entrypoint: Option<Vec<String>>,
    pub args: Option<Vec<String>>,
    pub workdir: Option<String>,
    /// Each replaces the variable of the same name or comes after the others.
    pub env: Vec<(String, String)>,
    /// Of those, the ones whose value is not shown.
    pub hidden_env: BTreeSet<String>,
    pub user: Option<String>,
    pub hostname: Option<String>,
    pub init: Option<bool>,
    pub memory: Option<u64>,
    pub cpu_millis: Option<u64>,
    /// 0 for unlimited.
    pub pids_limit: Option<u64>,
    /// Each replaces what the spec mounts at the same target.
    pub mounts: Vec<Storage>,
    pub network: Option<NetworkMode>,
    pub read_only_root_fs: Option<bool>,
    pub labels: BTreeMap<String, String>,
    pub stop_signal: Option<i32>,
    pub stop_grace_period: Option<Duration>,
    pub deadline: Option<Duration>,
    /// `job.retry.max_attempts`: the first one included.
    pub retry_attempts: Option<u32>,
    /// `lifecycle.delete_on_exit`
    pub delete_on_exit: Option<bool>,
    /// `job.max_concurrent`; takes the place of `on_conflict: allow` as well.
    pub max_concurrent: Option<u32>,
    /// `job.on_conflict`; `allow` takes the place of `max_concurrent` as well.
    pub on_conflict: Option<OnConflict>,
}

impl ServiceSpec {
    /// A job that runs this image with every default. Its name is that of the image, without
    /// registry, path, tag and digest.
    ///
    /// # Errors
    /// An unusable image name.
    pub fn from_image(image: &str) -> Result<ServiceSpec, ValueError> {
        let image = image_name(image)?;
        Ok(ServiceSpec::new(job_name(&image), image))
    }

    pub(super) fn new(name: String, image: String) -> ServiceSpec {
        ServiceSpec {
            name,
            deployment: None,
            image: ImageSpec { name: image, pull_policy: PullPolicy::default(), platform: None },
            command: CommandSpec::default(),
            env: Vec::new(),
            resources: Resources::default(),
            storage: Vec::new(),
            process: ProcessOptions::default(),
            security: Security::default(),
            network: Network { mode: NetworkMode::default(), dns: Vec::new(), extra_hosts: Vec::new() },
            init_steps: Vec::new(),
            stop: StopPolicy::default(),
            labels: BTreeMap::new(),
            logs: Logs::default(),
            on_init_failure: InitFailure::default(),
            policy: JobPolicy::default(),
            hidden_env: BTreeSet::new(),
        }
    }

    /// The job with these changes.
    ///
    /// # Errors
    /// A value that a spec could not have either, alone or together with the others.
    pub fn with(mut self, changes: Overrides) -> Result<ServiceSpec, ValueError> {
        let Overrides { name, image, pull_policy, platform, entrypoint, args, workdir, env, .. } = changes;
        if let Some(name) = name {
            self.name = identifier("a job name", &name)?;
        }
        if let Some(image) = image {
            self.image.name = image_name(&image)?;
        }
        self.image.pull_policy = pull_policy.unwrap_or(self.image.pull_policy);
        self.image.platform = platform.or(self.image.platform);
        if let Some(entrypoint) = entrypoint {
            if entrypoint.first().is_some_and(String::is_empty) {
                return Err(ValueError::Empty { what: "the program of an entrypoint" });
            }
            self.command.entrypoint = Some(words(entrypoint)?);
            self.command.args = Some(Vec::new());
        }
        if let Some(args) = args {
            self.command.args = Some(words(args)?);
        }
        if let Some(workdir) = workdir {
            self.command.workdir = Some(container_path(&workdir)?);
        }
        for (name, value) in env {
            let name = env_name(&name)?;
            let value = c_string("the value of an environment variable", &value)?;
            match self.env.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => self.env.push((name, value)),
            }
        }
        self.hidden_env.extend(changes.hidden_env);
        self.mount(changes.mounts)?;
        if let Some(name) = changes.user {
            self.process.user = Some(user(&name)?);
        }
        if let Some(name) = changes.hostname {
            self.process.hostname = Some(hostname(&name)?);
        }
        self.process.init = changes.init.unwrap_or(self.process.init);
        self.resources.memory = changes.memory.or(self.resources.memory);
        self.resources.cpu_millis = changes.cpu_millis.or(self.resources.cpu_millis);
        self.resources.pids_limit = changes.pids_limit.or(self.resources.pids_limit);
        resources::check(&self.resources)?;
        self.network.mode = changes.network.unwrap_or(self.network.mode);
        for name in self.process.sysctls.keys() {
            check_sysctl_network(name, self.network.mode == NetworkMode::Host)?;
        }
        self.security.read_only_root_fs = changes.read_only_root_fs.unwrap_or(self.security.read_only_root_fs);
        for (name, value) in changes.labels {
            let name = label_name(&name)?;
            self.labels.insert(name, c_string("the value of a label", &value)?);
        }
        if let Some(signal) = changes.stop_signal {
            parse_signal(&signal.to_string())?;
        }
        self.stop.signal = changes.stop_signal.or(self.stop.signal);
        self.stop.grace_period = changes.stop_grace_period.unwrap_or(self.stop.grace_period);
        if changes.deadline == Some(Duration::ZERO) {
            let range = "more than zero".into();
            return Err(ValueError::OutOfRange { what: "a deadline", text: "0".into(), range });
        }
        self.policy.deadline = changes.deadline.or(self.policy.deadline);
        if let Some(attempts) = changes.retry_attempts {
            self.policy.retry.max_attempts = check_attempts(attempts)?;
        }
        self.policy.delete_on_exit = changes.delete_on_exit.unwrap_or(self.policy.delete_on_exit);
        self.limit(changes.max_concurrent, changes.on_conflict)?;
        Ok(self)
    }

    /// The job with absolute paths of the images that are in local files: relative ones start from the current
    /// directory of whoever asks for the job, not of whoever starts it.
    ///
    /// # Errors
    /// [`ValueError::Image`]: the current directory cannot be determined, or not be written in an image's name.
    pub fn with_absolute_images(mut self) -> Result<ServiceSpec, ValueError> {
        self.image.name = absolute_image(&self.image.name)?;
        for step in &mut self.init_steps {
            if let InitAction::Run { image: Some(image), .. } = &mut step.action {
                *image = absolute_image(image)?;
            }
        }
        Ok(self)
    }

    /// What a flag says wins over what the spec says of the other field.
    fn limit(&mut self, limit: Option<u32>, on_conflict: Option<OnConflict>) -> Result<(), ValueError> {
        let limit = limit.map(check_limit).transpose()?;
        let policy = &mut self.policy;
        (policy.max_concurrent, policy.on_conflict) = match (limit, on_conflict) {
            (None, None) => return Ok(()),
            (limit, Some(OnConflict::Allow)) => concurrency(limit, on_conflict)?,
            (limit, Some(_)) => concurrency(limit.or(policy.max_concurrent), on_conflict)?,
            (Some(_), None) if policy.on_conflict == OnConflict::Allow => concurrency(limit, None)?,
            (Some(_), None) => (limit, policy.on_conflict),
        };
        Ok(())
    }

    fn mount(&mut self, mounts: Vec<Storage>) -> Result<(), ValueError> {
        for (index, mount) in mounts.iter().enumerate() {
            check_mount(mount)?;
            if mounts[..index].iter().any(|known| known.target() == mount.target()) {
                return Err(ValueError::Duplicate { what: "mount target", name: mount.target().to_owned() });
            }
        }
        self.storage.retain(|known| !mounts.iter().any(|mount| mount.target() == known.target()));
        self.storage.extend(mounts);
        Ok(())
    }
}

/// What [`super::parse_mount`] has seen to already, for mounts made in another way.
fn check_mount(mount: &Storage) -> Result<(), ValueError> {
    let target = mount.target();
    if mount_target(target)? != target {
        let form = "it without `.` and doubled slashes";
        return Err(ValueError::Malformed { what: "a mount target", text: target.to_owned(), form });
    }
    match mount {
        Storage::Bind { source, .. } if !source.is_absolute() => {
            let text = source.display().to_string();
            Err(ValueError::Malformed { what: "a path of the host", text, form: "an absolute path" })
        }
        Storage::Named { name, .. } => identifier("a volume name", name).map(|_| ()),
        _ => Ok(()),
    }
}

fn words(words: Vec<String>) -> Result<Vec<String>, ValueError> {
    words.iter().map(|word| c_string("an argument", word)).collect()
}

/// The last part of an image's name, with what a job's name cannot hold taken out.
fn job_name(image: &str) -> String {
    let name = local_image(image).unwrap_or(image);
    let name = name.split('@').next().unwrap_or_default().trim_end_matches('/');
    let last = name.rsplit('/').next().unwrap_or_default();
    let last = last.split(':').next().unwrap_or_default();
    let kept: String = last.chars().filter(|c| c.is_ascii_alphanumeric() || "_.-".contains(*c)).take(128).collect();
    let kept = kept.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if kept.is_empty() { "job".to_owned() } else { kept.to_owned() }
}
