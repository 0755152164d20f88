//! Do chat templates give the text that transformers gives, byte for byte?

use std::fs;
use std::path::{Path, PathBuf};

use dpop_studio::data::template::TemplateError;
use dpop_studio::data::{ChatTemplate, Message};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

fn shared(name: &str) -> Option<PathBuf> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/chat_templates").join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is absent", path.display());
        return None;
    }
    Some(path)
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn template(source: &str) -> ChatTemplate {
    let mut template =
        ChatTemplate::new(source, object(&json!({"bos_token": "<s>", "eos_token": "</s>"})))
            .unwrap();
    template.set_now("2024-07-04T12:00:00".parse().unwrap());
    template
}

fn user(text: &str) -> Message {
    Message { role: "user".to_owned(), content: text.to_owned() }
}

/// Outputs of transformers 5.12 for five published models, tool definitions included.
#[test]
fn corpus_is_equal_byte_for_byte() {
    let Some(corpus) = shared("hf-chat-template-corpus") else { return };
    let mut cases = 0;
    for model in [
        "llama-3.1-8b-instruct",
        "mistral-7b-instruct-v0.3",
        "qwen2.5-0.5b-instruct",
        "smollm2-1.7b-instruct",
        "zephyr-7b-beta",
    ] {
        let folder = corpus.join(model);
        let template =
            ChatTemplate::from_config(&json_file(&folder.join("tokenizer_config.json")), None)
                .unwrap()
                .unwrap();
        for case in fs::read_dir(folder.join("cases")).unwrap() {
            let case = case.unwrap().path();
            let name = case.file_stem().unwrap().to_string_lossy().into_owned();
            let expected =
                fs::read_to_string(folder.join("expected").join(format!("{name}.txt"))).unwrap();
            let text = template.render_with(object(&json_file(&case)["input"])).unwrap();
            assert_eq!(text, expected, "{model} {name}");
            cases += 1;
        }
    }
    assert_eq!(cases, 18);
}

/// The same for TRL's and llama.cpp's template files, against hashes made by Python's Jinja.
#[test]
fn template_files_give_the_text_of_python() {
    if shared("trl").is_none() {
        return;
    }
    let goldens = json_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/data.json"));
    let mut checked = 0;
    for (key, expected) in goldens["templates"].as_object().unwrap() {
        let (file, case) = key.split_once(' ').unwrap();
        let source = fs::read_to_string(shared(file).unwrap()).unwrap();
        let text = template(&source).render_with(object(&goldens["cases"][case])).unwrap();
        let hash: String =
            Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(Some(hash.as_str()), expected.as_str(), "{key} gives\n{text}");
        checked += 1;
    }
    assert!(checked >= 60, "{checked} texts");
}

#[test]
fn messages_become_text() {
    let chat = template(
        "{% for m in messages %}[{{ m['role'] }}]{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
    );
    assert_eq!(chat.render(&[user("a < b")], true).unwrap(), "[user]a < b</s>[assistant]");
    assert_eq!(chat.render(&[user("a")], false).unwrap(), "[user]a</s>");
}

#[test]
fn white_space_follows_transformers_settings() {
    // Block tags take their line with them, comments too; one final line break goes.
    let chat = template("a\n  {% if true %}\n  b\n  {% endif %}\n{# note #}\nc\n");
    assert_eq!(chat.render(&[], false).unwrap(), "a\n  b\nc");
}

#[test]
fn python_methods_and_loop_controls_work() {
    let chat = template(
        "{% for m in messages %}{% if loop.index0 == 1 %}{% continue %}{% endif %}{% if loop.index0 == 3 %}{% break %}{% endif %}{{ m.content.strip().split('|')[-1].upper() }}{% endfor %}{{ none }}{{ true }}",
    );
    let messages = [user(" a|b "), user("c"), user("d|e"), user("f")];
    assert_eq!(chat.render(&messages, false).unwrap(), "BENoneTrue");
}

#[test]
fn tojson_is_pythons() {
    let render = |filter: &str| {
        let chat = template(&format!("{{{{ x | {filter} }}}}"));
        chat.render_with(object(
            &json!({"x": {"b": [1, 2.0, null, true], "a": "é<'>", "e": [], "o": {}}}),
        ))
        .unwrap()
    };
    assert_eq!(render("tojson"), r#"{"b": [1, 2.0, null, true], "a": "é<'>", "e": [], "o": {}}"#);
    assert_eq!(
        render("tojson(sort_keys=true, ensure_ascii=true)"),
        r#"{"a": "\u00e9<'>", "b": [1, 2.0, null, true], "e": [], "o": {}}"#
    );
    assert_eq!(
        render("tojson(separators=(',', ':'))"),
        r#"{"b":[1,2.0,null,true],"a":"é<'>","e":[],"o":{}}"#
    );
    assert_eq!(
        render("tojson(indent=2)"),
        "{\n  \"b\": [\n    1,\n    2.0,\n    null,\n    true\n  ],\n  \"a\": \"é<'>\",\n  \"e\": [],\n  \"o\": {}\n}"
    );
}

#[test]
fn dates_are_those_of_the_run() {
    assert_eq!(
        template("{{ strftime_now('%d %b %Y, %B') }}").render(&[], false).unwrap(),
        "04 Jul 2024, July"
    );
}

#[test]
fn tokens_and_templates_are_found_in_either_spelling() {
    let source = "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}{{ pad_token }}";
    let object_token = json!({"__type": "AddedToken", "content": "<B>", "special": true});
    let config = json!({"bos_token": object_token, "eos_token": "<E>", "pad_token": null, "chat_template": source});
    let chat = ChatTemplate::from_config(&config, None).unwrap().unwrap();
    assert_eq!(chat.render(&[user("x")], false).unwrap(), "<B>x<E>");
    let named = json!({"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]});
    assert_eq!(
        ChatTemplate::from_config(&named, None).unwrap().unwrap().render(&[], false).unwrap(),
        "D"
    );
    assert_eq!(
        ChatTemplate::from_config(&config, Some("file"))
            .unwrap()
            .unwrap()
            .render(&[], false)
            .unwrap(),
        "file"
    );
    assert!(ChatTemplate::from_config(&json!({"chat_template": null}), None).unwrap().is_none());
    let error = ChatTemplate::from_config(
        &json!({"chat_template": [{"name": "a", "template": "A"}, {"name": "b", "template": "B"}]}),
        None,
    );
    assert!(matches!(&error, Err(TemplateError::NoDefault(names)) if names == "a, b"), "{error:?}");
}

#[test]
fn failures_are_told_apart() {
    let error =
        template("{{ raise_exception('Roles must alternate.') }}").render(&[], false).unwrap_err();
    assert!(
        matches!(&error, TemplateError::Refused(m) if m == "Roles must alternate"),
        "{error:?}"
    );
    let error = ChatTemplate::new("{% if %}", Map::new()).unwrap_err();
    assert!(matches!(&error, TemplateError::Syntax(m) if m.contains("line 1")), "{error:?}");
    let error =
        template("\n{{ messages[0].content + 1 }}").render(&[user("a")], false).unwrap_err();
    assert!(matches!(&error, TemplateError::Render(m) if m.contains("line 2")), "{error:?}");
    assert!(error.to_string().contains("chat template fails"), "{error}");
}

#[test]
fn a_template_that_does_not_end_is_stopped() {
    let endless = "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
    assert!(matches!(template(endless).render(&[], false), Err(TemplateError::TooLong)));
    let huge = "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}";
    assert!(matches!(template(huge).render(&[], false), Err(TemplateError::TooLong)));
}
