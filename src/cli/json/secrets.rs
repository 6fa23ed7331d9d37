//! A recorded spec without what opens doors: the values of headers, what S3 steps sign with, variables that come
//! from the caller's environment, and the paths of addresses that are told of ends. Looked for by the names of
//! fields, so that specs of other versions are covered as well.

use crate::cli::describe::is_secret;
use crate::spec::origin;
use serde_json::Value;

/// In the place of a value.
const HIDDEN: &str = "…";

pub(super) fn without_secrets(spec: &Value) -> Value {
    let hidden = spec.get("hidden_env").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let hidden: Vec<&str> = hidden.iter().filter_map(Value::as_str).collect();
    let mut shown = spec.clone();
    hide(&mut shown, &hidden, false);
    shown
}

/// `hidden`: variables that are the caller's own; `is_s3`: the values of `env` are there for nothing but signing.
fn hide(value: &mut Value, hidden: &[&str], is_s3: bool) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| hide(value, hidden, is_s3)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), &mut *value) {
                    // Their names are the user's own.
                    ("labels" | "sysctls", _) => {}
                    ("headers", pairs) => hide_values(pairs, |_| true),
                    ("env", pairs) => hide_values(pairs, |name| is_s3 || is_secret(name) || hidden.contains(&name)),
                    ("url", Value::String(url)) => *url = shortened(url),
                    (name, value) => hide(value, hidden, name == "s3"),
                }
            }
        }
        _ => {}
    }
}

/// Of a list of pairs of a name and a value.
fn hide_values(pairs: &mut Value, is_hidden: impl Fn(&str) -> bool) {
    for pair in pairs.as_array_mut().into_iter().flatten() {
        if let Some([Value::String(name), value]) = pair.as_array_mut().map(Vec::as_mut_slice)
            && is_hidden(name)
        {
            *value = HIDDEN.into();
        }
    }
}

fn shortened(url: &str) -> String {
    let origin = origin(url);
    if url == origin { origin } else { format!("{origin}/{HIDDEN}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::DeploymentSpec;

    #[test]
    fn nothing_secret_is_shown() {
        let text = r#"
version: v1
deployment: demo
services:
  job:
    rtype: job
    image: { name: "oci:x" }
    labels: { url: "http://a/label", env: other-label }
    env: { PLAIN: seen, AWS_SECRET_ACCESS_KEY: hidden-1 }
    init:
      steps:
        - uses: init.wait_http
          with: { url: "https://example.org/hidden-2?key=hidden-3", headers: { Authorization: hidden-4 } }
        - uses: init.s3_pull
          with: { bucket: backups, key: k, destination: /x, env: { AWS_ACCESS_KEY_ID: hidden-5 } }
    job: { on_failure: [{ post: "https://example.org/hidden-6", headers: { X: hidden-7 } }] }
"#;
        let deployment: DeploymentSpec = text.parse().expect("a valid spec");
        let spec = serde_json::to_value(&deployment.services["job"]).expect("serializable");
        assert_eq!(spec.to_string().matches("hidden-").count(), 7, "{spec:#}");
        let shown = without_secrets(&spec).to_string();
        assert!(!shown.contains("hidden-"), "{shown}");
        for kept in ["seen", "Authorization", "AWS_ACCESS_KEY_ID", "https://example.org/…", "http://a/label"] {
            assert!(shown.contains(kept), "no {kept} in {shown}");
        }
    }
}
