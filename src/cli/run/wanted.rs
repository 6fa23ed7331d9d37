//! Which jobs the arguments ask for.

use crate::cli::args::{RunArgs, variables};
use crate::cli::error::CliError;
use crate::cli::validate;
use crate::quote::quoted;
use crate::spec::{Overrides, ServiceSpec};
use std::collections::BTreeSet;

/// The jobs that the arguments name, with their flags applied. Shows the warnings of the spec.
pub(in crate::cli) fn jobs(args: &RunArgs) -> Result<Vec<ServiceSpec>, CliError> {
    let jobs = match (&args.spec, &args.job.image) {
        (None, None) => {
            return Err(CliError::usage(
                "nothing to run",
                "name a SPEC, or an image and a command: --image IMAGE -- CMD",
            ));
        }
        (Some(word), Some(_)) => {
            return Err(CliError::usage(
                format!("{} is taken for a SPEC, which goes without --image", quoted(word)),
                "put the command behind two hyphens: --image IMAGE -- CMD",
            ));
        }
        (None, Some(image)) => vec![ServiceSpec::from_image(image)?],
        (Some(spec), None) => {
            if args.job.name.is_some() {
                return Err(CliError::usage("--name goes with --image", "the jobs of a SPEC have their names there"));
            }
            if spec == validate::STDIN && args.interactive {
                return Err(CliError::usage("stdin cannot be both the SPEC and the job's", "put the SPEC into a file"));
            }
            from_spec(spec, &args.services, Unnamed::Only).map_err(CliError::of_run)?
        }
    };
    if jobs.len() > 1 && (args.interactive || !args.command.is_empty()) {
        return Err(CliError::usage("--interactive and a command go with one job", "name one SERVICE"));
    }
    let changes = changes(args);
    let changed = jobs.into_iter().map(|job| {
        let job = job.with(changes.clone())?;
        if args.idempotency_key.is_some() {
            job.policy.check_takes_key()?;
        }
        Ok(job)
    });
    changed.collect()
}

/// Which jobs of a spec are meant when none is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Unnamed {
    All,
    /// The one that there is.
    Only,
}

/// Jobs of a spec, by their names. Shows its warnings.
pub(in crate::cli) fn from_spec(spec: &str, names: &[String], unnamed: Unnamed) -> Result<Vec<ServiceSpec>, CliError> {
    let mut deployment = validate::read(spec, names)?;
    validate::warn(&deployment);
    let known: BTreeSet<String> = deployment.services.keys().chain(&deployment.others).cloned().collect();
    let known = Vec::from_iter(known);
    let wanted = match (names, &*known) {
        ([], []) => return Err(validate::no_job(spec)),
        ([], [only]) => vec![only.clone()],
        ([], known) if unnamed == Unnamed::All => known.to_vec(),
        ([], known) => {
            let message = format!("{} holds several jobs", validate::source_name(spec));
            return Err(CliError::usage(message, format!("name those to run: {}", known.join(", "))));
        }
        (names, _) => names.to_vec(),
    };
    let mut jobs = Vec::new();
    for name in wanted {
        // The same name may be given twice.
        if let Some(job) = deployment.services.get(&name) {
            jobs.push(job.clone());
        } else if let Some(error) = deployment.refused.remove(&name) {
            return Err(CliError::Spec(error.into()));
        } else {
            let message = format!("{} holds no service {}", validate::source_name(spec), quoted(&name));
            return Err(CliError::usage(message, format!("its jobs are: {}", known.join(", "))));
        }
    }
    Ok(jobs)
}

fn changes(run: &RunArgs) -> Overrides {
    let RunArgs { job: args, command, fetch, .. } = run;
    let (env, hidden_env) = variables(&args.env);
    Overrides {
        name: args.name.clone(),
        pull_policy: args.pull,
        platform: fetch.platform.clone(),
        // As `docker run --entrypoint ""`: none at all.
        entrypoint: args.entrypoint.as_ref().map(|program| match program.as_str() {
            "" => Vec::new(),
            program => vec![program.to_owned()],
        }),
        args: (!command.is_empty()).then(|| command.clone()),
        workdir: args.workdir.clone(),
        env,
        hidden_env,
        user: args.user.clone(),
        hostname: args.hostname.clone(),
        init: args.init,
        memory: args.memory,
        cpu_millis: args.cpu,
        pids_limit: args.pids_limit,
        mounts: args.mount.clone(),
        network: args.network,
        read_only_root_fs: args.read_only,
        labels: args.label.iter().cloned().collect(),
        stop_signal: args.stop_signal,
        stop_grace_period: args.grace,
        deadline: args.deadline,
        // The first attempt is no retry.
        retry_attempts: args.retry.map(|retries| retries.saturating_add(1)),
        delete_on_exit: args.rm.then_some(true),
        max_concurrent: args.max_concurrent,
        on_conflict: args.on_conflict,
        image: None,
    }
}
