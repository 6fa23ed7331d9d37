//! Layers that are small to send and large to have, and blobs that decompress in odd ways.

use super::corpus::Outcome;
use super::in_a_process_of_its_own;
use crate::layout::{Compression, Layer, LayoutBuilder, digest, gzip};
use crate::store::{Home, chain, home, homes, resolve_in};
use crate::tarball::Tar;
use coracle::image::{ImageName, Limits, PullPolicy};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use tar::EntryType;

/// Blobs that are bad in their compression, with what becomes of them.
pub fn cases() -> Vec<(&'static str, Layer, Outcome)> {
    const RATIO: &str = "images.max_compression_ratio";
    let tar = Tar::new().file("x", b"abc").bytes();
    let good = |blob: Vec<u8>| layer(blob, &tar);
    let bad = |blob: Vec<u8>| layer(blob, b"nothing of that kind");
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let skippable = |content: &[u8]| {
        [&[0x50, 0x2a, 0x4d, 0x18][..], &u32::try_from(content.len()).unwrap().to_le_bytes(), content].concat()
    };
    let applied = || Outcome::Tree(&["f x 3"]);
    let refused = Outcome::Refused;
    vec![
        // More than a gigabyte of zeros behind a good archive: it would be good, but for the ratio.
        ("a gzip bomb", bad([gzip(&tar), zeros_in_gzip(1100)].concat()), refused(RATIO)),
        ("a zstd bomb", bad([zstd(&tar), zeros_in_zstd(1100 * 8)].concat()), refused(RATIO)),
        ("gzip in many members", good(tar.chunks(1).flat_map(gzip).collect()), applied()),
        ("gzip with empty members", good([gzip(b""), gzip(&tar), gzip(b""), gzip(b"")].concat()), applied()),
        ("gzip with garbage behind", bad([gzip(&tar), b"garbage".to_vec()].concat()), refused("decompress")),
        ("gzip with zeros behind", bad([gzip(&tar), vec![0; 512]].concat()), refused("decompress")),
        ("gzip cut off", bad(gzip(&tar)[..40].to_vec()), refused("decompress")),
        ("gzip cut off in its header", bad(vec![0x1f, 0x8b]), refused("decompress")),
        (
            "gzip with a name that does not end",
            bad([&[0x1f, 0x8b, 8, 8][..], &vec![b'a'; 1 << 20]].concat()),
            refused("decompress"),
        ),
        ("gzip in gzip", bad(gzip(&gzip(&tar))), refused("ends in the middle")),
        ("zstd in many frames", good(tar.chunks(700).flat_map(zstd).collect()), applied()),
        (
            "zstd with skippable frames",
            good([skippable(b"ab"), zstd(&tar), skippable(&[1; 70_000])].concat()),
            applied(),
        ),
        ("zstd of skippable frames alone", layer(skippable(b"abc"), b""), Outcome::Tree(&[])),
        (
            "zstd with a skippable frame cut off",
            bad(vec![0x50, 0x2a, 0x4d, 0x18, 255, 255, 255, 255, 0]),
            refused("decompress"),
        ),
        ("zstd with garbage behind", bad([zstd(&tar), b"garbage".to_vec()].concat()), refused("decompress")),
        (
            "zstd with a window of 4 GiB",
            bad(zstd_frame(0x00, &[22 << 3], &[1, 0, 0])),
            refused("window is larger than 32 MiB"),
        ),
        (
            "zstd with a window of 64 MiB",
            bad(zstd_frame(0x00, &[16 << 3], &[1, 0, 0])),
            refused("window is larger than 32 MiB"),
        ),
        ("zstd with a window of 32 MiB", layer(zstd_frame(0x00, &[15 << 3], &[1, 0, 0]), b""), Outcome::Tree(&[])),
        ("zstd in one piece of an exabyte", bad(zstd_frame(0xe0, &[0xff; 8], &[1, 0, 0])), refused("window is larger")),
        ("zstd with a dictionary", bad(zstd_frame(0x01, &[13 << 3, 7], &[1, 0, 0])), refused("decompress")),
        ("zstd with a reserved block", bad(zstd_frame(0x00, &[13 << 3], &[7, 0, 0])), refused("decompress")),
        ("xz", bad([&b"\xfd7zXZ\0"[..], &[0; 600]].concat()), refused("checksum")),
        ("an empty blob", layer(Vec::new(), b""), Outcome::Tree(&[])),
    ]
}

fn layer(blob: Vec<u8>, tar: &[u8]) -> Layer {
    // Whatever it says: the bytes decide.
    Layer { blob, media_type: Compression::Gzip.media_type().to_owned(), diff_id: digest(tar) }
}

/// This many MiB of zeros, in as many members.
fn zeros_in_gzip(count: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![0; 1 << 20]).unwrap();
    encoder.finish().unwrap().repeat(count)
}

/// A frame with a window of 8 MiB and this many blocks, each of which stands for 128 KiB of zeros in four bytes.
fn zeros_in_zstd(count: usize) -> Vec<u8> {
    const LARGEST_BLOCK: u32 = 128 << 10;
    /// Block_Type RLE_Block of RFC 8878, 3.1.1.2.
    const REPEATED: u32 = 1 << 1;
    let block = |is_last: u32| {
        let [first, second, third, _] = (is_last | REPEATED | LARGEST_BLOCK << 3).to_le_bytes();
        [first, second, third, 0]
    };
    zstd_frame(0x00, &[13 << 3], &[block(0).repeat(count - 1), block(1).to_vec()].concat())
}

/// A frame of RFC 8878, 3.1.1.
fn zstd_frame(descriptor: u8, header: &[u8], blocks: &[u8]) -> Vec<u8> {
    [&[0x28, 0xb5, 0x2f, 0xfd, descriptor][..], header, blocks].concat()
}

fn resolve(home: &Home, layer: Layer, limits: Limits) -> Result<coracle::image::Image, String> {
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    layout.image(&[layer]);
    let name = ImageName::parse(&format!("oci:{}", layout.path().display())).unwrap();
    let resolved = resolve_in(&home.store().with_limits(limits), &name, PullPolicy::IfNotPresent, None, None);
    std::fs::remove_dir_all(layout.path()).unwrap();
    resolved.map_err(|error| chain(&error))
}

#[test]
fn the_limits_can_be_raised_and_lowered() {
    for home in homes() {
        let tar = Tar::new().file("zeros", &vec![0; 20 << 20]);
        let layer = Layer::new(tar, Compression::Gzip);
        let limit = |bytes| Limits { max_layer_bytes: bytes, max_ratio: None };
        let error = resolve(&home, layer.clone(), limit(Some(1 << 20))).unwrap_err();
        assert!(error.contains("more than 1048576 bytes") && error.contains("images.max_layer_size"), "{error}");
        home.assert_empty();
        assert!(resolve(&home, layer, limit(Some(32 << 20))).is_ok());
        // Behind the archive, so that it is never written to disk.
        let zeros = [gzip(&Tar::new().file("x", b"abc").bytes()), zeros_in_gzip(1100)].concat();
        let error = resolve(&home, self::layer(zeros, b""), limit(None)).unwrap_err();
        assert!(error.contains("the image's config says"), "it was read to its end: {error}");
    }
}

/// One name stands for two thousand directories: the size of the tar says little about what is made.
#[test]
fn files_and_directories_count_whatever_is_in_them() {
    for home in homes() {
        let many = |count: u32| {
            let directories = |number: u32| format!("{number}/{}", "d/".repeat(999));
            let tar = (0..count)
                .fold(Tar::new(), |tar, number| tar.pax(&[("path", directories(number).as_bytes())]).directory("x"));
            Layer::new(tar, Compression::Gzip)
        };
        let limits = Limits { max_layer_bytes: Some(9 << 20), max_ratio: None };
        let error = resolve(&home, many(3), limits).unwrap_err();
        assert!(error.contains("more than 9437184 bytes"), "{error}");
        home.assert_empty();
        assert!(resolve(&home, many(2), limits).is_ok());
    }
}

/// Every name is short enough, and each goes on where a link before it led to.
#[test]
fn directories_nest_as_deep_as_links_lead() {
    // Not as deep as the kernel would go (40 links of 2,000 directories), which takes a while to make and remove.
    const STEP: usize = 200;
    let home = home();
    let steps = "d/".repeat(STEP);
    let nested = |count: usize| {
        let tar = Tar::new().directory("l0");
        (1..=count).fold(tar, |tar, number| {
            let target = format!("l{}/{steps}", number - 1);
            tar.pax(&[("path", target.as_bytes())])
                .directory("x")
                .pax(&[("linkpath", target.as_bytes())])
                .symlink(&format!("l{number}"), "x")
        })
    };
    let image =
        resolve(&home, Layer::new(nested(39).file("l39/deep", b"x"), Compression::Gzip), Limits::default()).unwrap();
    assert_eq!(
        std::fs::read(image.layers[0].join("l1/deep")).err().map(|error| error.kind()),
        Some(std::io::ErrorKind::NotFound)
    );
    let error = resolve(&home, Layer::new(nested(45), Compression::Gzip), Limits::default()).unwrap_err();
    assert!(error.contains("Too many levels of symbolic links"), "{error}");
    assert_eq!(home.staged(), Vec::<String>::new());
}

/// Good layers that a careless unpacker would keep in memory: names, attributes, maps, windows.
pub fn large() -> Vec<(&'static str, Layer)> {
    const COUNT: usize = 200;
    let value = vec![b'v'; 1000 << 10];
    let entry = Tar::new().pax(&[("SCHILY.xattr.trusted.x", &value)]).file("x", b"").unfinished();
    let attributes = gzip(&entry.bytes()).repeat(COUNT);
    let path = format!("{}x", format!("{}/", "d".repeat(250)).repeat(15));
    let directory = Tar::new().pax(&[("path", path.as_bytes())]).directory("x").unfinished();
    let directories = gzip(&directory.bytes()).repeat(5000);
    let zeros =
        Tar::new().entry(EntryType::Regular, "zeros", None, b"", |header| header.set_size(100 << 20)).unfinished();
    let extents = 100_000;
    let map: String = (0..extents).map(|number| format!("{}\n1\n", number * 2)).collect();
    let mut sparse = format!("{extents}\n{map}").into_bytes();
    sparse.resize(sparse.len().next_multiple_of(512), 0);
    sparse.resize(sparse.len() + extents, b'x');
    let records: &[(&str, &[u8])] =
        &[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"1000000")];
    let sparse = Tar::new().pax(records).file("sparse", &sparse);
    let zeros = [gzip(&zeros.bytes()), zeros_in_gzip(100)].concat();
    [
        ("attributes", attributes),
        ("one directory again and again", directories),
        ("a file of zeros", zeros),
        ("a map of many extents", gzip(&sparse.bytes())),
    ]
    .map(|(name, blob)| (name, Layer { diff_id: digest_of_gzip(&blob), ..layer(blob, b"") }))
    .into()
}

/// Layers that all ask for the largest zstd window and fill it.
pub fn large_windows() -> Vec<Layer> {
    const BLOCK: usize = 128 << 10;
    const BLOCKS: usize = 40 << 3;
    let block = |kind: u32, size: usize| (kind << 1 | u32::try_from(size).unwrap() << 3).to_le_bytes()[..3].to_vec();
    let repeated = [block(1, BLOCK), vec![0]].concat();
    let names = ["first", "second", "third", "fourth"];
    let layers = names.map(|name| {
        let size = (BLOCK * BLOCKS) as u64;
        let file = Tar::new().entry(EntryType::Regular, name, None, b"", |header| header.set_size(size)).unfinished();
        let header = file.bytes();
        let blocks = [block(0, header.len()), header.clone(), repeated.repeat(BLOCKS), vec![1, 0, 0]].concat();
        let mut hash = Sha256::new().chain_update(&header);
        (0..BLOCKS).for_each(|_| hash.update([0; BLOCK]));
        Layer { diff_id: hex(hash), ..layer(zstd_frame(0x00, &[15 << 3], &blocks), b"") }
    });
    layers.into()
}

/// Of what is in it, which need not fit in memory.
fn digest_of_gzip(blob: &[u8]) -> String {
    let mut hash = Sha256::new();
    let mut decoder = flate2::bufread::MultiGzDecoder::new(blob);
    let mut buffer = [0; 8192];
    loop {
        match decoder.read(&mut buffer).unwrap() {
            0 => return hex(hash),
            length => hash.update(&buffer[..length]),
        }
    }
}

fn hex(hash: Sha256) -> String {
    format!("sha256:{}", hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

#[test]
fn memory_does_not_grow_with_the_layer() {
    in_a_process_of_its_own("hostile::large_layers");
}
