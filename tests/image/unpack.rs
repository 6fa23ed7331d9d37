//! What a layer becomes on disk.

use crate::layout::{Compression, Layer, LayoutBuilder, Tar, gzip};
use crate::store::{Home, homes};
use coracle::image::unpack::{OPAQUE_ROOTFUL, OPAQUE_ROOTLESS};
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tar::EntryType;

/// The root of the only layer of an image made of `tar`.
fn unpacked(home: &Home, tar: Tar) -> PathBuf {
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    layout.image(&[Layer::new(tar, Compression::Gzip)]);
    let image = home.resolve(&format!("oci:{}", layout.path().display())).unwrap();
    assert!(image.pulled);
    image.layers[0].clone()
}

fn stat(path: &Path) -> Metadata {
    fs::symlink_metadata(path).unwrap()
}

fn mode(path: &Path) -> u32 {
    stat(path).permissions().mode() & 0o7777
}

fn is_whiteout(path: &Path) -> bool {
    let status = stat(path);
    status.file_type().is_char_device() && status.rdev() == 0
}

fn is_opaque(home: &Home, path: &Path) -> bool {
    let name = if home.is_rootful() { OPAQUE_ROOTFUL } else { OPAQUE_ROOTLESS };
    xattr::get(path, name).unwrap().as_deref() == Some(b"y")
}

/// The host's id for an id of the layer, where there is one.
fn host_id(home: &Home, id: u32) -> u32 {
    let Some(mappings) = &home.mappings else { return id };
    let map = mappings.uids.iter().find(|map| (map.container..map.container + map.count).contains(&id));
    map.map_or(mappings.uids[0].host, |map| map.host + (id - map.container))
}

#[test]
fn files_of_every_kind_keep_their_attributes() {
    for home in homes() {
        let tar = Tar::new()
            .entry(EntryType::Directory, "./", None, b"", |header| {
                header.set_mode(0o711);
                header.set_mtime(77);
            })
            .entry(EntryType::Directory, "dir/", None, b"", |header| {
                header.set_mode(0o1750);
                header.set_mtime(5);
            })
            .file("dir/file", b"content")
            .entry(EntryType::Regular, "setuid", None, b"#!", |header| {
                header.set_mode(0o6755);
                header.set_uid(1);
                header.set_gid(1);
            })
            .entry(EntryType::Regular, "unreadable", None, b"", |header| header.set_mode(0))
            .symlink("link", "dir/file")
            .symlink("dangling", "/no/such/file")
            .hard_link("hard", "dir/file")
            .entry(EntryType::Fifo, "pipe", None, b"", |header| header.set_mode(0o620))
            .file("implied/parent/file", b"")
            .file("dir/last", b"written after the directory's time was known");
        let root = unpacked(&home, tar);
        let path = |name: &str| root.join(name);

        assert_eq!((mode(&root), stat(&root).mtime()), (0o711, 77));
        assert_eq!((mode(&path("dir")), stat(&path("dir")).mtime()), (0o1750, 5), "{}", root.display());
        assert_eq!(fs::read(path("dir/file")).unwrap(), b"content");
        assert_eq!((mode(&path("dir/file")), stat(&path("dir/file")).mtime()), (0o644, 1000));
        assert_eq!(mode(&path("setuid")), 0o6755);
        assert_eq!(stat(&path("setuid")).uid(), host_id(&home, 1));
        assert_eq!(mode(&path("unreadable")), 0);
        assert_eq!(fs::read_link(path("link")).unwrap(), Path::new("dir/file"));
        assert_eq!(fs::read_link(path("dangling")).unwrap(), Path::new("/no/such/file"));
        assert_eq!(stat(&path("dangling")).mtime(), 1000);
        assert_eq!(stat(&path("hard")).ino(), stat(&path("dir/file")).ino());
        assert_eq!(stat(&path("hard")).nlink(), 2);
        assert!(stat(&path("pipe")).file_type().is_fifo());
        assert_eq!(mode(&path("pipe")), 0o620);
        assert_eq!((mode(&path("implied")), mode(&path("implied/parent"))), (0o755, 0o755));
        assert_eq!(stat(&path("implied")).uid(), host_id(&home, 0));
        // Whatever set-user-ID programs are in there, no other user of the host gets at them.
        assert_eq!(mode(root.parent().unwrap()), 0o700);
    }
}

#[test]
fn fractions_of_seconds_and_times_before_the_epoch_are_kept() {
    for home in homes() {
        let tar = Tar::new()
            .pax(&[("mtime", b"-1.25")])
            .file("old", b"")
            .pax(&[("mtime", b"1700000000.5")])
            .directory("new/");
        let root = unpacked(&home, tar);
        let time = |name: &str| (stat(&root.join(name)).mtime(), stat(&root.join(name)).mtime_nsec());
        assert_eq!(time("old"), (-2, 750_000_000));
        assert_eq!(time("new"), (1_700_000_000, 500_000_000));
    }
}

#[test]
fn attributes_of_the_image_are_set_and_those_of_the_host_are_not() {
    /// `cap_net_bind_service=ep` in version 2 of the format, with a newline in it as any byte may be.
    const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, b'\n', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for home in homes() {
        let tar = Tar::new()
            .pax(&[
                ("SCHILY.xattr.user.note", b"a\nb=c"),
                ("SCHILY.xattr.security.capability", CAPABILITY),
                ("SCHILY.xattr.user.overlay.opaque", b"y"),
                ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
                ("SCHILY.xattr.security.selinux", b"x"),
            ])
            .file("file", b"");
        let root = unpacked(&home, tar);
        let get = |name: &str| xattr::get(root.join("file"), name).unwrap();
        assert_eq!(get("user.note").as_deref(), Some(&b"a\nb=c"[..]));
        let capability = get("security.capability").unwrap();
        // In a user namespace the kernel adds the namespace's owner to the value.
        assert_eq!(capability[4..20], CAPABILITY[4..20]);
        for name in ["user.overlay.opaque", "trusted.overlay.redirect", "security.selinux"] {
            assert_eq!(get(name), None, "{name}");
        }
    }
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_of_their_own_layer() {
    for home in homes() {
        let tar = Tar::new()
            .file(".wh.gone", b"")
            .file("dir/.wh.gone", b"")
            // In either order the layer's own entry stays.
            .file("before", b"mine")
            .file(".wh.before", b"")
            .file(".wh.after", b"")
            .file("after", b"mine")
            // A directory of the layer that the same layer removes hides its older content.
            .file("dir-before/new", b"mine")
            .file(".wh.dir-before", b"")
            .file(".wh.dir-after", b"")
            .file("dir-after/new", b"mine")
            .file("opaque/.wh..wh..opq", b"")
            .file("opaque/new", b"mine")
            .directory("opaque/sub/")
            .file(".wh..wh.plnk", b"");
        let root = unpacked(&home, tar);
        assert!(is_whiteout(&root.join("gone")) && is_whiteout(&root.join("dir/gone")));
        for name in ["before", "after", "dir-before/new", "dir-after/new", "opaque/new"] {
            assert_eq!(fs::read(root.join(name)).unwrap(), b"mine", "{name}");
        }
        for (name, expected) in
            [("dir", false), ("dir-before", true), ("dir-after", true), ("opaque", true), ("opaque/sub", false)]
        {
            assert_eq!(is_opaque(&home, &root.join(name)), expected, "{name}");
        }
        let left: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_str().unwrap().starts_with(".wh.")), "{left:?}");
    }
}

#[test]
fn a_layer_that_hides_everything_below_is_the_lowest_one() {
    for home in homes() {
        let mut layout = LayoutBuilder::new(&home.path("layout"));
        let layer = |tar| Layer::new(tar, Compression::Plain);
        layout.image(&[
            layer(Tar::new().file("base", b"")),
            layer(Tar::new().file(".wh..wh..opq", b"").file("fresh", b"")),
            layer(Tar::new().file("top", b"")),
        ]);
        let image = home.resolve(&format!("oci:{}", layout.path().display())).unwrap();
        assert_eq!(image.layers.len(), 2);
        assert!(image.layers[0].join("fresh").exists() && image.layers[1].join("top").exists());
    }
}

#[test]
fn a_later_entry_replaces_an_earlier_one_of_another_type() {
    for home in homes() {
        let tar = Tar::new()
            .file("file-to-dir", b"")
            .directory("file-to-dir/")
            .file("file-to-dir/inside", b"new")
            .file("dir-to-file/inside/deep", b"old")
            .file("dir-to-file", b"new")
            .symlink("link-to-dir", "elsewhere")
            .directory("elsewhere/")
            .directory("link-to-dir/")
            .file("link-to-dir/inside", b"new")
            .directory("dir-to-link/")
            .file("dir-to-link/old", b"")
            .symlink("dir-to-link", "elsewhere")
            .file("dir-to-link/through", b"new")
            .symlink("link-to-file", "victim")
            .file("victim", b"untouched")
            .file("link-to-file", b"new")
            .entry(EntryType::Directory, "twice/", None, b"", |header| header.set_mode(0o700))
            .file("twice/kept", b"")
            .entry(EntryType::Directory, "twice/", None, b"", |header| header.set_mode(0o2775))
            .file("same", b"x")
            .hard_link("same", "same");
        let root = unpacked(&home, tar);
        let read = |name: &str| fs::read(root.join(name)).unwrap();
        for name in ["file-to-dir/inside", "dir-to-file", "link-to-dir/inside", "elsewhere/through", "link-to-file"] {
            assert_eq!(read(name), b"new", "{name}");
        }
        assert!(!root.join("elsewhere/inside").exists());
        assert_eq!(read("victim"), b"untouched");
        assert!(root.join("twice/kept").exists());
        assert_eq!(mode(&root.join("twice")), 0o2775);
        assert_eq!(read("same"), b"x");
    }
}

#[test]
fn sparse_files_stay_sparse() {
    for home in homes() {
        let records: &[(&str, &[u8])] = &[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"holes"),
            ("GNU.sparse.realsize", b"104857600"),
        ];
        let mut content = b"1\n52428800\n4\n".to_vec();
        content.resize(512, 0);
        content.extend_from_slice(b"data");
        let root = unpacked(&home, Tar::new().pax(records).file("GNUSparseFile.0/holes", &content));
        let status = stat(&root.join("holes"));
        assert_eq!(status.len(), 100 << 20);
        assert!(status.blocks() * 512 < 1 << 20, "{} blocks", status.blocks());
        let bytes = fs::read(root.join("holes")).unwrap();
        assert_eq!(&bytes[50 << 20..(50 << 20) + 5], b"data\0");
    }
}

#[test]
fn device_nodes_are_made_by_root_and_left_out_with_a_note_otherwise() {
    for home in homes() {
        let null = |header: &mut tar::Header| {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        };
        let mut layout = LayoutBuilder::new(&home.path("layout"));
        let tar = Tar::new().entry(EntryType::Char, "null", None, b"", null).file("file", b"");
        layout.image(&[Layer::new(tar, Compression::Plain)]);
        let image = home.resolve(&format!("oci:{}", layout.path().display())).unwrap();
        let node = image.layers[0].join("null");
        let notes: Vec<String> = image.notes.iter().map(ToString::to_string).collect();
        if home.is_rootful() {
            assert_eq!(stat(&node).rdev(), nix::sys::stat::makedev(1, 3));
            assert!(notes.is_empty(), "{notes:?}");
        } else {
            assert!(!node.exists());
            assert!(notes[0].contains("device nodes left out, which only root can make: 1"), "{notes:?}");
        }
        assert!(image.layers[0].join("file").exists());
    }
}

#[test]
fn owners_that_are_not_mapped_become_root_with_a_note_or_are_an_error() {
    for home in homes() {
        let mut layout = LayoutBuilder::new(&home.path("layout"));
        let tar = Tar::new().entry(EntryType::Regular, "file", None, b"", |header| header.set_uid(1_000_000_000));
        layout.image(&[Layer::new(tar, Compression::Plain)]);
        let resolved = home.resolve(&format!("oci:{}", layout.path().display()));
        if home.is_single() {
            let image = resolved.unwrap();
            assert_eq!(stat(&image.layers[0].join("file")).uid(), host_id(&home, 0));
            assert!(image.notes[0].to_string().contains("for want of subordinate ids: 1"));
        } else if home.is_rootful() {
            assert_eq!(stat(&resolved.unwrap().layers[0].join("file")).uid(), 1_000_000_000);
        } else {
            let error = crate::store::chain(&resolved.unwrap_err());
            assert!(error.contains("user 1000000000") && error.contains("/etc/subuid"), "{error}");
            home.assert_empty();
        }
    }
}

#[test]
fn every_compression_gives_the_same_layer() {
    for home in homes() {
        let tar = || Tar::new().file("file", &b"0123456789".repeat(100_000));
        let bytes = tar().bytes();
        let (first, second) = bytes.split_at(bytes.len() / 3);
        let mut several = Layer::new(tar(), Compression::Gzip);
        several.blob = [gzip(first), gzip(second)].concat();
        let mut docker = Layer::new(tar(), Compression::Gzip);
        docker.media_type = "application/vnd.docker.image.rootfs.diff.tar.gzip".into();
        let mut mislabelled = Layer::new(tar(), Compression::Zstd);
        mislabelled.media_type = Compression::Gzip.media_type().into();
        for (index, layer) in [
            Layer::new(tar(), Compression::Plain),
            Layer::new(tar(), Compression::Gzip),
            Layer::new(tar(), Compression::Zstd),
            several,
            docker,
            mislabelled,
        ]
        .into_iter()
        .enumerate()
        {
            let mut layout = LayoutBuilder::new(&home.path(&format!("layout-{index}")));
            layout.image(&[layer]);
            let image = home.resolve(&format!("oci:{}", layout.path().display())).unwrap();
            // One layer for all: only the first was unpacked.
            assert_eq!(image.pulled, index == 0);
            assert_eq!(fs::metadata(image.layers[0].join("file")).unwrap().len(), 1_000_000);
        }
        assert_eq!(home.layers().len(), 1);
    }
}
