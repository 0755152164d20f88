//! Does a run that was stopped and resumed, through its files, end with the same bytes as one that was not?

mod program;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use dpop_studio::config::{RunConfig, RunDraft, Twin};
use dpop_studio::run::{checkpoint, events};
use dpop_studio::train::event::{Command, Event};
use dpop_studio::worker::protocol::{Controls, Reporter};
use dpop_studio::worker::session::{self, Ending, Job, Outside, SessionError};
use program::{demo_model, demo_pairs};

/// Asks for a stop as soon as a given step is reported, and keeps what it hears.
struct StopAfter {
    step: Option<usize>,
    controls: Arc<Controls>,
    heard: Mutex<Vec<Event>>,
}

impl Reporter for StopAfter {
    fn report(&self, event: &Event) {
        if let Event::Step { step, .. } = event
            && Some(*step) == self.step
        {
            self.controls.apply(Command::Stop);
        }
        self.heard.lock().unwrap().push(event.clone());
    }
}

fn run(job: Job, stop_after: Option<usize>) -> (Ending, Vec<Event>) {
    let controls = Arc::new(Controls::default());
    let reporter = Arc::new(StopAfter {
        step: stop_after,
        controls: Arc::clone(&controls),
        heard: Mutex::default(),
    });
    let outside = Outside {
        reporter: Arc::clone(&reporter) as Arc<dyn Reporter>,
        controls,
        phase: Arc::default(),
    };
    let ending = session::run(job, &outside).unwrap();
    let heard = reporter.heard.lock().unwrap().clone();
    (ending, heard)
}

/// Everything that could leave a trace: shuffling over more than one epoch, a schedule, clipping, decay, dropout,
/// accumulation, a twin.
fn config(data: &Path) -> RunConfig {
    let draft = RunDraft {
        model: Some(demo_model()),
        data: Some(data.into()),
        twin: Some(Twin(Some(dpop_studio::config::ObjectiveKind::Dpo))),
        learning_rate: Some(2e-3),
        weight_decay: Some(0.01),
        warmup_steps: Some(5),
        steps: Some(40),
        batch_pairs: Some(2),
        micro_batch_pairs: Some(1),
        rank: Some(4),
        dropout: Some(0.1),
        probe_pairs: Some(4),
        eval_every: Some(5),
        save_every: Some(10),
        device: Some("cpu".into()),
        ..RunDraft::default()
    };
    draft.validate().unwrap()
}

/// An event without what depends on the clock and on memory.
fn timeless(event: &Event) -> Event {
    let mut event = event.clone();
    if let Event::Step { elapsed, tokens_per_second, memory_bytes, .. } = &mut event {
        (*elapsed, *tokens_per_second, *memory_bytes) = (0.0, 0.0, 0);
    }
    event
}

/// The measurements of a run's log.
fn curve(run: &Path) -> Vec<Event> {
    let all = events::read(run).unwrap();
    let measured = |event: &&Event| {
        matches!(
            event,
            Event::Step { .. }
                | Event::Probe { .. }
                | Event::Sample { .. }
                | Event::Collapse { .. }
        )
    };
    all.iter().filter(measured).map(timeless).collect()
}

#[test]
fn stopped_and_resumed_ends_with_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("pairs.jsonl");
    let text = fs::read_to_string(demo_pairs()).unwrap();
    fs::write(&data, text.lines().take(40).collect::<Vec<_>>().join("\n")).unwrap();
    let (straight, broken) = (root.path().join("straight"), root.path().join("broken"));

    let new = |run: &Path| Job::New { config: Box::new(config(&data)), run: Some(run.into()) };
    let (ending, _) = run(new(&straight), None);
    assert_eq!(ending, Ending::Finished { adapter: straight.join("adapter") });

    let (ending, _) = run(new(&broken), Some(7));
    assert_eq!(ending, Ending::Stopped { checkpoint: broken.join("checkpoint-7") });
    for stop in [13, 34] {
        let (ending, heard) = run(Job::Resume { run: broken.clone() }, Some(stop));
        assert_eq!(
            ending,
            Ending::Stopped { checkpoint: broken.join(format!("checkpoint-{stop}")) }
        );
        assert!(
            heard.iter().any(|event| matches!(event, Event::Started { from_step: 7 | 13, .. }))
        );
    }
    // A crash after step 34's checkpoint: the log knows steps that no checkpoint holds.
    let log = broken.join(events::FILE);
    let lost = events::line(&Event::Step {
        step: 35,
        epoch: 9.0,
        elapsed: 0.0,
        tokens_per_second: 0.0,
        num_tokens: 0,
        memory_bytes: 0,
        arms: Default::default(),
    });
    fs::write(&log, fs::read_to_string(&log).unwrap() + &lost + "{\"event\":\"st").unwrap();
    let (ending, _) = run(Job::Resume { run: broken.clone() }, None);
    assert_eq!(ending, Ending::Finished { adapter: broken.join("adapter") });

    for file in ["adapter/adapter_model.safetensors", "adapter/adapter_config.json"] {
        assert_eq!(
            fs::read(straight.join(file)).unwrap(),
            fs::read(broken.join(file)).unwrap(),
            "{file}"
        );
    }
    for arm in ["dpop", "dpo"] {
        for file in ["adapter_model.safetensors", "optimizer.safetensors"] {
            let bytes =
                |run: &Path| fs::read(checkpoint::path(run, 40).join(arm).join(file)).unwrap();
            assert_eq!(bytes(&straight), bytes(&broken), "{arm}/{file}");
        }
    }
    assert_eq!(curve(&straight), curve(&broken), "the charts are the same too");
    assert_eq!(curve(&straight).iter().filter(|e| matches!(e, Event::Step { .. })).count(), 40);
}

#[test]
fn a_finished_run_resumed_is_finished_again() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let mut config = config(&demo_pairs());
    config.budget = dpop_studio::config::Budget::Steps(6);
    let (first, _) = run(Job::New { config: Box::new(config), run: Some(path.clone()) }, None);
    let adapter = fs::read(path.join("adapter/adapter_model.safetensors")).unwrap();
    let (second, _) = run(Job::Resume { run: path.clone() }, None);
    assert_eq!(first, second);
    assert_eq!(fs::read(path.join("adapter/adapter_model.safetensors")).unwrap(), adapter);
}

#[test]
fn a_stop_before_the_first_step_can_be_resumed_without_doubled_events() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let mut config = config(&demo_pairs());
    config.budget = dpop_studio::config::Budget::Steps(6);
    // The first probe comes before the first step; a stop asked for there is honoured at once.
    struct StopAtProbe(Arc<Controls>);
    impl Reporter for StopAtProbe {
        fn report(&self, event: &Event) {
            if matches!(event, Event::Probe { .. }) {
                self.0.apply(Command::Stop);
            }
        }
    }
    let controls = Arc::new(Controls::default());
    let reporter = Arc::new(StopAtProbe(Arc::clone(&controls)));
    let outside = Outside { reporter, controls, phase: Arc::default() };
    let ending =
        session::run(Job::New { config: Box::new(config), run: Some(path.clone()) }, &outside)
            .unwrap();
    assert_eq!(ending, Ending::Stopped { checkpoint: path.join("checkpoint-0") });
    run(Job::Resume { run: path.clone() }, None);
    let steps: Vec<usize> = curve(&path)
        .iter()
        .filter_map(|event| if let Event::Probe { step, .. } = event { Some(*step) } else { None })
        .collect();
    assert_eq!(steps, [0, 5, 6]);
}

#[test]
fn a_stop_while_loading_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let controls = Arc::new(Controls::default());
    controls.apply(Command::Stop);
    let reporter = Arc::new(StopAfter {
        step: None,
        controls: Arc::clone(&controls),
        heard: Mutex::default(),
    });
    let outside = Outside {
        reporter: Arc::clone(&reporter) as Arc<dyn Reporter>,
        controls,
        phase: Arc::default(),
    };
    let job = Job::New { config: Box::new(config(&demo_pairs())), run: Some(path.clone()) };
    assert_eq!(session::run(job, &outside).unwrap(), Ending::Cancelled);
    assert!(!path.exists());
    let heard = reporter.heard.lock().unwrap();
    assert!(matches!(heard.last(), Some(Event::Stopped { step: 0, .. })));
}

#[test]
fn a_panic_is_reported_and_the_run_can_go_on() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let mut config = config(&demo_pairs());
    config.budget = dpop_studio::config::Budget::Steps(6);
    config.save_every = 2;
    /// Stands for any code below the loop that panics, as a driver that runs out of memory does.
    struct Panics(Mutex<Vec<Event>>);
    impl Reporter for Panics {
        fn report(&self, event: &Event) {
            assert!(!matches!(event, Event::Step { step: 5, .. }), "out of device memory");
            self.0.lock().unwrap().push(event.clone());
        }
    }
    let reporter = Arc::new(Panics(Mutex::default()));
    let outside = Outside {
        reporter: Arc::clone(&reporter) as Arc<dyn Reporter>,
        controls: Arc::default(),
        phase: Arc::default(),
    };
    let job = Job::New { config: Box::new(config), run: Some(path.clone()) };
    let error = session::run(job, &outside).unwrap_err();
    assert!(matches!(error, SessionError::Failure(_)));
    assert!(error.message().contains("out of device memory"), "{}", error.message());
    let last = reporter.0.lock().unwrap().last().cloned();
    assert_eq!(last, Some(Event::Failed { message: error.message() }));
    assert_eq!(events::last(&path), last, "the folder knows it too");
    let (_, heard) = run(Job::Resume { run: path.clone() }, None);
    assert!(heard.iter().any(|event| matches!(event, Event::Started { from_step: 4, .. })));
    let steps = curve(&path).iter().filter(|e| matches!(e, Event::Step { .. })).count();
    assert_eq!(steps, 6);
}
