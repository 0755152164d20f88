//! Does the vocabulary within a GGUF file give the ids of the model's own tokenizer? Golden ids are llama.cpp's
//! (`../shared/data/tokenizers/ggml-vocab/*.out`, made with the original tokenizers).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use dpop_studio::data::{Message, Text, Tokenizer, TokenizerError};
use dpop_studio::model::checkpoint::{ModelSummary, model_hash};
use serde_json::Value;

mod gguf_file;

use gguf_file::{Writer, decoder, zeros};

fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is absent", path.display());
        return None;
    }
    Some(path)
}

/// llama.cpp's hard texts with the ids of one vocabulary.
fn goldens(vocabulary: &str) -> Option<Vec<(String, Vec<u32>)>> {
    let folder = shared("tokenizers/ggml-vocab")?;
    let read = |ending: &str| {
        fs::read_to_string(folder.join(format!("ggml-vocab-{vocabulary}.gguf.{ending}"))).unwrap()
    };
    let (texts, ids) = (read("inp"), read("out"));
    let texts = texts.strip_suffix("\n__ggml_vocab_test__\n").unwrap();
    let texts = texts.split("\n__ggml_vocab_test__\n").map(str::to_owned);
    let ids = ids.lines().map(|l| l.split_whitespace().map(|id| id.parse().unwrap()).collect());
    let pairs: Vec<_> = texts.zip(ids).collect();
    assert!(pairs.len() >= 45, "{vocabulary}: {} texts", pairs.len());
    Some(pairs)
}

fn has_golden_ids(tokenizer: &Tokenizer, vocabulary: &str) {
    for (text, ids) in goldens(vocabulary).unwrap() {
        assert_eq!(tokenizer.encode(&text, false).unwrap(), ids, "{vocabulary}: {text:?}");
    }
}

/// Of both kinds, as llama.cpp ships them.
#[test]
fn vocabulary_files_have_their_ids() {
    for (vocabulary, bos, eos) in [
        ("gpt-2", None, "<|endoftext|>"),
        ("mpt", None, "<|endoftext|>"),
        ("llama-spm", Some(1), "</s>"),
        ("phi-3", Some(1), "<|endoftext|>"),
    ] {
        let Some(folder) = shared("tokenizers/ggml-vocab") else { return };
        let file = folder.join(format!("ggml-vocab-{vocabulary}.gguf"));
        let tokenizer = Tokenizer::open(&file).unwrap();
        has_golden_ids(&tokenizer, vocabulary);
        let with_special = tokenizer.encode("Hello", true).unwrap();
        assert_eq!(with_special.first().filter(|id| bos == Some(**id)).copied(), bos);
        assert_eq!(tokenizer.eos_token(), eos, "{vocabulary}");
        // EOS in a text is one token, as TRL's way of ending an answer needs it.
        let ended = tokenizer.encode(&format!("Hello{eos}"), false).unwrap();
        assert_eq!(ended.last(), Some(&tokenizer.eos_id()), "{vocabulary}");
        assert_eq!(tokenizer.chat_template().is_some(), vocabulary == "phi-3");
    }
}

/// A GGUF file with the vocabulary of Qwen's tokenizer.json.
#[test]
fn qwen2_has_its_ids() {
    let Some(folder) = shared("tokenizers/qwen2.5-0.5b-instruct") else { return };
    let original: Value =
        serde_json::from_slice(&fs::read(folder.join("tokenizer.json")).unwrap()).unwrap();
    let mut tokens: Vec<(u64, String, i32)> = original["model"]["vocab"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(token, id)| (id.as_u64().unwrap(), token.clone(), 1))
        .collect();
    for added in original["added_tokens"].as_array().unwrap() {
        let kind = if added["special"] == true { 3 } else { 4 };
        let text = added["content"].as_str().unwrap().to_owned();
        tokens.push((added["id"].as_u64().unwrap(), text, kind));
    }
    tokens.sort();
    let merges: Vec<String> = original["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|merge| match merge {
            Value::Array(pair) => [&pair[0], &pair[1]].map(|t| t.as_str().unwrap()).join(" "),
            text => text.as_str().unwrap().to_owned(),
        })
        .collect();
    let config: Value =
        serde_json::from_slice(&fs::read(folder.join("tokenizer_config.json")).unwrap()).unwrap();
    let file = byte_pairs("qwen2", &tokens, &merges)
        .u32("tokenizer.ggml.eos_token_id", 151_645)
        .string("tokenizer.chat_template", config["chat_template"].as_str().unwrap());
    let root = written(file);
    let carried = Tokenizer::open(root.path()).unwrap();
    has_golden_ids(&carried, "qwen2");
    let original = Tokenizer::open(&folder).unwrap();
    assert_eq!(carried.eos_id(), original.eos_id());
    assert_eq!(carried.vocab_size(), original.vocab_size());
    let message =
        |role: &str, content: &str| Message { role: role.into(), content: content.into() };
    let talk = vec![message("system", "Kurz."), message("user", "Was ist 17 + 25? 🙂")];
    let prompt = Text::Messages(talk);
    assert_eq!(carried.encode_prompt(&prompt).unwrap(), original.encode_prompt(&prompt).unwrap());
    let ids = original.encode("Das Ergebnis ist 42.", false).unwrap();
    assert_eq!(carried.token_texts(&ids), original.token_texts(&ids));
    assert_eq!(carried.decode(&ids).unwrap(), "Das Ergebnis ist 42.");
}

/// A GGUF file with the vocabulary of Meta's own file of Llama 3, which lists tokens by rank and no merges.
#[test]
fn llama3_has_its_ids() {
    let Some(path) = shared("tokenizers/llama3/tokenizer.model") else { return };
    let ranks = fs::read_to_string(path).unwrap();
    let list: Vec<Vec<u8>> = ranks.lines().map(|l| base64(l.split_once(' ').unwrap().0)).collect();
    let rank: HashMap<&[u8], usize> =
        list.iter().enumerate().map(|(rank, token)| (&token[..], rank)).collect();
    let spelt = |bytes: &[u8]| bytes.iter().map(|byte| letter(*byte)).collect::<String>();
    let merges: Vec<String> = list
        .iter()
        .filter(|token| token.len() > 1)
        .filter_map(|token| {
            let (left, right) = last_merge(token, &rank)?;
            Some(format!("{} {}", spelt(left), spelt(right)))
        })
        .collect();
    let mut tokens: Vec<(u64, String, i32)> =
        list.iter().enumerate().map(|(id, token)| (id as u64, spelt(token), 1)).collect();
    tokens.push((128_000, "<|begin_of_text|>".into(), 3));
    tokens.push((128_001, "<|end_of_text|>".into(), 3));
    let file = byte_pairs("llama-bpe", &tokens, &merges)
        .u32("tokenizer.ggml.bos_token_id", 128_000)
        .u32("tokenizer.ggml.eos_token_id", 128_001);
    let tokenizer = Tokenizer::open(written(file).path()).unwrap();
    has_golden_ids(&tokenizer, "llama-bpe");
    assert_eq!(tokenizer.encode("Hello", true).unwrap(), [128_000, 9906]);
}

/// The two tokens that a token is made of when its own merge comes last: merging by rank, up to its own.
fn last_merge<'a>(token: &'a [u8], rank: &HashMap<&[u8], usize>) -> Option<(&'a [u8], &'a [u8])> {
    let own = rank[token];
    let mut cuts: Vec<usize> = (0..=token.len()).collect();
    while cuts.len() > 3 {
        let joined = |at: usize| rank.get(&token[cuts[at]..cuts[at + 2]]).filter(|r| **r < own);
        let best = (0..cuts.len() - 2).filter_map(|at| Some((joined(at)?, at))).min()?;
        cuts.remove(best.1 + 1);
    }
    Some(token.split_at(cuts[1]))
}

/// GPT-2's letter for a byte.
fn letter(byte: u8) -> char {
    let printable = |byte: &u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if printable(&byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !printable(byte)).count();
    char::from_u32(256 + before as u32).unwrap()
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|c| *c != b'=').map(digit).collect();
    let bits: Vec<u8> = digits.iter().flat_map(|d| (0..6).rev().map(move |i| d >> i & 1)).collect();
    bits.chunks_exact(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | bit)).collect()
}

/// A small decoder with a vocabulary of the kind `gpt2`.
fn byte_pairs(pre: &str, tokens: &[(u64, String, i32)], merges: &[String]) -> Writer {
    let ids: HashSet<u64> = tokens.iter().map(|(id, ..)| *id).collect();
    assert_eq!(ids.len(), tokens.len());
    let texts: Vec<&str> = tokens.iter().map(|(_, text, _)| text.as_str()).collect();
    let kinds: Vec<i32> = tokens.iter().map(|(.., kind)| *kind).collect();
    zeros(decoder(3, 32, 1, 8, 1), 32, tokens.len() as u64, None, "")
        .string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", pre)
        .strings("tokenizer.ggml.tokens", &texts)
        .integers("tokenizer.ggml.token_type", &kinds)
        .strings("tokenizer.ggml.merges", merges)
}

fn written(file: Writer) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("model.gguf"), file.bytes()).unwrap();
    root
}

/// `a`, `b`, `ab` and two special tokens.
fn tiny(pre: &str) -> Writer {
    let tokens = [("a", 1), ("b", 1), ("ab", 1), ("<s>", 3), ("</s>", 3)];
    let tokens: Vec<_> = tokens
        .iter()
        .enumerate()
        .map(|(id, (text, kind))| (id as u64, (*text).into(), *kind))
        .collect();
    byte_pairs(pre, &tokens, &["a b".to_owned()])
        .u32("tokenizer.ggml.bos_token_id", 3)
        .u32("tokenizer.ggml.eos_token_id", 4)
}

#[test]
fn a_file_alone_is_a_whole_model() {
    let template = "{% for m in messages %}<s>{{ m.content }}{% endfor %}";
    let root = written(tiny("gpt-2").string("tokenizer.chat_template", template));
    let file = root.path().join("model.gguf");
    let tokenizer = Tokenizer::open(&file).unwrap();
    assert_eq!(tokenizer.encode("abba", true).unwrap(), [2, 1, 0]);
    let prompt = Text::Messages(vec![Message { role: "user".into(), content: "ab".into() }]);
    assert_eq!(tokenizer.encode_prompt(&prompt).unwrap(), [3, 2]);
    assert!(ModelSummary::read(&file).unwrap().has_chat_template);
    // The flag of the file comes before the default of its pre-tokenizer.
    let bos = written(tiny("gpt-2").flag("tokenizer.ggml.add_bos_token", true));
    assert_eq!(Tokenizer::open(bos.path()).unwrap().encode("ab", true).unwrap(), [3, 2]);
    assert_ne!(model_hash(root.path()).unwrap(), model_hash(bos.path()).unwrap());
}

#[test]
fn tokenizer_json_beside_the_file_comes_first() {
    let root = written(tiny("gpt-2"));
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo/tiny-math-llama");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(demo.join(name), root.path().join(name)).unwrap();
    }
    let beside = Tokenizer::open(&root.path().join("model.gguf")).unwrap();
    let text = "ab 12";
    let want = Tokenizer::open(&demo).unwrap().encode(text, true).unwrap();
    assert_eq!(beside.encode(text, true).unwrap(), want);
}

#[test]
fn vocabularies_that_cannot_be_built_are_refused_in_words() {
    type Change = fn(Writer) -> Writer;
    let cases: [(Change, &str); 7] = [
        (|f| f.string("tokenizer.ggml.model", "t5"), "of the kind t5"),
        (|f| f.string("tokenizer.ggml.pre", "default"), "pre-tokenizer is default"),
        (|f| f.strings("tokenizer.ggml.merges", &["ab"]), "no pair of tokens"),
        (
            |f| f.strings("tokenizer.ggml.tokens", &["a", "b", "a", "c", "d"]),
            "0 and 2 are the same",
        ),
        (|f| f.integers("tokenizer.ggml.token_type", &[1]), "5 tokens and 1 token types"),
        (|f| f.u32("tokenizer.ggml.eos_token_id", 5), "eos_token_id is 5, and it has 5 tokens"),
        (|f| f.string("tokenizer.ggml.model", "llama"), "5 tokens and 0 scores"),
    ];
    for (change, words) in cases {
        let root = written(change(tiny("gpt-2")));
        let message = Tokenizer::open(root.path()).unwrap_err().to_string();
        assert!(message.contains(words), "{words:?} is not in: {message}");
        assert!(message.contains("download tokenizer.json"), "{message}");
    }
    let bare = written(zeros(decoder(3, 32, 1, 8, 1), 32, 4, None, ""));
    assert!(matches!(Tokenizer::open(bare.path()), Err(TokenizerError::Missing { .. })));
}
