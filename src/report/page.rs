//! A whole run as one HTML page that needs nothing else: charts as inline SVG, final figures, settings.

use std::fmt::Write;
use std::path::Path;

use super::charts::{self, Scale, Unit};
use super::palette::LIGHT;
use super::picture::{Style, picture};
use super::ruler::Axis;
use super::run_view::{RunView, Status};
use super::samples::{PromptAnswers, marked};
use super::series::Source;
use super::svg::{escaped, svg};
use super::{Skip, format, read, settings};
use crate::config::arm_title;
use crate::run::durable::FileError;
use crate::run::folder::{self, FolderError, RunRecord};
use crate::train::event::SampleText;

/// What can be wrong with a run of which a report is asked.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{0} has no measurements yet: its events.jsonl holds no step and no probe. Train it first, or choose another run."
    )]
    Empty(std::path::PathBuf),
}

const STYLE: &str = "\
:root{color-scheme:light}\
*{box-sizing:border-box}\
body{margin:0;background:#f3f5f9;color:#161d2b;\
font:14px/1.5 Inter,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}\
main{max-width:1040px;margin:0 auto;padding:36px 20px 60px}\
h1{font-size:24px;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}\
h2{font-size:16px;margin:36px 0 10px}\
p{margin:0 0 8px}.muted{color:#4c586c}\
.card{background:#fff;border:1px solid #dde3ec;border-radius:10px;padding:6px;margin:0 0 12px;overflow:hidden}\
.collapse{border-left:4px solid #cf2e3a;padding:12px 16px;background:#fdf1f1;margin:18px 0 12px}\
.small{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:12px}.small .card{margin:0}\
svg{display:block;width:100%;height:auto}\
table{border-collapse:collapse;width:100%;background:#fff}\
th,td{text-align:left;padding:6px 12px;border-bottom:1px solid #e4e8f0;vertical-align:top;overflow-wrap:anywhere}\
thead th{color:#4c586c;font-weight:600}tbody th{font-weight:500;color:#4c586c}\
.answers td{white-space:pre-wrap;width:45%}.answers th{white-space:nowrap}\
.prompt{white-space:pre-wrap;padding:8px 12px;margin:0}mark{background:#f9d9a9;border-radius:2px}\
.figures td,.figures thead th:not(:first-child){text-align:right;font-variant-numeric:tabular-nums}\
@media print{body{background:#fff}.card{break-inside:avoid}}";

/// The report on the run in `folder`.
pub fn report(folder: &Path) -> Result<String, ReportError> {
    let record = folder::read_record(folder)?;
    let view = read(folder, Skip::Nothing)?;
    if view.store.is_empty() {
        return Err(ReportError::Empty(folder.to_owned()));
    }
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
    Ok(page(&name, &view, Some(&record)))
}

/// The page of a run; its settings are in `record`.
pub fn page(name: &str, run: &RunView, record: Option<&RunRecord>) -> String {
    let title = escaped(name);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    head(&mut out, run, record);
    for collapse in &run.collapses {
        push(&mut out, &format!("<p class=\"card collapse\">{}</p>\n", escaped(&collapse.message)));
    }
    out.push_str("<h2>Log-likelihood on held-out pairs</h2>\n");
    figures_of_charts(&mut out, run);
    out.push_str("<h2>Final figures</h2>\n");
    final_figures(&mut out, run);
    if !run.samples.prompts().is_empty() {
        out.push_str("<h2>Answers to held-out prompts</h2>\n");
        run.samples.prompts().iter().for_each(|prompt| answers(&mut out, run, prompt));
    }
    if let Some(record) = record {
        out.push_str("<h2>Settings</h2>\n");
        settings_table(&mut out, record);
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn push(out: &mut String, text: &str) {
    out.push_str(text);
}

/// What was trained, when, where, and how it ended.
fn head(out: &mut String, run: &RunView, record: Option<&RunRecord>) {
    let arms: Vec<String> = run.arms.iter().map(|arm| escaped(&arm.objective)).collect();
    let mut facts = vec![arms.join(" beside ")];
    if let Some(record) = record {
        facts.push(escaped(&record.created.chars().take(16).collect::<String>().replace('T', " ")));
        facts.push(escaped(&record.device.name));
    }
    let end = match &run.status {
        Status::Finished { .. } => format!("finished after {} steps", run.step),
        Status::Failed { .. } => format!("failed at step {}", run.step),
        Status::Stopped { .. } => format!("stopped at step {} of {}", run.step, run.steps),
        _ => format!("step {} of {}", run.step, run.steps),
    };
    facts.push(end);
    if run.pace.elapsed > 0.0 {
        facts.push(format!("{} of training", format::duration(run.pace.elapsed)));
    }
    facts.push(format!("{} training pairs, {} in the probe", run.train_pairs, run.probe_pairs));
    facts.retain(|fact| !fact.is_empty());
    push(out, &format!("<p class=\"muted\">{}</p>\n", facts.join(" · ")));
    if let Status::Failed { message } = &run.status {
        push(out, &format!("<p class=\"card collapse\">{}</p>\n", escaped(message)));
    }
}

fn figures_of_charts(out: &mut String, run: &RunView) {
    let runs = [run];
    let style = |width, height, name_marks| Style {
        palette: &LIGHT,
        axis: Axis::Step,
        width,
        height,
        name_marks,
    };
    let main = charts::answers(run, Scale::PerToken, false);
    // The sentences stand above already.
    let mut without_sentences = main.clone();
    for chart in &mut without_sentences {
        chart.marks.iter_mut().for_each(|mark| mark.sentence.clear());
    }
    let scene = picture(&runs, &without_sentences, "", &style(1000.0, 230.0, true));
    push(out, &format!("<div class=\"card\">{}</div>\n", svg(&scene, "Log-likelihood per token")));
    out.push_str("<div class=\"small\">\n");
    for chart in charts::small(run) {
        let scene = picture(&runs, std::slice::from_ref(&chart), "", &style(490.0, 130.0, false));
        push(out, &format!("<div class=\"card\">{}</div>\n", svg(&scene, chart.title)));
    }
    out.push_str("</div>\n");
}

/// Names and metrics of the table of final figures.
pub const FINAL: [(&str, &str, Unit); 7] = [
    ("Chosen, nats per token", "logps_per_token/chosen", Unit::Plain),
    ("Rejected, nats per token", "logps_per_token/rejected", Unit::Plain),
    ("Chosen, change from the reference in nats", "change/chosen", Unit::Plain),
    ("Rejected, change from the reference in nats", "change/rejected", Unit::Plain),
    ("Margin", "rewards/margins", Unit::Plain),
    ("Accuracy", "rewards/accuracies", Unit::Share),
    ("Pairs under the penalty", "dpop/active", Unit::Share),
];

fn final_figures(out: &mut String, run: &RunView) {
    out.push_str("<div class=\"card\"><table class=\"figures\"><thead><tr><th>Last probe</th>");
    for arm in &run.arms {
        let kept = if arm.kept { " (kept)" } else { "" };
        let _ = write!(out, "<th>{}{kept}</th>", escaped(&arm_title(&arm.name)));
    }
    out.push_str("<th>Reference</th></tr></thead>\n<tbody>\n");
    for (name, metric, unit) in FINAL {
        let _ = write!(out, "<tr><th>{name}</th>");
        for arm in &run.arms {
            let value = run.last(Source::Probe, &arm.name, metric);
            let _ = write!(out, "<td>{}</td>", value.map_or("–".into(), |v| unit.value(v)));
        }
        let answer = metric.strip_prefix("logps_per_token/");
        let level = answer.and_then(|a| charts::reference_level(run, a, Scale::PerToken));
        let _ = writeln!(out, "<td>{}</td></tr>", level.map_or(String::new(), |v| unit.value(v)));
    }
    out.push_str("<tr><th>Collapse</th>");
    for arm in &run.arms {
        let collapse = run.collapses.iter().find(|c| c.arm == arm.name);
        let text = collapse.map_or("none".to_owned(), |c| format!("step {}", c.step));
        let _ = write!(out, "<td>{text}</td>");
    }
    out.push_str("<td></td></tr>\n</tbody></table></div>\n");
}

/// What every arm answered to one prompt over the steps, words marked that the base model did not say.
fn answers(out: &mut String, run: &RunView, prompt: &PromptAnswers) {
    let (text, chosen) = (escaped(prompt.prompt.trim()), escaped(prompt.chosen.trim()));
    let _ = write!(
        out,
        "<div class=\"card\"><p class=\"prompt\">{text}</p>\n<p class=\"prompt muted\">Preferred: {chosen}</p>\n\
         <table class=\"answers\"><thead><tr><th>Step</th>"
    );
    for arm in &run.arms {
        let kept = if arm.kept { " (kept)" } else { "" };
        let _ = write!(out, "<th>{}{kept}</th>", escaped(&arm_title(&arm.name)));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    if let Some(base) = &prompt.reference {
        let columns = run.arms.len();
        let text = answer(base, prompt.standard());
        let _ = writeln!(out, "<tr><th>Base model</th><td colspan=\"{columns}\">{text}</td></tr>");
    }
    for (step, arms) in &prompt.steps {
        let _ = write!(out, "<tr><th>{step}</th>");
        for arm in &run.arms {
            let text = arms.get(&arm.name).map(|own| answer(own, prompt.standard()));
            let _ = write!(out, "<td>{}</td>", text.unwrap_or_else(|| "–".into()));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

/// An answer with the words marked that `standard` does not have.
fn answer(answer: &SampleText, standard: &str) -> String {
    let mut out = String::new();
    for (words, differs) in marked(answer.text.trim(), standard.trim()) {
        let words = escaped(&words);
        out.push_str(&if differs { format!("<mark>{words}</mark>") } else { words });
    }
    if !answer.ended {
        out.push_str(" <span class=\"muted\">(cut)</span>");
    }
    out
}

fn settings_table(out: &mut String, record: &RunRecord) {
    out.push_str("<div class=\"card\"><table><tbody>\n");
    let mut rows = settings(&record.config);
    let device = &record.device;
    let parts = [&device.name, &device.api, &device.driver];
    let parts: Vec<&str> =
        parts.into_iter().map(String::as_str).filter(|s| !s.is_empty()).collect();
    rows.push(("Trained on".into(), parts.join(", ")));
    rows.push(("DPOP Studio".into(), record.versions.program.clone()));
    rows.push(("SHA-256 of the model".into(), record.inputs.model.clone()));
    rows.push(("SHA-256 of the pairs".into(), record.inputs.data.clone()));
    for (name, value) in rows {
        let _ = writeln!(out, "<tr><th>{}</th><td>{}</td></tr>", escaped(&name), escaped(&value));
    }
    out.push_str("</tbody></table></div>\n");
}
