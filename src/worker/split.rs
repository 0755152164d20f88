//! Which pairs train and which are held out for the probe.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use crate::config::{EvalSource, RunConfig};
use crate::data::pair::TokenizedPair;

/// Keeps the split apart from other uses of the run's seed.
const STREAM: u64 = 0x7370_6c69_7400_0000;

#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    #[error(
        "{pairs} usable pairs are too few to train on some and hold some out. Give more pairs, or held-out ones as --eval-data."
    )]
    TooFew { pairs: usize },
    #[error("the data has no usable pair. See the reasons above, and correct the file.")]
    Empty,
    #[error("the held-out file has no usable pair. Correct it, or use --eval-fraction.")]
    EmptyEval,
}

/// Divides the pairs of the training file, and chooses the probe.
///
/// With an eval file everything in `pairs` trains, and the probe is a sample of `eval`. With a fraction `f`,
/// `round(f n)` pairs (at least 1, at most n - 1) chosen by the seed are held out; none of them trains, and
/// the probe is a sample of them. A sample has at most `probe_pairs` pairs. All parts keep the file's
/// order. The same file and seed give the same split on every machine. With `f = 0` or `probe_pairs = 0`
/// nothing is held out and the probe is empty.
pub fn split(
    config: &RunConfig,
    pairs: Vec<TokenizedPair>,
    eval: Option<Vec<TokenizedPair>>,
) -> Result<(Vec<TokenizedPair>, Vec<TokenizedPair>), SplitError> {
    if pairs.is_empty() {
        return Err(SplitError::Empty);
    }
    let mut rng = Pcg64::seed_from_u64(config.seed ^ STREAM);
    let (train, held_out) = match (&config.eval, eval) {
        (EvalSource::File(_), None) => return Err(SplitError::EmptyEval),
        (_, Some(eval)) if eval.is_empty() => return Err(SplitError::EmptyEval),
        (_, Some(eval)) => (pairs, eval),
        (EvalSource::Fraction(fraction), None) if *fraction > 0.0 && config.probe_pairs > 0 => {
            if pairs.len() < 2 {
                return Err(SplitError::TooFew { pairs: pairs.len() });
            }
            let count =
                ((fraction * pairs.len() as f64).round() as usize).clamp(1, pairs.len() - 1);
            take(pairs, sample(&mut rng, count))
        }
        (EvalSource::Fraction(_), None) => (pairs, Vec::new()),
    };
    let probe = if held_out.len() > config.probe_pairs {
        take(held_out, sample(&mut rng, config.probe_pairs)).1
    } else {
        held_out
    };
    Ok((train, probe))
}

/// A rule that marks `count` of the `n` items it is asked about.
fn sample(rng: &mut Pcg64, count: usize) -> impl FnOnce(usize) -> Vec<bool> + '_ {
    move |n| {
        let mut order: Vec<usize> = (0..n).collect();
        let mut marked = vec![false; n];
        // Fisher-Yates, stopped after `count` draws. Written out, because the split of an old run must not
        // change with a library's version.
        for drawn in 0..count.min(n) {
            let left = (n - drawn) as u128;
            let pick = drawn + ((u128::from(rng.next_u64()) * left) >> 64) as usize;
            order.swap(drawn, pick);
            marked[order[drawn]] = true;
        }
        marked
    }
}

/// (not marked, marked), each in the order given.
fn take<T>(items: Vec<T>, mark: impl FnOnce(usize) -> Vec<bool>) -> (Vec<T>, Vec<T>) {
    let marked = mark(items.len());
    let mut rest = Vec::new();
    let mut taken = Vec::new();
    for (item, marked) in items.into_iter().zip(marked) {
        if marked { taken.push(item) } else { rest.push(item) }
    }
    (rest, taken)
}
