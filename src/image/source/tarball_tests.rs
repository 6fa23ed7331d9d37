use super::*;
use proptest::prelude::*;
use std::io::Write;
use tar::Builder;

fn open(bytes: &[u8]) -> Result<Tarball, SourceError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Tarball::open(file, Path::new("archive"))
}

fn sample() -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(600);
    header.set_mode(0o644);
    builder.append_data(&mut header, "short", &[b's'; 600][..]).unwrap();
    builder.append_data(&mut header, format!("long/{}", "n".repeat(200)), &[b'l'; 600][..]).unwrap();
    builder.append_pax_extensions([("path", &b"pax"[..]), ("size", &b"600"[..])]).unwrap();
    builder.append_data(&mut header, "ignored", &[b'p'; 600][..]).unwrap();
    header.set_entry_type(EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "a/link", "../short").unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn members_are_found_by_any_spelling_of_their_names() {
    let tarball = open(&sample()).unwrap();
    let long = format!("long/{}", "n".repeat(200));
    for (name, byte) in [
        ("short", b's'),
        ("./short", b's'),
        ("/short", b's'),
        ("x/../short", b's'),
        (long.as_str(), b'l'),
        ("pax", b'p'),
        ("a//link", b's'),
    ] {
        assert_eq!(tarball.find(name).unwrap().read(u64::MAX).unwrap(), [byte; 600], "{name}");
    }
    for name in ["", "ignored", "../short", "a", "a/../../short", "short/", "link"] {
        assert_eq!(tarball.find(name).is_some(), name == "short/", "{name}");
    }
}

#[test]
fn a_slice_ends_where_its_member_ends() {
    let slice = open(&sample()).unwrap().find("short").unwrap();
    let mut buffer = [0; 1000];
    assert_eq!(slice.read_at(&mut buffer, 0).unwrap(), 600);
    assert_eq!(slice.read_at(&mut buffer, 590).unwrap(), 10);
    for beyond in [600, 601, u64::MAX] {
        assert_eq!(slice.read_at(&mut buffer, beyond).unwrap(), 0);
    }
    assert_eq!(slice.read(10).unwrap().len(), 10);
}

#[test]
fn several_members_of_one_name_are_told() {
    let mut builder = Builder::new(Vec::new());
    for byte in [b'1', b'2'] {
        let mut header = Header::new_ustar();
        header.set_size(1);
        builder.append_data(&mut header, "twice", &[byte][..]).unwrap();
    }
    let tarball = open(&builder.into_inner().unwrap()).unwrap();
    assert_eq!(tarball.find("twice").unwrap().read(9).unwrap(), b"2", "the last one, as for tar");
    let error = tarball.find_only("./twice").unwrap_err();
    assert!(matches!(error, SourceError::Archive { problem: ArchiveProblem::Repeated { .. }, .. }), "{error}");
}

proptest! {
    /// Headers stay valid: what is changed is what their checksums cover.
    #[test]
    fn whatever_a_header_says_no_member_lies_outside_the_file(
        changes in prop::collection::vec((0_usize..8, 0_usize..512, any::<u8>()), 0..6),
        end in 0_usize..6000,
    ) {
        let mut bytes = sample();
        for (block, at, byte) in changes {
            let start = block * 512;
            bytes[start + at] = byte;
            let mut header = Header::new_old();
            header.as_mut_bytes().copy_from_slice(&bytes[start..start + 512]);
            header.set_cksum();
            bytes[start..start + 512].copy_from_slice(header.as_bytes());
        }
        bytes.truncate(end.max(512));
        if let Ok(tarball) = open(&bytes) {
            for member in tarball.members.values() {
                if let Content::Data { offset, length } = member.content {
                    prop_assert!(offset.checked_add(length).is_some_and(|end| end <= bytes.len() as u64));
                }
            }
        }
    }
}
