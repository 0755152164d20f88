//! What the window's tests share: the real app without a display, a trainer made of recorded events, PNGs.

#![allow(dead_code, reason = "every test file uses its own part")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dpop_studio::train::event::{Command, Event};
use dpop_studio::ui::app::App;
use dpop_studio::ui::backend::Folders;
use dpop_studio::ui::memory::Memory;
use dpop_studio::ui::state::{Loaded, State};
use dpop_studio::ui::trainer::{Job, Trainer};
use eframe::egui::{self, Theme, Vec2};
use egui_kittest::Harness;

pub const USUAL: [f32; 2] = [1360.0, 860.0];
pub const SMALL: [f32; 2] = [1024.0, 700.0];

/// A real run on the demo (see tests/fixtures/recorded_run); DPO collapses at step 50 of 200.
pub fn recorded() -> Vec<Event> {
    include_str!("../fixtures/recorded_run/events.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a recorded event"))
        .collect()
}

/// What a fake trainer says and hears.
#[derive(Default)]
pub struct Script {
    pub say: VecDeque<Event>,
    pub heard: Vec<Command>,
    pub jobs: Vec<Job>,
    pub ended: bool,
    pub log: Vec<String>,
    pub silent_for: f64,
    pub phase: String,
}

pub type Shared = Rc<RefCell<Script>>;

struct Fake(Shared);

impl Trainer for Fake {
    fn try_events(&mut self) -> Vec<Event> {
        self.0.borrow_mut().say.drain(..).collect()
    }

    fn send(&mut self, command: Command) -> Result<(), String> {
        self.0.borrow_mut().heard.push(command);
        Ok(())
    }

    fn log_tail(&self) -> Vec<String> {
        self.0.borrow().log.clone()
    }

    fn silent_for(&self) -> f64 {
        self.0.borrow().silent_for
    }

    fn phase(&self) -> String {
        self.0.borrow().phase.clone()
    }

    fn has_ended(&self) -> bool {
        self.0.borrow().ended
    }
}

/// The app, made at the first frame because it needs the context.
pub struct Window {
    app: Option<App>,
    pub script: Shared,
    folders: Folders,
    paths: Vec<PathBuf>,
    _dir: tempfile::TempDir,
}

impl Window {
    pub fn state(&mut self) -> &mut State {
        &mut self.app.as_mut().expect("a frame was drawn").state
    }

    pub fn runs(&self) -> &Path {
        &self.folders.runs
    }

    /// The file of what the window remembers.
    pub fn memory(&self) -> &Path {
        &self.folders.memory
    }

    fn frame(&mut self, ui: &mut egui::Ui) {
        let app = self.app.get_or_insert_with(|| {
            let script = Rc::clone(&self.script);
            let launcher = Box::new(move |job: &Job, _wake: Box<dyn Fn() + Send + Sync>| {
                let mut inner = script.borrow_mut();
                inner.jobs.push(job.clone());
                inner.ended = false;
                drop(inner);
                Ok(Box::new(Fake(Rc::clone(&script))) as Box<dyn Trainer>)
            });
            App::new(ui.ctx(), launcher, self.folders.clone(), &self.paths)
        });
        app.tick(ui.ctx());
        app.show(ui);
    }
}

pub type Bench = Harness<'static, Window>;

/// The window in its own empty folders, with the demo unpacked and read.
pub fn open(size: [f32; 2], theme: Theme) -> Bench {
    let mut bench = open_with(size, theme, Vec::new(), |_| {});
    wait(&mut bench, "the demo", |state| {
        matches!(state.data, Loaded::Ready(_)) && matches!(state.model, Loaded::Ready(_))
    });
    bench
}

/// The window with `paths` given on the command line; `prepare` fills the folders first.
pub fn open_with(
    size: [f32; 2],
    theme: Theme,
    paths: Vec<PathBuf>,
    prepare: impl FnOnce(&mut Folders),
) -> Bench {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| dir.path().join(name);
    // No program for work in processes of their own, so that no test waits for one it did not ask for.
    let program = PathBuf::new();
    let mut folders =
        Folders { demo: at("demo"), runs: at("runs"), memory: at("window.json"), program };
    let toured = Memory { toured: true, ..Memory::default() };
    toured.write(&folders.memory).expect("a writable folder");
    prepare(&mut folders);
    let window = Window { app: None, script: Shared::default(), folders, paths, _dir: dir };
    let mut bench = Harness::builder()
        .with_size(Vec2::from(size))
        .with_theme(theme)
        .with_max_steps(40)
        .build_ui_state(|ui, window: &mut Window| window.frame(ui), window);
    bench.run_steps(3);
    bench
}

/// Steps until `done`, for work on other threads.
pub fn wait(bench: &mut Bench, what: &str, done: impl Fn(&State) -> bool) {
    let begun = Instant::now();
    while !done(bench.state_mut().state()) {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited for {what} in vain");
        std::thread::sleep(Duration::from_millis(10));
        bench.step();
    }
    bench.run_steps(3);
}

/// The events of [`recorded`] up to update `step`, that one included.
pub fn recorded_until(step: usize) -> Vec<Event> {
    let later = |event: &Event| matches!(event, Event::Step { step: at, .. } if *at > step);
    recorded().into_iter().take_while(|event| !later(event)).collect()
}

/// Lets the trainer say `events`.
pub fn say(bench: &mut Bench, events: impl IntoIterator<Item = Event>) {
    bench.state().script.borrow_mut().say.extend(events);
    bench.run_steps(4);
}

/// Starts a run by its command and lets the trainer say `events`.
pub fn start(bench: &mut Bench, events: impl IntoIterator<Item = Event>) {
    bench.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Enter);
    bench.run_steps(3);
    assert_eq!(bench.state().script.borrow().jobs.len(), 1, "Start must start one trainer");
    say(bench, events);
}

/// Lets `path` hover over the window, or none.
pub fn hover(bench: &mut Bench, path: Option<&Path>) {
    bench.input_mut().hovered_files = path
        .iter()
        .map(|p| egui::HoveredFile { path: Some(p.to_path_buf()), ..Default::default() })
        .collect();
    bench.run_steps(2);
}

/// Drops `paths` on the window.
pub fn drop_paths(bench: &mut Bench, paths: &[&Path]) {
    #[derive(Debug)]
    struct Dropped(PathBuf);
    impl egui::DroppedFile for Dropped {
        fn path(&self) -> &Path {
            &self.0
        }
        fn bytes(&self) -> Result<Vec<u8>, String> {
            std::fs::read(&self.0).map_err(|error| error.to_string())
        }
    }
    bench.input_mut().hovered_files.clear();
    bench.input_mut().dropped_files = paths
        .iter()
        .map(|p| Arc::new(Dropped(p.to_path_buf())) as Arc<dyn egui::DroppedFile + Send + Sync>)
        .collect();
    bench.step();
    bench.input_mut().dropped_files.clear();
    bench.run_steps(3);
}

/// Draws the window into target/ui-snapshots/NAME.png, to be looked at; nothing is compared.
pub fn picture(bench: &mut Bench, name: &str) {
    match bench.render() {
        Ok(image) => {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ui-snapshots");
            std::fs::create_dir_all(&folder).expect("target is writable");
            image.save(folder.join(format!("{name}.png"))).expect("a PNG");
        }
        Err(error) => eprintln!("SKIPPED: picture {name}: nothing here can draw ({error})"),
    }
}
