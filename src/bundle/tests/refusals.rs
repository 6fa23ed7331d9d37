//! What is refused before anything is started, and what each message says to do.

use super::*;

#[track_caller]
fn refused(fields: &str, host: &HostFacts) -> String {
    match make(fields, r#"{"Cmd": ["c"]}"#, host) {
        Ok(_) => panic!("accepted: {fields}"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn capabilities(fields: &str, host: &HostFacts) -> Vec<String> {
    bounding_capabilities(&job(fields), host).unwrap_or_else(|error| panic!("{error}")).into_iter().collect()
}

#[test]
fn a_message_begins_with_the_field_that_is_wrong() {
    let unable = HostFacts { has_sys_resource: false, ..root() };
    for (fields, host, field) in [
        ("capabilities: [MKNOD]", &root(), "capabilities"),
        ("ulimits: {nofile: {soft: 1, hard: 524289}}", &unable, "ulimits.nofile"),
        ("ulimits: {nproc: {soft: 1, hard: unlimited}}", &user(65_537), "ulimits.nproc"),
        ("resources: {oom_score_adj: -1}", &unable, "resources.oom_score_adj"),
        ("resources: {oom_score_adj: 99}", &user(65_537), "resources.oom_score_adj"),
        ("devices: [/dev/nothing]", &root(), "devices"),
        ("devices: [\"/dev/fuse:r\"]", &root(), "devices"),
        ("storage: [{type: bind, source: /gone, target: /x}]", &root(), "storage"),
        ("extra_groups: [audio]", &user(1), "extra_groups"),
        ("user: \"1\"", &user(1), "user"),
        ("user: \"65537:0\"", &user(65_537), "user"),
        (
            "init:\n  steps:\n    - {uses: init.run, with: {command: [a], user: \"1\"}}",
            &user(1),
            "init step \"step-1\": user",
        ),
    ] {
        let message = refused(fields, host);
        assert!(message.starts_with(&format!("{field}: ")), "{fields}: {message}");
    }
}

#[test]
fn what_the_host_allows_is_not_refused() {
    for (fields, host) in [
        ("ulimits: {nofile: {soft: 1, hard: 524288}}", &user(65_537)),
        ("ulimits: {nofile: {soft: 1, hard: unlimited}}", &root()),
        ("ulimits: {core: {soft: unlimited, hard: unlimited}}", &user(1)),
        ("resources: {oom_score_adj: 100}", &user(1)),
        ("resources: {oom_score_adj: -1000}", &root()),
        ("user: \"65536\"", &user(65_537)),
        ("user: \"4000000\"", &root()),
        ("extra_groups: [audio]", &user(65_537)),
        ("capabilities: [MKNOD]", &user(1)),
    ] {
        make(fields, r#"{"Cmd": ["c"]}"#, host).unwrap_or_else(|error| panic!("{fields}: {error}"));
    }
}

#[test]
fn an_image_with_nonsense_is_named() {
    for (config, words) in [
        (r#"{"Cmd": ["c"], "WorkingDir": "srv"}"#, ["\"srv\"", "command.workdir"]),
        (r#"{"Cmd": ["c"], "StopSignal": "SIGNONE"}"#, ["\"SIGNONE\"", "stop_signal"]),
    ] {
        let message = make("", config, &root()).unwrap_err().to_string();
        assert!(message.contains("oci:/images/app:v1") && words.iter().all(|word| message.contains(word)), "{message}");
    }
}

#[test]
fn capabilities_are_podmans_default_with_what_the_job_changes() {
    let default = capabilities("", &root());
    assert_eq!(default.len(), 11);
    assert_eq!(capabilities("", &user(1)), default);
    assert_eq!(capabilities("cap_drop: [ALL]", &root()), [""; 0]);
    assert_eq!(capabilities("cap_drop: [ALL]\ncapabilities: [NET_RAW]", &root()), ["CAP_NET_RAW"]);
    let changed = capabilities("cap_drop: [CHOWN]\ncapabilities: [NET_RAW]", &root());
    assert_eq!(changed.len(), 11);
    assert!(!changed.contains(&"CAP_CHOWN".to_owned()) && changed.contains(&"CAP_NET_RAW".to_owned()));
}

#[test]
fn a_capability_that_the_caller_lacks_cannot_be_handed_on() {
    const SYS_TIME: u8 = 25;
    let mut host = root();
    host.capabilities.remove(&SYS_TIME);
    let message = refused("capabilities: [SYS_TIME]", &host);
    assert!(message.contains("CAP_SYS_TIME"), "{message}");
    assert!(!capabilities("capabilities: [ALL]", &host).contains(&"CAP_SYS_TIME".to_owned()));
}

/// There is no device cgroup: with this one, root could open any disk of the host.
#[test]
fn making_devices_is_not_among_all_capabilities() {
    let bundle = made("capabilities: [ALL]", &root());
    assert!(bundle.notes.iter().any(|note| note.contains("CAP_MKNOD")), "{:?}", bundle.notes);
    assert!(!capabilities("capabilities: [ALL]", &root()).contains(&"CAP_MKNOD".to_owned()));
}

#[test]
fn users_other_than_root_get_only_what_is_added_by_name() {
    let of_user = |fields: &str| {
        let sets = made(fields, &root()).main.user_capabilities.unwrap();
        let count = |set: &Option<oci_spec::runtime::Capabilities>| set.as_ref().unwrap().len();
        let all = [sets.effective(), sets.permitted(), sets.inheritable(), sets.ambient()];
        (count(sets.bounding()), all.map(count))
    };
    assert_eq!(of_user(""), (11, [0; 4]));
    assert_eq!(of_user("capabilities: [SYS_PTRACE]"), (12, [1; 4]));
    assert_eq!(of_user("capabilities: [CHOWN]"), (11, [1; 4]));
}

#[test]
fn a_job_runs_without_a_filter_only_when_it_says_so() {
    assert!(made("", &root()).main.seccomp_filter.is_some());
    let bundle = made("security_opt: [seccomp=unconfined]", &root());
    assert!(bundle.main.seccomp_filter.is_none());
    assert!(bundle.notes.iter().any(|note| note.contains("seccomp")), "{:?}", bundle.notes);
}
