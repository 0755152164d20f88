//! Are the scores of single pairs before training torch's (tests/fixtures/scripts/gen_insight.py, float64)?

use burn::tensor::Device;
use dpop_studio::data::pair::TokenizedPair;
use dpop_studio::insight::Histogram;
use dpop_studio::insight::displacement::{WrongWay, ches, surprise};
use dpop_studio::insight::forecast::{Filter, Forecast, PairForecast};
use dpop_studio::model::{LoadOptions, Model};
use dpop_studio::worker::forecast::score_pairs;
use serde_json::Value;

mod common;

fn expected() -> Vec<Value> {
    let text = std::fs::read_to_string(common::fixture("insight/pairs.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn pairs() -> Vec<TokenizedPair> {
    let ids = |row: &Value, name: &str| serde_json::from_value(row[name].clone()).unwrap();
    let pair = |(row, value): (usize, &Value)| TokenizedPair {
        row,
        prompt_ids: ids(value, "prompt_ids"),
        chosen_ids: ids(value, "chosen_ids"),
        rejected_ids: ids(value, "rejected_ids"),
    };
    expected().iter().enumerate().map(pair).collect()
}

fn scored() -> Vec<PairForecast> {
    let model = Model::load(
        &common::fixture("models/llama_gqa_untied"),
        &Device::flex(),
        LoadOptions::default(),
    )
    .unwrap();
    let mut heard = Vec::new();
    let scored = score_pairs(&model, &pairs(), |done| heard.push(done)).unwrap();
    assert_eq!(heard, [7]);
    scored
}

#[test]
fn every_score_is_torchs() {
    let mut in_place = 0;
    for ((got, want), pair) in scored().iter().zip(expected()).zip(pairs()) {
        let number = |name: &str| want[name].as_f64().unwrap();
        let off = (got.ches - number("ches")).abs();
        assert!(off < 2e-5, "row {}: CHES {} is off by {off:.1e}", got.row, got.ches);
        assert!((got.surprise - number("surprise")).abs() < 1e-5, "row {}", got.row);
        let chosen = number("chosen") / pair.chosen_ids.len() as f64;
        let rejected = number("rejected") / pair.rejected_ids.len() as f64;
        assert!((got.chosen_per_token - chosen).abs() < 1e-5, "row {}", got.row);
        assert!((got.rejected_per_token - rejected).abs() < 1e-5, "row {}", got.row);
        assert_eq!(got.looks_swapped(), rejected > chosen);
        assert_eq!(
            got.wrong_way.compared as u64,
            want["common_behind_difference"].as_u64().unwrap(),
            "row {}: a longest common subsequence",
            got.row
        );
        // With substitutions alone the tokens stand face to face, and the count is unambiguous.
        let behind = pair.chosen_ids.len() - got.distance.first_difference;
        if got.row < 4 && got.distance.edits == behind - got.wrong_way.compared {
            in_place += 1;
            assert_eq!(got.wrong_way.tokens as u64, want["wrong_way_in_place"].as_u64().unwrap());
        }
    }
    assert_eq!(in_place, 4);
}

#[test]
fn ches_by_hand() {
    // <(1, 2), (3, -1)> - |(1, 2)|^2 = 1 - 5
    assert_eq!(ches(&[1.0, 2.0], &[3.0, -1.0]), -4.0);
    // Equal answers: nothing to tell apart, the largest value there is.
    assert_eq!(ches(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
}

#[test]
fn wrong_way_by_hand() {
    // 7 | 8 against 9, then 5, 6 in both; 5 is likelier in the chosen answer, 6 is not.
    let chosen = (&[7, 8, 5, 6][..], &[-0.1f32, -0.1, -0.2, -0.9][..]);
    let rejected = (&[7, 9, 5, 6][..], &[-0.1f32, -3.0, -0.5, -0.9][..]);
    assert_eq!(WrongWay::of(chosen, rejected), WrongWay { compared: 2, tokens: 1 });
    // A token more in the rejected answer shifts the rest; the tokens still find each other.
    let longer = (&[7, 9, 9, 5, 6][..], &[-0.1f32, -3.0, -3.0, -0.5, -1.0][..]);
    assert_eq!(WrongWay::of(chosen, longer), WrongWay { compared: 2, tokens: 2 });
    let other = (&[7, 1, 2][..], &[-0.1f32, -1.0, -1.0][..]);
    assert_eq!(WrongWay::of(chosen, other).share(), None);
    assert!((surprise(chosen.1, 1) - 0.4).abs() < 1e-7);
    assert_eq!(surprise(chosen.1, 4), 0.0);
}

#[test]
fn histograms_hold_every_value() {
    let h = Histogram::of(&[0.0, 1.0, 2.0, 3.0, 4.0, f64::NAN], 4).unwrap();
    assert_eq!((h.low, h.high, h.counts), (0.0, 4.0, vec![1, 1, 1, 2]));
    assert_eq!(Histogram::of(&[2.0, 2.0], 3).unwrap().counts, [2, 0, 0]);
    assert_eq!(Histogram::of(&[f64::INFINITY], 3), None);
}

#[test]
fn filters_keep_what_passes_every_rule() {
    let forecast = Forecast::new(scored(), Vec::new());
    assert_eq!(Filter::default().rows(&forecast), [0, 1, 2, 3, 4, 5, 6]);
    // Pairs 4 and 5 have answers to different questions, pair 6 a rejected answer that begins the chosen one.
    let distances: Vec<f64> = forecast.pairs.iter().map(|p| p.distance.normalised).collect();
    assert!(distances[..4].iter().all(|d| *d < 0.1) && distances[4..].iter().all(|d| *d > 0.3));
    let far = Filter { min_edit_distance: Some(0.2), ..Filter::default() };
    assert_eq!(far.rows(&forecast), [4, 5, 6]);
    let low = Filter { max_ches: Some(-0.42), ..Filter::default() };
    assert_eq!(low.rows(&forecast), [1, 3, 4, 5, 6]);
    let both = Filter { max_ches: Some(-0.42), max_wrong_way: Some(0.4), ..far };
    // Pair 6 has nothing to compare, and passes.
    assert!(forecast.pairs[4].wrong_way.share() > Some(0.4));
    assert_eq!(both.rows(&forecast), [5, 6]);
    let first = forecast.first_to_fall[0];
    let most = forecast.pairs.iter().map(|pair| pair.surprise).fold(0.0, f64::max);
    assert_eq!(forecast.pairs[first].surprise, most);
}
