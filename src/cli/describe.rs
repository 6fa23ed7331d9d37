//! A job in words, without what is secret.

use super::{human, output};
use crate::exec::{JobStats, RegisteredJob};
use crate::spec::{
    Backoff, InitAction, JobPolicy, Notification, OnConflict, Platform, S3Direction, ServiceSpec, Storage, origin,
};
use std::fmt::Write;
use std::time::Duration;

/// What the job may use, in short; `None`: nothing limits it.
pub(super) fn limits(job: &ServiceSpec) -> Option<String> {
    let JobPolicy { deadline, max_concurrent, .. } = &job.policy;
    let limits = [
        job.resources.memory.map(human::bytes),
        job.resources.cpu_millis.map(cpus),
        deadline.map(human::duration),
        max_concurrent.map(|limit| format!("{limit} at once")),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    (!limits.is_empty()).then(|| limits.join(", "))
}

/// One fact a line; what the job does not say is left out.
pub(super) fn job(registered: &RegisteredJob, stats: &JobStats) -> String {
    let RegisteredJob { name, spec, registered_at, updated_at } = registered;
    let policy = &spec.policy;
    let mut facts = Facts::default();
    facts.add("job", spec.deployment.as_ref().map_or(name.clone(), |of| format!("{name} (of {of})")));
    facts.add("image", format!("{} (pull: {})", spec.image.name, word(&spec.image.pull_policy)));
    facts.maybe("platform", spec.image.platform.as_ref().map(platform));
    facts.maybe("entrypoint", spec.command.entrypoint.as_deref().map(words));
    facts.maybe("arguments", spec.command.args.as_deref().map(words));
    facts.maybe("directory", spec.command.workdir.clone());
    facts.maybe("user", spec.process.user.clone());
    for (name, value) in &spec.env {
        facts.add(
            "env",
            if is_secret(name) || spec.hidden_env.contains(name) {
                format!("{name}=…")
            } else {
                format!("{name}={value}")
            },
        );
    }
    spec.storage.iter().for_each(|storage| facts.add("mount", mount(storage)));
    facts.add("network", word(&spec.network.mode));
    facts.maybe("memory", spec.resources.memory.map(human::bytes));
    facts.maybe("CPU", spec.resources.cpu_millis.map(cpus));
    for step in &spec.init_steps {
        facts.add("init step", format!("{}: {}", step.id, action(&step.action)));
    }
    facts.maybe("deadline", policy.deadline.map(human::duration));
    facts.maybe("in the queue", policy.queue_deadline.map(|limit| format!("at most {}", human::duration(limit))));
    facts.maybe("at once", at_once(policy));
    facts.maybe("attempts", attempts(policy));
    facts.maybe("kept for", policy.retention.ttl.map(human::duration));
    facts.maybe("kept", policy.retention.keep_last.map(|count| format!("the newest {count}")));
    facts.maybe("at its end", policy.delete_on_exit.then(|| "the execution is forgotten".to_owned()));
    policy.on_failure.iter().for_each(|told| facts.add("on failure", notification(told)));
    policy.on_success.iter().for_each(|told| facts.add("on success", notification(told)));
    spec.labels.iter().for_each(|(name, value)| facts.add("label", format!("{name}={value}")));
    facts.add("registered", registered_at.to_string());
    facts.maybe("updated", (updated_at != registered_at).then(|| updated_at.to_string()));
    let JobStats { executions, running, waiting, .. } = stats;
    facts.add("executions", format!("{executions}: {running} running, {waiting} waiting"));
    facts.0
}

#[derive(Default)]
struct Facts(String);

impl Facts {
    fn add(&mut self, name: &str, value: String) {
        let value = output::printable(&value).replace('\n', "\\n");
        writeln!(self.0, "{:14}{value}", format!("{name}:")).expect("writing to a string cannot fail");
    }

    fn maybe(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

/// Variables whose values open a door: those that steps use for S3.
pub(super) fn is_secret(variable: &str) -> bool {
    matches!(variable, "AWS_SECRET_ACCESS_KEY" | "AWS_SESSION_TOKEN")
}

fn platform(platform: &Platform) -> String {
    let Platform { os, architecture, variant } = platform;
    format!("{os}/{architecture}{}", variant.as_ref().map(|variant| format!("/{variant}")).unwrap_or_default())
}

/// The name of a value without fields, as specs have it.
fn word<T: serde::Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// As a shell would take them.
fn words(words: &[String]) -> String {
    let plain = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_./:=,@%+".contains(c));
    let quoted = |word: &String| if plain(word) { word.clone() } else { format!("'{}'", word.replace('\'', r"'\''")) };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

fn cpus(millis: u64) -> String {
    let whole = format!("{}.{:03}", millis / 1000, millis % 1000);
    format!("{} CPU", whole.trim_end_matches('0').trim_end_matches('.'))
}

fn mount(storage: &Storage) -> String {
    let what = match storage {
        Storage::Bind { source, .. } => source.display().to_string(),
        Storage::Named { name, .. } => format!("volume {name}"),
        Storage::Anonymous { .. } => "a volume of its own".to_owned(),
        Storage::Tmpfs { .. } => "tmpfs".to_owned(),
    };
    format!("{what} at {}", storage.target())
}

fn action(action: &InitAction) -> String {
    match action {
        InitAction::Run { command, image, .. } => {
            format!("run {}{}", words(command), image.as_ref().map(|image| format!(" in {image}")).unwrap_or_default())
        }
        InitAction::WaitTcp { host, port, .. } => format!("wait for {host}:{port}"),
        InitAction::WaitHttp(wait) => format!("wait for {} {}", wait.method, origin(&wait.url)),
        InitAction::S3(s3) => {
            let direction = match s3.direction {
                S3Direction::Pull => "to",
                S3Direction::Push => "from",
            };
            format!("s3://{}/{} {direction} {}", s3.bucket, s3.key, s3.path)
        }
    }
}

fn at_once(policy: &JobPolicy) -> Option<String> {
    let limit = policy.max_concurrent?;
    Some(match policy.on_conflict {
        OnConflict::Queue => format!("{limit}; further ones wait"),
        OnConflict::Forbid => format!("{limit}; further ones are refused"),
        OnConflict::Replace => format!("{limit}; a further one replaces the oldest"),
        OnConflict::Allow => return None,
    })
}

fn attempts(policy: &JobPolicy) -> Option<String> {
    let retry = &policy.retry;
    if retry.max_attempts < 2 {
        return None;
    }
    let Backoff { initial, max, .. } = retry.backoff;
    let wait = |wait: Duration| human::duration(wait);
    let list = |codes: &[u8]| codes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let mut text = format!("{}, after {} to {}", retry.max_attempts, wait(initial), wait(max));
    if !retry.on_exit_codes.is_empty() {
        text.push_str(&format!(", on exit codes {}", list(&retry.on_exit_codes)));
    }
    if !retry.never_on_exit_codes.is_empty() {
        text.push_str(&format!(", never on exit codes {}", list(&retry.never_on_exit_codes)));
    }
    Some(text)
}

fn notification(told: &Notification) -> String {
    match told {
        Notification::Job { name } => format!("run job {name}"),
        Notification::Post { url, .. } => format!("POST to {}", origin(url)),
    }
}
