//! Runs the program itself, for the tests of the command line and of the worker.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use dpop_studio::train::event::Event;

pub fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_dpop-studio"))
}

pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn demo_model() -> PathBuf {
    repository("assets/demo/tiny-math-llama")
}

pub fn demo_pairs() -> PathBuf {
    repository("assets/demo/pairs_train.jsonl")
}

/// The program with `args`, away from the terminal and from the user's own runs.
pub fn program<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(exe());
    command.args(args).stdin(Stdio::null()).env_remove("DPOP_STUDIO_RUNS");
    command
}

/// `train` on the demo, on the CPU, with a few small steps.
pub fn train(run: &Path, more: &[&str]) -> Command {
    let mut command =
        program(["train", "--device", "cpu", "--batch-pairs", "2", "--probe-pairs", "4"]);
    command.arg("--model").arg(demo_model()).arg("--data").arg(demo_pairs()).arg("--run").arg(run);
    command.args(more);
    command
}

pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Events of a `--json` run, heartbeats left out.
    pub fn events(&self) -> Vec<Event> {
        self.stdout
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .filter(|event| !matches!(event, Event::Heartbeat { .. }))
            .collect()
    }
}

pub fn run(mut command: Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Ran {
        code: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// Runs a command that must be refused: exit code 2, nothing on stdout but events, one `error:` a complaint.
pub fn refused(command: Command) -> String {
    let ran = run(command);
    assert_eq!(ran.code, Some(2), "stdout: {}\nstderr: {}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("error: "), "{}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    ran.stderr
}

/// Waits until `done` answers something.
pub fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "waited two minutes for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
