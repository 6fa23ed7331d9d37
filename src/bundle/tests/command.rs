//! Docker's rules for what a job runs.

use super::*;

/// Command line of the main process.
fn arguments(fields: &str, config: &str) -> Vec<String> {
    let bundle = make(fields, config, &root()).unwrap_or_else(|error| panic!("{fields}\n{error}"));
    main_process(&bundle).args().clone().unwrap()
}

fn main_process(bundle: &Bundle) -> oci_spec::runtime::Process {
    bundle.main.spec.process().clone().unwrap()
}

fn variables(bundle: &Bundle) -> BTreeMap<String, String> {
    let process = main_process(bundle);
    let entries = process.env().as_ref().unwrap();
    let map: BTreeMap<_, _> = entries
        .iter()
        .map(|entry| entry.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(map.len(), entries.len(), "a name stands twice: {entries:?}");
    map
}

/// <https://docs.docker.com/reference/dockerfile/#understand-how-cmd-and-entrypoint-interact>
#[test]
fn entrypoint_and_arguments_combine_as_in_docker() {
    const BOTH: &str = r#"{"Entrypoint": ["e"], "Cmd": ["c", "d"]}"#;
    const CMD: &str = r#"{"Cmd": ["c", "d"]}"#;
    assert_eq!(arguments("", BOTH), ["e", "c", "d"]);
    assert_eq!(arguments("", CMD), ["c", "d"]);
    assert_eq!(arguments("command: [x]", BOTH), ["e", "x"]);
    assert_eq!(arguments("command: [x]", CMD), ["x"]);
    assert_eq!(arguments("command: {args: [x, y]}", BOTH), ["e", "x", "y"]);
    assert_eq!(arguments("command: {entrypoint: [n]}", BOTH), ["n"], "a new entrypoint drops the image's Cmd");
    assert_eq!(arguments("command: {entrypoint: [n], args: [x]}", BOTH), ["n", "x"]);
    assert_eq!(arguments("command: {workdir: /w}", BOTH), ["e", "c", "d"]);
}

#[test]
fn nothing_to_run_names_job_and_image() {
    for config in ["{}", r#"{"Entrypoint": [], "Cmd": []}"#, r#"{"Entrypoint": null}"#] {
        let message = make("", config, &root()).unwrap_err().to_string();
        assert!(message.contains("job report") && message.contains("image oci:/images/app:v1"), "{message}");
    }
}

#[test]
fn environment_is_the_images_then_the_jobs_then_the_callers() {
    let config = r#"{"Cmd": ["c"], "Env": ["A=image", "B=image", "PATH=/image", "A=again", "=x", "NOVALUE", "E=a=b"]}"#;
    let found = variables(&make("env: {B: job, C: job, HOSTNAME: mine}", config, &root()).unwrap());
    let expected = [
        ("A", "again"),
        ("B", "job"),
        ("C", "job"),
        ("CORACLE_ATTEMPT", "2"),
        ("CORACLE_EXECUTION_ID", ID),
        ("CORACLE_JOB_NAME", "report"),
        ("E", "a=b"),
        ("HOSTNAME", "mine"),
        ("PATH", "/image"),
        ("container", "coracle"),
    ];
    assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[test]
fn path_is_dockers_when_the_image_has_none_and_home_is_left_to_the_start() {
    let found = variables(&made("", &root()));
    assert_eq!(found["PATH"], "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    assert!(!found.contains_key("HOME"));
    assert!(!found.contains_key("TERM"));
}

#[test]
fn the_jobs_own_id_and_name_cannot_be_faked() {
    let found = variables(&made("env: {CORACLE_EXECUTION_ID: x, CORACLE_JOB_NAME: y}", &root()));
    assert_eq!((found["CORACLE_EXECUTION_ID"].as_str(), found["CORACLE_JOB_NAME"].as_str()), (ID, "report"));
}

#[test]
fn user_workdir_and_stop_signal_are_the_jobs_then_the_images_then_dockers() {
    const CONFIG: &str = r#"{"Cmd": ["c"], "User": "app", "WorkingDir": "/srv", "StopSignal": "3"}"#;
    const FIELDS: &str = "user: other\ncommand: {workdir: /w}\nstop_signal: SIGHUP";
    let found = |fields: &str, config: &str| {
        let bundle = make(fields, config, &root()).unwrap();
        let workdir = main_process(&bundle).cwd().display().to_string();
        (bundle.main.user.user.clone(), workdir, bundle.stop_signal)
    };
    assert_eq!(found(FIELDS, CONFIG), ("other".to_owned(), "/w".to_owned(), libc::SIGHUP));
    assert_eq!(found("", CONFIG), ("app".to_owned(), "/srv".to_owned(), libc::SIGQUIT));
    assert_eq!(
        found("", r#"{"Cmd": ["c"], "WorkingDir": "", "StopSignal": ""}"#),
        (String::new(), "/".into(), libc::SIGTERM)
    );
}

#[test]
fn a_host_name_is_that_of_the_job_or_the_random_end_of_the_id() {
    let hostname = |fields: &str| made(fields, &root()).main.spec.hostname().clone().unwrap();
    assert_eq!(hostname("hostname: tub"), "tub");
    assert_eq!(hostname(""), "0123456789ab");
}

#[test]
fn every_process_is_set_up_alike() {
    let fields =
        "init:\n  steps:\n    - {uses: init.run, with: {command: [a]}}\n    - {uses: init.run, with: {command: [b]}}";
    let bundle = made(fields, &root());
    assert_eq!(bundle.steps.iter().map(|step| step.id.as_str()).collect::<Vec<_>>(), ["step-1", "step-2"]);
    let main = &bundle.main;
    let mut paths = BTreeSet::new();
    for process in bundle.steps.iter().filter_map(|step| step.action.process()).chain([main]) {
        assert_eq!(process.spec.mounts(), main.spec.mounts());
        assert_eq!(process.seccomp_filter, main.seccomp_filter);
        assert_eq!(process.user_capabilities, main.user_capabilities);
        let linux = process.spec.linux().as_ref().unwrap();
        assert!(paths.insert(linux.cgroups_path().clone().unwrap()), "libcontainer needs a path for each");
    }
}
