//! How pairs are laid out for the decoder: packed without padding, each pair's shared prefix once.
//!
//! A pair becomes `[shared prefix][chosen tail][rejected tail]`. The shared prefix is the prompt and whatever
//! the two answers have in common at their start; the tails do not see each other, and both continue the
//! prefix's positions. Log-probabilities are those of the two sequences apart, at up to half the tokens.
//! The last token of an answer predicts nothing and is left out.

use std::ops::Range;

use crate::data::pair::TokenizedPair;
use crate::kernels::SPAN_COLUMNS;

/// Where a pair's scored tokens stand among the batch's entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairEntries {
    /// Answer tokens that stand before the first difference: they count for both sides.
    pub shared: Range<usize>,
    pub chosen: Range<usize>,
    pub rejected: Range<usize>,
    /// First answer tokens without any context (an empty prompt); they have no log-probability.
    pub unscored: usize,
}

/// Pairs ready for the device. N tokens, E scored entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedBatch {
    /// `[N]`
    pub ids: Vec<i32>,
    /// `[N]`, counted from 0 in each sequence.
    pub positions: Vec<usize>,
    /// `[N]`: tokens of the longest sequence that the token is part of, which choose LongRoPE's frequencies.
    pub lengths: Vec<usize>,
    /// `[N, SPAN_COLUMNS]`: prefix start, prefix end, own start, end of the queries that see this token,
    /// position. A token sees so many keys as its position says and its own: those of its prefix, then those from
    /// `own start` on.
    pub spans: Vec<i32>,
    /// `[E]`: the token whose hidden state predicts the entry.
    pub entry_rows: Vec<i32>,
    /// `[E]`: the predicted token id.
    pub targets: Vec<i32>,
    /// `[N, 2]`: the at most two entries a token predicts, -1 for none.
    pub map: Vec<i32>,
    pub pairs: Vec<PairEntries>,
}

/// Tokens that go on a sequence whose earlier ones lie in a cache (`model::cache`).
#[derive(Clone, Copy, Debug)]
pub struct Continuation<'a> {
    pub ids: &'a [u32],
    /// Tokens before these.
    pub position: usize,
    /// The cache's row of the sequence's first token.
    pub row: usize,
    /// Tokens that the sequence may become: what is rotated once has to fit what comes later.
    pub longest: usize,
}

/// Tokens that two answers share at their start.
fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

impl PackedBatch {
    pub fn new<'a>(pairs: impl IntoIterator<Item = &'a TokenizedPair>) -> Self {
        let mut batch = PackedBatch::default();
        for pair in pairs {
            batch.push(pair);
        }
        batch
    }

    /// Sequences that go on; the last token of each is an entry, with no target yet.
    pub fn continuing(sequences: &[Continuation<'_>]) -> Self {
        let mut batch = PackedBatch::default();
        for &Continuation { ids, position, row, longest } in sequences {
            let end = batch.tokens() + ids.len();
            batch.push_tokens(ids, position, [row, row, row, end]);
            batch.lengths.resize(end, longest);
            batch.entry_rows.extend(end.checked_sub(1).map(|last| last as i32));
        }
        batch.targets = vec![0; batch.entry_rows.len()];
        batch.map = vec![-1; batch.tokens() * 2];
        batch
    }

    /// Tokens the decoder computes.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    fn push(&mut self, pair: &TokenizedPair) {
        let (chosen, rejected) = (&pair.chosen_ids, &pair.rejected_ids);
        let shared = common_prefix(chosen, rejected);
        // An answer that ends inside the shared prefix still needs its last shared token as context
        // for the other one.
        let prefix: Vec<u32> = pair.prompt_ids.iter().chain(&chosen[..shared]).copied().collect();
        let start = self.ids.len();
        let prefix_end = start + prefix.len();
        let chosen_inputs = chosen.len().saturating_sub(1).max(shared) - shared;
        let rejected_inputs = rejected.len().saturating_sub(1).max(shared) - shared;
        let chosen_end = prefix_end + chosen_inputs;
        let row_end = chosen_end + rejected_inputs;
        self.push_tokens(&prefix, 0, [start, start, start, row_end]);
        let tail = &chosen[shared..shared + chosen_inputs];
        self.push_tokens(tail, prefix.len(), [start, prefix_end, prefix_end, chosen_end]);
        let tail = &rejected[shared..shared + rejected_inputs];
        self.push_tokens(tail, prefix.len(), [start, prefix_end, chosen_end, row_end]);
        self.map.resize(self.ids.len() * 2, -1);
        let longest = pair.prompt_ids.len() + chosen.len().max(rejected.len());
        self.lengths.resize(self.ids.len(), longest);

        let unscored = usize::from(pair.prompt_ids.is_empty());
        let prompt = pair.prompt_ids.len();
        let first = self.targets.len();
        for (t, &id) in chosen[..shared].iter().enumerate().skip(unscored) {
            self.push_entry(start + prompt + t - 1, id);
        }
        let after_shared = self.targets.len();
        self.push_tail(chosen, shared, prefix.len(), prefix_end, prefix_end);
        let after_chosen = self.targets.len();
        self.push_tail(rejected, shared, prefix.len(), prefix_end, chosen_end);
        self.pairs.push(PairEntries {
            shared: first..after_shared,
            chosen: after_shared..after_chosen,
            rejected: after_chosen..self.targets.len(),
            unscored,
        });
    }

    /// `span`: prefix start, prefix end, own start, query end.
    fn push_tokens(&mut self, ids: &[u32], position: usize, span: [usize; 4]) {
        for (i, &id) in ids.iter().enumerate() {
            self.ids.push(id as i32);
            self.positions.push(position + i);
            self.spans.extend(span.map(|v| v as i32));
            self.spans.push((position + i) as i32);
        }
        debug_assert_eq!(self.spans.len(), self.ids.len() * SPAN_COLUMNS);
    }

    /// Entries of the answer's own tokens; the first is predicted by the last token of the prefix.
    fn push_tail(
        &mut self,
        answer: &[u32],
        shared: usize,
        prefix: usize,
        prefix_end: usize,
        tail: usize,
    ) {
        for (i, &id) in answer[shared..].iter().enumerate() {
            match i {
                0 if prefix == 0 => {} // no context at all
                0 => self.push_entry(prefix_end - 1, id),
                _ => self.push_entry(tail + i - 1, id),
            }
        }
    }

    fn push_entry(&mut self, row: usize, target: u32) {
        let entry = self.targets.len() as i32;
        self.entry_rows.push(row as i32);
        self.targets.push(target as i32);
        let slot = if self.map[row * 2] < 0 { row * 2 } else { row * 2 + 1 };
        self.map[slot] = entry;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(prompt: &[u32], chosen: &[u32], rejected: &[u32]) -> TokenizedPair {
        TokenizedPair {
            row: 0,
            prompt_ids: prompt.to_vec(),
            chosen_ids: chosen.to_vec(),
            rejected_ids: rejected.to_vec(),
        }
    }

    #[test]
    fn shares_the_prefix_once() {
        let batch = PackedBatch::new([&pair(&[1, 5], &[7, 8, 9, 2], &[7, 6, 2])]);
        assert_eq!(batch.ids, [1, 5, 7, 8, 9, 6]);
        assert_eq!(batch.positions, [0, 1, 2, 3, 4, 3]);
        assert_eq!(batch.lengths, [6; 6], "prompt and the longer answer, whole");
        assert_eq!(batch.targets, [7, 8, 9, 2, 6, 2]);
        assert_eq!(batch.entry_rows, [1, 2, 3, 4, 2, 5]);
        let entries = &batch.pairs[0];
        assert_eq!(
            (&entries.shared, &entries.chosen, &entries.rejected),
            (&(0..1), &(1..4), &(4..6))
        );
        assert_eq!(batch.map[4..6], [1, 4]);
        assert_eq!(batch.spans[3 * 5..4 * 5], [0, 3, 3, 5, 3]);
        assert_eq!(batch.spans[5 * 5..], [0, 3, 5, 6, 3]);
    }

    #[test]
    fn sequences_go_on_in_their_own_rows() {
        let batch = PackedBatch::continuing(&[
            Continuation { ids: &[7, 8], position: 3, row: 0, longest: 10 },
            Continuation { ids: &[9], position: 0, row: 10, longest: 6 },
        ]);
        assert_eq!(batch.ids, [7, 8, 9]);
        assert_eq!(batch.positions, [3, 4, 0]);
        assert_eq!(batch.lengths, [10, 10, 6]);
        assert_eq!(batch.entry_rows, [1, 2]);
        assert_eq!(batch.spans, [0, 0, 0, 2, 3, 0, 0, 0, 2, 4, 10, 10, 10, 3, 0]);
    }

    #[test]
    fn one_answer_may_be_the_start_of_the_other() {
        let batch = PackedBatch::new([&pair(&[1], &[7, 8], &[7, 8, 9])]);
        assert_eq!(batch.ids, [1, 7, 8]);
        let entries = &batch.pairs[0];
        assert_eq!(entries.shared.len() + entries.chosen.len(), 2);
        assert_eq!(entries.shared.len() + entries.rejected.len(), 3);
    }

    #[test]
    fn an_empty_prompt_leaves_the_first_token_unscored() {
        let batch = PackedBatch::new([&pair(&[], &[3, 4], &[5, 6])]);
        assert_eq!(batch.targets, [4, 6]);
        assert_eq!(batch.entry_rows, [0, 1]);
        assert_eq!(batch.pairs[0].unscored, 1);
        assert_eq!(batch.positions, [0, 0]);
    }
}
