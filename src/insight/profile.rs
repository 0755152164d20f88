//! Where in the answer likelihood is lost.
//!
//! Pal et al., arXiv 2402.13228 v2, section 3: where two answers differ in few tokens, DPO lowers the tokens *after* the
//! first difference. Their figure on MetaMath pairs: a mean of -0.37 nats a token under the reference, -1.82 after DPO,
//! -0.26 after DPOP.

use std::collections::BTreeMap;

use serde::Serialize;

/// Tokens at one distance from the first token that differs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ProfilePoint {
    /// 0 is the first token that differs, negative ones stand before it.
    pub offset: isize,
    /// Mean log-probability, nats.
    pub mean: f64,
    /// How many answers have a token there.
    pub tokens: usize,
}

/// Mean log-probability of the chosen answers' tokens by their distance from the first difference, in nats.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EditProfile {
    /// In rising order of `offset`.
    pub points: Vec<ProfilePoint>,
    /// Mean over all tokens before the first that differs; `None` without such tokens.
    pub before: Option<f64>,
    /// Mean over the first tokens that differ.
    pub at: Option<f64>,
    /// Mean over all tokens after it.
    pub after: Option<f64>,
}

/// The profile of `answers`: each the log-probabilities of its tokens and the index of the first that differs from the
/// other answer (its length where the answer is only the beginning of the other).
pub fn edit_profile<'a>(answers: impl IntoIterator<Item = (&'a [f32], usize)>) -> EditProfile {
    let mut sums: BTreeMap<isize, (f64, usize)> = BTreeMap::new();
    for (logps, first) in answers {
        for (index, &logp) in logps.iter().enumerate() {
            let (sum, tokens) = sums.entry(index as isize - first as isize).or_default();
            *sum += f64::from(logp);
            *tokens += 1;
        }
    }
    let mean_of = |range: &dyn Fn(isize) -> bool| {
        let inside = sums.iter().filter(|(offset, _)| range(**offset));
        let (sum, tokens) = inside.fold((0.0, 0), |(sum, n), (_, at)| (sum + at.0, n + at.1));
        (tokens > 0).then(|| sum / tokens as f64)
    };
    EditProfile {
        before: mean_of(&|offset| offset < 0),
        at: mean_of(&|offset| offset == 0),
        after: mean_of(&|offset| offset > 0),
        points: sums
            .iter()
            .map(|(&offset, &(sum, tokens))| ProfilePoint {
                offset,
                mean: sum / tokens as f64,
                tokens,
            })
            .collect(),
    }
}
