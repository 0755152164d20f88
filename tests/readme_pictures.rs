//! The pictures of the README, taken from a real run: not a test, so it is only run by name.
//!
//! ```text
//! dpop-studio train --model assets/demo/tiny-math-llama --data assets/demo/pairs_train.jsonl \
//!     --eval-data assets/demo/pairs_eval.jsonl --steps 200 --learning-rate 2e-3 .. --run RUN
//! DPOP_STUDIO_RUN=RUN cargo test --test readme_pictures -- --ignored
//! ```

mod window;

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use dpop_studio::run::events;
use dpop_studio::train::event::Event;
use dpop_studio::ui::state::{Loaded, PairColumn, Place};
use eframe::egui::Theme;
use egui_kittest::kittest::Queryable;
use window::{Bench, open_with, say, start, wait};

const SIZE: [f32; 2] = [1360.0, 900.0];

fn picture(bench: &mut Bench, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images").join(name);
    bench.render().expect("something that can draw").save(path).expect("a PNG");
}

/// The main chart's place in a window of [`SIZE`]: left, top, width, height.
const CHART: [u32; 4] = [402, 10, 944, 560];

/// Lets the trainer say `events` and takes the main chart at every second probe, as an animated PNG.
fn film(bench: &mut Bench, events: Vec<Event>, name: &str) {
    let (mut frames, mut part, mut probes) = (Vec::new(), Vec::new(), 0);
    for event in events {
        let probe = matches!(event, Event::Probe { .. });
        part.push(event);
        if probe {
            say(bench, part.drain(..));
            if probes % 2 == 0 {
                frames.push(chart(bench));
            }
            probes += 1;
        }
    }
    say(bench, part);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images").join(name);
    let file = BufWriter::new(File::create(path).unwrap());
    let mut encoder = png::Encoder::new(file, CHART[2], CHART[3]);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    encoder.set_animated(frames.len() as u32, 0).unwrap();
    encoder.set_frame_delay(1, 2).unwrap();
    let mut writer = encoder.write_header().unwrap();
    for (i, frame) in frames.iter().enumerate() {
        if i + 1 == frames.len() {
            writer.set_frame_delay(4, 1).unwrap();
        }
        writer.write_image_data(frame).unwrap();
    }
    writer.finish().unwrap();
}

/// The main chart now, as RGB.
fn chart(bench: &mut Bench) -> Vec<u8> {
    let image = bench.render().expect("something that can draw");
    let [left, top, width, height] = CHART;
    let pixels = (top..top + height).flat_map(|y| (left..left + width).map(move |x| (x, y)));
    pixels.flat_map(|(x, y)| image.get_pixel(x, y).0[..3].to_vec()).collect()
}

#[test]
#[ignore = "writes docs/images from the run named by DPOP_STUDIO_RUN"]
fn pictures_of_a_real_run() {
    let run = PathBuf::from(std::env::var_os("DPOP_STUDIO_RUN").expect("DPOP_STUDIO_RUN"));
    let name = run.file_name().unwrap().to_string_lossy().into_owned();
    let mut bench = open_with(SIZE, Theme::Dark, Vec::new(), |folders| {
        let target = folders.runs.join(&name);
        std::fs::create_dir_all(target.join("probe")).unwrap();
        for part in ["", "probe"] {
            for file in std::fs::read_dir(run.join(part)).unwrap().flatten() {
                if file.path().is_file() {
                    std::fs::copy(file.path(), target.join(part).join(file.file_name())).unwrap();
                }
            }
        }
    });
    wait(&mut bench, "the demo", |state| {
        matches!(state.data, Loaded::Ready(_)) && matches!(state.model, Loaded::Ready(_))
    });
    bench.state_mut().state().notices.clear();
    start(&mut bench, []);
    film(&mut bench, events::read(&run).unwrap(), "collapse.png");
    picture(&mut bench, "run.png");
    bench.hover_at(eframe::egui::pos2(700.0, 260.0));
    bench.run_steps(4);
    picture(&mut bench, "reading.png");
    bench.get_by_label("Runs").click();
    wait(&mut bench, "the list", |state| state.runs.ready().is_some_and(|r| r.len() == 1));
    bench.get_by_label_contains(&format!("Run {name}")).click();
    wait(&mut bench, "the run", |state| matches!(state.opened, Loaded::Ready(_)));
    bench.get_by_label("Inspect pairs").click();
    wait(&mut bench, "its tokens", |state| matches!(state.probe, Loaded::Ready(_)));
    let state = bench.state_mut().state();
    state.inspect.sort = (PairColumn::Margin, true);
    state.inspect.arm = 1;
    bench.run_steps(3);
    picture(&mut bench, "inspect.png");
    assert_eq!(bench.state_mut().state().place, Place::Inspect);
}
