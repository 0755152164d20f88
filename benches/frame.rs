//! What a frame of the whole window costs while a run streams 50 events a second into its ten charts.
//!
//! `cargo bench --profile dev --bench frame` draws the real window of 1440 x 1500 points at 60 frames a second of its own
//! clock: draining the trainer, layout of every view, reduction and tessellation; the GPU is not asked. The run has two
//! arms and then five, and 20,000 steps behind it. Printed are the median, the 99th percentile and the longest of
//! the frames, in milliseconds.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use dpop_studio::report::charts;
use dpop_studio::train::event::{Command, Event};
use dpop_studio::ui::app::App;
use dpop_studio::ui::backend::Folders;
use dpop_studio::ui::memory::Memory;
use dpop_studio::ui::state::Loaded;
use dpop_studio::ui::trainer::Trainer;
use eframe::egui;

const FRAMES_A_SECOND: usize = 60;
const EVENTS_A_SECOND: usize = 50;
/// Half a minute.
const FRAMES: usize = 30 * FRAMES_A_SECOND;
/// So many times the 200 steps of the recorded run are behind it.
const CYCLES: usize = 100;
const SIZE: egui::Vec2 = egui::vec2(1440.0, 1500.0);

type Queue = Rc<RefCell<VecDeque<Event>>>;

/// Says what is in its queue.
struct Recorded(Queue);

impl Trainer for Recorded {
    fn try_events(&mut self) -> Vec<Event> {
        self.0.borrow_mut().drain(..).collect()
    }

    fn send(&mut self, _: Command) -> Result<(), String> {
        Ok(())
    }

    fn log_tail(&self) -> Vec<String> {
        Vec::new()
    }

    fn silent_for(&self) -> f64 {
        0.0
    }

    fn phase(&self) -> String {
        "training".to_owned()
    }

    fn has_ended(&self) -> bool {
        false
    }
}

/// The recorded run over and over: its events with rising steps, for so many arms.
struct Stream {
    events: Vec<Event>,
    arms: usize,
    next: usize,
}

impl Stream {
    fn new(arms: usize) -> anyhow::Result<Stream> {
        let text = include_str!("../tests/fixtures/recorded_run/events.jsonl");
        let events: Result<Vec<Event>, _> = text.lines().map(serde_json::from_str).collect();
        let lasts = |event: &Event| {
            matches!(event, Event::Step { .. } | Event::Probe { .. } | Event::Forecast { .. })
        };
        let events = events?.into_iter().filter(lasts).collect();
        Ok(Stream { events, arms, next: 0 })
    }

    /// What the run begins with: its arms, and a length that leaves room.
    fn started(&self) -> anyhow::Result<Event> {
        let text = include_str!("../tests/fixtures/recorded_run/events.jsonl");
        let mut event = serde_json::from_str(text.lines().next().unwrap_or_default())?;
        if let Event::Started { arms, steps, .. } = &mut event {
            let more = (2..self.arms).map(|number| {
                let mut arm = arms[1].clone();
                arm.name = format!("dpop-lambda-{number}");
                arm
            });
            let more: Vec<_> = more.collect();
            arms.extend(more);
            *steps = 2 * CYCLES * 200;
        }
        Ok(event)
    }
}

impl Iterator for Stream {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let cycle = self.next / self.events.len();
        let mut event = self.events[self.next % self.events.len()].clone();
        self.next += 1;
        match &mut event {
            Event::Step { step, elapsed, arms, .. } => {
                *step += cycle * 200;
                *elapsed += cycle as f64 * 60.0;
                for number in 2..self.arms {
                    arms.insert(format!("dpop-lambda-{number}"), arms["dpo"].clone());
                }
            }
            Event::Probe { step, arms, pairs } => {
                *step += cycle * 200;
                for number in 2..self.arms {
                    arms.insert(format!("dpop-lambda-{number}"), arms["dpo"].clone());
                    if let Some(own) = pairs.get("dpo").cloned() {
                        pairs.insert(format!("dpop-lambda-{number}"), own);
                    }
                }
            }
            Event::Forecast { step, .. } => *step += cycle * 200,
            _ => {}
        }
        Some(event)
    }
}

/// The window without a screen.
struct Bench {
    ctx: egui::Context,
    app: App,
    queue: Queue,
    frame: usize,
}

impl Bench {
    fn open(home: &std::path::Path) -> anyhow::Result<Bench> {
        let folders = Folders {
            demo: home.join("demo"),
            runs: home.join("runs"),
            memory: home.join("window.json"),
            program: PathBuf::new(),
        };
        let toured = Memory { toured: true, ..Memory::default() };
        toured.write(&folders.memory).map_err(anyhow::Error::msg)?;
        let ctx = egui::Context::default();
        let queue = Queue::default();
        let source = Rc::clone(&queue);
        let launcher = Box::new(move |_: &_, _: Box<dyn Fn() + Send + Sync>| {
            Ok(Box::new(Recorded(Rc::clone(&source))) as Box<dyn Trainer>)
        });
        let app = App::new(&ctx, launcher, folders, &[]);
        let mut bench = Bench { ctx, app, queue, frame: 0 };
        while !matches!(bench.app.state.model, Loaded::Ready(_)) {
            std::thread::sleep(std::time::Duration::from_millis(5));
            bench.draw(Vec::new());
        }
        Ok(bench)
    }

    /// One frame; answers how long it took (ms).
    fn draw(&mut self, events: Vec<egui::Event>) -> f64 {
        self.frame += 1;
        let input = egui::RawInput {
            screen_rect: Some(egui::Rect::from_min_size(egui::Pos2::ZERO, SIZE)),
            time: Some(self.frame as f64 / FRAMES_A_SECOND as f64),
            events,
            focused: true,
            ..Default::default()
        };
        let begun = Instant::now();
        let (ctx, app) = (self.ctx.clone(), &mut self.app);
        let output = ctx.run_ui(input, |ui| {
            app.tick(ui.ctx());
            app.show(ui);
        });
        let triangles = ctx.tessellate(output.shapes, output.pixels_per_point);
        let spent = begun.elapsed().as_secs_f64() * 1e3;
        assert!(!triangles.is_empty());
        spent
    }

    fn key(key: egui::Key, modifiers: egui::Modifiers) -> Vec<egui::Event> {
        vec![egui::Event::Key { key, physical_key: None, pressed: true, repeat: false, modifiers }]
    }
}

fn main() -> anyhow::Result<()> {
    for arms in [2, 5] {
        for pointer in [false, true] {
            measure(arms, pointer)?;
        }
    }
    Ok(())
}

fn measure(arms: usize, pointer: bool) -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let mut bench = Bench::open(home.path())?;
    let mut stream = Stream::new(arms)?;
    bench.draw(Bench::key(egui::Key::Enter, egui::Modifiers::COMMAND));
    bench.queue.borrow_mut().push_back(stream.started()?);
    let behind = CYCLES * stream.events.len();
    bench.queue.borrow_mut().extend(stream.by_ref().take(behind));
    bench.draw(Vec::new());
    let run = &bench.app.state.run;
    let drawn = charts::all(run, bench.app.state.scale, false).len();
    assert_eq!((run.arms.len(), run.step, drawn), (arms, CYCLES * 200, 10));
    // Layouts and caches settle.
    for _ in 0..10 {
        bench.draw(Vec::new());
    }
    let mut times: Vec<f64> = (0..FRAMES)
        .map(|frame| {
            let due = |frame: usize| frame * EVENTS_A_SECOND / FRAMES_A_SECOND;
            let now = due(frame + 1) - due(frame);
            bench.queue.borrow_mut().extend(stream.by_ref().take(now));
            let x = 480.0 + (frame % 900) as f32;
            let moved = egui::Event::PointerMoved(egui::pos2(x, 260.0));
            bench.draw(if pointer { vec![moved] } else { Vec::new() })
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((FRAMES - 1) as f64 * share).round() as usize];
    println!(
        "{arms} arms, {drawn} charts, {EVENTS_A_SECOND} events a second after {} steps, {}: median {:.1} ms, p99 {:.1} ms, longest {:.1} ms of {FRAMES} frames",
        CYCLES * 200,
        if pointer { "the pointer reads" } else { "nobody points " },
        at(0.5),
        at(0.99),
        at(1.0),
    );
    Ok(())
}
