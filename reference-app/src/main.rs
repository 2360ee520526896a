//! `cargo run -p reference-app`: the marketplace on embedded parts, with nothing to install.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{
    Parser,
    builder::{PossibleValue, PossibleValuesParser},
};
use comms_core::Error;
use reference_app::{
    platform::{
        config::{self, Config, Profile},
        telemetry,
    },
    services,
    system::System,
};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

/// The reference marketplace. Without arguments it runs whole, on embedded parts, and prints what to try.
#[derive(Parser)]
#[command(
    version,
    after_help = "Every setting is in docs/reference/configuration.md; \
    COMMS_ADMIN__LISTEN=127.0.0.1:9000 sets admin.listen."
)]
struct Cli {
    /// `embedded` needs nothing; `full` runs on PostgreSQL and Kafka.
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// Services of this process, by default all.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(roles()))]
    role: Vec<String>,
    /// A TOML file.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Where databases and development keys live.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Print the configuration as it would run, without values that may be secret, and exit.
    #[arg(long)]
    print_config: bool,
}

/// The services with their descriptions.
fn roles() -> Vec<PossibleValue> {
    services::ALL.iter().map(|service| PossibleValue::new(service.name).help(service.about)).collect()
}

/// The command line as a layer of the configuration.
#[derive(Serialize)]
struct Overrides {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Cli { profile, role, config, data_dir, print_config } = Cli::parse();
    let overrides = Overrides { roles: role, data_dir };
    let run = || -> Result<(), Error> {
        let config = config::load(&services::ALL, profile, config.as_deref(), overrides)?;
        if print_config {
            return io::stdout().write_all(config.redacted()?.as_bytes()).map_err(Error::fatal);
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

/// What runs where, and what to try. A standard output that is closed or full does not end the process.
fn greet(system: &System) {
    let mut text = String::new();
    for (name, scheme, address) in system.listeners() {
        text += &format!("{name:<13} {scheme}://{address}\n");
    }
    for hint in system.hints() {
        text += &format!("\n{hint}\n");
    }
    text += "\nCtrl-C ends it in order; kill -9 loses nothing.\n";
    if let Err(error) = io::stdout().lock().write_all(text.as_bytes()) {
        tracing::warn!(%error, "the addresses could not be printed");
    }
}
