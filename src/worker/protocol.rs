//! How a worker talks: events as JSON lines on stdout, commands as JSON lines on stdin, a heartbeat each
//! second so that whoever started it knows that it lives.

use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::run::events;
use crate::train::event::{Command, Event};

/// Time between two heartbeats.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

/// Locks, and takes the value as it is if another thread panicked while it held the lock: everything behind
/// these locks is whole after each statement.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where events go besides the run folder: stdout as JSON, a progress line, a test's list.
pub trait Reporter: Send + Sync {
    fn report(&self, event: &Event);
}

/// Events as JSON lines. When the reader has gone (a closed pipe) it falls silent: the run folder still
/// records everything.
pub struct JsonLines<W> {
    out: Mutex<Option<W>>,
}

impl<W: Write + Send> JsonLines<W> {
    pub fn new(out: W) -> JsonLines<W> {
        JsonLines { out: Mutex::new(Some(out)) }
    }
}

impl<W: Write + Send> Reporter for JsonLines<W> {
    fn report(&self, event: &Event) {
        let line = events::line(event);
        let mut out = locked(&self.out);
        // One write and one flush under the lock: lines of two threads never mix.
        let written =
            out.as_mut().map(|out| out.write_all(line.as_bytes()).and_then(|()| out.flush()));
        if let Some(Err(_)) = written {
            *out = None;
        }
    }
}

/// What the outside asked of the run. Set by signals and commands, read by the loop between two steps.
#[derive(Default)]
pub struct Controls {
    asked: Mutex<Asked>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct Asked {
    stop: bool,
    pause: bool,
}

impl Controls {
    pub fn apply(&self, command: Command) {
        let mut asked = locked(&self.asked);
        match command {
            Command::Pause => asked.pause = true,
            Command::Resume => asked.pause = false,
            Command::Stop => asked.stop = true,
        }
        self.changed.notify_all();
    }

    pub fn stop_asked(&self) -> bool {
        locked(&self.asked).stop
    }

    pub fn pause_asked(&self) -> bool {
        locked(&self.asked).pause
    }

    /// Blocks until the pause is lifted or a stop is asked for.
    pub fn wait_while_paused(&self) {
        let mut asked = locked(&self.asked);
        while asked.pause && !asked.stop {
            asked = self.changed.wait(asked).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Reads commands until the input ends. An end of input means that the window is gone: save and stop.
pub fn read_commands(input: impl BufRead, controls: &Controls, reporter: &dyn Reporter) {
    for line in input.lines() {
        let Ok(line) = line else { break };
        match serde_json::from_str(&line) {
            Ok(command) => controls.apply(command),
            Err(_) if line.trim().is_empty() => {}
            Err(error) => reporter.report(&Event::Warning {
                message: format!("the worker was sent a line that is no command ({error}): {line}"),
            }),
        }
    }
    controls.apply(Command::Stop);
}

/// What the worker is busy with, for people: `loading the model`, `training`.
#[derive(Default)]
pub struct Phase {
    text: Mutex<String>,
}

impl Phase {
    pub fn set(&self, text: &str) {
        *locked(&self.text) = text.into();
    }

    pub fn get(&self) -> String {
        locked(&self.text).clone()
    }
}

/// A thread that reports the phase at once and then every [`HEARTBEAT`], until it is dropped.
pub struct Heartbeat {
    ended: Arc<(AtomicBool, Mutex<()>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    pub fn start(phase: Arc<Phase>, reporter: Arc<dyn Reporter>) -> Heartbeat {
        let ended = Arc::new((AtomicBool::new(false), Mutex::new(()), Condvar::new()));
        let seen = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            let (flag, mutex, condvar) = &*seen;
            let mut guard = locked(mutex);
            while !flag.load(Ordering::Acquire) {
                reporter.report(&Event::Heartbeat { phase: phase.get() });
                guard = condvar
                    .wait_timeout(guard, HEARTBEAT)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
        });
        Heartbeat { ended, thread: Some(thread) }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        let (flag, mutex, condvar) = &*self.ended;
        {
            // Under the lock, so that the thread is either before its check or inside its wait.
            let _guard = locked(mutex);
            flag.store(true, Ordering::Release);
        }
        condvar.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
