//! `dpop-studio plan`: the memory a run would need, before it starts.

use super::args::PlanArgs;
use super::output::{CliError, Out};
use crate::config::WeightPlace;
use crate::worker::plan::{Plan, bytes_text};
use crate::worker::prepare;

pub fn run(args: &PlanArgs) -> Result<(), CliError> {
    let config = args.draft.validate().map_err(CliError::complaints)?;
    let plan = prepare::plan_run(&config).map_err(CliError::from)?;
    let mut out = Out::new();
    if args.json {
        out.json(&plan)?;
    } else {
        for line in lines(&plan) {
            out.line(&line)?;
        }
    }
    out.finish()
}

fn lines(plan: &Plan) -> Vec<String> {
    let part = |name: &str, bytes: u64| format!("  {name:<12} {:>12}", bytes_text(bytes));
    let forecast = &plan.forecast;
    let mut lines = vec![
        format!("device       {}", plan.device),
        format!(
            "base         {}, {}{}",
            plan.base_precision.name(),
            if plan.weights == WeightPlace::Stream { "streamed" } else { "resident" },
            if plan.recompute { ", blocks recomputed" } else { "" }
        ),
        format!(
            "largest pass {} pairs, {} tokens, {} of them predicted",
            plan.micro_batch_pairs, plan.tokens, plan.entries
        ),
        part("weights", forecast.weights),
        part("adapters", forecast.adapters),
        part("optimizer", forecast.optimizer),
        part("activations", forecast.activations),
        part("logits", forecast.logits),
        part("workspace", forecast.workspace),
    ];
    if forecast.loading == plan.total {
        lines.push(part("loading", forecast.loading));
    }
    lines.push(part("peak", plan.total));
    match (&plan.limit, plan.refusal()) {
        (_, Some(refusal)) => lines.push(refusal),
        (Some(limit), None) => {
            lines.push(format!("It fits into {} ({}).", bytes_text(limit.bytes), limit.source))
        }
        (None, None) => lines.push(
            "This system does not say how much memory there is; give --memory-limit to compare."
                .to_owned(),
        ),
    }
    lines
}
