//! Loading every image of a file into the store.

use crate::common::host::{Feature, needs};
use crate::common::podman::Podman;
use crate::layout::{Compression, Layer, LayoutBuilder, Tar, gzip};
use crate::saved::{Index, Saved, docker_24, docker_25};
use crate::store::{Home, block_on, chain, home, homes};
use coracle::image::{ImageError, LoadInput, LoadedImage, Platform, PullPolicy};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;

fn layer(name: &str) -> Layer {
    Layer::new(Tar::new().file(name, name.repeat(1000).as_bytes()), Compression::Plain)
}

fn load(home: &Home, input: LoadInput) -> Result<Vec<LoadedImage>, ImageError> {
    block_on(home.store().load(input, None))
}

fn load_bytes(home: &Home, bytes: &[u8]) -> Result<Vec<LoadedImage>, ImageError> {
    let path = home.path("archive.tar");
    fs::write(&path, bytes).unwrap();
    load(home, LoadInput::Path(path))
}

fn names(images: &[LoadedImage]) -> Vec<Vec<String>> {
    images.iter().map(|image| image.references.iter().map(ToString::to_string).collect()).collect()
}

/// Whether an image is in the store with exactly the layers that hold these files.
fn assert_here(home: &Home, image: &LoadedImage, files: &[&str]) {
    let found = home.resolve_with(&image.digest.to_string(), PullPolicy::Never).unwrap();
    assert_eq!(found.manifest_digest, image.digest);
    assert_eq!(found.layers.len(), files.len());
    for (root, file) in found.layers.iter().zip(files) {
        assert!(root.join(file).exists(), "{file}");
    }
}

#[test]
fn every_image_of_an_archive_is_loaded_with_its_names() {
    let (base, top, other) = (layer("base"), layer("top"), layer("other"));
    let (one, two) = ([base.clone(), top], [base, other]);
    let images =
        [Saved { tags: &["box:v1", "example.com/team/box:v2"], layers: &one }, Saved { tags: &[], layers: &two }];
    let versions = [
        docker_24(&images),
        docker_25(&images, Index::Whole),
        docker_25(&images, Index::NoLayers),
        docker_25(&images, Index::Null),
        docker_25(&images, Index::First),
    ]
    .map(Tar::bytes);
    for home in homes() {
        for (version, tar) in versions.iter().enumerate() {
            let loaded = load_bytes(&home, tar).unwrap();
            let expected = [vec!["docker.io/library/box:v1", "example.com/team/box:v2"], vec![]];
            assert_eq!(names(&loaded), expected, "{version}");
            assert_here(&home, &loaded[0], &["base", "top"]);
            assert_here(&home, &loaded[1], &["base", "other"]);
            assert_eq!(loaded[0].platform.architecture, Platform::host().architecture);
            assert_eq!(loaded[0].pulled, version == 0);
        }
        assert_eq!(home.layers().len(), 3);
    }
}

/// Podman itself needs root here, so that it leaves no process behind; what it writes is the same for all.
#[test]
fn what_podman_saves_is_loaded() {
    if !needs(Feature::Root) || !needs(Feature::Podman) {
        return;
    }
    for home in homes() {
        let podman = Podman::new();
        let (one, two) = ([layer("base"), layer("top")], [layer("base"), layer("other")]);
        let both = docker_24(&[
            Saved { tags: &["example.com/box:v1", "example.com/box:v2"], layers: &one },
            Saved { tags: &["example.com/other:v1"], layers: &two },
        ]);
        let path = home.path("both.tar");
        fs::write(&path, both.bytes()).unwrap();
        podman.load(&path);
        let saved = |options: &[&str], images: &[&str]| {
            let path = home.path("saved.tar");
            podman.save(options, &path, images);
            let loaded = load(&home, LoadInput::Path(path)).unwrap();
            assert_here(&home, &loaded[0], &["base", "top"]);
            loaded
        };
        assert_eq!(names(&saved(&[], &["example.com/box:v1"])), [["example.com/box:v1"]]);
        let two = ["example.com/box:v1", "example.com/other:v1"];
        let loaded = saved(&["--multi-image-archive"], &two);
        assert_eq!(names(&loaded)[1], ["example.com/other:v1"]);
        assert_here(&home, &loaded[1], &["base", "other"]);
        let loaded = saved(&["--format", "oci-archive"], &["example.com/box:v2"]);
        assert_eq!(names(&loaded), [["example.com/box:v2"]]);
    }
}

#[test]
fn input_may_be_a_pipe_a_file_or_compressed() {
    for home in homes() {
        let tar = docker_24(&[Saved { tags: &["box:v1"], layers: &[layer("only")] }]).bytes();
        for bytes in [tar.clone(), gzip(&tar), zstd::encode_all(&tar[..], 3).unwrap()] {
            let (reader, mut writer) = std::io::pipe().unwrap();
            let sent = bytes.clone();
            let writing = std::thread::spawn(move || writer.write_all(&sent).unwrap());
            let from_pipe = load(&home, LoadInput::Stream(OwnedFd::from(reader))).unwrap();
            writing.join().unwrap();
            let path = home.path("archive");
            fs::write(&path, bytes).unwrap();
            let from_file = load(&home, LoadInput::Stream(File::open(path).unwrap().into())).unwrap();
            for loaded in [from_pipe, from_file] {
                assert_eq!(names(&loaded), [["docker.io/library/box:v1"]]);
                assert_here(&home, &loaded[0], &["only"]);
            }
            assert_eq!(home.staged(), Vec::<String>::new());
        }
    }
}

#[test]
fn a_load_that_is_given_up_does_not_wait_for_its_input() {
    let home = home();
    // Nobody ever writes to it or closes it.
    let (reader, writer) = std::io::pipe().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = home.store();
        let load = store.load(LoadInput::Stream(reader.into()), None);
        tokio::select! {
            biased;
            result = load => panic!("{result:?}"),
            () = tokio::task::yield_now() => {}
        }
    });
    drop(runtime);
    assert_eq!(home.staged(), Vec::<String>::new());
    drop(writer);
}

#[test]
fn a_layout_is_loaded_with_the_names_that_are_references() {
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    layout.tagged_image("v1", &[layer("one")]);
    layout.tagged_image("example.com/team/two:v2", &[layer("two")]);
    layout.tagged_image("two:v3", &[layer("two")]);
    // What is no image lies beside images.
    let config = layout.blob(b"{}", "application/vnd.example.config");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let artifact =
        serde_json::json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": []}).to_string();
    let artifact = layout.blob(artifact.as_bytes(), media_type);
    layout.add(artifact);
    for input in [LoadInput::Path(layout.path().to_owned()), {
        let path = home.path("archive.tar");
        fs::write(&path, layout.archive()).unwrap();
        LoadInput::Path(path)
    }] {
        let loaded = load(&home, input).unwrap();
        assert_eq!(names(&loaded), [vec![], vec!["example.com/team/two:v2", "docker.io/library/two:v3"]]);
        assert_here(&home, &loaded[0], &["one"]);
        assert_here(&home, &loaded[1], &["two"]);
    }
}

#[test]
fn of_several_platforms_the_one_that_is_asked_for_is_loaded() {
    let home = home();
    let host = Platform::host().architecture;
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    layout.tagged_index("box:v1", &[("s390x", &[layer("other")]), (&host, &[layer("host")])]);
    let path = home.path("archive.tar");
    fs::write(&path, layout.archive()).unwrap();
    let load = |platform: Option<&str>| {
        let platform: Option<Platform> = platform.map(|platform| platform.parse().unwrap());
        block_on(home.store().load(LoadInput::Path(path.clone()), platform.as_ref()))
    };
    let loaded = load(None).unwrap();
    assert_here(&home, &loaded[0], &["host"]);
    let loaded = load(Some("linux/s390x")).unwrap();
    assert_eq!(loaded[0].platform.to_string(), "linux/s390x");
    let error = chain(&load(Some("linux/riscv64")).unwrap_err());
    assert!(error.contains(&format!("there is linux/s390x, linux/{host}")), "{error}");
}

#[test]
fn images_of_one_name_or_none_are_one_only_if_their_platforms_differ() {
    let home = home();
    let host = Platform::host().architecture;
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    for (architecture, name) in [("s390x", "foreign"), (host.as_str(), "first"), (host.as_str(), "second")] {
        let mut descriptor = layout.manifest(&[layer(name)], architecture);
        descriptor["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        layout.add(descriptor);
    }
    let loaded = load(&home, LoadInput::Path(layout.path().to_owned())).unwrap();
    assert_eq!(loaded.len(), 2);
    assert_here(&home, &loaded[0], &["first"]);
    assert_here(&home, &loaded[1], &["second"]);
}

#[test]
fn what_holds_no_images_is_named() {
    let home = home();
    let fails = |bytes: &[u8], reason: &str| {
        let error = chain(&load_bytes(&home, bytes).unwrap_err());
        assert!(error.contains(reason) && error.contains("archive.tar"), "expected {reason}: {error}");
        home.assert_empty();
    };
    fails(b"", "it is empty");
    fails(b"no archive", "it is no tar archive");
    fails(&layer("x").blob, "neither an OCI nor a docker archive");
    fails(&Tar::new().file("repositories", b"{}").bytes(), "Docker before 1.10");
    fails(&Tar::new().file("manifest.json", b"[]").bytes(), "it holds no image");
    let whole = docker_24(&[Saved { tags: &["box:v1"], layers: &[layer("only")] }]).bytes();
    fails(&whole[..whole.len() / 2], "cut off");
    fails(&gzip(&whole)[..100], "failed to decompress");
    let named = docker_24(&[Saved { tags: &["Box Box:v1"], layers: &[layer("only")] }]).bytes();
    fails(&named, "Box Box:v1");
    let empty = LayoutBuilder::new(&home.path("layout"));
    fails(&empty.archive(), "it holds no image");
    let error = chain(&load(&home, LoadInput::Path(empty.path().to_owned())).unwrap_err());
    assert!(error.contains("it holds no image"), "{error}");
    let error = chain(&load(&home, LoadInput::Path("/no/such/file".into())).unwrap_err());
    assert!(error.contains("there is no such file"), "{error}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(writer);
    let error = chain(&load(&home, LoadInput::Stream(reader.into())).unwrap_err());
    assert!(error.contains("standard input") && error.contains("it is empty"), "{error}");
}

#[test]
fn a_bad_image_leaves_the_good_ones_before_it() {
    let home = home();
    let bad = Layer { diff_id: crate::layout::digest(b"other"), ..layer("bad") };
    let tar = docker_24(&[
        Saved { tags: &["good:v1"], layers: &[layer("good")] },
        Saved { tags: &["bad:v1"], layers: &[bad] },
    ]);
    let error = chain(&load_bytes(&home, &tar.bytes()).unwrap_err());
    assert!(error.contains("bad:v1") && error.contains("its digest is"), "{error}");
    assert_eq!((home.layers().len(), home.staged()), (1, vec![]));
}

#[test]
fn a_digest_names_what_is_in_the_store_and_nothing_else() {
    let home = home();
    let tar = docker_24(&[Saved { tags: &[], layers: &[layer("only")] }]);
    let loaded = load_bytes(&home, &tar.bytes()).unwrap();
    let digest = &loaded[0].digest;
    for policy in [PullPolicy::Always, PullPolicy::Newer, PullPolicy::IfNotPresent, PullPolicy::Never] {
        assert!(!home.resolve_with(&digest.to_string(), policy).unwrap().pulled);
    }
    let error = home.resolve(&format!("sha256:{}", "0".repeat(64))).unwrap_err();
    assert!(matches!(error, ImageError::NotHere { .. }), "{error}");
    let layers = home.layers();
    let kind = fs::read_dir(home.state.layers()).unwrap().map(|entry| entry.unwrap().path());
    let layer = kind.map(|kind| kind.join(&layers[0])).find(|path| path.exists()).unwrap();
    fs::rename(&layer, home.path("elsewhere")).unwrap();
    let error = home.resolve(&digest.to_string()).unwrap_err();
    assert!(matches!(error, ImageError::Incomplete { .. }), "{error}");
    fs::rename(home.path("elsewhere"), layer).unwrap();
    fs::write(home.state.blobs().join("sha256").join(digest.hex()), "damaged").unwrap();
    let error = home.resolve(&digest.to_string()).unwrap_err();
    assert!(matches!(error, ImageError::DamagedHere { .. }), "{error}");
}
