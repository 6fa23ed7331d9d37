//! `init.s3_pull` and `init.s3_push`: one object of a store that speaks S3, and one file of the job.

use super::super::environment::read_env;
use super::super::error::Problem;
use super::super::http::read_endpoint;
use super::super::job::{InitAction, S3Addressing, S3Direction, S3Transfer};
use super::super::names::{container_path, host_path};
use super::super::reader::At;
use super::super::value_error::ValueError;
use super::steps::required;

/// What other tools call the fields.
const ELSEWHERE_IN_PULL: &[(&str, &str)] = &[
    ("dest", "destination"),
    ("path", "destination"),
    ("source", "destination"),
    ("ca_certificate", "ca_bundle"),
    ("ca_file", "ca_bundle"),
    ("no_sign_request", "anonymous"),
    ("skip_signature", "anonymous"),
    ("path_style", "addressing_style"),
    ("virtual_hosted_style", "addressing_style"),
];
const ELSEWHERE_IN_PUSH: &[(&str, &str)] = &[
    ("dest", "source"),
    ("destination", "source"),
    ("path", "source"),
    ("ca_certificate", "ca_bundle"),
    ("ca_file", "ca_bundle"),
    ("no_sign_request", "anonymous"),
    ("skip_signature", "anonymous"),
    ("path_style", "addressing_style"),
    ("virtual_hosted_style", "addressing_style"),
];

/// `uses` is where the step says its kind.
pub(super) fn read(uses: &At, with: &At, direction: S3Direction) -> Option<InitAction> {
    if !cfg!(feature = "s3") {
        uses.error(Problem::WithoutFeature { what: "S3", feature: "s3" });
    }
    let mut fields = with.fields("write `bucket:` and `key:` below it")?;
    let (path, form, elsewhere) = match direction {
        S3Direction::Pull => ("destination", "the file of the job to write", ELSEWHERE_IN_PULL),
        S3Direction::Push => ("source", "the file of the job to read", ELSEWHERE_IN_PUSH),
    };
    fields.elsewhere(elsewhere);
    let bucket = required(&mut fields, "bucket", "the bucket's name", bucket);
    let key = required(&mut fields, "key", "the object's key", key);
    let path = required(&mut fields, path, form, file);
    let endpoint = fields.take("endpoint").and_then(|at| read_endpoint(&at));
    let region = fields.take("region").and_then(|at| at.parse(region));
    let env = fields.take("env").map(|at| read_env(&at)).unwrap_or_default();
    let anonymous = fields.take("anonymous").and_then(|at| at.bool()).unwrap_or(false);
    let credentials_file = fields.take("credentials_file").and_then(|at| {
        if anonymous {
            at.error(ValueError::Meaningless { what: "anonymous requests", field: "credentials_file".into() });
        }
        at.parse(|text| host_path(text, at.report.base))
    });
    let ca_bundle = fields.take("ca_bundle").and_then(|at| at.parse(|text| host_path(text, at.report.base)));
    let addressing_style = fields.take("addressing_style").and_then(|at| addressing(&at)).unwrap_or_default();
    fields.finish();
    Some(InitAction::S3(S3Transfer {
        direction,
        bucket: bucket?,
        key: key?,
        path: path?,
        endpoint,
        region,
        env,
        credentials_file,
        anonymous,
        ca_bundle,
        addressing_style,
    }))
}

fn addressing(at: &At) -> Option<S3Addressing> {
    Some(match at.choice("addressing style", &["auto", "path", "virtual"])? {
        "path" => S3Addressing::Path,
        "virtual" => S3Addressing::Virtual,
        _ => S3Addressing::Auto,
    })
}

/// The rules of general purpose buckets
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>), with the capitals,
/// underscores and lengths that they had once and that other servers still take.
fn bucket(text: &str) -> Result<String, ValueError> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts_well && (3..=255).contains(&text.len()) && text.bytes().all(inner) {
        return Ok(text.to_owned());
    }
    let form = "the name alone: 3 to 255 letters, digits, `.`, `-` and `_`, a letter or digit first";
    Err(ValueError::Malformed { what: "a bucket", text: text.to_owned(), form })
}

/// Up to 1024 bytes (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>). Parts that
/// a path of files would swallow name another object once they are taken out, so they are refused.
fn key(text: &str) -> Result<String, ValueError> {
    const MAX_LEN: usize = 1024;
    let part = |part: &str| !matches!(part, "" | "." | "..");
    if text.len() <= MAX_LEN && text.split('/').all(part) && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    let form = "up to 1024 bytes in parts separated by `/`, none of them empty, `.` or `..`";
    Err(ValueError::Malformed { what: "an object's key", text: text.to_owned(), form })
}

/// A file's path in the container.
fn file(text: &str) -> Result<String, ValueError> {
    let path = container_path(text)?;
    if text.ends_with('/') || text.ends_with("/.") {
        let form = "the path of the file itself";
        return Err(ValueError::Malformed { what: "a path of a file", text: text.to_owned(), form });
    }
    Ok(path)
}

/// `eu-central-1` or what else a server calls its region, as `auto`.
fn region(text: &str) -> Result<String, ValueError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    let form = "letters, digits and `-`, as eu-central-1";
    Err(ValueError::Malformed { what: "a region", text: text.to_owned(), form })
}
