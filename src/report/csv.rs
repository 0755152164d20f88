//! Every series of a run as one table: a row a step, a column a series.

use std::fmt::Write;

use super::ruler::Axis;
use super::run_view::RunView;
use super::series::{Key, Series};

/// Comma-separated values with a header: `step,epoch,seconds`, then `probe/ARM/METRIC` and `step/ARM/METRIC`. A cell is
/// empty where nothing was measured. Numbers read back to the bit.
pub fn csv(run: &RunView) -> String {
    let columns = run.store.all();
    let mut out = String::from("step,epoch,seconds");
    for (Key { source, arm, metric }, _) in &columns {
        let _ = write!(out, ",{}", quoted(&format!("{}/{arm}/{metric}", source.word())));
    }
    out.push('\n');
    let (epochs, time) = (run.ruler(Axis::Epoch), run.ruler(Axis::Time));
    let mut next = vec![0; columns.len()];
    while let Some(step) = least_step(&columns, &next) {
        let at = f64::from(step);
        let _ = write!(out, "{step},{},{}", epochs.x(at), time.x(at));
        for ((_, series), next) in columns.iter().zip(&mut next) {
            out.push(',');
            if series.steps().get(*next) == Some(&step) {
                let _ = write!(out, "{}", series.values()[*next]);
                *next += 1;
            }
        }
        out.push('\n');
    }
    out
}

fn least_step(columns: &[(&Key, &Series)], next: &[usize]) -> Option<u32> {
    let steps = columns.iter().zip(next).filter_map(|((_, series), at)| series.steps().get(*at));
    steps.min().copied()
}

fn quoted(name: &str) -> String {
    if name.contains([',', '"', '\n']) {
        format!("\"{}\"", name.replace('"', "\"\""))
    } else {
        name.to_owned()
    }
}
