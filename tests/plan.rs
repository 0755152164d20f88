//! Does the program say before it starts what a run needs, refuse what cannot fit with the change that would help,
//! and does that change then work?

use std::process::Command;

use dpop_studio::train::event::Event;
use serde_json::Value;

mod program;

use program::{demo_model, demo_pairs, program, refused, run};

fn plan(options: &[&str]) -> Command {
    let mut command = program(["plan", "--device", "cpu", "--probe-pairs", "4"]);
    command.arg("--model").arg(demo_model()).arg("--data").arg(demo_pairs()).args(options);
    command
}

fn json(options: &[&str]) -> Value {
    let mut command = plan(options);
    let ran = run({
        command.arg("--json");
        command
    });
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn the_parts_add_up_and_smaller_settings_need_less() {
    let all = json(&["--batch-pairs", "4", "--micro-batch-pairs", "4"]);
    let parts = ["weights", "adapters", "optimizer", "activations", "logits", "workspace"];
    let sum: u64 = parts.iter().map(|part| all["forecast"][part].as_u64().unwrap()).sum();
    let total = all["total"].as_u64().unwrap();
    assert_eq!(sum, total);
    // 0.8M parameters in f32.
    let weights = all["forecast"]["weights"].as_u64().unwrap();
    assert!((3_000_000..3_500_000).contains(&weights), "{weights}");
    assert_eq!(all["fits"], true);
    assert_eq!(all["weights"], "resident");
    for less in [
        &["--twin", "none"][..],
        &["--rank", "2"],
        &["--base-precision", "int8"],
        &["--weights", "stream"],
        &["--recompute", "on"],
        &["--max-length", "64"],
    ] {
        let options = [&["--batch-pairs", "4", "--micro-batch-pairs", "4"], less].concat();
        let smaller = json(&options)["total"].as_u64().unwrap();
        assert!(smaller < total, "{less:?}: {smaller} of {total}");
    }
}

#[test]
fn people_read_the_same() {
    let ran = run(plan(&["--memory-limit", "4"]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for word in ["weights", "activations", "peak", "It fits into 4.0 GiB (--memory-limit)."] {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
}

/// Nothing is left to `auto`.
const FIXED: [&str; 4] = ["--weights", "resident", "--recompute", "off"];

/// The limit lies between what the run needs and what a smaller micro-batch needs.
#[test]
fn a_run_that_cannot_fit_is_refused_and_the_remedy_works() {
    let gib = |bytes: &Value| bytes.as_u64().unwrap() as f64 / (1u64 << 30) as f64;
    let sized = |micro| ["--batch-pairs", "4", "--micro-batch-pairs", micro];
    let whole = gib(&json(&sized("4"))["total"]);
    let small = gib(&json(&sized("1"))["total"]);
    let limit = format!("{}", (whole + small) / 2.0);
    let planned = json(&[&sized("4")[..], &FIXED, &["--memory-limit", &limit]].concat());
    assert_eq!(planned["fits"], false);
    let remedies = planned["remedies"].as_array().unwrap();
    assert!(remedies.iter().any(|r| r["options"] == "--micro-batch-pairs 1"), "{remedies:?}");

    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let start = |micro| {
        let mut command = program(["train", "--device", "cpu", "--probe-pairs", "4"]);
        command.arg("--model").arg(demo_model()).arg("--data").arg(demo_pairs());
        command.arg("--run").arg(&path).args(sized(micro));
        command.args(["--steps", "1", "--memory-limit", &limit]).args(FIXED);
        command
    };
    let message = refused(start("4"));
    assert!(message.contains("--micro-batch-pairs 1"), "{message}");
    assert!(message.contains("--memory-limit"), "{message}");
    assert!(!path.exists(), "a refused run leaves a folder");

    let ran = run(start("1"));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

/// Where the twin is what is too much, that is among the remedies; where nothing helps, that is said.
#[test]
fn the_twin_may_be_what_does_not_fit() {
    let least = ["--micro-batch-pairs", "1", "--recompute", "on", "--weights", "stream"];
    let least =
        [&least[..], &["--base-precision", "nf4", "--max-length", "64", "--rank", "128"]].concat();
    let gib = |more: &[&str]| {
        let total = json(&[&least[..], more].concat())["total"].as_u64().unwrap();
        total as f64 / (1u64 << 30) as f64
    };
    let (both, alone) = (gib(&[]), gib(&["--twin", "none"]));
    assert!(alone < both);
    let limit = format!("{}", (both + alone) / 2.0);
    let planned = json(&[&least[..], &["--memory-limit", &limit]].concat());
    assert_eq!(planned["remedies"][0]["options"], "--twin none", "{}", planned["remedies"]);
    let planned = json(&[&least[..], &["--memory-limit", "0.001"]].concat());
    assert_eq!((&planned["fits"], &planned["remedies"]), (&false.into(), &serde_json::json!([])));
}

/// The CPU has no products in f16: the plan says so, and nothing starts.
#[test]
fn arithmetic_that_the_device_lacks_is_refused() {
    let planned = json(&["--compute-precision", "f16"]);
    let told = planned["unsupported"].as_str().unwrap();
    assert!(told.contains("CPU") && told.contains("--compute-precision f32"), "{told}");
    let root = tempfile::tempdir().unwrap();
    let mut command = program(["train", "--device", "cpu", "--compute-precision", "f16"]);
    command.arg("--model").arg(demo_model()).arg("--data").arg(demo_pairs());
    command.arg("--run").arg(root.path().join("run")).env("DPOP_STUDIO_RUNS", root.path());
    let ran = run(command);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("--compute-precision f32"), "{}", ran.stderr);
}

/// Where only streaming fits, `auto` streams, says so, and trains the same adapter.
#[test]
fn auto_streams_what_does_not_fit() {
    let root = tempfile::tempdir().unwrap();
    // One pair at a time, so that weights are most of the need.
    let options = [
        &["--micro-batch-pairs", "1", "--max-length", "64", "--rank", "1", "--twin", "none"][..],
        &["--recompute", "off"],
    ]
    .concat();
    let gib = |bytes: &Value| bytes.as_u64().unwrap() as f64 / (1u64 << 30) as f64;
    let resident = gib(&json(&options)["total"]);
    let streamed = gib(&json(&[&options[..], &["--weights", "stream"]].concat())["total"]);
    assert!(streamed < resident);
    let limit = format!("{}", (resident + streamed) / 2.0);
    let planned = json(&[&options[..], &["--memory-limit", &limit]].concat());
    assert_eq!((&planned["weights"], &planned["fits"]), (&"stream".into(), &true.into()));

    let mut adapters = Vec::new();
    for (name, limit) in [("streamed", limit.as_str()), ("resident", "0")] {
        let path = root.path().join(name);
        let mut command = program(["train", "--device", "cpu", "--probe-pairs", "4"]);
        command.arg("--model").arg(demo_model()).arg("--data").arg(demo_pairs());
        command.arg("--run").arg(&path).args(&options).env("DPOP_STUDIO_RUNS", root.path());
        command.args(["--steps", "2", "--json", "--memory-limit", limit]);
        let ran = run(command);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let told = ran.events().iter().any(
            |event| matches!(event, Event::Warning { message } if message.contains("streamed")),
        );
        assert_eq!(told, name == "streamed");
        adapters.push(std::fs::read(path.join("adapter/adapter_model.safetensors")).unwrap());
    }
    assert_eq!(adapters[0], adapters[1]);
}

/// Where the activations do not fit, `auto` computes blocks again, says so, and trains the same adapter.
#[test]
fn auto_recomputes_what_does_not_fit() {
    let root = tempfile::tempdir().unwrap();
    let options = ["--batch-pairs", "4", "--micro-batch-pairs", "4", "--twin", "none"];
    let gib = |bytes: &Value| bytes.as_u64().unwrap() as f64 / (1u64 << 30) as f64;
    let kept = gib(&json(&options)["total"]);
    let again = gib(&json(&[&options[..], &["--recompute", "on"]].concat())["total"]);
    assert!(again < 0.7 * kept, "{again} of {kept}");
    let limit = format!("{}", (kept + again) / 2.0);
    let planned = json(&[&options[..], &["--memory-limit", &limit]].concat());
    assert_eq!((&planned["recompute"], &planned["weights"]), (&true.into(), &"resident".into()));
    assert_eq!(planned["fits"], true);

    let mut adapters = Vec::new();
    for (name, limit) in [("again", limit.as_str()), ("kept", "0")] {
        let path = root.path().join(name);
        let mut command = program(["train", "--device", "cpu", "--probe-pairs", "4"]);
        command.arg("--model").arg(demo_model()).arg("--data").arg(demo_pairs());
        command.arg("--run").arg(&path).args(options).args(["--dropout", "0.1"]);
        command.args(["--steps", "2", "--json", "--memory-limit", limit]);
        let ran = run(command);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let told = ran.events().iter().any(
            |event| matches!(event, Event::Warning { message } if message.contains("computed again")),
        );
        assert_eq!(told, name == "again");
        adapters.push(std::fs::read(path.join("adapter/adapter_model.safetensors")).unwrap());
    }
    assert_eq!(adapters[0], adapters[1]);
}
