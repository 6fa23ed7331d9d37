//! Images in archives, run from where they lie.

use crate::common::host::{Feature, needs};
use crate::layout::{Compression, Layer, LayoutBuilder, Tar, config, digest, gzip};
use crate::saved::{Index, Saved, docker_24, docker_25, item};
use crate::store::{Home, chain, home, homes};
use coracle::image::{Image, Platform};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;
use tar::EntryType;

fn layer(name: &str) -> Layer {
    Layer::new(Tar::new().file(name, name.repeat(1000).as_bytes()), Compression::Plain)
}

/// The file that tells which layer it is, of each.
fn files(image: &Image) -> Vec<String> {
    let name = |root: &std::path::PathBuf| {
        let entry = fs::read_dir(root).unwrap().next().unwrap().unwrap();
        entry.file_name().into_string().unwrap()
    };
    image.layers.iter().map(name).collect()
}

/// Writes an archive and returns its name for a transport.
fn write(home: &Home, transport: &str, bytes: &[u8]) -> String {
    let path = home.path("archive.tar");
    fs::write(&path, bytes).unwrap();
    format!("{transport}:{}", path.display())
}

#[test]
fn the_archives_of_every_docker_give_their_images() {
    let (base, top, other) = (layer("base"), layer("top"), layer("other"));
    let one = [base.clone(), top.clone()];
    // A layer that another image has too, and one that is there twice.
    let two = [base.clone(), other, base];
    let images =
        [Saved { tags: &["box:v1", "example.com/team/box:v2"], layers: &one }, Saved { tags: &[], layers: &two }];
    for home in homes() {
        let mut digests = Vec::new();
        for tar in [docker_24(&images), docker_25(&images, Index::Whole)] {
            let name = write(&home, "docker-archive", &tar.bytes());
            for suffix in ["box:v1", "docker.io/library/box:v1", "example.com/team/box:v2", "@0"] {
                let image = home.resolve(&format!("{name}:{suffix}")).unwrap();
                assert_eq!(files(&image), ["base", "top"], "{suffix}");
                digests.push(image.manifest_digest);
            }
            // Overlayfs takes a layer once, at its upper place.
            assert_eq!(files(&home.resolve(&format!("{name}:@1")).unwrap()), ["other", "base"]);
            let fails = |name: &str, reasons: &[&str]| {
                let error = chain(&home.resolve(name).unwrap_err());
                assert!(reasons.iter().all(|reason| error.contains(reason)), "{error}");
            };
            fails(&name, &["it holds 2", "docker-archive:FILE:REFERENCE", ":@INDEX", "box:v1"]);
            fails(
                &format!("{name}:box"),
                &["docker.io/library/box:latest", "there is box:v1, example.com/team/box:v2"],
            );
            fails(&format!("{name}:@2"), &["@2", "it holds 2"]);
        }
        digests.dedup();
        assert_eq!(digests.len(), 1, "the name of an image does not depend on how it was saved");
    }
}

#[test]
fn members_may_stand_in_any_order_and_be_links() {
    let layers = [layer("base"), layer("top")];
    let config = config(&layers, &Platform::host().architecture);
    let manifest = json!([item("./config", &[], &["a//b/../layer".into(), "/hard".into()])]).to_string();
    let (config, manifest) = (config.as_bytes(), manifest.as_bytes());
    let archives = [
        Tar::new()
            .file("./manifest.json", manifest)
            .symlink("./a/layer", "../x/../x/./first")
            .hard_link("hard", "x/second")
            .symlink("x/first", "real")
            .file("x/real", &layers[0].blob)
            .file("./x/second", &layers[1].blob)
            .file("/config", config),
        Tar::new()
            .file("x/second", &layers[1].blob)
            .file("a/layer", &layers[0].blob)
            .symlink("hard", "/x/second")
            .file("config", config)
            .file("manifest.json", manifest),
    ]
    .map(Tar::bytes);
    for home in homes() {
        for bytes in &archives {
            let name = write(&home, "docker-archive", bytes);
            assert_eq!(files(&home.resolve(&name).unwrap()), ["base", "top"]);
        }
    }
}

#[test]
fn long_names_come_from_extended_headers() {
    let home = home();
    let layers = [layer("only")];
    let config = config(&layers, &Platform::host().architecture);
    let long = format!("{}/layer.tar", "long".repeat(50));
    let manifest = json!([item("config", &[], std::slice::from_ref(&long))]).to_string();
    let rest = |tar: Tar| tar.file("config", config.as_bytes()).file("manifest.json", manifest.as_bytes());
    let blob = &layers[0].blob;
    let size = blob.len().to_string();
    let records: [(&str, &[u8]); 2] = [("path", long.as_bytes()), ("size", size.as_bytes())];
    let pax = Tar::new().pax(&records).entry(EntryType::Regular, "short", None, blob, |_| {});
    let gnu = Tar::new()
        .entry(EntryType::GNULongName, "././@LongLink", None, format!("{long}\0").as_bytes(), |_| {})
        .file("short", blob);
    for tar in [pax, gnu] {
        let name = write(&home, "docker-archive", &rest(tar).bytes());
        assert_eq!(files(&home.resolve(&name).unwrap()), ["only"]);
    }
}

#[test]
fn layers_that_are_compressed_in_the_archive_have_the_digests_of_their_blobs() {
    for home in homes() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let name = format!("{compression:?}");
            let layers = [Layer::new(Tar::new().file(&name, name.as_bytes()), compression)];
            let tar = docker_24(&[Saved { tags: &[], layers: &layers }]).bytes();
            let image = home.resolve(&write(&home, "docker-archive", &tar)).unwrap();
            assert_eq!(files(&image), [name]);
            let manifest = home.state.blobs().join("sha256").join(image.manifest_digest.hex());
            assert!(fs::read_to_string(manifest).unwrap().contains(&digest(&layers[0].blob)));
        }
    }
}

#[test]
fn an_oci_archive_is_a_layout() {
    for home in homes() {
        let mut layout = LayoutBuilder::new(&home.path("layout"));
        layout.tagged_image("v1", &[layer("base"), layer("one")]);
        layout.tagged_image("v2", &[layer("base"), layer("two")]);
        let tar = layout.archive();
        let mut pulled = Vec::new();
        for bytes in [tar.clone(), gzip(&tar), zstd::encode_all(&tar[..], 3).unwrap()] {
            let name = write(&home, "oci-archive", &bytes);
            let image = home.resolve(&format!("{name}:v1")).unwrap();
            assert_eq!(files(&image), ["base", "one"]);
            pulled.push(image.pulled);
            assert_eq!(home.staged(), Vec::<String>::new());
            let error = chain(&home.resolve(&name).unwrap_err());
            assert!(error.contains("oci-archive:FILE:TAG") && error.contains("v1, v2"), "{error}");
            let error = chain(&home.resolve(&format!("{name}:v3")).unwrap_err());
            assert!(error.contains("tag v3"), "{error}");
        }
        assert_eq!(pulled, [true, false, false]);
        let in_directory = home.resolve(&format!("oci:{}:v1", layout.path().display())).unwrap();
        assert!(!in_directory.pulled, "the same image in another place");
    }
}

#[test]
fn an_archive_that_was_used_before_is_read_no_further_than_its_headers() {
    let home = home();
    let layers = [layer("only")];
    let bytes = docker_24(&[Saved { tags: &[], layers: &layers }]).bytes();
    let name = write(&home, "docker-archive", &bytes);
    let first = home.resolve(&name).unwrap();
    let mut changed = bytes.clone();
    let content = b"only".repeat(1000);
    let at = changed.windows(content.len()).position(|window| window == content).unwrap();
    changed[at] ^= 1;
    write(&home, "docker-archive", &changed);
    let again = home.resolve(&name).unwrap();
    assert_eq!((again.pulled, again.manifest_digest), (false, first.manifest_digest));
    // Where the layer is needed, what is wrong with it is found.
    let fresh = crate::store::home();
    let error = chain(&fresh.resolve(&name).unwrap_err());
    assert!(error.contains("its digest is"), "{error}");
    fresh.assert_empty();
}

#[test]
fn a_pipe_is_an_archive_too() {
    let home = home();
    let bytes = docker_24(&[Saved { tags: &[], layers: &[layer("only")] }]).bytes();
    let path = home.path("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let writer = path.clone();
    let writer = std::thread::spawn(move || fs::write(writer, bytes).unwrap());
    assert_eq!(files(&home.resolve(&format!("docker-archive:{}", path.display())).unwrap()), ["only"]);
    writer.join().unwrap();
    assert_eq!(home.staged(), Vec::<String>::new());
}

#[test]
fn images_have_the_digests_that_skopeo_shows() {
    if !needs(Feature::Registry) {
        return;
    }
    let home = home();
    let tar = docker_24(&[Saved { tags: &["box:v1"], layers: &[layer("base"), layer("top"), layer("base")] }]);
    let name = write(&home, "docker-archive", &tar.bytes());
    let raw = skopeo(&["inspect", "--raw", &name]);
    assert_eq!(home.resolve(&name).unwrap().manifest_digest.to_string(), digest(&raw));
}

#[test]
fn what_skopeo_writes_is_read() {
    if !needs(Feature::Registry) {
        return;
    }
    for home in homes() {
        let mut layout = LayoutBuilder::new(&home.path("layout"));
        layout.tagged_image("v1", &[layer("base"), layer("top")]);
        let source = format!("oci:{}:v1", layout.path().display());
        let archive = |name: &str| home.path(name).display().to_string();
        for target in
            [format!("docker-archive:{}:box:v1", archive("d")), format!("oci-archive:{}:box:v1", archive("o"))]
        {
            skopeo(&["--insecure-policy", "copy", "--quiet", &source, &target]);
            assert_eq!(files(&home.resolve(&target).unwrap()), ["base", "top"], "{target}");
        }
    }
}

fn skopeo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("skopeo").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn refused(home: &Home, bytes: &[u8], reason: &str) {
    let error = chain(&home.resolve(&write(home, "docker-archive", bytes)).unwrap_err());
    assert!(error.contains(reason) && error.contains("archive.tar"), "expected {reason}: {error}");
    home.assert_empty();
}

#[test]
fn what_is_no_archive_is_named() {
    let home = home();
    refused(&home, b"", "it is empty");
    refused(&home, &gzip(b""), "it is empty");
    refused(&home, &[0; 1024], "it is empty");
    refused(&home, b"hello", "it is no tar archive");
    refused(&home, &gzip(&b"hello".repeat(1000)), "it is no tar archive");
    refused(&home, &b"\xfd7zXZ\0\0\x04".repeat(100), "`xz -d`");
    refused(&home, &b"BZh91AY&SY".repeat(100), "`bzip2 -d`");
    refused(&home, &b"PK\x03\x04".repeat(1000), "it is no tar archive");
    let whole = gzip(&Tar::new().file("x", b"x").bytes());
    refused(&home, &whole[..whole.len() - 4], "failed to decompress");
    for (transport, reason) in
        [("docker-archive", "there is no manifest.json"), ("oci-archive", "there is no index.json")]
    {
        let error = chain(&home.resolve(&write(&home, transport, &layer("x").blob)).unwrap_err());
        assert!(error.contains(reason), "{error}");
        let error = chain(&home.resolve(&format!("{transport}:/no/such/file")).unwrap_err());
        assert!(error.contains("there is no such file"), "{error}");
        let error = chain(&home.resolve(&format!("{transport}:/tmp")).unwrap_err());
        assert!(error.contains("oci:/tmp"), "{error}");
    }
    let old = Tar::new().file("id/layer.tar", b"").file("repositories", b"{}").bytes();
    let error = chain(&home.resolve(&write(&home, "docker-archive", &old)).unwrap_err());
    assert!(error.contains("Docker before 1.10") && error.contains("save it again"), "{error}");
}

#[test]
fn hostile_headers_are_refused() {
    let home = home();
    let entry = |kind, size: &dyn Fn(&mut tar::Header)| Tar::new().entry(kind, "x", None, b"x", size).bytes();
    refused(&home, &entry(EntryType::Regular, &|header| header.set_size(1 << 40)), "cut off");
    refused(&home, &entry(EntryType::Regular, &|header| header.set_size(u64::MAX)), "cut off");
    refused(&home, &entry(EntryType::XHeader, &|header| header.set_size(u64::MAX - 600)), "cut off");
    refused(&home, &entry(EntryType::Regular, &|header| header.as_old_mut().size.fill(0xff)), "cut off");
    refused(&home, &entry(EntryType::Regular, &|header| header.as_old_mut().size.fill(b'9')), "no header of a tar");
    refused(&home, &entry(EntryType::GNUSparse, &|_| {}), "sparse");
    let pax = |key: &str, value: &[u8]| Tar::new().pax(&[(key, value)]).file("x", b"x").bytes();
    refused(&home, &pax("size", b"99999999999"), "cut off");
    refused(&home, &pax("size", b"-1"), "no header of a tar");
    refused(&home, &pax("size", b"99999999999999999999999"), "no header of a tar");
    refused(&home, &pax("GNU.sparse.realsize", b"1"), "sparse");
    let broken = Tar::new().entry(EntryType::XHeader, "x", None, b"not a record", |_| {}).bytes();
    refused(&home, &broken, "no header of a tar");
    let long = Tar::new().entry(EntryType::GNULongName, "x", None, &vec![b'a'; 2 << 20], |_| {});
    refused(&home, &long.file("x", b"").bytes(), "longer names");
    let mut damaged = Tar::new().file("a", b"").file("b", b"").bytes();
    damaged[512] ^= 1;
    refused(&home, &damaged, "at byte 512");
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_path("x").unwrap();
    header.set_size(0);
    header.set_cksum();
    for _ in 0..=100_000 {
        tar.append(&header, &b""[..]).unwrap();
    }
    refused(&home, &tar.into_inner().unwrap(), "more members");
    let names: Vec<u8> = (0..40_u32)
        .flat_map(|number| {
            let name = format!("{number}{}", "n".repeat(1 << 19));
            let tar = Tar::new().pax(&[("path", name.as_bytes())]).file("x", b"").bytes();
            tar[..tar.len() - 1024].to_vec()
        })
        .collect();
    refused(&home, &names, "longer names");
}

#[test]
fn an_archive_that_is_cut_off_anywhere_is_refused_or_whole() {
    let home = home();
    let bytes = docker_24(&[Saved { tags: &[], layers: &[layer("base"), layer("top")] }]).bytes();
    for end in (0..bytes.len()).step_by(512).chain([1, 700, 1300, bytes.len() - 1]) {
        let name = write(&home, "docker-archive", &bytes[..end]);
        match home.resolve(&name) {
            // All that is missing is the end of the archive.
            Ok(image) => assert_eq!(files(&image), ["base", "top"], "{end}"),
            Err(error) => assert!(!chain(&error).is_empty()),
        }
        assert_eq!(home.staged(), Vec::<String>::new());
    }
}

#[test]
fn hostile_members_are_refused() {
    let home = home();
    let layers = [layer("only")];
    let config = config(&layers, &Platform::host().architecture);
    let archive = |manifest: &str, with: &dyn Fn(Tar) -> Tar| {
        with(Tar::new().file("config", config.as_bytes()).file("layer", &layers[0].blob))
            .file("manifest.json", manifest.as_bytes())
            .bytes()
    };
    let fails = |bytes: &[u8], reason: &str| {
        let error = chain(&home.resolve(&write(&home, "docker-archive", bytes)).unwrap_err());
        assert!(error.contains(reason), "expected {reason}: {error}");
        home.assert_empty();
    };
    let manifest = |config: &str, layers: &[&str]| {
        let layers: Vec<String> = layers.iter().map(|layer| (*layer).to_owned()).collect();
        json!([item(config, &[], &layers)]).to_string()
    };
    let as_is: &dyn Fn(Tar) -> Tar = &|tar| tar;
    // Names are those of members, never of files.
    for outside in ["/etc/passwd", "../../../../etc/passwd", "missing", ""] {
        fails(&archive(&manifest("config", &[outside]), as_is), "missing");
        fails(&archive(&manifest(outside, &["layer"]), as_is), "missing");
        let link: &dyn Fn(Tar) -> Tar = &|tar| tar.symlink("link", outside).hard_link("hard", outside);
        fails(&archive(&manifest("config", &["link"]), link), "missing");
        fails(&archive(&manifest("hard", &["layer"]), link), "missing");
    }
    let circle: &dyn Fn(Tar) -> Tar = &|tar| tar.symlink("a", "b").symlink("b", "a").symlink("c", "c");
    fails(&archive(&manifest("config", &["a"]), circle), "missing");
    fails(&archive(&manifest("c", &["layer"]), circle), "missing");
    let twice: &dyn Fn(Tar) -> Tar = &|tar| tar.file("./config", b"{}");
    fails(&archive(&manifest("config", &["layer"]), twice), "config is in it more than once");
    let twice: &dyn Fn(Tar) -> Tar = &|tar| tar.file("manifest.json", b"[]");
    fails(&archive(&manifest("config", &["layer"]), twice), "manifest.json is in it more than once");
    fails(&archive(&manifest("config", &[]), as_is), "the manifest has 0, the config has 1");
    fails(&archive(&manifest("config", &["layer", "layer"]), as_is), "the manifest has 2, the config has 1");
    fails(&archive(&manifest("config", &["config"]), as_is), "its digest is");
    fails(&archive(&manifest("layer", &["layer"]), as_is), "failed to parse layer in");
    fails(&archive("[]", as_is), "it holds no image");
    for text in ["", "{}", "[{}]", "null", "[[", r#"[{"Config": 1}]"#] {
        fails(&archive(text, as_is), "failed to parse manifest.json in");
    }
    fails(&archive(&" ".repeat((4 << 20) + 1), as_is), "failed to parse manifest.json in");
    let large: &dyn Fn(Tar) -> Tar = &|tar| tar.file("large", &vec![b' '; (4 << 20) + 1]);
    fails(&archive(&manifest("large", &["layer"]), large), "more than 4194304");
    let named = json!([item("config", &["Not A Name"], &["layer".into()])]).to_string();
    let name = write(&home, "docker-archive", &archive(&named, as_is));
    let error = chain(&home.resolve(&format!("{name}:box")).unwrap_err());
    assert!(error.contains("Not A Name") && error.contains("manifest.json in"), "{error}");
}

#[test]
fn a_damaged_layout_in_an_archive_is_named() {
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    let descriptor = layout.image(&[layer("only")]);
    let fails = |reason: &str| {
        let error = chain(&home.resolve(&write(&home, "oci-archive", &layout.archive())).unwrap_err());
        assert!(error.contains(reason) && error.contains("archive.tar"), "expected {reason}: {error}");
        home.assert_empty();
    };
    let manifest = layout.blob_path(descriptor["digest"].as_str().unwrap());
    let good = fs::read(&manifest).unwrap();
    fs::write(&manifest, [&good[..good.len() - 1], b" "].concat()).unwrap();
    fails("its digest is sha256:");
    fs::write(&manifest, &good[1..]).unwrap();
    fails("bytes instead of");
    fs::remove_file(&manifest).unwrap();
    fails("the blob is missing");
    fs::write(layout.path().join("index.json"), "{").unwrap();
    fails("failed to parse index.json in");
}

/// Needs root: mounts a small file system in a mount namespace of its own.
#[test]
fn a_disk_that_is_too_small_for_a_compressed_archive_is_named() {
    if !needs(Feature::Root) {
        return;
    }
    // The namespace belongs to this thread and those that it starts.
    std::thread::spawn(|| {
        use nix::mount::{MsFlags, mount};
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS | nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let home = home();
        let staging: &Path = &home.state.staging();
        mount(Some("tmpfs"), staging, Some("tmpfs"), MsFlags::empty(), Some("size=256k,mode=700")).unwrap();
        let zeros = Layer::new(Tar::new().file("zeros", &vec![0; 1 << 20]), Compression::Plain);
        let bytes = gzip(&docker_24(&[Saved { tags: &[], layers: &[zeros] }]).bytes());
        refused(&home, &bytes, "is full");
        nix::mount::umount(staging).unwrap();
    })
    .join()
    .unwrap();
}
