//! From the bytes of a layer blob to the bytes of its tar.
//!
//! The first bytes tell the compression, not the media type: registries and tools mislabel, every
//! other engine looks at the bytes as well, and the diff id decides in the end whether the result is
//! what the image means.

use std::io::{self, BufRead, Read};

/// Magic numbers of RFC 1952 and RFC 8878.
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Skippable frames, with which some zstd writers begin; the low four bits vary.
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];

/// Largest window that a zstd frame may ask for, as a power of two: what the decoder allocates.
const ZSTD_WINDOW_LOG: u32 = 27;

/// The tar in `blob`: gzip (any number of members), zstd (any number of frames) or as it is.
///
/// # Errors
/// The blob's own, and what the zstd library says when it cannot be set up.
pub fn decompress<'a>(mut blob: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    // A source may give less than asked for; four bytes are enough to tell.
    let mut magic = Vec::with_capacity(4);
    blob.by_ref().take(4).read_to_end(&mut magic)?;
    let (is_gzip, is_zstd) = (magic.starts_with(GZIP), is_zstd(&magic));
    let whole = io::Cursor::new(magic).chain(blob);
    Ok(if is_gzip {
        Box::new(flate2::bufread::MultiGzDecoder::new(whole))
    } else if is_zstd {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        Box::new(decoder)
    } else {
        Box::new(whole)
    })
}

fn is_zstd(magic: &[u8]) -> bool {
    let is_skippable = magic.len() >= 4 && magic[0] & 0xf0 == 0x50 && &magic[1..4] == ZSTD_SKIPPABLE;
    magic.starts_with(ZSTD) || is_skippable
}

/// True when [`decompress`] would change something that begins like this; four bytes are enough.
pub fn is_compressed(start: &[u8]) -> bool {
    start.starts_with(GZIP) || is_zstd(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(blob: &[u8]) -> io::Result<Vec<u8>> {
        // One byte at a time, as the slowest network would.
        let mut tar = Vec::new();
        decompress(io::BufReader::with_capacity(1, blob))?.read_to_end(&mut tar)?;
        Ok(tar)
    }

    #[test]
    fn every_compression_gives_the_same_tar() {
        let tar = b"some tar ".repeat(1000);
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
        assert_eq!(read(&tar).unwrap(), tar);
        assert_eq!(read(&gzip(&tar)).unwrap(), tar);
        assert_eq!(read(&zstd(&tar)).unwrap(), tar);
        let (first, second) = tar.split_at(4321);
        assert_eq!(read(&[gzip(first), gzip(second)].concat()).unwrap(), tar);
        assert_eq!(read(&[zstd(first), zstd(second)].concat()).unwrap(), tar);
        let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        assert_eq!(read(&[skippable, zstd(&tar)].concat()).unwrap(), tar);
        assert!(read(b"").unwrap().is_empty());
    }

    #[test]
    fn damage_is_an_error() {
        let tar = b"some tar ".repeat(1000);
        let whole = gzip(&tar);
        assert!(read(&whole[..whole.len() - 3]).is_err());
        assert!(read(&[&whole[..], b"garbage"].concat()).is_err());
        let mut flipped = whole.clone();
        let last = flipped.len() - 6;
        flipped[last] ^= 1;
        assert!(read(&flipped).is_err(), "the checksum is verified");
        let zstd = zstd::encode_all(&tar[..], 3).unwrap();
        assert!(read(&zstd[..zstd.len() - 3]).is_err());
    }
}
