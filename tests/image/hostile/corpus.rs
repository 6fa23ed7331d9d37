//! Hostile and odd layers by name, generated. What is expected of each holds for every kind of user.
//!
//! Needs nothing but `tarball`, so that the fuzz targets can take their seeds from here.

use crate::tarball::Tar;
use tar::{EntryType, Header};

/// What becomes of a layer.
#[derive(Debug)]
pub enum Outcome {
    /// An error that contains this.
    Refused(&'static str),
    /// The layer's tree, see [`Case::tree`].
    Tree(&'static [&'static str]),
    /// It is applied; its tree has no short form.
    Applied,
}

#[derive(Debug)]
pub struct Case {
    pub name: &'static str,
    pub tar: Vec<u8>,
    pub outcome: Outcome,
}

impl Case {
    pub(super) fn refused(name: &'static str, tar: Tar, reason: &'static str) -> Case {
        Case { name, tar: tar.bytes(), outcome: Outcome::Refused(reason) }
    }

    /// `tree`: lines in order of names: `d NAME` (`D` when opaque), `f NAME SIZE`, `l NAME -> TARGET`, `p NAME`
    /// (FIFO), `w NAME` (whiteout), `c NAME MAJOR:MINOR` and `b …` (devices, which only root makes).
    pub(super) fn tree(name: &'static str, tar: Tar, tree: &'static [&'static str]) -> Case {
        Case { name, tar: tar.bytes(), outcome: Outcome::Tree(tree) }
    }

    pub(super) fn applied(name: &'static str, tar: Tar) -> Case {
        Case { name, tar: tar.bytes(), outcome: Outcome::Applied }
    }
}

/// Every case.
pub fn cases() -> Vec<Case> {
    let parts = [names(), links(), whiteouts(), types(), attributes(), numbers(), super::extensions::cases()];
    parts.into_iter().flatten().collect()
}

const LEAVES: &str = "leads out of the layer";
const NOT_A_DIRECTORY: &str = "can only be a directory";

fn new() -> Tar {
    Tar::new()
}

fn names() -> Vec<Case> {
    let long = "x".repeat(255);
    let longest = format!("{}{long}", format!("{long}/").repeat(15));
    let path = |name: &[u8]| new().pax(&[("path", name)]).file("short", b"abc");
    vec![
        Case::refused("dot dot", new().directory(".."), LEAVES),
        Case::refused("a name that climbs", new().file("../victim", b"evil"), LEAVES),
        Case::refused("a name that climbs late", new().file("a/../../victim", b"evil"), LEAVES),
        Case::refused("a name that climbs behind a link", new().symlink("a", "/").file("a/../../victim", b""), LEAVES),
        Case::tree("an absolute name", new().file("/etc/passwd", b"root"), &["d etc", "f etc/passwd 4"]),
        Case::tree("an absolute name that climbs", new().file("/../../victim", b"evil"), &["f victim 4"]),
        Case::tree("a name with slashes and dots", new().file(".//a/./b//c", b""), &["d a", "d a/b", "f a/b/c 0"]),
        Case::tree("a file name that ends in a slash", new().file("a/", b"data").file("b", b""), &["f a 4", "f b 0"]),
        Case::tree(
            "an old file name that ends in a slash",
            new()
                .entry(EntryType::Regular, "a/", None, b"data", |header| header.as_old_mut().linkflag = [0])
                .file("b", b""),
            &["d a", "f b 0"],
        ),
        Case::refused("an empty name", new().file("", b""), "its name is empty"),
        Case::refused("dot as a link", new().symlink(".", "/etc"), NOT_A_DIRECTORY),
        Case::refused("the root as a link", new().symlink("/", "/etc"), NOT_A_DIRECTORY),
        Case::refused("the root as a hard link", new().file("a", b"").hard_link("./", "a"), NOT_A_DIRECTORY),
        Case::refused("the root as a device", new().device("/", EntryType::Char, 1, 3), NOT_A_DIRECTORY),
        Case::refused("the root as a FIFO", new().entry(EntryType::Fifo, "a/..", None, b"", |_| {}), NOT_A_DIRECTORY),
        Case::tree("the root as a directory", new().directory("/").directory("."), &[]),
        Case::applied("the longest name", path(longest.as_bytes())),
        Case::refused("a name one byte too long", path(format!("/{longest}x").as_bytes()), "too long"),
        Case::refused("a component that is too long", path(format!("{long}x").as_bytes()), "too long"),
        Case::refused("a name of 100,000 directories", path("d/".repeat(100_000).as_bytes()), "too long"),
        Case::applied("a name of 2,000 directories", path("d/".repeat(2_000).as_bytes())),
        Case::tree("a name that is no UTF-8", path(b"caf\xe9\x01\n"), &["f caf\\xe9\\x01\\n 3"]),
        Case::refused("a NUL in a PAX name", path(b"a\0b"), "NUL"),
        Case::refused(
            "a NUL in a PAX link",
            new().pax(&[("linkpath", b"a\0b")]).symlink("link", "short"),
            "Invalid argument",
        ),
    ]
}

fn links() -> Vec<Case> {
    let out = || new().symlink("out", "/victims");
    vec![
        Case::refused("writing through a link to a directory outside", out().file("out/victim", b"evil"), "\"out"),
        Case::refused("writing through a relative link", new().symlink("up", "../victims").file("up/x", b""), "\"up"),
        Case::tree("a link to the root", new().symlink("up", "../..").file("up/x", b""), &["l up -> ../..", "f x 0"]),
        Case::tree(
            "a file in place of a link",
            new().symlink("link", "/victims/victim").file("link", b"mine"),
            &["f link 4"],
        ),
        Case::tree(
            "a directory in place of a link",
            new().symlink("link", "/victims").directory("link").file("link/victim", b"mine"),
            &["d link", "f link/victim 4"],
        ),
        Case::tree(
            "a link in place of a directory that is in use",
            new().directory("a").file("a/x", b"").directory("b").symlink("a", "b").file("a/y", b""),
            &["l a -> b", "d b", "f b/y 0"],
        ),
        Case::refused(
            "a link outside in place of a directory that is in use",
            new().directory("a").file("a/x", b"").symlink("a", "/victims").file("a/victim", b"evil"),
            "\"a",
        ),
        Case::tree(
            "a parent's parent replaced by a link",
            new().file("a/b/x", b"").directory("c/b").symlink("a", "c").file("a/b/y", b""),
            &["l a -> c", "d c", "d c/b", "f c/b/y 0"],
        ),
        Case::refused("a loop of links", new().symlink("a", "b").symlink("b", "a").file("a/x", b""), "\"a\""),
        Case::refused("a hard link that climbs", new().hard_link("x", "../victims/victim"), LEAVES),
        Case::refused("a hard link to the host's file", new().hard_link("x", "/victims/victim"), "find the target"),
        Case::refused("a hard link through a link", out().hard_link("x", "out/victim"), "find the target"),
        Case::tree(
            "a hard link to a link",
            new().symlink("l", "/victims/victim").hard_link("x", "l").file("x", b"mine"),
            &["l l -> /victims/victim", "f x 4"],
        ),
        Case::refused("a hard link to a directory", new().directory("d").hard_link("x", "d"), "failed to create"),
        Case::refused("a hard link to the root", new().hard_link("x", "."), "failed to create"),
        Case::refused("a hard link to itself", new().hard_link("x", "x"), "find the target"),
        Case::tree(
            "a hard link that is written to",
            new().file("a", b"first").hard_link("b", "a").file("b", b"2").hard_link("c", "a"),
            &["f a 5", "f b 1", "f c 5"],
        ),
        Case::tree(
            "a hard link in place of a directory",
            new().file("a", b"x").file("d/e/f", b"").hard_link("d", "a"),
            &["f a 1", "f d 1"],
        ),
        Case::refused("a hard link into what it replaces", new().file("d/f", b"").hard_link("d", "d/f"), "d"),
        Case::refused("an empty link target", new().symlink("x", ""), "No such file"),
        Case::tree(
            "a long way of links",
            (0..39)
                .fold(new().directory("l0"), |tar, n| tar.symlink(&format!("l{}", n + 1), &format!("l{n}")))
                .file("l39/x", b""),
            LINKS,
        ),
    ]
}

/// `l1 -> l0` to `l39 -> l38`, in the order of bytes.
const LINKS: &[&str] = &[
    "d l0",
    "f l0/x 0",
    "l l1 -> l0",
    "l l10 -> l9",
    "l l11 -> l10",
    "l l12 -> l11",
    "l l13 -> l12",
    "l l14 -> l13",
    "l l15 -> l14",
    "l l16 -> l15",
    "l l17 -> l16",
    "l l18 -> l17",
    "l l19 -> l18",
    "l l2 -> l1",
    "l l20 -> l19",
    "l l21 -> l20",
    "l l22 -> l21",
    "l l23 -> l22",
    "l l24 -> l23",
    "l l25 -> l24",
    "l l26 -> l25",
    "l l27 -> l26",
    "l l28 -> l27",
    "l l29 -> l28",
    "l l3 -> l2",
    "l l30 -> l29",
    "l l31 -> l30",
    "l l32 -> l31",
    "l l33 -> l32",
    "l l34 -> l33",
    "l l35 -> l34",
    "l l36 -> l35",
    "l l37 -> l36",
    "l l38 -> l37",
    "l l39 -> l38",
    "l l4 -> l3",
    "l l5 -> l4",
    "l l6 -> l5",
    "l l7 -> l6",
    "l l8 -> l7",
    "l l9 -> l8",
];

fn whiteouts() -> Vec<Case> {
    const NO_FILE: &str = "whiteout that names no file";
    let opaque = |kind| new().directory("a").entry(kind, "a/.wh..wh..opq", Some("b"), b"", |_| {}).file("a/x", b"");
    vec![
        Case::refused("a whiteout that climbs", new().file("../.wh.victim", b""), LEAVES),
        Case::tree("an absolute whiteout that climbs", new().file("/../.wh.x", b""), &["w x"]),
        Case::refused("a whiteout through a link", new().symlink("o", "/victims").file("o/.wh.victim", b""), "\"o"),
        Case::tree(
            "a whiteout through a link to the root",
            new().symlink("o", "/").file("o/.wh.victim", b""),
            &["l o -> /", "w victim"],
        ),
        Case::refused("a whiteout of nothing", new().file("a/.wh.", b""), NO_FILE),
        Case::refused("a whiteout of the directory", new().file("a/.wh..", b""), NO_FILE),
        Case::refused("a whiteout of the parent", new().file("a/.wh...", b""), NO_FILE),
        Case::tree("a whiteout with data", new().file(".wh.x", &[b'x'; 700]).file("y", b"ab"), &["w x", "f y 2"]),
        Case::tree("a whiteout that is a directory", new().directory(".wh.x").file("y", b""), &["w x", "f y 0"]),
        Case::tree("a whiteout that is a link", new().symlink(".wh.x", "/victims/victim"), &["w x"]),
        Case::tree("a whiteout that is a hard link", new().hard_link(".wh.x", "nothing"), &["w x"]),
        Case::tree("an opaque marker", opaque(EntryType::Regular), &["D a", "f a/x 0"]),
        Case::tree("an opaque marker that is a directory", opaque(EntryType::Directory), &["D a", "f a/x 0"]),
        Case::tree("an opaque marker that is a link", opaque(EntryType::Symlink), &["D a", "f a/x 0"]),
        Case::refused("an opaque marker in a file", new().file("a", b"").file("a/.wh..wh..opq", b""), "\"a\""),
        Case::refused("an opaque marker outside", new().symlink("o", "/victims").file("o/.wh..wh..opq", b""), "\"o"),
        Case::tree(
            "an opaque marker through a link",
            new().directory("a").symlink("o", "a").file("o/.wh..wh..opq", b""),
            &["D a", "l o -> a"],
        ),
        Case::tree(
            "what AUFS left",
            new().directory(".wh..wh.plnk").file(".wh..wh.plnk/1.2", b"x").file(".wh..wh.aufs", b"").file("a", b""),
            &["f a 0"],
        ),
        Case::tree("below an opaque marker", new().file(".wh..wh..opq/x", b"").file("a", b""), &["f a 0"]),
        Case::tree("a whiteout twice", new().file(".wh.x", b"").file(".wh.x", b""), &["w x"]),
        Case::tree(
            "a directory that comes back",
            new().file(".wh.d", b"").file("d/e", b"new").file(".wh.d", b""),
            &["D d", "f d/e 3"],
        ),
        Case::tree("a hard link to a whiteout", new().file(".wh.x", b"").hard_link("y", "x"), &["w x", "w y"]),
        Case::tree("a whiteout as a device", new().device("x", EntryType::Char, 0, 0), &["w x"]),
    ]
}

fn types() -> Vec<Case> {
    let every = |tar: Tar| {
        tar.file("x", b"abc")
            .directory("x")
            .file("x/inside", b"")
            .symlink("x", "/victims")
            .file("other", b"12")
            .hard_link("x", "other")
            .device("x", EntryType::Char, 1, 3)
            .entry(EntryType::Fifo, "x", None, b"", |_| {})
            .device("x", EntryType::Block, 7, 0)
            .file(".wh.x", b"")
            .directory("x")
            .file("x/inside", b"")
    };
    vec![
        Case::tree("an entry of every type in turn", every(new()), &["f other 2", "d x", "f x/inside 0"]),
        Case::tree(
            "an entry of every type in turn, and again",
            every(every(new())).file("x", b"last"),
            &["f other 2", "f x 4"],
        ),
        Case::tree(
            "a device, and a file in its place",
            new().device("x", EntryType::Block, 7, 0).file("x", b"mine"),
            &["f x 4"],
        ),
        Case::tree(
            "devices",
            new().device("c", EntryType::Char, 1, 3).device("b", EntryType::Block, 7, 0).file("f", b""),
            &["b b 7:0", "c c 1:3", "f f 0"],
        ),
        Case::refused("a type that does not exist", new().entry(EntryType::new(b'?'), "x", None, b"", |_| {}), "type"),
        Case::refused("a file as a parent", new().file("a", b"").file("a/b", b""), "\"a"),
        Case::refused(
            "a FIFO as a parent",
            new().entry(EntryType::Fifo, "a", None, b"", |_| {}).file("a/b", b""),
            "\"a",
        ),
        Case::refused("a whiteout as a file's parent's parent", new().file("a", b"").file("a/b/c", b""), "\"a"),
        Case::tree(
            "links with a size",
            {
                let lie = |header: &mut Header| header.set_size(512);
                new().entry(EntryType::Symlink, "l", Some("t"), b"", lie).directory("d").file("f", b"abc")
            },
            &["d d", "f f 3", "l l -> t"],
        ),
    ]
}

fn attributes() -> Vec<Case> {
    let capability = |value: &[u8]| new().pax(&[("SCHILY.xattr.security.capability", value)]).file("x", b"");
    let with = |change: fn(&mut Header)| new().entry(EntryType::Regular, "x", None, b"", change);
    vec![
        Case::tree("a set-user-ID file", with(|header| header.set_mode(0o6755)), &["f x 0"]),
        Case::refused("a capability of three bytes", capability(b"abc"), "extended attribute"),
        Case::refused("an empty capability", capability(&[0; 20]), "extended attribute"),
        Case::refused(
            "a user's attribute without a name",
            new().pax(&[("SCHILY.xattr.user.", b"v")]).file("x", b""),
            "extended attribute",
        ),
        Case::tree(
            "attributes of the host",
            new()
                .pax(&[
                    ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
                    ("SCHILY.xattr.user.overlay.opaque", b"y"),
                    ("SCHILY.xattr.security.selinux", b"x"),
                    ("SCHILY.xattr.system.posix_acl_access", b"\x02"),
                    ("SCHILY.xattr.", b"x"),
                ])
                .directory("x"),
            &["d x"],
        ),
        Case::applied("40,000 attributes in one header", {
            let names: Vec<String> = (0..40_000).map(|number| format!("SCHILY.xattr.a{number}")).collect();
            let records: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
            new().pax(&records).file("x", b"")
        }),
        Case::refused(
            "an owner that means none",
            with(|header| header.set_uid(u64::from(u32::MAX))),
            "not a valid user",
        ),
        Case::refused("a group beyond 32 bits", with(|header| header.set_gid(1 << 32)), "not a valid user"),
    ]
}

fn numbers() -> Vec<Case> {
    const NUMBER: &str = "a number in a header is not valid";
    const HUGE: [u8; 12] = *b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff";
    const BEYOND: [u8; 12] = [0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    const NEGATIVE: [u8; 12] = [0xff; 12];
    let with = |change: fn(&mut Header)| new().entry(EntryType::Regular, "x", None, b"", change);
    let mtime = |value: &[u8]| new().pax(&[("mtime", value)]).file("x", b"").pax(&[("mtime", value)]).directory("d");
    vec![
        Case::refused("a huge size", with(|header| header.as_old_mut().size = HUGE), "ends in the middle"),
        Case::refused("a size beyond 64 bits", with(|header| header.as_old_mut().size = BEYOND), NUMBER),
        Case::refused("a negative size", with(|header| header.as_old_mut().size = NEGATIVE), NUMBER),
        Case::refused("a size that is no number", with(|header| header.as_old_mut().size = *b"notanumber!\0"), NUMBER),
        Case::refused("a negative mode", with(|header| header.as_old_mut().mode = [0xff; 8]), NUMBER),
        Case::refused("a negative owner", with(|header| header.as_old_mut().uid = [0xff; 8]), NUMBER),
        Case::tree("a huge time", with(|header| header.as_old_mut().mtime = HUGE), &["f x 0"]),
        Case::tree("a negative time", with(|header| header.as_old_mut().mtime = NEGATIVE), &["f x 0"]),
        Case::refused("a time beyond 64 bits", with(|header| header.as_old_mut().mtime = BEYOND), NUMBER),
        Case::tree("the last second", mtime(b"9223372036854775807.999999999"), &["d d", "f x 0"]),
        Case::tree("the first second", mtime(b"-9223372036854775807.5"), &["d d", "f x 0"]),
        Case::refused("a second too many", mtime(b"9223372036854775808"), "PAX"),
        Case::tree(
            "a PAX size above the header's",
            new()
                .pax(&[("size", b"600")])
                .entry(EntryType::Regular, "x", None, &[b'x'; 600], |header| header.set_size(0))
                .file("y", b""),
            &["f x 600", "f y 0"],
        ),
        Case::tree(
            "a PAX size below the header's",
            new()
                .pax(&[("size", b"3")])
                .entry(EntryType::Regular, "x", None, b"abc", |header| header.set_size(9999))
                .file("y", b""),
            &["f x 3", "f y 0"],
        ),
        Case::tree(
            "a PAX size of what has no data",
            new().pax(&[("size", b"512")]).symlink("l", "t").pax(&[("size", b"512")]).directory("d").file("y", b""),
            &["d d", "l l -> t", "f y 0"],
        ),
        Case::refused("a PAX size of 2^64 - 1", new().pax(&[("size", b"18446744073709551615")]).file("x", b""), NUMBER),
        Case::refused(
            "a PAX size of 2^63 - 1",
            new().pax(&[("size", b"9223372036854775807")]).file("x", b""),
            "middle",
        ),
        Case::refused("a negative PAX size", new().pax(&[("size", b"-1")]).file("x", b""), "PAX"),
    ]
}
