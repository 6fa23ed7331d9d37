//! Keys and signatures that openssl made (`openssl dgst -sha256 -sign`, `openssl pkeyutl -sign -rawin`).

use super::{chain, name, policy};
use crate::image::policy::error::PolicyError;
use crate::image::policy::key::{KeyError, PublicKey};
use crate::image::policy::scope::Origin;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

const MESSAGE: &[u8] = b"signed by openssl";

const P256: (&str, &str) = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAER4QPrL2lt9TG7hbDzF860avoI5toXoKnnA4H3QfFsahlnGNVpRE6fjQ+VzWGKE9AXdpqxy3v/KxG\
     RhBoPR+3LA==",
    "MEUCIGEDUZ6eyjOkfVnRBkiVYELvx87P9IPR9WfIIFw1y7BwAiEAyuJL38u+KWyAsabTsGM9z7nb/4FDi+gBXjSu2w4k1S0=",
);
const P384: (&str, &str) = (
    "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE52Z/ZSp3TJvvmhUFPAKDWm/1yJYcmwZ46DVG1G4Lw1Jt/7lUN9A3JqVJQhH5LZNa7m9EzLXm+JkeCrjZ\
     /UGVyMerJNXPqTsbyIKVLtXuSdJ0mJ/j7bNYoi71ekdCkpJv",
    "MGYCMQC5ktszL+oT1f7ydU+sooNiOIUSUgjGGS0Ama7x1Wf3s1TZt12JqlaLKeXfsHO7FOcCMQDvx7jE0wLJEfRwbULeMWo2sHYeHLackzWVzvl4\
     ldDQNpWVYL2BVCNzBx+nlnVKS6g=",
);
const ED25519: (&str, &str) = (
    "MCowBQYDK2VwAyEApSZDwcDezp0i8KzMQzrUFtexyiqIjB2jGFJJ6IWb0Hc=",
    "Uf4eVetUPROIWGPhyqoKV5IZmsFHtDs43JojxEM2+8G7zr6DFbz3bHzBUk21ChPEXQGprilCy+HZOkbl4DH2Aw==",
);
const RSA: (&str, &str) = (
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAvYesya9nA4bx4XBn6mKs8kMcVfVSbAAq7Qp5hyyOGcjiK77Qvf3riqS4rkF8Km2+Yeid\
     MJDXdI9ho6DNprSlX9VV9FTttdy5O5w7hp0tgrxX0Cu3STo1KNZDviBVCPXtvfM2/xBFDnIk2chlwYWSUlGhdL5VdC1eNZvf0FOEBXbBguaW0JSC\
     I+Cm3KXVsrfR2DafXKh74MqE482UhM9KGHir0It3mTONaycz4AiGJq3DWzRbGmcz9hnCD/3XJKk4tN3iD/BMUDaRhWrGJujdylqNHGsbTEMAHBPO\
     zsJfH2bcgYRsgCRoaKf1wbLEQW4n/8t/oZvYcMWzlyRfmGj3SQIDAQAB",
    "VJW/h8YyfwE/WNfu4avIRqZafsTJ6zVVV6MIlWRLMXpCPEtvJtLpbgbPGd+LBqHbHmZ0mogcitYiq0aZaIq5+gKQeRZmUYCp80CTE8lE8C3s8ZoC\
     5yD6zcURfjBIkcl7qW/Qlap8Ou6PXDXD5LYMEPEu0CSh3rKo6yKIQbbfeC2rgeRQPSSxyun1GQs4/WZNnOCPx9KbCJmIAUE/qSdlqZFXYEbUK9y1\
     wrbDx5w4gQRSU1RBapbp9uBc0zZQj26RlMba+JrBphQqiMvV+AIJb+GlasyYiJveCEZUqmdV1G++3UcZvlIuBDPlig9NutR2x9YQVzwDVO0RfHYn\
     pt85qw==",
);
const P521: &str = concat!(
    "MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAZU5Eq/6O2HdXBX4TsfNReXpwz2eEHxyYkKmJYa0ajZxZMSKczmmY5atl4Ue72qj1",
    "jRhTAXXsPjQGL3X4PBtdbN4BqvcgpEScWVBvhCsgtVpe4oQ8xgn2FDNtZ0ELbdRvtcMitFOKJ3OV5U3/88bbHTDMBQlYOWJvdUVa",
    "ZW6KUqfzXcY=",
);

fn pem(kind: &str, base64: &str) -> String {
    let lines = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap());
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn every_algorithm_verifies_what_openssl_signed() {
    for (key, signature) in [P256, P384, ED25519, RSA] {
        let signature = STANDARD.decode(signature).unwrap();
        let key = PublicKey::parse(pem("PUBLIC KEY", key).as_bytes()).unwrap();
        assert!(key.has_signed(MESSAGE, &signature));
        assert!(!key.has_signed(b"signed by OpenSSL", &signature));
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert!(!key.has_signed(MESSAGE, &changed), "byte {at}");
        }
        assert!(!key.has_signed(MESSAGE, b""));
        let others =
            [P256, P384, ED25519, RSA].into_iter().filter(|(_, other)| STANDARD.decode(other).unwrap() != signature);
        assert!(others.map(|(_, other)| STANDARD.decode(other).unwrap()).all(|other| !key.has_signed(MESSAGE, &other)));
    }
}

#[test]
fn what_is_no_usable_key_is_refused_with_the_reason() {
    let parse = |text: &str| PublicKey::parse(text.as_bytes()).map(drop);
    for text in ["", "no key", &pem("RSA PUBLIC KEY", RSA.0), &pem("PRIVATE KEY", P256.0), &pem("CERTIFICATE", P256.0)]
    {
        assert!(matches!(parse(text), Err(KeyError::NotAPublicKey)), "{text}");
    }
    assert!(matches!(parse("-----BEGIN PUBLIC KEY-----\nMFkw\n"), Err(KeyError::Pem(_))));
    assert!(matches!(parse(&pem("PUBLIC KEY", "?")), Err(KeyError::Pem(_))));
    assert!(matches!(parse(&pem("PUBLIC KEY", &P256.0[..80])), Err(KeyError::Der(_))));
    assert!(matches!(parse(&pem("PUBLIC KEY", P521)), Err(KeyError::Algorithm)));
}

#[test]
fn a_key_that_cannot_be_used_is_named_before_anything_is_fetched() {
    let directory = tempfile::tempdir().unwrap();
    let [good, bad, missing] = ["good.pub", "bad.pub", "missing.pub"].map(|file| directory.path().join(file));
    std::fs::write(&good, pem("PUBLIC KEY", P256.0)).unwrap();
    std::fs::write(&bad, "not a key").unwrap();
    let demands = |keys: serde_json::Value| {
        let mut requirement = keys;
        requirement["type"] = "sigstoreSigned".into();
        let policy = policy(&json!({"default": [requirement]}));
        policy.demands("x", &Origin::Registry(name("x"))).map(drop)
    };
    demands(json!({"keyPath": good})).unwrap();
    demands(json!({"keyData": STANDARD.encode(pem("PUBLIC KEY", RSA.0))})).unwrap();
    let error = demands(json!({"keyPaths": [good, bad]})).unwrap_err();
    let text = chain(&error);
    assert!(text.contains("bad.pub") && text.contains("default[0]") && text.contains("PUBLIC KEY"), "{text}");
    let error = demands(json!({"keyDatas": [STANDARD.encode("x")]})).unwrap_err();
    assert!(chain(&error).contains("the key data 1"), "{error}");
    assert!(matches!(demands(json!({"keyPath": missing})), Err(PolicyError::Read { path, .. }) if path == missing));
}
