//! Signatures that are attached in a registry.

use super::signer::{OCI_MANIFEST, PAYLOAD, Signature, Signer, base64, payload};
use super::{Site, layers, refused, resolve, resolve_known};
use crate::common::host::{Feature, needs};
use crate::layout::{Compression, Layer, LayoutBuilder, Tar};
use crate::server::{Answer, Server, digest_of};
use crate::store::{home, homes};
use coracle::image::{ImageNote, PullPolicy};
use serde_json::{Value, json};
use std::fs;

#[test]
fn a_signature_by_the_policys_key_admits_the_image() {
    if !needs(Feature::Registry) {
        return;
    }
    for home in homes() {
        let site = Site::new(home);
        let Site { signer, reference, digest, .. } = &site;
        let policy = site.signed_policy();
        let said = site.refused(&policy, reference);
        for part in [reference, digest, "has none", "default[0]", "policy.json"] {
            assert!(said.contains(part), "{part} in {said}");
        }
        let stranger = Signer::new();
        let others = [
            stranger.sign(digest, reference),
            Signature { annotations: json!({}), ..signer.sign(digest, reference) },
            signer.sign(digest, &format!("{}:v2", site.repository())),
        ];
        site.attach(digest, &others);
        let said = site.refused(&policy, reference);
        for part in ["1: it was not made with the policy's key", "2: it lacks the annotation", "3: it is for", ":v2"] {
            assert!(said.contains(part), "{part} in {said}");
        }
        let [first, second, third] = others;
        site.attach(digest, &[first, second, third, signer.sign(digest, reference)]);
        let image = site.pull(&policy, reference).unwrap();
        assert!(image.pulled && image.manifest_digest.to_string() == *digest);
        assert_eq!(fs::read(image.layers[0].join("file")).unwrap(), b"content");
    }
}

#[test]
fn signatures_that_show_something_else_do_not_count() {
    if !needs(Feature::Registry) {
        return;
    }
    let site = Site::new(home());
    let Site { signer, reference, digest, .. } = &site;
    let policy = site.signed_policy();
    let changed = |payload: String| Signature { payload, ..signer.sign(digest, reference) };
    let other_digest = format!("sha256:{}", "0".repeat(64));
    for (signature, problem) in [
        (signer.sign(&other_digest, reference), format!("it is for another image, {other_digest:?}")),
        (signer.sign(digest, "elsewhere.example/team/app:v1"), "\"elsewhere.example/team/app:v1\"".into()),
        (signer.sign(digest, site.repository()), "need matchRepository or exactRepository".into()),
        (changed(payload(digest, reference) + " "), "was not made with the policy's key".into()),
        (changed(payload(&other_digest, reference)), "was not made with the policy's key".into()),
        (signer.signature("{}"), "its payload cannot be parsed".into()),
        (changed("x".repeat(2 << 20)), "more than 1048576".into()),
    ] {
        site.attach(digest, &[signature]);
        let said = site.refused(&policy, reference);
        assert!(said.contains(&problem), "{problem} in {said}");
    }
    // What is attached under the type of something else is no signature.
    let attestation =
        Signature { media_type: "application/vnd.dsse.envelope.v1+json", ..signer.sign(digest, reference) };
    site.attach(digest, &[attestation]);
    assert!(site.refused(&policy, reference).contains("has none"));
    let many: Vec<_> = (0..129).map(|_| signer.sign(digest, reference)).collect();
    site.attach(digest, &many);
    assert!(site.refused(&policy, reference).contains("129 signatures, more than the 128"));
    site.attach(digest, &many[..128]);
    site.pull(&policy, reference).unwrap();
}

#[test]
fn a_list_of_signatures_that_is_damaged_admits_nothing() {
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    let image = digest_of(&layout.image(&layers()));
    let config = layout.blob(b"{}", "application/vnd.oci.image.config.v1+json");
    let list = |descriptor: Value| {
        let layers = [descriptor];
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}).to_string()
    };
    let absent = |size: u64, digest: &str| json!({"mediaType": PAYLOAD, "digest": digest, "size": size});
    let nothing = format!("sha256:{}", "0".repeat(64));
    let policy = json!({"default": [{"type": "sigstoreSigned", "keyData": base64(Signer::new().pem().as_bytes())}]});
    for (body, problem) in [
        (String::new(), "failed to read the list of signatures"),
        ("{}".into(), "failed to read the list of signatures"),
        (r#"{"schemaVersion": 2, "manifests": []}"#.into(), "failed to read the list of signatures"),
        (list(absent(10, &nothing)), "none of its signatures is accepted: failed to get the blob"),
        (list(absent(10, &image)), "none of its signatures is accepted: failed to get the blob"),
        (list(absent(10, &format!("sha512:{}", "0".repeat(128)))), "its descriptor cannot be used"),
        (list(absent(u64::MAX >> 1, &nothing)), "more than 1048576"),
    ] {
        let server = Server::start(&layout, &image, move |path| {
            if path.ends_with(".sig") { Answer::Body(body.clone().into_bytes()) } else { Answer::Normal }
        });
        let said = refused(&home, &policy, &server.reference());
        assert!(said.contains(problem), "{problem} in {said}");
    }
}

#[test]
fn identities_are_matched_as_the_policy_says() {
    if !needs(Feature::Registry) {
        return;
    }
    let site = Site::new(home());
    let Site { signer, reference, digest, .. } = &site;
    let with = |identity: Value| {
        let requirement =
            json!({"type": "sigstoreSigned", "keyData": base64(signer.pem().as_bytes()), "signedIdentity": identity});
        json!({"default": [{"type": "reject"}], "transports": {"docker": {site.repository(): [requirement]}}})
    };
    // As cosign signs: the repository alone.
    site.attach(digest, &[signer.sign(digest, site.repository())]);
    assert!(site.refused(&with(json!({"type": "matchExact"})), reference).contains("matchExact"));
    site.attach(digest, &[signer.sign(digest, "vendor.example/product:v1")]);
    for identity in [
        json!({"type": "matchRepository"}),
        json!({"type": "exactReference", "dockerReference": "vendor.example/product:v2"}),
    ] {
        assert!(site.refused(&with(identity), reference).contains("vendor.example/product:v1"));
    }
    let remap = json!({"type": "remapIdentity", "prefix": site.repository(), "signedPrefix": "vendor.example/product"});
    site.pull(&with(remap), reference).unwrap();
}

#[test]
fn every_requirement_must_be_met() {
    if !needs(Feature::Registry) {
        return;
    }
    let site = Site::new(home());
    let Site { signer, reference, digest, .. } = &site;
    let reviewer = Signer::new();
    let by = |signer: &Signer| json!({"type": "sigstoreSigned", "keyData": base64(signer.pem().as_bytes())});
    let policy = json!({"default": [by(signer), by(&reviewer)]});
    site.attach(digest, &[signer.sign(digest, reference)]);
    assert!(site.refused(&policy, reference).contains("default[1]"));
    site.attach(digest, &[reviewer.sign(digest, reference), signer.sign(digest, reference)]);
    site.pull(&policy, reference).unwrap();
}

#[test]
fn of_an_index_the_chosen_image_must_be_signed() {
    if !needs(Feature::Registry) {
        return;
    }
    let site = Site::new(home());
    let mut layout = LayoutBuilder::new(&site.home.path("multi"));
    let host = coracle::image::Platform::host().architecture;
    let index = digest_of(&layout.tagged_index("v2", &[("s390x", &layers()), (&host, &layers())]));
    let image = digest_of(&layout.manifest(&layers(), &host));
    let reference = site.registry.push_with(&["--all"], &format!("oci:{}:v2", layout.path().display()), "team/app:v2");
    let policy = site.signed_policy();
    site.attach(&index, &[site.signer.sign(&index, &reference)]);
    let said = site.refused(&policy, &reference);
    assert!(said.contains(&image) && said.contains("--recursive"), "{said}");
    site.attach(&image, &[site.signer.sign(&image, &reference)]);
    let pulled = site.pull(&policy, &reference).unwrap();
    assert_eq!(pulled.manifest_digest.to_string(), image);
    // By the index's digest, where any tag of the repository will do.
    let by_digest = format!("{}@{index}", site.repository());
    assert_eq!(site.pull(&policy, &by_digest).unwrap().manifest_digest, pulled.manifest_digest);
}

#[test]
fn a_registry_that_cannot_show_its_signatures_has_nothing_newer() {
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    let first = digest_of(&layout.image(&layers()));
    let second = digest_of(&layout.image(&[Layer::new(Tar::new().file("file", b"changed"), Compression::Gzip)]));
    let accept = json!({"default": [{"type": "insecureAcceptAnything"}]});
    let server = Server::start(&layout, &first, |_| Answer::Normal);
    let image = resolve(&home, &accept, &server.reference(), PullPolicy::IfNotPresent).unwrap();
    let server =
        Server::start(
            &layout,
            &second,
            |path| {
                if path.ends_with(".sig") { Answer::Status(503, "") } else { Answer::Normal }
            },
        );
    let signed = json!({"default": [{"type": "sigstoreSigned", "keyData": base64(Signer::new().pem().as_bytes())}]});
    let found = resolve_known(&home, &signed, &server.reference(), PullPolicy::Newer, Some(&image)).unwrap();
    assert_eq!(found.manifest_digest, image.manifest_digest);
    let [ImageNote::Offline { reason, .. }] = &found.notes[..] else { panic!("{:?}", found.notes) };
    assert!(reason.contains("failed to look for the signatures"), "{reason}");
}
