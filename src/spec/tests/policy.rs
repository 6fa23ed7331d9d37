//! The `job` block, and what else says how executions come and go.

use super::*;
use crate::spec::*;
use std::time::Duration;

#[test]
fn concurrency_and_conflicts_say_one_thing_together() {
    for (fields, limit, on_conflict) in [
        ("", None, OnConflict::Queue),
        ("job: {max_concurrent: 3}", Some(3), OnConflict::Queue),
        ("job: {on_conflict: queue}", Some(1), OnConflict::Queue),
        ("job: {on_conflict: forbid}", Some(1), OnConflict::Forbid),
        ("job: {on_conflict: replace}", Some(1), OnConflict::Replace),
        ("job: {on_conflict: replace, max_concurrent: 2}", Some(2), OnConflict::Replace),
        ("job: {on_conflict: allow}", None, OnConflict::Allow),
    ] {
        let policy = job(fields).policy;
        assert_eq!((policy.max_concurrent, policy.on_conflict), (limit, on_conflict), "{fields}");
    }
}

#[test]
fn flags_change_concurrency_and_retries() {
    let changed = |fields: &str, changes| job(fields).with(changes).map(|job| job.policy);
    let limit = |limit| Overrides { max_concurrent: Some(limit), ..Overrides::default() };
    let conflict = |on_conflict| Overrides { on_conflict: Some(on_conflict), ..Overrides::default() };
    for (fields, changes, expected) in [
        ("", limit(4), (Some(4), OnConflict::Queue)),
        ("job: {on_conflict: allow}", limit(4), (Some(4), OnConflict::Queue)),
        ("job: {on_conflict: forbid}", limit(4), (Some(4), OnConflict::Forbid)),
        ("", conflict(OnConflict::Forbid), (Some(1), OnConflict::Forbid)),
        ("job: {max_concurrent: 4}", conflict(OnConflict::Replace), (Some(4), OnConflict::Replace)),
        ("job: {max_concurrent: 4}", conflict(OnConflict::Allow), (None, OnConflict::Allow)),
        ("job: {on_conflict: allow}", Overrides::default(), (None, OnConflict::Allow)),
    ] {
        let policy = changed(fields, changes.clone()).unwrap();
        assert_eq!((policy.max_concurrent, policy.on_conflict), expected, "{fields} {changes:?}");
    }
    let both = Overrides { max_concurrent: Some(2), ..conflict(OnConflict::Allow) };
    assert_eq!(changed("", both), Err(ValueError::AllowWithLimit));
    assert_eq!(changed("", limit(0)).unwrap_err().to_string(), "0 is out of range: max_concurrent is 1 to 1000000");

    let attempts = |number| Overrides { retry_attempts: Some(number), ..Overrides::default() };
    let policy = changed("job: {retry: {max_attempts: 5, on_exit_codes: [75]}}", attempts(2)).unwrap();
    assert_eq!((policy.retry.max_attempts, policy.retry.on_exit_codes), (2, vec![75]));
    assert_eq!(changed("", attempts(0)).unwrap_err().to_string(), "0 is out of range: max_attempts is 1 to 1000");

    let delete = |delete| Overrides { delete_on_exit: Some(delete), ..Overrides::default() };
    assert!(changed("", delete(true)).unwrap().delete_on_exit);
    assert!(!changed("lifecycle: {delete_on_exit: true}", delete(false)).unwrap().delete_on_exit);
    assert!(changed("lifecycle: {delete_on_exit: true}", Overrides::default()).unwrap().delete_on_exit);
}

#[test]
fn retries_have_documented_defaults() {
    let retry = |fields: &str| job(&format!("job: {{retry: {fields}}}")).policy.retry;
    assert_eq!(retry("{max_attempts: 3}"), Retry { max_attempts: 3, ..Retry::default() });
    let backoff = retry("{max_attempts: 3, backoff: {initial: 2s}}").backoff;
    let seconds = Duration::from_secs;
    assert_eq!(backoff, Backoff { initial: seconds(2), max: seconds(60), multiplier: 2.0, jitter: 0.0 });
    for (text, jitter) in [("true", 0.5), ("false", 0.0), ("0.3", 0.3), ("1", 1.0), ("0", 0.0)] {
        let backoff = retry(&format!("{{max_attempts: 2, backoff: {{jitter: {text}}}}}")).backoff;
        assert_eq!(backoff, Backoff { jitter, ..Backoff::default() }, "{text}");
    }
    let equal = retry("{max_attempts: 2, backoff: {initial: 60, max: 60}}").backoff;
    assert_eq!(equal.delay(7, 0.9), seconds(60));
}

#[test]
fn retries_that_are_switched_off_get_a_warning() {
    let fields =
        "job: {retry: {max_attempts: 1, on_exit_codes: [75], never_on_exit_codes: [2], backoff: {jitter: true}}}";
    let deployment = parse(&with_fields(fields)).unwrap();
    let places: Vec<&str> = deployment.warnings.iter().map(|warning| warning.place.path.as_str()).collect();
    assert_eq!(
        places,
        ["on_exit_codes", "never_on_exit_codes", "backoff"].map(|name| format!("services.hello.job.retry.{name}"))
    );
    assert_eq!(
        deployment.warnings[0].to_string(),
        "job.yaml:7:36: services.hello.job.retry.on_exit_codes: has no effect with one attempt; \
         max_attempts counts the first one too"
    );
}

#[test]
fn a_log_is_kept_as_long_as_its_execution() {
    let week = Some(Duration::from_secs(604_800));
    assert_eq!(job("logs: {retention_secs: 604800}").policy.retention.ttl, week);
    assert_eq!(job("logs: {retention_secs: 604800}\njob: {retention: {ttl: 7d}}").policy.retention.ttl, week);
    assert_eq!(
        error("logs: {retention_secs: 60}\njob: {retention: {ttl: 7d}}"),
        "1:24: logs.retention_secs: logs for 60s and job.retention.ttl of 604800s differ; a log is kept as long as its execution"
    );
}

#[test]
fn notifications_are_one_or_many() {
    let on_failure = |text: &str| job(&format!("job: {{on_failure: {text}}}")).policy.on_failure;
    let run = |name: &str| Notification::Job { name: name.into() };
    let post = |url: &str| Notification::Post { url: url.into(), headers: vec![] };
    assert_eq!(on_failure("page"), [run("page")]);
    assert_eq!(on_failure("{job: page}"), [run("page")]);
    assert_eq!(on_failure("[page, {job: tidy}, 7]"), [run("page"), run("tidy"), run("7")]);
    assert_eq!(on_failure("{post: http://hooks}"), [post("http://hooks/")]);
    assert_eq!(on_failure("[]"), []);
    assert_eq!(
        on_failure("{post: 'HTTPS://[2001:db8::1]:8443/a?b=$$E:c'}"),
        [post("https://[2001:db8::1]:8443/a?b=$E:c")]
    );
}

#[test]
fn bad_values() {
    const TIME: &str = "is not a length of time; write it as 10s, 1m30s, 500ms or a number of seconds";
    const FORMS: &str = "write a job's name, {job: NAME} or {post: URL}";
    const NAME: &str = "is not a job name; write up to 128 letters, digits, `_`, `.` and `-`, a letter or digit first";
    for (fields, expected) in [
        ("job: {queue_deadline: 0}", "1:23: job.queue_deadline: 0 is out of range: this length of time is more than zero".to_owned()),
        ("job: {max_concurrent: 0}", "1:23: job.max_concurrent: 0 is out of range: max_concurrent is 1 to 1000000".into()),
        ("job: {max_concurent: 1}", "1:7: job.max_concurent: unknown field; did you mean \"max_concurrent\"?".into()),
        ("job: {on_conflict: qeue}", "1:20: job.on_conflict: unknown action \"qeue\"; did you mean \"queue\"?".into()),
        ("job: {on_conflict: allow, max_concurrent: 2}", "1:20: job.on_conflict: on_conflict allow means no limit, and max_concurrent is one; take out one of them".into()),
        ("job: {backoff_limit: 2}", "1:7: job.backoff_limit: unknown field; did you mean \"retry.max_attempts\"?".into()),
        ("job: {retry: 3}", "1:14: job.retry: expected a mapping, found the number 3; write `max_attempts:` below it".into()),
        ("job: {retry: {}}", "1:7: job.retry.max_attempts: missing; how often the job is run at most, the first time included".into()),
        ("job: {retry: {on_exit_codes: [75]}}", "1:7: job.retry.max_attempts: missing; how often the job is run at most, the first time included".into()),
        ("job: {retry: {max_attempts: many}}", "1:29: job.retry.max_attempts: expected a whole number, found the text \"many\"".into()),
        ("job: {retry: {max_attempts: 0}}", "1:29: job.retry.max_attempts: 0 is out of range: max_attempts is 1 to 1000".into()),
        ("job: {retry: {max_atempts: 1, max_attempts: 2}}", "1:15: job.retry.max_atempts: unknown field; did you mean \"max_attempts\"?".into()),
        ("job: {retry: {max_attempts: 2, on_exit_codes: [256]}}", "1:48: job.retry.on_exit_codes[0]: 256 is out of range: the exit code of a failure is 1 to 255".into()),
        ("job: {retry: {max_attempts: 2, never_on_exit_codes: [0]}}", "1:54: job.retry.never_on_exit_codes[0]: 0 is out of range: the exit code of a failure is 1 to 255".into()),
        ("job: {retry: {max_attempts: 2, on_exit_codes: []}}", "1:47: job.retry.on_exit_codes: on_exit_codes must not be empty".into()),
        ("job: {retry: {max_attempts: 2, on_exit_codes: 75}}", "1:47: job.retry.on_exit_codes: expected a list, found the number 75; write exit codes, as [75, 111]".into()),
        ("job: {retry: {max_attempts: 2, on_exit_codes: [75, 75]}}", "1:52: job.retry.on_exit_codes[1]: exit code \"75\" is given twice".into()),
        ("job: {retry: {max_attempts: 2, on_exit_codes: [75, 2], never_on_exit_codes: [1, 2]}}", "1:81: job.retry.never_on_exit_codes[1]: exit code 2 is in on_exit_codes as well; take it out of one of them".into()),
        ("job: {retry: {max_attempts: 2, backoff: {initial: fast}}}", format!("1:51: job.retry.backoff.initial: \"fast\" {TIME}")),
        ("job: {retry: {max_attempts: 2, backoff: {initial: 10s, max: 5s}}}", "1:51: job.retry.backoff.initial: the initial wait of 10s is above max of 5s; write a larger max or a smaller initial".into()),
        ("job: {retry: {max_attempts: 2, backoff: {initial: 2m}}}", "1:51: job.retry.backoff.initial: the initial wait of 120s is above max of 60s; write a larger max or a smaller initial".into()),
        ("job: {retry: {max_attempts: 2, backoff: {max: 500ms}}}", "1:47: job.retry.backoff.max: the initial wait of 1s is above max of 500ms; write a larger max or a smaller initial".into()),
        ("job: {retry: {max_attempts: 2, backoff: {initial: 2m, max: long}}}", format!("1:60: job.retry.backoff.max: \"long\" {TIME}")),
        ("job: {retry: {max_attempts: 2, backoff: {multiplier: 0.5}}}", "1:54: job.retry.backoff.multiplier: 0.5 is out of range: multiplier is 1 to 100".into()),
        ("job: {retry: {max_attempts: 2, backoff: {multiplier: .nan}}}", "1:54: job.retry.backoff.multiplier: .nan is out of range: multiplier is 1 to 100".into()),
        ("job: {retry: {max_attempts: 2, backoff: {jitter: 2}}}", "1:50: job.retry.backoff.jitter: 2 is out of range: jitter is 0 to 1".into()),
        ("job: {retry: {max_attempts: 2, backoff: {jiter: 1}}}", "1:42: job.retry.backoff.jiter: unknown field; did you mean \"jitter\"?".into()),
        ("job: {retry: {max_attempts: 2, jitter: 1}}", "1:32: job.retry.jitter: unknown field; did you mean \"backoff.jitter\"?".into()),
        ("job: {retention: {keep_last: -1}}", "1:30: job.retention.keep_last: -1 is out of range: keep_last is 0 to 1000000".into()),
        ("job: {retention: {tll: 1}}", "1:19: job.retention.tll: unknown field; did you mean \"ttl\"?".into()),
        ("job: {retention: 7d}", "1:18: job.retention: expected a mapping, found the text \"7d\"; write `ttl: 7d` or `keep_last: 100` below it".into()),
        ("job: {on_failure: }", format!("1:17: job.on_failure: expected a job's name or a mapping, found nothing; {FORMS}")),
        ("job: {on_failure: a b}", format!("1:19: job.on_failure: \"a b\" {NAME}")),
        ("job: {on_failure: [[x]]}", format!("1:20: job.on_failure[0]: expected a job's name or a mapping, found a list; {FORMS}")),
        ("job: {on_failure: {}}", format!("1:7: job.on_failure.post: missing; {FORMS}")),
        ("job: {on_failure: {job: \"\"}}", format!("1:25: job.on_failure.job: \"\" {NAME}")),
        ("job: {on_failure: {job: x, post: http://h/}}", "1:34: job.on_failure.post: post has no meaning for a notification that runs a job".into()),
        ("job: {on_failure: {job: x, headers: {A: b}}}", "1:37: job.on_failure.headers: headers has no meaning for a job".into()),
        ("job: {on_success: {pots: http://h/}}", "1:7: job.on_success.post: missing".into()),
        ("job: {on_failure: https://h/secret}", "1:19: job.on_failure: an address to send to goes with `post`; write {post: URL}".into()),
        ("job: {on_failure: {post: ftp://h/}}", "1:26: job.on_failure.post: an address starts with http:// or https://".into()),
        ("job: {on_failure: {post: \"http:h\"}}", "1:26: job.on_failure.post: an address starts with http:// or https://".into()),
        ("job: {on_failure: {post: \"http://\"}}", "1:26: job.on_failure.post: an address that cannot be read: empty host; write it as http://HOST:PORT/PATH".into()),
        ("job: {on_failure: {post: \"http://h:99999/\"}}", "1:26: job.on_failure.post: an address that cannot be read: invalid port number; write it as http://HOST:PORT/PATH".into()),
        ("job: {on_failure: {post: \"http://h/$E:NOPE\"}}", "1:26: job.on_failure.post: environment variable \"NOPE\" is not set".into()),
        ("job: {on_failure: {post: http://h/, headers: {\"A b\": x}}}", "1:47: job.on_failure.headers.A…: \"A…\" is not the name of a header; write letters, digits and hyphens, as X-Api-Key".into()),
        ("job: {on_failure: {post: http://h/, headers: {Content-Length: 3}}}", "1:47: job.on_failure.headers.Content-Length: header \"Content-Length\" is not supported; use headers about the request, not about the connection".into()),
        ("job: {on_failure: {post: http://h/, headers: {A: x, a: y}}}", "1:53: job.on_failure.headers.a: header \"a\" is given twice".into()),
        ("lifecycle: {delete_on_exit: 1}", "1:29: lifecycle.delete_on_exit: expected true or false, found the number 1".into()),
        ("lifecycle: {delete_on_exits: true}", "1:13: lifecycle.delete_on_exits: unknown field; did you mean \"delete_on_exit\"?".into()),
        ("logs: {retention_secs: 1d}", "1:24: logs.retention_secs: expected a whole number, found the text \"1d\"".into()),
        ("max_attempts: 2", "1:1: max_attempts: unknown field; did you mean \"job.retry.max_attempts\"?".into()),
    ] {
        let errors = errors(fields);
        assert!(errors[0].starts_with(&expected), "{fields}\n{errors:#?}\n{expected}");
        let more = usize::from(fields.contains("pots"));
        assert_eq!(errors.len(), 1 + more, "{fields}\n{errors:#?}");
    }
}
