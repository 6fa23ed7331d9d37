//! Names to addresses, as the job would have them.

use super::request::Resolve;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use reqwest::dns::{Addrs, Name, Resolving};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A name server may answer with any number of addresses.
const MOST_ADDRESSES: usize = 16;

/// Looks names up: among the job's hosts, then as the host does or, when the job has name servers of its own,
/// in the host's `/etc/hosts` (which the job sees too) and there.
#[derive(Debug, Clone)]
pub struct Names(Arc<Sources>);

#[derive(Debug)]
struct Sources {
    hosts: Vec<(String, IpAddr)>,
    servers: Option<TokioResolver>,
}

/// A name that has no address now.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    #[error("failed to set up the name servers")]
    Servers { source: NetError },
    #[error("failed to look up {host}: the job's name servers know no such name")]
    Unknown { host: String },
    #[error("failed to look up {host} at the job's name servers")]
    Ask { host: String, source: NetError },
    #[error("failed to look up {host}")]
    Host { host: String, source: io::Error },
    #[error("failed to look up {host}: it has no address")]
    NoAddress { host: String },
}

impl Names {
    /// # Errors
    /// [`NamesError::Servers`].
    pub fn new(resolve: &Resolve) -> Result<Names, NamesError> {
        let servers = if resolve.servers.is_empty() {
            None
        } else {
            let servers = resolve.servers.iter().copied().map(NameServerConfig::udp_and_tcp).collect();
            let config = ResolverConfig::from_name_servers(servers);
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            let options = builder.options_mut();
            options.use_hosts_file = ResolveHosts::Always;
            // A check waits for answers to change.
            options.cache_size = 0;
            Some(builder.build().map_err(|source| NamesError::Servers { source })?)
        };
        Ok(Names(Arc::new(Sources { hosts: resolve.hosts.clone(), servers })))
    }

    /// The addresses of a name or of an address itself, at least one.
    ///
    /// # Errors
    /// See [`NamesError`].
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, NamesError> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        let own = self.0.hosts.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let own: Vec<IpAddr> = own.map(|(_, address)| *address).collect();
        if !own.is_empty() {
            return Ok(own);
        }
        let (asked, host) = ((host, 0), host.to_owned());
        let mut found: Vec<IpAddr> = match &self.0.servers {
            None => match tokio::net::lookup_host(asked).await {
                Ok(found) => found.map(|address| address.ip()).collect(),
                Err(source) => return Err(NamesError::Host { host, source }),
            },
            // The final dot: the job has no search domains either when it has name servers of its own.
            Some(servers) => match servers.lookup_ip(format!("{name}.")).await {
                Ok(found) => found.iter().collect(),
                Err(error) if error.is_no_records_found() => return Err(NamesError::Unknown { host }),
                Err(source) => return Err(NamesError::Ask { host, source }),
            },
        };
        found.truncate(MOST_ADDRESSES);
        if found.is_empty() { Err(NamesError::NoAddress { host }) } else { Ok(found) }
    }
}

impl reqwest::dns::Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.clone();
        Box::pin(async move {
            let found = names.addresses(name.as_str()).await?;
            // Port 0 stands for that of the URL.
            let found: Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(found)
        })
    }
}
