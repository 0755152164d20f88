//! The window, or a command.

use std::process::ExitCode;

use dpop_studio::cli;

fn main() -> ExitCode {
    cli::main(None)
}
