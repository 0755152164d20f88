//! Does every view still look as it did? Small pictures of a recorded run, in light and dark, compared with those in
//! `tests/snapshots/`; `UPDATE_SNAPSHOTS=1 cargo test --test window_snapshots` takes them anew.
//!
//! Each picture is shrunk to a quarter and compared with a wide tolerance: rasterisers round differently, and what is
//! asked is whether a view lost a card or a line, not whether a pixel moved.

mod recorded;
mod window;

use std::path::{Path, PathBuf};

use dpop_studio::ui::state::{Loaded, Place};
use eframe::egui::Theme;
use egui_kittest::kittest::Queryable;
use window::{Bench, SMALL, open_with, start, wait};

/// Side of the squares that are averaged into one pixel.
const SHRINK: u32 = 4;
/// Difference of a channel that counts, of 255.
const NOTED: i16 = 40;
/// Share of pixels that may differ.
const ALLOWED: f64 = 0.01;

/// A picture in small: RGB, its width and height.
struct Small {
    pixels: Vec<u8>,
    width: u32,
    height: u32,
}

fn small(bench: &mut Bench) -> Option<Small> {
    let image = bench.render().ok()?;
    let (width, height) = (image.width() / SHRINK, image.height() / SHRINK);
    let mut pixels = Vec::with_capacity((width * height * 3) as usize);
    for y in 0..height {
        for x in 0..width {
            for channel in 0..3 {
                let mut sum = 0;
                for dy in 0..SHRINK {
                    for dx in 0..SHRINK {
                        sum +=
                            u32::from(image.get_pixel(x * SHRINK + dx, y * SHRINK + dy)[channel]);
                    }
                }
                pixels.push((sum / (SHRINK * SHRINK)) as u8);
            }
        }
    }
    Some(Small { pixels, width, height })
}

fn snapshot_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(format!("{name}.png"))
}

fn write(path: &Path, small: &Small) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, small.width, small.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    encoder.write_header().unwrap().write_image_data(&small.pixels).unwrap();
}

fn read(path: &Path) -> Option<Small> {
    let file = std::io::BufReader::new(std::fs::File::open(path).ok()?);
    let mut reader = png::Decoder::new(file).read_info().ok()?;
    let mut pixels = vec![0; reader.output_buffer_size()?];
    let info = reader.next_frame(&mut pixels).ok()?;
    Some(Small { pixels, width: info.width, height: info.height })
}

/// Compares what is on the screen with the snapshot of this name.
fn compare(bench: &mut Bench, name: &str) {
    let Some(now) = small(bench) else {
        eprintln!("SKIPPED: {name} was not compared: nothing here can draw");
        return;
    };
    let path = snapshot_file(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        write(&path, &now);
        return;
    }
    let before = read(&path).unwrap_or_else(|| panic!("{} cannot be read", path.display()));
    assert_eq!((now.width, now.height), (before.width, before.height), "{name}");
    let pairs = now.pixels.chunks_exact(3).zip(before.pixels.chunks_exact(3));
    let differs = |(a, b): &(&[u8], &[u8])| {
        a.iter().zip(*b).any(|(a, b)| (i16::from(*a) - i16::from(*b)).abs() > NOTED)
    };
    let share = pairs.filter(differs).count() as f64 / f64::from(now.width * now.height);
    if share > ALLOWED {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        write(&folder.join(format!("{name}.now.png")), &now);
        panic!(
            "{name}: {:.1} % of the picture changed; compare {} with {}/{name}.now.png",
            share * 100.0,
            path.display(),
            folder.display()
        );
    }
}

#[test]
fn every_view_looks_as_it_did() {
    for (theme, name) in [(Theme::Dark, "dark"), (Theme::Light, "light")] {
        let run = "2026-11-23T10-15-00-pairs_train";
        let mut bench = open_with(SMALL, theme, Vec::new(), |folders| {
            recorded::write(&folders.runs.join(run));
            recorded::write_probe(&folders.runs.join(run));
        });
        wait(&mut bench, "the demo", |state| {
            matches!(state.data, Loaded::Ready(_)) && matches!(state.model, Loaded::Ready(_))
        });
        // Moments that a clock would write stay out: no notice is up, no date is shown.
        bench.state_mut().state().notices.clear();
        bench.run_steps(2);
        compare(&mut bench, &format!("ready-{name}"));
        start(&mut bench, recorded::events());
        compare(&mut bench, &format!("train-{name}"));
        bench.state_mut().state().place = Place::Data;
        bench.run_steps(3);
        compare(&mut bench, &format!("data-{name}"));
        bench.get_by_label("Runs").click();
        wait(&mut bench, "the list", |state| state.runs.ready().is_some_and(|r| r.len() == 1));
        bench.get_by_label_contains(&format!("Run {run}")).click();
        wait(&mut bench, "the run", |state| matches!(state.opened, Loaded::Ready(_)));
        compare(&mut bench, &format!("runs-{name}"));
        bench.get_by_label("Inspect pairs").click();
        wait(&mut bench, "its tokens", |state| matches!(state.probe, Loaded::Ready(_)));
        compare(&mut bench, &format!("inspect-{name}"));
        bench.get_by_label("Answers").click();
        bench.run_steps(3);
        compare(&mut bench, &format!("answers-{name}"));
    }
}
