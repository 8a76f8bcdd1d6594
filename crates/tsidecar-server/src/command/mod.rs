//! The command line: one file per command.

use std::{ffi::OsString, os::unix::net::UnixListener, path::PathBuf, process::ExitCode};

use clap::Parser as _;

use crate::config::DEFAULT_PATH;

pub mod demo;
pub mod serve;

/// An OpenID Connect provider that signs people in by their tailnet.
#[derive(Debug, clap::Parser)]
#[command(name = "tsidecar", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run the daemon (the default).
    Serve,
    /// Show a complete login on this machine alone, without Tailscale.
    Demo(demo::Options),
}

/// Runs the command that the arguments name. `inherited` are the sockets that systemd passed; only `serve` uses them.
pub fn run(arguments: impl IntoIterator<Item = OsString>, inherited: Vec<UnixListener>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // To standard output for `--help`; nothing can be done when nobody reads it.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(&arguments.config, inherited),
        Command::Demo(options) => demo::run(&options),
    }
}
