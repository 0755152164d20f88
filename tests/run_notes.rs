//! Do the sentences beneath the charts say what the run's forecasts were and what they were worth?

mod recorded;

use dpop_studio::report::charts::small;
use dpop_studio::report::notes::{Kind, notes};
use dpop_studio::report::run_view::RunView;
use dpop_studio::report::series::Source;
use dpop_studio::run::review::hints;
use dpop_studio::train::event::Event;
use dpop_studio::train::history::History;

fn texts(run: &RunView, kind: Kind) -> Vec<String> {
    let of_kind = notes(run, None).into_iter().filter(|note| note.kind == kind);
    of_kind.map(|note| note.text).collect()
}

#[test]
fn the_newest_forecast_and_the_record_of_the_earlier_ones() {
    let events = recorded::events();
    let run = RunView::from_events(events.clone());
    let newest = |arm: &str| {
        let of = |event: &&Event| matches!(event, Event::Forecast { arm: own, .. } if own == arm);
        let Some(Event::Forecast { pairs, step, .. }) = events.iter().rev().find(of) else {
            panic!("no forecast of {arm}")
        };
        let down = pairs.iter().filter(|pair| pair.heading < 0.0).count();
        (*step, down, pairs.len())
    };
    let ((step, kept, all), (_, twin, _)) = (newest("dpop"), newest("dpo"));
    assert!(kept + twin > 0, "somebody heads down at the end of this run");
    let sentence = format!(
        "At step {step} the optimiser heads down on {kept} of {all} held-out chosen answers under DPOP, on {twin} of \
         {all} under DPO."
    );
    assert_eq!(texts(&run, Kind::Forecast), [sentence]);

    // The same counts as the command line's review.
    let history = History::of(&events);
    let record = texts(&run, Kind::Record);
    assert_eq!(record.len(), 1);
    for arm in ["dpop", "dpo"] {
        for checked in [history.arms[arm].checked.heading, history.arms[arm].checked.calibration] {
            let share = |part: usize, all: usize| (100.0 * part as f64 / all as f64).round();
            let part = format!(
                "{} of {} ({} %, without a warning {} % fell)",
                checked.came_true,
                checked.warnings,
                share(checked.came_true, checked.warnings),
                share(checked.fell_anyway, checked.quiet)
            );
            assert!(record[0].contains(&part), "{part}: {}", record[0]);
        }
    }
}

#[test]
fn forecasts_are_charts_where_there_are_some() {
    let events = recorded::events();
    let run = RunView::from_events(events.clone());
    let ids = |run: &RunView| small(run).into_iter().map(|chart| chart.id).collect::<Vec<_>>();
    assert!(ids(&run).contains(&"dpo_lowers") && ids(&run).contains(&"in_band"));
    assert_eq!(ids(&run).len(), 8, "with the two main ones ten charts");
    for arm in ["dpop", "dpo"] {
        let series = run.store.get(Source::Probe, arm, "forecast/in_band").unwrap();
        assert_eq!(series.len(), 21, "one for every probe");
        for event in &events {
            let Event::Forecast { step, arm: own, pairs, .. } = event else { continue };
            if own != arm {
                continue;
            }
            let inside = pairs.iter().filter(|pair| {
                let band = pair.products.band().unwrap();
                let ratio = pair.ratio.unwrap();
                band.low <= ratio && band.high.is_none_or(|high| ratio <= high)
            });
            let share = inside.count() as f64 / pairs.len() as f64;
            assert_eq!(series.nearest(*step as f64), Some((*step as f64, share)));
        }
    }
    let silent = events.into_iter().filter(|event| !matches!(event, Event::Forecast { .. }));
    let silent = RunView::from_events(silent);
    assert_eq!(ids(&silent).len(), 6);
    assert_eq!(texts(&silent, Kind::Record), [""; 0]);
}

#[test]
fn advice_in_the_window_is_that_of_the_review() {
    let events = recorded::events();
    let config = recorded::record(|draft| draft.learning_rate = Some(2e-3)).config;
    let run = RunView::from_events(events.clone());
    let said = notes(&run, Some(&config)).into_iter().filter(|note| note.kind == Kind::Advice);
    let said: Vec<String> = said.map(|note| note.text).collect();
    let hints = hints(&config, run.steps, &History::of(&events));
    let told: Vec<String> = hints.into_iter().map(|hint| hint.message).collect();
    assert_eq!(said, told);
    assert!(said.len() >= 2, "this run calls for some: {said:?}");
}
