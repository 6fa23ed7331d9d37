//! Which entries of a policy apply to an image.

use super::PolicyError;
use super::identity::Named;
use crate::image::reference::RegistryName;
use std::path::{Path, PathBuf};

/// Where an image comes from, as a policy's transports and scopes see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The transport `docker`.
    Registry(RegistryName),
    /// A file or directory.
    Local {
        /// `oci`, `oci-archive` or `docker-archive`.
        transport: &'static str,
        /// Absolute and without symbolic links. `None` where there is no path, such as for what comes
        /// on standard input, and for a transport whose images have no scopes.
        path: Option<PathBuf>,
    },
}

impl Origin {
    /// A file or directory at a path that need not be absolute.
    ///
    /// # Errors
    /// [`PolicyError::Read`] when there is nothing at `path`.
    pub fn local(transport: &'static str, path: &Path) -> Result<Origin, PolicyError> {
        let resolved = path.canonicalize().map_err(|source| PolicyError::Read { path: path.to_owned(), source })?;
        Ok(Origin::Local { transport, path: Some(resolved) })
    }

    pub(super) fn transport(&self) -> &'static str {
        match self {
            Origin::Registry(_) => "docker",
            Origin::Local { transport, .. } => transport,
        }
    }

    /// The scopes that apply, most specific first; last the transport's default, `""`.
    pub(super) fn scopes(&self) -> Vec<String> {
        let mut scopes = match self {
            Origin::Registry(name) => registry_scopes(&Named::of(name)),
            Origin::Local { path, .. } => {
                // A policy is UTF-8, so no scope names a path that is not.
                let ancestors = path.iter().flat_map(|path| path.ancestors());
                ancestors.filter_map(Path::to_str).filter(|path| *path != "/").map(str::to_owned).collect()
            }
        };
        scopes.push(String::new());
        scopes
    }
}

/// The image, its repository, the namespaces above, the registry, then wildcards for the domains that
/// the registry is in.
/// <https://github.com/containers/image/blob/main/docker/policyconfiguration/naming.go>
fn registry_scopes(image: &Named) -> Vec<String> {
    let mut scopes = vec![image.to_string()];
    let mut name = image.name();
    scopes.push(name.to_owned());
    while let Some((parent, _)) = name.rsplit_once('/') {
        name = parent;
        scopes.push(name.to_owned());
    }
    let mut domain = name.split(':').next().unwrap_or_default();
    while let Some((_, parent)) = domain.split_once('.') {
        domain = parent;
        scopes.push(format!("*.{domain}"));
    }
    scopes
}

/// True for a scope that an image of `transport` can have. Of registries and of transports that are
/// not known any text may be one.
pub fn is_valid(transport: &str, scope: &str) -> bool {
    match transport {
        "oci" | "oci-archive" | "dir" | "sif" => is_clean(scope),
        "docker-archive" | "tarball" => false,
        _ => true,
    }
}

fn is_clean(path: &str) -> bool {
    let mut components = path.split('/');
    components.next() == Some("") && components.all(|component| !matches!(component, "" | "." | ".."))
}
