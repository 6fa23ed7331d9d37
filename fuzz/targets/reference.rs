//! Names of images.

#![no_main]

mod seeds;

use libfuzzer_sys::fuzz_target;

const SEEDS: &[&str] = &[
    "debian",
    "debian:12",
    "docker.io/library/debian:12",
    "docker://index.docker.io/debian",
    "localhost:5000/team/sub/image:v1.2-3_x",
    "[::1]:5000/a",
    "Registry/a",
    "a@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "a:b@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "oci:/some/path:tag",
    "oci:relative",
    "oci-archive:file.tar:name",
    "docker-archive:file.tar:image:tag",
    "linux/arm64/v8",
    "a__b.c--d/e:A.-_9",
];

fuzz_target!(init: seeds::write(SEEDS.iter().map(|seed| seed.as_bytes().to_vec())), |text: &str| coracle::image::fuzzing::reference(text));
