//! Manifests, indexes and configs: two documents, divided by a NUL, which JSON never holds.

#![no_main]

mod seeds;

use libfuzzer_sys::fuzz_target;

const SEEDS: &[&str] = &[
    concat!(
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
        r#""config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:"#,
        "1111111111111111111111111111111111111111111111111111111111111111",
        r#"","size":100},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:"#,
        "2222222222222222222222222222222222222222222222222222222222222222",
        r#"","size":7,"annotations":{"a":"b"}}]}"#,
        "\0",
        r#"{"architecture":"arm64","os":"linux","variant":"v8","config":{"Env":["A=b"],"Cmd":["c"],"#,
        r#""ExposedPorts":{"80/tcp":{}},"Volumes":{"/v":{}}},"history":[{"created_by":"x","empty_layer":true}],"#,
        r#""rootfs":{"type":"layers","diff_ids":["sha256:"#,
        "3333333333333333333333333333333333333333333333333333333333333333",
        r#""]}}"#,
    ),
    concat!(
        r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":["#,
        r#"{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","size":9,"digest":"sha256:"#,
        "4444444444444444444444444444444444444444444444444444444444444444",
        r#"","platform":{"architecture":"arm","os":"linux","variant":"v7"}},"#,
        r#"{"mediaType":"application/vnd.oci.image.index.v1+json","size":9,"digest":"sha256:"#,
        "5555555555555555555555555555555555555555555555555555555555555555",
        r#"","platform":{"architecture":"arm64","os":"linux"}}]}"#,
    ),
    r#"{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[{"blobSum":"sha256:00"}]}"#,
    r#"{"schemaVersion":2,"manifests":[],"config":{},"layers":[]}"#,
];

fuzz_target!(init: seeds::write(SEEDS.iter().map(|seed| seed.as_bytes().to_vec())), |data: &[u8]| {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    coracle::image::fuzzing::documents(&data[..at], data.get(at + 1..).unwrap_or_default());
});
