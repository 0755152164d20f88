//! The window, or a command.

use std::process::ExitCode;

use dpop_studio::cli;

fn main() -> ExitCode {
    #[cfg(feature = "window")]
    let window: Option<cli::OpenWindow> = Some(dpop_studio::ui::run);
    #[cfg(not(feature = "window"))]
    let window = None;
    cli::main(window)
}
