//! The program: `cargo run -p reference-app` runs the marketplace on SQLite and without a broker.
//!
//! `main` reads the command line and the configuration, starts the [`System`], prints its addresses and the commands to
//! try, and shuts it down at SIGINT or SIGTERM.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{
    Parser, Subcommand,
    builder::{PossibleValue, PossibleValuesParser},
};
use comms_core::{Error, clock::Clock};
use reference_app::{
    platform::{
        config::{self, Config, Profile},
        data_dir::DataDir,
        identity::{self, DevIssuer, TOKEN_LIFE},
        telemetry,
    },
    services,
    system::System,
};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

/// The reference marketplace. Without arguments all services run in this process, on SQLite and without a broker.
#[derive(Parser)]
#[command(
    version,
    after_help = "docs/reference/configuration.md lists every setting. Environment variables set them, too: \
    COMMS_ADMIN__LISTEN=127.0.0.1:9000 sets admin.listen."
)]
struct Cli {
    /// The servers to use: `embedded` needs none, `full` needs PostgreSQL and Kafka.
    #[arg(long, value_enum, global = true)]
    profile: Option<Profile>,
    /// The services that run in this process, separated by commas. All by default.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(roles()))]
    role: Vec<String>,
    /// A TOML file with settings.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// The directory of the SQLite databases and the development keys.
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
    /// Print the effective configuration, without values that may be secret, and exit.
    #[arg(long)]
    print_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Create a development issuer in the data directory, and print a token that it signed, for `eval "$(…)"`.
    ///
    /// The printed lines export COMMS_AUTH__ISSUER, COMMS_AUTH__AUDIENCE, COMMS_AUTH__PUBLIC_KEY_FILE and TOKEN. The
    /// token is valid for an hour. The key is kept: the next call prints another token of the same issuer.
    DevIssuer {
        /// The subject of the token.
        #[arg(long, default_value = "ann")]
        user: String,
        /// The scopes of the token, separated by spaces: `admin` for an administrator.
        #[arg(long, default_value = "")]
        scope: String,
    },
}

/// Returns the values of `--role`: the services with their descriptions.
fn roles() -> Vec<PossibleValue> {
    services::ALL.iter().map(|service| PossibleValue::new(service.name).help(service.about)).collect()
}

/// The settings that the command line overrides.
#[derive(Serialize)]
struct Overrides {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    match execute(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_best_effort(&mut io::stderr(), &format!("error: {}\n", error.chain()));
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: Cli) -> Result<(), Error> {
    let Cli { profile, role, config, data_dir, print_config, command } = cli;
    let overrides = Overrides { roles: role, data_dir };
    if let Some(Command::DevIssuer { user, scope }) = command {
        // `read` leaves out the checks of a start: the profile `full` requires the key that is created here.
        let config = config::read(services::ALL, profile, config.as_deref(), overrides)?;
        return print_result(&dev_issuer(&config, &user, &scope)?);
    }
    let config = config::load(services::ALL, profile, config.as_deref(), overrides)?;
    if print_config {
        return print_result(&config.redacted()?);
    }
    telemetry::init_logs(&config.log)?;
    let runtime = tokio::runtime::Runtime::new().map_err(Error::fatal)?;
    let result = runtime.block_on(run(config));
    // A blocking task that does not end must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Creates the development issuer if there is none, and returns the lines that export its settings and a token of
/// `user` with the scopes `scope`.
fn dev_issuer(config: &Config, user: &str, scope: &str) -> Result<String, Error> {
    let clock = Clock::system();
    DataDir::create(&config.data_dir)?;
    let issuer = DevIssuer::load(&config.data_dir, &config.auth, &clock)?;
    let public = issuer.write_public_key(&config.data_dir)?;
    let token = issuer.token_with_scope(user, scope, TOKEN_LIFE)?;
    let verifier = identity::verifier(issuer.public_pem(), &config.auth, &clock)?;
    verifier.verify(&token).map_err(|e| Error::invalid(e).context(format_args!("--user {user:?}")))?;
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let lines = [
        ("COMMS_AUTH__ISSUER", config.auth.issuer.as_str()),
        ("COMMS_AUTH__AUDIENCE", &config.auth.audience),
        ("COMMS_AUTH__PUBLIC_KEY_FILE", &public.display().to_string()),
        ("TOKEN", &token),
    ];
    Ok(lines.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect())
}

/// Prints the result of a command. An output that cannot take it is an error.
fn print_result(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Error::fatal(error).context("standard output"))
}

/// Prints a message to the user. An output that is closed or full does not end the process.
fn print_best_effort(out: &mut dyn io::Write, text: &str) {
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        tracing::warn!(%error, "cannot print a message to the user");
    }
}

/// Runs the system until a signal arrives or a task of it fails.
async fn run(config: Config) -> Result<(), Error> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::fatal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::fatal)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), profile = ?config.profile, roles = ?config.roles, "starting");
    let system = tokio::select! {
        system = System::start(config) => system?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    print_addresses(&system);
    tokio::select! {
        _ = interrupt.recv() => {
            tracing::info!("SIGINT: shutting down");
            print_best_effort(&mut io::stderr(), "shutting down; press Ctrl-C again to stop at once\n");
        }
        _ = terminate.recv() => tracing::info!("SIGTERM: shutting down"),
        () = system.failed() => tracing::error!("a task has failed: shutting down"),
    }
    let second_interrupt = async move {
        interrupt.recv().await;
    };
    system.shut_down(second_interrupt).await
}

/// Prints the addresses of the listeners and the commands to try.
fn print_addresses(system: &System) {
    let mut text = String::new();
    for (name, scheme, address) in system.listeners() {
        text += &format!("{name:<13} {scheme}://{address}\n");
    }
    for hint in system.hints() {
        text += &format!("\n{hint}\n");
    }
    text +=
        "\nCtrl-C shuts the process down gracefully. After kill -9, the next start continues without loss.\n";
    print_best_effort(&mut io::stdout(), &text);
}
