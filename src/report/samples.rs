//! Answers that were written during training: to each prompt those of the base model and of every arm, over the steps.

use std::collections::{BTreeMap, BTreeSet};

use crate::data::analysis::{DiffKind, diff_words};
use crate::train::event::{Event, REFERENCE, SampleText};

/// All answers to one prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PromptAnswers {
    /// Position of its pair among the rows of the file, counted from 0.
    pub row: usize,
    pub prompt: String,
    /// The answer that the pair prefers.
    pub chosen: String,
    /// The base model's.
    pub reference: Option<SampleText>,
    /// By updates made, then by arm.
    pub steps: BTreeMap<usize, BTreeMap<String, SampleText>>,
}

impl PromptAnswers {
    /// What the arms' answers are held against: the base model's answer, else the preferred one.
    pub fn standard(&self) -> &str {
        self.reference.as_ref().map_or(&self.chosen, |answer| &answer.text)
    }
}

/// All answers of a run, prompts in the order of the probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples(Vec<PromptAnswers>);

impl Samples {
    /// Folds in an [`Event::Sample`]; others change nothing.
    pub fn apply(&mut self, event: Event) {
        let Event::Sample { step, row, prompt, chosen, mut arms } = event else { return };
        let known = self.0.iter().position(|own| own.row == row);
        let place = known.unwrap_or_else(|| {
            self.0.push(PromptAnswers { row, prompt, chosen, ..PromptAnswers::default() });
            self.0.len() - 1
        });
        let own = &mut self.0[place];
        own.reference = arms.remove(REFERENCE).or(own.reference.take());
        own.steps.insert(step, arms);
    }

    /// A run goes on from `step`: what came later did not happen.
    pub fn go_back(&mut self, step: usize) {
        for prompt in &mut self.0 {
            prompt.steps.retain(|&at, _| at <= step);
        }
    }

    pub fn prompts(&self) -> &[PromptAnswers] {
        &self.0
    }

    /// Steps with answers, rising.
    pub fn steps(&self) -> Vec<usize> {
        let steps: BTreeSet<usize> =
            self.0.iter().flat_map(|prompt| prompt.steps.keys().copied()).collect();
        steps.into_iter().collect()
    }
}

/// The words of `text` in runs, and whether `standard` has others in their place.
pub fn marked(text: &str, standard: &str) -> Vec<(String, bool)> {
    let runs = diff_words(standard, text).into_iter();
    let own = runs.filter_map(|(kind, words)| match kind {
        DiffKind::Same => Some((words, false)),
        DiffKind::Rejected => Some((words, true)),
        DiffKind::Chosen => None,
    });
    own.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(step: usize, row: usize, arms: &[(&str, &str)]) -> Event {
        let text = |text: &str| SampleText { text: text.to_owned(), ended: true };
        Event::Sample {
            step,
            row,
            prompt: format!("prompt {row}"),
            chosen: "right".into(),
            arms: arms.iter().map(|(arm, words)| ((*arm).to_owned(), text(words))).collect(),
        }
    }

    #[test]
    fn answers_are_gathered_by_prompt_and_step() {
        let mut samples = Samples::default();
        samples.apply(sample(0, 7, &[("reference", "base"), ("dpo", "base")]));
        samples.apply(sample(0, 3, &[("dpo", "x")]));
        samples.apply(sample(10, 7, &[("dpo", "other")]));
        assert_eq!(samples.steps(), [0, 10]);
        let [first, second] = samples.prompts() else { panic!("{samples:?}") };
        assert_eq!((first.row, second.row), (7, 3));
        assert_eq!((first.standard(), second.standard()), ("base", "right"));
        assert_eq!(first.steps[&10]["dpo"].text, "other");
        assert!(!first.steps[&0].contains_key("reference"));
        samples.go_back(5);
        assert_eq!(samples.steps(), [0]);
        assert_eq!(samples.prompts()[0].standard(), "base");
    }

    #[test]
    fn words_that_differ_are_marked_and_none_is_lost() {
        let runs = marked("So Eva has 41 eggs.", "So Eva has 49 eggs.");
        let own: String = runs.iter().map(|(words, _)| words.as_str()).collect();
        assert_eq!(own, "So Eva has 41 eggs.");
        let differing: Vec<&str> =
            runs.iter().filter(|(_, differs)| *differs).map(|(words, _)| words.as_str()).collect();
        assert_eq!(differing, ["41"]);
        assert!(marked("same", "same").iter().all(|(_, differs)| !differs));
    }
}
