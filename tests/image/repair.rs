//! A store that was damaged: found, named and made again, never used.

use crate::layout::{Compression, Layer, LayoutBuilder, Tar};
use crate::server::{Answer, Server, digest_of};
use crate::store::{Home, chain, home, homes, resolve_in};
use coracle::image::{Digest, Image, ImageError, ImageName, PullPolicy};
use std::fs;
use std::path::{Path, PathBuf};

/// An image in a registry that has been pulled.
struct Pulled {
    home: Home,
    server: Server,
    image: Image,
}

impl Pulled {
    fn new(home: Home) -> Pulled {
        let mut layout = LayoutBuilder::new(&home.path("layout"));
        let layer = |name: &str| Layer::new(Tar::new().file(name, b"content"), Compression::Gzip);
        let manifest = digest_of(&layout.tagged_index("v1", &[(&host(), &[layer("a"), layer("b")])]));
        let server = Server::start(&layout, &manifest, |_| Answer::Normal);
        let image = home.resolve(&server.reference()).unwrap();
        assert_eq!(image.digest.to_string(), manifest, "the index is what the reference names");
        assert_ne!(image.digest, image.manifest_digest);
        Pulled { home, server, image }
    }

    fn resolve(&self, policy: PullPolicy) -> Result<Image, ImageError> {
        let name = ImageName::parse(&self.server.reference()).unwrap();
        resolve_in(&self.home.store(), &name, policy, None, Some(&self.image.digest))
    }

    fn document(&self, digest: &Digest) -> PathBuf {
        self.home.state.blobs().join("sha256").join(digest.hex())
    }

    fn config(&self) -> Digest {
        let manifest = fs::read(self.document(&self.image.manifest_digest)).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        manifest["config"]["digest"].as_str().unwrap().parse().unwrap()
    }

    /// `never` names the damage; every other policy makes it good, with a note that names it.
    fn is_repaired(&self, damaged: &Path, policy: PullPolicy) {
        let error = chain(&self.resolve(PullPolicy::Never).unwrap_err());
        assert!(error.contains(damaged.to_str().unwrap()) && error.contains("damaged"), "{error}");
        let image = self.resolve(policy).unwrap();
        let notes: Vec<String> = image.notes.iter().map(ToString::to_string).collect();
        assert!(notes.len() == 1 && notes[0].contains(damaged.to_str().unwrap()), "{notes:?}");
        let again = self.resolve(PullPolicy::Never).unwrap();
        assert_eq!((again.layers.len(), again.notes.len()), (2, 0));
        assert!(again.layers[0].join("a").exists() && again.layers[1].join("b").exists());
        assert_eq!(self.home.staged(), Vec::<String>::new());
    }
}

fn host() -> String {
    coracle::image::Platform::host().architecture
}

const FETCHING: [PullPolicy; 3] = [PullPolicy::IfNotPresent, PullPolicy::Newer, PullPolicy::Always];

#[test]
fn a_damaged_document_is_pulled_again() {
    let pulled = Pulled::new(home());
    let documents = [pulled.image.digest.clone(), pulled.image.manifest_digest.clone(), pulled.config()];
    for policy in FETCHING {
        for digest in &documents {
            let path = pulled.document(digest);
            let good = fs::read(&path).unwrap();
            for bad in [&b""[..], b"{}", &[&good[..], b" "].concat()] {
                fs::write(&path, bad).unwrap();
                pulled.is_repaired(&path, policy);
                assert_eq!(fs::read(&path).unwrap(), good);
            }
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            pulled.is_repaired(&path, policy);
            // Nobody ever writes to it.
            fs::remove_file(&path).unwrap();
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
            pulled.is_repaired(&path, policy);
        }
    }
}

#[test]
fn a_damaged_layer_is_made_again() {
    for home in homes() {
        let pulled = Pulled::new(home);
        let layer = pulled.image.layers[1].parent().unwrap().to_owned();
        for policy in FETCHING {
            // Whoever the files belong to, a name may be changed.
            fs::rename(layer.join("diff"), layer.join("elsewhere")).unwrap();
            pulled.is_repaired(&layer, policy);
            for record in ["", "{", r#"{"format":1}"#] {
                fs::write(layer.join("layer.json"), record).unwrap();
                pulled.is_repaired(&layer, policy);
            }
            // Another layer's.
            let other = pulled.image.layers[0].parent().unwrap().join("layer.json");
            fs::copy(other, layer.join("layer.json")).unwrap();
            pulled.is_repaired(&layer, policy);
        }
    }
}

#[test]
fn a_layer_records_what_it_was_made_of() {
    for home in homes() {
        let pulled = Pulled::new(home);
        let path = pulled.image.layers[0].parent().unwrap();
        let record: serde_json::Value = serde_json::from_slice(&fs::read(path.join("layer.json")).unwrap()).unwrap();
        assert_eq!(record["diff_id"], format!("sha256:{}", path.file_name().unwrap().to_str().unwrap()));
        assert_eq!((&record["entries"], &record["unpacked_bytes"]), (&1.into(), &2048.into()));
        assert_eq!(record["mappings"], serde_json::to_value(&pulled.home.mappings).unwrap());
        let inventory = pulled.home.store().inventory(&pulled.image.digest).unwrap();
        let layers = &inventory.images[0].layers;
        assert_eq!(record["blob"], layers[0].blob.to_string());
        assert_eq!(pulled.home.store().stored_layer(&layers[0].diff_id).unpacked_bytes, Some(2048));
    }
}

#[test]
fn a_layer_of_an_older_version_stays_good() {
    for home in homes() {
        let pulled = Pulled::new(home);
        let old = pulled.home.state.layers().join("sha256");
        for root in &pulled.image.layers {
            let path = root.parent().unwrap();
            fs::remove_file(path.join("layer.json")).unwrap();
            if !pulled.home.is_single() {
                // Where it kept them for users with subordinate ids, too.
                let to = old.join(path.file_name().unwrap());
                if path != to {
                    fs::rename(path, to).unwrap();
                }
            }
        }
        let image = pulled.resolve(PullPolicy::Never).unwrap();
        assert!(image.layers[0].join("a").exists() && image.notes.is_empty());
        let inventory = pulled.home.store().inventory(&pulled.image.digest).unwrap();
        let stored = pulled.home.store().stored_layer(&inventory.images[0].layers[0].diff_id);
        assert_eq!(stored.unpacked_bytes, Some(b"content".len() as u64), "found out by looking");
    }
}
