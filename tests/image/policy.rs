//! Signature policies against a real registry, with signatures attached as cosign does, by keys made here.

use crate::common::host::{Feature, needs};
use crate::common::registry::Registry;
use crate::layout::{Compression, Layer, LayoutBuilder, Tar, digest};
use crate::server::{Answer, Server, digest_of};
use crate::store::{Home, block_on, chain, home, homes};
use coracle::image::{Image, ImageError, ImageName, ImageNote, PolicyError, PullPolicy};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const ANNOTATION: &str = "dev.cosignproject.cosign/signature";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The DER before the 65 bytes of a P-256 key.
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A new key, of the kind that `cosign generate-key-pair` makes.
struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Signer {
        let (algorithm, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Signer(EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap())
    }

    fn pem(&self) -> String {
        let key = base64(&[&SPKI, self.0.public_key().as_ref()].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n")
    }

    fn signature(&self, payload: &str) -> Signature {
        let signature = base64(self.0.sign(&SystemRandom::new(), payload.as_bytes()).unwrap().as_ref());
        Signature { payload: payload.to_owned(), annotations: json!({ANNOTATION: signature}) }
    }

    /// That the image with this digest may be called so.
    fn sign(&self, digest: &str, reference: &str) -> Signature {
        self.signature(&payload(digest, reference))
    }
}

struct Signature {
    payload: String,
    annotations: Value,
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn payload(digest: &str, reference: &str) -> String {
    json!({
        "critical": {
            "identity": {"docker-reference": reference},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string()
}

/// A registry with the image `team/app:v1`, and a signer.
struct Site {
    home: Home,
    registry: Registry,
    signer: Signer,
    reference: String,
    /// Of the image's manifest.
    digest: String,
}

impl Site {
    fn new(home: Home) -> Site {
        let registry = Registry::start();
        let mut layout = LayoutBuilder::new(&home.path("layout"));
        let digest = digest_of(&layout.tagged_image("v1", &layers()));
        let reference = registry.push(&format!("oci:{}:v1", layout.path().display()), "team/app:v1");
        Site { home, registry, signer: Signer::new(), reference, digest }
    }

    fn repository(&self) -> &str {
        self.reference.strip_suffix(":v1").unwrap()
    }

    /// Replaces the signatures of the image with this digest.
    fn attach(&self, digest: &str, signatures: &[Signature]) {
        attach(&self.registry, "team/app", digest, signatures);
    }

    fn key_file(&self) -> PathBuf {
        write(&self.home.path("signer.pub"), &self.signer.pem())
    }

    /// `sigstoreSigned` by the signer for everything.
    fn signed_policy(&self) -> Value {
        json!({"default": [{"type": "sigstoreSigned", "keyPath": self.key_file()}]})
    }

    fn pull(&self, policy: &Value, reference: &str) -> Result<Image, ImageError> {
        resolve(&self.home, policy, reference, PullPolicy::IfNotPresent)
    }

    /// Asserts that nothing of the image gets into the store, and returns what is said about it.
    fn refused(&self, policy: &Value, reference: &str) -> String {
        refused(&self.home, policy, reference)
    }
}

fn layers() -> Vec<Layer> {
    vec![Layer::new(Tar::new().file("file", b"content"), Compression::Gzip)]
}

fn write(path: &Path, text: &str) -> PathBuf {
    fs::write(path, text).unwrap();
    path.to_owned()
}

fn resolve(home: &Home, policy: &Value, reference: &str, pull: PullPolicy) -> Result<Image, ImageError> {
    resolve_known(home, policy, reference, pull, None)
}

fn resolve_known(
    home: &Home,
    policy: &Value,
    reference: &str,
    pull: PullPolicy,
    known: Option<&Image>,
) -> Result<Image, ImageError> {
    let store = home.store().with_signature_policy(write(&home.path("policy.json"), &policy.to_string()));
    let name = ImageName::parse(reference).unwrap();
    block_on(store.resolve(&name, pull, None, known.map(|image| &image.manifest_digest)))
}

fn refused(home: &Home, policy: &Value, reference: &str) -> String {
    let error = resolve(home, policy, reference, PullPolicy::IfNotPresent).unwrap_err();
    assert!(matches!(error, ImageError::Policy(_)), "{error:?}");
    home.assert_empty();
    assert_eq!(fs::read_dir(home.state.blobs().join("sha256")).unwrap().count(), 0, "no document was stored");
    chain(&error)
}

/// Replaces the signatures of an image, in the form that cosign attaches them.
fn attach(registry: &Registry, repository: &str, image: &str, signatures: &[Signature]) {
    let config = json!({"architecture": "", "os": "", "rootfs": {"type": "layers", "diff_ids": []}}).to_string();
    let blob = |bytes: &str, media_type: &str| {
        registry.put_blob(repository, &digest(bytes.as_bytes()), bytes.as_bytes());
        json!({"mediaType": media_type, "digest": digest(bytes.as_bytes()), "size": bytes.len()})
    };
    let layers = signatures.iter().map(|signature| {
        let mut layer = blob(&signature.payload, PAYLOAD);
        layer["annotations"] = signature.annotations.clone();
        layer
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": blob(&config, "application/vnd.oci.image.config.v1+json"),
        "layers": layers.collect::<Vec<_>>(),
    });
    let tag = format!("{}.sig", image.replace(':', "-"));
    registry.put_manifest(repository, &tag, OCI_MANIFEST, manifest.to_string().as_bytes());
}

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
            Signature { payload: payload(digest, reference), annotations: json!({}) },
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
    let good = signer.sign(digest, reference);
    let changed = |payload: String| Signature { payload, annotations: good.annotations.clone() };
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
    site.attach(digest, &[]);
    assert!(site.refused(&policy, reference).contains("has none"));
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
    let scoped = |requirements: &Value| json!({"default": accept, "transports": {"oci": {path.to_str().unwrap(): requirements}}});
    let said = refused(&home, &scoped(&json!([{"type": "reject"}])), &reference);
    assert!(said.contains("rejects it") && said.contains(path.to_str().unwrap()), "{said}");
    let said = refused(&home, &scoped(&signed), &reference);
    assert!(said.contains("images of oci: have none"), "{said}");
    let policy = json!({"default": [{"type": "reject"}], "transports": {"oci": {path.parent().unwrap().to_str().unwrap(): accept}}});
    resolve(&home, &policy, &reference, PullPolicy::IfNotPresent).unwrap();
    // Its layers are in the store now, but its config is taken from the layout at every use.
    let rejecting = json!({"default": [{"type": "reject"}]});
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
