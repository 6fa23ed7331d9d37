//! Secrets of a spec do not come out of its `Debug`.

use super::*;
use crate::spec::*;
use std::time::Duration;

const SECRET: &str = "hunter2";

#[track_caller]
fn check(value: &dyn std::fmt::Debug, visible: &[&str]) {
    for shown in [format!("{value:?}"), format!("{value:#?}")] {
        assert!(!shown.contains(SECRET), "{shown}");
        for part in visible {
            assert!(shown.contains(part), "no {part} in {shown}");
        }
    }
}

fn secret(name: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), SECRET.to_owned())]
}

#[test]
fn debug_shows_no_secret_of_steps() {
    let transfer = S3Transfer {
        direction: S3Direction::Push,
        bucket: "the-bucket".into(),
        key: "the/key".into(),
        path: "/out/x".into(),
        endpoint: Some("http://minio:9000".into()),
        region: None,
        env: secret("AWS_SECRET_ACCESS_KEY"),
        credentials_file: Some("/etc/aws".into()),
        anonymous: false,
        ca_bundle: Some("/etc/ca.pem".into()),
        addressing_style: S3Addressing::Path,
    };
    let names =
        ["Push", "the-bucket", "the/key", "/out/x", "minio", "AWS_SECRET_ACCESS_KEY", "/etc/aws", "/etc/ca.pem"];
    check(&transfer, &names);
    check(&InitAction::S3(transfer), &names);
    let wait = WaitHttp {
        url: format!("http://db:8080/{SECRET}?{SECRET}"),
        method: "GET".into(),
        headers: secret("Authorization"),
        expect_status: vec![204],
        interval: Duration::from_secs(1),
        insecure_skip_verify: false,
    };
    check(&InitAction::WaitHttp(wait), &["http://db:8080", "GET", "Authorization", "204"]);
}

#[test]
fn debug_shows_no_secret_of_notifications() {
    let fields = format!(
        "job: {{on_failure: {{post: \"https://hooks.example/{SECRET}\", headers: {{X-Api-Key: {SECRET}}}}}, on_success: tidy}}"
    );
    check(&parse(&with_fields(&fields)).unwrap(), &["https://hooks.example", "X-Api-Key", "tidy"]);
}

#[test]
fn debug_shows_no_value_of_an_environment() {
    let step = format!("init: {{steps: [{{uses: init.run, with: {{command: x, env: {{SECOND: {SECRET}}}}}}}]}}");
    check(&parse(&with_fields(&format!("env: {{FIRST: {SECRET}}}"))).unwrap(), &["FIRST"]);
    check(&parse(&with_fields(&step)).unwrap(), &["SECOND"]);
    check(&Overrides { env: secret("THIRD"), ..Overrides::default() }, &["THIRD"]);
}
