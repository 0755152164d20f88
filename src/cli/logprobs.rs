//! `dpop-studio logprobs`: the log-probability of every completion token.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

use super::args::LogprobsArgs;
use super::output::{CliError, refuse_existing, warn, write_file};
use crate::data::pair::TokenizedPair;
use crate::lora::peft;
use crate::model::Model;
use crate::model::config::ModelConfig;
use crate::worker::device;
use crate::worker::pairs::read_pairs;

/// Pairs scored in one call: few enough to see progress, enough to fill a batch.
const CHUNK: usize = 8;

#[derive(Serialize)]
struct Row<'a> {
    row: usize,
    chosen: Side<'a>,
    rejected: Side<'a>,
}

/// One completion: token ids, log-probabilities in nats, and their sum in f64.
#[derive(Serialize)]
struct Side<'a> {
    ids: &'a [u32],
    logps: &'a [f32],
    sum: f64,
}

impl<'a> Side<'a> {
    fn new(ids: &'a [u32], logps: &'a [f32]) -> Side<'a> {
        Side { ids, logps, sum: logps.iter().map(|logp| f64::from(*logp)).sum() }
    }
}

pub fn run(args: &LogprobsArgs) -> Result<(), CliError> {
    args.output.as_deref().map_or(Ok(()), refuse_existing)?;
    let config = ModelConfig::read(&args.model).map_err(CliError::input)?;
    let max_length = args.max_length.unwrap_or(config.max_position_embeddings);
    let read = read_pairs(&args.data, &args.model, max_length).map_err(CliError::input)?;
    read.warnings.iter().for_each(|message| warn(message));
    let adapter = match &args.adapter {
        Some(path) => Some(peft::load(path, &config).map_err(CliError::input)?),
        None => None,
    };
    let choice = device::choose(&args.device).map_err(CliError::input)?;
    let device = choice.open().map_err(CliError::failure)?;
    let mut options = choice.load_options(args.base_precision);
    options.arithmetic = choice.arithmetic(args.compute_precision).map_err(CliError::input)?;
    let model = Model::load(&args.model, &device, options).map_err(CliError::input)?;
    let updates = adapter.map(|adapter| adapter.upload(config.num_layers, &device, None));
    let score = |out: &mut dyn Write| -> Result<(), CliError> {
        for chunk in read.pairs.chunks(CHUNK) {
            let scores = model.score(chunk, updates.as_ref()).map_err(CliError::failure)?;
            for (pair, score) in chunk.iter().zip(&scores) {
                write_row(out, pair, &score.chosen, &score.rejected)?;
            }
            // Whoever reads along sees each chunk when it is done.
            out.flush()?;
        }
        Ok(())
    };
    match &args.output {
        None => score(&mut BufWriter::new(io::stdout().lock())),
        Some(path) => write_file(path, score),
    }
}

fn write_row(
    out: &mut dyn Write,
    pair: &TokenizedPair,
    chosen: &[f32],
    rejected: &[f32],
) -> Result<(), CliError> {
    let row = Row {
        row: pair.row,
        chosen: Side::new(&pair.chosen_ids, chosen),
        rejected: Side::new(&pair.rejected_ids, rejected),
    };
    let text = serde_json::to_string(&row).map_err(CliError::failure)?;
    Ok(writeln!(out, "{text}")?)
}
