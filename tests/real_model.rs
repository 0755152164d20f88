//! A real pretrained model on real preference rows: are our summed log-probabilities those of torch in float64?

use burn::tensor::Device;
use dpop_studio::data::{self, Tokenizer};
use dpop_studio::model::{LoadOptions, Model};
use serde_json::Value;
use std::path::Path;

#[test]
fn log_probs_match_the_float64_oracle() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = shared.join("models/stories260K-hf");
    if !folder.is_dir() {
        eprintln!("SKIPPED: {} is not here", folder.display());
        return;
    }
    let oracle = shared.join("oracles/stories260K_rasbt_rows0-39_logps.json");
    let oracle: Value = serde_json::from_str(&std::fs::read_to_string(oracle).unwrap()).unwrap();
    let rows = oracle["rows"].as_array().unwrap();
    let file = shared.join("preferences/rasbt_instruction-data-with-preference.json");
    let tokenizer = Tokenizer::open(&folder).unwrap();
    let mut pairs = tokenizer.tokenize(&data::load(&file).unwrap(), 512).pairs;
    pairs.retain(|pair| pair.row < rows.len());
    assert!(pairs.len() >= 38, "only {} of {} rows are usable", pairs.len(), rows.len());

    let model = Model::load(&folder, &Device::flex(), LoadOptions::default()).unwrap();
    let scores = model.score(&pairs, None).unwrap();
    let mut worst = 0.0f64;
    for (pair, score) in pairs.iter().zip(&scores) {
        let row = &rows[pair.row];
        assert_eq!(row["row"], pair.row);
        let (chosen, rejected) = score.sums();
        for (side, sum) in [("chosen", chosen), ("rejected", rejected)] {
            let want = row[side]["sum_logp_completion"].as_f64().unwrap();
            let tokens = row[side]["n_completion_tokens"].as_u64().unwrap() as usize;
            let ours = if side == "chosen" { &score.chosen } else { &score.rejected };
            assert_eq!(ours.len(), tokens, "row {} {side}", pair.row);
            worst = worst.max((sum - want).abs());
            assert!((sum - want).abs() < 1e-3, "row {} {side}: {sum} and not {want}", pair.row);
        }
    }
    eprintln!("{} real rows: off by {worst:.1e} nats at most", pairs.len());
}
