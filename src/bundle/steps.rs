//! Init steps: what each one executes, on which root file system, and what the step role is asked to do.

use super::command::{Commands, RunStep};
use super::error::BundleError;
use super::process::Container;
use super::{Images, StepImage};
use crate::plan::{Overlay, Program, StepAction, StepPlan};
use crate::spec::{InitAction, InitStep, S3Addressing, S3Direction, S3Transfer, ServiceSpec, WaitHttp};
use crate::step::{Addressing, Direction, Resolve, StepRequest};
use oci_spec::image::ImageConfiguration;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The variables of the job that a transfer gets: its credentials and region
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html>).
const TRANSFER_PREFIX: &str = "AWS_";

/// The variable that names a file of authorities, as for AWS's own tools.
const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

/// The images other than the job's own that its steps run on, as they are written.
pub fn other_images(job: &ServiceSpec) -> BTreeSet<&str> {
    job.init_steps.iter().filter_map(image_of).collect()
}

fn image_of(step: &InitStep) -> Option<&str> {
    match &step.action {
        InitAction::Run { image, .. } => image.as_deref(),
        _ => None,
    }
}

pub(super) struct Steps {
    pub steps: Vec<StepPlan>,
    /// By the index of the step.
    pub roots: BTreeMap<usize, Overlay>,
}

pub(super) fn steps(
    commands: &Commands<'_>,
    container: &Container<'_>,
    images: &Images<'_>,
) -> Result<Steps, BundleError> {
    let mut made = Steps { steps: Vec::new(), roots: BTreeMap::new() };
    for (index, step) in container.job.init_steps.iter().enumerate() {
        let other = match image_of(step) {
            None => None,
            Some(name) => {
                let missing = || BundleError::NoStepImage { step: step.id.clone(), image: name.to_owned() };
                Some((name, images.others.get(name).ok_or_else(missing)?))
            }
        };
        let root = other.map(|(_, image)| root(container.place.step_roots.join(index.to_string()), image));
        let mountpoint = root.as_ref().map_or(&container.place.rootfs, |root| &root.mountpoint);
        made.steps.push(StepPlan {
            id: step.id.clone(),
            action: action(step, other, commands, container, images.job, index, mountpoint)?,
            timeout: step.timeout,
            retries: step.retry.count,
            backoff: step.retry.backoff.clone(),
            on_failure: step.on_failure,
        });
        made.roots.extend(root.map(|root| (index, root)));
    }
    Ok(made)
}

fn root(directory: std::path::PathBuf, image: &StepImage) -> Overlay {
    Overlay {
        layers: image.layers.clone(),
        upper: directory.join("upper"),
        work: directory.join("work"),
        mountpoint: directory.join("rootfs"),
        // Those of the job are filled from the job's own image.
        volumes: Vec::new(),
    }
}

fn action(
    step: &InitStep,
    other: Option<(&str, &StepImage)>,
    commands: &Commands<'_>,
    container: &Container<'_>,
    job_image: &ImageConfiguration,
    index: usize,
    root: &Path,
) -> Result<StepAction, BundleError> {
    let job = container.job;
    Ok(match &step.action {
        InitAction::Run { command, env, user, workdir, .. } => {
            let run = RunStep { command, env, user: user.as_deref(), workdir: workdir.as_deref() };
            let (name, config) =
                other.map_or((job.image.name.as_str(), job_image), |(name, image)| (name, &image.config));
            StepAction::Run(Box::new(container.plan(commands.step(&run, config, name)?, index, root)?))
        }
        InitAction::WaitTcp { host, port, interval } => StepAction::Check {
            request: line(&StepRequest::WaitTcp {
                host: host.clone(),
                port: *port,
                interval: *interval,
                resolve: resolve(job),
            })?,
        },
        InitAction::WaitHttp(wait) => StepAction::Check { request: line(&wait_http(wait, job))? },
        InitAction::S3(transfer) => {
            let path = transfer.path.clone();
            let program = match transfer.direction {
                S3Direction::Pull => Program::Receive { path },
                S3Direction::Push => Program::Send { path },
            };
            StepAction::Transfer {
                request: line(&s3(transfer, job))?,
                process: Box::new(container.plan(commands.file(program, job_image), index, root)?),
            }
        }
    })
}

fn line(request: &StepRequest) -> Result<String, BundleError> {
    serde_json::to_string(request).map_err(BundleError::Request)
}

/// A check sees names as the job will.
fn resolve(job: &ServiceSpec) -> Resolve {
    Resolve { hosts: job.network.extra_hosts.clone(), servers: job.network.dns.clone() }
}

fn wait_http(wait: &WaitHttp, job: &ServiceSpec) -> StepRequest {
    StepRequest::WaitHttp {
        url: wait.url.clone(),
        method: wait.method.clone(),
        headers: wait.headers.clone(),
        expect_status: wait.expect_status.clone(),
        interval: wait.interval,
        insecure_skip_verify: wait.insecure_skip_verify,
        resolve: resolve(job),
    }
}

fn s3(transfer: &S3Transfer, job: &ServiceSpec) -> StepRequest {
    let of_job = job.env.iter().filter(|(name, _)| {
        name.starts_with(TRANSFER_PREFIX) && !transfer.env.iter().any(|(of_step, _)| of_step == name)
    });
    // Of the step alone: in the job's own environment it names a file of the container.
    let ca_bundle = || transfer.env.iter().find(|(name, _)| name == CA_BUNDLE).map(|(_, path)| path.into());
    StepRequest::S3 {
        direction: match transfer.direction {
            S3Direction::Pull => Direction::Pull,
            S3Direction::Push => Direction::Push,
        },
        bucket: transfer.bucket.clone(),
        key: transfer.key.clone(),
        endpoint: transfer.endpoint.clone(),
        region: transfer.region.clone(),
        env: transfer.env.iter().chain(of_job).cloned().collect(),
        credentials_file: transfer.credentials_file.clone(),
        anonymous: transfer.anonymous,
        ca_bundle: transfer.ca_bundle.clone().or_else(ca_bundle),
        addressing: match transfer.addressing_style {
            S3Addressing::Auto => Addressing::Auto,
            S3Addressing::Path => Addressing::Path,
            S3Addressing::Virtual => Addressing::Virtual,
        },
        resolve: resolve(job),
    }
}
