//! The sockets of listeners, with errors that name the setting to change.

use std::net::SocketAddr;

use comms_core::Error;
use tokio::net::TcpListener;

/// Binds `address`; `key` is its name in the configuration.
///
/// # Errors
/// Returns `Invalid` if the port is taken, or if the address is not one of this machine.
pub async fn bind(address: SocketAddr, key: &str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => Error::invalid(format!(
            "{address} is taken by another process: stop that one, or set {key} to another port (0 for a free one)"
        )),
        _ => Error::invalid(format!("cannot listen on {address} ({key}): {e}")),
    })
}

/// The address of `listener`, with the port that it got.
///
/// # Errors
/// Returns `Fatal` if the operating system does not report it.
pub fn address(listener: &TcpListener) -> Result<SocketAddr, Error> {
    listener.local_addr().map_err(Error::fatal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_port_names_the_key_to_change() {
        let first = bind("127.0.0.1:0".parse().unwrap(), "gateway.listen").await.unwrap();
        let error = bind(address(&first).unwrap(), "gateway.listen").await.unwrap_err().chain().to_string();
        assert!(error.contains("taken by another process") && error.contains("gateway.listen"), "{error}");
    }
}
