//! Is a checkpoint whole or absent, whatever happens while it is written?

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dpop_studio::config::Target;
use dpop_studio::lora::{LoraAdapter, LoraConfig, peft};
use dpop_studio::model::config::ModelConfig;
use dpop_studio::run::checkpoint::{self, CheckpointError, KEEP};
use dpop_studio::run::durable::FileError;
use dpop_studio::train::state::{ArmState, Reference, TrainState};

/// Names the folder in which the child process of a test writes.
const CHILD: &str = "DPOP_TEST_CHECKPOINT_CHILD";

fn model() -> ModelConfig {
    ModelConfig::read(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/llama_gqa_untied"),
    )
    .unwrap()
}

/// A state in which every number depends on `step`, so that a mixture of two checkpoints shows.
fn state(step: usize) -> TrainState {
    let config = LoraConfig {
        rank: 4,
        alpha: 8.0,
        targets: Target::ALL.to_vec(),
        dropout: 0.0,
        rslora: false,
    };
    let empty = LoraAdapter::zeros(config, &model());
    let arm = |name: &str, seed: f32| {
        let values = |salt: f32| -> Vec<f32> {
            let value = |i: usize| ((i as f32 + salt) * 0.7).sin() / (step as f32 + seed);
            (0..empty.values.len()).map(value).collect()
        };
        ArmState {
            name: name.into(),
            adapter: LoraAdapter { values: values(1.0), ..empty.clone() },
            first_moment: values(2.0),
            second_moment: values(3.0),
            collapsed_at: (name == "dpo").then_some(step / 2),
        }
    };
    let reference = |index: usize| {
        let index = index as f64;
        Reference { chosen: -(0.1 + 0.2) * index - 1.0 / 3.0, rejected: -1e-17 * index - 4e-320 }
    };
    TrainState {
        step,
        num_tokens: u64::MAX - step as u64,
        elapsed: step as f64 * 0.1 + 1e-12,
        arms: vec![arm("dpop", 0.5), arm("dpo", 0.25)],
        references: (0..40).step_by(3).map(|i| (i, reference(i))).collect(),
        probe_margins: vec![0.0, 0.5],
        probe_references: (0..5).map(|i| (i, reference(i + 100))).collect(),
    }
}

fn write(run: &Path, step: usize) -> PathBuf {
    checkpoint::write(run, &state(step), Path::new("base")).unwrap().path
}

#[test]
fn a_state_comes_back_to_the_bit() {
    let run = tempfile::tempdir().unwrap();
    let path = write(run.path(), 40);
    assert_eq!(path, run.path().join("checkpoint-40"));
    let loaded = checkpoint::load_newest(run.path(), &model()).unwrap();
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.state, state(40));
    assert_eq!(loaded.state.elapsed.to_bits(), state(40).elapsed.to_bits());
    // Each arm is a PEFT adapter that anyone can load.
    assert_eq!(peft::load(&path.join("dpo"), &model()).unwrap(), state(40).arms[1].adapter);
}

#[test]
fn the_newest_are_kept() {
    let run = tempfile::tempdir().unwrap();
    for step in [2, 10, 9, 100, 20] {
        write(run.path(), step);
    }
    assert_eq!(KEEP, 3);
    assert_eq!(checkpoint::steps(run.path()).unwrap(), [10, 20, 100]);
    assert_eq!(checkpoint::load_newest(run.path(), &model()).unwrap().state, state(100));
    let hidden: Vec<_> =
        fs::read_dir(run.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(hidden.len(), 3, "nothing else is left: {hidden:?}");
}

#[test]
fn every_kind_of_damage_falls_back_to_the_one_before() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 7] = [
        ("a flipped bit in the adapter", |p| flip(&p.join("dpop/adapter_model.safetensors"))),
        ("a flipped bit in the optimiser", |p| flip(&p.join("dpo/optimizer.safetensors"))),
        ("a flipped bit in the state", |p| flip(&p.join("trainer_state.json"))),
        ("a cut file", |p| cut(&p.join("dpo/adapter_model.safetensors"))),
        ("a missing file", |p| fs::remove_file(p.join("dpop/adapter_config.json")).unwrap()),
        ("no manifest", |p| fs::remove_file(p.join("manifest.json")).unwrap()),
        ("a cut manifest", |p| cut(&p.join("manifest.json"))),
    ];
    for (what, damage) in damages {
        let run = tempfile::tempdir().unwrap();
        write(run.path(), 10);
        damage(&write(run.path(), 20));
        let loaded = checkpoint::load_newest(run.path(), &model()).unwrap();
        assert_eq!(loaded.state, state(10), "{what}");
        assert_eq!(loaded.warnings.len(), 1, "{what}");
        assert!(loaded.warnings[0].contains("checkpoint 20"), "{what}: {}", loaded.warnings[0]);
        // The damaged one is out of the way of the run that goes on, but not lost.
        assert!(run.path().join("damaged-checkpoint-20").is_dir(), "{what}");
        write(run.path(), 20);
        assert_eq!(
            checkpoint::load_newest(run.path(), &model()).unwrap().state,
            state(20),
            "{what}"
        );
    }
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn without_a_whole_one_every_reason_is_told() {
    let run = tempfile::tempdir().unwrap();
    let error = checkpoint::load_newest(run.path(), &model()).unwrap_err().to_string();
    assert!(error.contains("no checkpoint"), "{error}");
    for step in [1, 2] {
        flip(&write(run.path(), step).join("trainer_state.json"));
    }
    let error = checkpoint::load_newest(run.path(), &model()).unwrap_err().to_string();
    assert!(error.contains("checkpoint-1") && error.contains("checkpoint-2"), "{error}");
    assert_eq!(checkpoint::steps(run.path()).unwrap(), [1, 2], "nothing was moved");
}

#[test]
fn a_manifest_cannot_lead_outside_its_folder() {
    let run = tempfile::tempdir().unwrap();
    write(run.path(), 1);
    let path = write(run.path(), 2).join("manifest.json");
    fs::write(run.path().join("secret"), "x").unwrap();
    let text = fs::read_to_string(&path).unwrap().replace("dpo/optimizer", "../secret");
    fs::write(&path, text).unwrap();
    let loaded = checkpoint::load_newest(run.path(), &model()).unwrap();
    assert_eq!(loaded.state.step, 1);
    assert!(loaded.warnings[0].contains("not a plain path"), "{}", loaded.warnings[0]);
}

#[test]
fn the_same_step_can_be_saved_again() {
    let run = tempfile::tempdir().unwrap();
    write(run.path(), 7);
    let mut later = state(7);
    later.elapsed += 1.0;
    checkpoint::write(run.path(), &later, Path::new("base")).unwrap();
    assert_eq!(checkpoint::load_newest(run.path(), &model()).unwrap().state, later);
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 1);
}

#[test]
fn what_a_crash_left_is_finished_or_undone() {
    let run = tempfile::tempdir().unwrap();
    write(run.path(), 5);
    // Between the two renames of saving step 5 again: the old one is retired, the new one not yet in place.
    fs::rename(run.path().join("checkpoint-5"), run.path().join(".old-checkpoint-5")).unwrap();
    fs::create_dir_all(run.path().join(".tmp-checkpoint-5/dpop")).unwrap();
    let loaded = checkpoint::load_newest(run.path(), &model()).unwrap();
    assert_eq!(loaded.state, state(5));
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 1);
    // After them: both are there, the new one counts.
    let mut old = state(5);
    old.elapsed = 0.0;
    let other = tempfile::tempdir().unwrap();
    checkpoint::write(other.path(), &old, Path::new("base")).unwrap();
    fs::rename(other.path().join("checkpoint-5"), run.path().join(".old-checkpoint-5")).unwrap();
    assert_eq!(checkpoint::load_newest(run.path(), &model()).unwrap().state, state(5));
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 1);
}

#[test]
fn a_state_that_is_not_finite_never_replaces_a_good_one() {
    let run = tempfile::tempdir().unwrap();
    write(run.path(), 1);
    let mut broken = state(2);
    broken.arms[1].adapter.values[17] = f32::NAN;
    let error = checkpoint::write(run.path(), &broken, Path::new("base")).unwrap_err();
    assert!(matches!(error, CheckpointError::NotFinite { step: 2, .. }), "{error}");
    assert!(error.to_string().contains("`dpo`"), "{error}");
    assert_eq!(checkpoint::load_newest(run.path(), &model()).unwrap().state, state(1));
}

/// Not a test by itself: writes checkpoints without end in the folder the parent names, until it is killed.
#[test]
#[ignore = "the child process of `killed_while_writing_leaves_a_whole_checkpoint`"]
fn child_writes_until_killed() {
    let Some(run) = std::env::var_os(CHILD) else { return };
    for step in 1.. {
        write(Path::new(&run), step);
    }
}

/// The command that runs one ignored test of this file in a process of its own.
fn child(test: &str) -> Vec<OsString> {
    let exe = std::env::current_exe().unwrap();
    [exe.into_os_string(), test.into(), "--exact".into(), "--ignored".into(), "--nocapture".into()]
        .into()
}

#[test]
fn killed_while_writing_leaves_a_whole_checkpoint() {
    for round in 0..25u32 {
        let run = tempfile::tempdir().unwrap();
        write(run.path(), 0);
        let command = child("child_writes_until_killed");
        let mut process = Command::new(&command[0])
            .args(&command[1..])
            .env(CHILD, run.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while checkpoint::steps(run.path()).unwrap_or_default().iter().all(|step| *step < 2) {
            assert!(started.elapsed() < Duration::from_secs(60), "the child writes nothing");
            std::thread::sleep(Duration::from_millis(1));
        }
        // Spread over the few milliseconds that one checkpoint takes.
        std::thread::sleep(Duration::from_micros(777) * round);
        process.kill().unwrap();
        process.wait().unwrap();
        let loaded = checkpoint::load_newest(run.path(), &model()).unwrap();
        assert!(loaded.warnings.is_empty(), "round {round}: {:?}", loaded.warnings);
        assert!(loaded.state.step >= 2, "round {round}");
        assert_eq!(loaded.state, state(loaded.state.step), "round {round}: a mixture of two");
    }
}

/// Not a test by itself: writes one checkpoint and prints how it failed.
#[test]
#[ignore = "the child process of `a_file_size_limit_is_told_and_the_old_checkpoint_stays`"]
fn child_writes_once() {
    let Some(run) = std::env::var_os(CHILD) else { return };
    let error = checkpoint::write(Path::new(&run), &state(2), Path::new("base")).unwrap_err();
    println!("REFUSED {error}");
}

#[cfg(unix)]
#[test]
fn a_file_size_limit_is_told_and_the_old_checkpoint_stays() {
    let run = tempfile::tempdir().unwrap();
    write(run.path(), 1);
    let command = child("child_writes_once");
    // With SIGXFSZ ignored a write past the limit fails with EFBIG instead of killing the process.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"])
        .args(command)
        .env(CHILD, run.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("REFUSED no space left"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(checkpoint::load_newest(run.path(), &model()).unwrap().state, state(1));
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 1, "the half-written folder is gone");
}

/// A file system of a few hundred KB, unmounted on drop; `None` where this user may not mount.
#[cfg(target_os = "linux")]
struct SmallDisk(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn mount(kilobytes: usize) -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kilobytes}k"), "tmpfs"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success()).then_some(SmallDisk(folder))
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_the_old_checkpoint_stays() {
    let whole = tempfile::tempdir().unwrap();
    let size: u64 = walk(&write(whole.path(), 1));
    // Room for one checkpoint and a half.
    let Some(disk) = SmallDisk::mount((size as usize * 3 / 2) / 1024 + 32) else {
        eprintln!(
            "SKIPPED: a_full_disk_is_told_and_the_old_checkpoint_stays (may not mount a tmpfs here)"
        );
        return;
    };
    let run = disk.0.path();
    write(run, 1);
    let error = checkpoint::write(run, &state(2), Path::new("base")).unwrap_err();
    assert!(matches!(error, CheckpointError::File(FileError::NoSpace { .. })), "{error:?}");
    assert!(error.to_string().contains("Free some space"), "{error}");
    assert_eq!(checkpoint::load_newest(run, &model()).unwrap().state, state(1));
    assert_eq!(checkpoint::steps(run).unwrap(), [1]);
}

#[cfg(target_os = "linux")]
fn walk(path: &Path) -> u64 {
    fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            if entry.path().is_dir() {
                walk(&entry.path())
            } else {
                entry.metadata().unwrap().len()
            }
        })
        .sum()
}
