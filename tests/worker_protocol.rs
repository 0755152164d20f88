//! Does the window hear its worker, steer it, and learn how it died?

mod program;

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dpop_studio::run::{events, folder};
use dpop_studio::train::event::{Command, Event};
use dpop_studio::worker::client::{ClientError, LOG_LINES, WorkerHandle};
use program::{demo_model, demo_pairs, exe, train, wait_for};

/// A worker that is a shell script.
#[cfg(unix)]
fn script(text: &str, run: &Path) -> WorkerHandle {
    let args: Vec<OsString> = ["-c", text].map(Into::into).into();
    WorkerHandle::spawn(Path::new("/bin/sh"), &args, run, || {}).unwrap()
}

/// The real worker on the demo.
fn worker(run: &Path, more: &[&str], wake: impl Fn() + Send + Sync + 'static) -> WorkerHandle {
    let mut args: Vec<OsString> =
        ["train", "--worker", "--device", "cpu", "--batch-pairs", "2", "--probe-pairs", "4"]
            .map(Into::into)
            .into();
    args.extend(["--model".into(), demo_model().into(), "--data".into(), demo_pairs().into()]);
    args.extend(["--run".into(), run.into()]);
    args.extend(more.iter().map(Into::into));
    WorkerHandle::spawn(exe(), &args, run, wake).unwrap()
}

/// Collects events until one satisfies `last`.
fn until(worker: &WorkerHandle, seen: &mut Vec<Event>, what: &str, last: impl Fn(&Event) -> bool) {
    wait_for(what, || {
        let fresh = worker.try_events();
        let found = fresh.iter().any(&last);
        seen.extend(fresh);
        found.then_some(())
    });
}

/// All events until the process has ended.
fn to_the_end(worker: &WorkerHandle) -> Vec<Event> {
    wait_for("the worker to end", || worker.has_ended().then_some(()));
    worker.try_events()
}

fn failure(events: &[Event]) -> &str {
    match events {
        [.., Event::Failed { message }] => message,
        _ => panic!("the last event is no failure: {events:?}"),
    }
}

#[test]
fn pause_resume_and_stop() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    let mut worker = worker(&run, &["--steps", "100000", "--eval-every", "1000"], move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let mut seen = Vec::new();
    until(&worker, &mut seen, "the third step", |e| matches!(e, Event::Step { step: 3, .. }));

    worker.send(Command::Pause).unwrap();
    until(&worker, &mut seen, "the pause", |e| matches!(e, Event::Paused { .. }));
    let Some(Event::Paused { step: paused }) = seen.last().cloned() else {
        panic!("{:?}", seen.last())
    };
    // A paused run does nothing but lives: heartbeats go on and say so.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(worker.try_events(), vec![]);
    assert!(worker.heartbeat_age() < Duration::from_secs(2), "{:?}", worker.heartbeat_age());
    assert_eq!(worker.phase(), "paused");

    worker.send(Command::Resume).unwrap();
    let next = paused + 1;
    until(
        &worker,
        &mut seen,
        "the next step",
        |e| matches!(e, Event::Step { step, .. } if *step == next),
    );
    assert!(seen.contains(&Event::Resumed { step: paused }));

    worker.send(Command::Stop).unwrap();
    seen.extend(to_the_end(&worker));
    let Some(Event::Stopped { step, checkpoint }) = seen.last() else {
        panic!("{:?}", seen.last())
    };
    assert_eq!(*checkpoint, run.join(format!("checkpoint-{step}")));
    assert!(checkpoint.join("manifest.json").is_file());
    assert!(woken.load(Ordering::SeqCst) >= seen.len());
    assert_eq!(events::read(&run).unwrap(), seen, "the folder holds what the window was told");
    assert!(matches!(worker.send(Command::Pause), Err(ClientError::Send { .. })));
}

#[test]
fn a_stop_ends_a_pause() {
    let root = tempfile::tempdir().unwrap();
    let mut worker = worker(&root.path().join("run"), &["--steps", "100000"], || {});
    let mut seen = Vec::new();
    until(&worker, &mut seen, "a step", |e| matches!(e, Event::Step { .. }));
    worker.send(Command::Pause).unwrap();
    until(&worker, &mut seen, "the pause", |e| matches!(e, Event::Paused { .. }));
    worker.send(Command::Stop).unwrap();
    assert!(matches!(to_the_end(&worker).last(), Some(Event::Stopped { .. })));
}

#[test]
fn a_worker_whose_window_is_gone_saves_and_ends() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    let mut child = train(&run, &["--worker", "--steps", "100000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.contains("\"event\":\"step\"")).unwrap();
    // A line that is no command is reported and changes nothing.
    writeln!(child.stdin.as_mut().unwrap(), "{{\"command\":\"dance\"}}").unwrap();
    let warning = lines.find(|line| line.contains("\"event\":\"warning\"")).unwrap();
    assert!(warning.contains("dance"), "{warning}");
    drop(child.stdin.take());
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(matches!(events::last(&run), Some(Event::Stopped { .. })));
}

#[test]
fn dropping_the_handle_saves_without_waiting() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    let worker = worker(&run, &["--steps", "100000"], || {});
    until(&worker, &mut Vec::new(), "a step", |e| matches!(e, Event::Step { .. }));
    let asked = Instant::now();
    drop(worker);
    assert!(
        asked.elapsed() < Duration::from_millis(200),
        "the window would hang: {:?}",
        asked.elapsed()
    );
    wait_for("the worker to save and end", || (!folder::in_use(&run)).then_some(()));
    assert!(matches!(events::last(&run), Some(Event::Stopped { .. })));
}

#[cfg(unix)]
#[test]
fn a_killed_worker_is_explained_and_its_run_can_go_on() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    let worker = worker(&run, &["--steps", "100000", "--save-every", "2"], || {});
    let mut seen = Vec::new();
    until(&worker, &mut seen, "a checkpoint", |e| matches!(e, Event::Checkpoint { step: 4, .. }));
    worker.kill();
    seen.extend(to_the_end(&worker));
    let message = failure(&seen);
    assert!(message.contains("signal 9") && message.contains("memory"), "{message}");
    assert!(message.contains("last checkpoint"), "{message}");

    let mut child = program::program(["train", "--json", "--resume"])
        .arg(&run)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let from = lines.find_map(|line| match serde_json::from_str(&line).unwrap() {
        Event::Started { from_step, .. } => Some(from_step),
        _ => None,
    });
    assert!(from.unwrap() >= 4, "{from:?}");
    std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn bad_input_reaches_the_window_as_a_failure_with_the_reason() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    let worker = worker(&run, &["--rank", "0"], || {});
    let events = to_the_end(&worker);
    assert!(failure(&events).contains("rank"), "{events:?}");
    assert!(
        worker.log_tail().iter().any(|line| line.starts_with("error: ")),
        "{:?}",
        worker.log_tail()
    );
    // Only the log was written: the same folder can be used once the option is right.
    folder::refuse_existing(&run).unwrap();
}

#[cfg(unix)]
#[test]
fn silent_deaths_are_put_into_words() {
    let cases = [
        ("echo 'out of cheese' >&2; exit 7", vec!["exit code 7", "out of cheese"]),
        ("kill -11 $$", vec!["signal 11", "driver"]),
        ("kill -6 $$", vec!["signal 6", "driver"]),
        ("exit 0", vec!["exit code 0"]),
    ];
    for (text, expected) in cases {
        let root = tempfile::tempdir().unwrap();
        let events = to_the_end(&script(text, root.path()));
        assert_eq!(events.len(), 1, "{text}");
        for part in expected {
            assert!(failure(&events).contains(part), "{text}: {}", failure(&events));
        }
    }
    // A worker that said how it ended is believed.
    let root = tempfile::tempdir().unwrap();
    let text = r#"echo '{"event":"failed","message":"no disk"}'; exit 1"#;
    assert_eq!(
        to_the_end(&script(text, root.path())),
        vec![Event::Failed { message: "no disk".into() }]
    );
}

#[cfg(unix)]
#[test]
fn the_log_is_kept_whole_on_disk_and_short_in_memory() {
    let root = tempfile::tempdir().unwrap();
    let worker = script(
        "for i in $(seq 1 500); do echo line $i >&2; done; printf '\\377 no newline' >&2",
        root.path(),
    );
    to_the_end(&worker);
    let tail = worker.log_tail();
    assert_eq!(tail.len(), LOG_LINES);
    assert_eq!(tail[LOG_LINES - 2], "line 500");
    let log = std::fs::read(root.path().join(folder::TRAINER_LOG)).unwrap();
    assert_eq!(log.split(|byte| *byte == b'\n').count(), 501);
}

#[cfg(unix)]
#[test]
fn unknown_events_and_noise_on_stdout_do_not_stop_the_stream() {
    let root = tempfile::tempdir().unwrap();
    let text = r#"echo 'driver says hello'; echo '{"event":"hologram"}'; echo '{"event":"paused","step":3}'; exit 1"#;
    let worker = script(text, root.path());
    let events = to_the_end(&worker);
    assert_eq!(events[0], Event::Paused { step: 3 });
    assert!(worker.log_tail().contains(&"driver says hello".to_string()));
}

#[test]
fn a_missing_program_is_an_error_not_a_panic() {
    let root = tempfile::tempdir().unwrap();
    let error = WorkerHandle::spawn(Path::new("/no/such/program"), &[], root.path(), || {});
    assert!(matches!(error, Err(ClientError::Start { .. })));
}
