//! The parts of the configuration, on files in a temporary directory.

#![expect(clippy::disallowed_methods, reason = "tests write files and start programs")]

mod certificates;
mod credentials;
mod helper;
mod names;
mod registries;

use super::HostConfig;
use super::places::Places;
use crate::image::reference::RegistryName;
use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A host in a directory: `etc`, `run` and `var` below it, and the home of its user in `home`.
struct Host {
    directory: TempDir,
    variables: BTreeMap<&'static str, OsString>,
    uid: u32,
}

impl Host {
    fn new() -> Host {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("home").into();
        Host { directory, variables: BTreeMap::from([("HOME", home)]), uid: 1000 }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn file(&self, path: &str, content: &str) -> PathBuf {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Sets a variable to a path below the directory.
    fn set(&mut self, variable: &'static str, path: &str) {
        let value = self.path(path).into();
        self.variables.insert(variable, value);
    }

    fn places(&self) -> Places {
        Places::locate(self.directory.path(), self.uid, |name| self.variables.get(name).cloned()).unwrap()
    }

    fn config(&self) -> HostConfig {
        HostConfig::of(self.places())
    }

    /// A program that other threads' children cannot hold open for writing, which would make its
    /// start fail: it is written by a process of its own.
    fn helper(&mut self, name: &str, script: &str) {
        let source = self.file(&format!("scripts/{name}"), &format!("#!/bin/sh\n{script}\n"));
        std::fs::create_dir_all(self.path("bin")).unwrap();
        let target = self.path("bin").join(format!("docker-credential-{name}"));
        let status = std::process::Command::new("install").arg("-m755").arg(source).arg(target).status().unwrap();
        assert!(status.success());
        self.set("PATH", "bin");
    }
}

fn name(text: &str) -> RegistryName {
    RegistryName::parse(text).unwrap()
}

/// An error with its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn contains(text: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} in {text:?}");
}

fn display(path: &Path) -> &str {
    path.to_str().unwrap()
}
