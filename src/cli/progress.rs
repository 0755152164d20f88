//! A run as text: one progress line that is rewritten on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::review::verdict_lines;
use crate::run::review::review;
use crate::train::event::{ArmInfo, ArmMetrics, Event, Metrics, PairGradients, SampleText};
use crate::worker::protocol::Reporter;

/// Widest progress line: a wider one wraps, and a wrapped line cannot be rewritten.
const WIDTH: usize = 79;
/// Characters of an answer that are shown.
const ANSWER_SHOWN: usize = 200;
/// Time between two step lines where lines stay.
const PLAIN_EVERY: Duration = Duration::from_secs(2);
const TERMINAL_EVERY: Duration = Duration::from_millis(100);

/// Prints events for people on stdout.
pub struct Progress {
    state: Mutex<State>,
}

struct State {
    terminal: bool,
    /// The reader of stdout has gone.
    closed: bool,
    /// A progress line stands on the terminal's last row.
    drawn: bool,
    shown: Option<Instant>,
    phase: String,
    steps: usize,
    arms: Vec<ArmInfo>,
    run: PathBuf,
    /// Arms that have collapsed.
    collapsed: Vec<String>,
}

impl Progress {
    pub fn new() -> Progress {
        let state = State {
            terminal: io::stdout().is_terminal(),
            closed: false,
            drawn: false,
            shown: None,
            phase: String::new(),
            steps: 0,
            arms: Vec::new(),
            run: PathBuf::new(),
            collapsed: Vec::new(),
        };
        Progress { state: Mutex::new(state) }
    }
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::new()
    }
}

impl Reporter for Progress {
    fn report(&self, event: &Event) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).show(event);
    }
}

impl State {
    fn show(&mut self, event: &Event) {
        match event {
            Event::Heartbeat { phase } => self.phase(phase),
            Event::Started { .. } => self.started(event),
            Event::Step { step, arms, tokens_per_second, elapsed, .. } => {
                self.step(*step, arms, *tokens_per_second, *elapsed);
            }
            Event::Probe { step, arms, .. } => self.probe(*step, arms),
            Event::Forecast { step, arm, pairs, .. } => self.forecast(*step, arm, pairs),
            Event::Sample { step, row, arms, .. } => self.sample(*step, *row, arms),
            Event::Checkpoint { step, path } => {
                self.line(&format!("step {step}: saved {}", path.display()))
            }
            Event::Warning { message } => self.line(&format!("warning: {message}")),
            Event::Collapse { arm, message, .. } => {
                self.collapsed.push(arm.clone());
                self.line(message);
            }
            Event::Paused { step } => self.line(&format!("paused after step {step}")),
            Event::Resumed { step } => self.line(&format!("going on after step {step}")),
            Event::Finished { step, message, .. } => {
                self.verdict();
                self.line(&format!("finished after {step} steps. {message}"));
            }
            Event::Stopped { checkpoint, .. } if checkpoint.as_os_str().is_empty() => {
                self.line("stopped before training began; nothing was saved");
            }
            Event::Stopped { step, checkpoint } => self.line(&stopped(*step, checkpoint)),
            // The command prints it on stderr as it exits.
            Event::Failed { .. } => self.clear(),
        }
    }

    fn sample(&mut self, step: usize, row: usize, arms: &BTreeMap<String, SampleText>) {
        self.line(&format!("step {step}: answers to the prompt of row {row}"));
        for (arm, answer) in arms {
            let words: Vec<&str> = answer.text.split_whitespace().collect();
            let mut text = words.join(" ");
            if let Some((end, _)) = text.char_indices().nth(ANSWER_SHOWN) {
                text.truncate(end);
                text.push('…');
            }
            self.line(&format!("    {arm:<9} {text}"));
        }
    }

    fn phase(&mut self, phase: &str) {
        if phase != self.phase {
            self.phase = phase.into();
            if phase != "training" {
                self.line(phase);
            }
        }
    }

    fn started(&mut self, event: &Event) {
        let Event::Started {
            run, steps, arms, device, train_pairs, probe_pairs, from_step, ..
        } = event
        else {
            return;
        };
        self.steps = *steps;
        self.arms = arms.clone();
        self.run.clone_from(run);
        let arms: Vec<&str> = arms.iter().map(|arm| arm.objective.as_str()).collect();
        self.line(&format!("run      {}", run.display()));
        self.line(&format!("device   {device}"));
        self.line(&format!("arms     {}", arms.join(", ")));
        self.line(&format!("pairs    {train_pairs} to train on, {probe_pairs} held out to watch"));
        let from = if *from_step > 0 {
            format!(", going on from step {from_step}")
        } else {
            String::new()
        };
        self.line(&format!("steps    {steps}{from}"));
    }

    fn step(&mut self, step: usize, arms: &ArmMetrics, speed: f64, elapsed: f64) {
        let pause = if self.terminal { TERMINAL_EVERY } else { PLAIN_EVERY };
        let now = Instant::now();
        if step < self.steps && self.shown.is_some_and(|shown| now - shown < pause) {
            return;
        }
        self.shown = Some(now);
        let steps = self.steps;
        let left = elapsed / step.max(1) as f64 * steps.saturating_sub(step) as f64;
        let time = clock(left);
        // On a terminal short enough for 79 columns with a twin, whose figures come last: a cut loses the least.
        let (mut text, word, digits) = if self.terminal {
            (format!("{step}/{steps}  ETA {time}  {speed:.0} t/s"), "", 3)
        } else {
            (format!("step {step}/{steps}  ETA {time}  {speed:.0} tok/s"), "loss ", 4)
        };
        for arm in &self.arms {
            if let Some(metrics) = arms.get(&arm.name) {
                let loss = number(metrics, "loss", digits);
                text += &format!("  {} {word}{loss} {}", arm.name, logps(metrics));
            }
        }
        if self.terminal { self.redraw(&text) } else { self.line(&text) }
    }

    fn probe(&mut self, step: usize, arms: &ArmMetrics) {
        for arm in self.arms.clone() {
            let Some(metrics) = arms.get(&arm.name) else { continue };
            let reference = number(metrics, "reference_per_token/chosen", 3);
            let margin = number(metrics, "rewards/margins", 3);
            self.line(&format!(
                "probe {step}: {} chosen/rejected per token {} (reference {reference}), margin {margin}",
                arm.name,
                logps(metrics)
            ));
        }
    }

    /// What the run as a whole says. A record that cannot be read is not this line's to complain about.
    fn verdict(&mut self) {
        let review = review(&self.run);
        for line in review.iter().flat_map(verdict_lines) {
            self.line(&line);
        }
    }

    /// Only arms in danger are spoken of, and those that have not collapsed yet.
    fn forecast(&mut self, step: usize, arm: &str, pairs: &[PairGradients]) {
        let count = |falls: fn(&PairGradients) -> bool| pairs.iter().filter(|p| falls(p)).count();
        let (down, alone) = (count(|pair| pair.heading < 0.0), count(|pair| pair.falls));
        if down + alone > 0 && !self.collapsed.iter().any(|name| name == arm) {
            self.line(&format!(
                "forecast {step}: {arm} heads down on {down} of {} chosen answers; {alone} would fall by a step on the pair alone",
                pairs.len(),
            ));
        }
    }

    /// A line that stays.
    fn line(&mut self, text: &str) {
        self.clear();
        self.write(&format!("{text}\n"));
    }

    /// The line that is overwritten.
    fn redraw(&mut self, text: &str) {
        let short: String = text.chars().take(WIDTH).collect();
        self.write(&format!("\r\x1b[K{short}"));
        self.drawn = true;
    }

    fn clear(&mut self) {
        if self.drawn {
            self.write("\r\x1b[K");
            self.drawn = false;
        }
    }

    fn write(&mut self, text: &str) {
        if self.closed {
            return;
        }
        let mut out = io::stdout().lock();
        // A closed pipe must not stop the training: the run folder records everything.
        self.closed = out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err();
    }
}

fn stopped(step: usize, checkpoint: &std::path::Path) -> String {
    let run = checkpoint.parent().unwrap_or(checkpoint);
    format!("stopped after step {step}. Go on with: dpop-studio train --resume {}", run.display())
}

/// `-0.123/-1.234`: chosen and rejected, nats per token.
fn logps(metrics: &Metrics) -> String {
    let chosen = number(metrics, "logps_per_token/chosen", 3);
    let rejected = number(metrics, "logps_per_token/rejected", 3);
    format!("{chosen}/{rejected}")
}

fn number(metrics: &Metrics, name: &str, digits: usize) -> String {
    metrics.get(name).map_or("-".into(), |value| format!("{value:.digits$}"))
}

/// `1:02:03`, `4:05`.
fn clock(seconds: f64) -> String {
    let seconds = seconds.round().max(0.0) as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}
