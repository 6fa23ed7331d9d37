//! Sparse files: which bytes of a file are in the archive.

/// Bytes of the file that are in the archive, the others being zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    pub length: u64,
}

/// Extents in ascending order without overlap, none of them empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseMap {
    pub extents: Vec<Extent>,
    /// Of the whole file.
    pub real_size: u64,
}

/// As many as a file of 2 GiB has with a hole in every second block; a bound on memory.
pub const MOST_EXTENTS: usize = 1 << 18;

/// The map for `stored` bytes of data; `None` when it makes no sense.
pub fn map(mut extents: Vec<Extent>, real_size: u64, stored: u64) -> Option<SparseMap> {
    if extents.len() > MOST_EXTENTS {
        return None;
    }
    // Writers end the map with an empty extent at the end of the file.
    extents.retain(|extent| extent.length > 0);
    let (mut end, mut sum) = (0_u64, 0_u64);
    for extent in &extents {
        if extent.offset < end {
            return None;
        }
        end = extent.offset.checked_add(extent.length)?;
        sum = sum.checked_add(extent.length)?;
    }
    (end <= real_size && sum == stored && i64::try_from(real_size).is_ok()).then_some(SparseMap { extents, real_size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_that_make_no_sense_are_refused() {
        let extents = |pairs: &[(u64, u64)]| -> Vec<Extent> {
            pairs.iter().map(|&(offset, length)| Extent { offset, length }).collect()
        };
        assert!(map(extents(&[(0, 5), (10, 5), (20, 0)]), 20, 10).is_some());
        assert!(map(extents(&[]), 1 << 40, 0).is_some());
        for (pairs, real_size, stored) in [
            (&[(0, 5), (4, 5)][..], 20, 10),     // overlap
            (&[(10, 5), (0, 5)][..], 20, 10),    // order
            (&[(0, 5)][..], 4, 5),               // beyond the end
            (&[(0, 5)][..], 20, 6),              // other size than the data
            (&[(u64::MAX, 5)][..], u64::MAX, 5), // overflow
            (&[][..], u64::MAX, 0),              // no file can be that large
        ] {
            assert_eq!(map(extents(pairs), real_size, stored), None, "{pairs:?}");
        }
    }
}
