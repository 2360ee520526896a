//! Binds the sockets of listeners. An error names the configuration key to change.

use std::net::SocketAddr;

use comms_core::Error;
use tokio::net::TcpListener;

/// Binds `address`. `key` is the configuration key of the address, for the error text.
///
/// # Errors
/// Returns `Invalid` if the port is in use, or if the address cannot be bound (for example because it does not belong
/// to this machine).
pub async fn bind(address: SocketAddr, key: &str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => Error::invalid(format!(
            "{address} is in use by another process: stop that process, or set {key} to another port (0 picks a free \
             one)"
        )),
        _ => Error::invalid(format!("cannot listen on {address}: {e}; set {key} to another address or port")),
    })
}

/// Returns the bound address of `listener`, including the port that the operating system assigned.
///
/// # Errors
/// Returns `Fatal` if the operating system does not report the address.
pub fn address(listener: &TcpListener) -> Result<SocketAddr, Error> {
    listener.local_addr().map_err(Error::fatal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_for_a_port_in_use_names_the_configuration_key() {
        let first = bind("127.0.0.1:0".parse().unwrap(), "gateway.listen").await.unwrap();
        let error = bind(address(&first).unwrap(), "gateway.listen").await.unwrap_err().chain().to_string();
        assert!(error.contains("in use by another process") && error.contains("gateway.listen"), "{error}");
    }
}
