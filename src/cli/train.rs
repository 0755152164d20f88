//! `dpop-studio train`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::STOPPED;
use super::args::TrainArgs;
use super::output::{CliError, note};
use super::progress::Progress;
use crate::config::RunDraft;
use crate::train::event::{Command, Event};
use crate::worker::protocol::{Controls, Heartbeat, JsonLines, Phase, Reporter, read_commands};
use crate::worker::session::{self, Ending, Job, Outside};

/// As shells report a process ended by Ctrl-C.
const ABORTED: i32 = 130;

/// Trains and answers the exit code.
pub fn run(args: TrainArgs) -> Result<u8, CliError> {
    session::install_panic_hook();
    let json = args.json || args.worker;
    let reporter: Arc<dyn Reporter> =
        if json { Arc::new(JsonLines::new(io::stdout())) } else { Arc::new(Progress::new()) };
    let outside = Outside { reporter, controls: Arc::default(), phase: Arc::new(Phase::default()) };
    stop_on_signals(&outside.controls)?;
    if args.worker {
        let (controls, reporter) = (Arc::clone(&outside.controls), Arc::clone(&outside.reporter));
        std::thread::spawn(move || read_commands(io::stdin().lock(), &controls, reporter.as_ref()));
    }
    let _heartbeat =
        json.then(|| Heartbeat::start(Arc::clone(&outside.phase), Arc::clone(&outside.reporter)));
    let job = job(args).inspect_err(|error| {
        if let CliError::Input(messages) = error {
            let message = messages.join("\n");
            outside.reporter.report(&Event::Failed { message });
        }
    })?;
    match session::run(job, &outside)? {
        Ending::Finished { .. } => Ok(0),
        Ending::Stopped { .. } | Ending::Cancelled => Ok(STOPPED),
    }
}

/// What the options ask for; all complaints at once.
fn job(args: TrainArgs) -> Result<Job, CliError> {
    match args.resume {
        Some(run) if args.draft == RunDraft::default() => Ok(Job::Resume { run }),
        Some(_) => Err(CliError::input(anyhow::anyhow!(
            "--resume goes on with the options in run.json and takes no others. Leave them out, or start a new run."
        ))),
        None => {
            let config = args.draft.validate().map_err(CliError::complaints)?;
            Ok(Job::New { config: Box::new(config), run: args.run })
        }
    }
}

/// The first Ctrl-C or SIGTERM saves and stops, the second ends at once.
fn stop_on_signals(controls: &Arc<Controls>) -> Result<(), CliError> {
    let controls = Arc::clone(controls);
    let times = AtomicUsize::new(0);
    ctrlc::set_handler(move || {
        if times.fetch_add(1, Ordering::Relaxed) > 0 {
            std::process::exit(ABORTED);
        }
        note("stopping: saving a checkpoint (once more to abort)");
        controls.apply(Command::Stop);
    })
    .map_err(|error| CliError::Failure(format!("cannot listen for Ctrl-C: {error}.")))
}
