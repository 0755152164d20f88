//! Is a text that comes token by token the decoded text, and does it show whole characters alone?

use std::path::{Path, PathBuf};

use dpop_studio::data::token_text::TextStream;
use dpop_studio::data::tokenizer::Tokenizer;

const TEXTS: [&str; 6] = [
    "Once upon a time, there was a little girl.",
    "  two spaces, a tab\tand\n\nlines  ",
    "Zażółć gęślą jaźń — „cudzysłów”",
    "🙂 emoji 👩‍👩‍👧‍👦 and a flag 🇵🇱",
    "漢字とかな, 한국어, العربية",
    "x",
];

fn tokenizers() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![here.join("assets/demo/tiny-math-llama")];
    for name in [
        "tokenizers/mistral-7b-instruct-v0.3",
        "tokenizers/qwen2.5-0.5b-instruct",
        "models/stories260K-hf",
    ] {
        let folder = here.join("../shared/data").join(name);
        if folder.is_dir() {
            folders.push(folder);
        } else {
            eprintln!("SKIPPED {name}: {} is not here", folder.display());
        }
    }
    folders
}

#[test]
fn the_stream_joins_to_the_decoded_text() {
    for folder in tokenizers() {
        let tokenizer = Tokenizer::open(&folder).unwrap();
        for text in TEXTS {
            let mut ids = tokenizer.encode(text, true).unwrap();
            ids.push(tokenizer.eos_id());
            let mut stream = TextStream::new(&tokenizer, false);
            let mut pieces: Vec<String> = ids.iter().map(|&id| stream.push(id)).collect();
            let whole = tokenizer.decode_answer(&ids).unwrap();
            assert!(
                pieces.iter().all(|piece| !piece.contains('\u{fffd}')),
                "{}: half a character in {pieces:?}",
                folder.display()
            );
            pieces.push(stream.finish());
            assert_eq!(pieces.concat(), whole, "{}", folder.display());
        }
    }
}

#[test]
fn a_character_that_was_cut_shows_at_the_end() {
    for folder in tokenizers() {
        let tokenizer = Tokenizer::open(&folder).unwrap();
        let ids = tokenizer.encode("a🙂", true).unwrap();
        let mut stream = TextStream::new(&tokenizer, false);
        // One token of the four bytes is missing, unless the vocabulary has the character whole.
        let text: String = ids[..ids.len() - 1].iter().map(|&id| stream.push(id)).collect();
        assert_eq!(text, "a", "{}", folder.display());
        let left = stream.finish();
        assert!(left.is_empty() || left == "\u{fffd}", "{}: {left:?}", folder.display());
    }
}

/// SentencePiece drops the space in front of a text; a text that goes on another keeps it.
#[test]
fn a_text_that_goes_on_another_keeps_its_space() {
    for folder in tokenizers() {
        let tokenizer = Tokenizer::open(&folder).unwrap();
        let (prompt, rest) = ("One day", " there was");
        let ids = tokenizer.encode(&[prompt, rest].concat(), true).unwrap();
        let prompt = tokenizer.encode(prompt, true).unwrap();
        assert_eq!(ids[..prompt.len()], prompt, "{}: the prompt merges", folder.display());
        let mut stream = TextStream::new(&tokenizer, true);
        let text: String = ids[prompt.len()..].iter().map(|&id| stream.push(id)).collect();
        assert_eq!(text, rest, "{}", folder.display());
    }
}
