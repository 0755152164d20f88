//! What single tokens look like, and text that comes token by token.

use super::tokenizer::Tokenizer;

impl Tokenizer {
    /// What token `id` looks like alone, leading space kept: for labels, not for joining into text.
    /// Half a UTF-8 character shows as U+FFFD.
    pub fn token_text(&self, id: u32) -> String {
        let token = self.inner.id_to_token(id).unwrap_or_default();
        let bytes = self.token_bytes(id);
        match String::from_utf8(bytes) {
            Ok(text) => text,
            // A byte of SentencePiece's fall-back, as the vocabulary writes it.
            Err(_) if !self.byte_level => token,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }
    }

    /// The text of `ids`, one piece a token; joined, the pieces are the text. A character whose bytes are spread over
    /// several tokens stands with the last of them, and the pieces before it are empty.
    pub fn token_texts(&self, ids: &[u32]) -> Vec<String> {
        let mut pieces = Pieces::default();
        let mut texts: Vec<String> =
            ids.iter().map(|id| pieces.push(&self.token_bytes(*id))).collect();
        if let Some(last) = texts.last_mut() {
            last.push_str(&pieces.finish());
        }
        texts
    }

    /// Whether a text that begins with this token drops the token's leading space, as SentencePiece's do.
    fn drops_leading_space(&self, id: u32) -> bool {
        let shown = self.inner.decode(&[id], false).unwrap_or_default();
        self.token_bytes(id).starts_with(b" ") && !shown.starts_with(' ')
    }

    /// The bytes of text that token `id` stands for.
    fn token_bytes(&self, id: u32) -> Vec<u8> {
        let Some(token) = self.inner.id_to_token(id) else {
            return format!("<{id}?>").into_bytes();
        };
        if self.inner.get_added_tokens_decoder().contains_key(&id) {
            return token.into_bytes();
        }
        if self.byte_level {
            let bytes: Option<Vec<u8>> = token.chars().map(byte_of).collect();
            return bytes.unwrap_or_else(|| token.into_bytes());
        }
        let byte = token.strip_prefix("<0x").and_then(|hex| hex.strip_suffix('>'));
        match byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => vec![byte],
            None => token.replace('\u{2581}', " ").into_bytes(),
        }
    }
}

/// Bytes that come in pieces, as text: only whole characters leave it.
#[derive(Debug, Default)]
struct Pieces(Vec<u8>);

impl Pieces {
    /// The characters that are whole now.
    fn push(&mut self, bytes: &[u8]) -> String {
        self.0.extend_from_slice(bytes);
        take_text(&mut self.0)
    }

    /// What is left where a text was cut in the middle of a character.
    fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.0)).into_owned()
    }
}

/// A generated text as it comes, token by token. Joined, what it answers is [`Tokenizer::decode_answer`] of all tokens;
/// of a text that goes on another (`continues`) the leading space stays, which separates the two.
#[derive(Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    pieces: Pieces,
    begins: bool,
}

impl<'a> TextStream<'a> {
    pub fn new(tokenizer: &'a Tokenizer, continues: bool) -> Self {
        TextStream { tokenizer, pieces: Pieces::default(), begins: !continues }
    }

    /// The characters that the token completes: often one word, nothing where a character needs more tokens.
    pub fn push(&mut self, id: u32) -> String {
        let inner = &self.tokenizer.inner;
        let token = inner.id_to_token(id);
        if token.is_some_and(|token| inner.get_added_vocabulary().is_special_token(&token)) {
            return String::new();
        }
        let bytes = self.tokenizer.token_bytes(id);
        let skip = usize::from(self.begins && self.tokenizer.drops_leading_space(id));
        self.begins = false;
        self.pieces.push(&bytes[skip..])
    }

    /// What is left of a character that was cut.
    pub fn finish(mut self) -> String {
        self.pieces.finish()
    }
}

/// Takes the whole characters from the front of `bytes`; what may still become one stays. Bytes that cannot become
/// one show as U+FFFD.
fn take_text(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    while let Err(error) = std::str::from_utf8(bytes) {
        let whole = error.valid_up_to();
        text.push_str(&String::from_utf8_lossy(&bytes[..whole]));
        let Some(wrong) = error.error_len() else {
            bytes.drain(..whole);
            return text;
        };
        text.push(char::REPLACEMENT_CHARACTER);
        bytes.drain(..whole + wrong);
    }
    text.push_str(&String::from_utf8_lossy(bytes));
    bytes.clear();
    text
}

/// The byte that a character of GPT-2's alphabet stands for (`bytes_to_unicode`).
fn byte_of(c: char) -> Option<u8> {
    let code = u32::from(c);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u8::try_from(code).ok(),
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Pieces;

    #[test]
    fn characters_wait_for_their_last_byte() {
        let mut pieces = Pieces::default();
        let texts: Vec<String> = [&b"a\xc5"[..], b"\xbb\xf0", b"\x9f", b"\x99\x82b", b"\xff"]
            .iter()
            .map(|bytes| pieces.push(bytes))
            .collect();
        assert_eq!(texts, ["a", "\u{17b}", "", "\u{1f642}b", "\u{fffd}"]);
        assert_eq!(pieces.finish(), "");
        assert_eq!(pieces.push(b"c\xf0\x9f"), "c");
        assert_eq!(pieces.finish(), "\u{fffd}");
    }
}
