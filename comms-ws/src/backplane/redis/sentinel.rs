//! The primary that Sentinels monitor.

use ::redis::{Client, ConnectionAddr, ConnectionInfo};
use comms_core::Error;

use super::{config::connection_options, failure};

/// A primary whose address the Sentinels know.
pub(super) struct Monitored {
    /// The name that the Sentinels have for the primary, in place of its host.
    pub(super) name: String,
    settings: ConnectionInfo,
}

impl Monitored {
    /// # Errors
    /// Returns `Invalid` if the client has no host.
    pub(super) fn new(client: Client) -> Result<Self, Error> {
        let settings = client.get_connection_info().clone();
        match settings.addr() {
            ConnectionAddr::Tcp(name, _) | ConnectionAddr::TcpTls { host: name, .. } => {
                Ok(Self { name: name.clone(), settings })
            }
            _ => Err(Error::invalid(
                "redis backplane: sentinel_primary needs the name of the primary as its host",
            )),
        }
    }

    pub(super) const fn settings(&self) -> &ConnectionInfo {
        &self.settings
    }

    /// Asks a Sentinel for the address of the primary.
    ///
    /// # Errors
    /// Returns `Misconfigured` if the Sentinel does not monitor the primary, and `NotExecuted` if it does not answer.
    pub(super) async fn locate(&self, sentinel: &Client) -> Result<Client, Error> {
        let connection = sentinel.get_multiplexed_async_connection_with_config(&connection_options()).await;
        let mut connection = connection.map_err(failure::of_connection)?;
        let mut question = ::redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        let address: Option<(String, u16)> =
            question.query_async(&mut connection).await.map_err(failure::of_connection)?;
        let Some((host, port)) = address else {
            return Err(Error::misconfigured(format!("the Sentinel monitors no primary {:?}", self.name)));
        };
        let address = match self.settings.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        Client::open(self.settings.clone().set_addr(address)).map_err(failure::of_connection)
    }
}
