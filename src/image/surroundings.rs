//! The environment by which the files of a user, and the way to the network, are found.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

/// Environment variables: by default this process's own, else those of another one, as far as they were recorded.
/// Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    variables: Option<Arc<BTreeMap<String, String>>>,
}

impl Surroundings {
    /// These and no others.
    pub fn recorded(variables: BTreeMap<String, String>) -> Surroundings {
        Surroundings { variables: Some(Arc::new(variables)) }
    }

    pub fn get(&self, name: &str) -> Option<OsString> {
        match &self.variables {
            None => std::env::var_os(name),
            Some(variables) => variables.get(name).map(OsString::from),
        }
    }

    /// Those of another process; `None`: they are this one's own, which libraries and programs see by themselves.
    pub fn foreign(&self) -> Option<&BTreeMap<String, String>> {
        self.variables.as_deref()
    }
}
