//! Is the held-out part fixed by file and seed, and never trained on?

use std::collections::BTreeSet;

use dpop_studio::config::{EvalSource, RunConfig, RunDraft};
use dpop_studio::data::pair::TokenizedPair;
use dpop_studio::worker::split::split;

fn config(change: impl FnOnce(&mut RunConfig)) -> RunConfig {
    let draft = RunDraft { model: Some("m".into()), data: Some("d".into()), ..RunDraft::default() };
    let mut config = draft.validate().unwrap();
    change(&mut config);
    config
}

fn pairs(rows: std::ops::Range<usize>) -> Vec<TokenizedPair> {
    let id = |row: usize| vec![row as u32];
    rows.map(|row| TokenizedPair {
        row,
        prompt_ids: id(row),
        chosen_ids: id(row),
        rejected_ids: id(row),
    })
    .collect()
}

fn rows(pairs: &[TokenizedPair]) -> Vec<usize> {
    pairs.iter().map(|pair| pair.row).collect()
}

#[test]
fn a_share_is_held_out_and_the_probe_is_a_sample_of_it() {
    let config = config(|c| (c.eval, c.probe_pairs, c.seed) = (EvalSource::Fraction(0.25), 10, 7));
    let (train, probe) = split(&config, pairs(0..200), None).unwrap();
    assert_eq!((train.len(), probe.len()), (150, 10));
    let (train, probe) = (rows(&train), rows(&probe));
    assert!(train.is_sorted() && probe.is_sorted(), "in the order of the file");
    let both: BTreeSet<usize> = train.iter().chain(&probe).copied().collect();
    assert_eq!(both.len(), 160, "no pair is in both");
}

#[test]
fn file_and_seed_fix_the_split() {
    let with = |seed| {
        let config = config(|c| (c.eval, c.seed) = (EvalSource::Fraction(0.1), seed));
        rows(&split(&config, pairs(0..1000), None).unwrap().1)
    };
    assert_eq!(with(1), with(1));
    assert_ne!(with(1), with(2));
    // An old run must find its split again after an update: these rows are part of the format.
    let config = config(|c| (c.eval, c.probe_pairs, c.seed) = (EvalSource::Fraction(0.5), 4, 42));
    assert_eq!(rows(&split(&config, pairs(0..100), None).unwrap().1), [39, 45, 58, 74]);
}

#[test]
fn every_pair_is_as_likely_to_be_held_out() {
    let mut times = [0u32; 20];
    for seed in 0..2000 {
        let config = config(|c| (c.eval, c.seed) = (EvalSource::Fraction(0.25), seed));
        rows(&split(&config, pairs(0..20), None).unwrap().1)
            .into_iter()
            .for_each(|row| times[row] += 1);
    }
    // 2000 draws with p = 1/4: mean 500, standard deviation 19.4; five of them is one chance in a million.
    assert!(times.iter().all(|n| n.abs_diff(500) < 97), "{times:?}");
}

#[test]
fn an_eval_file_leaves_the_training_file_whole() {
    let config = config(|c| (c.eval, c.probe_pairs) = (EvalSource::File("e".into()), 3));
    let (train, probe) = split(&config, pairs(0..10), Some(pairs(100..150))).unwrap();
    assert_eq!(rows(&train), (0..10).collect::<Vec<_>>());
    assert!(probe.len() == 3 && rows(&probe).iter().all(|row| (100..150).contains(row)));
}

#[test]
fn small_files_keep_at_least_one_pair_on_each_side() {
    for (fraction, n) in [(0.01, 2), (0.99, 2), (0.5, 3), (0.9, 5)] {
        let config = config(|c| c.eval = EvalSource::Fraction(fraction));
        let (train, probe) = split(&config, pairs(0..n), None).unwrap();
        assert!(!train.is_empty() && !probe.is_empty() && train.len() + probe.len() == n);
    }
    let config = config(|c| c.eval = EvalSource::Fraction(0.1));
    assert!(split(&config, pairs(0..1), None).unwrap_err().to_string().contains("--eval-data"));
    assert!(split(&config, Vec::new(), None).is_err());
}
