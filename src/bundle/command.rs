//! What the processes of a job execute: Docker's rules for entrypoint, arguments and environment.

use super::error::BundleError;
use crate::plan::UserRequest;
use crate::spec::{InitAction, ServiceSpec};
use oci_spec::image::{Config, ImageConfiguration};
use std::time::Duration;

/// PATH for an image without one, Docker's (`moby/oci/defaults`).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One process before it becomes a runtime spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    /// `None` for the main process.
    pub step: Option<String>,
    pub args: Vec<String>,
    /// `NAME=value`, each name once.
    pub env: Vec<String>,
    pub workdir: String,
    pub user: UserRequest,
    pub timeout: Option<Duration>,
}

/// Init steps in order, then the main process.
pub(super) fn commands(
    job: &ServiceSpec,
    image: &ImageConfiguration,
    id: &str,
    hostname: &str,
) -> Result<Vec<Command>, BundleError> {
    let empty = Config::default();
    let config = image.config().as_ref().unwrap_or(&empty);
    let main = Command {
        step: None,
        args: arguments(job, config)?,
        env: environment(job, config, id, hostname),
        workdir: workdir(job, config)?,
        user: UserRequest {
            user: job.process.user.clone().or_else(|| config.user().clone()).unwrap_or_default(),
            extra_groups: job.process.extra_groups.clone(),
        },
        timeout: None,
    };
    let mut commands = Vec::with_capacity(job.init_steps.len() + 1);
    for step in &job.init_steps {
        let InitAction::Run { command, env, user, workdir, .. } = &step.action else { continue };
        let mut variables = Variables(main.env.clone());
        env.iter().for_each(|(name, value)| variables.set(name, value));
        commands.push(Command {
            step: Some(step.id.clone()),
            args: command.clone(),
            env: variables.0,
            workdir: workdir.clone().unwrap_or_else(|| main.workdir.clone()),
            user: UserRequest {
                user: user.clone().unwrap_or_else(|| main.user.user.clone()),
                extra_groups: main.user.extra_groups.clone(),
            },
            timeout: Some(step.timeout),
        });
    }
    commands.push(main);
    Ok(commands)
}

/// A new entrypoint also drops the image's default arguments.
fn arguments(job: &ServiceSpec, config: &Config) -> Result<Vec<String>, BundleError> {
    let image_entrypoint = config.entrypoint().clone().unwrap_or_default();
    let image_arguments = config.cmd().clone().unwrap_or_default();
    let (entrypoint, default_arguments) = match &job.command.entrypoint {
        Some(entrypoint) => (entrypoint.clone(), Vec::new()),
        None => (image_entrypoint, image_arguments),
    };
    let mut all = entrypoint;
    all.extend(job.command.args.clone().unwrap_or(default_arguments));
    if all.is_empty() {
        return Err(BundleError::NoCommand { job: job.name.clone(), image: job.image.name.clone() });
    }
    Ok(all)
}

fn workdir(job: &ServiceSpec, config: &Config) -> Result<String, BundleError> {
    let from_image = || config.working_dir().clone().filter(|path| !path.is_empty());
    let path = job.command.workdir.clone().or_else(from_image).unwrap_or_else(|| "/".to_owned());
    if path.starts_with('/') { Ok(path) } else { Err(BundleError::BadWorkdir { image: job.image.name.clone(), path }) }
}

/// The image's variables, then ours, then the job's: the last one wins. HOME is added at the start,
/// when the user is known.
fn environment(job: &ServiceSpec, config: &Config, id: &str, hostname: &str) -> Vec<String> {
    let mut variables = Variables(Vec::new());
    variables.set("PATH", DEFAULT_PATH);
    for entry in config.env().iter().flatten() {
        // Docker drops entries without a name or value too.
        if let Some((name, value)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) {
            variables.set(name, value);
        }
    }
    // systemd's convention for programs that want to know (<https://systemd.io/CONTAINER_INTERFACE>).
    variables.set("container", "coracle");
    variables.set("HOSTNAME", hostname);
    job.env.iter().for_each(|(name, value)| variables.set(name, value));
    variables.set("CORACLE_EXECUTION_ID", id);
    variables.set("CORACLE_JOB_NAME", &job.name);
    variables.0
}

/// An environment with each name once, in the order of first mention.
struct Variables(Vec<String>);

impl Variables {
    fn set(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let same = |known: &&mut String| known.split_once('=').is_some_and(|(known, _)| known == name);
        match self.0.iter_mut().find(same) {
            Some(known) => *known = entry,
            None => self.0.push(entry),
        }
    }
}
