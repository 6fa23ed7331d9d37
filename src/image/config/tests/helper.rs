//! Credential helpers, as scripts.

use super::{Host, chain, contains, display};
use crate::image::config::Credentials;
use crate::image::config::helper::{HelperError, TIMEOUT, ask};
use std::time::Duration;

fn asked(host: &Host, name: &str) -> Result<Option<Credentials>, HelperError> {
    ask(&host.places(), name, "registry.example:5000", TIMEOUT)
}

#[test]
fn a_helper_is_told_the_server_and_answers_in_json() {
    let mut host = Host::new();
    host.helper(
        "good",
        r#"read -r server; printf '{"ServerURL":"x","Username":"ada %s","Secret":"%s"}' "$1" "$server""#,
    );
    let basic = Credentials::Basic { user: "ada get".into(), password: "registry.example:5000".into() };
    assert_eq!(asked(&host, "good").unwrap(), Some(basic));
    host.helper("token", r#"echo '{"Username":"<token>","Secret":"t"}'"#);
    assert_eq!(asked(&host, "token").unwrap(), Some(Credentials::IdentityToken("t".into())));
}

#[test]
fn having_nothing_is_no_failure() {
    let mut host = Host::new();
    host.helper("none", "echo 'credentials not found in native keychain'; exit 1");
    host.helper("empty", r#"echo '{"Username":"","Secret":""}'"#);
    assert_eq!(asked(&host, "none").unwrap(), None);
    assert_eq!(asked(&host, "empty").unwrap(), None);
}

#[test]
fn a_helper_that_fails_is_named_with_what_it_says() {
    let mut host = Host::new();
    host.helper("locked", "printf 'the keyring is \\033[1mlocked'; exit 3");
    host.helper("silent", "exit 4");
    host.helper("chatty", "echo secret-and-no-json");
    let error = chain(&asked(&host, "locked").unwrap_err());
    contains(
        &error,
        &[display(&host.path("bin/docker-credential-locked")), "exit status: 3", "the keyring is \\u{1b}"],
    );
    contains(&chain(&asked(&host, "silent").unwrap_err()), &["exit status: 4: it gives no reason"]);
    let error = chain(&asked(&host, "chatty").unwrap_err());
    contains(&error, &["docker-credential-chatty", "JSON"]);
    assert!(!error.contains("secret-and"), "{error}");
    for name in ["missing", "../bin/docker-credential-chatty", "a/b"] {
        let error = chain(&asked(&host, name).unwrap_err());
        contains(&error, &[&format!("docker-credential-{name}"), "in PATH"]);
    }
}

#[test]
fn a_helper_that_hangs_is_killed() {
    let mut host = Host::new();
    host.helper("hangs", "echo $$ > \"${0%/*}/pid\"; exec sleep 1000");
    let (error, pid) = loop {
        let error = ask(&host.places(), "hangs", "x", Duration::from_millis(300)).unwrap_err();
        // On a busy machine it may not have come so far in that time.
        if let Ok(pid) = std::fs::read_to_string(host.path("bin/pid")).unwrap_or_default().trim().parse() {
            break (error, pid);
        }
    };
    assert!(matches!(error, HelperError::TimedOut { .. }), "{error:?}");
    assert!(crate::sys::process::pidfd_open(pid).unwrap().is_none(), "killed and reaped");
}

#[test]
fn what_a_helper_leaves_behind_is_not_waited_for() {
    let mut host = Host::new();
    host.helper("agent", "mkfifo \"${0%/*}/end\"; cat \"${0%/*}/end\" & echo '{\"Username\":\"a\",\"Secret\":\"b\"}'");
    let found = asked(&host, "agent").unwrap();
    assert_eq!(found, Some(Credentials::Basic { user: "a".into(), password: "b".into() }));
    // Lets the agent end, which holds the helper's stdout open.
    std::fs::write(host.path("bin/end"), "").unwrap();
}

#[test]
fn an_endless_answer_ends() {
    let mut host = Host::new();
    host.helper("endless", "exec cat /dev/zero");
    let error = asked(&host, "endless").unwrap_err();
    assert!(matches!(error, HelperError::Failed { .. } | HelperError::Answer { .. }), "{error:?}");
}

#[test]
fn programs_are_looked_for_in_absolute_directories_only() {
    let mut host = Host::new();
    host.helper("good", "exit 1");
    let bin = host.path("bin");
    host.variables.insert("PATH", format!(":.:bin:{}", display(&bin)).into());
    assert_eq!(host.places().programs, [bin]);
}
