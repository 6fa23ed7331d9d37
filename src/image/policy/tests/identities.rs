use super::{digest, name};
use crate::image::policy::identity::{Named, SignedIdentity};

fn remap(prefix: &str, signed_prefix: &str) -> SignedIdentity {
    SignedIdentity::RemapIdentity { prefix: prefix.into(), signed_prefix: signed_prefix.into() }
}

/// For each kind: the image, what its signature names, and whether that is accepted.
#[test]
fn each_kind_accepts_what_the_man_page_says() {
    use SignedIdentity::{ExactReference, ExactRepository, MatchExact, MatchRepoDigestOrExact, MatchRepository};
    let by_digest = format!("h.com/a/b@{}", digest("1"));
    let by_both = format!("h.com/a/b:v1@{}", digest("1"));
    let other_digest = format!("h.com/a/b@{}", digest("2"));
    let exactly = |text: &str| ExactReference(Named::parse(text).unwrap());
    let mirror = || remap("mirror:5000/vendor", "vendor.com");
    let table = [
        (MatchExact, "h.com/a/b:v1", "h.com/a/b:v1", true),
        (MatchExact, "h.com/a/b:v1", "h.com/a/b:v2", false),
        (MatchExact, "h.com/a/b:v1", "h.com/a/b", false),
        (MatchExact, "h.com/a/b:latest", "h.com/a/b", false),
        (MatchExact, "h.com/a/b", "h.com/a/b:latest", true),
        (MatchExact, &by_digest, "h.com/a/b:v1", false),
        (MatchExact, &by_digest, &by_digest, true),
        (MatchExact, "debian:12", "docker.io/library/debian:12", true),
        (MatchExact, "debian:12", "debian:12", true),
        (MatchRepoDigestOrExact, "h.com/a/b:v1", "h.com/a/b:v1", true),
        (MatchRepoDigestOrExact, "h.com/a/b:v1", "h.com/a/b:v2", false),
        (MatchRepoDigestOrExact, "h.com/a/b:v1", "h.com/a/b", false),
        (MatchRepoDigestOrExact, "h.com/a/b:v1", &by_digest, false),
        (MatchRepoDigestOrExact, &by_digest, "h.com/a/b:v2", true),
        (MatchRepoDigestOrExact, &by_digest, &other_digest, true),
        (MatchRepoDigestOrExact, &by_digest, "h.com/a/b", false),
        (MatchRepoDigestOrExact, &by_digest, "h.com/a/c:v1", false),
        // The digest decides, as for podman.
        (MatchRepoDigestOrExact, &by_both, "h.com/a/b:v2", true),
        (MatchRepository, "h.com/a/b:v1", "h.com/a/b", true),
        (MatchRepository, "h.com/a/b:v1", "h.com/a/b:v2", true),
        (MatchRepository, &by_digest, "h.com/a/b", true),
        (MatchRepository, "h.com/a/b:v1", "h.com/a/bb", false),
        (MatchRepository, "h.com/a/b:v1", "h.com:5000/a/b", false),
        (exactly("vendor.com/x:v1"), "h.com/a/b:v9", "vendor.com/x:v1", true),
        (exactly("vendor.com/x:v1"), "vendor.com/x:v1", "vendor.com/x", false),
        (exactly("vendor.com/x:v1"), "vendor.com/x:v2", "vendor.com/x:v2", false),
        (ExactRepository("vendor.com/x".into()), "h.com/a/b:v9", "vendor.com/x:v2", true),
        (ExactRepository("vendor.com/x".into()), "h.com/a/b:v9", "vendor.com/x", true),
        (ExactRepository("vendor.com/x".into()), "h.com/a/b:v9", "h.com/a/b:v9", false),
        (mirror(), "mirror:5000/vendor/app:v1", "vendor.com/app:v1", true),
        (mirror(), "mirror:5000/vendor/app:v1", "mirror:5000/vendor/app:v1", false),
        (mirror(), "mirror:5000/vendor/app:v1", "vendor.com/app:v2", false),
        // Not that prefix: nothing is remapped.
        (mirror(), "mirror:5000/vendors/app:v1", "mirror:5000/vendors/app:v1", true),
        (mirror(), "mirror:5000/vendors/app:v1", "vendor.coms/app:v1", false),
        (mirror(), "h.com/a/b:v1", "h.com/a/b:v1", true),
        (remap("h.com/a/b", "vendor.com/x"), "h.com/a/b:v1", "vendor.com/x:v1", true),
        (remap("h.com", "docker.io/library"), "h.com/debian:12", "debian:12", true),
        // Not the complete form of a name.
        (remap("h.com", "docker.io"), "h.com/debian:12", "debian:12", false),
    ];
    for (kind, image, signed, expected) in table {
        let accepted = kind.accepts(&Named::of(&name(image)), &Named::parse(signed).unwrap());
        assert_eq!(accepted, expected, "{kind:?}: {image} signed as {signed}");
    }
}

#[test]
fn a_port_is_no_tag() {
    for (text, is_name_only) in [
        ("h.com:5000/a", true),
        ("h.com:5000/a:v1", false),
        ("localhost/a", true),
        ("test.com:5000", false),
        ("debian", true),
        (&format!("debian@{}", digest("a")), false),
    ] {
        assert_eq!(Named::parse(text).unwrap().is_name_only(), is_name_only, "{text}");
    }
}
