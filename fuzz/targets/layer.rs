//! Layers: parsed, and applied to a directory that a thread of its own has as its root. The thread that
//! fuzzes keeps the real one, so that it can look whether anything appeared outside and write what it
//! found to the corpus. scripts/fuzz starts this in a user namespace, where chroot(2) is allowed, with an
//! empty file system in memory at the directory that the environment names.

#![no_main]

mod seeds;

#[allow(dead_code)] // what is expected of them is for the tests
#[path = "../../tests/image/hostile/corpus.rs"]
mod corpus;
#[path = "../../tests/image/hostile/extensions.rs"]
mod extensions;
#[allow(dead_code)]
#[path = "../../tests/image/tarball.rs"]
mod tarball;

use libfuzzer_sys::fuzz_target;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Bytes that a layer may become.
const LARGEST: u64 = 16 << 20;

struct Unpacker {
    scratch: PathBuf,
    layers: Sender<Vec<u8>>,
    done: Receiver<()>,
}

fuzz_target!(init: seeds::write(layers()), |data: &[u8]| {
    static UNPACKER: OnceLock<Mutex<Unpacker>> = OnceLock::new();
    let unpacker = UNPACKER.get_or_init(|| Mutex::new(start())).lock().unwrap();
    unpacker.layers.send(data.to_vec()).expect("the unpacker is there");
    unpacker.done.recv().expect("the unpacker does not panic");
    let mut names: Vec<_> = fs::read_dir(&unpacker.scratch).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["layer", "victim"], "something appeared outside of the layer");
    assert_eq!(fs::read(unpacker.scratch.join("victim")).unwrap(), b"untouched");
});

/// The corpus of the tests, but for what is large.
fn layers() -> impl Iterator<Item = Vec<u8>> {
    corpus::cases().into_iter().map(|case| case.tar).filter(|tar| tar.len() <= LONGEST_SEED)
}

const LONGEST_SEED: usize = 32 << 10;

fn start() -> Unpacker {
    let scratch = PathBuf::from(std::env::var_os("CORACLE_FUZZ_SCRATCH").expect("run through scripts/fuzz"));
    fs::write(scratch.join("victim"), "untouched").unwrap();
    let root = scratch.join("layer");
    fs::create_dir(&root).unwrap();
    let (layers, incoming) = channel::<Vec<u8>>();
    let (finished, done) = channel();
    std::thread::spawn(move || {
        // Root and working directory of this thread alone from here on.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
        nix::unistd::chroot(&root).unwrap();
        nix::unistd::chdir("/").unwrap();
        nix::sys::stat::umask(nix::sys::stat::Mode::empty());
        for layer in incoming {
            // Refusing is as good as applying.
            let _ = coracle::image::fuzzing::apply(&layer, LARGEST);
            coracle::image::fuzzing::clear().unwrap();
            finished.send(()).unwrap();
        }
    });
    Unpacker { scratch, layers, done }
}
