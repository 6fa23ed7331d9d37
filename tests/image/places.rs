//! Mirrors from registries.conf and certificates from certs.d, with real registries.

use crate::common::host::{Feature, needs};
use crate::common::registry::Registry;
use crate::layout::{Compression, Layer, LayoutBuilder, Tar};
use crate::server::{Answer, Server, blob_path, digest_of};
use crate::store::{Home, home};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The image is there, and has no program in it.
const PULLED: Option<i32> = Some(127);

/// An image as skopeo names it.
fn image(home: &Home) -> String {
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    layout.tagged_image("v1", &[Layer::new(Tar::new().file("file", b"content"), Compression::Gzip)]);
    format!("oci:{}:v1", layout.path().display())
}

/// Pulls by running, as a user whose home is `user` with a registries.conf there.
fn pull(home: &Home, image: &str) -> (Option<i32>, String) {
    let user = home.path("user");
    let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
    for name in ["XDG_CONFIG_HOME", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE"] {
        command.env_remove(name);
    }
    command.env("HOME", &user).env("XDG_RUNTIME_DIR", &user);
    command.env("CONTAINERS_REGISTRIES_CONF", user.join("registries.conf"));
    command.arg("--root").arg(home.state.root());
    command.args(["run", "--pull", "always", "--image", image, "--", "/nothing"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn registries_conf(home: &Home, text: &str) {
    fs::create_dir_all(home.path("user")).unwrap();
    fs::write(home.path("user/registries.conf"), text).unwrap();
}

#[test]
fn an_image_comes_from_the_first_mirror_that_has_it() {
    if !needs(Feature::Registry) {
        return;
    }
    let home = home();
    let (empty, filled) = (Registry::start(), Registry::start());
    filled.push(&image(&home), "copies/team/image:v1");
    let host = |registry: &Registry| registry.reference("").trim_end_matches('/').to_owned();
    let text = format!(
        "[[registry]]\nprefix = \"registry.example\"\nlocation = \"127.0.0.1:1\"\ninsecure = true\n\
         [[registry.mirror]]\nlocation = \"127.0.0.1:2\"\ninsecure = true\n\
         [[registry.mirror]]\nlocation = \"{}\"\ninsecure = true\n\
         [[registry.mirror]]\nlocation = \"{}/copies\"\ninsecure = true\n",
        host(&empty),
        host(&filled)
    );
    registries_conf(&home, &text);
    let (code, said) = pull(&home, "registry.example/team/image:v1");
    assert_eq!((code, home.layers().len()), (PULLED, 1), "{said}");

    let (code, said) = pull(&home, "registry.example/team/image:v2");
    assert_eq!(code, Some(125));
    for part in ["every mirror of registry.example", "127.0.0.1:2", &host(&empty), &host(&filled), "127.0.0.1:1:"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

#[test]
fn what_a_mirror_changed_comes_from_the_registry_itself() {
    if !needs(Feature::Registry) {
        return;
    }
    let home = home();
    let registry = Registry::start();
    let source = image(&home);
    registry.push(&source, "team/image:v1");
    let mut layout = LayoutBuilder::new(&home.path("mirror"));
    let layer = Layer::new(Tar::new().file("file", b"content"), Compression::Gzip);
    let manifest = layout.image(std::slice::from_ref(&layer));
    let path = blob_path(&layer.blob);
    let changed = vec![b'x'; layer.blob.len()];
    let mirror = Server::start(&layout, &digest_of(&manifest), {
        let path = path.clone();
        move |asked| if asked.ends_with(&path) { Answer::Body(changed.clone()) } else { Answer::Normal }
    });
    let host = registry.reference("").trim_end_matches('/').to_owned();
    let text = format!(
        "[[registry]]\nprefix = \"registry.example\"\nlocation = \"{host}\"\ninsecure = true\n\
         [[registry.mirror]]\nlocation = \"{}\"\ninsecure = true\n",
        mirror.reference().split('/').next().unwrap()
    );
    registries_conf(&home, &text);
    let (code, said) = pull(&home, "registry.example/team/image:v1");
    assert_eq!((code, home.layers().len(), home.staged()), (PULLED, 1, vec![]), "{said}");
    assert!(mirror.count(&path) > 0, "the mirror was asked first");
}

/// Writes an authority, and what it has issued to a server at 127.0.0.1 and to a client.
fn write_certificates(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
    fs::write(directory.join("ca.crt"), authority.pem()).unwrap();
    for (name, file, purpose) in [
        ("127.0.0.1", "server.crt", ExtendedKeyUsagePurpose::ServerAuth),
        ("client", "client.cert", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.extended_key_usages = vec![purpose];
        let certificate = parameters.signed_by(&key, &authority).unwrap();
        fs::write(directory.join(file), certificate.pem()).unwrap();
        fs::write(directory.join(file).with_extension("key"), key.serialize_pem()).unwrap();
    }
}

#[test]
fn certificates_come_from_certs_d() {
    if !needs(Feature::Registry) {
        return;
    }
    let home = home();
    let tls = home.path("tls");
    write_certificates(&tls);
    registries_conf(&home, "");
    let registry = Registry::start_with_tls(&tls);
    let configured = home.path("user/.config/containers/certs.d").join(registry.reference("").trim_end_matches('/'));
    fs::create_dir_all(&configured).unwrap();
    let copy = |names: &[&str], from: &Path| {
        for name in names {
            fs::copy(from.join(name), configured.join(name)).unwrap();
        }
    };
    let fails = |reason: &str| {
        let (code, said) = pull(&home, &registry.reference("team/image:v1"));
        assert!(code == Some(125) && said.contains(reason), "{code:?} {said}");
    };
    fails("may want a client certificate");
    copy(&["ca.crt", "client.cert", "client.key"], &tls);
    let option = format!("--dest-cert-dir={}", configured.display());
    let reference = registry.push_with(&[&option], &image(&home), "team/image:v1");
    let (code, said) = pull(&home, &reference);
    assert_eq!((code, home.layers().len()), (PULLED, 1), "{said}");

    let other = home.path("other");
    write_certificates(&other);
    copy(&["client.cert", "client.key"], &other);
    fails("may want a client certificate");
    copy(&["ca.crt"], &other);
    fails("put that of its authority into /etc/containers/certs.d/127.0.0.1:");
    fs::remove_file(configured.join("client.key")).unwrap();
    fails("client.key");
}
