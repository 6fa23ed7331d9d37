//! A state root of its own for each test.

use coracle::image::{
    Digest, Image, ImageError, ImageName, ImageRequest, ImageStore, NetworkPolicy, Platform, PullPolicy,
};
use coracle::plan::{IdMap, IdMappings};
use coracle::state_dir::StateDir;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A store in a temporary directory, which must hold no half-made layer when it is dropped.
pub struct Home {
    pub state: StateDir,
    pub mappings: Option<IdMappings>,
    directory: tempfile::TempDir,
}

/// One for each kind of id mapping that this user may have: as root the host's ids and, to exercise
/// the user namespace, a single mapping; else subordinate ids where there are any, and a single one.
pub fn homes() -> Vec<Home> {
    let single = |id: u32| vec![IdMap { container: 0, host: id, count: 1 }];
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let single = Some(IdMappings { uids: single(uid.as_raw()), gids: single(gid.as_raw()) });
    let mut homes = vec![Home::new(single)];
    if uid.is_root() {
        homes.push(Home::new(None));
    } else if crate::common::host::needs(crate::common::host::Feature::ManyIds) {
        homes.push(Home::new(Some(coracle::sys::userns::host_mappings().unwrap().0)));
    }
    homes
}

/// The one that most users have.
pub fn home() -> Home {
    homes().pop().unwrap()
}

impl Home {
    fn new(mappings: Option<IdMappings>) -> Home {
        let directory = tempfile::Builder::new().prefix("coracle-image.").tempdir().unwrap();
        let state = StateDir::open(Some(&directory.path().join("root"))).unwrap();
        Home { state, mappings, directory }
    }

    pub fn is_rootful(&self) -> bool {
        self.mappings.is_none()
    }

    /// True when only one id is mapped.
    pub fn is_single(&self) -> bool {
        self.mappings.as_ref().is_some_and(IdMappings::is_single)
    }

    /// For the test's own files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn store(&self) -> ImageStore {
        self.store_with(Path::new(env!("CARGO_BIN_EXE_coracle")))
    }

    pub fn store_with(&self, binary: &Path) -> ImageStore {
        ImageStore::open(&self.state, self.mappings.clone(), binary.to_owned()).with_network(impatient())
    }

    pub fn resolve(&self, name: &str) -> Result<Image, ImageError> {
        self.resolve_with(name, PullPolicy::IfNotPresent)
    }

    pub fn resolve_with(&self, name: &str, policy: PullPolicy) -> Result<Image, ImageError> {
        let name = ImageName::parse(name).unwrap();
        resolve_in(&self.store(), &name, policy, None, None)
    }

    /// Names of what lies about in the staging area.
    pub fn staged(&self) -> Vec<String> {
        names(&self.state.staging())
    }

    /// Names of all layers that are visible.
    pub fn layers(&self) -> Vec<String> {
        let kinds = names(&self.state.layers());
        kinds.iter().flat_map(|kind| names(&self.state.layers().join(kind))).collect()
    }

    /// Asserts that nothing of a failed pull is there.
    pub fn assert_empty(&self) {
        assert_eq!((self.layers(), self.staged()), (vec![], vec![]));
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let root = self.state.root();
        // What subordinate ids own, the temporary directory cannot remove by itself.
        let binary = Path::new(env!("CARGO_BIN_EXE_coracle"));
        let removed = coracle::remove_tree::remove_tree(binary, root, self.mappings.as_ref());
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

/// Resolves an image of which `known` is what was known before.
pub fn resolve_in(
    store: &ImageStore,
    name: &ImageName,
    policy: PullPolicy,
    platform: Option<&Platform>,
    known: Option<&Digest>,
) -> Result<Image, ImageError> {
    let references = |_: &str| Ok(known.cloned());
    let request = ImageRequest { name, policy, platform, references: &references };
    block_on(store.resolve(&request))
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// Asks again as often as by default, after pauses too short to be noticed.
pub fn impatient() -> NetworkPolicy {
    let first_pause = Duration::from_millis(1);
    NetworkPolicy { first_pause, longest_pause: first_pause, ..NetworkPolicy::default() }
}

/// The whole chain of an error, as a user would see it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
