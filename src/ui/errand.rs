//! A command of this program in a process of its own: what opens a device must not take the window with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Why a command gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It said so itself.
    Told(String),
    /// It could not be started, or ended without a word.
    Untold(String),
}

impl Trouble {
    pub fn message(self) -> String {
        let (Trouble::Told(message) | Trouble::Untold(message)) = self;
        message
    }
}

/// A command on its way. Dropping it ends the process.
pub struct Errand(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    child: Option<Child>,
    /// Nobody waits for it any more.
    dropped: bool,
}

impl Errand {
    /// Starts `command` (its three pipes ours, see `worker::client::command`) and writes `input` to it. `progress` hears
    /// every line of stderr that tells of no error; `done` gets stdout, or why there is none.
    pub fn start(
        command: Command,
        input: String,
        progress: impl Fn(String) + Send + 'static,
        done: impl FnOnce(Result<Vec<u8>, Trouble>) + Send + 'static,
    ) -> Errand {
        let held = Arc::new(Mutex::new(Held::default()));
        let own = Arc::clone(&held);
        thread::spawn(move || done(run(command, &input, &own, progress)));
        Errand(held)
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        let mut held = locked(&self.0);
        held.dropped = true;
        if let Some(child) = &mut held.child {
            // It may have ended by itself.
            let _ = child.kill();
        }
    }
}

fn locked(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(
    mut command: Command,
    input: &str,
    held: &Mutex<Held>,
    progress: impl Fn(String) + Send + 'static,
) -> Result<Vec<u8>, Trouble> {
    let mut child = command
        .spawn()
        .map_err(|error| Trouble::Untold(format!("The program could not be started: {error}.")))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    {
        let mut held = locked(held);
        if held.dropped {
            let _ = child.kill();
        }
        held.child = Some(child);
    }
    if let Some(mut stdin) = stdin {
        // A process that ended early says why on its stderr.
        let _ = stdin.write_all(input.as_bytes());
    }
    let listener = stderr.map(|stderr| thread::spawn(move || listen(stderr, progress)));
    let mut said = Vec::new();
    if let Some(mut stdout) = stdout {
        // A process that was killed leaves a part; the status below tells.
        let _ = stdout.read_to_end(&mut said);
    }
    let errors = listener.and_then(|listener| listener.join().ok()).unwrap_or_default();
    match locked(held).child.as_mut().map(Child::wait) {
        Some(Ok(status)) if status.success() => Ok(said),
        Some(Ok(status)) if errors.is_empty() => Err(Trouble::Untold(without_a_word(status))),
        Some(Ok(_)) => Err(Trouble::Told(errors)),
        _ => Err(Trouble::Untold("The program ended in a way that could not be followed.".into())),
    }
}

fn without_a_word(status: ExitStatus) -> String {
    format!("The program ended without a word ({status}); it may have run out of memory.")
}

/// Passes progress on; answers what was said of errors.
fn listen(stderr: ChildStderr, progress: impl Fn(String)) -> String {
    let mut errors = Vec::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        match line.strip_prefix("error: ") {
            Some(error) => errors.push(error.to_owned()),
            None => progress(line),
        }
    }
    errors.join("\n")
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Stdio;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;

    type Said = Result<Vec<u8>, Trouble>;

    fn shell(script: &str) -> (Errand, Receiver<String>, Receiver<Said>) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ((tell, told), (end, ended)) = (channel(), channel());
        let done = move |said| drop(end.send(said));
        let errand =
            Errand::start(command, "words".into(), move |line| drop(tell.send(line)), done);
        (errand, told, ended)
    }

    #[test]
    fn what_is_said_comes_back() {
        let (_errand, told, ended) = shell("echo half >&2; cat");
        assert_eq!(ended.recv().unwrap(), Ok(b"words".to_vec()));
        assert_eq!(told.iter().collect::<Vec<_>>(), ["half"]);
        let (_errand, _, ended) =
            shell("echo part; echo error: no >&2; echo error: never >&2; false");
        assert_eq!(ended.recv().unwrap(), Err(Trouble::Told("no\nnever".to_owned())));
        let (_errand, _, ended) = shell("exit 7");
        let Err(Trouble::Untold(words)) = ended.recv().unwrap() else { panic!("nothing was told") };
        assert!(words.contains("without a word"));
    }

    #[test]
    fn what_nobody_waits_for_is_ended() {
        let (errand, told, ended) = shell("echo begun >&2; exec sleep 600");
        assert_eq!(told.recv().unwrap(), "begun");
        drop(errand);
        ended.recv_timeout(Duration::from_secs(30)).unwrap().unwrap_err();
    }
}
