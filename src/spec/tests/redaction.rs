//! Secrets of a spec do not come out of its `Debug`.

use super::*;

const SECRET: &str = "hunter2";

#[test]
fn debug_shows_no_secret_of_steps_and_notifications() {
    let fields = format!(
        "init:
  steps:
    - {{uses: init.s3_pull, with: {{bucket: the-bucket, key: k, destination: /x, env: {{AWS_SECRET_ACCESS_KEY: {SECRET}}}}}}}
    - {{uses: init.wait_http, with: {{url: \"http://db:8080/{SECRET}?{SECRET}\", headers: {{Authorization: {SECRET}}}}}}}
job:
  on_failure: {{post: \"https://hooks.example/{SECRET}\", headers: {{X-Api-Key: {SECRET}}}}}
  on_success: tidy
"
    );
    let text = with_fields(&fields);
    let text = if cfg!(feature = "s3") { text } else { text.replace("init.s3_pull", "init.s3_pul") };
    let Ok(deployment) = parse(&text) else {
        assert!(!cfg!(feature = "s3"));
        return;
    };
    for shown in [format!("{deployment:?}"), format!("{deployment:#?}")] {
        assert!(!shown.contains(SECRET), "{shown}");
        for visible in [
            "the-bucket",
            "AWS_SECRET_ACCESS_KEY",
            "http://db:8080",
            "Authorization",
            "https://hooks.example",
            "X-Api-Key",
            "tidy",
        ] {
            assert!(shown.contains(visible), "no {visible} in {shown}");
        }
    }
}
