//! Which files load, as what, and what is said about those that do not?

use std::fs;
use std::path::{Path, PathBuf};

use dpop_studio::data::{DataError, Dataset, Schema, Text, load};

fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/preferences").join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is absent", path.display());
        return None;
    }
    Some(path)
}

/// Writes `bytes` to a file called `name` and loads it.
fn read(name: &str, bytes: impl AsRef<[u8]>) -> Result<Dataset, DataError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    load(&path)
}

fn error(name: &str, bytes: impl AsRef<[u8]>) -> String {
    read(name, bytes).unwrap_err().to_string()
}

const GOOD: &str = r#"{"prompt": "1 + 1 =", "chosen": " 2", "rejected": " 3"}"#;

/// The one complaint about a JSON line set between two good ones (rows 0 and 2, lines 1 and 3).
fn complaint(line: &str) -> String {
    let data = read("pairs.jsonl", format!("{GOOD}\n{line}\n{GOOD}\n")).unwrap();
    assert_eq!((data.rows, data.pairs.len(), data.skipped.len()), (3, 2, 1), "{:?}", data.skipped);
    assert_eq!((data.pairs[0].row, data.pairs[1].row), (0, 2));
    assert_eq!((data.skipped[0].row, data.skipped[0].line), (1, Some(2)));
    data.skipped[0].to_string()
}

fn plain(text: &str) -> Text {
    Text::Plain(text.to_owned())
}

/// `[("user", "..")]` of a text that must be messages.
fn turns(text: &Text) -> Vec<(&str, &str)> {
    match text {
        Text::Messages(messages) => {
            messages.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect()
        }
        other => panic!("not messages: {other:?}"),
    }
}

#[test]
fn published_files_load_with_every_usable_row() {
    // file, schema, rows, rows that cannot be used
    let files: [(&str, Schema, usize, &[usize]); 7] = [
        (
            "hh-rlhf_harmless-base_test_rows_1-1200.jsonl",
            Schema::HhRlhf,
            1200,
            &[86, 516, 925, 1103],
        ),
        ("llamafactory_dpo_en_demo.json", Schema::ShareGpt, 300, &[]),
        ("llamafactory_dpo_zh_demo.json", Schema::ShareGpt, 300, &[]),
        ("llamafactory_v1_dpo_demo.jsonl", Schema::ImpliedConversational, 10, &[]),
        (
            "rasbt_instruction-data-with-preference.json",
            Schema::Alpaca,
            1100,
            &[122, 226, 400, 566, 628, 676],
        ),
        ("ultrafeedback_noise_eval_clean.jsonl", Schema::Plain, 200, &[43]),
        (
            "ultrafeedback_noise_train_clean.jsonl",
            Schema::Plain,
            1000,
            &[306, 478, 655, 833, 910, 997],
        ),
    ];
    for (name, schema, rows, skipped) in files {
        let Some(path) = shared(name) else { continue };
        let data = load(&path).unwrap();
        assert_eq!((data.schema, data.rows), (schema, rows), "{name}");
        let dropped: Vec<usize> = data.skipped.iter().map(|s| s.row).collect();
        assert_eq!(dropped, skipped, "{name}: {:?}", data.skipped);
        assert_eq!(data.pairs.len(), rows - skipped.len(), "{name}");
    }
}

#[test]
fn rows_of_published_files_are_read_right() {
    if let Some(path) = shared("llamafactory_dpo_en_demo.json") {
        let data = load(&path).unwrap();
        assert_eq!(data.columns, ["conversations", "chosen", "rejected"]);
        let pair = &data.pairs[1];
        let roles: Vec<&str> = turns(&pair.prompt).iter().map(|(role, _)| *role).collect();
        assert_eq!(roles, ["system", "user"]);
        assert_eq!(turns(&pair.chosen)[0].0, "assistant");
    }
    if let Some(path) = shared("hh-rlhf_harmless-base_test_rows_1-1200.jsonl") {
        let data = load(&path).unwrap();
        for pair in &data.pairs {
            let (Text::Plain(prompt), Text::Plain(chosen)) = (&pair.prompt, &pair.chosen) else {
                panic!("row {} is no text", pair.row)
            };
            assert!(
                prompt.starts_with("\n\nHuman:") && prompt.ends_with("\n\nAssistant:"),
                "row {}",
                pair.row
            );
            assert!(!chosen.contains("\n\nHuman:"), "row {}", pair.row);
        }
    }
    if let Some(path) = shared("llamafactory_v1_dpo_demo.jsonl") {
        let pair = &load(&path).unwrap().pairs[0];
        assert_eq!(turns(&pair.prompt).len(), 2);
        assert!(turns(&pair.chosen)[0].1.starts_with("Abdulah Hasanagic is the proud owner"));
        assert!(turns(&pair.rejected)[0].1.starts_with(" Abdulah Hasanagic is the proud owner"));
    }
    if let Some(path) = shared("rasbt_instruction-data-with-preference.json") {
        let pair = &load(&path).unwrap().pairs[1];
        let question = "Edit the following sentence for grammar.\nHe go to the park every day.";
        assert_eq!(turns(&pair.prompt), [("user", question)]);
        assert_eq!(turns(&pair.chosen), [("assistant", "He goes to the park every day.")]);
    }
}

#[test]
fn an_unpaired_file_is_named_as_such() {
    let Some(path) = shared("llamafactory_kto_en_demo.json") else { return };
    let error = load(&path).unwrap_err();
    assert!(matches!(error, DataError::Unpaired { rows: 300, .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("unpaired (KTO)") && text.contains("Pair the liked and the disliked"),
        "{text}"
    );
}

#[test]
fn single_answers_are_named_as_such() {
    let text = error("sft.jsonl", r#"{"instruction": "a", "input": "", "output": "b"}"#);
    assert!(text.contains("single answers") && text.contains("`rejected`"), "{text}");
    let text = error("chat.jsonl", r#"{"messages": [{"role": "user", "content": "a"}]}"#);
    assert!(text.contains("single answers"), "{text}");
}

#[test]
fn every_schema_gives_the_same_pair() {
    let messages = |list: &[(&str, &str)]| {
        let items: Vec<String> =
            list.iter().map(|(r, c)| format!(r#"{{"role": "{r}", "content": "{c}"}}"#)).collect();
        format!("[{}]", items.join(", "))
    };
    let (u, y, n) = (
        messages(&[("user", "q")]),
        messages(&[("assistant", "yes")]),
        messages(&[("assistant", "no")]),
    );
    let (uy, un) = (
        messages(&[("user", "q"), ("assistant", "yes")]),
        messages(&[("user", "q"), ("assistant", "no")]),
    );
    let rows = [
        (Schema::Conversational, format!(r#"{{"prompt": {u}, "chosen": {y}, "rejected": {n}}}"#)),
        (Schema::Conversational, format!(r#"{{"prompt": "q", "chosen": {y}, "rejected": {n}}}"#)),
        (Schema::Conversational, format!(r#"{{"prompt": {u}, "chosen": "yes", "rejected": "no"}}"#)),
        (Schema::Conversational, format!(r#"{{"prompt": {u}, "chosen": {uy}, "rejected": {un}}}"#)),
        (Schema::Conversational, r#"{"system": "", "question": "q", "chosen": "yes", "rejected": "no"}"#.to_owned()),
        (Schema::ImpliedConversational, format!(r#"{{"prompt": "q", "chosen": {uy}, "rejected": {un}}}"#)),
        (Schema::ImpliedConversational, format!(r#"{{"chosen": {uy}, "rejected": {un}}}"#)),
        (Schema::ImpliedConversational, format!(r#"{{"chosen_messages": {uy}, "rejected_messages": {un}}}"#)),
        (Schema::Alpaca, r#"{"instruction": "q", "input": "", "chosen": "yes", "rejected": "no"}"#.to_owned()),
        (
            Schema::ShareGpt,
            r#"{"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "yes"}, "rejected": {"from": "gpt", "value": "no"}}"#.to_owned(),
        ),
    ];
    for (schema, row) in rows {
        let data = read("pairs.jsonl", &row).unwrap();
        assert_eq!(data.schema, schema, "{row}");
        let pair = &data.pairs[0];
        assert_eq!(turns(&pair.prompt), [("user", "q")], "{row}");
        assert_eq!(turns(&pair.chosen), [("assistant", "yes")], "{row}");
        assert_eq!(turns(&pair.rejected), [("assistant", "no")], "{row}");
    }
}

#[test]
fn system_texts_and_histories_come_first() {
    let row = r#"{"system": "Be brief.", "instruction": "q", "input": "x", "history": [["a", "b"]], "chosen": "yes", "rejected": "no"}"#;
    let data = read("pairs.jsonl", row).unwrap();
    let expected = [("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "q\nx")];
    assert_eq!(turns(&data.pairs[0].prompt), expected);
}

#[test]
fn a_prompt_is_implied_as_trl_implies_it() {
    // chosen, rejected, prompt; the space before the difference belongs to the answers.
    for (chosen, rejected, prompt) in [
        ("Sky is blue.", "Sky is green.", "Sky is"),
        ("Ja: äb", "Ja: äc", "Ja: ä"),
        ("2+2=4", "2+2=5", "2+2="),
        // One begins with the other: TRL keeps the last shared character in the answers.
        ("abc", "abcd", "ab"),
    ] {
        let row = serde_json::json!({"chosen": chosen, "rejected": rejected});
        let data = read("pairs.jsonl", row.to_string()).unwrap();
        assert_eq!(data.schema, Schema::ImpliedPlain);
        let pair = &data.pairs[0];
        assert_eq!(pair.prompt, plain(prompt));
        assert_eq!(pair.chosen, plain(&chosen[prompt.len()..]));
        assert_eq!(pair.rejected, plain(&rejected[prompt.len()..]));
    }
}

#[test]
fn token_ids_are_taken_as_they_are() {
    for names in [
        ["prompt_input_ids", "chosen_input_ids", "rejected_input_ids"],
        ["prompt_ids", "chosen_ids", "rejected_ids"],
    ] {
        let row = format!(
            r#"{{"{}": [1, 5], "{}": [7, 2], "{}": [8, 2]}}"#,
            names[0], names[1], names[2]
        );
        let data = read("ids.jsonl", row).unwrap();
        assert_eq!(data.schema, Schema::PreTokenised);
        assert_eq!(data.pairs[0].prompt, Text::Ids(vec![1, 5]));
        assert_eq!(data.pairs[0].rejected, Text::Ids(vec![8, 2]));
    }
    let text = complaint(
        r#"{"prompt_input_ids": [1], "chosen_input_ids": [7, -2], "rejected_input_ids": [8]}"#,
    );
    assert!(text.contains("`chosen_input_ids`") && text.contains("-2 at position 1"), "{text}");
}

#[test]
fn layout_is_recognised_by_content() {
    let pretty = "{\n \"prompt\": \"a\",\n \"chosen\": \"b\",\n \"rejected\": \"c\"\n}";
    for (name, text, rows) in [
        ("bom.jsonl", format!("\u{feff}{GOOD}\n"), 1),
        ("crlf.jsonl", format!("{GOOD}\r\n\r\n{GOOD}\r\n"), 2),
        ("blank.jsonl", format!("\n\n  \n{GOOD}\n\n{GOOD}\n \n"), 2),
        ("no-end.jsonl", format!("{GOOD}\n{GOOD}"), 2),
        ("list.json", format!("[{GOOD},\n {GOOD}]"), 2),
        ("bom.json", format!("\u{feff} [{GOOD}]"), 1),
        ("list-called.jsonl", format!("[{GOOD}, {GOOD}]"), 2),
        ("lines-called.json", format!("{GOOD}\n{GOOD}\n"), 2),
        ("data.json", format!("{{\"version\": 1, \"data\": [{GOOD}]}}"), 1),
        (
            "train.json",
            format!("{{\n \"train\": [\n{GOOD},\n{GOOD}\n],\n \"test\": [{GOOD}]\n}}"),
            2,
        ),
        ("data-called.jsonl", format!("{{\"data\": [\n{GOOD}]}}"), 1),
        ("viewer.json", format!("{{\"rows\": [{{\"row_idx\": 0, \"row\": {GOOD}}}]}}"), 1),
        ("one.json", pretty.to_owned(), 1),
    ] {
        let data = read(name, text).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((data.rows, data.pairs.len()), (rows, rows), "{name}");
    }
    let data = read("blank.jsonl", format!("\n\n{{\"prompt\": 1}}\n{GOOD}\n")).unwrap();
    assert_eq!((data.skipped[0].row, data.skipped[0].line), (0, Some(3)));
}

#[test]
fn a_bad_row_is_skipped_and_named() {
    let cut = complaint(&GOOD[..30]);
    assert!(
        cut.starts_with("line 2 (row 1)") && cut.contains("cut off after 30 characters"),
        "{cut}"
    );
    for (line, expected) in [
        ("not json", "is not JSON at column 2"),
        (
            r#"{"prompt": "a", "chosen": "b"}"#,
            "field `rejected`: is missing (the row has `prompt`, `chosen`)",
        ),
        (r#"{"prompt": "a", "rejected": "b"}"#, "field `chosen`: is missing"),
        (
            r#"{"prompt": 5, "chosen": "b", "rejected": "c"}"#,
            "field `prompt`: is a number, but must be text",
        ),
        (
            r#"{"prompt": "a", "chosen": null, "rejected": "c"}"#,
            "field `chosen`: is null, but must be text",
        ),
        (
            r#"{"prompt": "a", "chosen": ["b"], "rejected": "c"}"#,
            "field `chosen`: is a list, but must be text",
        ),
        (
            r#"{"prompt": "a", "chosen": [1, 2], "rejected": [3]}"#,
            "token ids go into `prompt_input_ids`",
        ),
        (
            r#"{"prompt": "a", "chosen": "b", "rejected": "b"}"#,
            "field `rejected`: is the same as `chosen`",
        ),
        (r#"{"chosen": "abc", "rejected": "abc"}"#, "field `rejected`: is the same as `chosen`"),
        (r#"{"prompt": "a", "chosen": " \n", "rejected": "b"}"#, "field `chosen`: is empty"),
        (r#"{"prompt": "a", "chosen": "b", "rejected": ""}"#, "field `rejected`: is empty"),
        (r#"{"prompt": "a", "chosen": [], "rejected": []}"#, "field `chosen`: is an empty list"),
        (
            r#"{"chosen": "a", "rejected": "b"}"#,
            "field `prompt`: is missing, and `chosen` and `rejected` do not begin alike",
        ),
        (
            r#"{"prompt": "a", "chosen": [{"content": "b"}], "rejected": "c"}"#,
            "a message without a `role`",
        ),
        (
            r#"{"prompt": "a", "chosen": [{"role": "assistant"}], "rejected": "c"}"#,
            "a message without `content`",
        ),
        (
            r#"{"prompt": "a", "chosen": [{"role": "assistant", "content": "b"}], "rejected": "c"}"#,
            "differ in kind",
        ),
        (
            r#"{"prompt": [{"role": "user", "content": [{"type": "image", "url": "x"}]}], "chosen": "b", "rejected": "c"}"#,
            "field `prompt`: has a message part of type `image`",
        ),
        (
            r#"{"prompt": "a", "chosen": "b", "rejected": "c", "tools": [{"name": "f"}]}"#,
            "field `tools`",
        ),
        (
            r#"{"messages": [{"role": "user", "content": "a"}], "label": true}"#,
            "one answer with a label",
        ),
        (r#"["a", "b"]"#, "is a list, but a row must be an object"),
        (r#"{"instruction": "", "chosen": "b", "rejected": "c"}"#, "field `instruction`: is empty"),
    ] {
        let text = complaint(line);
        assert!(text.starts_with("line 2 (row 1)") && text.contains(expected), "{line}\n{text}");
    }
}

#[test]
fn rows_that_are_not_utf8_are_skipped() {
    let mut bytes = format!("{GOOD}\n").into_bytes();
    bytes.extend_from_slice(b"{\"prompt\": \"caf\xe9\", \"chosen\": \"b\", \"rejected\": \"c\"}\n");
    let data = read("latin1.jsonl", &bytes).unwrap();
    assert_eq!(data.pairs.len(), 1);
    assert!(
        data.skipped[0].to_string().contains("line 2 (row 1): is not UTF-8 text at byte 16"),
        "{}",
        data.skipped[0]
    );
    let mut list = b"[\n".to_vec();
    list.extend_from_slice(&bytes[GOOD.len() + 1..]);
    list.push(b']');
    let text = error("latin1.json", list);
    assert!(text.contains("line 2: is not UTF-8"), "{text}");
}

#[test]
fn a_file_that_gives_nothing_is_an_error_with_a_remedy() {
    let text = error("empty.jsonl", "");
    assert!(text.contains("is empty; give a file"), "{text}");
    for blank in [" \n\n", "[]", "{\"data\": []}"] {
        assert!(matches!(read("blank.json", blank), Err(DataError::Empty { .. })), "{blank:?}");
    }
    let text = error("notes.jsonl", "Dear diary,\ntoday\n");
    assert!(
        text.contains("notes.jsonl is not JSON (line 1: ") && text.contains("one object a line"),
        "{text}"
    );
    // Numbers alone are JSON, but a text with some is not.
    assert!(matches!(read("notes.txt", "One\n2\nThree\n"), Err(DataError::NotJson { .. })));
    let text = error("object.json", "{\"a\": 1}");
    assert!(text.contains("chosen"), "{text}");
    let text = error("object.json", "{\n\"a\": 1\n}");
    assert!(text.contains("without a list of rows"), "{text}");
    let text = error("map.json", "{\n\"data\": {\"x\": 1}\n}");
    assert!(text.contains("without a list of rows"), "{text}");
    let text = error(
        "bad.jsonl",
        format!(
            "{}\n{}\n",
            r#"{"prompt": "a", "chosen": "b"}"#, r#"{"prompt": 1, "chosen": "b", "rejected": "c"}"#
        ),
    );
    assert!(text.contains("none of the 2 rows"), "{text}");
    assert!(text.contains("line 1 (row 0), field `rejected`: is missing"), "{text}");
    assert!(text.contains("line 2 (row 1), field `prompt`: is a number"), "{text}");
}

#[test]
fn a_list_cut_in_half_is_an_error_that_says_where() {
    let text = format!("[\n{GOOD},\n{GOOD},\n{}", &GOOD[..20]);
    let error = read("cut.json", text).unwrap_err();
    assert!(matches!(error, DataError::Syntax { line: 4, rows_before: 2, .. }), "{error:?}");
    assert!(error.to_string().contains("after 2 whole rows"), "{error}");
    let error = read("tail.json", format!("[{GOOD}] x")).unwrap_err();
    assert!(matches!(error, DataError::Syntax { line: 1, .. }), "{error:?}");
}

#[test]
fn other_formats_are_named() {
    for (bytes, expected) in [
        (&b"PAR1\x15\x04"[..], "a Parquet file; convert it"),
        (b"\x1f\x8b\x08\x00", "gzip-compressed; unpack it"),
        (b"PK\x03\x04\x14", "a zip archive"),
        (b"\xff\xfe{\x00", "UTF-16 text; save it as UTF-8"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer, not the data; run `git lfs pull`",
        ),
        (b"<!doctype html><html>", "a web page; download the file itself"),
    ] {
        let text = error("data.jsonl", bytes);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn folders_and_missing_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("train.jsonl"), GOOD).unwrap();
    let text = load(folder.path()).unwrap_err().to_string();
    assert!(text.contains("is a folder") && text.contains("such as train.jsonl"), "{text}");
    let text = load(&folder.path().join("nothing.jsonl")).unwrap_err().to_string();
    assert!(text.contains("cannot read") && text.contains("nothing.jsonl"), "{text}");
}

/// 100 MB take seconds, not minutes: time grows with the size, not its square.
#[test]
fn large_files_are_read_in_time_proportional_to_their_size() {
    let folder = tempfile::tempdir().unwrap();
    let time = |rows: usize| {
        let path = folder.path().join(format!("{rows}.jsonl"));
        let mut text = String::new();
        for i in 0..rows {
            text.push_str(&format!(
                "{{\"prompt\": \"{i} is\", \"chosen\": \"{}\", \"rejected\": \"no\"}}\n",
                "good ".repeat(100)
            ));
        }
        fs::write(&path, text).unwrap();
        let start = std::time::Instant::now();
        assert_eq!(load(&path).unwrap().pairs.len(), rows);
        start.elapsed().as_secs_f64()
    };
    time(1000);
    let (small, large) = (time(4000), time(40_000));
    assert!(large < 60.0 * small.max(0.004), "4000 rows: {small} s, 40000 rows: {large} s");
}
