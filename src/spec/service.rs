//! One service: the fields of a job.

use super::duration::parse_duration;
use super::environment::read_env;
use super::error::{Problem, SpecError};
use super::init::{Init, read_errors, read_init};
use super::job::{
    ImageSpec, Logs, NetworkMode, Platform, ProcessOptions, PullPolicy, Resources, Retention, ServiceSpec, StopPolicy,
};
use super::mount::read_storage;
use super::names::{IMAGE_FORMS, c_string, group, hostname, image_name, label_name, user};
use super::network::read_network;
use super::policy::read_policy;
use super::process::{DEFAULT_GRACE_PERIOD, parse_signal, read_command, read_sysctls, read_ulimits};
use super::quantity::parse_bytes;
use super::reader::{At, Fields};
use super::resources::read_resources;
use super::security::read_security;
use super::value_error::ValueError;
use std::collections::BTreeMap;
use std::time::Duration;

/// The log kept of each execution, bytes; enough for the end of most jobs, small enough to forget
/// about.
pub const DEFAULT_LOG_SIZE: u64 = 1 << 20;
/// One page at least; at most what is still a log and not a disk.
const LOG_SIZES: std::ops::RangeInclusive<u64> = 4096..=64 << 30;
/// Ten years, like every length of time.
const LONGEST_RETENTION: i64 = 10 * 366 * 86_400;

impl Default for Logs {
    fn default() -> Self {
        Logs { max_size: DEFAULT_LOG_SIZE }
    }
}

impl Default for ProcessOptions {
    fn default() -> Self {
        ProcessOptions {
            user: None,
            extra_groups: Vec::new(),
            hostname: None,
            init: true,
            ulimits: Vec::new(),
            sysctls: BTreeMap::new(),
        }
    }
}

/// What says how a service runs on many machines, and nothing about a job on one.
const MEANINGLESS: &[&str] = &[
    "scale",
    "replicas",
    "endpoints",
    "ports",
    "port_mappings",
    "expose",
    "network",
    "networks",
    "overlay",
    "overlays",
    "health",
    "healthcheck",
    "depends",
    "depends_on",
    "restart",
    "restart_policy",
    "node_mode",
    "node_selector",
    "service_type",
];

/// Fields that people look for here, mostly from compose, and where they are.
const ELSEWHERE: &[(&str, &str)] = &[
    ("args", "command.args"),
    ("backoff", "job.retry.backoff"),
    ("cap_add", "capabilities"),
    ("cpu", "resources.cpu"),
    ("cpus", "resources.cpu"),
    ("cpuset", "resources.cpuset"),
    ("cpu_shares", "resources.cpu_shares"),
    ("deadline", "job.deadline"),
    ("delete_on_exit", "lifecycle.delete_on_exit"),
    ("entrypoint", "command.entrypoint"),
    ("environment", "env"),
    ("group_add", "extra_groups"),
    ("keep_last", "job.retention.keep_last"),
    ("max_attempts", "job.retry.max_attempts"),
    ("max_concurrent", "job.max_concurrent"),
    ("mem_limit", "resources.memory"),
    ("memory", "resources.memory"),
    ("memory_swap", "resources.memory_swap"),
    ("mounts", "storage"),
    ("on_conflict", "job.on_conflict"),
    ("on_failure", "job.on_failure"),
    ("on_init_failure", "errors.on_init_failure"),
    ("on_success", "job.on_success"),
    ("oom_score_adj", "resources.oom_score_adj"),
    ("pids_limit", "resources.pids_limit"),
    ("pull_policy", "image.pull_policy"),
    ("queue_deadline", "job.queue_deadline"),
    ("read_only", "read_only_root_fs"),
    ("retention", "job.retention"),
    ("retry", "job.retry"),
    ("steps", "init.steps"),
    ("timeout", "job.deadline"),
    ("tmpfs", "storage"),
    ("ttl", "job.retention.ttl"),
    ("volumes", "storage"),
    ("workdir", "command.workdir"),
    ("working_dir", "command.workdir"),
];

/// Whether coracle does not run this service at all; nothing else of it is read then.
pub(super) fn refused(at: &At) -> Option<SpecError> {
    let super::node::Value::Map(entries) = &at.node.value else { return None };
    let (key, node) = entries.iter().find(|(key, _)| key.name == "rtype")?;
    let super::node::Value::Text(rtype) = &node.value else { return None };
    let rtype_at = At { report: at.report, path: format!("{}.rtype", at.path), key: key.mark, node };
    (rtype == "service").then(|| rtype_at.spec_error(Problem::ServiceRefused))
}

/// Reads a service as a job; problems are reported, and the job is then only a stand-in.
pub(super) fn read_job(at: &At, name: &str, deployment: &str) -> ServiceSpec {
    let mut job = ServiceSpec::new(name.to_owned(), String::new());
    job.deployment = Some(deployment.to_owned());
    let Some(mut fields) = at.fields("write the fields of the job below its name") else { return job };
    at.report.hidden_env.take();

    read_rtype(&mut fields);
    fields.elsewhere(ELSEWHERE);
    fields.meaningless(MEANINGLESS);
    fields.not_yet(&["cron"]);
    if let Some(image) = fields.require("image", "write `image: {name: …}`").and_then(|at| read_image(&at)) {
        job.image = image;
    }
    job.image.platform = fields.take("platform").and_then(|at| at.parse(parse_platform));
    job.command = fields.take("command").map(|at| read_command(&at)).unwrap_or_default();
    job.env = fields.take("env").map(|at| read_env(&at)).unwrap_or_default();
    job.resources = fields.take("resources").map_or_else(Resources::default, |at| read_resources(&at));
    job.storage = fields.take("storage").map(|at| read_storage(&at)).unwrap_or_default();
    job.network = read_network(&mut fields);
    let init = fields.take("init").map_or(Init { enabled: true, steps: Vec::new() }, |at| read_init(&at));
    job.init_steps = init.steps;
    job.process = read_process(&mut fields, init.enabled, job.network.mode);
    job.security = read_security(&mut fields);
    job.stop = StopPolicy {
        signal: fields.take("stop_signal").and_then(|at| at.parse(parse_signal)),
        grace_period: fields
            .take("stop_grace_period")
            .and_then(|at| at.parse(parse_duration))
            .unwrap_or(DEFAULT_GRACE_PERIOD),
    };
    job.labels = fields.take("labels").map(|at| read_labels(&at)).unwrap_or_default();
    job.policy = fields.take("job").map(|at| read_policy(&at)).unwrap_or_default();
    job.logs = fields.take("logs").map(|at| read_logs(&at, &mut job.policy.retention)).unwrap_or_default();
    job.on_init_failure = fields.take("errors").map(|at| read_errors(&at)).unwrap_or_default();
    job.policy.delete_on_exit = fields.take("lifecycle").is_some_and(|at| read_lifecycle(&at));
    job.hidden_env = at.report.hidden_env.take();
    fields.finish();
    job
}

fn read_rtype(fields: &mut Fields) {
    let schedule = fields.take("schedule");
    let Some(at) = fields.require("rtype", "write `rtype: job`") else { return };
    match at.choice("rtype", &["job", "cron", "service"]) {
        Some("cron") => {
            match schedule {
                Some(schedule) => schedule.parse(cron).map(|_| ()),
                None => fields.require("schedule", "write `schedule: \"0 3 * * *\"`").map(|_| ()),
            };
            at.not_yet();
        }
        Some(_) => {
            if let Some(schedule) = schedule {
                schedule.error(Problem::ScheduleOfJob);
            }
        }
        None => {}
    }
}

/// Only the shape: five fields, or six with seconds, or a name such as `@daily`.
fn cron(text: &str) -> Result<(), ValueError> {
    const NAMES: &[&str] = &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@hourly"];
    let field = |field: &str| field.chars().all(|c| c.is_ascii_alphanumeric() || "*/,-?#".contains(c));
    let fields: Vec<&str> = text.split_whitespace().collect();
    let shaped = matches!(fields.len(), 5 | 6) && fields.iter().copied().all(field);
    if shaped || NAMES.contains(&text) {
        return Ok(());
    }
    let form = "minute hour day month weekday, as `0 3 * * *`";
    Err(ValueError::Malformed { what: "a cron expression", text: text.to_owned(), form })
}

fn read_image(at: &At) -> Option<ImageSpec> {
    let mut fields = at.fields("write `image: {name: …}`")?;
    let name = fields.require("name", IMAGE_FORMS).and_then(|at| at.parse(image_name));
    let policy = fields
        .take("pull_policy")
        .and_then(|at| at.choice("pull policy", &["always", "newer", "if_not_present", "never"]));
    fields.finish();
    let pull_policy = match policy {
        Some("always") => PullPolicy::Always,
        Some("newer") => PullPolicy::Newer,
        Some("never") => PullPolicy::Never,
        _ => PullPolicy::IfNotPresent,
    };
    Some(ImageSpec { name: name?, pull_policy, platform: None })
}

/// `OS/ARCH[/VARIANT]` in Go's names
/// (<https://github.com/opencontainers/image-spec/blob/main/image-index.md#platform-variants>); the
/// kernel's names of the two most common ones are taken too.
///
/// # Errors
/// [`ValueError::Malformed`]; [`ValueError::Unsupported`] for another system than Linux.
pub fn parse_platform(text: &str) -> Result<Platform, ValueError> {
    let malformed = || ValueError::Malformed {
        what: "a platform",
        text: text.to_owned(),
        form: "OS/ARCH or OS/ARCH/VARIANT, as linux/arm64/v8",
    };
    let parts: Vec<&str> = text.split('/').collect();
    let plain =
        |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if !parts.iter().all(plain) {
        return Err(malformed());
    }
    let (os, architecture, variant) = match parts[..] {
        [os, architecture] => (os, architecture, None),
        [os, architecture, variant] => (os, architecture, Some(variant.to_owned())),
        _ => return Err(malformed()),
    };
    if os != "linux" {
        return Err(ValueError::Unsupported { what: "operating system", name: os.to_owned(), supported: "linux" });
    }
    let architecture = match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Ok(Platform { os: os.to_owned(), architecture: architecture.to_owned(), variant })
}

fn read_process(fields: &mut Fields, init: bool, network: NetworkMode) -> ProcessOptions {
    let host_network = network == NetworkMode::Host;
    ProcessOptions {
        user: fields.take("user").and_then(|at| at.parse(user)),
        extra_groups: fields
            .take("extra_groups")
            .and_then(|at| at.each("write group names or numbers", |item| item.parse(group)))
            .unwrap_or_default(),
        hostname: fields.take("hostname").and_then(|at| at.parse(hostname)),
        init,
        ulimits: fields.take("ulimits").map(|at| read_ulimits(&at)).unwrap_or_default(),
        sysctls: fields.take("sysctls").map(|at| read_sysctls(&at, host_network)).unwrap_or_default(),
    }
}

fn read_labels(at: &At) -> BTreeMap<String, String> {
    let label = |(name, at): (&str, At)| {
        let name = at.check_name(label_name(name));
        name.zip(at.parse(|text| c_string("the value of a label", text)))
    };
    at.entries("write NAME: value lines").unwrap_or_default().into_iter().filter_map(label).collect()
}

/// A log is kept as long as its execution, so `retention_secs` is another way to write `job.retention.ttl`.
fn read_logs(at: &At, retention: &mut Retention) -> Logs {
    let Some(mut fields) = at.fields("write `max_size_bytes:` below it") else { return Logs::default() };
    if let Some(at) = fields.take("destination")
        && at.choice("log destination", &["disk", "memory"]) == Some("memory")
    {
        at.not_yet();
    }
    if let Some(at) = fields.take("retention_secs")
        && let Some(seconds) = at.integer("retention_secs", 0..=LONGEST_RETENTION)
    {
        let length = Duration::from_secs(seconds.unsigned_abs());
        match retention.ttl {
            Some(ttl) if ttl != length => at.error(ValueError::TwoRetentions { logs: length, job: ttl }),
            _ => retention.ttl = Some(length),
        }
    }
    let max_size = fields.take("max_size_bytes").and_then(|at| at.parse(log_size)).unwrap_or(DEFAULT_LOG_SIZE);
    fields.finish();
    Logs { max_size }
}

fn log_size(text: &str) -> Result<u64, ValueError> {
    let size = parse_bytes(text)?;
    if !LOG_SIZES.contains(&size) {
        let range = "4096 to 64Gi".into();
        return Err(ValueError::OutOfRange { what: "the size of a log", text: text.to_owned(), range });
    }
    Ok(size)
}

/// Whether the execution is to be forgotten when it has ended.
fn read_lifecycle(at: &At) -> bool {
    let Some(mut fields) = at.fields("write `delete_on_exit:` below it") else { return false };
    let delete_on_exit = fields.take("delete_on_exit").and_then(|at| at.bool()).unwrap_or(false);
    fields.finish();
    delete_on_exit
}
