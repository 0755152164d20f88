//! A whole run as one HTML page that needs nothing else: charts as inline SVG, final figures, settings.

use std::fmt::Write;
use std::path::Path;

use super::charts::{self, Scale, Unit};
use super::notes::notes;
use super::palette::{DARK, LIGHT};
use super::picture::{Style, picture};
use super::profile::{self, Profiles};
use super::ruler::Axis;
use super::run_view::{RunView, Status};
use super::samples::{PromptAnswers, marked};
use super::scene::Scene;
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

/// Colours by name: in light, in dark.
const COLOURS: [(&str, u32, u32); 5] = [
    ("window", 0xF3F5F9, 0x0E1117),
    ("border", 0xDDE3EC, 0x252C3A),
    ("alarm", 0xFDF1F1, 0x2B191D),
    ("mark", 0xF9D9A9, 0x5A4218),
    ("card", LIGHT.card, DARK.card),
];

const STYLE: &str = "\
*{box-sizing:border-box}\
body{margin:0;background:var(--window);color:var(--c1);\
font:14px/1.5 Inter,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}\
main{max-width:1040px;margin:0 auto;padding:36px 20px 60px}\
h1{font-size:24px;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}\
h2{font-size:16px;margin:36px 0 10px}\
p{margin:0 0 8px}.muted,caption{color:var(--c2)}\
.card{background:var(--card);border:1px solid var(--border);border-radius:10px;padding:6px;margin:0 0 12px;overflow-x:auto}\
.collapse{border-left:4px solid var(--c10);padding:12px 16px;background:var(--alarm);margin:18px 0 12px}\
.small{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(320px,100%),1fr));gap:12px}.small .card{margin:0}\
svg{display:block;width:100%;height:auto}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:6px 12px;border-bottom:1px solid var(--c4);vertical-align:top;overflow-wrap:anywhere}\
tr:last-child>*{border-bottom:0}\
thead th{color:var(--c2);font-weight:600}tbody th{font-weight:500;color:var(--c2)}\
.answers td{white-space:pre-wrap;width:45%}.answers th{white-space:nowrap}\
.prompt{white-space:pre-wrap;padding:8px 12px;margin:0}mark{background:var(--mark);color:inherit;border-radius:2px}\
.figures td,.figures thead th:not(:first-child){text-align:right;font-variant-numeric:tabular-nums}\
ul{margin:0;padding:8px 12px 8px 28px}li{margin:2px 0}li b{font-weight:600}\
summary{cursor:pointer;padding:6px 8px}\
@media print{.card{break-inside:avoid}}";

/// The style sheet: the charts' colours and the page's own as variables, so that the page follows the reader's choice
/// of light and dark; paper is always light.
fn style() -> String {
    let charts = LIGHT.all().into_iter().zip(DARK.all()).enumerate();
    let charts = charts.map(|(number, (light, dark))| (format!("c{number}"), light, dark));
    let own = COLOURS.into_iter().map(|(name, light, dark)| (name.to_owned(), light, dark));
    let (mut light, mut dark) = (String::new(), String::new());
    for (name, in_light, in_dark) in charts.chain(own) {
        let _ = write!(light, "--{name}:#{in_light:06x};");
        let _ = write!(dark, "--{name}:#{in_dark:06x};");
    }
    format!(
        ":root{{color-scheme:light dark;{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}{STYLE}"
    )
}

/// A drawing in [`LIGHT`] whose colours are the page's variables.
fn drawing(scene: &Scene, title: &str) -> String {
    let mut text = svg(scene, title);
    for (number, rgb) in LIGHT.all().into_iter().enumerate() {
        let (colour, variable) = (format!("=\"#{rgb:06x}\""), format!("=\"var(--c{number})\""));
        text = text.replace(&colour, &variable);
    }
    text
}

/// The report on the run in `folder`.
pub fn report(folder: &Path) -> Result<String, ReportError> {
    let record = folder::read_record(folder)?;
    let view = read(folder, Skip::Nothing)?;
    if view.store.is_empty() {
        return Err(ReportError::Empty(folder.to_owned()));
    }
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
    // A record of tokens that cannot be read takes its figure away, not the page.
    let profiles = Profiles::read(folder, None).ok().flatten();
    Ok(page(&name, &view, &record, profiles.as_ref()))
}

fn page(name: &str, run: &RunView, record: &RunRecord, profiles: Option<&Profiles>) -> String {
    let title = escaped(name);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n",
        style()
    );
    head(&mut out, run, record);
    for collapse in &run.collapses {
        push(&mut out, &format!("<p class=\"card collapse\">{}</p>\n", escaped(&collapse.message)));
    }
    out.push_str("<h2>Log-likelihood on held-out pairs</h2>\n");
    figures_of_charts(&mut out, run);
    if let Some(profiles) = profiles {
        out.push_str("<h2>Where likelihood is lost</h2>\n");
        let scene = profile::scene(run, profiles, &LIGHT, (1000.0, 280.0));
        let figure = drawing(&scene, "Where likelihood is lost");
        let help = escaped(profile::HELP);
        push(
            &mut out,
            &format!("<div class=\"card\">{figure}</div>\n<p class=\"muted\">{help}</p>\n"),
        );
    }
    out.push_str("<h2>Final figures</h2>\n");
    final_figures(&mut out, run);
    if !run.samples.prompts().is_empty() {
        out.push_str("<h2>Answers to held-out prompts</h2>\n");
        run.samples.prompts().iter().for_each(|prompt| answers(&mut out, run, prompt));
    }
    remarks(&mut out, run, record);
    pairs_table(&mut out, run);
    out.push_str("<h2>Settings</h2>\n");
    settings_table(&mut out, record);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn push(out: &mut String, text: &str) {
    out.push_str(text);
}

/// What was trained, when, where, and how it ended.
fn head(out: &mut String, run: &RunView, record: &RunRecord) {
    let arms: Vec<String> = run.arms.iter().map(|arm| escaped(&arm.objective)).collect();
    let mut facts = vec![arms.join(" beside ")];
    facts.push(escaped(&record.created.chars().take(16).collect::<String>().replace('T', " ")));
    facts.push(escaped(&record.device.name));
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
    push(
        out,
        &format!("<div class=\"card\">{}</div>\n", drawing(&scene, "Log-likelihood per token")),
    );
    out.push_str("<div class=\"small\">\n");
    for chart in charts::small(run) {
        let scene = picture(&runs, std::slice::from_ref(&chart), "", &style(490.0, 130.0, false));
        push(out, &format!("<div class=\"card\">{}</div>\n", drawing(&scene, chart.title)));
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

/// Forecasts, what they were worth, and advice.
fn remarks(out: &mut String, run: &RunView, record: &RunRecord) {
    let notes = notes(run, Some(&record.config));
    if notes.is_empty() {
        return;
    }
    out.push_str("<h2>Forecasts and advice</h2>\n<div class=\"card\"><ul>\n");
    for note in notes {
        let _ = writeln!(out, "<li><b>{}</b> {}</li>", note.kind.word(), escaped(&note.text));
    }
    out.push_str("</ul></div>\n");
}

/// Every pair of the last probe, folded away.
fn pairs_table(out: &mut String, run: &RunView) {
    let Some(first) = run.arms.iter().find_map(|arm| run.pairs.get(&arm.name)) else { return };
    let _ = write!(
        out,
        "<h2>Held-out pairs</h2>\n<div class=\"card\"><details><summary>{} pairs after {} updates: change from the \
         reference, nats</summary>\n<table class=\"figures\"><thead><tr><th>Row</th>",
        first.len(),
        run.pairs_step
    );
    for arm in &run.arms {
        let title = escaped(&arm_title(&arm.name));
        let _ = write!(out, "<th>chosen, {title}</th><th>rejected, {title}</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (place, pair) in first.iter().enumerate() {
        let _ = write!(out, "<tr><th>{}</th>", pair.row);
        for arm in &run.arms {
            let own = run.pairs.get(&arm.name).and_then(|pairs| pairs.get(place));
            let cells = own.map_or(["–".to_owned(), "–".to_owned()], |pair| {
                [pair.chosen - pair.ref_chosen, pair.rejected - pair.ref_rejected]
                    .map(format::number)
            });
            let _ = write!(out, "<td>{}</td><td>{}</td>", cells[0], cells[1]);
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></details></div>\n");
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
