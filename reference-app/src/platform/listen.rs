//! Listeners with an error that says what to do.

use std::net::SocketAddr;

use comms_core::Error;
use tokio::net::TcpListener;

/// Binds `address`; `key` is its name in the configuration.
///
/// # Errors
/// `Invalid` where the port is taken or the address is not this machine's.
pub async fn bind(address: SocketAddr, key: &str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => Error::invalid(format!(
            "{address} is taken by another process: stop that one, or set {key} to another port (0 for a free one)"
        )),
        _ => Error::invalid(format!("cannot listen on {address} ({key}): {e}")),
    })
}

/// The address `listener` got.
///
/// # Errors
/// `Fatal` where the operating system does not say.
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
