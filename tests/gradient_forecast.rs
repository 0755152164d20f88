//! Is the forecast during training exact: torch's gradients, the change that a small step really makes, an honest count?

use burn::tensor::Device;
use dpop_studio::config::{Budget, ObjectiveKind, RunConfig};
use dpop_studio::data::pair::TokenizedPair;
use dpop_studio::insight::gradients::{Band, Calibration, GradientProducts, push_ratio};
use dpop_studio::lora::{LoraAdapter, peft};
use dpop_studio::loss::{LossOutput, Objective, PairLogps};
use dpop_studio::model::layout::PackedBatch;
use dpop_studio::model::{LoadOptions, Model, entry_weights};
use dpop_studio::train::Trainer;
use dpop_studio::train::event::{Event, PairGradients, ProbePair};
use dpop_studio::train::history::History;
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

fn model() -> Model {
    Model::load(
        &common::fixture("models/llama_gqa_untied"),
        &Device::flex(),
        LoadOptions::default(),
    )
    .unwrap()
}

/// With B != 0, so that every matrix has a gradient.
fn adapter(model: &Model) -> LoraAdapter {
    peft::load(&common::fixture("traj/dpop_all_warmB/adapter_init"), &model.config).unwrap()
}

fn forecasts(config: RunConfig, steps: usize) -> Vec<Event> {
    let model = model();
    let init = adapter(&model);
    let config = RunConfig { budget: Budget::Steps(steps), ..config };
    let mut trainer =
        Trainer::new(model, &config, common::trajectory_pairs(), pairs(), None, Some(init))
            .unwrap();
    let mut collector = common::Collector::default();
    trainer.run(&mut collector).unwrap();
    collector.events
}

fn config() -> RunConfig {
    RunConfig {
        objective: ObjectiveKind::Dpop,
        twin: Some(ObjectiveKind::Dpo),
        forecast_pairs: 7,
        eval_every: 1,
        ..common::config(&common::fixture("models/llama_gqa_untied"))
    }
}

#[test]
fn the_products_are_torchs() {
    let events = forecasts(config(), 1);
    let first: Vec<&Event> =
        events.iter().filter(|event| matches!(event, Event::Forecast { step: 0, .. })).collect();
    assert_eq!(first.len(), 2, "one for each arm");
    for event in first {
        let Event::Forecast { arm, share, band, pairs, .. } = event else { unreachable!() };
        let mut lowered = 0;
        for (got, want) in pairs.iter().zip(expected()) {
            let number = |name: &str| want["gradients"][name].as_f64().unwrap();
            for (name, value) in [
                ("inner", got.products.inner),
                ("chosen", got.products.chosen),
                ("rejected", got.products.rejected),
            ] {
                let off = (value / number(name) - 1.0).abs();
                assert!(off < 2e-4, "{arm}, row {}: {name} is off by {off:.1e}", got.row);
            }
            lowered += usize::from(number("inner") > number("chosen"));
            // The adapter's B moves every pair off its reference, to either side.
            let penalised = got.ratio == Some(51.0);
            assert!(penalised || (got.ratio.unwrap() - 1.0).abs() < 1e-12, "{:?}", got.ratio);
            assert!(arm == "dpop" || !penalised);
        }
        assert_eq!(pairs.len(), 7);
        assert_eq!(*share, lowered as f64 / 7.0);
        let low = pairs.iter().map(|pair| pair.products.inner / pair.products.chosen);
        let high = pairs.iter().map(|pair| pair.products.rejected / pair.products.inner);
        let band = band.unwrap();
        assert_eq!(band.low, low.fold(0.0, f64::max));
        assert_eq!(band.high.unwrap(), high.fold(f64::INFINITY, f64::min));
    }
}

#[test]
fn a_small_step_changes_the_chosen_answer_as_forecast() {
    let model = model();
    let adapter = adapter(&model);
    let layers = model.config.num_layers;
    let chosen_sum = |values: &[f32], pair: &TokenizedPair| {
        let moved = LoraAdapter { values: values.to_vec(), ..adapter.clone() };
        let updates = moved.upload(layers, model.device(), None);
        model.score(std::slice::from_ref(pair), Some(&updates)).unwrap()[0].sums().0
    };
    for pair in pairs() {
        let packed = PackedBatch::new([&pair]);
        let batch = model.upload(&packed);
        let updates = adapter.upload(layers, model.device(), None);
        let side = |derivatives| {
            let (_, saved) = model.forward(&batch, &updates).unwrap();
            let weights = entry_weights(&packed, &[derivatives]);
            adapter.read_grads(model.backward(&batch, &updates, saved, &weights).unwrap()).unwrap()
        };
        let (gw, gl) = (side((1.0, 0.0)), side((0.0, 1.0)));
        let products = GradientProducts::of(&gw, &gl);
        for (d_chosen, d_rejected) in [(-0.15, 0.15), (-0.05, 0.3), (-2.0, 0.04)] {
            let loss = LossOutput { loss: 0.0, d_chosen, d_rejected };
            let length = 2e-6 / (d_chosen.abs() + d_rejected.abs());
            let moved = |sign: f64| -> Vec<f32> {
                let step = |((&v, &w), &l): ((&f32, &f32), &f32)| {
                    let slope = d_chosen * f64::from(w) + d_rejected * f64::from(l);
                    (f64::from(v) - sign * length * slope) as f32
                };
                adapter.values.iter().zip(&gw).zip(&gl).map(step).collect()
            };
            let change = (chosen_sum(&moved(1.0), &pair) - chosen_sum(&moved(-1.0), &pair)) / 2.0;
            let forecast = products.chosen_change(&loss) * length;
            // f32 log-probabilities of some -350 nats: what is left of a difference is good to a few 1e-4.
            let scale = (d_chosen.abs() * products.chosen + d_rejected * products.inner) * length;
            let off = (change - forecast).abs();
            assert!(off < 0.02 * scale + 3e-4, "row {}: {change} for {forecast}", pair.row);
        }
    }
}

#[test]
fn the_heading_is_the_slope_along_the_optimisers_direction() {
    let base = model();
    let layers = base.config.num_layers;
    let lr = 1e-3;
    let config = RunConfig { twin: None, learning_rate: lr, budget: Budget::Steps(4), ..config() };
    let mut trainer =
        Trainer::new(model(), &config, common::trajectory_pairs(), pairs(), None, None).unwrap();
    // Stopped before the end, so that a next update is to come.
    let mut collector = common::Collector { stop_at: vec![3], ..Default::default() };
    trainer.run(&mut collector).unwrap();
    let forecast = collector.events.iter().rev().find_map(|event| match event {
        Event::Forecast { step: 3, pairs, .. } => Some(pairs.clone()),
        _ => None,
    });
    let arm = &trainer.state().arms[0];
    // torch's AdamW, without decay: m_hat / (sqrt(v_hat) + eps).
    let direction: Vec<f64> = arm
        .first_moment
        .iter()
        .zip(&arm.second_moment)
        .map(|(&m, &v)| {
            let m = f64::from(m) / (1.0 - 0.9f64.powi(3));
            let v = f64::from(v) / (1.0 - 0.999f64.powi(3));
            -lr * m / (v.sqrt() + 1e-8)
        })
        .collect();
    let mut largest = 0.0f64;
    for (pair, told) in pairs().iter().zip(forecast.unwrap()) {
        let sum = |t: f64| {
            let moved = arm.adapter.values.iter().zip(&direction);
            let values = moved.map(|(&v, d)| (f64::from(v) + t * d) as f32).collect();
            let moved = LoraAdapter { values, ..arm.adapter.clone() };
            let updates = moved.upload(layers, base.device(), None);
            base.score(std::slice::from_ref(pair), Some(&updates)).unwrap()[0].sums().0
        };
        let slope = (sum(0.05) - sum(-0.05)) / 0.1;
        let off = (slope - told.heading).abs();
        assert!(off < 0.01 * told.heading.abs() + 5e-3, "{slope} for {}", told.heading);
        largest = largest.max(told.heading.abs());
    }
    assert!(largest > 0.1, "the directions are worth comparing: {largest}");
    let first = collector.events.iter().find_map(|event| match event {
        Event::Forecast { step: 0, pairs, .. } => Some(pairs[0].heading),
        _ => None,
    });
    assert_eq!(first, Some(0.0), "before the first update there is no direction");
}

#[test]
fn the_band_by_hand() {
    // |gw| = 2, |gl| = 4, cosine 1/2: rho a = 1, a / rho = 4.
    let products = GradientProducts::of(&[2.0, 0.0], &[2.0, 12f32.sqrt()]);
    let band = products.band().unwrap();
    assert!((band.low - 1.0).abs() < 1e-6 && (band.high.unwrap() - 4.0).abs() < 1e-6);
    assert!(band.holds(1.5) && !band.holds(0.5) && !band.holds(51.0));
    assert!(!products.dpo_lowers_chosen());
    // More alike than long: DPO lowers the chosen answer, a ratio of 1 lies below the band.
    let alike = GradientProducts::of(&[1.0, 0.0], &[2.0, 1.0]);
    assert!(alike.dpo_lowers_chosen() && !alike.band().unwrap().holds(1.0));
    // Answers that pull apart: any ratio will do.
    let apart = GradientProducts::of(&[1.0, 0.0], &[-1.0, 1.0]);
    assert_eq!(apart.band(), Some(Band { low: 0.0, high: None }));
    assert_eq!(GradientProducts::of(&[0.0], &[1.0]).band(), None);
}

#[test]
fn ratios_are_those_of_the_losses() {
    let at = |chosen| PairLogps { chosen, rejected: -5.0, ref_chosen: -1.0, ref_rejected: -4.0 };
    let dpop = Objective::Dpop { beta: 0.3, lambda: 50.0 };
    let ratio = |objective: Objective, chosen| push_ratio(&objective.evaluate(&at(chosen)));
    assert!((ratio(dpop, -1.1).unwrap() - 51.0).abs() < 1e-9, "the penalty acts");
    assert!((ratio(dpop, -0.9).unwrap() - 1.0).abs() < 1e-9, "it does not");
    assert!((ratio(Objective::Dpo { beta: 0.3 }, -1.1).unwrap() - 1.0).abs() < 1e-9);
    assert_eq!(ratio(Objective::Sft, -1.1), None);
}

fn probe(step: usize, chosen: [f64; 3]) -> Event {
    let pair = |(row, chosen): (usize, f64)| ProbePair {
        row,
        chosen,
        rejected: -9.0,
        ref_chosen: -1.0,
        ref_rejected: -9.0,
        chosen_tokens: 4,
        rejected_tokens: 4,
    };
    let pairs: Vec<ProbePair> = chosen.into_iter().enumerate().map(pair).collect();
    Event::Probe { step, arms: Default::default(), pairs: [("dpo".to_owned(), pairs)].into() }
}

fn forecast(step: usize, falls: [bool; 2]) -> Event {
    let products = GradientProducts { inner: 0.0, chosen: 1.0, rejected: 1.0 };
    let pair =
        |(row, falls)| PairGradients { row, products, ratio: Some(1.0), falls, heading: 0.0 };
    let pairs = falls.into_iter().enumerate().map(pair).collect();
    Event::Forecast { step, arm: "dpo".into(), share: 0.5, band: None, pairs }
}

#[test]
fn forecasts_are_held_against_the_next_probe() {
    let events = [
        probe(0, [-1.0, -1.0, -1.0]),
        forecast(0, [true, false]),
        probe(10, [-1.5, -1.2, -0.9]), // the warning came true, and the other fell as well
        forecast(10, [true, true]),
        probe(20, [-1.4, -1.3, -0.9]), // one of two
        forecast(20, [false, false]),  // not checked yet
    ];
    let calibration = History::of(&events).arms["dpo"].checked.calibration;
    let counted = Calibration { warnings: 3, came_true: 2, quiet: 1, fell_anyway: 1 };
    assert_eq!(calibration, counted);
    assert_eq!(
        calibration.sentence().unwrap(),
        "2 of 3 warnings came true by the next probe (67 %). Of 1 pairs without a warning 1 fell too (100 %)."
    );
    assert_eq!(Calibration::default().sentence(), None);
}

#[test]
fn a_run_without_forecasts_computes_none() {
    let events = forecasts(RunConfig { forecast_pairs: 0, ..config() }, 1);
    assert!(!events.iter().any(|event| matches!(event, Event::Forecast { .. })));
    assert!(events.iter().any(|event| matches!(event, Event::Probe { .. })));
}
