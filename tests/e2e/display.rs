//! A private X server, and what a person has at one: eyes (screenshots), a mouse, a keyboard.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IoSlice};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use x11rb::connection::{Connection, RequestConnection};
use x11rb::protocol::xproto::{self, ConnectionExt, ImageFormat, InputFocus, Window};
use x11rb::rust_connection::RustConnection;
use x11rb::{COPY_DEPTH_FROM_PARENT, CURRENT_TIME, NONE};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A point on the screen, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub x: i16,
    pub y: i16,
}

/// A rectangle on the screen, in pixels: `x1` and `y1` lie outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    pub x0: i16,
    pub y0: i16,
    pub x1: i16,
    pub y1: i16,
}

impl Area {
    pub fn centre(self) -> Point {
        Point { x: (self.x0 + self.x1) / 2, y: (self.y0 + self.y1) / 2 }
    }
}

/// The X server's process: ends with the value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub struct Display {
    pub name: String,
    pub connection: RustConnection,
    pub root: Window,
    width: u16,
    height: u16,
    /// Major opcode of the XTEST extension.
    xtest: u8,
    // Last: the connection closes before the server goes.
    _server: Server,
}

impl Display {
    /// Starts Xvfb on a free display number. `None` where Xvfb is not installed.
    pub fn start(width: u16, height: u16) -> Result<Option<Display>> {
        let screen = format!("{width}x{height}x24");
        let spawned = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", &screen, "-nolisten", "tcp", "-noreset"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stdout = child.stdout.take().ok_or("Xvfb has no stdout")?;
        let server = Server(child);
        // The number is printed once the server accepts clients.
        let mut number = String::new();
        BufReader::new(stdout).read_line(&mut number)?;
        let name = format!(":{}", number.trim());
        let (connection, _) = x11rb::connect(Some(&name))?;
        let root = connection.setup().roots[0].root;
        let xtest = connection.query_extension(b"XTEST")?.reply()?;
        if !xtest.present {
            return Err("this X server has no XTEST extension".into());
        }
        let xtest = xtest.major_opcode;
        Ok(Some(Display { name, connection, root, width, height, xtest, _server: server }))
    }

    /// One event of mouse or keyboard, as if from the hardware (XTEST FakeInput).
    ///
    /// Written out by hand: x11rb's `xtest` feature would make `cargo test` build the whole window stack
    /// a second time, with other features than `cargo run`.
    fn fake_input(&self, kind: u8, detail: u8, at: Point) -> Result<()> {
        const FAKE_INPUT: u8 = 2;
        let mut request = [0u8; 36];
        request[0] = self.xtest;
        request[1] = FAKE_INPUT;
        request[2..4].copy_from_slice(&9u16.to_ne_bytes());
        request[4] = kind;
        request[5] = detail;
        request[8..12].copy_from_slice(&CURRENT_TIME.to_ne_bytes());
        request[12..16].copy_from_slice(&self.root.to_ne_bytes());
        request[24..26].copy_from_slice(&at.x.to_ne_bytes());
        request[26..28].copy_from_slice(&at.y.to_ne_bytes());
        self.connection
            .send_request_without_reply(&[IoSlice::new(&request)], Vec::new())?
            .check()?;
        Ok(())
    }

    pub fn move_to(&self, at: Point) -> Result<()> {
        self.fake_input(xproto::MOTION_NOTIFY_EVENT, 0, at)
    }

    pub fn press(&self) -> Result<()> {
        self.fake_input(xproto::BUTTON_PRESS_EVENT, 1, Point { x: 0, y: 0 })
    }

    pub fn release(&self) -> Result<()> {
        self.fake_input(xproto::BUTTON_RELEASE_EVENT, 1, Point { x: 0, y: 0 })
    }

    /// Moves there and clicks with the left button, at a person's pace.
    pub fn click(&self, at: Point) -> Result<()> {
        self.move_to(at)?;
        sleep(Duration::from_millis(150));
        self.press()?;
        sleep(Duration::from_millis(80));
        self.release()?;
        sleep(Duration::from_millis(150));
        Ok(())
    }

    /// One notch of the wheel towards the person.
    pub fn wheel_down(&self) -> Result<()> {
        const WHEEL_DOWN: u8 = 5;
        self.fake_input(xproto::BUTTON_PRESS_EVENT, WHEEL_DOWN, Point { x: 0, y: 0 })?;
        self.fake_input(xproto::BUTTON_RELEASE_EVENT, WHEEL_DOWN, Point { x: 0, y: 0 })
    }

    /// Presses and releases the key that carries `keysym` without modifiers.
    pub fn key(&self, keysym: u32) -> Result<()> {
        self.key_down(keysym)?;
        sleep(Duration::from_millis(30));
        self.key_up(keysym)?;
        sleep(Duration::from_millis(60));
        Ok(())
    }

    /// Ctrl+A.
    pub fn select_all(&self) -> Result<()> {
        const CONTROL: u32 = 0xffe3;
        self.key_down(CONTROL)?;
        sleep(Duration::from_millis(60));
        self.key(u32::from(b'a'))?;
        self.key_up(CONTROL)
    }

    fn key_down(&self, keysym: u32) -> Result<()> {
        self.fake_input(xproto::KEY_PRESS_EVENT, self.key_code(keysym)?, Point { x: 0, y: 0 })
    }

    fn key_up(&self, keysym: u32) -> Result<()> {
        self.fake_input(xproto::KEY_RELEASE_EVENT, self.key_code(keysym)?, Point { x: 0, y: 0 })
    }

    fn key_code(&self, keysym: u32) -> Result<u8> {
        let setup = self.connection.setup();
        let (low, high) = (setup.min_keycode, setup.max_keycode);
        let map = self.connection.get_keyboard_mapping(low, high - low + 1)?.reply()?;
        let width = usize::from(map.keysyms_per_keycode);
        let index = map.keysyms.chunks(width).position(|row| row.first() == Some(&keysym));
        Ok(low + u8::try_from(index.ok_or_else(|| format!("no key for keysym {keysym:#x}"))?)?)
    }

    /// The largest mapped child of the root, and where it lies: the application's window.
    pub fn main_window(&self) -> Result<Option<(Window, Area)>> {
        let mut largest: Option<(Window, Area)> = None;
        for window in self.connection.query_tree(self.root)?.reply()?.children {
            let Ok(place) = self.connection.get_geometry(window)?.reply() else { continue };
            let Ok(attributes) = self.connection.get_window_attributes(window)?.reply() else {
                continue;
            };
            if attributes.map_state != xproto::MapState::VIEWABLE {
                continue;
            }
            let (x0, y0) = (place.x, place.y);
            let area = Area { x0, y0, x1: x0 + place.width as i16, y1: y0 + place.height as i16 };
            let size = |a: Area| i32::from(a.x1 - a.x0) * i32::from(a.y1 - a.y0);
            if largest.is_none_or(|(_, other)| size(area) > size(other)) {
                largest = Some((window, area));
            }
        }
        Ok(largest)
    }

    /// Gives `window` the keyboard: no window manager runs here to do it.
    pub fn focus(&self, window: Window) -> Result<()> {
        self.connection.set_input_focus(InputFocus::POINTER_ROOT, window, CURRENT_TIME)?.check()?;
        Ok(())
    }

    /// Asks the window to close, as the button of a title bar does.
    pub fn close(&self, window: Window) -> Result<()> {
        let atom = |name: &[u8]| -> Result<u32> {
            Ok(self.connection.intern_atom(false, name)?.reply()?.atom)
        };
        let data = [atom(b"WM_DELETE_WINDOW")?, CURRENT_TIME, 0, 0, 0];
        let event = xproto::ClientMessageEvent::new(32, window, atom(b"WM_PROTOCOLS")?, data);
        self.connection.send_event(false, window, xproto::EventMask::NO_EVENT, event)?.check()?;
        Ok(())
    }

    /// A small window at `at` that no window manager may move.
    pub fn small_window(
        connection: &RustConnection,
        root: Window,
        at: Point,
        width: u16,
        height: u16,
    ) -> Result<Window> {
        let window = connection.generate_id()?;
        let events = xproto::EventMask::BUTTON_PRESS
            | xproto::EventMask::BUTTON_RELEASE
            | xproto::EventMask::POINTER_MOTION;
        let values = xproto::CreateWindowAux::new()
            .background_pixel(0x0033_66cc)
            .override_redirect(1)
            .event_mask(events);
        let class = xproto::WindowClass::INPUT_OUTPUT;
        connection
            .create_window(
                COPY_DEPTH_FROM_PARENT,
                window,
                root,
                at.x,
                at.y,
                width,
                height,
                0,
                class,
                NONE,
                &values,
            )?
            .check()?;
        connection.map_window(window)?.check()?;
        Ok(window)
    }

    /// What stands on the screen.
    pub fn screenshot(&self) -> Result<Screenshot> {
        let all = !0;
        let (width, height) = (self.width, self.height);
        let image = self
            .connection
            .get_image(ImageFormat::Z_PIXMAP, self.root, 0, 0, width, height, all)?
            .reply()?;
        // 24 bits deep: blue, green, red, unused.
        let rgb = image.data.chunks_exact(4).flat_map(|p| [p[2], p[1], p[0]]).collect();
        Ok(Screenshot { width: usize::from(width), height: usize::from(height), rgb })
    }
}

pub struct Screenshot {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Screenshot {
    pub fn save(&self, path: &Path) -> Result<()> {
        let file = BufWriter::new(File::create(path)?);
        let mut encoder =
            png::Encoder::new(file, u32::try_from(self.width)?, u32::try_from(self.height)?);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_compression(png::Compression::Fast);
        encoder.write_header()?.write_image_data(&self.rgb)?;
        Ok(())
    }

    /// Pixels inside `area` that differ visibly from `other`'s.
    pub fn changed_pixels(&self, other: &Screenshot, area: Area) -> usize {
        const VISIBLE: u8 = 12;
        let mut changed = 0;
        for y in area.y0.max(0) as usize..(area.y1.max(0) as usize).min(self.height) {
            for x in area.x0.max(0) as usize..(area.x1.max(0) as usize).min(self.width) {
                let at = (y * self.width + x) * 3;
                let differs = |c: usize| self.rgb[at + c].abs_diff(other.rgb[at + c]) > VISIBLE;
                changed += usize::from((0..3).any(differs));
            }
        }
        changed
    }

    /// Different colours inside `area`, at most `enough`: a blank area has one.
    pub fn colours(&self, area: Area, enough: usize) -> usize {
        let mut seen = std::collections::BTreeSet::new();
        for y in area.y0.max(0) as usize..(area.y1.max(0) as usize).min(self.height) {
            for x in area.x0.max(0) as usize..(area.x1.max(0) as usize).min(self.width) {
                let at = (y * self.width + x) * 3;
                seen.insert(&self.rgb[at..at + 3]);
                if seen.len() >= enough {
                    return enough;
                }
            }
        }
        seen.len()
    }
}
