//! Do pairs become the token ids that transformers and TRL give?

use std::fs;
use std::path::{Path, PathBuf};

use dpop_studio::data::{
    Dataset, Message, PreferencePair, Text, TokenizedDataset, TokenizedPair, Tokenizer,
    TokenizerError, load,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// No bound on the length.
const LONG: usize = 1 << 30;

fn repo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn shared(name: &str) -> Option<PathBuf> {
    let path = repo("../shared/data").join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is absent", path.display());
        return None;
    }
    Some(path)
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn demo() -> Tokenizer {
    Tokenizer::open(&repo("assets/demo/tiny-math-llama")).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Loads rows from JSON values and tokenises them.
fn tokenise(tokenizer: &Tokenizer, rows: &[Value], max_length: usize) -> TokenizedDataset {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    fs::write(&path, lines.join("\n")).unwrap();
    tokenizer.tokenize(&load(&path).unwrap(), max_length)
}

/// A copy of the demo tokenizer's folder with one file changed.
fn demo_with(file: &str, content: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(repo("assets/demo/tiny-math-llama").join(name), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join(file), content).unwrap();
    folder
}

/// The ids that TRL's own trainer used for the trajectories (its tokenising was compared with TRL's).
#[test]
fn plain_pairs_have_trls_ids() {
    let goldens = json_file(&repo("tests/fixtures/traj/pairs.json"));
    let goldens = goldens.as_array().unwrap();
    let rows: Vec<Value> = goldens
        .iter()
        .map(|g| json!({"prompt": g["prompt"], "chosen": g["chosen"], "rejected": g["rejected"]}))
        .collect();
    let out = tokenise(&demo(), &rows, 1024);
    assert_eq!(out.pairs.len(), goldens.len());
    assert_eq!((out.truncated, out.prefix_mismatch), (0, 0));
    for (pair, golden) in out.pairs.iter().zip(goldens) {
        assert_eq!(pair.prompt_ids, ids(&golden["prompt_ids"]));
        assert_eq!(pair.chosen_ids, ids(&golden["chosen_ids"]));
        assert_eq!(pair.rejected_ids, ids(&golden["rejected_ids"]));
    }
}

/// llama.cpp's hard texts, with the ids of the original tokenizers.
#[test]
fn ggml_texts_have_their_ids() {
    for (vocabulary, model) in [("qwen2", "qwen2.5-0.5b-instruct")] {
        let Some(folder) = shared("tokenizers") else { return };
        let tokenizer = Tokenizer::open(&folder.join(model)).unwrap();
        let read = |ending: &str| {
            fs::read_to_string(
                folder.join(format!("ggml-vocab/ggml-vocab-{vocabulary}.gguf.{ending}")),
            )
            .unwrap()
        };
        let (texts, expected) = (read("inp"), read("out"));
        let texts: Vec<&str> = texts
            .strip_suffix("\n__ggml_vocab_test__\n")
            .unwrap()
            .split("\n__ggml_vocab_test__\n")
            .collect();
        let expected: Vec<&str> = expected.lines().collect();
        assert_eq!(texts.len(), expected.len());
        assert!(texts.len() >= 45);
        for (text, line) in texts.iter().zip(expected) {
            let line: Vec<u32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
            assert_eq!(tokenizer.encode(text, false).unwrap(), line, "{text:?}");
            assert_eq!(&tokenizer.decode(&line).unwrap(), text);
        }
    }
}

/// A real SentencePiece-style tokenizer on real rows, as the log-prob oracle tokenised them.
#[test]
fn real_rows_have_the_oracles_ids() {
    let (Some(model), Some(oracle), Some(data)) = (
        shared("models/stories260K-hf"),
        shared("oracles/stories260K_rasbt_rows0-39_logps.json"),
        shared("preferences/rasbt_instruction-data-with-preference.json"),
    ) else {
        return;
    };
    let out = Tokenizer::open(&model).unwrap().tokenize(&load(&data).unwrap(), 512);
    let oracle = json_file(&oracle);
    let rows = oracle["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 40);
    assert_eq!(out.without_template, out.pairs.len(), "this base model has no chat template");
    for golden in rows {
        let row = golden["row"].as_u64().unwrap() as usize;
        let pair = out.pairs.iter().find(|p| p.row == row).unwrap();
        assert_eq!(pair.prompt_ids, ids(&golden["prompt_ids"]), "row {row}");
        assert_eq!(
            [pair.prompt_ids.clone(), pair.chosen_ids.clone()].concat(),
            ids(&golden["chosen"]["input_ids"]),
            "row {row}"
        );
        assert_eq!(
            [pair.prompt_ids.clone(), pair.rejected_ids.clone()].concat(),
            ids(&golden["rejected"]["input_ids"]),
            "row {row}"
        );
    }
}

/// Whole published files through two real models' tokenizers and chat templates: the hash of every
/// id equals that of Python's tokenizers, Jinja and TRL's split (tests/goldens/data_goldens.py).
#[test]
fn whole_files_have_the_ids_of_python() {
    let goldens = json_file(&repo("tests/goldens/data.json"));
    for golden in goldens["tokenised"].as_array().unwrap() {
        let (model, file) = (golden["model"].as_str().unwrap(), golden["file"].as_str().unwrap());
        let (Some(folder), Some(data)) = (shared(model), shared(&format!("preferences/{file}")))
        else {
            return;
        };
        let out = Tokenizer::open(&folder).unwrap().tokenize(&load(&data).unwrap(), LONG);
        let mut hash = Sha256::new();
        let mut tokens = 0;
        for pair in &out.pairs {
            for part in [&pair.prompt_ids, &pair.chosen_ids, &pair.rejected_ids] {
                tokens += part.len();
                let part: Vec<String> = part.iter().map(u32::to_string).collect();
                hash.update(part.join(" ") + "\n");
            }
        }
        let hash: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        let found = json!([out.pairs.len(), tokens, out.prefix_mismatch, hash]);
        let expected =
            json!([golden["pairs"], golden["tokens"], golden["prefix_mismatch"], golden["sha256"]]);
        assert_eq!(found, expected, "{model} on {file}; dropped: {:?}", out.skipped);
    }
}

/// A conversation through Qwen's template; ids by Python's tokenizers and jinja2.
#[test]
fn conversations_go_through_the_template() {
    let Some(folder) = shared("tokenizers/qwen2.5-0.5b-instruct") else { return };
    let tokenizer = Tokenizer::open(&folder).unwrap();
    let row = json!({
        "prompt": [
            {"role": "system", "content": "You answer in one sentence."},
            {"role": "user", "content": "Was ist 17 + 25? 🙂\n  (kurz)"},
        ],
        "chosen": [{"role": "assistant", "content": "Das Ergebnis ist 42."}],
        "rejected": [{"role": "assistant", "content": "Das Ergebnis ist 43, glaube ich."}],
    });
    let out = tokenise(&tokenizer, &[row], 1024);
    let pair = &out.pairs[0];
    assert_eq!(
        pair.prompt_ids,
        [
            151644, 8948, 198, 2610, 4226, 304, 825, 11652, 13, 151645, 198, 151644, 872, 198,
            26034, 5999, 220, 16, 22, 488, 220, 17, 20, 30, 27484, 198, 220, 320, 68317, 89, 8,
            151645, 198, 151644, 77091, 198
        ]
    );
    assert_eq!(pair.chosen_ids, [32617, 78796, 285, 5999, 220, 19, 17, 13, 151645, 198]);
    assert_eq!(
        pair.rejected_ids,
        [32617, 78796, 285, 5999, 220, 19, 18, 11, 2770, 64, 3760, 10638, 13, 151645, 198]
    );
    assert_eq!(tokenizer.decode(&pair.chosen_ids).unwrap(), "Das Ergebnis ist 42.<|im_end|>\n");
    assert_eq!(tokenizer.decode_answer(&pair.chosen_ids).unwrap(), "Das Ergebnis ist 42.\n");
    assert_eq!((tokenizer.eos_token(), tokenizer.eos_id()), ("<|im_end|>", 151645));
    assert_eq!(tokenizer.vocab_size(), 151665);
    assert_eq!([77091, 488, 198].map(|id| tokenizer.token_text(id)), ["assistant", " +", "\n"]);
}

#[test]
fn answers_end_with_eos_once() {
    let tokenizer = demo();
    let rows = [json!({"prompt": "Q:", "chosen": " 4", "rejected": " 5</s>"})];
    let pair = &tokenise(&tokenizer, &rows, 64).pairs[0];
    for answer in [&pair.chosen_ids, &pair.rejected_ids] {
        assert_eq!(answer.iter().filter(|id| **id == tokenizer.eos_id()).count(), 1, "{answer:?}");
        assert_eq!(answer.last(), Some(&tokenizer.eos_id()));
    }
    assert_eq!(pair.prompt_ids[0], 1, "BOS, once");
    assert!(!pair.chosen_ids.contains(&1));
}

/// A prompt whose last token merges with the answer gives that token up to both answers.
#[test]
fn a_prompt_that_merges_with_its_answer_is_split_earlier() {
    let tokenizer = demo();
    let rows = [json!({"prompt": "There are ", "chosen": "cards.", "rejected": "16 cards."})];
    let out = tokenise(&tokenizer, &rows, 64);
    let alone = tokenizer.encode("There are ", true).unwrap();
    let pair = &out.pairs[0];
    assert_eq!(out.prefix_mismatch, 1);
    assert!(pair.prompt_ids.len() < alone.len());
    for (ids, text) in [
        (&pair.chosen_ids, "There are cards.</s>"),
        (&pair.rejected_ids, "There are 16 cards.</s>"),
    ] {
        assert_eq!(
            [pair.prompt_ids.as_slice(), ids].concat(),
            tokenizer.encode(text, true).unwrap()
        );
    }
}

#[test]
fn long_rows_lose_their_end_and_hopeless_ones_are_dropped() {
    let tokenizer = demo();
    let rows = [
        json!({"prompt": "Question: 2 + 2?", "chosen": " 4 4 4 4 4 4 4 4", "rejected": " 5"}),
        json!({"prompt": "Question: 2 + 2?".repeat(10), "chosen": " 4", "rejected": " 5"}),
        json!({"prompt": "Question: 2 + 2?", "chosen": " 4 4 4 4 4 4 4 4 4", "rejected": " 4 4 4 4 4 4 4 4 5"}),
        json!({"prompt": "Question: 2 + 2?", "chosen": " 4", "rejected": " 5"}),
    ];
    let prompt = tokenizer.encode("Question: 2 + 2?", true).unwrap().len();
    let out = tokenise(&tokenizer, &rows, prompt + 5);
    let kept: Vec<usize> = out.pairs.iter().map(|p| p.row).collect();
    assert_eq!((kept, out.truncated), (vec![0, 3], 1));
    assert_eq!(out.pairs[0].chosen_ids.len(), 5);
    let whole = tokenizer.encode("Question: 2 + 2? 4 4 4 4 4 4 4 4</s>", true).unwrap();
    assert_eq!(
        [out.pairs[0].prompt_ids.as_slice(), &out.pairs[0].chosen_ids].concat(),
        whole[..prompt + 5]
    );
    let reasons: Vec<String> = out.skipped.iter().map(ToString::to_string).collect();
    assert!(
        reasons[0].starts_with("row 1, field `prompt`: alone has")
            && reasons[0].contains("--max-length"),
        "{reasons:?}"
    );
    assert!(
        reasons[1].starts_with("row 2, field `rejected`: is the same as `chosen` within"),
        "{reasons:?}"
    );
    // TRL keeps a prompt of max_length - 1 and drops one of max_length.
    let row = [json!({"prompt": "Question: 2 + 2?", "chosen": "4", "rejected": "5"})];
    assert_eq!(tokenise(&tokenizer, &row, prompt + 1).pairs.len(), 1);
    let dropped = tokenise(&tokenizer, &row, prompt);
    assert!(dropped.skipped[0].reason.starts_with("alone has"), "{:?}", dropped.skipped);
}

#[test]
fn given_ids_are_kept_and_checked() {
    let tokenizer = demo();
    let row = |c: u32| json!({"prompt_input_ids": [1, 300], "chosen_input_ids": [c, 9], "rejected_input_ids": [11, 2]});
    let out = tokenise(&tokenizer, &[row(10), row(511), row(512)], 64);
    let expected = TokenizedPair {
        row: 0,
        prompt_ids: vec![1, 300],
        chosen_ids: vec![10, 9],
        rejected_ids: vec![11, 2],
    };
    assert_eq!(out.pairs[0], expected);
    assert_eq!(out.pairs.len(), 2);
    let text = out.skipped[0].to_string();
    assert!(
        text.contains("row 2, field `chosen`: has token id 512") && text.contains("below 512"),
        "{text}"
    );
}

#[test]
fn a_base_model_takes_single_questions_as_plain_text() {
    let tokenizer = demo();
    let single = json!({"instruction": "Add 2 + 2.", "input": "", "chosen": "4", "rejected": "5"});
    let several = json!({"instruction": "And 3?", "history": [["Add 2 + 2.", "4"]], "chosen": "7", "rejected": "8"});
    let out = tokenise(&tokenizer, &[single, several], 64);
    assert_eq!((out.pairs.len(), out.without_template), (1, 1));
    let pair = &out.pairs[0];
    assert_eq!(
        [pair.prompt_ids.as_slice(), &pair.chosen_ids].concat(),
        tokenizer.encode("Add 2 + 2.\n4</s>", true).unwrap()
    );
    let text = out.skipped[0].to_string();
    assert!(text.contains("no chat template; choose an instruct model"), "{text}");
}

#[test]
fn a_conversation_the_template_refuses_is_dropped_with_its_words() {
    let template = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('No system role!') }}{% endif %}{{ m.content }}{% endfor %}";
    let folder = demo_with("chat_template.jinja", template);
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let row = json!({"system": "Be brief.", "instruction": "a", "chosen": "4", "rejected": "5"});
    let out = tokenise(&tokenizer, &[row], 64);
    let text = out.skipped[0].to_string();
    assert!(text.contains("refuses this conversation: No system role!"), "{text}");
}

#[test]
fn prompts_for_generation_match_those_of_training() {
    let tokenizer = demo();
    let prompt = tokenizer.encode_prompt(&Text::Plain("Question: 2?".to_owned())).unwrap();
    assert_eq!(prompt, tokenizer.encode("Question: 2?", true).unwrap());
    let Some(folder) = shared("tokenizers/qwen2.5-0.5b-instruct") else { return };
    let question = vec![Message { role: "user".to_owned(), content: "2?".to_owned() }];
    let tokenizer = Tokenizer::open(&folder).unwrap();
    let text =
        tokenizer.decode(&tokenizer.encode_prompt(&Text::Messages(question)).unwrap()).unwrap();
    assert!(text.ends_with("<|im_start|>user\n2?<|im_end|>\n<|im_start|>assistant\n"), "{text}");
}

#[test]
fn pieces_of_both_alphabets_are_readable() {
    let tokenizer = demo();
    for text in ["First there are 4 * 4 = 16 cards.", "Żółw 🙂"] {
        let ids = tokenizer.encode(text, false).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        let pieces = tokenizer.token_texts(&ids);
        assert_eq!((pieces.len(), pieces.concat()), (ids.len(), text.to_owned()));
    }
    let ids = tokenizer.encode(" cards\n", false).unwrap();
    let pieces: String = ids.iter().map(|id| tokenizer.token_text(*id)).collect();
    assert_eq!(pieces, " cards\n");
    assert_eq!(tokenizer.token_text(2), "</s>");
    assert_eq!(tokenizer.token_text(99_999), "<99999?>");
    let Some(folder) = shared("models/stories260K-hf") else { return };
    let tokenizer = Tokenizer::open(&folder).unwrap();
    let pieces: String = tokenizer
        .encode("the cat\n", false)
        .unwrap()
        .iter()
        .map(|id| tokenizer.token_text(*id))
        .collect();
    assert_eq!(pieces, " the cat\n");
}

/// Lengths saved in tokenizer.json must not cut or pad here.
#[test]
fn saved_truncation_and_padding_are_ignored() {
    let mut saved = json_file(&repo("assets/demo/tiny-math-llama/tokenizer.json"));
    saved["truncation"] =
        json!({"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
    saved["padding"] = json!({"strategy": {"Fixed": 40}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"});
    let folder = demo_with("tokenizer.json", &saved.to_string());
    let text = "First there are 4 * 4 = 16 cards.";
    assert_eq!(
        Tokenizer::open(folder.path()).unwrap().encode(text, true).unwrap(),
        demo().encode(text, true).unwrap()
    );
}

#[test]
fn broken_folders_are_named_with_a_remedy() {
    let open = |folder: &Path| Tokenizer::open(folder).unwrap_err();
    let empty = tempfile::tempdir().unwrap();
    let text = open(empty.path()).to_string();
    assert!(text.contains("has no tokenizer.json; download it"), "{text}");
    fs::write(empty.path().join("tokenizer.model"), "x").unwrap();
    assert!(open(empty.path()).to_string().contains("save_pretrained"));
    assert!(matches!(open(&repo("Cargo.toml")), TokenizerError::NotAFolder(_)));
    let pointer =
        demo_with("tokenizer.json", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
    let text = open(pointer.path()).to_string();
    assert!(text.contains("Git LFS pointer") && text.contains("git lfs pull"), "{text}");
    let torn = demo_with("tokenizer.json", "{\"version\": \"1.0\", ");
    assert!(matches!(open(torn.path()), TokenizerError::Invalid { .. }));
    let unknown = demo_with("tokenizer_config.json", r#"{"eos_token": "<|nope|>"}"#);
    assert!(open(unknown.path()).to_string().contains("`<|nope|>`"));
    let none = demo_with("tokenizer_config.json", "{}");
    fs::write(none.path().join("config.json"), "{}").unwrap();
    assert!(matches!(open(none.path()), TokenizerError::NoEos(_)));
    fs::write(none.path().join("generation_config.json"), r#"{"eos_token_id": [2, 0]}"#).unwrap();
    assert_eq!(Tokenizer::open(none.path()).unwrap().eos_token(), "</s>");
    let template =
        demo_with("tokenizer_config.json", r#"{"eos_token": "</s>", "chat_template": "{% if %}"}"#);
    assert!(matches!(open(template.path()), TokenizerError::Template { .. }));
}

#[test]
fn order_and_rows_survive_parallel_work() {
    let pairs = (0..500)
        .map(|i| PreferencePair {
            row: 2 * i,
            prompt: Text::Plain(format!("Question {i}:")),
            chosen: Text::Plain(format!(" {i}")),
            rejected: Text::Plain(" no".to_owned()),
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.jsonl"), r#"{"prompt": "a", "chosen": "b", "rejected": "c"}"#)
        .unwrap();
    let data = Dataset { pairs, ..load(&folder.path().join("x.jsonl")).unwrap() };
    let tokenizer = demo();
    let out = tokenizer.tokenize(&data, 64);
    assert_eq!(out.pairs.len(), 500);
    for (i, pair) in out.pairs.iter().enumerate() {
        assert_eq!(pair.row, 2 * i);
        assert_eq!(tokenizer.decode_answer(&pair.chosen_ids).unwrap(), format!(" {i}"));
    }
}
