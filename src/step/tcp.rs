//! `init.wait_tcp`: until a connection is accepted.

use super::error::one_line;
use super::names::Names;
use super::wait;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;

pub async fn wait(names: &Names, host: &str, port: u16, interval: Duration) {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let what = if inner.contains(':') { format!("[{inner}]:{port}") } else { format!("{inner}:{port}") };
    let patience = wait::connect_timeout(interval);
    wait::until(&what, interval, async || {
        let addresses = names.addresses(inner).await.map_err(|error| one_line(&error))?;
        connect(&addresses, port, patience).await
    })
    .await;
}

/// Connects to one of the addresses, or says why it cannot to any.
async fn connect(addresses: &[IpAddr], port: u16, patience: Duration) -> Result<(), String> {
    // Sorted: name servers turn their answers round, which is no other cause.
    let mut causes = BTreeSet::new();
    for address in addresses {
        let address = SocketAddr::new(*address, port);
        let connected = tokio::time::timeout(patience, TcpStream::connect(address)).await;
        let error = match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        causes.insert(if addresses.len() == 1 { error.to_string() } else { format!("{address}: {error}") });
    }
    Err(causes.into_iter().collect::<Vec<_>>().join("; "))
}
