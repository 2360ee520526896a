//! Connections to the primary.

use std::time::Duration;

use ::redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind as RedisErrorKind, IntoConnectionInfo,
    ProtocolVersion, RedisError, RedisResult, TlsCertificates, aio::MultiplexedConnection,
};
use comms_core::{Error, ErrorKind, clock::Clock};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{RedisConfig, failure, sentinel::Monitored};

/// The servers of the configuration, of which one is the primary.
pub(super) struct Servers {
    clients: Vec<Client>,
    /// The clients are those of Sentinels, which monitor this primary.
    monitored: Option<Monitored>,
    database: i64,
    timeout: Duration,
    clock: Clock,
}

/// A connection to a primary.
#[derive(Clone)]
pub(super) struct Connected {
    pub(super) connection: MultiplexedConnection,
    /// The identity of the server's process. Another one may have lost the last writes.
    pub(super) run_id: String,
}

impl Servers {
    pub(super) fn new(config: &RedisConfig, clock: &Clock) -> Result<Self, Error> {
        let clients = config.urls.iter().map(|url| client(url, config)).collect::<Result<Vec<_>, _>>()?;
        let monitored =
            config.sentinel_primary.as_ref().map(|url| Monitored::new(client(url, config)?)).transpose()?;
        let infos = clients.iter().map(Client::get_connection_info).filter(|_| monitored.is_none());
        let databases =
            infos.chain(monitored.iter().map(Monitored::settings)).map(|info| info.redis_settings().db());
        let database = databases.clone().next().unwrap_or_default();
        if databases.clone().any(|other| other != database) {
            return Err(Error::invalid("redis backplane: urls must name the same database"));
        }
        Ok(Self { clients, monitored, database, timeout: config.connect_timeout, clock: clock.clone() })
    }

    pub(super) const fn database(&self) -> i64 {
        self.database
    }

    /// Connects to the first server that answers and is a primary.
    pub(super) async fn connect(&self, options: &AsyncConnectionConfig) -> Result<Connected, Error> {
        let mut failure = Error::misconfigured("there is no address");
        for client in &self.clients {
            let address = client.get_connection_info().addr();
            let attempt = async {
                match &self.monitored {
                    Some(monitored) => open(&monitored.locate(client).await?, options).await,
                    None => open(client, options).await,
                }
            };
            failure = match self.clock.timeout(self.timeout, attempt).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => error,
                Err(elapsed) => Error::not_executed(elapsed),
            };
            failure = failure.context(format_args!("connect to redis at {address}"));
        }
        Err(failure)
    }
}

async fn open(client: &Client, options: &AsyncConnectionConfig) -> Result<Connected, Error> {
    let connection = client.get_multiplexed_async_connection_with_config(options).await;
    let mut connection = connection.map_err(failure::of_connection)?;
    let mut both = ::redis::pipe();
    both.cmd("INFO").arg("server").cmd("INFO").arg("replication");
    let (server, replication): (String, String) =
        both.query_async(&mut connection).await.map_err(failure::of_connection)?;
    // Valkey names the field anew.
    match field(&server, "redis_mode").or_else(|| field(&server, "server_mode")) {
        Some("cluster") => {
            return Err(Error::misconfigured("the server is a node of a cluster, which is not supported"));
        }
        Some("sentinel") => {
            return Err(Error::misconfigured("the server is a Sentinel: set `sentinel_primary`"));
        }
        _ => {}
    }
    if field(&replication, "role") != Some("master") {
        return Err(Error::not_executed("the server is a replica"));
    }
    let Some(run_id) = field(&server, "run_id") else {
        return Err(Error::misconfigured("INFO returns no run_id"));
    };
    // A server that is promoted gets another replication id, also if it was the primary of the same run before.
    let replication_id = field(&replication, "master_replid").unwrap_or_default();
    Ok(Connected { connection, run_id: format!("{run_id}:{replication_id}") })
}

/// Returns whether the server is a primary.
pub(super) async fn is_primary(connection: &mut MultiplexedConnection) -> RedisResult<bool> {
    let info: String = ::redis::cmd("INFO").arg("replication").query_async(connection).await?;
    Ok(field(&info, "role") == Some("master"))
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.split_once(':').filter(|(key, _)| *key == name)).map(|(_, value)| value)
}

/// Creates a client. No error contains the address, which may have a password.
fn client(url: &str, config: &RedisConfig) -> Result<Client, Error> {
    let unusable = |error: RedisError| {
        let reason = match error.kind() {
            RedisErrorKind::InvalidClientConfig => {
                "an address is invalid: write redis://host:port or rediss://host:port"
            }
            _ => "an address or the root certificates are invalid",
        };
        Error::invalid(format!("redis backplane: {reason}"))
    };
    let info = url.into_connection_info().map_err(unusable)?;
    // Without the name of the client library, which needs a right of its own.
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
    let info: ConnectionInfo = info.set_redis_settings(settings);
    if !matches!(info.addr(), ::redis::ConnectionAddr::TcpTls { .. }) {
        return Client::open(info).map_err(unusable);
    }
    // rustls panics without a provider.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(Error::new(
            ErrorKind::Misconfigured,
            "TLS needs a cryptography provider, and none is installed: call \
             `rustls::crypto::aws_lc_rs::default_provider().install_default()` at the start of `main`",
        ));
    }
    let readable = |pem: &Vec<u8>| CertificateDer::pem_slice_iter(pem).any(|certificate| certificate.is_ok());
    if !config.root_certificates.as_ref().is_none_or(readable) {
        return Err(Error::invalid("redis backplane: root_certificates contains no certificate in PEM"));
    }
    let certificates = TlsCertificates { client_tls: None, root_cert: config.root_certificates.clone() };
    Client::build_with_tls(info, certificates).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(urls: &[&str]) -> Result<Servers, Error> {
        Servers::new(&RedisConfig::new(urls.iter().copied()), &Clock::system())
    }

    #[test]
    fn errors_do_not_contain_the_password() {
        for bad in [
            "http://u:hunter2@host",
            "redis://u:hunter2@host:port",
            "u:hunter2@host",
            "",
            "redis://u:hunter2@0.0.0.0",
        ] {
            let error = servers(&[bad]).err().unwrap();
            assert_eq!(error.kind, ErrorKind::Invalid, "{bad}");
            assert!(!format!("{error:?} {}", error.chain()).contains("hunter2"), "{bad}");
        }
    }

    #[test]
    fn addresses_name_one_database() {
        assert_eq!(servers(&["redis://a/3", "redis://b/3"]).unwrap().database(), 3);
        assert_eq!(servers(&["redis://a/3", "redis://b/4"]).err().unwrap().kind, ErrorKind::Invalid);
    }

    #[test]
    fn the_database_is_that_of_the_monitored_primary() {
        let config =
            |urls: [&str; 2]| RedisConfig::new(urls).sentinel_primary("redis://:secret@my-Primary_1/3");
        let servers = |urls| Servers::new(&config(urls), &Clock::system());
        let sentinels = servers(["redis://a:26379", "redis://b:26379"]).unwrap();
        assert_eq!((sentinels.database(), &*sentinels.monitored.unwrap().name), (3, "my-Primary_1"));
        let socket = RedisConfig::new(["redis://a"]).sentinel_primary("unix:///primary");
        assert_eq!(Servers::new(&socket, &Clock::system()).err().unwrap().kind, ErrorKind::Invalid);
    }

    #[test]
    fn fields_of_info_are_found_by_their_whole_name() {
        let info = "# Server\r\nmaster_run_id:x\r\nrun_id:abc\r\n";
        assert_eq!(field(info, "run_id"), Some("abc"));
        assert_eq!(field(info, "role"), None);
    }
}
