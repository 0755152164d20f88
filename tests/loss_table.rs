//! Are the losses the papers' losses? Compared with torch's float64 autograd and with their own slopes.

use dpop_studio::loss::{LossOutput, Objective, PairLogps};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::Value;

fn number(row: &Value, field: &str) -> f64 {
    row[field].as_f64().unwrap_or_else(|| panic!("{field} is not a number in {row}"))
}

fn pair(row: &Value) -> PairLogps {
    PairLogps {
        chosen: number(row, "logpi_w"),
        rejected: number(row, "logpi_l"),
        ref_chosen: number(row, "logref_w"),
        ref_rejected: number(row, "logref_l"),
    }
}

fn assert_close(name: &str, row: usize, got: f64, expected: f64) {
    let tolerance = 1e-12 * expected.abs();
    assert!(
        (got - expected).abs() <= tolerance,
        "row {row} {name}: {got:e}, torch has {expected:e}"
    );
}

#[test]
fn every_row_of_torchs_table_to_twelve_digits() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/loss/loss_table.json");
    let table: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let rows = table["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 44);
    for (i, row) in rows.iter().enumerate() {
        let (beta, lambda) = (number(row, "beta"), number(row, "lambda"));
        let objectives = [
            ("dpop", Objective::Dpop { beta, lambda }),
            ("dpo", Objective::Dpo { beta }),
            ("ipo_sum", Objective::Ipo { beta }),
            ("hinge", Objective::Hinge { beta }),
            ("smoothed_dpo_0.1_cdpo", Objective::Cdpo { beta, label_smoothing: 0.1 }),
        ];
        for (name, objective) in objectives {
            let got = objective.evaluate(&pair(row));
            assert_close(&format!("{name} loss"), i, got.loss, number(&row[name], "loss"));
            assert_close(
                &format!("{name} d/dlw"),
                i,
                got.d_chosen,
                number(&row[name], "d_logpi_w"),
            );
            assert_close(
                &format!("{name} d/dll"),
                i,
                got.d_rejected,
                number(&row[name], "d_logpi_l"),
            );
        }
        assert_close("penalty", i, pair(row).penalty(), number(row, "dpop_penalty"));
    }
}

fn random_pair(rng: &mut Pcg64Mcg) -> PairLogps {
    let mut draw = || rng.random_range(-40.0..0.0);
    PairLogps { chosen: draw(), rejected: draw(), ref_chosen: draw(), ref_rejected: draw() }
}

/// Every objective with plausible parameters.
fn objectives() -> [Objective; 6] {
    [
        Objective::Dpop { beta: 0.3, lambda: 50.0 },
        Objective::Dpo { beta: 0.1 },
        Objective::Ipo { beta: 0.1 },
        Objective::Hinge { beta: 0.1 },
        Objective::Cdpo { beta: 0.2, label_smoothing: 0.15 },
        Objective::Sft,
    ]
}

#[test]
fn derivatives_are_the_slopes_of_the_loss() {
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let h = 1e-5;
    for _ in 0..2000 {
        let pair = random_pair(&mut rng);
        for objective in objectives() {
            let loss = |dw: f64, dl: f64| {
                let (chosen, rejected) = (pair.chosen + dw, pair.rejected + dl);
                objective.evaluate(&PairLogps { chosen, rejected, ..pair }).loss
            };
            let hinge_kink = (1.0 - 0.1 * pair.margin()).abs() < 1e-3;
            if pair.chosen_ratio().abs() < 1e-3 || hinge_kink {
                continue; // no slope at a kink
            }
            let got = objective.evaluate(&pair);
            let slope_w = (loss(h, 0.0) - loss(-h, 0.0)) / (2.0 * h);
            let slope_l = (loss(0.0, h) - loss(0.0, -h)) / (2.0 * h);
            // Rounding of the difference: eps * loss / h, on losses up to some 600.
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * (1.0 + b.abs());
            assert!(
                near(slope_w, got.d_chosen),
                "{objective:?} {pair:?}: {slope_w} is not {}",
                got.d_chosen
            );
            assert!(
                near(slope_l, got.d_rejected),
                "{objective:?} {pair:?}: {slope_l} is not {}",
                got.d_rejected
            );
        }
    }
}

fn bits(output: LossOutput) -> [u64; 3] {
    [output.loss, output.d_chosen, output.d_rejected].map(f64::to_bits)
}

#[test]
fn dpop_without_lambda_is_dpo_to_the_bit() {
    let mut rng = Pcg64Mcg::seed_from_u64(2);
    for _ in 0..100_000 {
        let pair = random_pair(&mut rng);
        let beta = rng.random_range(0.001..5.0);
        let dpop = Objective::Dpop { beta, lambda: 0.0 }.evaluate(&pair);
        assert_eq!(
            bits(dpop),
            bits(Objective::Dpo { beta }.evaluate(&pair)),
            "{pair:?} beta {beta}"
        );
        // Written out once more, so that the two cannot be wrong together.
        let z = beta * ((pair.chosen - pair.ref_chosen) - (pair.rejected - pair.ref_rejected));
        assert!((dpop.loss - (1.0 + (-z).exp()).ln()).abs() <= 1e-9 * (1.0 + z.abs()));
    }
}

#[test]
fn before_the_first_update_dpop_and_dpo_cost_ln_2_and_push_alike() {
    for reference in [-0.1, -11.0, -350.7, -1e4] {
        let pair = PairLogps {
            chosen: reference,
            rejected: reference * 2.0,
            ref_chosen: reference,
            ref_rejected: reference * 2.0,
        };
        let dpop = Objective::Dpop { beta: 0.1, lambda: 50.0 }.evaluate(&pair);
        assert_eq!(dpop.loss, std::f64::consts::LN_2);
        assert_eq!((dpop.d_chosen, dpop.d_rejected), (-0.05, 0.05));
        assert_eq!(bits(dpop), bits(Objective::Dpo { beta: 0.1 }.evaluate(&pair)));
    }
}

#[test]
fn the_papers_loss_at_one_hand_computed_point() {
    let pair = PairLogps { chosen: -12.0, rejected: -14.0, ref_chosen: -11.0, ref_rejected: -11.0 };
    let got = Objective::Dpop { beta: 0.3, lambda: 50.0 }.evaluate(&pair);
    // z = 0.3 * (-1 + 3 - 50) = -14.4
    assert!((got.loss - 14.400001).abs() < 1e-6, "{got:?}");
    assert!((got.d_chosen + 15.299991).abs() < 1e-6, "{got:?}");
    assert!((got.d_rejected - 0.3).abs() < 1e-6, "{got:?}");
}

#[test]
fn the_penalty_switches_on_only_below_the_reference() {
    let at = |chosen: f64| {
        let pair = PairLogps { chosen, rejected: -11.0, ref_chosen: -11.0, ref_rejected: -11.0 };
        Objective::Dpop { beta: 0.3, lambda: 50.0 }.evaluate(&pair).d_chosen
    };
    assert!((at(-11.0) + 0.15).abs() < 1e-12);
    assert!((at(f64::from_bits((-11.0f64).to_bits() - 1)) + 0.15).abs() < 1e-9, "one ulp above");
    assert!(
        (at(f64::from_bits((-11.0f64).to_bits() + 1)) + 0.15 * 51.0).abs() < 1e-9,
        "one ulp below"
    );
}

#[test]
fn sft_looks_at_the_chosen_answer_alone() {
    let pair = PairLogps { chosen: -7.5, rejected: -3.0, ref_chosen: -8.0, ref_rejected: -1.0 };
    let got = Objective::Sft.evaluate(&pair);
    assert_eq!(got, LossOutput { loss: 7.5, d_chosen: -1.0, d_rejected: 0.0 });
}

#[test]
fn objectives_say_what_they_are() {
    let texts = objectives().map(|o| (o.name(), o.describe()));
    assert_eq!(texts[0], ("dpop", "DPOP (beta 0.3, lambda 50)".to_owned()));
    assert_eq!(texts[1], ("dpo", "DPO (beta 0.1)".to_owned()));
    assert_eq!(texts[4], ("cdpo", "cDPO (beta 0.2, label smoothing 0.15)".to_owned()));
    assert_eq!(texts[5], ("sft", "SFT".to_owned()));
    for objective in objectives() {
        assert!(objective.formula().is_ascii() && !objective.formula().contains('\n'));
    }
}
