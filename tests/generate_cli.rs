//! Does `dpop-studio generate` write what the model says, whole and in pieces, and name what is wrong?

mod common;
mod program;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use program::{Ran, demo_model, program, refused, repository, run, train};
use serde_json::Value;

const PROMPT: &str = "Question: Sam has 64 eggs. Sam sells 15 eggs on Monday and 10 eggs on Friday. Eva has 2 times \
                      what is left. How many eggs does Eva have?\nAnswer:";
const ANSWER: &str = " After Monday there are 64 - 15 = 49 eggs. After Friday there are 49 - 10 = 39 eggs. So Eva has \
                      39 * 2 = 78 eggs. #### 78";

fn generate(more: &[&str]) -> Command {
    let mut command = program(["generate", "--device", "cpu", "--model"]);
    command.arg(demo_model()).args(more);
    command
}

fn text(command: Command) -> String {
    let ran = run(command);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran.stdout
}

fn json(command: Command) -> Value {
    serde_json::from_str(&text(command)).unwrap()
}

#[test]
fn a_greedy_answer_is_written_as_text_and_as_json() {
    assert_eq!(text(generate(&["--prompt", PROMPT])), format!("{ANSWER}\n"));
    let told = json(generate(&["--prompt", PROMPT, "--json"]));
    assert_eq!(told["prompt_tokens"], 48);
    let written = &told["texts"][0];
    assert_eq!((&written["arm"], &written["text"]), (&"reference".into(), &ANSWER.into()));
    assert_eq!((&written["finish"], written["ids"].as_array().unwrap().len()), (&"end".into(), 53));
    assert!(written["tokens_per_second"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_prompt_may_come_from_a_file_or_from_stdin() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prompt.txt");
    std::fs::write(&file, format!("{PROMPT}\n")).unwrap();
    let file = file.to_string_lossy();
    assert_eq!(text(generate(&["--prompt-file", &file])), format!("{ANSWER}\n"));

    let mut command = generate(&["--prompt-file", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(PROMPT.as_bytes()).unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((said, child.wait().unwrap().code()), (format!("{ANSWER}\n"), Some(0)));
}

#[test]
fn stops_limits_and_seeds_do_what_they_say() {
    let first = " After Monday there are 64 - 15 = 49 eggs\n";
    assert_eq!(text(generate(&["--prompt", PROMPT, "--stop", "xyz", "--stop", "."])), first);
    let told = json(generate(&["--prompt", PROMPT, "--stop", " eggs. Af", "--json"]));
    assert_eq!(told["texts"][0]["text"], " After Monday there are 64 - 15 = 49");
    assert_eq!(told["texts"][0]["finish"], "stopped");
    let told = json(generate(&["--prompt", PROMPT, "--max-new-tokens", "5", "--json"]));
    assert_eq!(told["texts"][0]["finish"], "length");
    assert_eq!(told["texts"][0]["ids"].as_array().unwrap().len(), 5);

    let drawn = |seed: &str| {
        text(generate(&["--prompt", "Question:", "--temperature", "1.5", "--seed", seed]))
    };
    assert_eq!(drawn("1"), drawn("1"));
    assert_ne!(drawn("1"), drawn("2"));
    // Drawing from one token is greedy.
    let one = ["--prompt", PROMPT, "--temperature", "1", "--top-k", "1"];
    assert_eq!(text(generate(&one)), format!("{ANSWER}\n"));
    let ran = run(generate(&["--prompt", PROMPT, "--top-k", "3"]));
    assert!(ran.stderr.contains("warning: --top-p and --top-k"), "{}", ran.stderr);
}

#[test]
fn fewer_bits_and_streamed_weights_write_too() {
    for more in [["--base-precision", "int8"], ["--weights", "stream"]] {
        let mut command = generate(&["--prompt", PROMPT]);
        command.args(more);
        assert_eq!(text(command), format!("{ANSWER}\n"), "{more:?}");
    }
}

/// `assets/demo` with a chat template.
fn chat_model() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(demo_model()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let template = "{{ bos_token }}{% for message in messages %}Question: {{ message.content }}\n{% endfor %}\
                    {% if add_generation_prompt %}Answer:{% endif %}";
    std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    folder
}

#[test]
fn a_chat_template_is_used_where_there_is_one() {
    let model = chat_model();
    let ask = |more: &[&str]| -> Ran {
        let mut command = program(["generate", "--device", "cpu", "--model"]);
        command.arg(model.path()).args(more);
        run(command)
    };
    let question = PROMPT.strip_prefix("Question: ").unwrap().strip_suffix("\nAnswer:").unwrap();
    assert_eq!(ask(&["--prompt", question]).stdout, format!("{ANSWER}\n"));
    assert_eq!(ask(&["--prompt", question, "--chat"]).stdout, format!("{ANSWER}\n"));
    assert_eq!(ask(&["--prompt", PROMPT, "--no-chat"]).stdout, format!("{ANSWER}\n"));
    assert_ne!(ask(&["--prompt", question, "--no-chat"]).stdout, format!("{ANSWER}\n"));
    let message = refused(generate(&["--prompt", "x", "--chat"]));
    assert!(message.contains("no chat template"), "{message}");
}

/// A short run of the demo that changes its adapters.
fn trained() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let ran = run(train(&path, &["--steps", "40", "--learning-rate", "4e-3", "--seed", "3"]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    (root, path)
}

#[test]
fn a_run_speaks_with_all_its_voices() {
    let (_root, path) = trained();
    let of_run = |more: &[&str]| {
        let mut command = program(["generate", "--device", "cpu", "--prompt", PROMPT, "--run"]);
        command.arg(&path).args(more);
        command
    };
    let told = json(of_run(&["--json"]));
    assert_eq!(told["step"], 40);
    let texts = told["texts"].as_array().unwrap();
    let arms: Vec<&str> = texts.iter().map(|text| text["arm"].as_str().unwrap()).collect();
    assert_eq!(arms, ["reference", "dpop", "dpo"]);
    assert_eq!(texts[0]["text"], ANSWER);
    // Each arm alone says the same.
    let alone = |adapter: &Path| {
        let mut command = generate(&["--prompt", PROMPT, "--json", "--adapter"]);
        command.arg(adapter);
        json(command)["texts"][0]["text"].clone()
    };
    assert_eq!(texts[1]["text"], alone(&path.join("adapter")));
    assert_eq!(texts[2]["text"], alone(&path.join("checkpoint-40/dpo")));
    let shown = text(of_run(&[]));
    assert!(
        shown.starts_with(&format!("--- reference\n{ANSWER}\n--- dpop after 40 steps\n")),
        "{shown}"
    );
}

#[test]
fn what_is_wrong_is_named() {
    let long = "eggs ".repeat(300);
    let message = refused(generate(&["--prompt", &long]));
    assert!(
        message.contains("max_position_embeddings") && message.contains("Shorten"),
        "{message}"
    );
    for (arguments, part) in [
        (&["--prompt", "x", "--temperature", "-1"][..], "at least 0"),
        (&["--prompt", "x", "--top-p", "0"], "above 0"),
        (&["--prompt", "x", "--prompt-file", "y"], "cannot be used with"),
        (&["--chat", "--no-chat", "--prompt", "x"], "cannot be used with"),
        (&[], "--prompt"),
        (&["--prompt-file", "nowhere.txt"], "nowhere.txt"),
        (&["--prompt", "x", "--adapter", "nowhere"], "nowhere"),
    ] {
        let ran = run(generate(arguments));
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(part), "{arguments:?}: {}", ran.stderr);
    }
    let mut command = program(["generate", "--prompt", "x", "--device", "gpu", "--model"]);
    command.arg(demo_model());
    assert!(refused(command).contains("dpop-studio devices"));
    let empty = tempfile::tempdir().unwrap();
    let mut command = program(["generate", "--prompt", "x", "--run"]);
    command.arg(empty.path());
    assert!(refused(command).contains("run.json"));
    let ran = run(program(["generate", "--prompt", "x"]));
    assert!(ran.code == Some(2) && ran.stderr.contains("--model"), "{}", ran.stderr);
}

/// The text that fills the model's context ends with a warning.
#[test]
fn a_full_context_ends_the_text() {
    let models = repository("../shared/data/models/stories260K-hf");
    if !models.is_dir() {
        eprintln!("SKIPPED: {} is not here", models.display());
        return;
    }
    let mut command = program(["generate", "--device", "cpu", "--max-new-tokens", "2000"]);
    command.args(["--prompt", "Once upon a time", "--model"]).arg(&models);
    let ran = run(command);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.starts_with(", there was a"), "{}", ran.stdout);
    assert!(ran.stderr.contains("context is full"), "{}", ran.stderr);
}
