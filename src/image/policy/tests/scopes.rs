use super::{digest, name, policy};
use crate::image::policy::scope::Origin;
use serde_json::json;

fn registry(text: &str) -> Origin {
    Origin::Registry(name(text))
}

fn local(transport: &'static str, path: &str) -> Origin {
    Origin::Local { transport, path: Some(path.into()) }
}

#[test]
fn scopes_go_from_the_image_to_the_domain() {
    assert_eq!(
        registry("registry.eu.example.com:8443/ns/app:v1").scopes(),
        [
            "registry.eu.example.com:8443/ns/app:v1",
            "registry.eu.example.com:8443/ns/app",
            "registry.eu.example.com:8443/ns",
            "registry.eu.example.com:8443",
            "*.eu.example.com",
            "*.example.com",
            "*.com",
            "",
        ]
    );
    let complete = ["docker.io/library/debian:latest", "docker.io/library/debian", "docker.io/library", "docker.io"];
    assert_eq!(registry("debian").scopes()[..4], complete);
    let digest = digest("d");
    assert_eq!(registry(&format!("h.com/a@{digest}")).scopes()[0], format!("h.com/a@{digest}"));
    assert_eq!(registry(&format!("h.com/a:v1@{digest}")).scopes()[0], format!("h.com/a@{digest}"));
    assert_eq!(registry("[::1]:5000/a:v1").scopes(), ["[::1]:5000/a:v1", "[::1]:5000/a", "[::1]:5000", ""]);
    assert_eq!(registry("localhost/a:v1").scopes(), ["localhost/a:v1", "localhost/a", "localhost", ""]);
    assert_eq!(local("oci", "/srv/images/app").scopes(), ["/srv/images/app", "/srv/images", "/srv", ""]);
    assert_eq!(Origin::Local { transport: "docker-archive", path: None }.scopes(), [""]);
}

#[test]
fn only_the_most_specific_scope_counts() {
    let accept = json!([{"type": "insecureAcceptAnything"}]);
    let policy = policy(&json!({
        "default": [{"type": "reject"}],
        "transports": {
            "docker": {
                "docker.io/library/busybox": accept,
                "*.example.com": accept,
                "example.com": accept,
                "h.com:5000": accept,
                "h.com:5000/ns": accept,
                "h.com:5000/ns/app": accept,
                "h.com:5000/ns/app:v1": accept,
                "*.h.com": accept,
            },
            "oci": {"": accept, "/srv/images": accept},
            "docker-archive": {"": accept},
            "sif": {"": accept},
        }
    }));
    for (origin, place) in [
        (registry("busybox:1"), r#"transports.docker["docker.io/library/busybox"]"#),
        (registry("debian:12"), "default"),
        (registry("a.b.example.com/x"), r#"transports.docker["*.example.com"]"#),
        (registry("a.example.com:5000/x"), r#"transports.docker["*.example.com"]"#),
        (registry("example.com/x"), r#"transports.docker["example.com"]"#),
        (registry("example.com:5000/x"), "default"),
        (registry("h.com:5000/ns/app:v1"), r#"transports.docker["h.com:5000/ns/app:v1"]"#),
        (registry("h.com:5000/ns/app:v2"), r#"transports.docker["h.com:5000/ns/app"]"#),
        (registry("h.com:5000/ns/apple:v1"), r#"transports.docker["h.com:5000/ns"]"#),
        (registry("h.com:5000/nsx/app"), r#"transports.docker["h.com:5000"]"#),
        (registry("h.com/ns/app:v1"), "default"),
        (registry("notexample.com/x"), "default"),
        (local("oci", "/srv/images/app"), r#"transports.oci["/srv/images"]"#),
        (local("oci", "/srv/images"), r#"transports.oci["/srv/images"]"#),
        (local("oci", "/srv/imagesx"), r#"transports.oci[""]"#),
        (local("oci-archive", "/srv/images/a.tar"), "default"),
        (Origin::Local { transport: "docker-archive", path: None }, r#"transports.docker-archive[""]"#),
    ] {
        let (found, requirements) = policy.requirements(&origin);
        assert_eq!((found.as_str(), requirements.len()), (place, 1), "{origin:?}");
    }
}

#[test]
fn local_paths_are_resolved_before_they_are_compared() {
    let directory = tempfile::tempdir().unwrap();
    let real = directory.path().canonicalize().unwrap().join("real");
    std::fs::create_dir(&real).unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    assert_eq!(Origin::local("oci", &link).unwrap(), local("oci", real.to_str().unwrap()));
}
