//! The part of the corpus about extended headers, sparse files and the structure of archives.

use super::corpus::Case;
use crate::tarball::Tar;
use tar::{EntryType, Header};

const MIDDLE: &str = "ends in the middle of an entry";
const SPARSE: &str = "the map of a sparse file is not valid";
/// A petabyte, which would be allowed by no limit.
const PETABYTE: &str = "1125899906842624";
const TOO_LARGE: &str = "images.max_compression_ratio";

pub fn cases() -> Vec<Case> {
    [extended_headers(), sparse(), gnu_sparse(), structure(), truncated()].into_iter().flatten().collect()
}

fn new() -> Tar {
    Tar::new()
}

/// An `x` header with this content, however wrong.
fn raw_pax(tar: Tar, content: &[u8]) -> Tar {
    tar.entry(EntryType::XHeader, "pax", None, content, |_| {})
}

fn long(tar: Tar, kind: EntryType, text: &[u8]) -> Tar {
    tar.entry(kind, "././@LongLink", None, text, |_| {})
}

fn extended_headers() -> Vec<Case> {
    const PAX: &str = "a PAX extended header is not valid";
    const DANGLING: &str = "describes no entry";
    let broken = |content: &[u8]| raw_pax(new(), content).file("x", b"");
    let (name, link) = (EntryType::GNULongName, EntryType::GNULongLink);
    vec![
        Case::refused("a PAX record that is too short", broken(b"3 \n"), PAX),
        Case::refused("a PAX record that is too long", broken(b"99 path=x\n"), PAX),
        Case::refused("a PAX record of length zero", broken(b"0 path=x\n"), PAX),
        Case::refused("a PAX record of a huge length", broken(b"99999999999999999999 a=b\n"), PAX),
        Case::refused("a PAX record without a value", broken(b"8 path\n\n"), PAX),
        Case::refused("a PAX header of zeros", broken(&[0; 512]), PAX),
        Case::tree("an empty PAX header", broken(b""), &["f x 0"]),
        Case::tree("an empty PAX path", broken(b"8 path=\n"), &["f x 0"]),
        Case::refused("a PAX path that climbs", new().pax(&[("path", b"../victim")]).file("x", b""), "leads out"),
        Case::refused("a PAX link that climbs", new().pax(&[("linkpath", b"../v")]).hard_link("x", "y"), "leads out"),
        Case::tree(
            "two PAX headers",
            new().pax(&[("path", b"first"), ("mtime", b"1")]).pax(&[("path", b"second")]).file("x", b""),
            &["f second 0"],
        ),
        Case::tree(
            "a PAX path and a GNU name",
            long(new().pax(&[("path", b"pax")]), name, b"gnu\0").file("x", b""),
            &["f gnu 0"],
        ),
        Case::tree(
            "a GNU name and a PAX path",
            long(new(), name, b"gnu\0").pax(&[("path", b"pax")]).file("x", b""),
            &["f gnu 0"],
        ),
        Case::tree(
            "a PAX size before a GNU name",
            long(new().pax(&[("size", b"3")]), name, b"gnu\0")
                .entry(EntryType::Regular, "x", None, b"abc", |header| header.set_size(0))
                .file("y", b""),
            &["f gnu 3", "f y 0"],
        ),
        Case::tree("two GNU names", long(long(new(), name, b"a\0"), name, b"b\0").file("x", b""), &["f b 0"]),
        Case::tree("a GNU name with more after its end", long(new(), name, b"a\0/../../b").file("x", b""), &["f a 0"]),
        Case::refused("an empty GNU name", long(new(), name, b"\0").file("x", b""), "its name is empty"),
        Case::refused("a GNU name that climbs", long(new(), name, b"a/../../v\0").file("x", b""), "leads out"),
        Case::refused("a GNU link that climbs", long(new(), link, b"../v\0").hard_link("x", "y"), "leads out"),
        Case::refused(
            "a GNU name of 2 MiB",
            long(new(), name, &vec![b'a'; 2 << 20]).file("x", b""),
            "larger than 1 MiB",
        ),
        Case::refused(
            "a PAX header of 2 MiB",
            raw_pax(new(), &vec![b'1'; 2 << 20]).file("x", b""),
            "larger than 1 MiB",
        ),
        Case::refused("a PAX header at the end", new().file("x", b"").pax(&[("path", b"y")]), DANGLING),
        Case::refused("a GNU name at the end", long(new(), name, b"y\0"), DANGLING),
        Case::tree(
            "global headers",
            new()
                .entry(EntryType::XGlobalHeader, "g", None, b"18 path=../victim\n", |_| {})
                .file("x", b"")
                .entry(EntryType::XGlobalHeader, "g", None, &[0xff; 3000], |_| {})
                .file("y", b""),
            &["f x 0", "f y 0"],
        ),
        Case::refused(
            "a huge global header",
            {
                let huge = |header: &mut Header| header.set_size(0o77_777_777_777);
                new().entry(EntryType::XGlobalHeader, "g", None, b"", huge)
            },
            MIDDLE,
        ),
    ]
}

/// A file of one of the PAX formats.
fn pax_sparse(records: &[(&str, &str)], content: &[u8]) -> Tar {
    let records: Vec<(&str, &[u8])> = records.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
    new().pax(&records).file("x", content)
}

/// Of version 1.0: the map is in the data, in whole blocks.
fn sparse_1_0(real_size: &str, map: &str, data: &[u8]) -> Tar {
    let mut content = map.as_bytes().to_vec();
    content.resize(content.len().next_multiple_of(512), 0);
    content.extend_from_slice(data);
    let version = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0")];
    pax_sparse(&[&version[..], &[("GNU.sparse.name", "holes"), ("GNU.sparse.realsize", real_size)]].concat(), &content)
}

fn sparse_0_1(real_size: &str, map: &str, data: &[u8]) -> Tar {
    pax_sparse(&[("GNU.sparse.size", real_size), ("GNU.sparse.name", "holes"), ("GNU.sparse.map", map)], data)
}

fn sparse_0_0(real_size: &str, extents: &[(&str, &str)], data: &[u8]) -> Tar {
    let mut records = vec![("GNU.sparse.size", real_size)];
    for (offset, length) in extents {
        records.extend([("GNU.sparse.offset", *offset), ("GNU.sparse.numbytes", *length)]);
    }
    pax_sparse(&records, data)
}

fn sparse() -> Vec<Case> {
    vec![
        Case::tree("sparse 0.0", sparse_0_0("9000", &[("0", "2"), ("8000", "1")], b"abc"), &["f x 9000"]),
        Case::tree("sparse 0.1", sparse_0_1("9000", "0,2,8000,1", b"abc"), &["f holes 9000"]),
        Case::tree("sparse 1.0", sparse_1_0("9000", "2\n0\n2\n8000\n1\n", b"abc"), &["f holes 9000"]),
        Case::refused("sparse 0.0 of a petabyte", sparse_0_0(PETABYTE, &[("0", "1")], b"a"), TOO_LARGE),
        Case::refused("sparse 0.1 of a petabyte", sparse_0_1(PETABYTE, "1125899906842623,1", b"a"), TOO_LARGE),
        Case::refused("sparse 1.0 of a petabyte", sparse_1_0(PETABYTE, "0\n", b""), TOO_LARGE),
        Case::refused(
            "sparse of half a gigabyte, three times",
            {
                let holes = |tar: Tar, name: &str| {
                    tar.pax(&[("GNU.sparse.size", b"536870912"), ("GNU.sparse.map", b"536870912,0")]).file(name, b"")
                };
                holes(holes(holes(new(), "a"), "b"), "c")
            },
            TOO_LARGE,
        ),
        Case::refused("sparse that overlaps", sparse_0_1("100", "0,2,1,1", b"abc"), SPARSE),
        Case::refused("sparse that runs backwards", sparse_1_0("100", "2\n50\n2\n0\n1\n", b"abc"), SPARSE),
        Case::refused("sparse beyond its size", sparse_0_1("100", "98,3", b"abc"), SPARSE),
        Case::refused("sparse with more data than the map", sparse_0_1("100", "0,2", b"abc"), SPARSE),
        Case::refused("sparse with less data than the map", sparse_0_1("100", "0,4", b"abc"), SPARSE),
        Case::refused("sparse with an odd map", sparse_0_1("100", "0,3,5", b"abc"), SPARSE),
        Case::refused("sparse with a map that overflows", sparse_0_1("100", "18446744073709551615,3", b"abc"), SPARSE),
        Case::refused("sparse with a map of words", sparse_0_1("100", "a,b", b"abc"), "PAX"),
        Case::refused("sparse without a size", pax_sparse(&[("GNU.sparse.map", "0,3")], b"abc"), SPARSE),
        Case::refused("sparse of size 2^64 - 1", sparse_0_1("18446744073709551615", "0,3", b"abc"), SPARSE),
        Case::refused("sparse of a version to come", pax_sparse(&[("GNU.sparse.major", "2")], b"abc"), SPARSE),
        Case::refused("sparse 1.0 with a huge map", sparse_1_0("9", "999999999999999999\n", b""), SPARSE),
        Case::refused("sparse 1.0 with a map that does not end", sparse_1_0("9", &"1".repeat(9000), b""), SPARSE),
        Case::refused(
            "sparse 1.0 with a map of many numbers",
            sparse_1_0("9", &format!("200000\n{}", "0\n".repeat(5000)), b""),
            SPARSE,
        ),
        Case::refused("sparse 1.0 with negative numbers", sparse_1_0("9", "1\n-1\n3\n", b"abc"), SPARSE),
        Case::refused(
            "sparse with a name that climbs",
            pax_sparse(&[("GNU.sparse.size", "3"), ("GNU.sparse.name", "../v"), ("GNU.sparse.map", "0,3")], b"abc"),
            "leads out",
        ),
    ]
}

/// A header of GNU tar's old format with up to four extents.
fn old_gnu(extents: &[(u64, u64)], real_size: u64, data: &[u8], is_extended: bool, more: &[u8]) -> Tar {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..1].copy_from_slice(b"x");
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1000);
    let octal = |field: &mut [u8; 12], value: u64| field.copy_from_slice(format!("{value:011o}\0").as_bytes());
    let gnu = header.as_gnu_mut().unwrap();
    for (field, (offset, length)) in gnu.sparse.iter_mut().zip(extents) {
        octal(&mut field.offset, *offset);
        octal(&mut field.numbytes, *length);
    }
    gnu.set_real_size(real_size);
    gnu.set_is_extended(is_extended);
    header.set_cksum();
    let mut padded = data.to_vec();
    padded.resize(padded.len().next_multiple_of(512), 0);
    new().raw(&[header.as_bytes(), more, &padded].concat())
}

fn gnu_sparse() -> Vec<Case> {
    let extended = |is_extended: u8| {
        let mut block = vec![0; 512];
        block[504] = is_extended;
        block
    };
    vec![
        Case::tree("old GNU sparse", old_gnu(&[(0, 2), (8000, 1)], 9000, b"abc", false, b""), &["f x 9000"]),
        Case::tree("old GNU sparse with another block", old_gnu(&[(0, 3)], 9, b"abc", true, &extended(0)), &["f x 9"]),
        Case::refused("old GNU sparse of a petabyte", old_gnu(&[(0, 3)], 1 << 50, b"abc", false, b""), TOO_LARGE),
        Case::refused("old GNU sparse that overlaps", old_gnu(&[(0, 2), (1, 1)], 9000, b"abc", false, b""), SPARSE),
        Case::refused("old GNU sparse backwards", old_gnu(&[(8, 2), (0, 1)], 9000, b"abc", false, b""), SPARSE),
        Case::refused("old GNU sparse beyond its size", old_gnu(&[(8, 3)], 9, b"abc", false, b""), SPARSE),
        Case::refused(
            "old GNU sparse with blocks to come",
            old_gnu(&[(0, 3)], 9, b"", true, &extended(1)).unfinished(),
            MIDDLE,
        ),
    ]
}

fn structure() -> Vec<Case> {
    const CHECKSUM: &str = "checksum does not match";
    let file = || new().file("x", b"abc");
    vec![
        Case::tree("an empty stream", new().unfinished(), &[]),
        Case::tree("an end and nothing else", new(), &[]),
        Case::tree("no end", new().file("x", b"abc").unfinished(), &["f x 3"]),
        Case::tree("one block of the end", file().raw(&[0; 512]).unfinished(), &["f x 3"]),
        Case::tree("garbage after the end", file().raw(&[0; 1024]).raw(&[0xaa; 5000]), &["f x 3"]),
        Case::tree(
            "two archives without an end between",
            file().raw(&new().file("y", b"").bytes()),
            &["f x 3", "f y 0"],
        ),
        Case::tree("an archive after the end", file().raw(&[0; 1024]).raw(&new().file("y", b"").bytes()), &["f x 3"]),
        Case::refused("garbage", new().raw(&[0xaa; 2048]), CHECKSUM),
        Case::refused("garbage between entries", file().raw(&[0xaa; 512]).raw(&new().file("y", b"").bytes()), CHECKSUM),
        Case::refused(
            "a wrong checksum",
            {
                let mut bytes = new().file("x", b"").bytes();
                bytes[0] ^= 1;
                new().raw(&bytes)
            },
            CHECKSUM,
        ),
        Case::refused("a stream of text", new().raw(b"<html>not found</html>").unfinished(), MIDDLE),
    ]
}

/// A sample cut at every block: it may end before any entry, and nowhere else.
fn truncated() -> Vec<Case> {
    let sample = new()
        .directory("d")
        .pax(&[("path", b"d/long")])
        .file("x", &[b'x'; 1200])
        .symlink("l", "d")
        .entry(EntryType::GNULongName, "././@LongLink", None, b"d/gnu\0", |_| {})
        .file("y", b"abc")
        .unfinished()
        .bytes();
    // Blocks: d | pax, records | x, data ×3 | l | name, text | y, data.
    type End = (&'static str, usize, Result<&'static [&'static str], &'static str>);
    const ENDS: &[End] = &[
        ("cut at block 1", 1, Ok(&["d d"])),
        ("cut at block 2", 2, Err(MIDDLE)),
        ("cut at block 3", 3, Err("describes no entry")),
        ("cut at block 4", 4, Err(MIDDLE)),
        ("cut at block 5", 5, Err(MIDDLE)),
        ("cut at block 6", 6, Err(MIDDLE)),
        ("cut at block 7", 7, Ok(&["d d", "f d/long 1200"])),
        ("cut at block 8", 8, Ok(&["d d", "f d/long 1200", "l l -> d"])),
        ("cut at block 9", 9, Err(MIDDLE)),
        ("cut at block 10", 10, Err("describes no entry")),
        ("cut at block 11", 11, Err(MIDDLE)),
        ("cut at no block", 12, Ok(&["d d", "f d/gnu 3", "f d/long 1200", "l l -> d"])),
    ];
    let whole = ENDS.iter().map(|(name, blocks, expected)| {
        let tar = new().raw(&sample[..blocks * 512]).unfinished();
        match expected {
            Ok(tree) => Case::tree(name, tar, tree),
            Err(reason) => Case::refused(name, tar, reason),
        }
    });
    let inside = [1, 511, 513, 1537, 2047]
        .map(|length| Case::refused("cut inside a block", new().raw(&sample[..length]).unfinished(), MIDDLE));
    whole.chain(inside).collect()
}
