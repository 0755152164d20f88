//! Are form, command line and run.json one thing, and are all complaints heard at once?

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser};
use dpop_studio::config::{
    BasePrecision, Budget, Card, ComputePrecision, EvalSource, FIELDS, Limits, ObjectiveKind,
    Recompute, RunConfig, RunDraft, Schedule, StopRule, StopRules, Target, Targets, Twin,
    WeightPlace, field, lambda_from_allamo, presets,
};
use serde_json::{Value, json};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    draft: RunDraft,
}

fn typed(arguments: &str) -> RunDraft {
    Cli::try_parse_from(std::iter::once("t").chain(arguments.split_whitespace())).unwrap().draft
}

fn minimal() -> RunDraft {
    RunDraft { model: Some("m".into()), data: Some("d.jsonl".into()), ..RunDraft::default() }
}

/// Every option set to something that is not its default.
fn full() -> RunDraft {
    typed(
        "--model m --data d.jsonl --objective cdpo --twin ipo --sweep beta=0.1,0.3 --beta 0.3 --lambda 5 --label-smoothing 0.2 \
         --learning-rate 1e-4 --schedule cosine --warmup-steps 7 --weight-decay 0.01 --max-grad-norm 2.5 \
         --epochs 1.5 --batch-pairs 6 --micro-batch-pairs 3 --max-length 512 --rank 4 --alpha 12 \
         --targets v,q --dropout 0.05 --rslora --init-adapter a --eval-data e.jsonl --probe-pairs 8 \
         --eval-every 5 --forecast-pairs 3 --stop-when nan,margin-plateau=6 --save-every 50 --sample-prompts 3 --sample-tokens 99 --device wgpu:1 --base-precision nf4 --compute-precision f16 \
         --weights stream --recompute on --memory-limit 7.5 --seed 7 --no-shuffle",
    )
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn one_table_covers_draft_flags_and_run_json() {
    let names: BTreeSet<_> = FIELDS.iter().map(|f| f.name.to_owned()).collect();
    assert_eq!(names.len(), FIELDS.len(), "a name stands twice");
    for f in FIELDS {
        assert_eq!(field(f.name), f);
    }

    // Both ways of giving the budget and the held-out pairs, so that every key shows.
    let both = RunDraft { steps: Some(1), eval_fraction: Some(0.1), ..full() };
    assert_eq!(keys(&serde_json::to_value(&both).unwrap()), names);

    let command = RunDraft::augment_args(clap::Command::new("t"));
    let flags: BTreeSet<_> =
        command.get_arguments().map(|a| format!("--{}", a.get_long().unwrap())).collect();
    assert_eq!(flags, FIELDS.iter().map(|f| f.flag.to_owned()).collect());
    for argument in command.get_arguments() {
        let flag = format!("--{}", argument.get_long().unwrap());
        let f = FIELDS.iter().find(|f| f.flag == flag).unwrap();
        if f.name != "shuffle" {
            assert_eq!(flag, format!("--{}", f.name.replace('_', "-")));
            let told = argument.get_help().unwrap().to_string();
            let default = told.strip_prefix(f.help).unwrap();
            assert!(default.is_empty() || default.starts_with(" [default: "), "{told}");
        }
    }

    let mut in_run_json = BTreeSet::new();
    for draft in [full(), RunDraft { epochs: None, steps: Some(30), eval_data: None, ..full() }] {
        in_run_json.extend(keys(&serde_json::to_value(draft.validate().unwrap()).unwrap()));
    }
    assert_eq!(in_run_json, names);
}

#[test]
fn the_help_tells_every_default() {
    let command = RunDraft::augment_args(clap::Command::new("t"));
    let help = |flag: &str| {
        let argument = command.get_arguments().find(|a| a.get_long() == Some(flag)).unwrap();
        argument.get_help().unwrap().to_string()
    };
    for (flag, default) in [
        ("objective", "dpop"),
        ("twin", "dpo"),
        ("beta", "0.1"),
        ("lambda", "50"),
        ("learning-rate", "0.00005"),
        ("epochs", "1"),
        ("micro-batch-pairs", "4"),
        ("rank", "16"),
        ("alpha", "32"),
        ("targets", "q,k,v,o,gate,up,down"),
        ("memory-limit", "0"),
    ] {
        assert!(help(flag).ends_with(&format!("[default: {default}]")), "{}", help(flag));
    }
    for flag in ["model", "data", "steps", "rslora", "init-adapter"] {
        assert!(!help(flag).contains("[default"), "{}", help(flag));
    }
}

#[test]
fn the_issues_flags_are_all_there() {
    let command = Cli::command();
    for flag in "model data objective twin beta lambda learning-rate schedule warmup-steps max-grad-norm \
         steps epochs batch-pairs micro-batch-pairs max-length rank alpha targets dropout rslora \
         init-adapter eval-data eval-fraction probe-pairs eval-every save-every device seed no-shuffle"
        .split_whitespace()
    {
        assert!(command.get_arguments().any(|a| a.get_long() == Some(flag)), "--{flag}");
    }
}

#[test]
fn texts_of_the_table_fit_a_form() {
    for f in FIELDS {
        assert!(!f.label.is_empty() && !f.help.is_empty(), "{}", f.name);
        assert!(!f.help.ends_with('.') && !f.remedy.ends_with('.'), "{}", f.name);
        assert!(f.help.is_ascii() && f.label.is_ascii() && f.remedy.is_ascii(), "{}", f.name);
        if f.limits != Limits::Other {
            assert!(!f.remedy.is_empty(), "{} has limits and no remedy", f.name);
        }
    }
    for card in [Card::Model, Card::Data, Card::Method, Card::Adapter, Card::Budget] {
        assert!(FIELDS.iter().any(|f| f.card == card));
    }
}

#[test]
fn flags_reach_the_configuration() {
    let config = full().validate().unwrap();
    let expected = RunConfig {
        model: "m".into(),
        data: "d.jsonl".into(),
        objective: ObjectiveKind::Cdpo,
        twin: Some(ObjectiveKind::Ipo),
        sweep: Some("beta=0.1,0.3".parse().unwrap()),
        beta: 0.3,
        lambda: 5.0,
        label_smoothing: 0.2,
        learning_rate: 1e-4,
        schedule: Schedule::Cosine,
        warmup_steps: 7,
        weight_decay: 0.01,
        max_grad_norm: Some(2.5),
        budget: Budget::Epochs(1.5),
        batch_pairs: 6,
        micro_batch_pairs: 3,
        max_length: 512,
        rank: 4,
        alpha: 12.0,
        targets: vec![Target::Q, Target::V],
        dropout: 0.05,
        rslora: true,
        init_adapter: Some("a".into()),
        eval: EvalSource::File("e.jsonl".into()),
        probe_pairs: 8,
        eval_every: 5,
        forecast_pairs: 3,
        stop_when: StopRules(vec![StopRule::Nan, StopRule::MarginPlateau(6)]),
        save_every: 50,
        sample_prompts: 3,
        sample_tokens: 99,
        device: "wgpu:1".into(),
        base_precision: BasePrecision::Nf4,
        compute_precision: ComputePrecision::F16,
        weights: WeightPlace::Stream,
        recompute: Recompute::On,
        memory_limit: Some(7.5),
        seed: 7,
        shuffle: false,
    };
    assert_eq!(config, expected);
}

#[test]
fn run_json_round_trips() {
    let mut drafts: Vec<_> = presets().into_iter().map(|p| minimal().or(p.draft)).collect();
    drafts.extend([minimal(), full()]);
    for draft in drafts {
        let config = draft.validate().unwrap();
        let text = serde_json::to_string_pretty(&config).unwrap();
        assert_eq!(serde_json::from_str::<RunConfig>(&text).unwrap(), config, "{text}");
        assert_eq!(RunDraft::from(&config).validate().unwrap(), config);
    }
}

#[test]
fn run_json_is_validated_and_typos_are_refused() {
    let read = |json: Value| serde_json::from_value::<RunConfig>(json).map_err(|e| e.to_string());
    let bad = read(json!({"model": "m", "data": "d", "beta": -1.0, "rank": 0})).unwrap_err();
    assert!(bad.contains("beta") && bad.contains("Rank"), "{bad}");
    let typo = read(json!({"model": "m", "data": "d", "learning_rat": 1.0})).unwrap_err();
    assert!(typo.contains("learning_rat"), "{typo}");
    let twin = read(json!({"model": "m", "data": "d", "twin": "nope"})).unwrap_err();
    assert!(twin.contains("nope") && twin.contains("none"), "{twin}");
}

#[test]
fn defaults_are_a_run() {
    let config = minimal().validate().unwrap();
    assert_eq!((config.objective, config.twin), (ObjectiveKind::Dpop, Some(ObjectiveKind::Dpo)));
    assert_eq!((config.beta, config.lambda, config.learning_rate), (0.1, 50.0, 5e-5));
    assert_eq!((config.rank, config.alpha, config.targets.len()), (16, 32.0, 7));
    assert_eq!((config.batch_pairs, config.micro_batch_pairs), (8, 4));
    assert_eq!((config.max_grad_norm, config.budget), (Some(1.0), Budget::Epochs(1.0)));
    assert_eq!((config.device.as_str(), config.shuffle, config.seed), ("auto", true, 42));
}

#[test]
fn defaults_that_follow_other_options() {
    let with = |change: &str| minimal().or(typed(change)).validate().unwrap();
    assert_eq!(with("--objective dpo").twin, None, "DPO beside DPO shows nothing");
    assert_eq!(with("--objective sft").twin, Some(ObjectiveKind::Dpo));
    assert_eq!(with("--twin none").twin, None);
    assert_eq!(with("--rank 8").alpha, 16.0);
    for (batch, micro) in [("1", 1), ("6", 3), ("7", 1), ("32", 4)] {
        assert_eq!(with(&format!("--batch-pairs {batch}")).micro_batch_pairs, micro);
    }
    assert_eq!(with("--max-grad-norm 0").max_grad_norm, None);
    assert_eq!(with("--targets all").targets, Target::ALL);
    assert_eq!(with("--targets down,q_proj,q").targets, [Target::Q, Target::Down]);
}

#[test]
fn every_complaint_at_once_in_the_order_of_the_form() {
    let draft = typed(
        "--device gpu --eval-data e --eval-fraction 0.95 --max-length 4 --objective dpo --twin dpo --beta 0 \
         --lambda -1 --label-smoothing 0.5 --learning-rate 2 --warmup-steps 2000000 --weight-decay 1.5 \
         --max-grad-norm -1 --rank 0 --alpha 0 --dropout 1 --steps 0 --epochs 0 --batch-pairs 0 \
         --micro-batch-pairs 5000 --probe-pairs 9999 --eval-every 0 --forecast-pairs 5000 --stop-when never --save-every 2000000 \
         --sample-prompts 65 --sample-tokens 0 \
         --seed 18446744073709551615",
    );
    let draft = RunDraft { targets: Some(Targets(vec![])), ..draft };
    let complaints = draft.validate().unwrap_err();
    let named: Vec<_> = complaints.iter().map(|c| c.field).collect();
    assert_eq!(
        named,
        [
            "model",
            "device",
            "data",
            "eval_data",
            "max_length",
            "twin",
            "beta",
            "lambda",
            "label_smoothing",
            "learning_rate",
            "warmup_steps",
            "weight_decay",
            "max_grad_norm",
            "rank",
            "alpha",
            "targets",
            "dropout",
            "steps",
            "batch_pairs",
            "micro_batch_pairs",
            "probe_pairs",
            "eval_every",
            "forecast_pairs",
            "stop_when",
            "save_every",
            "sample_prompts",
            "sample_tokens",
            "seed",
        ]
    );
    for complaint in &complaints {
        let f = field(complaint.field);
        assert!(complaint.message.contains(f.label) && complaint.message.contains(f.flag));
        assert!(
            complaint.message.ends_with('.') && complaint.message.contains(f.remedy),
            "{complaint}"
        );
        if f.limits != Limits::Other && !["steps"].contains(&f.name) {
            assert!(complaint.message.contains(&f.limits.describe()), "{complaint}");
        }
    }
    assert_eq!(
        complaints[6].message,
        "beta (--beta): 0 is not allowed; it must be above 0, at most 100. 0.1 is usual."
    );
}

#[test]
fn numbers_that_are_none_are_refused() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let draft = RunDraft {
            beta: Some(value),
            lambda: Some(value),
            learning_rate: Some(value),
            alpha: Some(value),
            epochs: Some(value),
            eval_fraction: Some(value),
            max_grad_norm: Some(value),
            ..minimal()
        };
        assert_eq!(draft.validate().unwrap_err().len(), 7, "{value}");
    }
}

#[test]
fn values_at_the_limits() {
    let count = |change: RunDraft| change.or(minimal()).validate().map_or_else(|c| c.len(), |_| 0);
    for f in FIELDS {
        let (low, high) = match f.limits {
            Limits::Other => continue,
            Limits::Real { low, high, .. } => (low, high),
            Limits::Whole { low, high } => (low as f64, high as f64),
        };
        assert!(low < high, "{}", f.name);
        let step = if matches!(f.limits, Limits::Whole { .. }) { 1.0 } else { 1e-3 };
        assert!(!f.limits.allow(low - step) && f.limits.allow(low + step), "{}", f.name);
        assert!(!f.limits.allow(high + step.max(high * 1e-6)), "{}", f.name);
    }
    assert_eq!(count(RunDraft { lambda: Some(0.0), dropout: Some(0.0), ..RunDraft::default() }), 0);
    assert_eq!(
        count(RunDraft { probe_pairs: Some(0), save_every: Some(0), ..RunDraft::default() }),
        0
    );
    assert_eq!(count(RunDraft { eval_fraction: Some(0.0), ..RunDraft::default() }), 0);
}

#[test]
fn rules_between_options() {
    let complaint = |arguments: &str| {
        let list = minimal().or(typed(arguments)).validate().unwrap_err();
        assert_eq!(list.len(), 1, "{list:?}");
        (list[0].field, list[0].message.clone())
    };
    let (name, text) = complaint("--steps 5 --epochs 1");
    assert!(name == "steps" && text.contains("both given"), "{text}");
    let (name, text) = complaint("--eval-data e --eval-fraction 0.1");
    assert!(name == "eval_data" && text.contains("both given"), "{text}");
    let (name, text) = complaint("--batch-pairs 8 --micro-batch-pairs 3");
    assert!(
        name == "micro_batch_pairs" && text.contains("does not divide the batch of 8"),
        "{text}"
    );
    let (name, text) = complaint("--steps 10 --warmup-steps 10");
    assert!(name == "warmup_steps" && text.contains("leave none of 10"), "{text}");
    let (name, text) = complaint("--device wgpu:");
    assert!(name == "device" && text.contains("wgpu:NAME-OR-INDEX"), "{text}");
    let (name, text) = complaint("--stop-when nan,margin-plateau=0");
    assert!(name == "stop_when" && text.contains("margin-plateau=PROBES"), "{text}");
    let (name, text) = complaint("--stop-when chosen-below-reference");
    assert!(name == "stop_when" && text.contains("chosen-below-reference=NATS"), "{text}");
    let (name, _) = complaint("--objective ipo --twin ipo");
    assert_eq!(name, "twin");
}

#[test]
fn the_command_line_refuses_unknown_names() {
    let fails = |arguments: &str| {
        let words = std::iter::once("t").chain(arguments.split_whitespace());
        Cli::try_parse_from(words).map(|_| ()).unwrap_err().to_string()
    };
    assert!(fails("--targets q,x").contains("choose all or some of q, k, v, o, gate, up, down"));
    assert!(fails("--twin best").contains("none or one of dpop, dpo"));
    assert!(fails("--objective best").contains("dpop"));
    assert!(fails("--schedule step").contains("cosine"));
    assert!(fails("--steps -3").contains("--steps") || fails("--steps -3").contains("-3"));
}

#[test]
fn a_preset_fills_gaps_and_never_fights_what_was_typed() {
    let demo = || presets().remove(0).draft;
    let both = typed("--model m --data d --epochs 2 --eval-data e").or(demo());
    assert_eq!(
        (both.steps, both.epochs),
        (None, Some(2.0)),
        "the typed budget replaces the preset's"
    );
    assert_eq!((both.eval_data, both.eval_fraction), (Some(PathBuf::from("e")), None));
    let plain = minimal().or(demo());
    assert_eq!((plain.steps, plain.rank), (Some(200), Some(8)));
}

#[test]
fn presets_are_valid_and_say_what_they_are() {
    let list = presets();
    let names: Vec<_> = list.iter().map(|p| p.name).collect();
    assert_eq!(names, ["demo", "paper", "bielik"]);
    let config = |i: usize| minimal().or(list[i].draft.clone()).validate().unwrap();

    let demo = config(0);
    assert_eq!((demo.beta, demo.lambda, demo.learning_rate), (0.1, 50.0, 2e-3));
    assert_eq!((demo.rank, demo.alpha, demo.batch_pairs), (8, 16.0, 4));
    assert_eq!((demo.budget, demo.schedule), (Budget::Steps(200), Schedule::Constant));
    assert_eq!((demo.max_grad_norm, demo.twin), (None, Some(ObjectiveKind::Dpo)));
    assert_eq!(demo.targets, Target::ALL);

    let paper = config(1);
    assert_eq!((paper.objective, paper.beta, paper.lambda), (ObjectiveKind::Dpop, 0.3, 50.0));

    // ALLaMo: beta * (rw - rl) - lambda * max(0, -rw), at a point below the reference.
    let bielik = config(2);
    let (rw, rl) = (-1.5, -3.0);
    let allamo = 0.05 * (rw - rl) - 2.5 * f64::max(0.0, -rw);
    let ours = bielik.beta * (rw - rl - bielik.lambda * f64::max(0.0, -rw));
    assert!((allamo - ours).abs() < 1e-12, "{allamo} {ours}");
    assert_eq!(lambda_from_allamo(2.5, 0.05), 50.0);
    for preset in &list {
        assert!(preset.description.ends_with('.') && !preset.title.is_empty());
        assert!(preset.draft.model.is_none() && preset.draft.data.is_none());
    }
}

#[test]
fn twin_and_targets_print_as_they_are_typed() {
    for text in ["none", "dpo", "hinge"] {
        assert_eq!(text.parse::<Twin>().unwrap().to_string(), text);
    }
    assert_eq!("v,q,gate".parse::<Targets>().unwrap().to_string(), "v,q,gate");
    let matches = RunDraft::augment_args(clap::Command::new("t")).get_matches_from(["t"]);
    assert_eq!(RunDraft::from_arg_matches(&matches).unwrap(), RunDraft::default());
}
