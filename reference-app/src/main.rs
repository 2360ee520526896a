//! `cargo run -p reference-app`: the marketplace on embedded parts, with nothing to install.

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

/// The reference marketplace. Without arguments it runs whole, on embedded parts, and prints what to try.
#[derive(Parser)]
#[command(
    version,
    after_help = "Every setting is in docs/reference/configuration.md; \
    COMMS_ADMIN__LISTEN=127.0.0.1:9000 sets admin.listen."
)]
struct Cli {
    /// `embedded` needs nothing; `full` runs on PostgreSQL and Kafka.
    #[arg(long, value_enum, global = true)]
    profile: Option<Profile>,
    /// Services of this process, by default all.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(roles()))]
    role: Vec<String>,
    /// A TOML file.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// Where databases and development keys live.
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
    /// Print the configuration as it would run, without values that may be secret, and exit.
    #[arg(long)]
    print_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Make a development issuer in the data directory, and print a token of it, for `eval "$(…)"`.
    ///
    /// The printed lines export COMMS_AUTH__ISSUER, COMMS_AUTH__AUDIENCE, COMMS_AUTH__PUBLIC_KEY_FILE and TOKEN, which
    /// is valid for an hour. The key stays: the next call prints another token of the same issuer.
    DevIssuer {
        /// The subject of the token.
        #[arg(long, default_value = "ann")]
        user: String,
    },
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
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&mut io::stderr(), &format!("error: {}\n", error.chain()));
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> Result<(), Error> {
    let Cli { profile, role, config, data_dir, print_config, command } = cli;
    let overrides = Overrides { roles: role, data_dir };
    if let Some(Command::DevIssuer { user }) = command {
        // No role starts: the key that the profile full demands is the one that is made here.
        let config = config::read(services::ALL, profile, config.as_deref(), overrides)?;
        return print(&dev_issuer(&config, &user)?);
    }
    let config = config::load(services::ALL, profile, config.as_deref(), overrides)?;
    if print_config {
        return print(&config.redacted()?);
    }
    telemetry::init_logs(&config.log)?;
    let runtime = tokio::runtime::Runtime::new().map_err(Error::fatal)?;
    let end = runtime.block_on(run(config));
    // A handler that ignores its end must not hold up the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    end
}

fn dev_issuer(config: &Config, user: &str) -> Result<String, Error> {
    let clock = Clock::system();
    DataDir::create(&config.data_dir)?;
    let issuer = DevIssuer::load(&config.data_dir, &config.auth, &clock)?;
    let public = issuer.write_public_key(&config.data_dir)?;
    let token = issuer.token(user, TOKEN_LIFE)?;
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

/// What the program was called for: an output that cannot take it is an error.
fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Error::fatal(error).context("standard output"))
}

/// A text beside the work: an output that is closed or full does not end the process.
fn say(out: &mut dyn io::Write, text: &str) {
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        tracing::warn!(%error, "a text could not be printed");
    }
}

async fn run(config: Config) -> Result<(), Error> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::fatal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::fatal)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), profile = ?config.profile, roles = ?config.roles, "starting");
    let system = tokio::select! {
        system = System::start(config) => system?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    greet(&system);
    tokio::select! {
        _ = interrupt.recv() => {
            tracing::info!("SIGINT: shutting down");
            say(&mut io::stderr(), "shutting down; Ctrl-C again stops at once\n");
        }
        _ = terminate.recv() => tracing::info!("SIGTERM: shutting down"),
        () = system.failed() => tracing::error!("a part has failed: shutting down"),
    }
    let again = async move {
        interrupt.recv().await;
    };
    system.shut_down(again).await
}

/// What runs where, and what to try.
fn greet(system: &System) {
    let mut text = String::new();
    for (name, scheme, address) in system.listeners() {
        text += &format!("{name:<13} {scheme}://{address}\n");
    }
    for hint in system.hints() {
        text += &format!("\n{hint}\n");
    }
    text += "\nCtrl-C ends it in order; kill -9 loses nothing.\n";
    say(&mut io::stdout(), &text);
}
