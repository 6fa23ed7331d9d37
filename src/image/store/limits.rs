//! How large a layer may become.

use super::layer::LayerError;

/// Bounds on one layer, against archives that are small to send and fill the disk. Both are known
/// before the first byte comes: the size of a blob is in the manifest and is verified.
///
/// Two sums are held against them: the bytes of the tar; and what a small tar can stand for, which is the
/// size of each sparse file with its holes, and 4 KiB for each entry and each directory that one implies.
/// The latter bounds the number of files too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that one layer may become; `None`: no bound but the disk.
    pub max_layer_bytes: Option<u64>,
    /// Bytes that a layer may become for each byte that is sent for it; `None`: no bound. A layer may
    /// always become 1 GiB: small layers of zeros are common, and no disk is filled by them.
    pub max_ratio: Option<u32>,
}

impl Default for Limits {
    /// 128 GiB, more than registries take (Amazon's 52 GB is the highest published quota for a layer),
    /// and 200 times the blob: real layers shrink to a half or a tenth, gzip makes a thousandth of
    /// zeros and zstd much less.
    fn default() -> Limits {
        Limits { max_layer_bytes: Some(128 << 30), max_ratio: Some(200) }
    }
}

/// What every layer may become, whatever the ratio.
const ALWAYS: u64 = 1 << 30;

/// The limits for one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    pub bytes: u64,
    /// The ratio, where that is the lower bound.
    ratio: Option<u32>,
}

impl Limits {
    /// For a layer of which the blob has this many bytes; `None` when there is no bound.
    pub(super) fn allowance(&self, blob: u64) -> Option<Allowance> {
        let by_size = self.max_layer_bytes.map(|bytes| Allowance { bytes, ratio: None });
        let by_ratio = self
            .max_ratio
            .map(|ratio| Allowance { bytes: blob.saturating_mul(ratio.into()).max(ALWAYS), ratio: Some(ratio) });
        by_size.into_iter().chain(by_ratio).min_by_key(|allowance| allowance.bytes)
    }
}

impl Allowance {
    pub fn exceeded(&self) -> LayerError {
        let limit = self.bytes;
        match self.ratio {
            None => LayerError::TooLarge { limit },
            Some(ratio) => LayerError::Ratio { limit, ratio },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_bound_counts_and_small_layers_may_grow() {
        let limits = |max_layer_bytes, max_ratio| Limits { max_layer_bytes, max_ratio };
        let bytes = |limits: Limits, blob| limits.allowance(blob).map(|allowance| (allowance.bytes, allowance.ratio));
        assert_eq!(bytes(limits(None, None), 1), None);
        assert_eq!(bytes(limits(Some(5), None), 1), Some((5, None)));
        assert_eq!(bytes(limits(None, Some(10)), 1), Some((ALWAYS, Some(10))));
        assert_eq!(bytes(limits(None, Some(10)), ALWAYS), Some((10 * ALWAYS, Some(10))));
        assert_eq!(bytes(limits(None, Some(10)), u64::MAX), Some((u64::MAX, Some(10))));
        assert_eq!(bytes(limits(Some(1 << 20), Some(10)), ALWAYS), Some((1 << 20, None)));
        assert_eq!(bytes(limits(Some(1 << 40), Some(10)), ALWAYS), Some((10 * ALWAYS, Some(10))));
    }
}
