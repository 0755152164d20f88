//! Text generation: the prompts in one pass, then one token a step for every sequence that goes on.

use std::ops::ControlFlow;

use burn::tensor::Tensor;

use super::cache::Cache;
use super::decoder::{Model, Updates};
use super::error::ModelError;
use super::layout::PackedBatch;
use super::load::{SCORE_TOKENS, read};
use super::sampling::{Sampler, Sampling};

/// What is generated.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    pub max_new_tokens: usize,
    pub sampling: Sampling,
    /// Tokens that end a text; they are not part of it.
    pub end_ids: Vec<u32>,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended it.
    End,
    /// `max_new_tokens` are there.
    Length,
    /// The model knows no later positions.
    Context,
    /// Whoever listened has enough.
    Stopped,
    /// The model's logits are no numbers any more.
    NotANumber,
}

/// One generated text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    pub ids: Vec<u32>,
    pub finish: Finish,
}

/// A sequence on its way.
struct Going {
    sampler: Sampler,
    prompt: usize,
    ids: Vec<u32>,
    finish: Option<Finish>,
}

impl Going {
    /// Takes the next token, unless the text ends.
    fn take(&mut self, logits: &[f32], options: &GenerateOptions, limit: usize) -> Option<u32> {
        let Some(id) = self.sampler.choose(logits) else {
            self.finish = Some(Finish::NotANumber);
            return None;
        };
        if options.end_ids.contains(&id) {
            self.finish = Some(Finish::End);
            return None;
        }
        self.ids.push(id);
        if self.ids.len() == options.max_new_tokens {
            self.finish = Some(Finish::Length);
        } else if self.prompt + self.ids.len() == limit {
            self.finish = Some(Finish::Context);
        }
        Some(id)
    }
}

impl Model {
    /// The next tokens of some sequences (number in the cache, ids) through the model: logits `[B, V]` at the last token
    /// of each.
    ///
    /// # Errors
    /// When a sequence outgrows the room it was given in the cache, an id is not of the vocabulary, or a streamed block
    /// cannot be read.
    pub fn extend(
        &self,
        cache: &mut Cache,
        new: &[(usize, &[u32])],
        updates: Option<&Updates>,
    ) -> Result<Tensor<2>, ModelError> {
        for &id in new.iter().flat_map(|(_, ids)| *ids) {
            if id as usize >= self.config.vocab_size {
                return Err(ModelError::UnknownToken { id, known: self.config.vocab_size });
            }
        }
        let placed = cache.place(new).ok_or(ModelError::CacheFull)?;
        self.entry_logits(&PackedBatch::continuing(&placed), updates, Some(cache))
    }

    /// Goes on from every prompt; `on_token` hears of each new token (sequence, id) and may end its text.
    ///
    /// # Errors
    /// When a prompt is empty or fills the model's context, or the device fails.
    pub fn generate(
        &self,
        prompts: &[Vec<u32>],
        updates: Option<&Updates>,
        options: &GenerateOptions,
        mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
    ) -> anyhow::Result<Vec<Generated>> {
        let limit = self.config.max_position_embeddings;
        for prompt in prompts {
            check_prompt(prompt.len(), limit)?;
        }
        let tokens = |prompt: &Vec<u32>| (prompt.len() + options.max_new_tokens).min(limit);
        let tokens: Vec<usize> = prompts.iter().map(tokens).collect();
        let mut cache = Cache::new(self.config.num_layers, &tokens);
        let mut going: Vec<Going> = (0..)
            .zip(prompts)
            .map(|(sequence, prompt)| Going {
                sampler: Sampler::new(options.sampling, sequence),
                prompt: prompt.len(),
                ids: Vec::new(),
                finish: (options.max_new_tokens == 0).then_some(Finish::Length),
            })
            .collect();
        let mut step = |going: &mut [Going], new: &[(usize, &[u32])]| -> anyhow::Result<()> {
            let logits = self.extend(&mut cache, new, updates)?;
            let vocabulary = logits.dims()[1];
            let logits = read(logits)?;
            for (&(sequence, _), logits) in new.iter().zip(logits.chunks_exact(vocabulary)) {
                let own = &mut going[sequence];
                if let Some(id) = own.take(logits, options, limit)
                    && on_token(sequence, id).is_break()
                {
                    own.finish = Some(Finish::Stopped);
                }
            }
            Ok(())
        };
        for batch in prefills(prompts).filter(|_| options.max_new_tokens > 0) {
            step(&mut going, &batch)?;
        }
        loop {
            let last: Vec<(usize, [u32; 1])> = (0..)
                .zip(&going)
                .filter(|(_, own)| own.finish.is_none())
                .filter_map(|(sequence, own)| Some((sequence, [*own.ids.last()?])))
                .collect();
            if last.is_empty() {
                break;
            }
            let new: Vec<(usize, &[u32])> = last.iter().map(|(s, id)| (*s, &id[..])).collect();
            step(&mut going, &new)?;
        }
        let generated =
            |own: Going| Generated { finish: own.finish.unwrap_or(Finish::Length), ids: own.ids };
        Ok(going.into_iter().map(generated).collect())
    }
}

/// Whether a prompt leaves room for an answer in a context of `limit` tokens.
pub fn check_prompt(tokens: usize, limit: usize) -> Result<(), ModelError> {
    match tokens {
        0 => Err(ModelError::EmptyPrompt),
        _ if tokens >= limit => Err(ModelError::ContextFull { tokens, limit }),
        _ => Ok(()),
    }
}

/// The prompts in passes that need no more memory than scoring does; a longer one goes alone.
fn prefills(prompts: &[Vec<u32>]) -> impl Iterator<Item = Vec<(usize, &[u32])>> {
    let mut sequences = (0..).zip(prompts.iter().map(Vec::as_slice)).peekable();
    std::iter::from_fn(move || {
        let mut batch = vec![sequences.next()?];
        let mut tokens = batch[0].1.len();
        while let Some(next) = sequences.next_if(|(_, ids)| tokens + ids.len() <= SCORE_TOKENS) {
            tokens += next.1.len();
            batch.push(next);
        }
        Some(batch)
    })
}
