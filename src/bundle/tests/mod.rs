//! What becomes of a job: whole documents against golden files, and the rules one by one.

mod command;
mod golden;
mod mounts;
mod refusals;
mod steps;

use super::*;
use crate::plan::{IdMap, IdMappings};
use crate::spec::DeploymentSpec;
use std::sync::OnceLock;

pub(super) const ID: &str = "0199c0de-0000-7000-8000-0123456789ab";

static VARIABLES: OnceLock<[(String, String); 3]> = OnceLock::new();

/// A host with the usual things, and root.
pub(super) fn root() -> HostFacts {
    HostFacts {
        rootless: None,
        capabilities: (0..=40).collect(),
        has_sys_resource: true,
        oom_score_adj: 0,
        hard_limits: [("nofile", 524_288), ("nproc", 60_000), ("core", u64::MAX)]
            .map(|(name, hard)| (name.to_owned(), hard))
            .into(),
        resolv_conf: "nameserver 192.0.2.53\nsearch example.org\n".into(),
        hosts: "127.0.0.1\tlocalhost\n192.0.2.10\tfilehost".into(),
        devices: [("/dev/fuse", false, 10, 229), ("/dev/loop7", true, 7, 7)]
            .map(|(path, is_block, major, minor)| {
                (path.into(), DeviceFacts { is_block, major, minor, mode: 0o660, uid: 0, gid: 6 })
            })
            .into(),
        missing_sources: ["/gone".into()].into(),
    }
}

/// The same host, and a user with this many ids.
pub(super) fn user(ids: u32) -> HostFacts {
    let own = IdMap { container: 0, host: 1000, count: 1 };
    let further = (ids > 1).then(|| IdMap { container: 1, host: 100_000, count: ids - 1 });
    let maps: Vec<IdMap> = [own].into_iter().chain(further).collect();
    HostFacts {
        rootless: Some(IdMappings { uids: maps.clone(), gids: maps }),
        has_sys_resource: false,
        oom_score_adj: 100,
        ..root()
    }
}

/// A job that has these fields besides its image.
#[track_caller]
pub(super) fn job(fields: &str) -> ServiceSpec {
    let indented: String = fields.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!(
        "version: v1\ndeployment: test\nservices:\n  report:\n    rtype: job\n    image: {{name: \"oci:/images/app:v1\"}}\n{indented}"
    );
    let deployment =
        DeploymentSpec::parse(&text, "job.yaml", &|_| None).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
    deployment.services.into_values().next().expect("the text has one job")
}

/// An image with this `config`.
#[track_caller]
pub(super) fn image(config: &str) -> ImageConfiguration {
    let document = format!(
        r#"{{"architecture": "amd64", "os": "linux", "rootfs": {{"type": "layers", "diff_ids": []}}, "config": {config}}}"#
    );
    serde_json::from_str(&document).unwrap_or_else(|error| panic!("{document}\n{error}"))
}

pub(super) fn place() -> Place<'static> {
    Place {
        id: ID,
        rootfs: "/state/executions/ID/rootfs".into(),
        files: "/state/executions/ID/files".into(),
        named_volumes: "/state/volumes".into(),
        anonymous_volumes: "/state/executions/ID/volumes".into(),
        tmpfs: "/state/executions/ID/tmpfs".into(),
        step_roots: "/state/executions/ID/steps".into(),
        seccomp_filter: "/state/cache/seccomp.bpf".into(),
        variables: VARIABLES.get_or_init(|| {
            [("CORACLE_EXECUTION_ID", ID), ("CORACLE_JOB_NAME", "report"), ("CORACLE_ATTEMPT", "2")]
                .map(|(name, value)| (name.into(), value.into()))
        }),
    }
}

pub(super) fn make(fields: &str, config: &str, host: &HostFacts) -> Result<Bundle, BundleError> {
    let (job, image) = (job(fields), image(config));
    build(&job, &Images { job: &image, others: &BTreeMap::new() }, host, &place())
}

/// What [`make`] gives for an image that runs `/app`.
#[track_caller]
pub(super) fn made(fields: &str, host: &HostFacts) -> Bundle {
    make(fields, r#"{"Entrypoint": ["/app"]}"#, host).unwrap_or_else(|error| panic!("{fields}\n{error}"))
}
