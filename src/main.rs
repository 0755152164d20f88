//! The window, or a command.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("error: no command is built in yet.");
    ExitCode::from(2)
}
