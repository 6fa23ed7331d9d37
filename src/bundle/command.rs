//! What the processes of a job execute: Docker's rules for entrypoint, arguments and environment.

use super::error::BundleError;
use crate::plan::{Program, UserRequest};
use crate::spec::ServiceSpec;
use oci_spec::image::{Config, ImageConfiguration};

/// PATH for an image without one, Docker's (`moby/oci/defaults`).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One process before it becomes a runtime spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub program: Program,
    pub args: Vec<String>,
    /// `NAME=value`, each name once.
    pub env: Vec<String>,
    pub workdir: String,
    pub user: UserRequest,
}

/// Where the commands of a job come from.
pub(super) struct Commands<'a> {
    pub job: &'a ServiceSpec,
    pub hostname: &'a str,
    /// Ours, which win over those of image and spec: programs rely on them to tell executions apart.
    pub variables: &'a [(String, String)],
}

impl Commands<'_> {
    pub fn main(&self, image: &ImageConfiguration) -> Result<Command, BundleError> {
        let config = image.config().clone().unwrap_or_default();
        Ok(Command {
            program: Program::Command,
            args: arguments(self.job, &config)?,
            env: self.environment(&config, &[]),
            workdir: self.workdir(&config, &self.job.image.name)?,
            user: self.user(None, &config),
        })
    }

    /// Of an `init.run`, on the root file system of `image`, which is called `name`. The image of another
    /// root file system gives its own environment, working directory and user where the job names none.
    pub fn step(&self, step: &RunStep<'_>, image: &ImageConfiguration, name: &str) -> Result<Command, BundleError> {
        let config = image.config().clone().unwrap_or_default();
        let workdir = match step.workdir {
            Some(path) => path.to_owned(),
            None => self.workdir(&config, name)?,
        };
        Ok(Command {
            program: Program::Command,
            args: step.command.to_vec(),
            env: self.environment(&config, step.env),
            workdir,
            user: self.user(step.user, &config),
        })
    }

    /// Of the process that moves a file of the job as the job's user.
    pub fn file(&self, program: Program, image: &ImageConfiguration) -> Command {
        let config = image.config().clone().unwrap_or_default();
        Command {
            program,
            // Nothing executes it; libcontainer wants one.
            args: vec!["coracle-transfer".to_owned()],
            env: self.environment(&config, &[]),
            workdir: "/".to_owned(),
            user: self.user(None, &config),
        }
    }

    fn user(&self, of_step: Option<&str>, config: &Config) -> UserRequest {
        let named = of_step.or(self.job.process.user.as_deref()).map(str::to_owned);
        UserRequest {
            user: named.or_else(|| config.user().clone()).unwrap_or_default(),
            extra_groups: self.job.process.extra_groups.clone(),
        }
    }

    fn workdir(&self, config: &Config, image: &str) -> Result<String, BundleError> {
        let from_image = || config.working_dir().clone().filter(|path| !path.is_empty());
        let path = self.job.command.workdir.clone().or_else(from_image).unwrap_or_else(|| "/".to_owned());
        if path.starts_with('/') { Ok(path) } else { Err(BundleError::BadWorkdir { image: image.to_owned(), path }) }
    }

    /// The image's variables, then the job's and the step's, then the caller's: the last one wins. HOME is
    /// added at the start, when the user is known.
    fn environment(&self, config: &Config, of_step: &[(String, String)]) -> Vec<String> {
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
        variables.set("HOSTNAME", self.hostname);
        let given = self.job.env.iter().chain(of_step).chain(self.variables);
        given.for_each(|(name, value)| variables.set(name, value));
        variables.0
    }
}

/// The fields of an `init.run`.
pub(super) struct RunStep<'a> {
    pub command: &'a [String],
    pub env: &'a [(String, String)],
    pub user: Option<&'a str>,
    pub workdir: Option<&'a str>,
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
