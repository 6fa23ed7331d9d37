//! Pulls that do not come to their end, and pulls that meet.

use crate::layout::{Compression, Layer, LayoutBuilder, Tar};
use crate::server::{Answer, Server, blob_path, digest_of};
use crate::store::{Home, chain, home, homes};
use coracle::image::{ImageName, ImageRequest};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// An image with a layer that is too large to be in any buffer when half of it has been sent.
fn large_image(home: &Home) -> (LayoutBuilder, Layer, String) {
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    let mut content = vec![0; 8 << 20];
    let mut state = 1_u32;
    for byte in &mut content {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    let small = Layer::new(Tar::new().file("small", b""), Compression::Gzip);
    let large = Layer::new(Tar::new().file("first", b"x").file("large", &content), Compression::Gzip);
    let manifest = digest_of(&layout.image(&[small, large.clone()]));
    (layout, large, manifest)
}

#[test]
fn a_pull_that_is_dropped_leaves_nothing_half_made() {
    for home in homes() {
        let (layout, large, manifest) = large_image(&home);
        let path = blob_path(&large.blob);
        let (stalled, mut is_stalled) = tokio::sync::mpsc::unbounded_channel();
        let server = Server::start(&layout, &manifest, move |request| {
            if request.ends_with(&path) { Answer::Stall(stalled.clone()) } else { Answer::Normal }
        });
        let name = ImageName::parse(&server.reference()).unwrap();
        let (store, request) = (home.store(), ImageRequest::new(&name));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            tokio::select! {
                resolved = store.resolve(&request) => panic!("{resolved:?}"),
                _ = is_stalled.recv() => {}
            }
        });
        // Waits for the threads that clean up.
        drop(runtime);
        assert_eq!(home.staged(), Vec::<String>::new());
        assert!(!home.layers().iter().any(|layer| large.diff_id.ends_with(layer)));
    }
}

#[test]
fn a_pull_that_is_killed_is_swept_by_the_next() {
    let home = home();
    let (layout, large, manifest) = large_image(&home);
    let path = blob_path(&large.blob);
    let (stalled, mut is_stalled) = tokio::sync::mpsc::unbounded_channel();
    let is_healthy = Arc::new(AtomicBool::new(false));
    let healthy = is_healthy.clone();
    let server = Server::start(&layout, &manifest, move |request| {
        let stalls = request.ends_with(&path) && !healthy.load(Ordering::Relaxed);
        if stalls { Answer::Stall(stalled.clone()) } else { Answer::Normal }
    });
    let mut front = Command::new(env!("CARGO_BIN_EXE_coracle"))
        .arg("--root")
        .arg(home.state.root())
        .args(["run", "--image", &server.reference(), "--", "/nothing"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    is_stalled.blocking_recv().unwrap();
    front.kill().unwrap();
    front.wait().unwrap();
    assert!(!home.staged().is_empty(), "it was killed too late to test anything");
    assert!(!home.layers().iter().any(|layer| large.diff_id.ends_with(layer)));

    is_healthy.store(true, Ordering::Relaxed);
    let image = home.resolve(&server.reference()).unwrap();
    assert_eq!(image.layers.len(), 2);
    assert_eq!(std::fs::metadata(image.layers[1].join("large")).unwrap().len(), 8 << 20);
    assert_eq!(home.staged(), Vec::<String>::new());
}

#[test]
fn a_layer_that_two_want_at_once_is_fetched_once() {
    let home = home();
    let (layout, large, manifest) = large_image(&home);
    let path = blob_path(&large.blob);
    // The layer comes only after both have asked for the manifest.
    let asked = Arc::new((Mutex::new(0), Condvar::new()));
    let server = Server::start(&layout, &manifest, {
        let (path, asked) = (path.clone(), asked.clone());
        move |request| {
            let (count, changed) = &*asked;
            if request.ends_with("/manifests/latest") {
                *count.lock().unwrap() += 1;
                changed.notify_all();
            } else if request.ends_with(&path) {
                drop(changed.wait_while(count.lock().unwrap(), |count| *count < 2).unwrap());
            }
            Answer::Normal
        }
    });
    let name = server.reference();
    let images = std::thread::scope(|scope| {
        let pulls = [scope.spawn(|| home.resolve(&name)), scope.spawn(|| home.resolve(&name))];
        pulls.map(|pull| pull.join().unwrap().unwrap())
    });
    assert_eq!(images[0].layers, images[1].layers);
    assert_eq!(server.count(&path), 1);
    assert_eq!(home.staged(), Vec::<String>::new());
}

#[test]
fn a_registry_that_sends_something_else_is_found_out() {
    for home in homes() {
        let (layout, large, manifest) = large_image(&home);
        let path = blob_path(&large.blob);
        let expect =
            |behaviour: fn() -> Answer, on: &str, reason: &str| {
                let on = on.to_owned();
                let server = Server::start(&layout, &manifest, move |request| {
                    if request.ends_with(&on) { behaviour() } else { Answer::Normal }
                });
                let error = chain(&home.resolve(&server.reference()).unwrap_err());
                assert!(error.contains(reason), "{error}");
                assert_eq!(home.staged(), Vec::<String>::new());
                assert!(!home.layers().iter().any(|layer| large.diff_id.ends_with(layer)));
            };
        expect(|| Answer::Cut, &path, "the connection to 127.0.0.1");
        expect(|| Answer::Body(vec![b'x'; 100]), &path, "offers 100 bytes instead of");
        expect(|| Answer::Body(vec![b'x'; 20 << 20]), &path, "offers 20971520 bytes instead of");
        expect(|| Answer::Status(404, "gone"), &path, "does not have it");
        expect(|| Answer::Status(429, "slow down"), &path, "limits the rate");
        expect(|| Answer::Status(500, "oops"), "/manifests/latest", "oops");
        expect(|| Answer::Status(401, ""), "/manifests/latest", "refused access without credentials");
        expect(|| Answer::Body(b"<html>".to_vec()), "/manifests/latest", "parse the manifest");
        expect(|| Answer::Body(br#"{"schemaVersion":1}"#.to_vec()), "/manifests/latest", "schema version 1");
    }
}
