//! Files that are made for the job and mounted into its container.

use super::host::HostFacts;
use crate::spec::{NetworkMode, ServiceSpec};
use std::path::{Path, PathBuf};

/// A small file, and where the container sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedFile {
    pub source: PathBuf,
    pub target: &'static str,
    pub content: String,
}

/// hostname(5), hosts(5) and resolv.conf(5), as Docker makes them.
pub(super) fn generate(job: &ServiceSpec, host: &HostFacts, hostname: &str, directory: &Path) -> Vec<GeneratedFile> {
    let file = |name: &str, target, content| GeneratedFile { source: directory.join(name), target, content };
    vec![
        file("hostname", "/etc/hostname", format!("{hostname}\n")),
        file("hosts", "/etc/hosts", hosts(job, host, hostname)),
        file("resolv.conf", "/etc/resolv.conf", resolv_conf(job, host)),
    ]
}

fn hosts(job: &ServiceSpec, host: &HostFacts, hostname: &str) -> String {
    let host_text = match job.network.mode {
        NetworkMode::Host => host.hosts.trim_end(),
        NetworkMode::None => "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback",
    };
    // A resolver takes the first line that has the name: the job's own come first, as with podman.
    let mut text: String =
        job.network.extra_hosts.iter().map(|(name, address)| format!("{address}\t{name}\n")).collect();
    for line in host_text.lines() {
        text.push_str(line);
        text.push('\n');
    }
    text + &format!("127.0.0.1\t{hostname}\n")
}

fn resolv_conf(job: &ServiceSpec, host: &HostFacts) -> String {
    if !job.network.dns.is_empty() {
        return job.network.dns.iter().map(|server| format!("nameserver {server}\n")).collect();
    }
    match job.network.mode {
        NetworkMode::Host => host.resolv_conf.clone(),
        NetworkMode::None => String::new(),
    }
}
