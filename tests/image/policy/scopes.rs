//! What a policy says by name alone, and when it is asked.

use super::signer::{Signer, base64};
use super::{Site, layers, refused, resolve, resolve_known, write};
use crate::common::host::{Feature, needs};
use crate::layout::{Compression, Layer, LayoutBuilder, Tar};
use crate::server::{Answer, Server, digest_of};
use crate::store::{chain, home};
use coracle::image::{ImageError, PolicyError, PullPolicy};
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Stdio};

/// A policy with one scope.
fn scope(transport: &str, scope: &str, inside: &Value, outside: &Value) -> Value {
    json!({"default": outside, "transports": {transport: {scope: inside}}})
}

#[test]
fn what_the_policy_rejects_or_nobody_here_can_check_is_not_even_asked_for() {
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    let descriptor = layout.image(&layers());
    let server = Server::start(&layout, &digest_of(&descriptor), |_| Answer::Normal);
    let reference = server.reference();
    let host = reference.split('/').next().unwrap();
    let scoped = |requirements: Value| {
        json!({
            "default": [{"type": "insecureAcceptAnything"}],
            "transports": {"docker": {"": [{"type": "insecureAcceptAnything"}], host: requirements}},
        })
    };
    let said = refused(&home, &scoped(json!([{"type": "reject"}])), &reference);
    for part in ["rejects it", &reference, &format!("transports.docker[{host:?}][0]"), "policy.json"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let said = refused(&home, &scoped(json!([{"type": "insecureAcceptAnything"}, {"type": "signedBy"}])), &reference);
    assert!(said.contains("\"signedBy\", which cannot be checked"), "{said}");
    let said = refused(&home, &json!({"default": []}), &reference);
    assert!(said.contains("default is empty"), "{said}");
    assert_eq!(server.count(""), 0, "nothing was requested");
    let accepted = scoped(json!([{"type": "insecureAcceptAnything"}]));
    assert!(resolve(&home, &accepted, &reference, PullPolicy::IfNotPresent).unwrap().pulled);
}

#[test]
fn local_images_can_be_accepted_or_rejected_but_have_no_signatures() {
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    layout.tagged_image("v1", &layers());
    let path = layout.path().canonicalize().unwrap();
    let reference = format!("oci:{}:v1", layout.path().display());
    let accept = json!([{"type": "insecureAcceptAnything"}]);
    let key = base64(Signer::new().pem().as_bytes());
    let identity = json!({"type": "exactRepository", "dockerRepository": "team/app"});
    let signed = json!([{"type": "sigstoreSigned", "keyData": key, "signedIdentity": identity}]);
    let scoped = |requirements: &Value| scope("oci", path.to_str().unwrap(), requirements, &accept);
    let said = refused(&home, &scoped(&json!([{"type": "reject"}])), &reference);
    assert!(said.contains("rejects it") && said.contains(path.to_str().unwrap()), "{said}");
    let said = refused(&home, &scoped(&signed), &reference);
    assert!(said.contains("images of oci: have none"), "{said}");
    let rejecting = json!({"default": [{"type": "reject"}]});
    let policy = scope("oci", path.parent().unwrap().to_str().unwrap(), &accept, &rejecting["default"]);
    resolve(&home, &policy, &reference, PullPolicy::IfNotPresent).unwrap();
    // Its layers are in the store now, but its config is taken from the layout at every use.
    for pull in [PullPolicy::IfNotPresent, PullPolicy::Never] {
        let error = resolve(&home, &rejecting, &reference, pull).unwrap_err();
        assert!(matches!(error, ImageError::Policy(PolicyError::Refused(_))), "{error:?}");
    }
}

/// The policy is asked when content is taken from a registry, not when the store has what is wanted.
#[test]
fn what_is_in_the_store_is_not_checked_again_until_it_is_pulled() {
    if !needs(Feature::Registry) {
        return;
    }
    let site = Site::new(home());
    let accept = json!({"default": [{"type": "insecureAcceptAnything"}]});
    let reject = json!({"default": [{"type": "reject"}]});
    let image = site.pull(&accept, &site.reference).unwrap();
    let again = |policy: &Value, pull| resolve_known(&site.home, policy, &site.reference, pull, Some(&image));
    for pull in [PullPolicy::Never, PullPolicy::IfNotPresent, PullPolicy::Newer] {
        assert!(!again(&reject, pull).unwrap().pulled, "{pull:?}");
    }
    let error = again(&reject, PullPolicy::Always).unwrap_err();
    assert!(matches!(error, ImageError::Policy(PolicyError::Refused(_))), "{error:?}");
    let mut layout = LayoutBuilder::new(&site.home.path("changed"));
    layout.tagged_image("v1", &[Layer::new(Tar::new().file("file", b"changed"), Compression::Gzip)]);
    site.registry.push(&format!("oci:{}:v1", layout.path().display()), "team/app:v1");
    let error = again(&reject, PullPolicy::Newer).unwrap_err();
    assert!(matches!(error, ImageError::Policy(PolicyError::Refused(_))), "{error:?}");
    assert!(again(&accept, PullPolicy::Newer).unwrap().pulled);
}

/// The store has it under another name, which says nothing about this one.
#[test]
fn a_digest_does_not_carry_an_image_past_the_policy_for_another_name() {
    if !needs(Feature::Registry) {
        return;
    }
    let site = Site::new(home());
    let accept = json!({"default": [{"type": "insecureAcceptAnything"}]});
    let image = site.pull(&accept, &site.reference).unwrap();
    let by_digest = |name: &str| format!("{name}@{}", image.manifest_digest);
    let own = by_digest(site.repository());
    let policy = scope(
        "docker",
        "elsewhere.example",
        &json!([{"type": "reject"}]),
        &json!([{"type": "insecureAcceptAnything"}]),
    );
    for pull in [PullPolicy::Never, PullPolicy::IfNotPresent, PullPolicy::Newer] {
        let resolve = |reference: &str| resolve(&site.home, &policy, reference, pull);
        for reference in ["elsewhere.example/app", "elsewhere.example/app:v1"] {
            let error = resolve(&by_digest(reference)).unwrap_err();
            assert!(matches!(error, ImageError::Policy(PolicyError::Refused(_))), "{pull:?}: {error:?}");
        }
        assert!(!resolve(&own).unwrap().pulled);
    }
    // Signatures are looked for where the name leads.
    let signed = site.signed_policy();
    let error = resolve(&site.home, &signed, &own, PullPolicy::Never).unwrap_err();
    assert!(matches!(error, ImageError::NotPresent { .. }), "{error:?}");
    let error = resolve(&site.home, &signed, &own, PullPolicy::IfNotPresent).unwrap_err();
    assert!(chain(&error).contains("its repository has none"), "{}", chain(&error));
    // Once it was pulled under the name, that is on record.
    assert!(resolve_known(&site.home, &signed, &own, PullPolicy::Never, Some(&image)).is_ok());
}

/// Scopes and strictness as the tool has them whose users' files we read. (Signatures are left out:
/// Debian builds skopeo without them.)
#[test]
fn skopeo_decides_the_same() {
    if !needs(Feature::Registry) {
        return;
    }
    let site = Site::new(home());
    let (accept, reject) = (json!([{"type": "insecureAcceptAnything"}]), json!([{"type": "reject"}]));
    let layout = site.home.path("layout").canonicalize().unwrap();
    let link = site.home.path("link");
    std::os::unix::fs::symlink(&layout, &link).unwrap();
    let (registry, local) = (site.reference.clone(), format!("oci:{}:v1", link.display()));
    let by_digest = format!("{}@{}", site.repository(), site.digest);
    let host = registry.split('/').next().unwrap();
    let (path, parent) = (layout.to_str().unwrap(), layout.parent().unwrap().to_str().unwrap());
    let everywhere = [
        json!({"default": accept}),
        json!({"default": reject}),
        json!({"default": [accept[0], reject[0]]}),
        json!({"default": []}),
        json!({"default": accept, "later": 1}),
        json!({"transports": {}}),
        scope("oci", "relative", &accept, &accept),
        scope("oci", "/", &accept, &accept),
        scope("oci", &format!("{path}/"), &accept, &accept),
        scope("docker-archive", "/x", &accept, &accept),
        scope("later", "anything", &reject, &accept),
    ];
    let docker = ["", host, &format!("{host}/team"), site.repository(), &registry, &by_digest, "127.0.0.1", "*.0.0.1"];
    let oci = ["", path, parent, link.to_str().unwrap(), &format!("{path}x")];
    let mut cases: Vec<(Value, &String)> = Vec::new();
    cases.extend(everywhere.into_iter().flat_map(|policy| [(policy.clone(), &registry), (policy, &local)]));
    for name in docker {
        cases.extend([&registry, &by_digest].map(|reference| (scope("docker", name, &accept, &reject), reference)));
    }
    cases.extend(oci.map(|name| (scope("oci", name, &accept, &reject), &local)));
    for (policy, reference) in cases {
        let ours = resolve(&site.home, &policy, reference, PullPolicy::Always);
        if let Err(error) = &ours {
            assert!(matches!(error, ImageError::Policy(_)), "{error:?}");
        }
        let theirs = skopeo_accepts(&site, reference);
        let said = ours.as_ref().err().map(|error| chain(error)).unwrap_or_default();
        assert_eq!(ours.is_ok(), theirs, "{reference} under {policy}: {said}");
    }
}

/// Whether skopeo copies the image under the policy that is in the home.
fn skopeo_accepts(site: &Site, reference: &str) -> bool {
    let auth = write(&site.home.path("auth.json"), "{}");
    let source = if reference.starts_with("oci:") { reference.to_owned() } else { format!("docker://{reference}") };
    let output = Command::new("skopeo")
        .arg("--policy")
        .arg(site.home.path("policy.json"))
        .args(["copy", "--quiet", "--src-tls-verify=false", &source])
        .arg(format!("dir:{}", site.home.path("copy").display()))
        .env("REGISTRY_AUTH_FILE", auth)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let is_refusal = ["Source image rejected", "Error loading trust policy"].iter().any(|words| said.contains(words));
    assert_eq!(output.status.success(), !is_refusal, "{said}");
    output.status.success()
}

#[test]
fn the_users_own_policy_is_found() {
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    layout.tagged_image("v1", &layers());
    let directory = home.path("user/.config/containers");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("policy.json"), r#"{"default": [{"type": "reject"}]}"#).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_coracle"))
        .arg("--root")
        .arg(home.state.root())
        .args(["run", "--image", &format!("oci:{}:v1", layout.path().display()), "--", "/nothing"])
        .env("HOME", home.path("user"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let file = directory.join("policy.json");
    assert!(output.status.code() == Some(125) && said.contains(file.to_str().unwrap()), "{:?}: {said}", output.status);
    home.assert_empty();
}
