//! What a preference set looks like before training: how far apart its answers are, how long they
//! are, which rows repeat.
//!
//! Pairs that differ in a few tokens are where plain DPO lowers the chosen answer (Smaug, arXiv
//! 2402.13228, section 3): the edit distance tells such sets apart.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use similar::{ChangeTag, TextDiff};

use super::pair::{PreferencePair, Text, TokenizedPair};

/// How two answers differ, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairDistance {
    /// Levenshtein distance: insertions, deletions and substitutions.
    pub edits: usize,
    /// `edits` over the longer answer's length, in 0..=1.
    pub normalised: f64,
    /// Position in the answers of the first token that differs, from 0.
    pub first_difference: usize,
}

impl PairDistance {
    pub fn of(pair: &TokenizedPair) -> Self {
        let (chosen, rejected) = (&pair.chosen_ids, &pair.rejected_ids);
        let edits = edit_distance(chosen, rejected);
        let longer = chosen.len().max(rejected.len()).max(1);
        Self {
            edits,
            normalised: edits as f64 / longer as f64,
            first_difference: common_prefix(chosen, rejected),
        }
    }
}

fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Levenshtein distance of two token sequences, by Myers' bit vectors in blocks of 64 (Myers 1999,
/// Hyyrö 2003): `a.len() * b.len() / 64` word operations after the common ends are cut off.
pub fn edit_distance(a: &[u32], b: &[u32]) -> usize {
    let head = common_prefix(a, b);
    let (a, b) = (&a[head..], &b[head..]);
    let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[..a.len() - tail], &b[..b.len() - tail]);
    let (pattern, text) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if pattern.is_empty() {
        return text.len();
    }
    let blocks = pattern.len().div_ceil(64);
    // Bit i of `positions[token]` is set where pattern[i] == token.
    let mut positions: HashMap<u32, Vec<u64>> = HashMap::new();
    for (i, token) in pattern.iter().enumerate() {
        positions.entry(*token).or_insert_with(|| vec![0; blocks])[i / 64] |= 1 << (i % 64);
    }
    let absent = vec![0; blocks];
    // Vertical differences of the current column: +1 bits and -1 bits.
    let mut plus = vec![u64::MAX; blocks];
    let mut minus = vec![0u64; blocks];
    let last = 1u64 << ((pattern.len() - 1) % 64);
    let mut distance = pattern.len();
    for token in text {
        let equal = positions.get(token).unwrap_or(&absent);
        // Row 0 of the matrix grows by one a column.
        let (mut carry_plus, mut carry_minus) = (1u64, 0u64);
        for k in 0..blocks {
            let (vp, vn) = (plus[k], minus[k]);
            let eq = equal[k] | carry_minus;
            let diagonal = ((eq & vp).wrapping_add(vp) ^ vp) | eq | vn;
            let mut hp = vn | !(diagonal | vp);
            let mut hn = diagonal & vp;
            if k + 1 == blocks {
                distance += usize::from(hp & last != 0);
                distance -= usize::from(hn & last != 0);
            }
            let (out_plus, out_minus) = (hp >> 63, hn >> 63);
            hp = hp << 1 | carry_plus;
            hn = hn << 1 | carry_minus;
            plus[k] = hn | !(diagonal | hp);
            minus[k] = hp & diagonal;
            (carry_plus, carry_minus) = (out_plus, out_minus);
        }
    }
    distance
}

/// Five figures of a distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub min: f64,
    pub median: f64,
    pub mean: f64,
    /// 95th percentile, by nearest rank.
    pub p95: f64,
    pub max: f64,
}

impl Summary {
    /// `None` without values. NaN is not expected.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let n = values.len();
        let at = |i: usize| values[i.min(n - 1)];
        let median = if n % 2 == 1 { at(n / 2) } else { (at(n / 2 - 1) + at(n / 2)) / 2.0 };
        let p95 = at((n * 95).div_ceil(100).max(1) - 1);
        Some(Self { min, median, mean: values.iter().sum::<f64>() / n as f64, p95, max })
    }
}

/// Lengths in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lengths {
    pub prompt: Summary,
    pub chosen: Summary,
    pub rejected: Summary,
    /// Prompt and the longer answer together: what `max_length` bounds.
    pub total: Summary,
}

impl Lengths {
    pub fn of(pairs: &[TokenizedPair]) -> Option<Self> {
        let of = |length: fn(&TokenizedPair) -> usize| {
            Summary::of(pairs.iter().map(|p| length(p) as f64))
        };
        Some(Self {
            prompt: of(|p| p.prompt_ids.len())?,
            chosen: of(|p| p.chosen_ids.len())?,
            rejected: of(|p| p.rejected_ids.len())?,
            total: of(TokenizedPair::longest)?,
        })
    }
}

/// A row that repeats an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicate {
    pub row: usize,
    /// The row it repeats.
    pub of: usize,
    /// The same two answers with the preference turned round: the rows contradict each other.
    pub reversed: bool,
}

/// Rows whose prompt and answers are those of an earlier row.
pub fn duplicates(pairs: &[PreferencePair]) -> Vec<Duplicate> {
    let mut seen: HashMap<u64, Vec<usize>> = HashMap::with_capacity(pairs.len());
    let mut found = Vec::new();
    for (i, pair) in pairs.iter().enumerate() {
        let key = hash(&pair.prompt, &pair.chosen).wrapping_add(hash(&pair.prompt, &pair.rejected));
        let earlier = seen.entry(key).or_default();
        // Equal hashes are compared in full: a collision is no duplicate.
        let same = earlier.iter().map(|j| &pairs[*j]).find_map(|other| {
            let straight = other.chosen == pair.chosen && other.rejected == pair.rejected;
            let reversed = other.chosen == pair.rejected && other.rejected == pair.chosen;
            let repeats = other.prompt == pair.prompt && (straight || reversed);
            repeats.then_some(Duplicate { row: pair.row, of: other.row, reversed: !straight })
        });
        match same {
            Some(duplicate) => found.push(duplicate),
            None => earlier.push(i),
        }
    }
    found
}

fn hash(prompt: &Text, answer: &Text) -> u64 {
    let mut hasher = DefaultHasher::new();
    prompt.hash(&mut hasher);
    answer.hash(&mut hasher);
    hasher.finish()
}

/// Where a run of words stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiffKind {
    /// In both answers.
    Same,
    /// In the first (the chosen) answer alone.
    Chosen,
    /// In the second (the rejected) answer alone.
    Rejected,
}

/// Time for one comparison; after it the rest counts as changed.
const DIFF_TIME: Duration = Duration::from_millis(200);

/// Runs of words of `chosen` and `rejected`, in order. The runs `Same` and `Chosen` joined are
/// `chosen`; `Same` and `Rejected` joined are `rejected`.
pub fn diff_words(chosen: &str, rejected: &str) -> Vec<(DiffKind, String)> {
    let mut config = TextDiff::configure();
    config.timeout(DIFF_TIME);
    let diff = config.diff_unicode_words(chosen, rejected);
    let mut runs: Vec<(DiffKind, String)> = Vec::new();
    for change in diff.iter_all_changes() {
        let kind = match change.tag() {
            ChangeTag::Equal => DiffKind::Same,
            ChangeTag::Delete => DiffKind::Chosen,
            ChangeTag::Insert => DiffKind::Rejected,
        };
        match runs.last_mut() {
            Some((last, text)) if *last == kind => text.push_str(change.value()),
            _ => runs.push((kind, change.value().to_owned())),
        }
    }
    runs
}
