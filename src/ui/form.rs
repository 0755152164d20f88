//! The cards' fields as text, over the configuration's own table of options. What is typed becomes a
//! `RunDraft`, which validates itself; nothing here knows a limit or a default of its own.

mod history;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::drop::is_model;
use crate::config::{FIELDS, Field, Limits, Preset, RunConfig, RunDraft, field, presets};

/// Something wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The option's name in [`FIELDS`].
    pub field: &'static str,
    pub message: String,
}

/// How a field is edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Path,
    /// Values and what people read.
    Choice(&'static [(&'static str, &'static str)]),
    Number,
    Switch,
    Targets,
    Text,
}

const OBJECTIVES: &[(&str, &str)] = &[
    ("dpop", "DPOP"),
    ("dpo", "DPO"),
    ("ipo", "IPO"),
    ("hinge", "SLiC hinge"),
    ("cdpo", "cDPO"),
    ("sft", "SFT"),
];
const TWINS: &[(&str, &str)] = &[
    ("none", "No twin"),
    ("dpo", "DPO"),
    ("dpop", "DPOP"),
    ("ipo", "IPO"),
    ("hinge", "SLiC hinge"),
    ("cdpo", "cDPO"),
    ("sft", "SFT"),
];
const SCHEDULES: &[(&str, &str)] =
    &[("constant", "Constant"), ("linear", "Linear"), ("cosine", "Cosine")];

const PRECISIONS: &[(&str, &str)] = &[
    ("f32", "32-bit floats"),
    ("bf16", "16-bit bfloat"),
    ("f16", "16-bit floats"),
    ("int8", "8-bit integers"),
    ("int4", "4-bit integers"),
    ("nf4", "4-bit NormalFloat"),
];
const ARITHMETIC: &[(&str, &str)] = &[("f32", "32-bit"), ("f16", "16-bit, sums in 32-bit")];
const PLACES: &[(&str, &str)] =
    &[("auto", "Automatic"), ("resident", "On the device"), ("stream", "Streamed")];
const RECOMPUTE: &[(&str, &str)] = &[("auto", "Automatic"), ("off", "Off"), ("on", "On")];

/// A message of the command line in the window's words: options under the labels of their fields.
pub fn in_labels(text: &str) -> String {
    let mut fields: Vec<&Field> = FIELDS.iter().collect();
    // Longer flags first: one may begin with another.
    fields.sort_by_key(|field| std::cmp::Reverse(field.flag.len()));
    fields.into_iter().fold(text.to_owned(), |text, field| {
        text.replace(field.flag, &format!("“{}”", field.label))
    })
}

/// Which editor a field gets.
pub fn kind(field: &Field) -> Kind {
    match field.name {
        "model" | "data" | "eval_data" | "init_adapter" => Kind::Path,
        "objective" => Kind::Choice(OBJECTIVES),
        "twin" => Kind::Choice(TWINS),
        "schedule" => Kind::Choice(SCHEDULES),
        "base_precision" => Kind::Choice(PRECISIONS),
        "compute_precision" => Kind::Choice(ARITHMETIC),
        "weights" => Kind::Choice(PLACES),
        "recompute" => Kind::Choice(RECOMPUTE),
        "rslora" | "shuffle" => Kind::Switch,
        "targets" => Kind::Targets,
        "device" | "stop_when" | "sweep" => Kind::Text,
        _ => Kind::Number,
    }
}

/// The preset that goes with the bundled model and pairs.
pub const DEMO_PRESET: &str = "demo";

/// Longest sequence assumed while the field holds no number.
pub const USUAL_MAX_LENGTH: usize = crate::config::defaults::MAX_LENGTH;

/// Fields that belong to the machine or the files, which presets leave alone.
const KEPT_BY_PRESETS: [&str; 11] = [
    "model",
    "data",
    "eval_data",
    "eval_fraction",
    "init_adapter",
    "device",
    "base_precision",
    "compute_precision",
    "weights",
    "recompute",
    "memory_limit",
];

/// The fields' texts.
#[derive(Clone, Debug)]
pub struct Form {
    values: BTreeMap<&'static str, String>,
    complaints: Vec<Complaint>,
    presets: Vec<Preset>,
    /// Name of the preset the fields still stand at.
    preset: Option<&'static str>,
    /// States to go back to, and forward again.
    past: Vec<Moment>,
    future: Vec<Moment>,
    /// The field that was changed last: further keystrokes in it belong to the same change.
    changing: Option<&'static str>,
}

/// The fields at one time, and the preset they stood at.
type Moment = (BTreeMap<&'static str, String>, Option<&'static str>);

impl Default for Form {
    fn default() -> Self {
        let values = FIELDS.iter().map(|f| (f.name, String::new())).collect();
        let mut form = Self {
            values,
            complaints: Vec::new(),
            presets: presets(),
            preset: None,
            past: Vec::new(),
            future: Vec::new(),
            changing: None,
        };
        form.fill(RunDraft::default(), &[]);
        form
    }
}

impl Form {
    pub fn get(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// Sets a field and looks at all of them again.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        let key = field(name).name;
        if key == name && self.get(name) != value {
            if self.changing != Some(key) {
                self.mark();
            }
            self.changing = Some(key);
            self.values.insert(key, value);
            if !KEPT_BY_PRESETS.contains(&key) {
                self.preset = None;
            }
            self.validate();
        }
    }

    pub fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.get(name).trim()).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    pub fn flag(&self, name: &str) -> bool {
        self.get(name) == "true"
    }

    pub fn complaints(&self) -> &[Complaint] {
        &self.complaints
    }

    pub fn complaint(&self, name: &str) -> Option<&str> {
        self.complaints.iter().find(|c| c.field == name).map(|c| c.message.as_str())
    }

    pub fn presets(&self) -> &[Preset] {
        &self.presets
    }

    /// The preset whose values the fields still hold.
    pub fn preset(&self) -> Option<&Preset> {
        self.presets.iter().find(|preset| Some(preset.name) == self.preset)
    }

    /// Takes over a preset: every field but those of files and machine.
    pub fn apply_preset(&mut self, name: &str) {
        if let Some(preset) = self.presets.iter().find(|preset| preset.name == name) {
            let (draft, name) = (preset.draft.clone(), preset.name);
            self.mark();
            self.fill(draft, &KEPT_BY_PRESETS);
            self.preset = Some(name);
        }
    }

    /// Writes `draft`, its gaps filled with the defaults, into every field not in `kept`.
    fn fill(&mut self, draft: RunDraft, kept: &[&str]) {
        let placeholder = || Some(PathBuf::from("-"));
        let whole = RunDraft { model: placeholder(), data: placeholder(), ..draft };
        // Only a preset that contradicts itself could fail here; then the fields stay as they are.
        let Ok(config) = whole.validate() else { return };
        let Ok(Value::Object(values)) = serde_json::to_value(RunDraft::from(&config)) else {
            return;
        };
        for field in FIELDS {
            let path = matches!(field.name, "model" | "data");
            if !path && !kept.contains(&field.name) {
                let text = values.get(field.name).map(text_of).unwrap_or_default();
                self.values.insert(field.name, text);
            }
        }
        self.validate();
    }

    /// What was typed, and a complaint for every number that is none.
    fn draft(&self) -> (RunDraft, Vec<Complaint>) {
        let mut values = Map::new();
        let mut complaints = Vec::new();
        let held_out_file = !self.get("eval_data").trim().is_empty();
        for field in FIELDS {
            let text = self.get(field.name).trim();
            if text.is_empty() || (field.name == "eval_fraction" && held_out_file) {
                continue;
            }
            match value_of(field, text) {
                Ok(value) => {
                    values.insert(field.name.to_owned(), value);
                }
                Err(message) => complaints.push(Complaint { field: field.name, message }),
            }
        }
        let draft = serde_json::from_value(Value::Object(values)).unwrap_or_default();
        (draft, complaints)
    }

    /// The configuration, if nothing is wrong with the values.
    pub fn config(&self) -> Option<RunConfig> {
        let (draft, complaints) = self.draft();
        if complaints.is_empty() { draft.validate().ok() } else { None }
    }

    /// Looks at every field and keeps all complaints, in the order of the table.
    fn validate(&mut self) {
        let (draft, mut complaints) = self.draft();
        if let Err(list) = draft.validate() {
            for complaint in list {
                // A field that holds no number is already complained about.
                if complaints.iter().all(|c| c.field != complaint.field) {
                    let message = without_label(&complaint.message).to_owned();
                    complaints.push(Complaint { field: complaint.field, message });
                }
            }
        }
        for name in ["model", "data", "eval_data", "init_adapter"] {
            if let Some(message) = self.check_path(name)
                && complaints.iter().all(|c| c.field != name)
            {
                complaints.push(Complaint { field: field(name).name, message });
            }
        }
        complaints.sort_by_key(|c| FIELDS.iter().position(|f| f.name == c.field));
        self.complaints = complaints;
    }

    fn check_path(&self, name: &str) -> Option<String> {
        let path = self.path(name)?;
        let message = match name {
            "model" if path.is_dir() && !is_model(&path) => "this folder holds no config.json",
            "model" if !is_model(&path) => "no model folder and no .gguf file lies there",
            "data" | "eval_data" if !path.is_file() => "this file does not exist",
            "init_adapter" if !path.join("adapter_config.json").is_file() => {
                "this folder holds no adapter_config.json"
            }
            _ => return None,
        };
        Some(message.to_owned())
    }

    /// The options of `dpop-studio train` that say the same.
    pub fn args(&self) -> Vec<OsString> {
        let held_out_file = !self.get("eval_data").trim().is_empty();
        let mut args: Vec<OsString> = Vec::new();
        for field in FIELDS {
            let value = self.get(field.name).trim();
            match (field.name, value) {
                (_, "") => {}
                ("eval_fraction", _) if held_out_file => {}
                ("rslora", value) => args.extend((value == "true").then(|| field.flag.into())),
                ("shuffle", value) => args.extend((value == "false").then(|| field.flag.into())),
                ("model" | "data" | "eval_data" | "init_adapter", value) => {
                    args.extend([field.flag.into(), absolute(Path::new(value)).into()]);
                }
                (_, value) => args.extend([field.flag.into(), value.into()]),
            }
        }
        args
    }
}

/// The worker runs in another folder's shoes; relative paths are the window's.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// `Label (--flag): what is wrong` without its label, which stands beside it.
fn without_label(message: &str) -> &str {
    message.split_once("): ").map_or(message, |(_, rest)| rest)
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(","),
        Value::Number(number) => match number.as_f64() {
            // A learning rate of 0.00005 reads better as 5e-5.
            Some(v) if v != 0.0 && v.abs() < 0.01 => format!("{v:e}"),
            Some(v) if v.fract() == 0.0 && v.abs() < 1e15 => format!("{v:.0}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

fn value_of(field: &Field, text: &str) -> Result<Value, String> {
    let not_a_number = || format!("“{text}” is no number");
    match (kind(field), field.limits) {
        (Kind::Number, Limits::Whole { .. }) => match text.parse::<u64>() {
            Ok(v) => Ok(v.into()),
            Err(_) if text.parse::<f64>().is_ok() => {
                Err(format!("must be {}", field.limits.describe()))
            }
            Err(_) => Err(not_a_number()),
        },
        (Kind::Number, _) => {
            let v = text.replace(',', ".").parse::<f64>().map_err(|_| not_a_number())?;
            serde_json::Number::from_f64(v).map(Value::Number).ok_or_else(not_a_number)
        }
        (Kind::Switch, _) => Ok((text == "true").into()),
        (Kind::Targets, _) if text == "all" => {
            Ok(crate::config::Target::ALL.iter().map(|target| target.name()).collect())
        }
        (Kind::Targets, _) => Ok(text.split(',').map(str::trim).collect()),
        _ => Ok(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(in crate::ui::form) fn filled() -> (tempfile::TempDir, Form) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), "{}").unwrap();
        std::fs::write(dir.path().join("pairs.jsonl"), "{}").unwrap();
        let mut form = Form::default();
        form.set("model", dir.path().display().to_string());
        form.set("data", dir.path().join("pairs.jsonl").display().to_string());
        (dir, form)
    }

    #[test]
    fn every_option_is_filled_and_valid_but_the_paths() {
        let form = Form::default();
        let fields: Vec<&str> = form.complaints().iter().map(|c| c.field).collect();
        assert_eq!(fields, ["model", "data"]);
        let (_dir, form) = filled();
        assert_eq!(form.complaints(), []);
        assert!(form.config().is_some());
    }

    #[test]
    fn presets_fill_the_fields_and_keep_the_files() {
        let (_dir, mut form) = filled();
        let data = form.get("data").to_owned();
        for name in ["paper", DEMO_PRESET] {
            form.apply_preset(name);
            assert_eq!(form.complaints(), [], "{name}");
        }
        assert_eq!(form.get("learning_rate"), "2e-3");
        assert_eq!(form.get("steps"), "200");
        assert_eq!(form.get("epochs"), "");
        assert_eq!(form.get("targets"), "q,k,v,o,gate,up,down");
        assert_eq!(form.get("data"), data);
        assert_eq!(form.preset().map(|p| p.name), Some(DEMO_PRESET));
        form.set("beta", "0.2");
        assert_eq!(form.preset(), None, "an edited preset is no preset");
    }

    #[test]
    fn all_complaints_at_once_each_at_its_field() {
        let (_dir, mut form) = filled();
        form.set("beta", "-1");
        form.set("rank", "two");
        form.set("targets", "");
        form.set("eval_data", "/nowhere.jsonl");
        let fields: Vec<&str> = form.complaints().iter().map(|c| c.field).collect();
        assert!(["beta", "rank", "eval_data"].iter().all(|f| fields.contains(f)), "{fields:?}");
        assert_eq!(form.complaint("rank"), Some("“two” is no number"));
        assert!(!form.complaint("beta").unwrap().contains("--beta"));
    }

    #[test]
    fn the_flags_say_what_the_form_says() {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            draft: RunDraft,
        }
        let (_dir, mut form) = filled();
        form.apply_preset(DEMO_PRESET);
        form.set("rslora", "true");
        form.set("shuffle", "false");
        form.set("twin", "none");
        let line = std::iter::once(OsString::from("train")).chain(form.args());
        let parsed = Line::try_parse_from(line).unwrap().draft;
        assert_eq!(parsed.validate().ok(), form.config());
        assert_eq!(parsed.shuffle, Some(false));
    }
}
