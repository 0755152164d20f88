//! The window's side of a worker: starts it, hears it, steers it, and explains how it died.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::protocol::locked;
use crate::run::events;
use crate::run::folder::TRAINER_LOG;
use crate::train::event::{Command, Event};

/// Lines of the worker's stderr kept in memory.
pub const LOG_LINES: usize = 200;
/// How long a worker may take to save and end after its window is gone.
const GRACE: Duration = Duration::from_secs(30);
/// How often an ending worker is looked at.
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot start the trainer {exe}: {source}. Install the program again.")]
    Start { exe: PathBuf, source: io::Error },
    #[error("cannot make the run folder {run}: {source}. Choose another folder.")]
    Folder { run: PathBuf, source: io::Error },
    #[error("the trainer does not answer: {source}. It has probably ended.")]
    Send { source: io::Error },
}

/// What the reader threads share with the handle.
struct Shared {
    child: Mutex<Child>,
    log: Mutex<VecDeque<String>>,
    heard: Mutex<Heard>,
}

struct Heard {
    at: Instant,
    phase: String,
    ended: bool,
}

/// A running worker. Dropping it asks the worker to save and end, without waiting for it.
pub struct WorkerHandle {
    shared: Arc<Shared>,
    stdin: Option<ChildStdin>,
    events: Receiver<Event>,
    run: PathBuf,
}

impl WorkerHandle {
    /// Starts `exe` with `args` (which name the run folder) as a worker that talks over its pipes.
    ///
    /// `wake` is called from another thread whenever [`Self::try_events`] has something new. The worker's
    /// stderr is appended to `trainer.log` in `run`, which is made if it is missing.
    pub fn spawn(
        exe: &Path,
        args: &[OsString],
        run: &Path,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<WorkerHandle, ClientError> {
        let folder = |source| ClientError::Folder { run: run.into(), source };
        fs::create_dir_all(run).map_err(folder)?;
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(run.join(TRAINER_LOG))
            .map_err(folder)?;
        let start = |source| ClientError::Start { exe: exe.into(), source };
        let mut child = command(exe).args(args).spawn().map_err(start)?;
        let stdin = child.stdin.take();
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(start(io::Error::other("its output could not be connected")));
        };
        let heard = Heard { at: Instant::now(), phase: "starting".into(), ended: false };
        let shared = Arc::new(Shared {
            child: Mutex::new(child),
            log: Mutex::new(VecDeque::new()),
            heard: Mutex::new(heard),
        });
        let (sender, events) = mpsc::channel();
        let errors = thread::spawn({
            let shared = Arc::clone(&shared);
            move || copy_log(stderr, log, &shared)
        });
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || read_events(stdout, errors, &shared, &sender, &wake)
        });
        Ok(WorkerHandle { shared, stdin, events, run: run.into() })
    }

    /// The run folder the worker was started with.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Events since the last call, heartbeats left out. After the worker ended the last one is `Finished`,
    /// `Stopped` or `Failed`, written by the worker or, if it could not, made here.
    pub fn try_events(&self) -> Vec<Event> {
        self.events.try_iter().collect()
    }

    /// Sends a command; an error means that the worker no longer listens.
    pub fn send(&mut self, command: Command) -> Result<(), ClientError> {
        let Some(stdin) = &mut self.stdin else {
            return Err(ClientError::Send { source: io::ErrorKind::BrokenPipe.into() });
        };
        serde_json::to_vec(&command)
            .map_err(io::Error::from)
            .and_then(|mut line| {
                line.push(b'\n');
                stdin.write_all(&line)
            })
            .and_then(|()| stdin.flush())
            .map_err(|source| ClientError::Send { source })
    }

    /// Time since the worker was last heard; it speaks every second.
    pub fn heartbeat_age(&self) -> Duration {
        locked(&self.shared.heard).at.elapsed()
    }

    /// What the worker says it is busy with.
    pub fn phase(&self) -> String {
        locked(&self.shared.heard).phase.clone()
    }

    /// Whether the process has ended and every event was passed on.
    pub fn has_ended(&self) -> bool {
        locked(&self.shared.heard).ended
    }

    /// The last [`LOG_LINES`] lines of the worker's stderr.
    pub fn log_tail(&self) -> Vec<String> {
        locked(&self.shared.log).iter().cloned().collect()
    }

    /// The worker's process id.
    pub fn id(&self) -> u32 {
        locked(&self.shared.child).id()
    }

    /// Ends the worker at once, without a checkpoint.
    pub fn kill(&self) {
        // Fails only when the process has ended already.
        let _ = locked(&self.shared.child).kill();
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        let _ = self.send(Command::Stop);
        // A closed stdin says the same once more, and says it even if this process ends now.
        self.stdin = None;
        if self.has_ended() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || {
            let asked = Instant::now();
            while asked.elapsed() < GRACE {
                if let Ok(Some(_)) = locked(&shared.child).try_wait() {
                    return;
                }
                thread::sleep(POLL);
            }
            let _ = locked(&shared.child).kill();
        });
    }
}

/// `exe` with its three pipes ours, and without a console window.
pub fn command(exe: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(exe);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(windows)]
    {
        use std::os::windows::process::CommandExt;
        const CREATE_NO_WINDOW: u32 = 0x0800_0000;
        command.creation_flags(CREATE_NO_WINDOW);
    }
    command
}

/// Copies the worker's stderr to its log file and to memory until it ends.
fn copy_log(stderr: ChildStderr, mut file: File, shared: &Shared) {
    let mut reader = BufReader::new(stderr);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match reader.read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        // A full disk must not stop the training: the lines stay in memory.
        let _ = file.write_all(&bytes);
        remember(shared, String::from_utf8_lossy(&bytes).trim_end().to_string());
    }
}

fn remember(shared: &Shared, line: String) {
    let mut log = locked(&shared.log);
    if log.len() == LOG_LINES {
        log.pop_front();
    }
    log.push_back(line);
}

/// Passes the worker's events on until it ends, and makes sure that the last one says how it ended.
fn read_events(
    stdout: ChildStdout,
    errors: JoinHandle<()>,
    shared: &Shared,
    sender: &Sender<Event>,
    wake: &(dyn Fn() + Send + Sync),
) {
    let mut reader = BufReader::new(stdout);
    let mut bytes = Vec::new();
    let mut told = false;
    loop {
        bytes.clear();
        match reader.read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let Some(event) = events::parse(&bytes) else {
            remember(shared, String::from_utf8_lossy(&bytes).trim_end().to_string());
            continue;
        };
        locked(&shared.heard).at = Instant::now();
        told |=
            matches!(event, Event::Finished { .. } | Event::Stopped { .. } | Event::Failed { .. });
        if let Event::Heartbeat { phase } = event {
            locked(&shared.heard).phase = phase;
        } else if sender.send(event).is_err() {
            // The handle is gone; go on reading so that the worker is not stopped by a full pipe.
        }
        wake();
    }
    let status = wait(shared);
    let _ = errors.join();
    if !told {
        let message = explain(status, &locked(&shared.log));
        let _ = sender.send(Event::Failed { message });
    }
    locked(&shared.heard).ended = true;
    wake();
}

/// Waits for the process without holding the lock that `kill` needs.
fn wait(shared: &Shared) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = locked(&shared.child).try_wait()? {
            return Ok(status);
        }
        thread::sleep(POLL);
    }
}

/// Why a worker that said nothing ended, in words, with what it wrote last.
fn explain(status: io::Result<ExitStatus>, log: &VecDeque<String>) -> String {
    let mut text = match status {
        Ok(status) => describe(status),
        Err(error) => format!("The trainer is gone and left no exit code ({error})."),
    };
    let mut last: Vec<&str> =
        log.iter().rev().map(String::as_str).filter(|line| !line.is_empty()).take(3).collect();
    last.reverse();
    if !last.is_empty() {
        text += "\nIt wrote last:\n";
        text += &last.join("\n");
    }
    text += "\nEverything up to the last checkpoint is saved: Resume goes on from there.";
    text
}

#[cfg(unix)]
fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(9) => {
            "The trainer was killed (signal 9). Most likely the system ran out of memory: choose \
                    smaller micro-batches, a shorter maximum length or a smaller model."
                .into()
        }
        Some(signal @ (4 | 6 | 7 | 8 | 11)) => format!(
            "The trainer crashed (signal {signal}). If it ran on a GPU, its driver is the likely cause: update \
             the driver, or train on the CPU."
        ),
        Some(signal) => format!("The trainer was ended by signal {signal}."),
        None => describe_code(status),
    }
}

#[cfg(not(unix))]
fn describe(status: ExitStatus) -> String {
    match status.code().map(|code| code as u32) {
        Some(code @ (0xC000_0005 | 0xC000_001D | 0xC000_0374 | 0xC000_0409)) => format!(
            "The trainer crashed (code {code:#X}). If it ran on a GPU, its driver is the likely cause: update the \
             driver, or train on the CPU."
        ),
        _ => describe_code(status),
    }
}

fn describe_code(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("The trainer ended with exit code {code} and did not say why."),
        None => "The trainer ended and did not say why.".into(),
    }
}
