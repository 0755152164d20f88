//! A file manager in miniature: a second X client from which files are dragged (XDND, version 5).

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    Atom, AtomEnum, ClientMessageEvent, ConnectionExt, EventMask, GrabMode, PropMode,
    SELECTION_NOTIFY_EVENT, SelectionNotifyEvent, SelectionRequestEvent, Window,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;
use x11rb::{CURRENT_TIME, NONE};

use super::display::{Display, Point, Result};

const VERSION: u32 = 5;
const TIMEOUT: Duration = Duration::from_secs(10);

struct Atoms {
    aware: Atom,
    enter: Atom,
    position: Atom,
    status: Atom,
    leave: Atom,
    drop: Atom,
    finished: Atom,
    selection: Atom,
    copy: Atom,
    uri_list: Atom,
    targets: Atom,
}

impl Atoms {
    fn new(connection: &RustConnection) -> Result<Atoms> {
        let atom = |name: &str| -> Result<Atom> {
            Ok(connection.intern_atom(false, name.as_bytes())?.reply()?.atom)
        };
        Ok(Atoms {
            aware: atom("XdndAware")?,
            enter: atom("XdndEnter")?,
            position: atom("XdndPosition")?,
            status: atom("XdndStatus")?,
            leave: atom("XdndLeave")?,
            drop: atom("XdndDrop")?,
            finished: atom("XdndFinished")?,
            selection: atom("XdndSelection")?,
            copy: atom("XdndActionCopy")?,
            uri_list: atom("text/uri-list")?,
            targets: atom("TARGETS")?,
        })
    }
}

/// A drag under way: the button is down, the files hang on the pointer.
pub struct Drag<'a> {
    display: &'a Display,
    connection: RustConnection,
    atoms: Atoms,
    source: Window,
    uris: Vec<u8>,
    at: Point,
    target: Option<Window>,
    accepted: bool,
    served: bool,
    finished: Option<bool>,
    time: u32,
}

impl<'a> Drag<'a> {
    /// Opens a source window at `from`, presses the button on it and takes the selection.
    pub fn start(display: &'a Display, files: &[&Path], from: Point) -> Result<Drag<'a>> {
        let (connection, _) = x11rb::connect(Some(&display.name))?;
        let atoms = Atoms::new(&connection)?;
        let source = Display::small_window(&connection, display.root, from, 120, 48)?;
        let at = Point { x: from.x + 60, y: from.y + 24 };
        display.move_to(at)?;
        display.press()?;
        let mut drag = Drag {
            display,
            connection,
            atoms,
            source,
            uris: uri_list(files),
            at,
            target: None,
            accepted: false,
            served: false,
            finished: None,
            time: CURRENT_TIME,
        };
        drag.pump_until(|d| d.time != CURRENT_TIME, "the button press reached the source window")?;
        let c = &drag.connection;
        c.set_selection_owner(source, drag.atoms.selection, drag.time)?.check()?;
        let events = EventMask::BUTTON_RELEASE | EventMask::POINTER_MOTION;
        let mode = GrabMode::ASYNC;
        c.grab_pointer(false, source, events, mode, mode, NONE, NONE, drag.time)?.reply()?;
        Ok(drag)
    }

    /// Carries the files to `to` in small steps, telling the window under the pointer at each.
    pub fn carry(&mut self, to: Point) -> Result<()> {
        const STEPS: i32 = 16;
        let from = self.at;
        for i in 1..=STEPS {
            let between =
                |a: i16, b: i16| (i32::from(a) + (i32::from(b) - i32::from(a)) * i / STEPS) as i16;
            self.at = Point { x: between(from.x, to.x), y: between(from.y, to.y) };
            self.display.move_to(self.at)?;
            self.hover()?;
            self.pump_for(Duration::from_millis(40))?;
        }
        // The target asks for the list and answers; a drop before that would be lost.
        self.pump_until(|d| d.accepted && d.served, "the window accepted the dragged files")?;
        self.hover()?;
        self.pump_for(Duration::from_millis(400))
    }

    /// Lets go, and waits for the window to say that it has the files.
    pub fn drop_files(mut self) -> Result<()> {
        self.display.release()?;
        self.connection.ungrab_pointer(CURRENT_TIME)?.check()?;
        let target = self.target.ok_or("the files were released over no window")?;
        self.send(target, self.atoms.drop, [self.source, 0, self.time, 0, 0])?;
        self.pump_until(|d| d.finished.is_some(), "the window finished the drop")?;
        match self.finished {
            Some(true) => Ok(()),
            _ => Err("the window refused the dropped files".into()),
        }
    }

    fn hover(&mut self) -> Result<()> {
        let under = self.window_under_pointer()?;
        if under != self.target {
            if let Some(old) = self.target {
                self.send(old, self.atoms.leave, [self.source, 0, 0, 0, 0])?;
            }
            self.target = under;
            self.accepted = false;
            if let Some(new) = under {
                self.send(
                    new,
                    self.atoms.enter,
                    [self.source, VERSION << 24, self.atoms.uri_list, 0, 0],
                )?;
            }
        }
        if let Some(target) = self.target {
            let place = (u32::from(self.at.x as u16) << 16) | u32::from(self.at.y as u16);
            self.send(
                target,
                self.atoms.position,
                [self.source, 0, place, self.time, self.atoms.copy],
            )?;
        }
        Ok(())
    }

    /// From the root down along the pointer: the first window that takes drops.
    fn window_under_pointer(&self) -> Result<Option<Window>> {
        let mut window = self.display.root;
        loop {
            window = self.connection.query_pointer(window)?.reply()?.child;
            if window == NONE || window == self.source {
                return Ok(None);
            }
            let aware = self.connection.get_property(
                false,
                window,
                self.atoms.aware,
                AtomEnum::ATOM,
                0,
                1,
            )?;
            if aware.reply().is_ok_and(|property| property.value_len > 0) {
                return Ok(Some(window));
            }
        }
    }

    fn send(&self, target: Window, kind: Atom, data: [u32; 5]) -> Result<()> {
        let message = ClientMessageEvent::new(32, target, kind, data);
        self.connection.send_event(false, target, EventMask::NO_EVENT, message)?.check()?;
        Ok(())
    }

    fn pump_until(&mut self, done: impl Fn(&Self) -> bool, what: &str) -> Result<()> {
        let began = Instant::now();
        while !done(self) {
            if began.elapsed() > TIMEOUT {
                return Err(format!("after {TIMEOUT:?} still waiting: {what}").into());
            }
            self.pump_for(Duration::from_millis(5))?;
        }
        Ok(())
    }

    fn pump_for(&mut self, time: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            while let Some(event) = self.connection.poll_for_event()? {
                self.handle(event)?;
            }
            if began.elapsed() >= time {
                return Ok(());
            }
            sleep(Duration::from_millis(2));
        }
    }

    fn handle(&mut self, event: Event) -> Result<()> {
        match event {
            Event::ButtonPress(e) => self.time = e.time,
            Event::MotionNotify(e) => self.time = e.time,
            Event::SelectionRequest(request) => self.serve(&request)?,
            Event::ClientMessage(message) if message.type_ == self.atoms.status => {
                self.accepted = message.data.as_data32()[1] & 1 == 1;
            }
            Event::ClientMessage(message) if message.type_ == self.atoms.finished => {
                self.finished = Some(message.data.as_data32()[1] & 1 == 1);
            }
            _ => {}
        }
        Ok(())
    }

    /// The target asks what is dragged.
    fn serve(&mut self, request: &SelectionRequestEvent) -> Result<()> {
        let c = &self.connection;
        let (window, property) = (request.requestor, request.property);
        let mut answered = property;
        if request.target == self.atoms.uri_list {
            c.change_property8(
                PropMode::REPLACE,
                window,
                property,
                self.atoms.uri_list,
                &self.uris,
            )?
            .check()?;
            self.served = true;
        } else if request.target == self.atoms.targets {
            let offered = [self.atoms.uri_list];
            c.change_property32(PropMode::REPLACE, window, property, AtomEnum::ATOM, &offered)?
                .check()?;
        } else {
            answered = NONE;
        }
        let reply = SelectionNotifyEvent {
            response_type: SELECTION_NOTIFY_EVENT,
            sequence: 0,
            time: request.time,
            requestor: window,
            selection: request.selection,
            target: request.target,
            property: answered,
        };
        c.send_event(false, window, EventMask::NO_EVENT, reply)?.check()?;
        Ok(())
    }
}

/// `file://` URIs, percent-encoded, one a line (RFC 2483).
fn uri_list(files: &[&Path]) -> Vec<u8> {
    let mut list = String::new();
    for file in files {
        list.push_str("file://");
        for byte in file.to_string_lossy().bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                    list.push(byte as char)
                }
                _ => list.push_str(&format!("%{byte:02X}")),
            }
        }
        list.push_str("\r\n");
    }
    list.into_bytes()
}
