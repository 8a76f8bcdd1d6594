//! The binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tsidecar_server::run(std::env::args_os())
}
