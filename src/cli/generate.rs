//! `dpop-studio generate`: text as it is written, or one JSON object.

use std::io::{self, IsTerminal, Read, Write};
use std::ops::ControlFlow;
use std::time::Instant;

use super::args::GenerateArgs;
use super::output::{CliError, Out, note, warn};
use super::stop_text::StopText;
use crate::data::token_text::TextStream;
use crate::model::generate::{Finish, GenerateOptions, Generated};
use crate::model::sampling::Sampling;
use crate::run::durable::FileError;
use crate::train::event::REFERENCE;
use crate::worker::writer::{Arm, Options, Source, Texts, Writer, Written};

pub fn run(args: &GenerateArgs) -> Result<(), CliError> {
    let prompt = prompt(args)?;
    if args.temperature == 0.0 && (args.top_p < 1.0 || args.top_k > 0) {
        warn(
            "--top-p and --top-k draw from several tokens; without --temperature the likeliest is taken",
        );
    }
    let source = match (&args.run, &args.model) {
        (Some(run), _) => Source::Run(run.clone()),
        (None, Some(folder)) => {
            Source::Model { folder: folder.clone(), adapter: args.adapter.clone() }
        }
        (None, None) => return Err(CliError::input(anyhow::anyhow!("give --model or --run."))),
    };
    let options = Options {
        device: args.device.clone(),
        base_precision: args.base_precision,
        weights: args.weights,
    };
    let writer = Writer::open(&source, &options)?;
    let asked = if args.chat { Some(true) } else { args.no_chat.then_some(false) };
    let chat = writer.chat(asked).map_err(CliError::input)?;
    let ids = writer.prompt(&prompt, chat, args.max_new_tokens).map_err(CliError::input)?;
    let continues = !chat && !prompt.is_empty();
    let mut texts = Vec::new();
    for arm in &writer.arms {
        if !args.json && writer.arms.len() > 1 {
            heading(arm, &writer)?;
        }
        let written = write(args, &writer, arm, &ids, continues)?;
        if !args.json {
            summary(&written, ids.len());
        }
        texts.push(written);
    }
    if args.json {
        let mut out = Out::new();
        out.json(&Texts { prompt_tokens: ids.len(), step: writer.step, texts })?;
        out.finish()?;
    }
    Ok(())
}

fn prompt(args: &GenerateArgs) -> Result<String, CliError> {
    if let Some(prompt) = &args.prompt {
        return Ok(prompt.clone());
    }
    let path = args.prompt_file.clone().unwrap_or_default();
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(&path)
    };
    // The error's own text names its cause.
    let failed = |error| anyhow::anyhow!(FileError::new("read", &path, error).to_string());
    let text = read.map_err(|error| CliError::input(failed(error)))?;
    Ok(text.strip_suffix('\n').map_or(text.clone(), str::to_owned))
}

/// Which arm speaks next.
fn heading(arm: &Arm, writer: &Writer) -> Result<(), CliError> {
    let mut out = Out::new();
    match writer.step.filter(|_| arm.name != REFERENCE) {
        Some(step) => out.line(&format!("--- {} after {step} steps", arm.name))?,
        None => out.line(&format!("--- {}", arm.name))?,
    }
    out.finish()
}

/// A text on its way out: whole characters alone, nothing from a stop text on.
struct Telling<'a> {
    stream: TextStream<'a>,
    stop: StopText,
    stopped: bool,
    text: String,
    /// Shows every piece at once.
    aloud: bool,
    failed: Option<io::Error>,
}

impl Telling<'_> {
    /// Takes one token; breaks off at a stop text, or when nobody reads any more.
    fn token(&mut self, id: u32) -> ControlFlow<()> {
        let (piece, ends) = self.stop.push(&self.stream.push(id));
        self.stopped = ends;
        self.text.push_str(&piece);
        if self.aloud {
            self.failed = say(&piece).err();
        }
        let over = ends || self.failed.is_some();
        if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// The whole text, when there are no more tokens.
    fn finish(self) -> io::Result<String> {
        let Telling { stream, mut stop, stopped, mut text, aloud, failed } = self;
        let mut rest = String::new();
        if !stopped {
            let (piece, ends) = stop.push(&stream.finish());
            rest.push_str(&piece);
            if !ends {
                rest.push_str(&stop.finish());
            }
        }
        text.push_str(&rest);
        match failed {
            Some(error) => Err(error),
            None if aloud => say(&format!("{rest}\n")).map(|()| text),
            None => Ok(text),
        }
    }
}

/// Lets one arm write; without `--json` every character is shown as soon as it is whole.
fn write(
    args: &GenerateArgs,
    writer: &Writer,
    arm: &Arm,
    prompt: &[u32],
    continues: bool,
) -> Result<Written, CliError> {
    let sampling = Sampling {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        seed: args.seed,
    };
    let options = GenerateOptions {
        max_new_tokens: args.max_new_tokens,
        sampling,
        end_ids: writer.tokenizer.end_ids().to_vec(),
    };
    let mut telling = Telling {
        stream: TextStream::new(&writer.tokenizer, continues),
        stop: StopText::new(&args.stop),
        stopped: false,
        text: String::new(),
        aloud: !args.json,
        failed: None,
    };
    let start = Instant::now();
    let mut first = None;
    let prompts = [prompt.to_vec()];
    let generated = writer.model.generate(&prompts, arm.updates.as_ref(), &options, |_, id| {
        first.get_or_insert_with(Instant::now);
        telling.token(id)
    });
    let generated = generated.map_err(CliError::failure)?.into_iter().next();
    let seconds = first.map_or(0.0, |first| first.elapsed().as_secs_f64());
    let Some(Generated { ids, finish }) = generated else {
        return Err(CliError::Failure("the model wrote nothing. Please report this.".into()));
    };
    Ok(Written {
        arm: arm.name.clone(),
        text: telling.finish()?,
        prompt_seconds: first.map_or(0.0, |first| (first - start).as_secs_f64()),
        seconds,
        tokens_per_second: ids.len().saturating_sub(1) as f64 / seconds.max(1e-9),
        ids,
        finish,
    })
}

fn say(piece: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(piece.as_bytes())?;
    out.flush()
}

/// A line beneath the text, for whoever looks at a terminal, and what everybody should know.
fn summary(written: &Written, prompt: usize) {
    match written.finish {
        Finish::Context => warn("the text ends because the model's context is full"),
        Finish::NotANumber => warn("the text ends because the model's logits are no numbers"),
        Finish::End | Finish::Length | Finish::Stopped => {}
    }
    if io::stderr().is_terminal() {
        note(&format!(
            "{} tokens at {:.1} a second; the prompt's {prompt} took {:.2} s",
            written.ids.len(),
            written.tokens_per_second,
            written.prompt_seconds
        ));
    }
}
