//! Do the probe's records hold every token, agree with the events, and survive a resume?

mod program;

use std::fs;
use std::path::Path;

use dpop_studio::data::tokenizer::Tokenizer;
use dpop_studio::model::PairScore;
use dpop_studio::run::events;
use dpop_studio::run::probe_records::{ProbeRecords, standing};
use dpop_studio::train::event::Event;
use program::{demo_model, demo_pairs, program, run, train};

fn recorded(path: &Path, more: &[&str]) -> ProbeRecords {
    let ran = run(train(path, more));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ProbeRecords::open(path).unwrap().expect("a run with a probe has records")
}

#[test]
fn every_token_is_there_and_adds_up_to_the_events() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let records = recorded(&path, &["--steps", "5", "--eval-every", "2"]);
    assert_eq!(records.steps().unwrap(), [0, 2, 4, 5]);
    assert_eq!(records.pairs().len(), 4);

    let tokenizer = Tokenizer::open(&demo_model()).unwrap();
    for pair in records.pairs() {
        for tokens in [&pair.prompt, &pair.chosen, &pair.rejected] {
            assert_eq!(tokens.ids.len(), tokens.texts.len());
            assert_eq!(tokens.texts.concat(), tokenizer.decode(&tokens.ids).unwrap());
        }
        let first = pair.distance.first_difference;
        assert_eq!(pair.chosen.ids[..first], pair.rejected.ids[..first]);
        assert_ne!(pair.chosen.ids[first], pair.rejected.ids[first]);
        assert!(pair.distance.edits > 0 && pair.distance.normalised < 0.2);
    }
    // CHES is what `inspect --forecast` says of the same rows.
    let mut inspect = program(["inspect", "--forecast", "--json", "--device", "cpu", "--data"]);
    inspect.arg(demo_pairs()).arg("--model").arg(demo_model());
    let inspected: serde_json::Value = serde_json::from_str(&run(inspect).stdout).unwrap();
    for pair in records.pairs() {
        let mut scored = inspected["forecast"]["pairs"].as_array().unwrap().iter();
        let scored = scored.find(|scored| scored["row"] == pair.row).unwrap();
        // Another batch, another order of additions.
        let (own, other) = (pair.ches.unwrap(), scored["ches"].as_f64().unwrap());
        assert!((own - other).abs() < 1e-3 * own.abs().max(1.0), "{own} and {other}");
    }

    let reference = records.reference().unwrap();
    let mut probes = 0;
    for event in events::read(&path).unwrap() {
        let Event::Probe { step, arms, pairs } = event else { continue };
        probes += 1;
        let record = records.step(step).unwrap();
        assert_eq!(record.reference.is_some(), step == 0, "the reference is written once");
        for (arm, told) in pairs {
            let scores = &record.arms[&arm];
            let stands = standing(scores, &reference);
            assert_eq!((scores.len(), stands.len()), (4, 4));
            for ((pair, told), now) in records.pairs().iter().zip(&told).zip(&stands) {
                assert_eq!(pair.row, told.row);
                // The same f32 values added in the same order.
                assert_eq!((now.chosen, now.rejected), (told.chosen, told.rejected));
                assert_eq!(
                    (now.ref_chosen, now.ref_rejected),
                    (told.ref_chosen, told.ref_rejected)
                );
            }
            let mean = stands.iter().map(|pair| pair.penalty()).sum::<f64>() / 4.0;
            assert!((mean - arms[&arm]["dpop/penalty"]).abs() < 1e-12);
            if step == 0 {
                assert_eq!(*scores, reference, "nothing is trained yet");
            }
        }
    }
    assert_eq!(probes, 4);
}

#[test]
fn the_band_of_a_probe_holds_its_mean() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let records = recorded(&path, &["--steps", "2", "--eval-every", "2"]);
    let lengths: Vec<f64> = records.pairs().iter().map(|p| p.chosen.ids.len() as f64).collect();
    for event in events::read(&path).unwrap() {
        let Event::Probe { step, arms, .. } = event else { continue };
        for (arm, metrics) in arms {
            let scores = &records.step(step).unwrap().arms[&arm];
            let per_token = |(score, n): (&PairScore, &f64)| score.sums().0 / n;
            let mut values: Vec<f64> = scores.iter().zip(&lengths).map(per_token).collect();
            values.sort_by(f64::total_cmp);
            // Four values: numpy puts the 10th percentile 0.3 of the way from the first to the second.
            let p10 = values[0] + 0.3 * (values[1] - values[0]);
            let p90 = values[3] - 0.3 * (values[3] - values[2]);
            assert!((metrics["logps_per_token/chosen_p10"] - p10).abs() < 1e-12);
            assert!((metrics["logps_per_token/chosen_p90"] - p90).abs() < 1e-12);
            let mean = metrics["logps_per_token/chosen"];
            assert!(values[0] <= mean && mean <= values[3]);
            assert!(
                metrics["logps_per_token/rejected_p10"] <= metrics["logps_per_token/rejected_p90"]
            );
        }
    }
}

#[test]
fn a_resumed_run_drops_what_lies_beyond_its_checkpoint() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let options = ["--steps", "6", "--eval-every", "2", "--save-every", "4"];
    let straight = recorded(&path, &options);
    let whole: Vec<Vec<u8>> = [0, 2, 4, 6]
        .map(|step| fs::read(path.join(format!("probe/step-{step}.safetensors"))).unwrap())
        .into();

    // As a crash after step 6 leaves it: the last checkpoint is 4, the records go further.
    fs::remove_dir_all(path.join("checkpoint-6")).unwrap();
    fs::remove_dir_all(path.join("adapter")).unwrap();
    fs::write(path.join("probe/step-99.safetensors"), b"of another life").unwrap();
    fs::write(path.join("probe/step-6.safetensors.tmp"), b"half").unwrap();
    assert_eq!(straight.steps().unwrap(), [0, 2, 4, 6, 99]);
    let ran = run({
        let mut command = program(["train", "--resume"]);
        command.arg(&path);
        command
    });
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let records = ProbeRecords::open(&path).unwrap().unwrap();
    assert_eq!(records.steps().unwrap(), [0, 2, 4, 6]);
    assert_eq!(records.pairs(), straight.pairs());
    for (step, before) in [0, 2, 4, 6].into_iter().zip(&whole) {
        let now = fs::read(path.join(format!("probe/step-{step}.safetensors"))).unwrap();
        assert!(now == *before, "step {step} has other bytes");
    }

    // A run of a version without records goes on without.
    fs::remove_dir_all(path.join("checkpoint-6")).unwrap();
    fs::remove_dir_all(path.join("probe")).unwrap();
    let ran = run({
        let mut command = program(["train", "--resume"]);
        command.arg(&path);
        command
    });
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ProbeRecords::open(&path).unwrap().is_none());
}

#[test]
fn damage_is_named() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let records = recorded(&path, &["--steps", "1"]);
    let file = path.join("probe/step-1.safetensors");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 5]).unwrap();
    let message = records.step(1).unwrap_err().to_string();
    assert!(message.contains("step-1.safetensors"), "{message}");
    let message = records.step(7).unwrap_err().to_string();
    assert!(message.contains("step-7.safetensors"), "{message}");

    // Records of other pairs than `pairs.json` holds.
    let json = fs::read_to_string(path.join("probe/pairs.json")).unwrap();
    let mut pairs: serde_json::Value = serde_json::from_str(&json).unwrap();
    pairs["pairs"].as_array_mut().unwrap().pop();
    fs::write(path.join("probe/pairs.json"), pairs.to_string()).unwrap();
    let records = ProbeRecords::open(&path).unwrap().unwrap();
    let message = records.step(0).unwrap_err().to_string();
    assert!(message.contains("values"), "{message}");

    fs::write(path.join("probe/pairs.json"), r#"{"format": 2, "pairs": 7}"#).unwrap();
    let message = ProbeRecords::open(&path).unwrap_err().to_string();
    assert!(message.contains("newer version"), "{message}");
    fs::write(path.join("probe/pairs.json"), "{").unwrap();
    let message = ProbeRecords::open(&path).unwrap_err().to_string();
    assert!(message.contains("damaged"), "{message}");
}
