//! The three classes of field: honoured ones are in `full`; here are the other two, and services
//! that are not for coracle.

use super::*;

#[test]
fn known_fields_that_nothing_acts_on_yet_are_errors() {
    const NOT_YET: &str = "known, but this version of coracle does not honour it yet";
    for (fields, place) in [
        ("logs: {destination: memory}", "1:21: logs.destination"),
        ("storage: [{type: named, name: a, target: /a, size: 1Gi}]", "1:52: storage[0].size"),
        ("privileged: true", "1:13: privileged"),
        ("job: {schedule: \"0 3 * * *\"}", "1:17: job.schedule"),
        ("job: {cron: \"0 3 * * *\"}", "1:13: job.cron"),
        ("cron: {schedule: daily}", "1:7: cron"),
    ] {
        assert_eq!(error(fields), format!("{place}: {NOT_YET}"), "{fields}");
    }
}

#[test]
fn a_mistyped_value_of_such_a_field_gets_its_own_error() {
    for (fields, message) in [
        ("logs: {destination: syslog}", "unknown log destination \"syslog\"; known are disk, memory"),
        (
            "storage: [{type: named, name: a, target: /a, size: big}]",
            "\"big\" is not an amount of bytes; write it as 512Mi, 1Gi, 64m or a number of bytes",
        ),
        ("privileged: maybe", "expected true or false, found the text \"maybe\""),
        ("schedule: \"* * * * *\"", "only `rtype: cron` has a schedule"),
    ] {
        let error = error(fields);
        assert!(error.ends_with(message), "{fields}\n{error}");
    }
}

#[test]
fn defaults_of_such_fields_may_be_written_out() {
    for fields in [
        "logs: {destination: disk}",
        "lifecycle: {delete_on_exit: false}",
        "privileged: false",
        "errors: {on_init_failure: {action: fail}}",
    ] {
        assert_eq!(job(fields), job(""), "{fields}");
    }
}

#[test]
fn cron_jobs_wait_for_a_later_version() {
    let cron = |fields: &str| {
        let text = with_fields(fields).replace("rtype: job", "rtype: cron");
        parse(&text).unwrap_err().to_string()
    };
    let not_yet = "job.yaml:5:12: services.hello.rtype: known, but this version of coracle does not honour it yet";
    assert_eq!(cron("schedule: \"0 3 * * MON-FRI\""), not_yet);
    assert_eq!(cron("schedule: \"@daily\""), not_yet);
    assert!(cron("schedule: daily").contains("\"daily\" is not a cron expression"));
    assert!(cron("").contains("services.hello.schedule: missing"));
}

#[test]
fn fields_of_a_cluster_are_accepted_with_a_warning() {
    let text = format!(
        "{}overlays: [x]\n",
        with_fields(
            "scale: {mode: adaptive}\nreplicas: 3\nendpoints: []\nports: [80]\nnetwork: {overlays: {}}\nhealth: {}\n\
             healthcheck: 7\ndepends: []\ndepends_on: [db]\nrestart: always\nnode_mode: shared\n\
             storage: [{type: anonymous, target: /d, tier: cached}]"
        )
    );
    let warnings: Vec<String> = parse(&text).unwrap().warnings.iter().map(ToString::to_string).collect();
    let expected = [
        "7:5: services.hello.scale",
        "8:5: services.hello.replicas",
        "9:5: services.hello.endpoints",
        "10:5: services.hello.ports",
        "11:5: services.hello.network",
        "12:5: services.hello.health",
        "13:5: services.hello.healthcheck",
        "14:5: services.hello.depends",
        "15:5: services.hello.depends_on",
        "16:5: services.hello.restart",
        "17:5: services.hello.node_mode",
        "18:45: services.hello.storage[0].tier",
        "19:1: overlays",
    ];
    let expected: Vec<String> = expected
        .iter()
        .map(|place| format!("job.yaml:{place}: has no meaning for a job on one machine; ignored"))
        .collect();
    assert_eq!(warnings, expected);
}

#[test]
fn a_service_is_refused_by_name_and_the_others_run() {
    let text = "
version: v1
deployment: test
services:
  web:
    rtype: service
    image: nginx
    anything: goes
  migrate:
    rtype: job
    image: {name: busybox}
";
    let deployment = parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(deployment.services.keys().collect::<Vec<_>>(), ["migrate"]);
    assert_eq!(deployment.services["migrate"].name, "migrate");
    assert_eq!(deployment.refused.keys().collect::<Vec<_>>(), ["web"]);
    assert_eq!(
        deployment.refused["web"].to_string(),
        "job.yaml:6:12: services.web.rtype: `rtype: service` is not run by coracle, which runs jobs to completion; \
         use `rtype: job`, or run the service elsewhere"
    );
}

#[test]
fn all_errors_are_reported_in_the_order_of_the_file() {
    let text = "
version: v1
deployment: test
services:
  a:
    rtype: job
    image: {name: busybox}
    resources: {memroy: 1Gi, cpu: lots}
    zzz: 1
  b:
    rtype: job
    env: {X: $E:NOPE}
";
    let errors = parse(text).unwrap_err();
    let expected = "\
job.yaml:8:17: services.a.resources.memroy: unknown field; did you mean \"memory\"?
job.yaml:8:35: services.a.resources.cpu: \"lots\" is not an amount of CPU; write it as 2, 0.5 or 500m, in steps of 0.001
job.yaml:9:5: services.a.zzz: unknown field
job.yaml:10:3: services.b.image: missing; write `image: {name: …}`
job.yaml:12:14: services.b.env.X: environment variable \"NOPE\" is not set";
    assert_eq!(errors.to_string(), expected);
}
