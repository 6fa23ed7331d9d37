//! Which credentials are found, and where.

use super::{Host, chain, contains, display};
use crate::image::config::{AuthError, Credentials, Endpoint, HostConfig, Serves};

fn find(config: &HostConfig, repository: &str) -> Result<Credentials, AuthError> {
    let (registry, repository) = repository.split_once('/').unwrap();
    let (registry, repository) = (registry.to_owned(), repository.to_owned());
    config.credentials(&Endpoint { registry, repository, insecure: false, serves: Serves::All })
}

/// `USER:PASSWORD`, `token:TOKEN` or nothing.
fn show(credentials: Credentials) -> String {
    match credentials {
        Credentials::Anonymous => String::new(),
        Credentials::Basic { user, password } => format!("{user}:{password}"),
        Credentials::IdentityToken(token) => format!("token:{token}"),
    }
}

fn found(host: &Host, repository: &str) -> String {
    show(find(&host.config(), repository).unwrap())
}

/// A file with one entry for `example.com`, in the plain form.
fn one(user: &str) -> String {
    format!(r#"{{"auths": {{"example.com": {{"username": "{user}", "password": "x"}}}}}}"#)
}

const AUTH_JSON: &str = "home/.config/containers/auth.json";

#[test]
fn nothing_configured_is_anonymous() {
    let host = Host::new();
    assert_eq!(found(&host, "example.com/a"), "");
    host.file(AUTH_JSON, "{}");
    host.file("home/.docker/config.json", "  \n");
    assert_eq!(found(&host, "example.com/a"), "");
    assert_eq!(show(find(&HostConfig::default(), "example.com/a").unwrap()), "");
}

#[test]
fn files_are_looked_at_in_order_until_one_has_something() {
    let mut host = Host::new();
    host.file("home/.dockercfg", r#"{"https://example.com/v1/": {"auth": "bGVnYWN5Ong="}}"#);
    assert_eq!(found(&host, "example.com/a"), "legacy:x");
    host.file("home/.docker/config.json", &one("docker"));
    assert_eq!(found(&host, "example.com/a"), "docker:x");
    host.file("elsewhere/config.json", &one("named-docker"));
    host.set("DOCKER_CONFIG", "elsewhere");
    assert_eq!(found(&host, "example.com/a"), "named-docker:x");
    host.file(AUTH_JSON, &one("config"));
    assert_eq!(found(&host, "example.com/a"), "config:x");
    host.file("xdg/containers/auth.json", &one("xdg"));
    host.set("XDG_CONFIG_HOME", "xdg");
    assert_eq!(found(&host, "example.com/a"), "xdg:x");
    host.file("run/containers/1000/auth.json", &one("run"));
    assert_eq!(found(&host, "example.com/a"), "run:x");
    host.file("runtime/containers/auth.json", &one("runtime"));
    host.set("XDG_RUNTIME_DIR", "runtime");
    assert_eq!(found(&host, "example.com/a"), "runtime:x");
    // A file without the registry does not end the search.
    host.file("runtime/containers/auth.json", r#"{"auths": {"other.example": {}, "example.com": {}}}"#);
    assert_eq!(found(&host, "example.com/a"), "xdg:x");
    // One that is named does.
    host.file("named.json", r#"{"auths": {}}"#);
    host.set("REGISTRY_AUTH_FILE", "named.json");
    assert_eq!(found(&host, "example.com/a"), "");
    host.file("named.json", &one("named"));
    assert_eq!(found(&host, "example.com/a"), "named:x");
    host.set("REGISTRY_AUTH_FILE", "missing.json");
    let error = find(&host.config(), "example.com/a").unwrap_err();
    contains(&error.to_string(), &[display(&host.path("missing.json")), "REGISTRY_AUTH_FILE"]);
}

#[test]
fn paths_in_variables_are_made_absolute_at_once_and_those_of_xdg_must_be() {
    let mut host = Host::new();
    for variable in ["REGISTRY_AUTH_FILE", "CONTAINERS_REGISTRIES_CONF", "DOCKER_CONFIG", "XDG_CONFIG_HOME"] {
        host.variables.insert(variable, "relative".into());
    }
    let places = host.places();
    let here = std::env::current_dir().unwrap();
    assert_eq!(places.auth.named.unwrap().path, here.join("relative"));
    assert_eq!(places.registries.named.unwrap().path, here.join("relative"));
    assert!(places.auth.usual.contains(&here.join("relative/config.json")), "{:?}", places.auth.usual);
    assert!(places.auth.usual.contains(&host.path(AUTH_JSON)), "{:?}", places.auth.usual);
}

#[test]
fn the_nearest_namespace_counts() {
    let host = Host::new();
    let entry = |key: &str, user: &str| format!(r#""{key}": {{"username": "{user}", "password": "x"}}"#);
    let entries = [
        entry("example.com/foo/bar/image", "image"),
        entry("example.com/foo", "foo"),
        entry("example.com", "host"),
        entry("docker.io/library/debian", "debian"),
        entry("docker.io", "hub"),
        entry("only.example/team", "team"),
    ];
    host.file(AUTH_JSON, &format!(r#"{{"auths": {{{}}}}}"#, entries.join(",")));
    for (repository, expected) in [
        ("example.com/foo/bar/image", "image:x"),
        ("example.com/foo/bar/image/x", "image:x"),
        ("example.com/foo/bar", "foo:x"),
        ("example.com/foo", "foo:x"),
        ("example.com/foobar", "host:x"),
        ("example.com/a", "host:x"),
        ("docker.io/library/debian", "debian:x"),
        ("docker.io/library/alpine", "hub:x"),
        ("only.example/team/a", "team:x"),
        ("only.example/other", ""),
        ("example.com:5000/a", ""),
    ] {
        assert_eq!(found(&host, repository), expected, "{repository}");
    }
}

#[test]
fn keys_that_docker_has_written_are_understood() {
    let host = Host::new();
    for (key, repository) in [
        ("https://index.docker.io/v1/", "docker.io/library/debian"),
        ("index.docker.io", "docker.io/library/debian"),
        ("registry-1.docker.io", "docker.io/library/debian"),
        ("https://example.com", "example.com/a"),
        ("https://example.com/v2/", "example.com/a"),
        ("http://example.com:5000/v1/", "example.com:5000/a"),
    ] {
        let auth = serde_json::json!({"auths": {key: {"auth": "YWRhOng="}}});
        host.file(AUTH_JSON, &auth.to_string());
        assert_eq!(found(&host, repository), "ada:x", "{key}");
        assert_eq!(found(&host, "another.example/a"), "", "{key}");
    }
    // docker's web login keeps tokens for itself beside the entry.
    let token = |key: &str| format!(r#""{key}": {{"auth": "bm86eA=="}}"#);
    let keys = ["https://index.docker.io/v1/access-token", "https://index.docker.io/v1/refresh-token"];
    let login = r#""https://index.docker.io/v1/": {"auth": "YWRhOng="}"#;
    host.file(AUTH_JSON, &format!(r#"{{"auths": {{{}, {login}, {}}}}}"#, token(keys[0]), token(keys[1])));
    assert_eq!(found(&host, "docker.io/library/debian"), "ada:x");
}

#[test]
fn every_form_of_an_entry_is_read() {
    let host = Host::new();
    for (entry, expected) in [
        (r#"{"auth": "YWRhOng="}"#, "ada:x"),
        (r#"{"auth": "YWRhOng"}"#, "ada:x"),
        (r#"{"auth": " YWRhOng=\n"}"#, "ada:x"),
        // A colon in the password, and the NUL that old versions of docker append.
        (r#"{"auth": "YWRhOmI6YwAA"}"#, "ada:b:c"),
        (r#"{"auth": "YWRhOng=", "email": null, "new": 1}"#, "ada:x"),
        (r#"{"username": "ada", "password": "x"}"#, "ada:x"),
        (r#"{"auth": "YWRhOng=", "identitytoken": "t"}"#, "token:t"),
        (r#"{"identitytoken": "t"}"#, "token:t"),
        (r#"{"auth": "YWRhOng=", "identitytoken": ""}"#, "ada:x"),
        (r#"{"auth": "YWRhOg=="}"#, ""),
        (r#"{"auth": ""}"#, ""),
        (r#"{"username": "ada"}"#, ""),
        ("{}", ""),
    ] {
        host.file(AUTH_JSON, &format!(r#"{{"auths": {{"example.com": {entry}}}, "credHelpers": null}}"#));
        assert_eq!(found(&host, "example.com/a"), expected, "{entry}");
    }
}

#[test]
fn what_is_malformed_is_named_and_not_shown() {
    let host = Host::new();
    for (text, parts) in [
        ("{\n  \"auths\": {\"example.com\": {\"auth\": \"hunter2\"}}", &[":2:", "not JSON"][..]),
        ("{\n\n\"auths\": {\"example.com\": \"hunter2\"}}", &[":3:", "another type"]),
        ("{\"auths\": [\"hunter2\"]}", &[":1:", "another type"]),
        ("{\"auths\": {\"example.com\": {\"auth\": \"hunter2!\"}}}", &["for example.com", "log in again"]),
        ("{\"auths\": {\"https://example.com/\": {\"auth\": \"aHVudGVyMg==\"}}}", &["for https://example.com/"]),
    ] {
        let path = host.file(AUTH_JSON, text);
        let error = chain(&find(&host.config(), "example.com/a").unwrap_err());
        contains(&error, &[display(&path)]);
        contains(&error, parts);
        assert!(!error.contains("hunter2") && !error.contains("aHVudGVyMg"), "{error}");
    }
    std::fs::remove_file(host.path(AUTH_JSON)).unwrap();
    std::fs::create_dir(host.path(AUTH_JSON)).unwrap();
    let error = find(&host.config(), "example.com/a").unwrap_err();
    contains(&error.to_string(), &["failed to read", display(&host.path(AUTH_JSON))]);
}

#[test]
fn debug_output_holds_no_secret() {
    let secret = || "hunter2".to_owned();
    let credentials =
        [Credentials::Basic { user: "ada".into(), password: secret() }, Credentials::IdentityToken(secret())];
    assert!(!format!("{credentials:?}").contains("hunter2"));
}

/// Answers with its own name as user and the server as password.
const ECHO: &str = r#"read -r server; printf '{"Username":"%s","Secret":"%s"}' "${0##*-}" "$server""#;

#[test]
fn helpers_are_asked_for_their_registries() {
    let mut host = Host::new();
    host.helper("one", ECHO);
    host.helper("store", ECHO);
    host.helper("none", "echo 'credentials not found in native keychain'; exit 1");
    host.file(
        "home/.docker/config.json",
        r#"{
            "auths": {"one.example": {"auth": "YWRhOng="}, "plain.example": {"auth": "YWRhOng="}, "x.example": {}},
            "credHelpers": {"one.example": "one", "docker.io": "one", "none.example": "none"},
            "credsStore": "store"
        }"#,
    );
    assert_eq!(found(&host, "one.example/a/b"), "one:one.example", "before the entry");
    assert_eq!(found(&host, "docker.io/library/debian"), "one:docker.io");
    assert_eq!(found(&host, "plain.example/a"), "ada:x");
    assert_eq!(found(&host, "x.example/a"), "store:x.example");
    assert_eq!(found(&host, "y.example:5000/a"), "store:y.example:5000");
    assert_eq!(found(&host, "none.example/a"), "");
    host.file("home/.docker/config.json", r#"{"credsStore": "store"}"#);
    assert_eq!(found(&host, "docker.io/library/debian"), "store:https://index.docker.io/v1/", "as docker asks it");
}

#[test]
fn a_helper_that_is_missing_is_named_with_the_file() {
    let host = Host::new();
    let path = host.file(AUTH_JSON, r#"{"credHelpers": {"example.com": "ecr-login"}}"#);
    let error = chain(&find(&host.config(), "example.com/a").unwrap_err());
    contains(&error, &["for example.com", "ecr-login", display(&path), "docker-credential-ecr-login", "PATH"]);
    assert_eq!(found(&host, "other.example/a"), "");
}

#[test]
fn default_helpers_of_registries_conf_are_asked_in_order() {
    let mut host = Host::new();
    host.helper("one", ECHO);
    host.helper("none", "echo 'credentials not found in native keychain'; exit 1");
    host.helper("broken", "echo locked; exit 1");
    host.file(AUTH_JSON, &one("file"));
    let of = |helpers: &str| {
        host.file("etc/containers/registries.conf", &format!("credential-helpers = {helpers}"));
        find(&host.config(), "example.com/a")
    };
    assert_eq!(show(of(r#"["containers-auth.json", "one"]"#).unwrap()), "file:x");
    assert_eq!(show(of(r#"["one", "containers-auth.json"]"#).unwrap()), "one:example.com");
    assert_eq!(show(of(r#"["none", "containers-auth.json"]"#).unwrap()), "file:x");
    assert_eq!(show(of(r#"["broken", "containers-auth.json"]"#).unwrap()), "file:x");
    assert_eq!(show(of(r#"["none"]"#).unwrap()), "", "the files are not among them");
    assert_eq!(show(of("[]").unwrap()), "file:x");
    let error = chain(&of(r#"["broken", "none"]"#).unwrap_err());
    contains(&error, &["example.com", "broken", "credential-helpers", "locked"]);
}
