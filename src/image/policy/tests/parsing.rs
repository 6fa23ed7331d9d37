use super::{chain, digest, name, policy, read};
use crate::image::Surroundings;
use crate::image::policy::error::{PolicyError, RefusalReason};
use crate::image::policy::file::Policy;
use crate::image::policy::identity::{Named, SignedIdentity};
use crate::image::policy::requirement::{KeySource, Requirement, SigstoreSigned};
use crate::image::policy::scope::Origin;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

/// What `requirement` is read as.
fn parsed(requirement: &Value) -> Requirement {
    let policy = policy(&json!({"default": [requirement]}));
    policy.requirements(&Origin::Registry(name("x"))).1[0].clone()
}

fn signed(identity: &Value) -> Requirement {
    parsed(&json!({"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": identity}))
}

#[test]
fn the_requirements_that_can_be_checked_are_read() {
    assert_eq!(parsed(&json!({"type": "insecureAcceptAnything"})), Requirement::InsecureAcceptAnything);
    assert_eq!(parsed(&json!({"type": "reject"})), Requirement::Reject);
    let paths = |paths: &[&str]| KeySource::Paths(paths.iter().map(Into::into).collect());
    for (fields, keys) in [
        (json!({"keyPath": "/k"}), paths(&["/k"])),
        (json!({"keyPaths": ["/k", "/l"]}), paths(&["/k", "/l"])),
        (json!({"keyData": "YQ=="}), KeySource::Data(vec![b"a".to_vec()])),
        (json!({"keyData": "YWJj\nZGVm\n"}), KeySource::Data(vec![b"abcdef".to_vec()])),
        (json!({"keyDatas": ["YQ==", "Yg=="]}), KeySource::Data(vec![b"a".to_vec(), b"b".to_vec()])),
    ] {
        let mut requirement = fields;
        requirement["type"] = "sigstoreSigned".into();
        let identity = SignedIdentity::MatchRepoDigestOrExact;
        assert_eq!(parsed(&requirement), Requirement::SigstoreSigned(SigstoreSigned { keys, identity }));
    }
}

#[test]
fn every_kind_of_identity_is_read() {
    let reference = Named::parse("h.com/x:v1").unwrap();
    let remap = SignedIdentity::RemapIdentity { prefix: "h.com:5000".into(), signed_prefix: "vendor.com/x".into() };
    for (value, expected) in [
        (json!({"type": "matchExact"}), SignedIdentity::MatchExact),
        (json!({"type": "matchRepoDigestOrExact"}), SignedIdentity::MatchRepoDigestOrExact),
        (json!({"type": "matchRepository"}), SignedIdentity::MatchRepository),
        (json!({"type": "exactReference", "dockerReference": "h.com/x:v1"}), SignedIdentity::ExactReference(reference)),
        (
            json!({"type": "exactRepository", "dockerRepository": "debian"}),
            SignedIdentity::ExactRepository("docker.io/library/debian".into()),
        ),
        (json!({"type": "remapIdentity", "prefix": "h.com:5000", "signedPrefix": "vendor.com/x"}), remap),
    ] {
        let Requirement::SigstoreSigned(found) = signed(&value) else { panic!("{value}") };
        assert_eq!((found.identity.kind(), &found.identity), (value["type"].as_str().unwrap(), &expected));
    }
}

/// What later versions and other tools can check refuses its images, and no others.
#[test]
fn what_cannot_be_checked_refuses_the_image_and_is_named() {
    for (requirement, what) in [
        (json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}), "the type \"signedBy\""),
        (json!({"type": "signedBaseLayer"}), "\"signedBaseLayer\""),
        (json!({"type": "laterInvention"}), "\"laterInvention\""),
        (json!({"type": "insecureAcceptAnything", "unless": 1}), "insecureAcceptAnything with \"unless\""),
        (json!({"type": "reject", "unless": 1}), "reject with \"unless\""),
        (json!({"type": "sigstoreSigned", "fulcio": {}, "rekorPublicKeyPath": "/r"}), "with \"fulcio\""),
        (json!({"type": "sigstoreSigned", "pki": {}}), "with \"pki\""),
        (json!({"type": "sigstoreSigned", "keyPath": "/k", "rekorPublicKeyPath": "/r"}), "\"rekorPublicKeyPath\""),
        (json!({"type": "sigstoreSigned", "keyPath": "/k", "rekorPublicKeyDatas": []}), "\"rekorPublicKeyDatas\""),
        (json!({"type": "sigstoreSigned", "keyPath": "/k", "later": null}), "\"later\""),
        (json!({"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": {"type": "later"}}), "\"later\""),
        (
            json!({"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": {"type": "matchExact", "x": 1}}),
            "matchExact with \"x\"",
        ),
    ] {
        let accept = json!([{"type": "insecureAcceptAnything"}]);
        let policy = policy(&json!({
            "default": accept,
            "transports": {"docker": {"h.com": [{"type": "insecureAcceptAnything"}, requirement]}},
        }));
        let error = policy.demands("h.com/x:v1", &Origin::Registry(name("h.com/x:v1"))).unwrap_err();
        let text = chain(&error);
        let PolicyError::Refused(refusal) = error else { panic!("{text}") };
        assert!(matches!(refusal.reason, RefusalReason::Uncheckable(_)), "{text}");
        for part in ["h.com/x:v1", what, "cannot be checked", r#"transports.docker["h.com"][1]"#, "/policy.json"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(policy.demands("debian", &Origin::Registry(name("debian"))).is_ok());
    }
}

#[test]
fn what_is_malformed_is_refused_with_file_and_place() {
    let accept = r#"[{"type": "insecureAcceptAnything"}]"#;
    let signed = |fields: &str| format!(r#"{{"default": [{{"type": "sigstoreSigned", {fields}}}]}}"#);
    let identity = |fields: &str| signed(&format!(r#""keyPath": "/k", "signedIdentity": {fields}"#));
    let scope = |transport: &str, scope: &str| {
        format!(r#"{{"default": {accept}, "transports": {{"{transport}": {{"{scope}": {accept}}}}}}}"#)
    };
    let by_digest =
        format!(r#"{{"type": "remapIdentity", "prefix": "h.com/x@{}", "signedPrefix": "h.com"}}"#, digest("1"));
    for (text, problem) in [
        (String::new(), "line 1"),
        ("[]".into(), "the document is not an object"),
        ("{}".into(), "the document lacks the key \"default\""),
        (r#"{"default": null}"#.into(), "default is not a list"),
        (r#"{"default": []}"#.into(), "default is empty"),
        (r#"{"default": {}}"#.into(), "default is not a list"),
        (format!(r#"{{"default": {accept}, "default": {accept}}}"#), "the key \"default\" is there twice"),
        (format!(r#"{{"default": {accept}, "defaults": {accept}}}"#), "unknown key \"defaults\""),
        (format!(r#"{{"default": {accept}}} x"#), "trailing characters"),
        (format!(r#"{{"default": {accept}, "transports": []}}"#), "transports is not an object"),
        (format!(r#"{{"default": {accept}, "transports": {{"docker": []}}}}"#), "transports.docker is not an object"),
        (
            format!(r#"{{"default": {accept}, "transports": {{"docker": {{"h.com": []}}}}}}"#),
            r#"transports.docker["h.com"] is empty"#,
        ),
        (
            format!(r#"{{"default": {accept}, "transports": {{"docker": {{"h.com": {accept}, "h.com": {accept}}}}}}}"#),
            "the key \"h.com\" is there twice",
        ),
        (scope("oci", "relative"), r#"transports.oci["relative"] is no scope"#),
        (scope("oci", "/"), r#"transports.oci["/"] is no scope"#),
        (scope("oci-archive", "/a/../b"), "is no scope"),
        (scope("oci", "/a/"), "is no scope"),
        (scope("docker-archive", "/a"), "must have no scope"),
        (r#"{"default": ["reject"]}"#.into(), "default[0] is not an object"),
        (r#"{"default": [{}]}"#.into(), "default[0] lacks the key \"type\""),
        (r#"{"default": [{"type": 1}]}"#.into(), "default[0].type is not a string"),
        (r#"{"default": [{"type": "reject", "type": "reject"}]}"#.into(), "twice"),
        (r#"{"default": [{"type": "sigstoreSigned"}]}"#.into(), "default[0] needs exactly one of keyPath"),
        (signed(r#""keyPath": "/k", "keyData": "YQ==""#), "needs exactly one of keyPath"),
        (signed(r#""keyPath": "/k", "fulcio": {}"#), "needs exactly one of keyPath"),
        (signed(r#""keyPath": "k.pub""#), "default[0].keyPath has the relative path k.pub"),
        (signed(r#""keyPath": """#), "default[0].keyPath has the relative path"),
        (signed(r#""keyPath": ["/k"]"#), "default[0].keyPath is not a string"),
        (signed(r#""keyPaths": []"#), "default[0].keyPaths is not a list of at least one"),
        (signed(r#""keyPaths": "/k""#), "default[0].keyPaths is not a list"),
        (signed(r#""keyPaths": [1]"#), "default[0].keyPaths is not a string"),
        (signed(r#""keyData": "?""#), "default[0].keyData is not base64"),
        (identity("null"), "default[0].signedIdentity is not an object"),
        (identity("{}"), "default[0].signedIdentity lacks the key \"type\""),
        (identity(r#"{"type": "exactReference"}"#), "lacks the key \"dockerReference\""),
        (identity(r#"{"type": "exactReference", "dockerReference": "h.com/x"}"#), "neither a tag nor a digest"),
        (identity(r#"{"type": "exactReference", "dockerReference": "H x"}"#), "invalid reference"),
        (identity(r#"{"type": "exactRepository", "dockerRepository": ""}"#), "invalid reference"),
        (identity(r#"{"type": "remapIdentity", "prefix": "h.com"}"#), "lacks the key \"signedPrefix\""),
        (identity(r#"{"type": "remapIdentity", "prefix": "h.com/", "signedPrefix": "h.com"}"#), "\"h.com/\""),
        (identity(r#"{"type": "remapIdentity", "prefix": "h.com", "signedPrefix": "h.com/x:v1"}"#), "\"h.com/x:v1\""),
        (identity(&by_digest), "neither a registry nor"),
    ] {
        let error = chain(&read(&text).map(|_| panic!("accepted: {text}")).unwrap_err());
        assert!(error.contains("/policy.json") && error.contains(problem), "{text}\n{error}");
    }
}

#[test]
fn the_users_policy_comes_before_the_hosts_and_none_accepts() {
    let directory = tempfile::tempdir().unwrap();
    let [user, host] = ["user.json", "host.json"].map(|file| directory.path().join(file));
    let origin = Origin::Registry(name("x"));
    let decide = || Policy::first_of(Some(&user), &host).and_then(|policy| policy.demands("x", &origin)).map(drop);
    decide().unwrap();
    std::fs::write(&host, r#"{"default": [{"type": "reject"}]}"#).unwrap();
    assert!(chain(&decide().unwrap_err()).contains("host.json"));
    std::fs::write(&user, r#"{"default": [{"type": "insecureAcceptAnything"}]}"#).unwrap();
    decide().unwrap();
    std::fs::write(&user, "").unwrap();
    assert!(chain(&decide().unwrap_err()).contains("user.json"), "a malformed policy does not give way");
    std::fs::remove_file(&user).unwrap();
    std::fs::create_dir(&user).unwrap();
    assert!(matches!(decide(), Err(PolicyError::Read { path, .. }) if path == user), "nor does an unreadable one");
    let closed = directory.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::write(closed.join("policy.json"), r#"{"default": [{"type": "insecureAcceptAnything"}]}"#).unwrap();
    let set_mode = |mode| std::fs::set_permissions(&closed, PermissionsExt::from_mode(mode)).unwrap();
    set_mode(0o000);
    let decided = Policy::first_of(Some(&closed.join("policy.json")), &host).unwrap().demands("x", &origin);
    set_mode(0o700);
    let is_root = nix::unistd::geteuid().is_root();
    assert_eq!(decided.is_ok(), is_root, "what only another user can see gives way to the host's, which rejects");
    Policy::load(Some(&directory.path().join("none.json")), &Surroundings::default()).map(drop).unwrap_err();
}
