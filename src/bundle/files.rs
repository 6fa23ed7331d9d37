//! Files that are made for the job and mounted into its container.

use super::host::HostFacts;
use crate::spec::{JobSpec, NetworkMode};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// A small file, and where the container sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedFile {
    pub source: PathBuf,
    pub target: &'static str,
    pub content: String,
}

/// hostname(5), hosts(5) and resolv.conf(5), as Docker makes them.
pub(super) fn generate(job: &JobSpec, host: &HostFacts, hostname: &str, directory: &Path) -> Vec<GeneratedFile> {
    let file = |name: &str, target, content| GeneratedFile { source: directory.join(name), target, content };
    vec![
        file("hostname", "/etc/hostname", format!("{hostname}\n")),
        file("hosts", "/etc/hosts", hosts(job, host, hostname)),
        file("resolv.conf", "/etc/resolv.conf", resolv_conf(job, host)),
    ]
}

fn hosts(job: &JobSpec, host: &HostFacts, hostname: &str) -> String {
    let mut text = match job.network.mode {
        NetworkMode::Host => host.hosts.clone(),
        NetworkMode::None => "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned(),
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    // Writing into a String cannot fail.
    let _ = writeln!(text, "127.0.0.1\t{hostname}");
    for (name, address) in &job.network.extra_hosts {
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

fn resolv_conf(job: &JobSpec, host: &HostFacts) -> String {
    if !job.network.dns.is_empty() {
        return job.network.dns.iter().map(|server| format!("nameserver {server}\n")).collect();
    }
    match job.network.mode {
        NetworkMode::Host => host.resolv_conf.clone(),
        NetworkMode::None => String::new(),
    }
}
