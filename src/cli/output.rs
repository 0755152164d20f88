//! How every command writes and fails.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::config::Complaint;
use crate::run::durable::FileError;
use crate::worker::session::{SessionError, in_words};

/// An error with its exit code; printed as `error: ...` on stderr.
#[derive(Debug)]
pub enum CliError {
    /// Bad usage or input: exit code 2. One line per complaint.
    Input(Vec<String>),
    /// Failure: exit code 1.
    Failure(String),
    /// stdout was closed by its reader: nothing to say, exit code 0.
    Closed,
}

impl CliError {
    pub fn input(error: impl Into<anyhow::Error>) -> CliError {
        CliError::Input(vec![in_words(&error.into())])
    }

    /// Options that cannot be used, one line each.
    pub fn complaints(complaints: Vec<Complaint>) -> CliError {
        CliError::Input(complaints.iter().map(ToString::to_string).collect())
    }

    pub fn failure(error: impl Into<anyhow::Error>) -> CliError {
        CliError::Failure(in_words(&error.into()))
    }

    /// Tells on stderr and answers the exit code.
    pub fn print(&self) -> ExitCode {
        let mut stderr = io::stderr().lock();
        // When stderr itself is closed there is nobody left to tell.
        let mut print = |message: &str| drop(writeln!(stderr, "error: {message}"));
        match self {
            CliError::Input(messages) => {
                messages.iter().for_each(|message| print(message));
                ExitCode::from(2)
            }
            CliError::Failure(message) => {
                print(message);
                ExitCode::from(1)
            }
            CliError::Closed => ExitCode::SUCCESS,
        }
    }
}

impl From<SessionError> for CliError {
    fn from(error: SessionError) -> CliError {
        match error {
            SessionError::Input(error) => CliError::input(error),
            SessionError::Failure(error) => CliError::failure(error),
        }
    }
}

impl From<io::Error> for CliError {
    /// Of writing to stdout.
    fn from(error: io::Error) -> CliError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => CliError::Closed,
            _ => CliError::Failure(format!(
                "cannot write the output: {error}. Choose another place for it."
            )),
        }
    }
}

/// Warns on stderr of something that does not end the command.
pub fn warn(message: &str) {
    note(&format!("warning: {message}"));
}

/// A line on stderr; when stderr is closed there is nobody left to tell.
pub fn note(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// Writes a new file: beside `path` first, so that a broken run leaves no half file under its name. What is there already
/// stays, or a slip of the hand would replace the pairs by what was made of them.
pub fn write_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), CliError>,
) -> Result<(), CliError> {
    refuse_existing(path)?;
    let temporary = path.with_added_extension("part");
    let fail = |error| CliError::failure(FileError::new("write", path, error));
    let mut out = BufWriter::new(File::create(&temporary).map_err(fail)?);
    let written = write(&mut out).and_then(|()| out.flush().map_err(fail));
    drop(out);
    if let Err(error) = written {
        // The error itself is what the person must see.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    fs::rename(&temporary, path).map_err(fail)
}

/// An error if `path` cannot become a new file; worth asking before the work.
pub fn refuse_existing(path: &Path) -> Result<(), CliError> {
    if path.exists() {
        let path = path.display();
        return Err(CliError::Input(vec![format!(
            "{path} is already there, and --output makes a new file. Choose another name, or remove it first."
        )]));
    }
    match path.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.is_dir()) {
        Some(parent) => Err(CliError::Input(vec![format!(
            "there is no folder {} for {}. Make it first, or choose another place.",
            parent.display(),
            path.display()
        )])),
        None => Ok(()),
    }
}

/// stdout, buffered: every write can fail with a closed pipe, which ends the command quietly.
pub struct Out(io::BufWriter<io::StdoutLock<'static>>);

impl Out {
    pub fn new() -> Out {
        Out(io::BufWriter::new(io::stdout().lock()))
    }

    pub fn line(&mut self, text: &str) -> Result<(), CliError> {
        Ok(writeln!(self.0, "{text}")?)
    }

    pub fn json(&mut self, value: &impl serde::Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(CliError::failure)?;
        self.line(&text)
    }

    pub fn finish(mut self) -> Result<(), CliError> {
        Ok(self.0.flush()?)
    }
}

impl Default for Out {
    fn default() -> Out {
        Out::new()
    }
}
