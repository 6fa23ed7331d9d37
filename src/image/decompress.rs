//! From the bytes of a layer blob to the bytes of its tar.
//!
//! The first bytes tell the compression, not the media type: registries and tools mislabel, every
//! other engine looks at the bytes as well, and the diff id decides in the end whether the result is
//! what the image means.

use std::io::{self, BufRead, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Magic numbers of RFC 1952 and RFC 8878.
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Skippable frames, with which some zstd writers begin; the low four bits vary.
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];

/// Largest window in bytes that a zstd frame may ask for, which is what the decoder allocates for each
/// layer that is being worked on. Encoders of images stay within: the Go library that podman, buildah,
/// skopeo and BuildKit use takes 4 to 32 MiB by level, zstd(1) up to 8 MiB at levels up to 19. Only
/// `--ultra` and `--long` ask for more.
pub const LARGEST_WINDOW: u64 = 1 << ZSTD_WINDOW_LOG;
const ZSTD_WINDOW_LOG: u32 = 25;

/// Windows up to this size may be in use for several layers at once. Larger ones take turns, so that the
/// memory of a pull does not depend on how many layers it works on.
const COMMON_WINDOW: u64 = 8 << 20;
static LARGE_WINDOW: Mutex<()> = Mutex::new(());

/// Bytes that tell compression and window: the longest frame header of RFC 8878 with its magic number.
const START: u64 = 18;

/// True for the error that a frame with a larger window leads to. The library has no code for it, only words.
pub fn is_window_too_large(error: &io::Error) -> bool {
    error.to_string() == "Frame requires too much memory for decoding"
}

/// The tar in `blob`: gzip (any number of members), zstd (any number of frames) or as it is. Blocks while
/// another thread reads one whose zstd window is large too.
///
/// # Errors
/// The blob's own, and what the zstd library says when it cannot be set up.
pub fn decompress<'a>(mut blob: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    // A source may give less than asked for.
    let mut start = Vec::new();
    blob.by_ref().take(START).read_to_end(&mut start)?;
    let (is_gzip, is_zstd) = (start.starts_with(GZIP), is_zstd(&start));
    let turn = (is_zstd && window(&start).is_none_or(|bytes| bytes > COMMON_WINDOW))
        .then(|| LARGE_WINDOW.lock().unwrap_or_else(PoisonError::into_inner));
    let whole = io::Cursor::new(start).chain(blob);
    Ok(if is_gzip {
        Box::new(flate2::bufread::MultiGzDecoder::new(whole))
    } else if is_zstd {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        Box::new(InTurn { reader: decoder, _turn: turn })
    } else {
        Box::new(whole)
    })
}

/// A reader that holds the right to a large window.
struct InTurn<R> {
    reader: R,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl<R: Read> Read for InTurn<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

/// The window in bytes that the first frame of a zstd stream asks for; `None` when that does not begin the
/// stream or is cut off. Further frames may ask for more; few streams have any, and [`LARGEST_WINDOW`] bounds
/// those too.
/// <https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1.1>
fn window(start: &[u8]) -> Option<u64> {
    let header = start.strip_prefix(ZSTD)?;
    let descriptor = *header.first()?;
    let is_single_segment = descriptor & 0x20 != 0;
    if !is_single_segment {
        let window = *header.get(1)?;
        let base = 1_u64 << (10 + u32::from(window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // No window of its own: as large as the content, whose size comes behind the dictionary's id.
    let id_length = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size_length = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let field = header.get(1 + id_length..1 + id_length + size_length)?;
    let mut bytes = [0; 8];
    bytes[..size_length].copy_from_slice(field);
    let size = u64::from_le_bytes(bytes);
    Some(if size_length == 2 { size + 256 } else { size })
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
    fn the_window_of_a_zstd_frame_is_known_before_it_is_read() {
        for log in [10, 20, 23, 24, 25] {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(b"a stream of unknown length").unwrap();
            assert_eq!(window(&encoder.finish().unwrap()), Some(1 << log));
        }
        for length in [0_usize, 255, 256, 70_000] {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.set_pledged_src_size(Some(length as u64)).unwrap();
            encoder.include_contentsize(true).unwrap();
            encoder.write_all(&vec![7; length]).unwrap();
            assert_eq!(window(&encoder.finish().unwrap()), Some(length as u64), "one segment");
        }
        // 2 to the power of 13, and three eighths of that.
        assert_eq!(window(&[ZSTD, &[0, 3 << 3 | 3]].concat()), Some(8192 / 8 * 11));
        for start in [&b""[..], ZSTD, &[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0], &[ZSTD, &[0xe0, 1, 2]].concat()] {
            assert_eq!(window(start), None, "{start:?}");
        }
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
