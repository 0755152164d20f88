//! Rows that are token ids already, for a model whose folder has no tokenizer.

use super::pair::{Text, TokenizedPair};
use super::source::Dataset;
use super::tokenizer::{Drop, Kept, TokenizedDataset, check_ids, collect, fit};

/// `Tokenizer::tokenize` without a tokenizer, for rows of token ids; the model knows ids below `vocab_size`.
pub fn tokenize_ids(dataset: &Dataset, max_length: usize, vocab_size: usize) -> TokenizedDataset {
    collect(dataset, |pair| {
        let ids = |field, text: &Text| match text {
            Text::Ids(ids) => check_ids(vocab_size, field, ids).map(|()| ids.clone()),
            _ => Err(Drop::new(
                field,
                "is text, and without a tokenizer.json only token ids are understood",
            )),
        };
        let whole = TokenizedPair {
            row: pair.row,
            prompt_ids: ids("prompt", &pair.prompt)?,
            chosen_ids: ids("chosen", &pair.chosen)?,
            rejected_ids: ids("rejected", &pair.rejected)?,
        };
        let (pair, truncated) = fit(whole, max_length)?;
        Ok(Kept { pair, truncated, mismatch: false, plain: false })
    })
}
