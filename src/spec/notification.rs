//! `job.on_failure` and `job.on_success`: who is told.

use super::http::{read_headers, read_url};
use super::job::Notification;
use super::names::identifier;
use super::node::Value;
use super::reader::At;
use super::value_error::ValueError;

const FORMS: &str = "write a job's name, {job: NAME} or {post: URL}";

/// One notification or a list of them.
pub(super) fn read_notifications(at: &At) -> Vec<Notification> {
    match at.node.value {
        Value::List(_) => at.each(FORMS, read_one).unwrap_or_default(),
        _ => read_one(at).into_iter().collect(),
    }
}

fn read_one(at: &At) -> Option<Notification> {
    match &at.node.value {
        // An address is not a job's name, and no message shows it.
        Value::Text(text) if text.contains("://") => at.check(Err(ValueError::AddressAlone)),
        Value::Text(_) | Value::Number(_) => Some(Notification::Job { name: job_name(at)? }),
        Value::Map(_) => read_mapping(at),
        _ => at.wrong_type("a job's name or a mapping", FORMS),
    }
}

fn read_mapping(at: &At) -> Option<Notification> {
    let mut fields = at.fields(FORMS)?;
    fields.elsewhere(&[("http", "post"), ("name", "job"), ("run", "job"), ("url", "post"), ("webhook", "post")]);
    let job = fields.take("job");
    let post = fields.take("post");
    let headers = fields.take("headers");
    let notification = match (job, post) {
        (Some(job), None) => {
            if let Some(headers) = headers {
                headers.error(ValueError::Meaningless { what: "a job", field: "headers".to_owned() });
            }
            job_name(&job).map(|name| Notification::Job { name })
        }
        (None, Some(post)) => {
            let headers = headers.map(|at| read_headers(&at)).unwrap_or_default();
            read_url(&post).map(|url| Notification::Post { url, headers })
        }
        (Some(_), Some(post)) => {
            post.error(ValueError::Meaningless { what: "a notification that runs a job", field: "post".to_owned() });
            None
        }
        (None, None) => {
            fields.require("post", FORMS);
            None
        }
    };
    fields.finish();
    notification
}

fn job_name(at: &At) -> Option<String> {
    at.parse(|text| identifier("a job name", text))
}
