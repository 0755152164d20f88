//! The forecast before training, as the Data view asks for it and narrows the pairs down by it.

use crate::data::analysis::Duplicate;
use crate::insight::Histogram;
use crate::insight::forecast::{Filter, Forecast, PairForecast};
use crate::report::format;

use super::state::Loaded;
use super::summaries::PreviewPair;

/// A score of single pairs under the base model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Score {
    #[default]
    Surprise,
    Ches,
    WrongWay,
    EditDistance,
}

impl Score {
    pub const ALL: [Score; 4] =
        [Score::Surprise, Score::Ches, Score::WrongWay, Score::EditDistance];

    pub fn title(self) -> &'static str {
        match self {
            Score::Surprise => "Surprise",
            Score::Ches => "CHES",
            Score::WrongWay => "Wrong way",
            Score::EditDistance => "Edit distance",
        }
    }

    pub fn help(self) -> &'static str {
        match self {
            Score::Surprise => {
                "Mean surprise (nats) of the chosen answer's tokens from the first difference on: what the model is \
                 sure of hardly moves. On the demo the pairs with the highest fall first, though not furthest."
            }
            Score::Ches => {
                "How alike the answers' mean hidden states are, length-normalised (arXiv 2410.08847): high ones are \
                 said to push chosen answers down. On the demo it did not rank the pairs."
            }
            Score::WrongWay => {
                "Share of the common tokens behind the first difference whose logit DPO lowers although they are right \
                 (arXiv 2402.13228, Eq. 2)."
            }
            Score::EditDistance => {
                "Tokens to change, add or remove, over the longer answer's length: DPO is known to collapse on answers \
                 that differ little."
            }
        }
    }

    /// Whether a rule keeps the pairs up to its limit or from it on.
    pub fn keeps_below(self) -> bool {
        self != Score::EditDistance
    }

    pub fn of(self, pair: &PairForecast) -> Option<f64> {
        match self {
            Score::Surprise => Some(pair.surprise),
            Score::Ches => Some(pair.ches),
            Score::WrongWay => pair.wrong_way.share(),
            Score::EditDistance => Some(pair.distance.normalised),
        }
    }

    pub fn histogram(self, forecast: &Forecast) -> Option<&Histogram> {
        match self {
            Score::Surprise => forecast.surprise.as_ref(),
            Score::Ches => forecast.ches.as_ref(),
            Score::WrongWay => forecast.wrong_way.as_ref(),
            Score::EditDistance => forecast.edit_distance.as_ref(),
        }
    }

    pub fn text(self, v: f64) -> String {
        match self {
            Score::Surprise | Score::Ches => format::number(v),
            Score::WrongWay | Score::EditDistance => format::percent(v),
        }
    }
}

/// Rules as typed, by score in the order of [`Score::ALL`]; an empty one rules nothing out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    pub limits: [String; 4],
    pub drop_duplicates: bool,
    pub drop_swapped: bool,
}

impl Rules {
    /// The limit of one score; shares may be typed as `30 %`.
    ///
    /// # Errors
    /// A sentence, where something else than a number is typed.
    pub fn limit(&self, score: Score) -> Result<Option<f64>, String> {
        let index = Score::ALL.iter().position(|own| *own == score).unwrap_or_default();
        let text = self.limits[index].trim();
        if text.is_empty() {
            return Ok(None);
        }
        let (number, scale) = match text.strip_suffix('%') {
            Some(percent) => (percent.trim(), 0.01),
            None => (text, 1.0),
        };
        let number = number.replace(',', ".").replace('\u{2212}', "-");
        match number.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Some(value * scale)),
            _ => Err(format!("“{text}” is no number")),
        }
    }

    /// What passes; rules that hold no number rule nothing out.
    pub fn filter(&self) -> Filter {
        let limit = |score| self.limit(score).ok().flatten();
        Filter {
            min_edit_distance: limit(Score::EditDistance),
            max_ches: limit(Score::Ches),
            max_wrong_way: limit(Score::WrongWay),
            max_surprise: limit(Score::Surprise),
            drop_duplicates: self.drop_duplicates,
            drop_swapped: self.drop_swapped,
        }
    }
}

/// What the Data view knows of the forecast.
#[derive(Debug, Default)]
pub struct Foresight {
    /// It is shown, not the pairs themselves.
    pub shown: bool,
    pub scored: Loaded<Forecast>,
    /// How far it is while it is made.
    pub progress: String,
    pub rules: Rules,
    /// Column of the table, and whether the largest come first.
    pub sort: Option<(Score, bool)>,
    /// Row of the file that was chosen, and its text.
    pub row: Option<usize>,
    pub text: Loaded<PreviewPair>,
    /// Bring the text into sight when it is there.
    pub reveal: bool,
}

impl Foresight {
    /// Another file or model: nothing is known, the rules stay.
    pub fn forget(&mut self) {
        let (shown, rules) = (self.shown, std::mem::take(&mut self.rules));
        *self = Foresight { shown, rules, ..Foresight::default() };
    }
}

/// Places in `forecast.pairs` in the order of the table; pairs without the score come last.
pub fn sorted(forecast: &Forecast, (score, descending): (Score, bool)) -> Vec<usize> {
    let mut order: Vec<usize> = (0..forecast.pairs.len()).collect();
    let value = |place: &usize| score.of(&forecast.pairs[*place]);
    order.sort_by(|a, b| match (value(a), value(b)) {
        (Some(a), Some(b)) if descending => b.total_cmp(&a),
        (Some(a), Some(b)) => a.total_cmp(&b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    order
}

/// What is odd about a pair, in a word or two.
pub fn oddity(pair: &PairForecast, repeated: Option<&Duplicate>) -> Option<String> {
    match repeated {
        Some(duplicate) if duplicate.reversed => Some(format!("contradicts row {}", duplicate.of)),
        Some(duplicate) => Some(format!("repeats row {}", duplicate.of)),
        None => pair.looks_swapped().then(|| "looks swapped".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(limits: [&str; 4]) -> Rules {
        Rules { limits: limits.map(str::to_owned), ..Rules::default() }
    }

    #[test]
    fn limits_are_read_as_people_type_them() {
        let typed = rules(["0,5", " −0.2 ", "30 %", ""]);
        assert_eq!(typed.limit(Score::Surprise), Ok(Some(0.5)));
        assert_eq!(typed.limit(Score::Ches), Ok(Some(-0.2)));
        assert_eq!(typed.limit(Score::WrongWay), Ok(Some(0.3)));
        assert_eq!(typed.limit(Score::EditDistance), Ok(None));
        let filter = typed.filter();
        assert_eq!((filter.max_surprise, filter.max_ches), (Some(0.5), Some(-0.2)));
        assert_eq!((filter.max_wrong_way, filter.min_edit_distance), (Some(0.3), None));
        let wrong = rules(["much", "inf", "", ""]);
        assert!(wrong.limit(Score::Surprise).is_err() && wrong.limit(Score::Ches).is_err());
        assert_eq!(wrong.filter(), Filter::default(), "what is no number rules nothing out");
    }
}
