//! Layers made to reach what is not theirs. Each is refused, or applied inside the layer.

use crate::layout::{Compression, Layer, LayoutBuilder, Tar};
use crate::store::{Home, chain, homes};
use std::fs;
use tar::EntryType;

/// Unpacks a layer beside which a file lies that must not change. The layer's root, or the error.
fn apply(home: &Home, tar: Tar) -> Result<std::path::PathBuf, String> {
    let victim = home.state.staging().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let name = format!("layout-{}", home.layers().len());
    let mut layout = LayoutBuilder::new(&home.path(&name));
    layout.image(&[Layer::new(tar, Compression::Plain)]);
    let resolved = home.resolve(&format!("oci:{}", layout.path().display()));
    fs::remove_dir_all(layout.path()).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    fs::remove_file(victim).unwrap();
    assert_eq!(home.staged(), Vec::<String>::new());
    resolved.map(|image| image.layers[0].clone()).map_err(|error| chain(&error))
}

fn refused(home: &Home, tar: Tar, reason: &str) {
    let error = apply(home, tar).unwrap_err();
    assert!(error.contains(reason), "{error}");
    home.assert_empty();
}

#[test]
fn names_that_climb_are_refused() {
    for home in homes() {
        for name in ["../victim", "../../victim", "a/../../victim", "./../victim", ".."] {
            refused(&home, Tar::new().file(name, b"evil"), "leads out of the layer");
        }
        refused(&home, Tar::new().hard_link("x", "../victim"), "leads out of the layer");
        refused(&home, Tar::new().file("../.wh.victim", b""), "leads out of the layer");
        refused(&home, Tar::new().file(".wh...", b""), "whiteout that names no file");
        refused(&home, Tar::new().file("a/.wh..", b""), "whiteout that names no file");
    }
}

#[test]
fn the_root_is_a_directory_and_nothing_else() {
    for home in homes() {
        for name in [".", "/", "./", "a/.."] {
            refused(&home, Tar::new().symlink(name, "/etc"), "can only be a directory");
        }
        refused(&home, Tar::new().file(".", b""), "can only be a directory");
    }
}

#[test]
fn absolute_names_and_links_count_from_the_layers_root() {
    for home in homes() {
        let staging = home.state.staging();
        let outside = staging.to_str().unwrap();
        let tar = Tar::new()
            .file("/absolute", b"in")
            .file("/../climbing", b"in")
            .directory("inside/")
            // Links lead where they say, but the layer's root is the root.
            .symlink("link", "/inside")
            .file("link/through-absolute", b"in")
            .symlink("up", "../../../../../../inside")
            .file("up/through-climbing", b"in")
            .symlink("up/back", "..")
            .file("inside/back/from-link", b"in");
        let root = apply(&home, tar).unwrap();
        for name in ["absolute", "climbing", "inside/through-absolute", "inside/through-climbing", "from-link"] {
            assert_eq!(fs::read(root.join(name)).unwrap(), b"in", "{name}");
        }
        // The way to a directory of the host does not exist in there.
        let tar = Tar::new().symlink("out", outside).file("out/victim", b"evil");
        assert!(apply(&home, tar).unwrap_err().contains("\"out"));
        let tar = Tar::new().symlink("out", outside).file("out/.wh.victim", b"");
        assert!(apply(&home, tar).unwrap_err().contains("\"out"));
        let tar = Tar::new().symlink("out", outside).hard_link("grab", "out/victim");
        assert!(apply(&home, tar).unwrap_err().contains("out/victim"));
    }
}

#[test]
fn a_link_to_a_file_is_replaced_and_not_written_through() {
    for home in homes() {
        let victim = home.state.staging().join("victim");
        let tar = Tar::new().symlink("link", victim.to_str().unwrap()).file("link", b"mine");
        let root = apply(&home, tar).unwrap();
        assert_eq!(fs::read(root.join("link")).unwrap(), b"mine");
        assert!(fs::symlink_metadata(root.join("link")).unwrap().is_file());
    }
}

#[test]
fn hard_links_without_a_target_are_an_error() {
    for home in homes() {
        refused(&home, Tar::new().hard_link("x", "missing"), "find the target of the link");
        refused(&home, Tar::new().hard_link("x", "x"), "find the target of the link");
        refused(&home, Tar::new().directory("d/").hard_link("x", "d"), "create");
    }
}

#[test]
fn a_file_as_a_parent_is_an_error() {
    for home in homes() {
        refused(&home, Tar::new().file("file", b"").file("file/below", b""), "file");
        refused(&home, Tar::new().symlink("loop", "loop").file("loop/below", b""), "loop");
        refused(&home, Tar::new().symlink("dangling", "nowhere").file("dangling/below", b""), "dangling");
    }
}

#[test]
fn owners_and_names_that_no_kernel_takes_are_refused() {
    for home in homes() {
        let minus_one = |header: &mut tar::Header| header.set_uid(u64::from(u32::MAX));
        refused(&home, Tar::new().entry(EntryType::Regular, "x", None, b"", minus_one), "not a valid user or group id");
        let long = "x".repeat(300);
        refused(&home, Tar::new().pax(&[("path", long.as_bytes())]).file("x", b""), "too long");
        let deep = "d/".repeat(50_000);
        refused(&home, Tar::new().pax(&[("path", deep.as_bytes())]).directory("x/"), "too long");
        refused(&home, Tar::new().pax(&[("path", b"a\0b")]).file("x", b""), "NUL");
        refused(&home, Tar::new().entry(EntryType::new(b'?'), "x", None, b"", |_| {}), "type that is not known");
        // Bytes that are no UTF-8 are a name like any other.
        let root = apply(&home, Tar::new().pax(&[("path", b"caf\xe9")]).file("x", b"")).unwrap();
        let names: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(std::os::unix::ffi::OsStrExt::as_bytes(names[0].as_os_str()), b"caf\xe9");
    }
}

#[test]
fn sizes_and_times_at_the_limits_do_no_harm() {
    for home in homes() {
        let huge = |header: &mut tar::Header| header.as_old_mut().size = *b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff";
        refused(&home, Tar::new().entry(EntryType::Regular, "x", None, b"", huge), "ends in the middle");
        let negative = |header: &mut tar::Header| header.as_old_mut().size = [0xff; 12];
        refused(&home, Tar::new().entry(EntryType::Regular, "x", None, b"", negative), "a number in a header");
        let tar = Tar::new().pax(&[("mtime", b"9223372036854775807")]).file("late", b"");
        assert!(apply(&home, tar).unwrap().join("late").exists());
    }
}
