//! Does TensorBoard read the event files as the run was?

mod program;
mod recorded;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use dpop_studio::report::run_view::RunView;
use dpop_studio::report::series::Source;
use program::{program, refused, run};

/// The interpreter of `DPOP_PYTHON`, else `python3`, if it has TensorBoard.
fn python_with_tensorboard() -> Option<String> {
    let python = std::env::var("DPOP_PYTHON").unwrap_or_else(|_| "python3".into());
    let check = Command::new(&python).args(["-c", "import tensorboard"]).output().ok()?;
    check.status.success().then_some(python)
}

/// TensorBoard's own loader, which checks every checksum: `arm, tag, step, wall time, value` of every scalar.
const READER: &str = r#"
import json, os, sys
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
for arm in sorted(os.listdir(sys.argv[1])):
    folder = os.path.join(sys.argv[1], arm)
    [name] = os.listdir(folder)
    events = list(EventFileLoader(os.path.join(folder, name)).Load())
    assert events[0].file_version == "brain.Event:2", events[0]
    found = EventAccumulator(folder, size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    tags = found.Tags()
    assert len(tags["tensors"]) + len(tags["scalars"]) > 20, tags
    for event in events[1:]:
        for value in event.summary.value:
            number = value.tensor.float_val[0] if value.HasField("tensor") else value.simple_value
            print(json.dumps([arm, value.tag, event.step, event.wall_time, number]))
"#;

fn export(folder: &Path, target: &Path) -> program::Ran {
    let mut command = program(["report", "--run"]);
    command.arg(folder).arg("--tensorboard").arg(target);
    run(command)
}

#[test]
fn tensorboard_reads_every_value_of_every_arm() {
    let folder = recorded::run_folder();
    let target = tempfile::tempdir().unwrap();
    // Twice: the second replaces the first.
    for _ in 0..2 {
        let ran = export(folder.path(), target.path());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.stdout.contains("2 event files"), "{}", ran.stdout);
    }
    let Some(python) = python_with_tensorboard() else {
        eprintln!("SKIPPED: no Python with tensorboard (set DPOP_PYTHON), it was not asked");
        return;
    };
    let output =
        Command::new(python).args(["-c", READER]).arg(target.path()).output().expect("python");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let mut read: BTreeMap<(String, String), Vec<(u32, f64)>> = BTreeMap::new();
    let mut times: BTreeMap<u32, f64> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (arm, tag, step, time, value): (String, String, u32, f64, f64) =
            serde_json::from_str(line).unwrap();
        read.entry((arm, tag)).or_default().push((step, value));
        times.insert(step, time);
    }
    let view = RunView::from_events(recorded::events());
    let series = view.store.all();
    assert_eq!(read.len(), series.len(), "no series more or less");
    for (key, series) in series {
        let own = &read[&(key.arm.clone(), format!("{}/{}", key.source.word(), key.metric))];
        let want = series.steps().iter().zip(series.values());
        assert_eq!(own.len(), series.len(), "{key:?}");
        for ((step, value), (wanted_step, wanted)) in own.iter().zip(want) {
            assert_eq!((step, *value as f32), (wanted_step, *wanted as f32), "{key:?}");
        }
    }
    // Wall time is that of the training clock.
    let clock = view.clock.last().unwrap().1 - view.clock.first().unwrap().1;
    assert!((times[&200] - times[&1] - clock).abs() < 1e-3);
    assert!(view.store.get(Source::Probe, "dpo", "forecast/in_band").is_some());
}

#[test]
fn a_run_without_measurements_and_no_wish_at_all_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    recorded::write_with(folder.path(), |_| {}, "");
    let mut command = program(["report", "--tensorboard", "x", "--run"]);
    let message = refused({
        command.arg(folder.path());
        command
    });
    assert!(message.contains("no measurements yet"), "{message}");
    let mut command = program(["report", "--run"]);
    let message = refused({
        command.arg(folder.path());
        command
    });
    assert!(message.contains("--output"), "{message}");
}
