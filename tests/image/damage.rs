//! Images that are not what they say. Each failure is named, and nothing half-made stays.

use crate::layout::{Compression, Layer, LayoutBuilder, Tar, digest, gzip};
use crate::store::{Home, chain, homes, resolve_in};
use coracle::image::{ImageName, Limits, PullPolicy};
use std::fs;

fn tar() -> Tar {
    Tar::new().file("file", &b"0123456789".repeat(50_000))
}

fn fails(home: &Home, layout: &LayoutBuilder, reason: &str) {
    let error = chain(&home.resolve(&format!("oci:{}", layout.path().display())).unwrap_err());
    assert!(error.contains(reason), "{error}");
    home.assert_empty();
}

/// A layout with one image of one layer, of which the blob is then replaced.
fn with_blob(home: &Home, layer: &Layer, blob: Option<&[u8]>) -> LayoutBuilder {
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    layout.image(std::slice::from_ref(layer));
    let path = layout.blob_path(&digest(&layer.blob));
    match blob {
        Some(bytes) => fs::write(path, bytes).unwrap(),
        None => fs::remove_file(path).unwrap(),
    }
    layout
}

#[test]
fn a_blob_that_was_changed_is_found() {
    for home in homes() {
        for compression in [Compression::Plain, Compression::Gzip, Compression::Zstd] {
            let layer = Layer::new(tar(), compression);
            // At the end, in the middle, and where it does not even decompress any more.
            for at in [layer.blob.len() - 1, layer.blob.len() / 2, 4] {
                let mut changed = layer.blob.clone();
                changed[at] ^= 1;
                fails(&home, &with_blob(&home, &layer, Some(&changed)), "its digest is");
            }
            let cut = &layer.blob[..layer.blob.len() - 10];
            fails(&home, &with_blob(&home, &layer, Some(cut)), "bytes came instead of");
            let longer = [&layer.blob[..], &[0; 100]].concat();
            fails(&home, &with_blob(&home, &layer, Some(&longer)), "more than the");
            fails(&home, &with_blob(&home, &layer, Some(b"")), "0 bytes came instead of");
            fails(&home, &with_blob(&home, &layer, None), "the blob is missing");
        }
    }
}

#[test]
fn an_image_that_was_built_wrongly_is_found() {
    for home in homes() {
        let fails_with = |layer: Layer, reason: &str| {
            let mut layout = LayoutBuilder::new(&home.path("layout"));
            layout.image(&[layer]);
            fails(&home, &layout, reason);
            fs::remove_dir_all(layout.path()).unwrap();
        };
        let good = Layer::new(tar(), Compression::Gzip);
        let wrong_diff_id = Layer { diff_id: digest(b"another tar"), ..good.clone() };
        fails_with(wrong_diff_id, "the image's config says");
        // Digests that match what is broken inside.
        let mut corrupt = good.blob.clone();
        let middle = corrupt.len() / 2;
        corrupt[middle..middle + 20].fill(0xff);
        fails_with(Layer { blob: corrupt, ..good.clone() }, "decompress");
        fails_with(Layer { blob: [&good.blob[..], b"garbage"].concat(), ..good.clone() }, "decompress");
        let bytes = tar().bytes();
        let cut = &bytes[..1000];
        fails_with(Layer { blob: gzip(cut), diff_id: digest(cut), ..good.clone() }, "ends in the middle of an entry");
        let noise = b"this is no tar archive ".repeat(100);
        fails_with(Layer { blob: noise.clone(), diff_id: digest(&noise), ..good.clone() }, "checksum does not match");
        fails_with(Layer { media_type: "application/x-unknown".into(), ..good }, "application/x-unknown");
    }
}

#[test]
fn a_layer_larger_than_the_limit_is_refused() {
    for home in homes() {
        let mut layout = LayoutBuilder::new(&home.path("layout"));
        // A bomb: a thousandth of what it becomes.
        layout.image(&[Layer::new(Tar::new().file("zeros", &vec![0; 20 << 20]), Compression::Gzip)]);
        let name = ImageName::parse(&format!("oci:{}", layout.path().display())).unwrap();
        let resolve = |limit| {
            let limits = Limits { max_layer_bytes: Some(limit), max_ratio: None };
            let store = home.store().with_limits(limits);
            resolve_in(&store, &name, PullPolicy::IfNotPresent, None, None)
        };
        let error = chain(&resolve(1 << 20).unwrap_err());
        assert!(error.contains("more than 1048576 bytes"), "{error}");
        home.assert_empty();
        assert!(resolve(32 << 20).is_ok());
    }
}

#[test]
fn one_bad_layer_takes_the_whole_image_with_it_and_no_good_layer() {
    for home in homes() {
        let mut layout = LayoutBuilder::new(&home.path("layout"));
        let good: Vec<Layer> =
            (0..6).map(|index| Layer::new(Tar::new().file(&format!("{index}"), b""), Compression::Gzip)).collect();
        let mut bad = Layer::new(tar(), Compression::Gzip);
        bad.diff_id = digest(b"wrong");
        layout.image(&[&good[..3], &[bad], &good[3..]].concat());
        let error = chain(&home.resolve(&format!("oci:{}", layout.path().display())).unwrap_err());
        assert!(error.contains("the image's config says"), "the cause, not what it led to: {error}");
        // Whole layers are good whatever image they came with; half ones must not be there.
        assert_eq!(home.staged(), Vec::<String>::new());
        let good: Vec<&str> = good.iter().map(|layer| layer.diff_id.strip_prefix("sha256:").unwrap()).collect();
        assert!(home.layers().iter().all(|layer| good.contains(&layer.as_str())));
    }
}

#[test]
fn an_unpacker_that_does_not_start_is_named() {
    for home in homes() {
        let mut layout = LayoutBuilder::new(&home.path("layout"));
        layout.image(&[Layer::new(tar(), Compression::Gzip)]);
        let name = ImageName::parse(&format!("oci:{}", layout.path().display())).unwrap();
        for (binary, reason) in [("/no/such/coracle", "/no/such/coracle"), ("/bin/true", "without a report")] {
            let store = home.store_with(binary.as_ref());
            let error = chain(&resolve_in(&store, &name, PullPolicy::IfNotPresent, None, None).unwrap_err());
            assert!(error.contains(reason), "{error}");
            home.assert_empty();
        }
    }
}

/// Needs root: mounts a small file system in a mount namespace of its own.
#[test]
fn a_full_disk_is_named_and_left_clean() {
    if !crate::common::host::needs(crate::common::host::Feature::Root) {
        return;
    }
    // The namespace belongs to this thread alone, which ends with the test; the runtime's threads and
    // the unpacker inherit it.
    std::thread::spawn(|| {
        use nix::mount::{MsFlags, mount};
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS | nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        for home in homes() {
            let staging = home.state.staging();
            mount(Some("tmpfs"), &staging, Some("tmpfs"), MsFlags::empty(), Some("size=256k,mode=700")).unwrap();
            let mut layout = LayoutBuilder::new(&home.path("layout"));
            layout.image(&[Layer::new(tar(), Compression::Gzip)]);
            fails(&home, &layout, "is full");
            // Processes that other tests start hold its files until they have begun.
            nix::mount::umount2(&staging, nix::mount::MntFlags::MNT_DETACH).unwrap();
        }
    })
    .join()
    .unwrap();
}

/// Needs root: mounts small or read-only file systems in a mount namespace of its own.
#[test]
fn a_store_that_takes_no_document_is_named_and_left_clean() {
    if !crate::common::host::needs(crate::common::host::Feature::Root) {
        return;
    }
    std::thread::spawn(|| {
        use nix::mount::{MntFlags, MsFlags, mount, umount2};
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS | nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        for home in homes() {
            let mut layout = LayoutBuilder::new(&home.path("layout"));
            layout.image(&[Layer::new(tar(), Compression::Gzip)]);
            let blobs = home.state.blobs().join("sha256");
            let name = format!("oci:{}", layout.path().display());
            for (flags, options, reason) in
                [(MsFlags::empty(), "nr_inodes=1", "No space left"), (MsFlags::MS_RDONLY, "size=1m", "Read-only")]
            {
                mount(Some("tmpfs"), &blobs, Some("tmpfs"), flags, Some(options)).unwrap();
                let error = chain(&home.resolve(&name).unwrap_err());
                assert!(error.contains(reason) && error.contains(blobs.to_str().unwrap()), "{error}");
                assert_eq!(home.staged(), Vec::<String>::new());
                assert_eq!(fs::read_dir(&blobs).unwrap().count(), 0);
                umount2(&blobs, MntFlags::MNT_DETACH).unwrap();
            }
            // The layer was good, and what was lacking is all that is made now.
            assert_eq!(home.layers().len(), 1);
            home.resolve(&name).unwrap();
            assert_eq!(fs::read_dir(&blobs).unwrap().count(), 2);
        }
    })
    .join()
    .unwrap();
}
