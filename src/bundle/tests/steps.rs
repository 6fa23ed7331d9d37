//! What init steps become.

use super::*;
use crate::plan::{OnStepFailure, StepAction};
use crate::step::{Resolve, StepRequest};
#[cfg(feature = "s3")]
use crate::{
    plan::Program,
    step::{Direction, HostFile},
};
use std::time::Duration;

/// Of the only step, which is a check or a transfer.
#[track_caller]
fn request(bundle: &Bundle) -> StepRequest {
    let [StepPlan { action: StepAction::Check { request } | StepAction::Transfer { request, .. }, .. }] =
        bundle.steps.as_slice()
    else {
        panic!("{:?}", bundle.steps)
    };
    assert!(!request.contains('\n'), "it is sent as one line");
    serde_json::from_str(request).unwrap()
}

#[test]
fn checks_see_names_as_the_job_does() {
    let network = "dns: [192.0.2.1]\nextra_hosts: [\"db:192.0.2.2\"]\n";
    let resolve = Resolve {
        hosts: vec![("db".into(), "192.0.2.2".parse().unwrap())],
        servers: vec!["192.0.2.1".parse().unwrap()],
    };
    let bundle = made(
        &format!(
            "{network}init: {{steps: [{{id: db, uses: init.wait_tcp, timeout: 9s, on_failure: warn, \
             retry: {{count: 4, initial: 2s}}, with: {{host: db, port: 5432, interval: 3s}}}}]}}"
        ),
        &root(),
    );
    let step = &bundle.steps[0];
    assert_eq!((step.id.as_str(), step.timeout, step.retries), ("db", Duration::from_secs(9), 4));
    assert_eq!((step.backoff.initial, step.on_failure), (Duration::from_secs(2), OnStepFailure::Warn));
    let expected = StepRequest::WaitTcp {
        host: "db".into(),
        port: 5432,
        interval: Duration::from_secs(3),
        resolve: resolve.clone(),
    };
    assert!(request(&bundle) == expected);
    let bundle = made(
        &format!(
            "{network}init: {{steps: [{{uses: init.wait_http, with: {{url: \"https://db/up\", method: POST, \
             headers: {{A: b}}, expect_status: [200, 404], interval: 3s, insecure_skip_verify: true}}}}]}}"
        ),
        &root(),
    );
    let expected = StepRequest::WaitHttp {
        url: "https://db/up".into(),
        method: "POST".into(),
        headers: vec![("A".into(), "b".into())],
        expect_status: vec![200, 404],
        interval: Duration::from_secs(3),
        insecure_skip_verify: true,
        resolve,
    };
    assert!(request(&bundle) == expected);
}

#[cfg(feature = "s3")]
#[test]
fn a_transfer_gets_the_steps_credentials_and_else_the_jobs_and_nothing_more() {
    let bundle = made(
        "env: {AWS_REGION: eu, AWS_ACCESS_KEY_ID: job, OTHER: x}\ninit: {steps: [{uses: init.s3_push, \
         with: {bucket: bkt, key: k, source: /f, env: {AWS_ACCESS_KEY_ID: step, TOKEN: t}}}]}",
        &root(),
    );
    let StepRequest::S3 { direction, env, .. } = request(&bundle) else { panic!() };
    assert_eq!(direction, Direction::Push);
    let pairs = [("AWS_ACCESS_KEY_ID", "step"), ("TOKEN", "t"), ("AWS_REGION", "eu")];
    assert_eq!(env, pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert!(!format!("{bundle:?}").contains("\\\"step\\\""), "a request is never shown");
}

#[cfg(feature = "s3")]
#[test]
fn authorities_are_files_of_the_host_that_the_step_names() {
    let of = |env: &str, with: &str| {
        let bundle = made(
            &format!(
                "env: {{AWS_CA_BUNDLE: /of/the/container}}\ninit: {{steps: [{{uses: init.s3_pull, \
                 with: {{bucket: bkt, key: k, destination: /f, env: {{{env}}}{with}}}}}]}}"
            ),
            &root(),
        );
        let request = request(&bundle);
        let paths: Vec<_> = request.files().into_iter().map(|(file, path)| (file, path.to_owned())).collect();
        paths
    };
    let authorities = |path: &str| (HostFile::Authorities, path.into());
    assert_eq!(of("", ""), []);
    assert_eq!(of("AWS_CA_BUNDLE: /env.pem", ""), [authorities("/env.pem")]);
    let both = ", ca_bundle: /own.pem, credentials_file: /keys";
    assert_eq!(of("AWS_CA_BUNDLE: /env.pem", both), [(HostFile::Credentials, "/keys".into()), authorities("/own.pem")]);
}

#[cfg(feature = "s3")]
#[test]
fn the_file_of_a_transfer_is_the_business_of_a_process_of_the_job() {
    let fields = "user: \"12\"\ninit: {steps: [{uses: init.s3_pull, with: {bucket: bkt, key: k, destination: /d/f}}]}";
    let bundle = made(fields, &root());
    let process = bundle.steps[0].action.process().unwrap();
    assert_eq!(process.program, Program::Receive { path: "/d/f".into() });
    assert_eq!((process.user.user.as_str(), process.init), ("12", true));
    assert_eq!(process.seccomp_filter, bundle.main.seccomp_filter);
    assert_eq!(process.spec.mounts(), bundle.main.spec.mounts());
    assert_eq!(process.spec.root(), bundle.main.spec.root());
}

const ON_OTHER: &str = "init: {steps: [{uses: init.run, with: {command: [a]}}, \
                        {id: other, uses: init.run, with: {command: [b], image: \"oci:/images/tool\"}}]}";

#[test]
fn a_step_on_another_image_has_a_root_of_its_own_and_that_images_settings() {
    let (job, image) = (job(ON_OTHER), image(r#"{"Cmd": ["/app"], "User": "app", "Env": ["OF=app"]}"#));
    assert_eq!(other_images(&job).into_iter().collect::<Vec<_>>(), ["oci:/images/tool"]);
    let config = super::image(r#"{"User": "tool", "Env": ["OF=tool"], "WorkingDir": "/w"}"#);
    let tool = StepImage { config, layers: vec!["/layers/1".into()] };
    let others = BTreeMap::from([("oci:/images/tool".to_owned(), Ok(tool))]);
    let bundle = build(&job, &Images { job: &image, others: &others }, &root(), &place()).unwrap();
    let made = &bundle.step_roots[&1];
    assert_eq!(bundle.step_roots.len(), 1);
    assert_eq!((&made.layers, &made.volumes), (&vec!["/layers/1".into()], &Vec::new()));
    let [own, other] = [0, 1].map(|index| bundle.steps[index].action.process().unwrap());
    assert_eq!(own.spec.root(), bundle.main.spec.root());
    assert_eq!(other.spec.root().as_ref().unwrap().path(), &made.mountpoint);
    assert_eq!((own.user.user.as_str(), other.user.user.as_str()), ("app", "tool"));
    let specified = other.spec.process().as_ref().unwrap();
    assert_eq!(specified.cwd().to_str(), Some("/w"));
    assert!(specified.env().iter().flatten().any(|entry| entry == "OF=tool"));
    assert_eq!(other.spec.mounts(), bundle.main.spec.mounts());
}

#[test]
fn an_image_that_was_not_fetched_is_named() {
    let message = make(ON_OTHER, r#"{"Cmd": ["/app"]}"#, &root()).unwrap_err().to_string();
    assert!(message.contains("\"other\"") && message.contains("oci:/images/tool"), "{message}");
}

#[test]
fn a_step_that_may_fail_does_so_when_its_image_cannot_be_had() {
    let lax = ON_OTHER.replace("{id: other,", "{id: other, on_failure: warn, retry: 3,");
    assert_eq!(step_that_needs(&job(ON_OTHER), "oci:/images/tool"), Some("other"));
    assert_eq!(step_that_needs(&job(&lax), "oci:/images/tool"), None);
    let (job, image) = (job(&lax), image(r#"{"Cmd": ["/app"]}"#));
    let others = BTreeMap::from([("oci:/images/tool".to_owned(), Err("it is gone".to_owned()))]);
    let bundle = build(&job, &Images { job: &image, others: &others }, &root(), &place()).unwrap();
    let StepAction::Impossible { reason } = &bundle.steps[1].action else { panic!("{:?}", bundle.steps) };
    assert_eq!(reason, r#"failed to get the image "oci:/images/tool": it is gone"#);
    assert_eq!((bundle.steps[1].retries, bundle.steps[1].on_failure), (0, OnStepFailure::Warn));
}

#[test]
fn what_is_in_memory_is_shared_by_the_processes_of_a_job_that_has_several() {
    const TMPFS: &str = "storage: [{type: tmpfs, target: /secrets, size: 1Mi, mode: 750}]\n";
    let bundle = made(&format!("{TMPFS}init: {{steps: [{{uses: init.run, with: {{command: [a]}}}}]}}"), &root());
    let [shm, secrets] = bundle.shared_tmpfs.as_slice() else { panic!("{:?}", bundle.shared_tmpfs) };
    assert_eq!((secrets.size, secrets.mode, secrets.exec), (Some(1 << 20), 0o750, true));
    assert_eq!((shm.size, shm.mode, shm.exec), (Some(64 << 20), 0o1777, false));
    let mounts = bundle.main.spec.mounts().as_ref().unwrap();
    for (target, shared) in [("/dev/shm", shm), ("/secrets", secrets)] {
        let mount = mounts.iter().find(|mount| mount.destination().as_os_str() == target).unwrap();
        assert_eq!((mount.source().as_ref(), mount.typ().as_deref()), (Some(&shared.mountpoint), Some("bind")));
    }
    for steps in ["", "init: {steps: [{uses: init.wait_tcp, with: {host: db, port: 1}}]}"] {
        assert_eq!(made(&format!("{TMPFS}{steps}"), &root()).shared_tmpfs, [], "{steps}");
    }
}
