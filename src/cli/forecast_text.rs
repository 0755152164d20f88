//! A forecast as text.

use std::fmt::Write;

use crate::insight::Histogram;
use crate::insight::forecast::{Forecast, PairForecast};

/// Pairs listed one by one; the JSON has all.
const LISTED: usize = 10;

/// Heights of a histogram's bins, as one character each.
const BARS: [char; 9] = [
    ' ', '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}',
    '\u{2588}',
];

pub fn forecast_text(forecast: &Forecast) -> String {
    let mut text =
        format!("\nforecast  {} pairs under the model, before training\n", forecast.pairs.len());
    let rows = [
        ("edit distance, share", &forecast.edit_distance),
        ("CHES, length-normalised", &forecast.ches),
        ("wrong-way tokens, share", &forecast.wrong_way),
        ("surprise, nats per token", &forecast.surprise),
    ];
    // Writing to a String cannot fail.
    for (name, histogram) in rows {
        let line = histogram.as_ref().map_or("none".into(), histogram_line);
        let _ = writeln!(text, "  {name:<26}{line}");
    }
    let reversed = forecast.duplicates.iter().filter(|duplicate| duplicate.reversed).count();
    let _ = writeln!(
        text,
        "  {} pairs look swapped (the rejected answer is the likelier one), {} repeat an earlier row, {reversed} contradict one",
        forecast.swapped_looking.len(),
        forecast.duplicates.len() - reversed
    );
    let _ = writeln!(
        text,
        "likely to fall first under plain DPO, by the model's surprise at the chosen answer (who falls first, not furthest: docs/FORECAST.md)"
    );
    let _ = writeln!(
        text,
        "  {:>8}{:>10}{:>10}{:>11}{:>8}",
        "row", "surprise", "CHES", "wrong-way", "edits"
    );
    let pair_of = |row: &usize| forecast.pairs.iter().find(|pair| pair.row == *row);
    for pair in forecast.first_to_fall.iter().filter_map(pair_of).take(LISTED) {
        let _ = writeln!(text, "{}", pair_line(pair));
    }
    text.truncate(text.trim_end().len());
    text
}

fn pair_line(pair: &PairForecast) -> String {
    let share =
        pair.wrong_way.share().map_or("-".into(), |share| format!("{:.0} %", share * 100.0));
    format!(
        "  {:>8}{:>10.4}{:>10.4}{share:>11}{:>8}",
        pair.row, pair.surprise, pair.ches, pair.distance.edits
    )
}

/// `0.008 |..| 0.036`
fn histogram_line(histogram: &Histogram) -> String {
    let most = histogram.counts.iter().copied().max().unwrap_or(0).max(1);
    let bars: String = histogram
        .counts
        .iter()
        // A bin that is not empty shows.
        .map(|count| BARS[(count * (BARS.len() - 1)).div_ceil(most)])
        .collect();
    format!("{:>9.4} |{bars}| {:.4}", histogram.low, histogram.high)
}
