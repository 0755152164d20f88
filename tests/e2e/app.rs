//! The built program in a window of its own X server, found and driven as a person does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use x11rb::protocol::xproto::Window;

use super::display::{Area, Display, Point, Result, Screenshot};

/// Bars above and below the part of the window that scrolls.
const TOP_EDGE: i16 = 60;
const BOTTOM_EDGE: i16 = 90;

/// Until the window has answered and described itself again.
const SETTLE: Duration = Duration::from_millis(300);

/// One entry of the control map (`DPOP_STUDIO_UI_MAP`).
#[derive(Clone, Debug)]
pub struct Control {
    pub role: String,
    pub label: String,
    pub value: Option<String>,
    pub enabled: bool,
    pub area: Area,
}

pub struct App<'a> {
    pub display: &'a Display,
    pub window: Window,
    pub window_area: Area,
    pub runs: PathBuf,
    child: Child,
    map: PathBuf,
    log: PathBuf,
    shots: PathBuf,
}

impl Drop for App<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<'a> App<'a> {
    /// Starts the program with settings, caches and runs of its own below `home`.
    pub fn start(display: &'a Display, home: &Path, shots: &Path) -> Result<App<'a>> {
        let (map, log, runs) =
            (home.join("controls.json"), home.join("window.log"), home.join("runs"));
        fs::create_dir_all(shots)?;
        let output = fs::File::create(&log)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_dpop-studio"));
        for name in
            ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"]
        {
            command.env(name, home);
        }
        let child = command
            .current_dir(home)
            .env("DISPLAY", &display.name)
            .env_remove("WAYLAND_DISPLAY")
            // No desktop services: a session bus of the machine is not part of this test.
            .env("DBUS_SESSION_BUS_ADDRESS", "disabled:")
            .env("DPOP_STUDIO_RUNS", &runs)
            .env("DPOP_STUDIO_UI_MAP", &map)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let none = Area { x0: 0, y0: 0, x1: 0, y1: 0 };
        let shots = shots.to_owned();
        let mut app = App { display, window: 0, window_area: none, runs, child, map, log, shots };
        app.wait("the window is on the screen and described", Duration::from_secs(60), |app| {
            Ok(app.display.main_window()?.is_some() && !app.controls().is_empty())
        })?;
        let (window, area) = display.main_window()?.ok_or("the window went away")?;
        (app.window, app.window_area) = (window, area);
        display.focus(window)?;
        Ok(app)
    }

    /// Waits until `done`; on the way it notices a program that ended.
    pub fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        done: impl Fn(&App) -> Result<bool>,
    ) -> Result<()> {
        let began = Instant::now();
        loop {
            if done(self)? {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!(
                    "waiting until {what}: the program ended with {status}\n{}",
                    self.log()
                )
                .into());
            }
            if began.elapsed() > limit {
                let labels: Vec<_> = self.controls().into_iter().map(|c| c.label).collect();
                let path = self.shot("stuck")?.0;
                let (path, log) = (path.display(), self.log());
                return Err(format!(
                    "after {limit:?} still not true: {what}; see {path}\n{labels:?}\n{log}"
                )
                .into());
            }
            sleep(Duration::from_millis(100));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What is on the screen now; areas in screen pixels.
    pub fn controls(&self) -> Vec<Control> {
        let text = fs::read_to_string(&self.map).unwrap_or_default();
        let map: Value = serde_json::from_str(&text).unwrap_or_default();
        let entries = map["controls"].as_array().cloned().unwrap_or_default();
        entries.iter().filter_map(|entry| self.control(entry)).collect()
    }

    fn control(&self, entry: &Value) -> Option<Control> {
        let side = |i: usize, origin: i16| Some(entry["rect"][i].as_f64()? as i16 + origin);
        let (x, y) = (self.window_area.x0, self.window_area.y0);
        Some(Control {
            role: entry["role"].as_str()?.to_owned(),
            label: entry["label"].as_str()?.to_owned(),
            value: entry["value"].as_str().map(str::to_owned),
            enabled: entry["enabled"].as_bool()?,
            area: Area { x0: side(0, x)?, y0: side(1, y)?, x1: side(2, x)?, y1: side(3, y)? },
        })
    }

    pub fn find(&self, matches: impl Fn(&Control) -> bool) -> Option<Control> {
        self.controls().into_iter().find(matches)
    }

    pub fn find_button(&self, label: &str) -> Option<Control> {
        self.find(|c| c.role == "Button" && c.label == label && c.enabled)
    }

    /// Whether any text on the screen contains `part`.
    pub fn shows(&self, part: &str) -> bool {
        self.find(|c| c.label.contains(part)).is_some()
    }

    pub fn press_button(&mut self, label: &str) -> Result<()> {
        let what = format!("a button `{label}` can be pressed");
        self.wait(&what, Duration::from_secs(20), |app| Ok(app.find_button(label).is_some()))?;
        let button = self.find_button(label).ok_or("the button went away")?;
        self.display.click(button.area.centre())
    }

    /// The text field in the row of the label `label`.
    fn field_beside(&self, label: &str) -> Option<Control> {
        let controls = self.controls();
        let row = controls.iter().find(|c| c.role == "Label" && c.label == label)?.area.centre();
        let beside = |c: &&Control| {
            c.role == "TextInput" && c.area.x0 > row.x && (c.area.y0..c.area.y1).contains(&row.y)
        };
        controls.iter().find(beside).cloned()
    }

    /// The field beside `label` once it has stopped moving: scrolling glides.
    fn field_at_rest(&self, label: &str) -> Result<Control> {
        let mut before = None;
        for _ in 0..40 {
            sleep(SETTLE);
            let field = self.field_beside(label).ok_or("the field went away")?;
            if before == Some(field.area) {
                return Ok(field);
            }
            before = Some(field.area);
        }
        Err(format!("the field `{label}` does not stop moving").into())
    }

    /// Puts `text` into the text field beside `label` in place of what it held, scrolling to it if need be.
    pub fn fill_field(&mut self, label: &str, text: &str) -> Result<()> {
        let what = format!("a field `{label}` is in the form");
        self.wait(&what, Duration::from_secs(5), |app| Ok(app.field_beside(label).is_some()))?;
        let (low, high) = (self.window_area.y0 + TOP_EDGE, self.window_area.y1 - BOTTOM_EDGE);
        let mut field = self.field_at_rest(label)?;
        for _ in 0..20 {
            if (low..high).contains(&field.area.centre().y) {
                break;
            }
            self.display.move_to(Point { x: field.area.centre().x, y: (low + high) / 2 })?;
            self.display.wheel_down()?;
            field = self.field_at_rest(label)?;
        }
        self.display.click(field.area.centre())?;
        self.display.select_all()?;
        for character in text.bytes() {
            self.display.key(u32::from(character))?;
        }
        let what = format!("the field `{label}` holds {text}");
        self.wait(&what, Duration::from_secs(5), |app| {
            Ok(app.field_beside(label).is_some_and(|c| c.value.as_deref() == Some(text)))
        })
    }

    /// Parks the pointer where nothing reacts to it.
    pub fn rest_pointer(&self) -> Result<()> {
        self.display.move_to(Point { x: self.window_area.x1 - 2, y: self.window_area.y1 - 2 })
    }

    /// Takes a picture of the screen and keeps it as `NAME.png`.
    pub fn shot(&self, name: &str) -> Result<(PathBuf, Screenshot)> {
        let shot = self.display.screenshot()?;
        let path = self.shots.join(format!("{name}.png"));
        shot.save(&path)?;
        Ok((path, shot))
    }

    /// [`App::shot`] once the picture stands still: the control map is ahead of the screen by a frame.
    pub fn shot_at_rest(&self, name: &str) -> Result<Screenshot> {
        let mut before = self.display.screenshot()?;
        for _ in 0..20 {
            sleep(SETTLE);
            let now = self.display.screenshot()?;
            if now.changed_pixels(&before, self.window_area) == 0 {
                break;
            }
            before = now;
        }
        Ok(self.shot(name)?.1)
    }

    /// Closes the window as a title bar does; the program's exit code.
    pub fn close(mut self) -> Result<Option<i32>> {
        self.display.close(self.window)?;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(15) {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            sleep(Duration::from_millis(50));
        }
        Err("the program is still there 15 s after its window was closed".into())
    }
}
