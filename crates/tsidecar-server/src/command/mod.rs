//! The command line: one file per command. All but `serve`, `demo`, `check-config` and `doctor` ask the running daemon on
//! its admin socket.

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;

use self::ask::{CommandError, Daemon};
use self::exit::Exit;
use self::output::{Audience, Output, print};
use crate::config::DEFAULT_PATH;

pub mod ask;
pub mod check_config;
pub mod client;
pub mod consent;
pub mod demo;
pub mod doctor;
pub mod exit;
pub mod grant;
pub mod keys;
pub mod output;
pub mod resource;
pub mod serve;
pub mod whois;

/// An OpenID Connect provider that signs people in by their tailnet.
#[derive(Debug, clap::Parser)]
#[command(name = "tsidecar", version, after_help = exit::TABLE)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// Answer with one JSON value.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run the daemon (the default).
    Serve,
    /// Show a complete login on this machine alone, without Tailscale.
    Demo(demo::Options),
    /// Check the configuration, clients and their secrets included. Needs no daemon.
    CheckConfig,
    /// Look at everything that a login needs, and say what to do. Runs with or without the daemon, best as root.
    Doctor(doctor::Options),
    /// Show for whom requests from an address of the tailnet are taken, and where that person may sign in.
    Whois {
        /// An IP address of the tailnet, without a port.
        address: IpAddr,
    },
    /// Clients: the applications that people sign in to.
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// Consents: what people have allowed applications that nobody has checked.
    #[command(subcommand)]
    Consent(consent::ConsentCommand),
    /// Grants: what people have signed in to, and from where.
    #[command(subcommand)]
    Grant(grant::GrantCommand),
    /// Resources: what access tokens can be asked for.
    #[command(subcommand)]
    Resource(resource::ResourceCommand),
    /// Signing and sealing keys.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
}

/// Runs the command that the arguments name. `inherited` are the sockets that systemd passed; only `serve` uses them.
pub fn run(arguments: impl IntoIterator<Item = OsString>, inherited: Vec<UnixListener>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // To standard output for `--help`; nothing can be done when nobody reads it.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    let (file, audience) = (arguments.config, Audience::of(arguments.json));
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(&file, inherited),
        Command::Demo(options) => demo::run(&options),
        Command::CheckConfig => print(audience, check_config::run(&file)),
        Command::Doctor(options) => print(audience, block_on(doctor::run(&file, &options))),
        Command::Whois { address } => {
            print(audience, ask_daemon(&file, async |daemon| whois::run(daemon, address).await))
        }
        Command::Client(command) => {
            print(audience, ask_daemon(&file, async |daemon| client::run(daemon, command).await))
        }
        Command::Consent(command) => {
            print(audience, ask_daemon(&file, async |daemon| consent::run(daemon, command).await))
        }
        Command::Grant(command) => {
            print(audience, ask_daemon(&file, async |daemon| grant::run(daemon, command).await))
        }
        Command::Resource(command) => {
            print(audience, ask_daemon(&file, async |daemon| resource::run(daemon, command).await))
        }
        Command::Keys(command) => {
            print(audience, ask_daemon(&file, async |daemon| keys::run(daemon, command).await))
        }
    }
}

/// Runs a command that asks the daemon of a configuration.
fn ask_daemon(
    file: &Path,
    command: impl AsyncFnOnce(&Daemon) -> Result<Output, CommandError>,
) -> Result<Output, CommandError> {
    let daemon = Daemon::of(file)?;
    block_on(command(&daemon))
}

fn block_on(command: impl Future<Output = Result<Output, CommandError>>) -> Result<Output, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(CommandError::Runtime)?.block_on(command)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
        let json = |words: &[&str]| match Arguments::try_parse_from(words).unwrap().command {
            Some(Command::Demo(options)) => options.json,
            _ => unreachable!("a demo was asked for"),
        };
        assert!(json(&["tsidecar", "demo", "--json"]) && json(&["tsidecar", "--json", "demo"]));
        assert!(!json(&["tsidecar", "demo"]));
    }

    #[test]
    fn arguments_that_make_no_sense_have_their_code() {
        let code = |words: &[&str]| {
            let words = ["tsidecar"].iter().chain(words).map(OsString::from);
            format!("{:?}", run(words, Vec::new()))
        };
        let exit = |exit: Exit| format!("{:?}", ExitCode::from(exit));
        assert_eq!(code(&["frobnicate"]), exit(Exit::Usage));
        assert_eq!(code(&["client", "add"]), exit(Exit::Usage));
        assert_eq!(code(&["grant", "revoke"]), exit(Exit::Usage));
        assert_eq!(code(&["consent", "revoke"]), exit(Exit::Usage));
        assert_eq!(code(&["grant", "revoke", "AA", "--user", "userid:1"]), exit(Exit::Usage));
        // The id of a grant may begin with a dash.
        assert_eq!(code(&["grant", "revoke", "-AB"]), exit(Exit::Usage));
        let dashed = ["--config", "/nowhere/t.toml", "grant", "revoke", "--json", "--", "-AB"];
        assert_eq!(code(&dashed), exit(Exit::Config));
        assert_eq!(code(&["whois", "100.64.0.2:443"]), exit(Exit::Usage));
        assert_eq!(code(&["--help"]), exit(Exit::Ok));
        assert_eq!(code(&["--config", "/nowhere/t.toml", "check-config"]), exit(Exit::Config));
        assert_eq!(code(&["--config", "/nowhere/t.toml", "keys", "list"]), exit(Exit::Config));
    }
}
