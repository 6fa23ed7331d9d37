//! Where fuzzing starts from: written by each target before it reads its corpus.

use std::path::PathBuf;

/// Writes these inputs to the directory that scripts/fuzz names.
pub fn write(seeds: impl IntoIterator<Item = Vec<u8>>) {
    let Some(directory) = std::env::var_os("CORACLE_FUZZ_SEEDS").map(PathBuf::from) else { return };
    for (number, seed) in seeds.into_iter().enumerate() {
        std::fs::write(directory.join(format!("seed-{number:03}")), seed).expect("the directory takes a file");
    }
}
