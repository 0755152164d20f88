//! Does advice come when its figures call for it, and not otherwise?

use std::collections::BTreeMap;

use dpop_studio::config::ObjectiveKind;
use dpop_studio::insight::advice::{Course, advise, plateaued};

type Metrics = BTreeMap<String, f64>;

/// A healthy course: margins as given, everything else calm.
fn probes(margins: &[f64], change: impl Fn(&mut Metrics)) -> Vec<(usize, Metrics)> {
    let metrics = |(i, margin): (usize, &f64)| {
        let mut metrics: Metrics = [
            ("rewards/margins", *margin),
            ("rewards/accuracies", 0.8),
            ("logps_per_token/chosen", -0.5),
            ("reference_per_token/chosen", -0.5),
            ("dpop/active", 0.2),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        change(&mut metrics);
        (i * 10, metrics)
    };
    margins.iter().enumerate().map(metrics).collect()
}

fn updates(norms: &[f64], margins: impl Fn(usize) -> f64) -> Vec<(usize, Metrics)> {
    let metrics = |(i, norm): (usize, &f64)| {
        let margin = margins(i + 1);
        (i + 1, [("grad_norm".to_owned(), *norm), ("rewards/margins".to_owned(), margin)].into())
    };
    norms.iter().enumerate().map(metrics).collect()
}

fn rules(course: &Course<'_>) -> Vec<&'static str> {
    advise(course).into_iter().map(|hint| hint.rule).collect()
}

fn course<'a>(probes: &'a [(usize, Metrics)], updates: &'a [(usize, Metrics)]) -> Course<'a> {
    Course {
        objective: ObjectiveKind::Dpop,
        lambda: 50.0,
        learning_rate: 2e-3,
        max_grad_norm: None,
        steps: 100,
        probes,
        updates,
    }
}

const RISING: [f64; 6] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];
const FLAT: [f64; 6] = [0.0, 0.3, 0.3, 0.3, 0.3, 0.3];

fn set(name: &str, value: f64) -> impl Fn(&mut Metrics) {
    move |metrics| {
        metrics.insert(name.to_owned(), value);
    }
}

#[test]
fn a_healthy_run_is_left_alone() {
    let (probes, updates) = (probes(&RISING, |_| {}), updates(&[1.0; 50], |_| 0.5));
    assert_eq!(rules(&course(&probes, &updates)), [""; 0]);
    assert_eq!(rules(&course(&[], &[])), [""; 0], "and so is one that has not begun");
}

#[test]
fn a_penalty_that_holds_everything_is_named_with_its_figures() {
    let held = probes(&FLAT, set("dpop/active", 0.93));
    let hints = advise(&course(&held, &[]));
    assert_eq!(hints.len(), 1, "{hints:?}");
    assert!(hints[0].message.contains("active on 93 %"), "{}", hints[0].message);
    assert!(hints[0].message.contains("flat at 0.300"), "{}", hints[0].message);
    assert!(hints[0].message.contains("--lambda 5"), "{}", hints[0].message);
    // Active and rising is what a penalty is for; a small lambda is not to blame; DPO has none.
    let rising = probes(&RISING, set("dpop/active", 0.93));
    assert_eq!(rules(&course(&rising, &[])), [""; 0]);
    assert_eq!(rules(&Course { lambda: 5.0, ..course(&held, &[]) }), [""; 0]);
    let dpo = Course { objective: ObjectiveKind::Dpo, ..course(&held, &[]) };
    assert_eq!(rules(&dpo), [""; 0]);
}

#[test]
fn preferred_answers_below_the_base_model_are_named() {
    let low = probes(&RISING, set("logps_per_token/chosen", -0.56));
    let dpop = advise(&course(&low, &[]));
    assert_eq!(dpop[0].rule, "chosen-below-reference");
    assert!(dpop[0].message.contains("0.060 nats"), "{}", dpop[0].message);
    assert!(dpop[0].message.contains("--lambda 500"), "{}", dpop[0].message);
    let dpo = advise(&Course { objective: ObjectiveKind::Dpo, ..course(&low, &[]) });
    assert!(dpo[0].message.contains("--objective dpop"), "{}", dpo[0].message);
    // A penalty that does not hold them is not told to be weaker.
    let held = probes(&FLAT, |metrics| {
        set("logps_per_token/chosen", -0.56)(metrics);
        set("dpop/active", 0.93)(metrics);
    });
    assert_eq!(rules(&course(&held, &[])), ["chosen-below-reference"]);
    let near = probes(&RISING, set("logps_per_token/chosen", -0.54));
    assert_eq!(rules(&course(&near, &[])), [""; 0]);
}

#[test]
fn learning_by_heart_is_named() {
    let falling = probes(&[0.0, 0.5, 1.0, 0.8, 0.6, 0.4], |_| {});
    let up = updates(&[1.0; 50], |step| step as f64 / 10.0);
    let hints = advise(&course(&falling, &up));
    assert_eq!(hints.len(), 1, "{hints:?}");
    assert!(hints[0].message.contains("Since step 20") && hints[0].message.contains("--steps 20"));
    let down = updates(&[1.0; 50], |step| -(step as f64));
    assert_eq!(rules(&course(&falling, &down)), [""; 0], "both fall: something else");
}

#[test]
fn a_run_that_does_nothing_or_nothing_more_is_named() {
    let still = probes(&[0.0, 0.001, 0.002, 0.003, 0.004, 0.005], set("rewards/accuracies", 0.5));
    let hints = advise(&course(&still, &[]));
    assert_eq!(hints[0].rule, "nothing-learned");
    assert!(hints[0].message.contains("2e-2"), "{}", hints[0].message);
    // Early in the run there is no reason to complain.
    assert_eq!(rules(&Course { steps: 1000, ..course(&still, &[]) }), [""; 0]);
    let done = probes(&FLAT, set("rewards/accuracies", 1.0));
    assert_eq!(rules(&course(&done, &[])), ["learned-everything"]);
    assert_eq!(rules(&Course { steps: 50, ..course(&done, &[]) }), [""; 0], "it is over anyway");
}

#[test]
fn a_gradient_that_jumps_is_named() {
    let probes = probes(&RISING, |_| {});
    let mut norms = vec![0.5; 40];
    norms[29] = 80.0;
    let jumps = updates(&norms, |_| 0.5);
    let hints = advise(&course(&probes, &jumps));
    assert_eq!(hints[0].rule, "gradient-jumps");
    assert!(hints[0].message.contains("step 30") && hints[0].message.contains("160 times"));
    assert!(hints[0].message.contains("--max-grad-norm 5.0"), "{}", hints[0].message);
}

#[test]
fn a_plateau_by_hand() {
    assert!(plateaued(&[0.0, 1.0, 1.005, 0.9], 2), "half a percent is no rise");
    assert!(!plateaued(&[0.0, 1.0, 1.005, 1.02], 2));
    assert!(!plateaued(&[1.0, 0.9], 2), "nothing to compare with");
    assert!(plateaued(&[1.0, 0.9, 0.8], 2));
    assert!(plateaued(&[-1.0, -1.0], 1) && !plateaued(&[-1.0, -0.9], 1));
    assert!(!plateaued(&[], 1) && !plateaued(&[1.0, 1.0], 0));
}
