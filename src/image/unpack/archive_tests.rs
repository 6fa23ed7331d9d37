use super::*;
use proptest::prelude::*;

fn header(name: &str, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_cksum();
    header
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

/// Names and contents of all entries.
fn read_all(stream: &[u8]) -> Result<Vec<(String, Vec<u8>)>, UnpackError> {
    let mut archive = Archive::new(stream);
    let mut all = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        let mut content = Vec::new();
        if let Kind::File { size, .. } = entry.kind {
            archive.copy(size, |piece| {
                content.extend_from_slice(piece);
                Ok(())
            })?;
        }
        all.push((String::from_utf8_lossy(&entry.name).into_owned(), content));
    }
    archive.drain()?;
    Ok(all)
}

#[test]
fn numbers_are_octal_or_base_256() {
    assert_eq!(number(b"0000644\0"), Some(0o644));
    assert_eq!(number(b"   644 \0"), Some(0o644));
    assert_eq!(number(b"\0\0\0\0"), Some(0));
    assert_eq!(number(b"\x80\0\0\0\0\0\0\0\0\0\x01\0"), Some(256));
    assert_eq!(number(&[0xff; 12]), Some(-1));
    for field in [&b"9"[..], b"-1", b"+1", b"6 4", b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
        assert_eq!(number(field), None, "{field:?}");
    }
}

#[test]
fn links_have_no_data_whatever_their_size_says() {
    // A parser that skipped 512 bytes here would take the file's header for data.
    let mut link = header("link", EntryType::Link, 512);
    link.set_link_name("target").unwrap();
    link.set_cksum();
    let stream = [
        link.as_bytes().to_vec(),
        header("file", EntryType::Regular, 3).as_bytes().to_vec(),
        padded(b"abc".to_vec()),
        vec![0; 1024],
    ]
    .concat();
    let names: Vec<String> = read_all(&stream).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["link", "file"]);
}

#[test]
fn a_pax_size_overrides_the_headers() {
    let pax = padded(b"11 size=600\n12 path=long\n".to_vec());
    let stream = [
        header("x", EntryType::XHeader, 24).as_bytes().to_vec(),
        pax,
        header("short", EntryType::Regular, 0).as_bytes().to_vec(),
        padded(vec![b'z'; 600]),
        header("next", EntryType::Regular, 0).as_bytes().to_vec(),
    ]
    .concat();
    // The first record's length counts "11 size=600\n" wrongly: refused, not guessed.
    assert!(matches!(read_all(&stream), Err(UnpackError::Malformed { what: Malformed::Pax, offset: 0 })));
    let stream = [
        header("x", EntryType::XHeader, 24).as_bytes().to_vec(),
        padded(b"12 size=600\n13 path=long\n"[..25].to_vec()),
        header("short", EntryType::Regular, 0).as_bytes().to_vec(),
        padded(vec![b'z'; 600]),
    ];
    let mut first = header("x", EntryType::XHeader, 25);
    first.set_cksum();
    let stream = [&[first.as_bytes().to_vec()], &stream[1..]].concat().concat();
    assert_eq!(read_all(&stream).unwrap(), [("long".to_owned(), vec![b'z'; 600])]);
}

#[test]
fn extensions_are_bounded_and_must_describe_something() {
    let huge = header("x", EntryType::XHeader, 1 << 30);
    assert!(matches!(read_all(huge.as_bytes()), Err(UnpackError::Malformed { what: Malformed::ExtensionTooLong, .. })));
    let dangling =
        [header("x", EntryType::XHeader, 12).as_bytes().to_vec(), padded(b"12 size=600\n".to_vec())].concat();
    assert!(matches!(
        read_all(&dangling),
        Err(UnpackError::Malformed { what: Malformed::DanglingExtension, offset: 1024 })
    ));
}

#[test]
fn a_stream_may_end_after_an_entrys_data_and_nowhere_else() {
    let stream = [header("file", EntryType::Regular, 600).as_bytes().to_vec(), padded(vec![b'x'; 600])].concat();
    assert_eq!(read_all(&stream).unwrap().len(), 1);
    assert!(read_all(&[]).unwrap().is_empty());
    for cut in [512 + 600, 512 + 601, 1535] {
        assert_eq!(read_all(&stream[..cut]), read_all(&stream), "{cut}");
    }
    for cut in [1, 511, 513, 1000, 1024, 1111] {
        assert_eq!(read_all(&stream[..cut]), Err(UnpackError::Truncated), "{cut}");
    }
}

#[test]
fn sparse_files_of_the_pax_format() {
    let records =
        b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n25 GNU.sparse.name=holes\n28 GNU.sparse.realsize=5000\n";
    let map = padded(b"2\n0\n3\n4096\n2\n".to_vec());
    let data = padded(b"abcde".to_vec());
    let stream = [
        header("x", EntryType::XHeader, records.len() as u64).as_bytes().to_vec(),
        padded(records.to_vec()),
        header("GNUSparseFile.0/holes", EntryType::Regular, 512 + 5).as_bytes().to_vec(),
        map,
        data,
    ]
    .concat();
    let mut archive = Archive::new(&stream[..]);
    let entry = archive.next_entry().unwrap().unwrap();
    assert_eq!(entry.name, b"holes");
    let extents = vec![Extent { offset: 0, length: 3 }, Extent { offset: 4096, length: 2 }];
    assert_eq!(entry.kind, Kind::File { size: 5, sparse: Some(SparseMap { extents, real_size: 5000 }) });
    assert!(archive.next_entry().unwrap().is_none());
}

/// What GNU tar itself writes for a file with holes. Needs GNU tar.
#[test]
fn sparse_files_as_gnu_tar_writes_them() {
    let home = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(home.path().join("holes")).unwrap();
    for offset in (0..40).map(|index| index * 65536) {
        std::os::unix::fs::FileExt::write_all_at(&file, b"data", offset).unwrap();
    }
    file.set_len(10_000_000).unwrap();
    for format in [
        &["--format=gnu"][..],
        &["--format=pax"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=0.0"],
    ] {
        let output = std::process::Command::new("tar")
            .args(["--sparse", "-cf", "-", "-C"])
            .arg(home.path())
            .args(format)
            .arg("holes")
            .output()
            .unwrap();
        assert!(output.status.success());
        let mut archive = Archive::new(&output.stdout[..]);
        let entry = archive.next_entry().unwrap().unwrap();
        assert_eq!(entry.name, b"holes", "{format:?}");
        let Kind::File { sparse: Some(map), .. } = entry.kind else { panic!("{format:?}: {:?}", entry.kind) };
        assert_eq!(map.real_size, 10_000_000, "{format:?}");
        assert!(map.extents.len() >= 40, "{format:?}");
        assert!(archive.next_entry().unwrap().is_none());
    }
}

proptest! {
    #[test]
    fn any_stream_is_read_or_refused(
        kinds in proptest::collection::vec(any::<u8>(), 1..4),
        noise in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let mut stream = Vec::new();
        for kind in kinds {
            stream.extend_from_slice(header("name", EntryType::new(kind), u64::from(kind) * 7).as_bytes());
            stream.extend_from_slice(&noise);
        }
        prop_assert_eq!(read_all(&stream), read_all(&stream));
        prop_assert_eq!(read_all(&noise), read_all(&noise));
    }
}
