//! Payloads, signed here.

use super::{digest, name};
use crate::image::digest::Digest;
use crate::image::policy::identity::{Named, SignedIdentity};
use crate::image::policy::key::PublicKey;
use crate::image::policy::signature::{SignatureProblem, verify};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

/// The DER before the 32 bytes of an Ed25519 key.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

struct Signer(Ed25519KeyPair);

impl Signer {
    fn new() -> Signer {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Signer(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
    }

    fn key(&self) -> PublicKey {
        let der = [&SPKI, self.0.public_key().as_ref()].concat();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der));
        PublicKey::parse(pem.as_bytes()).unwrap()
    }

    fn sign(&self, payload: &str) -> String {
        STANDARD.encode(self.0.sign(payload.as_bytes()))
    }
}

fn image() -> Digest {
    digest("1").parse().unwrap()
}

fn payload(digest: &str, reference: &str) -> Value {
    json!({
        "critical": {
            "type": "cosign container image signature",
            "image": {"docker-manifest-digest": digest},
            "identity": {"docker-reference": reference},
        },
        "optional": null,
    })
}

fn check(signer: &Signer, payload: &str) -> Result<(), SignatureProblem> {
    let identity = Named::of(&name("h.com/x:v1"));
    let (annotation, accepted) = (signer.sign(payload), SignedIdentity::MatchRepoDigestOrExact);
    verify(payload.as_bytes(), Some(&annotation), &[signer.key()], &image(), &identity, &accepted)
}

#[test]
fn a_payload_must_be_for_this_image_under_this_name() {
    let signer = Signer::new();
    check(&signer, &payload(&digest("1"), "h.com/x:v1").to_string()).unwrap();
    let other = check(&signer, &payload(&digest("2"), "h.com/x:v1").to_string());
    assert!(matches!(other, Err(SignatureProblem::Digest(signed)) if signed == digest("2")));
    let other = check(&signer, &payload(&digest("1"), "h.com/x:v2").to_string());
    assert!(matches!(other, Err(SignatureProblem::Identity { is_bare: false, .. })));
    let bare = check(&signer, &payload(&digest("1"), "h.com/x").to_string()).unwrap_err();
    assert!(bare.to_string().contains("need matchRepository"), "cosign's habit is explained: {bare}");
    let no_reference = check(&signer, &payload(&digest("1"), "H x").to_string());
    assert!(matches!(no_reference, Err(SignatureProblem::Identity { is_bare: false, .. })));
}

#[test]
fn any_of_the_keys_will_do_and_no_other() {
    let (signer, other) = (Signer::new(), Signer::new());
    let payload = payload(&digest("1"), "h.com/x:v1").to_string();
    let identity = Named::of(&name("h.com/x:v1"));
    let check = |payload: &str, annotation: Option<&str>, keys: &[PublicKey]| {
        verify(payload.as_bytes(), annotation, keys, &image(), &identity, &SignedIdentity::MatchExact)
    };
    let annotation = signer.sign(&payload);
    check(&payload, Some(&annotation), &[other.key(), signer.key()]).unwrap();
    let refused = check(&payload, Some(&annotation), &[other.key()]);
    assert!(matches!(refused, Err(SignatureProblem::Key { keys: 1 })));
    // The same document to a JSON parser, but not what was signed.
    assert!(matches!(
        check(&format!("{payload} "), Some(&annotation), &[signer.key()]),
        Err(SignatureProblem::Key { .. })
    ));
    assert!(matches!(check(&payload, None, &[signer.key()]), Err(SignatureProblem::NoAnnotation)));
    assert!(matches!(check(&payload, Some("?"), &[signer.key()]), Err(SignatureProblem::Base64(_))));
    assert!(matches!(check(&payload, Some(""), &[signer.key()]), Err(SignatureProblem::Key { .. })));
}

/// Whatever a payload has more than it should could mean a restriction that we do not know.
#[test]
fn payloads_have_exactly_the_documented_fields() {
    let signer = Signer::new();
    let good = payload(&digest("1"), "h.com/x:v1");
    for optional in [json!(null), json!({}), json!({"creator": "x", "timestamp": 1, "other": [1]})] {
        let mut payload = good.clone();
        payload["optional"] = optional;
        check(&signer, &payload.to_string()).unwrap();
    }
    for (pointer, value) in
        [("/critical", "more"), ("", "more"), ("/critical/image", "more"), ("/critical/identity", "more")]
    {
        let mut payload = good.clone();
        payload.pointer_mut(pointer).unwrap()[value] = json!(1);
        assert!(matches!(check(&signer, &payload.to_string()), Err(SignatureProblem::Payload(_))), "{payload}");
    }
    for missing in ["optional", "critical"] {
        let mut payload = good.clone();
        payload.as_object_mut().unwrap().remove(missing);
        assert!(matches!(check(&signer, &payload.to_string()), Err(SignatureProblem::Payload(_))), "{payload}");
    }
    let mut optional = good.clone();
    optional["optional"] = json!("text");
    assert!(matches!(check(&signer, &optional.to_string()), Err(SignatureProblem::Payload(_))));
    let mut kind = good.clone();
    kind["critical"]["type"] = json!("atomic container signature");
    assert!(matches!(check(&signer, &kind.to_string()), Err(SignatureProblem::Type(_))));
    let text = good.to_string();
    let twice = text.replacen('{', &format!("{{\"critical\": {},", good["critical"]), 1);
    assert!(matches!(check(&signer, &twice), Err(SignatureProblem::Payload(_))), "{twice}");
    for text in ["", "{}", "[]", "null"] {
        assert!(matches!(check(&signer, text), Err(SignatureProblem::Payload(_))), "{text}");
    }
}
