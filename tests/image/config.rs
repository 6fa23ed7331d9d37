//! What the files of registries.conf(5) and auth.json(5) do to a pull from a real registry, and that
//! skopeo reads the same from them.

use crate::common::host::{Feature, needs};
use crate::common::registry::{PASSWORD, Registry, USER};
use crate::layout::{Compression, Layer, LayoutBuilder, Tar};
use crate::store::{Home, chain, home};
use coracle::image::{HostConfig, ImageName, Surroundings};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The image is there, and has no program in it.
const PULLED: i32 = 127;
/// Nothing could be started.
const FAILED: i32 = 125;

/// A user whose home is empty, on a registry with one image.
struct User {
    home: Home,
    registry: Registry,
    variables: Vec<(&'static str, PathBuf)>,
}

impl User {
    /// `name` is what the image is called in the registry.
    fn of(registry: Registry, name: &str, options: &[&str]) -> User {
        let home = home();
        let mut layout = LayoutBuilder::new(&home.path("layout"));
        layout.tagged_image("v1", &[Layer::new(Tar::new().file("file", b"content"), Compression::Gzip)]);
        registry.push_with(options, &format!("oci:{}:v1", layout.path().display()), name);
        fs::create_dir_all(home.path("user/bin")).unwrap();
        let variables = vec![("HOME", home.path("user")), ("XDG_RUNTIME_DIR", home.path("user"))];
        User { home, registry, variables }
    }

    /// Host and port of the registry.
    fn host(&self) -> String {
        self.registry.reference("").trim_end_matches('/').to_owned()
    }

    /// Writes a file of the user and lets a variable name it.
    fn named(&mut self, variable: &'static str, name: &str, content: &str) -> PathBuf {
        let path = self.home.path("user").join(name);
        fs::write(&path, content).unwrap();
        self.variables.retain(|(name, _)| *name != variable);
        self.variables.push((variable, path.clone()));
        path
    }

    fn registries_conf(&mut self, toml: &str) -> PathBuf {
        let toml = toml.replace("HOST", &self.host());
        self.named("CONTAINERS_REGISTRIES_CONF", "registries.conf", &toml)
    }

    /// Runs a command as this user; programs of the user go before the system's.
    fn run(&self, mut command: Command) -> Output {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([self.home.path("user/bin")].into_iter().chain(std::env::split_paths(&path)));
        for name in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE"] {
            command.env_remove(name);
        }
        command.env("PATH", path.unwrap()).envs(self.variables.iter().cloned()).stdin(Stdio::null()).output().unwrap()
    }

    /// Pulls an image by running it, and expects this exit code and these texts on stderr.
    #[track_caller]
    fn pulls(&self, image: &str, code: i32, texts: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command.arg("--root").arg(self.home.state.root());
        command.args(["run", "--pull", "always", "--image", image, "--", "/nothing"]);
        let output = self.run(command);
        let said = String::from_utf8(output.stderr).unwrap();
        let as_expected = output.status.code() == Some(code) && texts.iter().all(|text| said.contains(text));
        assert!(as_expected, "{image}: {:?}, not {code} with {texts:?}: {said}", output.status);
    }

    /// True when skopeo, with the same registries.conf, reads the image.
    fn skopeo_reads(&self, image: &str) -> bool {
        let conf = self.variables.iter().find(|(name, _)| *name == "CONTAINERS_REGISTRIES_CONF").unwrap();
        let mut command = Command::new("skopeo");
        command.arg("--registries-conf").arg(&conf.1).args(["inspect", "--raw", &format!("docker://{image}")]);
        self.run(command).status.success()
    }
}

fn login(key: &str, user: &str, password: &str) -> String {
    serde_json::json!({"auths": {key: {"username": user, "password": password}}}).to_string()
}

#[test]
fn a_login_comes_from_the_file_that_is_named() {
    if !needs(Feature::Registry) {
        return;
    }
    let creds = format!("--dest-creds={USER}:{PASSWORD}");
    let mut user = User::of(Registry::start_with_login(), "team/private:v1", &[&creds]);
    let (host, image) = (user.host(), user.registry.reference("team/private:v1"));
    user.pulls(&image, FAILED, &["refused access without credentials"]);
    user.named("REGISTRY_AUTH_FILE", "auth.json", &login(&format!("{host}/team"), USER, PASSWORD));
    user.pulls(&image, PULLED, &[]);
    let path = user.named("REGISTRY_AUTH_FILE", "auth.json", &login(&format!("{host}/team/private"), USER, "wrong"));
    user.pulls(&image, FAILED, &["refused access with the credentials"]);
    fs::write(&path, "{\"auths\":\n{\"x\": \"hunter2\"}}").unwrap();
    user.pulls(&image, FAILED, &["failed to get the credentials", "auth.json:2:"]);
    fs::remove_file(&path).unwrap();
    user.pulls(&image, FAILED, &["auth.json", "REGISTRY_AUTH_FILE names it"]);
}

#[test]
fn a_login_comes_from_a_credential_helper() {
    if !needs(Feature::Registry) {
        return;
    }
    let creds = format!("--dest-creds={USER}:{PASSWORD}");
    let user = User::of(Registry::start_with_login(), "private:v1", &[&creds]);
    let (host, image) = (user.host(), user.registry.reference("private:v1"));
    fs::create_dir(user.home.path("user/.docker")).unwrap();
    let config = serde_json::json!({"auths": {&host: {}}, "credHelpers": {&host: "vault"}});
    fs::write(user.home.path("user/.docker/config.json"), config.to_string()).unwrap();
    user.pulls(&image, FAILED, &["docker-credential-vault", "PATH", ".docker/config.json"]);
    let script = user.home.path("user/vault.sh");
    let answer = serde_json::json!({"ServerURL": host, "Username": USER, "Secret": PASSWORD});
    fs::write(&script, format!("#!/bin/sh\nread -r server\n[ \"$1 $server\" = 'get {host}' ] && echo '{answer}'\n"))
        .unwrap();
    // Copied by a program, so that no process of this test has the script open for writing.
    let target = user.home.path("user/bin/docker-credential-vault");
    assert!(Command::new("install").arg("-m755").arg(&script).arg(target).status().unwrap().success());
    user.pulls(&image, PULLED, &[]);
}

#[test]
fn names_are_moved_to_the_location_that_is_set() {
    if !needs(Feature::Registry) {
        return;
    }
    let mut user = User::of(Registry::start(), "internal/team/tool:v1", &[]);
    user.registries_conf(
        r#"
        [[registry]]
        prefix = "example.invalid/public"
        location = "HOST/internal"
        insecure = true
        [[registry]]
        prefix = "*.wild.invalid"
        location = "HOST/internal"
        insecure = true
        "#,
    );
    for image in ["example.invalid/public/team/tool:v1", "a.b.wild.invalid/team/tool:v1"] {
        assert!(user.skopeo_reads(image), "{image}");
        user.pulls(image, PULLED, &[]);
    }
    let image = "example.invalid/public/team/other:v1";
    assert!(!user.skopeo_reads(image));
    user.pulls(image, FAILED, &[image, "does not have it"]);
}

#[test]
fn what_is_blocked_is_refused_with_the_file() {
    if !needs(Feature::Registry) {
        return;
    }
    let mut user = User::of(Registry::start(), "team/tool:v1", &[]);
    let image = user.registry.reference("team/tool:v1");
    user.registries_conf("[[registry]]\nlocation = \"HOST\"\ninsecure = true\n");
    assert!(user.skopeo_reads(&image));
    user.pulls(&image, PULLED, &[]);
    let toml = "[[registry]]\nlocation = \"HOST/team\"\ninsecure = true\nblocked = true\n";
    let file = user.registries_conf(toml);
    assert!(!user.skopeo_reads(&image));
    user.pulls(&image, FAILED, &[&image, "blocks", file.to_str().unwrap()]);
}

#[test]
fn an_entry_that_does_not_say_insecure_wants_tls_even_on_this_machine() {
    if !needs(Feature::Registry) {
        return;
    }
    let mut user = User::of(Registry::start(), "tool:v1", &[]);
    let image = user.registry.reference("tool:v1");
    user.pulls(&image, PULLED, &[]);
    user.registries_conf("[[registry]]\nlocation = \"HOST\"\n");
    assert!(!user.skopeo_reads(&image));
    user.pulls(&image, FAILED, &[&user.host()]);
    user.registries_conf("[[registry]]\nlocation = \"HOST\"\ninsecure = \"yes\"\n");
    user.pulls(&image, FAILED, &["registries.conf:3:12", "boolean"]);
}

const SHORT_NAME: &str = "CORACLE_TEST_SHORT_NAME";

#[test]
fn short_names_lead_to_the_registries_that_are_set() {
    if !needs(Feature::Registry) {
        return;
    }
    let mut user = User::of(Registry::start(), "team/tool:v1", &[]);
    user.registries_conf(
        r#"
        unqualified-search-registries = ["localhost:1", "HOST"]
        [aliases]
        "mytool" = "HOST/team/tool"
        [[registry]]
        location = "HOST"
        insecure = true
        "#,
    );
    for (short, expected) in [
        ("mytool:v1", user.registry.reference("team/tool:v1")),
        ("team/tool:v1", format!("localhost:1/team/tool:v1 {}", user.registry.reference("team/tool:v1"))),
    ] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "config::a_short_name_is_resolved", "--ignored", "--nocapture"])
            .env(SHORT_NAME, short);
        let output = user.run(command);
        let said = String::from_utf8(output.stdout).unwrap();
        let answer = said.lines().find_map(|line| line.split_once("candidates: ")).map(|(_, names)| names);
        assert_eq!(answer, Some(&*expected), "{short}: {said}{}", String::from_utf8_lossy(&output.stderr));
        let last = expected.split(' ').next_back().unwrap();
        user.pulls(last, PULLED, &[]);
    }
}

/// Also by digest, which is known before any registry has been asked.
#[test]
fn a_short_name_by_digest_is_looked_for_at_every_registry() {
    if !needs(Feature::Registry) {
        return;
    }
    let empty = Registry::start();
    let mut user = User::of(Registry::start(), "team/tool:v1", &[]);
    let first = empty.reference("");
    let first = first.trim_end_matches('/');
    user.registries_conf(&format!("unqualified-search-registries = [\"{first}\", \"HOST\"]\n"));
    let digest = home().resolve(&user.registry.reference("team/tool:v1")).unwrap().manifest_digest;
    user.pulls(&format!("team/tool@{digest}"), PULLED, &[]);
}

/// Not a test by itself: the environment of a process of its own says where the files are.
#[test]
#[ignore = "run by short_names_lead_to_the_registries_that_are_set"]
fn a_short_name_is_resolved() {
    let Ok(short) = std::env::var(SHORT_NAME) else { return };
    let ImageName::Registry(name) = ImageName::parse(&short).unwrap() else { panic!("{short}") };
    let candidates = HostConfig::load(&Surroundings::default())
        .unwrap()
        .candidates(&name)
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    let candidates: Vec<String> = candidates.iter().map(ToString::to_string).collect();
    println!("candidates: {}", candidates.join(" "));
}
