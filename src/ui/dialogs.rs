//! File dialogs off the window's thread.

use std::future::Future;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::export::Export;
use super::jobs::{Mailbox, Message};
use super::state::Wanted;

/// A dialog answers "none" for Cancel and also where the desktop has no dialog at all (no portal, no
/// zenity). Nobody cancels this fast.
const NO_DIALOG: Duration = Duration::from_millis(400);

/// Opens the platform's dialog; the answer comes as [`Message::Picked`].
pub fn pick(wanted: Wanted, near: Option<PathBuf>, mailbox: Mailbox) {
    let mut dialog = rfd::AsyncFileDialog::new().set_title(wanted.title());
    if let Some(folder) = near {
        dialog = dialog.set_directory(folder);
    }
    // The dialog is made on this thread (macOS wants that) and awaited on another.
    let begun = Instant::now();
    let future: Pin<Box<dyn Future<Output = Option<rfd::FileHandle>> + Send>> = match wanted.files()
    {
        None => Box::pin(dialog.pick_folder()),
        Some((name, extensions)) => Box::pin(dialog.add_filter(name, extensions).pick_file()),
    };
    thread::spawn(move || {
        let path = block_on(future).map(|file| file.path().to_owned());
        let no_dialog = path.is_none() && cfg!(target_os = "linux") && begun.elapsed() < NO_DIALOG;
        mailbox.send(Message::Picked { wanted, path, no_dialog });
    });
}

/// Asks where to save; the answer comes as [`Message::SaveTo`].
pub fn save(export: Export, name: &str, near: Option<PathBuf>, mailbox: Mailbox) {
    let mut dialog = rfd::AsyncFileDialog::new().set_title(export.title()).set_file_name(name);
    if !export.extension().is_empty() {
        dialog = dialog.add_filter(export.extension().to_uppercase(), &[export.extension()]);
    }
    if let Some(folder) = near {
        dialog = dialog.set_directory(folder);
    }
    let begun = Instant::now();
    let future = dialog.save_file();
    thread::spawn(move || {
        let path = block_on(future).map(|file| file.path().to_owned());
        let no_dialog = path.is_none() && cfg!(target_os = "linux") && begun.elapsed() < NO_DIALOG;
        mailbox.send(Message::SaveTo { export, path, no_dialog });
    });
}

/// Polls one future to its end on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}
