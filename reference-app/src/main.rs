//! `cargo run -p reference-app`: the marketplace on embedded parts, with nothing to install.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use comms_core::Error;
use reference_app::{
    platform::{
        config::{self, Config, Profile, Role},
        telemetry,
    },
    system::System,
};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

/// The reference marketplace. Without arguments it runs whole, on embedded parts, and prints what to try.
#[derive(Parser)]
#[command(
    version,
    after_help = "Every setting is in docs/reference/configuration.md; \
    COMMS_GATEWAY__LISTEN=127.0.0.1:9000 sets gateway.listen."
)]
struct Cli {
    /// `embedded` needs nothing; `full` runs on PostgreSQL and Kafka.
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// Services of this process, by default all.
    #[arg(long, value_enum, value_delimiter = ',')]
    role: Vec<Role>,
    /// A TOML file.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Where databases and development keys live.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Print the configuration as it would run, without passwords, and exit.
    #[arg(long)]
    print_config: bool,
}

/// What the command line says, as a layer of the configuration.
#[derive(Serialize)]
struct Overrides {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roles: Vec<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Cli { profile, role, config, data_dir, print_config } = Cli::parse();
    let overrides = Overrides { roles: role, data_dir };
    let run = || -> Result<(), Error> {
        let config = config::load(profile, config.as_deref(), overrides)?;
        if print_config {
            print!("{}", config.redacted()?);
            return Ok(());
        }
        telemetry::init_logs(&config.log)?;
        let runtime = tokio::runtime::Runtime::new().map_err(Error::fatal)?;
        let end = runtime.block_on(run(config));
        // A handler that ignores its end must not hold up the process.
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        end
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> Result<(), Error> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::fatal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::fatal)?;
    let system = tokio::select! {
        system = System::start(config) => system?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    greet(&system);
    tokio::select! {
        _ = interrupt.recv() => eprintln!("shutting down; again to stop at once"),
        _ = terminate.recv() => {}
        () = system.failed() => {}
    }
    let again = async move {
        interrupt.recv().await;
    };
    system.shut_down(again).await
}

/// What runs where, and what to try.
fn greet(system: &System) {
    for name in ["gateway", "order", "payment", "notification", "admin"] {
        let Some(address) = system.address(name) else { continue };
        let scheme = if name == "notification" { "ws" } else { "http" };
        println!("{name:<13} {scheme}://{address}");
    }
    let (Some(gateway), Some(socket), true) =
        (system.address("gateway"), system.address("notification"), system.has_issuer())
    else {
        return;
    };
    println!(
        r#"
open http://{gateway}/ and place an order, or:

  TOKEN=$(curl -s http://{gateway}/dev/token -H 'content-type: application/json' -d '{{"user":"ann"}}' | sed 's/.*"token":"\([^"]*\)".*/\1/')

  # place an order
  curl -i http://{gateway}/v1/orders -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \
    -H "idempotency-key: $(cat /proc/sys/kernel/random/uuid)" \
    -d '{{"ad_id":"bike-42","quantity":1,"price":{{"minor":129900,"currency":"RUB"}}}}'

  # watch it, in another terminal: curl speaks WebSocket's handshake and shows its frames
  curl -sN --http1.1 http://{socket}/v1/events -H "authorization: Bearer $TOKEN" -H 'connection: upgrade' \
    -H 'upgrade: websocket' -H 'sec-websocket-version: 13' -H 'sec-websocket-key: Y29tbXMtcmVmZXJlbmNlIQ==' --output - | cat -v

Ctrl-C ends it in order; kill -9 loses nothing."#
    );
}
