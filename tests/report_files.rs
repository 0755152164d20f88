//! Is what is taken away of a run whole: SVG that parses, CSV that reads back, PNG that shows the curves, a page that
//! needs nothing else?

mod recorded;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use dpop_studio::report::charts::{self, Scale};
use dpop_studio::report::csv::csv;
use dpop_studio::report::page;
use dpop_studio::report::palette::{DARK, LIGHT};
use dpop_studio::report::picture::{Style, picture};
use dpop_studio::report::ruler::Axis;
use dpop_studio::report::run_view::RunView;
use dpop_studio::report::scene::Scene;
use dpop_studio::report::series::Source;
use dpop_studio::report::svg::svg;

fn main_chart(run: &RunView) -> Scene {
    let style =
        Style { palette: &LIGHT, axis: Axis::Step, width: 960.0, height: 240.0, name_marks: true };
    picture(&[run], &charts::answers(run, Scale::PerToken, false), "A <run> & more", &style)
}

/// Python's XML parser on a file; `None` where there is no Python.
fn parsed_by_python(path: &Path) -> Option<bool> {
    let code = "import sys, xml.dom.minidom as m; m.parse(sys.argv[1])";
    let status = Command::new("python3").args(["-c", code]).arg(path).status().ok()?;
    Some(status.success())
}

#[test]
fn an_svg_is_xml_with_a_line_for_every_arm() {
    let run = RunView::from_events(recorded::events());
    let text = svg(&main_chart(&run), "title");
    for colour in [LIGHT.chosen, LIGHT.rejected] {
        let lines = text.lines().filter(|line| {
            line.starts_with("<polyline") && line.contains(&format!("stroke=\"#{colour:06x}\""))
        });
        // Each arm's curve and its sample in the legend.
        assert_eq!(lines.count(), 4);
    }
    assert!(text.contains("DPO collapses here") && text.contains("A &lt;run&gt; &amp; more"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chart.svg");
    fs::write(&path, &text).unwrap();
    match parsed_by_python(&path) {
        Some(parsed) => assert!(parsed, "{text}"),
        None => eprintln!("SKIPPED: no python3, the SVG was not parsed by somebody else's parser"),
    }
}

#[test]
fn an_svg_of_a_long_run_stays_small() {
    let mut run = RunView::from_events(recorded::events());
    for step in 201..50_000 {
        run.store.push(Source::Step, "dpop", "loss", step, f64::from(step as u32 % 97));
        run.step = step;
    }
    let chart = charts::small(&run).into_iter().find(|chart| chart.id == "loss").unwrap();
    let style =
        Style { palette: &LIGHT, axis: Axis::Step, width: 960.0, height: 240.0, name_marks: false };
    let text = svg(&picture(&[&run], &[chart], "", &style), "loss");
    assert!(text.len() < 100_000, "{} bytes", text.len());
}

#[test]
fn the_table_reads_back_to_the_bit() {
    let run = RunView::from_events(recorded::events());
    let text = csv(&run);
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let rows: Vec<Vec<&str>> = lines.collect();
    assert_eq!(rows.len(), 201, "steps 0 to 200");
    assert!(rows.iter().all(|row| row.len() == header.len()));
    for (key, series) in run.store.all() {
        let name = format!("{}/{}/{}", key.source.word(), key.arm, key.metric);
        let column = header.iter().position(|h| *h == name).expect(&name);
        let read: Vec<(u32, f64)> = rows
            .iter()
            .filter(|row| !row[column].is_empty())
            .map(|row| (row[0].parse().unwrap(), row[column].parse().unwrap()))
            .collect();
        let own: Vec<(u32, f64)> =
            series.steps().iter().copied().zip(series.values().iter().copied()).collect();
        assert_eq!(read, own, "{name}");
    }
    let seconds: Vec<f64> = rows.iter().map(|row| row[2].parse().unwrap()).collect();
    assert!(seconds.windows(2).all(|w| w[0] < w[1]));
}

#[cfg(feature = "window")]
#[test]
fn a_png_shows_the_curves_in_their_colours() {
    use dpop_studio::ui::raster;
    let run = RunView::from_events(recorded::events());
    for palette in [&LIGHT, &DARK] {
        let style =
            Style { palette, axis: Axis::Time, width: 960.0, height: 240.0, name_marks: true };
        let scene = picture(&[&run], &charts::all(&run, Scale::PerToken, false), "All", &style);
        let bytes = raster::png(&scene).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (1920, (scene.height * 2.0).ceil() as u32));
        let count = |rgb: u32| {
            let [_, r, g, b] = rgb.to_be_bytes();
            pixels.chunks_exact(4).filter(|p| **p == [r, g, b, 255]).count()
        };
        for (name, colour) in [
            ("chosen", palette.chosen),
            ("rejected", palette.rejected),
            ("kept", palette.kept),
            ("text", palette.text),
        ] {
            assert!(count(colour) > 300, "{name}: {} pixels", count(colour));
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ui-snapshots");
        fs::create_dir_all(&folder).unwrap();
        let name = if *palette == LIGHT { "export-light.png" } else { "export-dark.png" };
        fs::write(folder.join(name), &bytes).unwrap();
    }
}

#[cfg(feature = "window")]
#[test]
fn the_window_writes_every_kind_of_file() {
    use dpop_studio::report::{Skip, read};
    use dpop_studio::ui::command::TABLE;
    use dpop_studio::ui::export::{Export, Format, What, name, pack};
    use dpop_studio::ui::views::charts::Look;
    let folder = recorded::run_folder();
    let mut run = read(folder.path(), Skip::Nothing).unwrap();
    run.folder = Some(folder.path().to_owned());
    let small = Export::Picture { what: What::Small("loss"), format: Format::Svg };
    let exports = TABLE.iter().filter_map(|entry| entry.command.export()).chain([small]);
    let look = Look { scale: Scale::Sum, axis: Axis::Epoch, smooth: true, hover: None };
    let mut written = BTreeSet::new();
    for export in exports {
        let path = folder.path().join(export.file_name(&name(&run)));
        pack(&export, &run, look, &DARK).unwrap().write(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        let begins: &[u8] = match export.extension() {
            "png" => b"\x89PNG",
            "svg" => b"<svg",
            "csv" => b"step,epoch,seconds",
            _ => b"<!DOCTYPE html>",
        };
        assert!(bytes.starts_with(begins), "{}", path.display());
        assert!(written.insert(path), "two exports have one name");
    }
    assert_eq!(written.len(), 7);
}

#[test]
fn the_page_needs_nothing_else_and_says_everything() {
    let folder = recorded::run_folder();
    let html = page::report(folder.path()).unwrap();
    for (needle, what) in [
        ("DPO collapses at step 50", "the collapse sentence"),
        ("<svg", "charts"),
        ("Learning rate", "settings"),
        ("/data/pairs_train.jsonl", "the data file"),
        ("Accuracy", "final figures"),
        ("Preferred: Each friend gets 72 / 8 = 9 plums.", "the preferred answer"),
        ("So Zoe has <mark>99</mark> + 18 = <mark>117</mark> plums.", "DPO's slip, marked"),
    ] {
        assert!(html.contains(needle), "{what} is missing");
    }
    assert_eq!(html.matches("<svg").count(), 9);
    // Two prompts, each with the base model and three steps; DPOP says what the base model says.
    assert_eq!(html.matches("<tr><th>Base model</th>").count(), 2);
    assert_eq!(html.matches("<tr><th>100</th><td>").count(), 2);
    let links: BTreeSet<&str> = ["src=", "href=", "url(", "@import", "<script", "<link"]
        .into_iter()
        .filter(|word| html.contains(word))
        .collect();
    assert!(links.is_empty(), "{links:?}");
    let address = html.replace("http://www.w3.org/2000/svg", "");
    assert!(!address.contains("http"), "no address but the SVG name space");
}

#[test]
fn the_command_line_writes_the_page_and_names_what_is_wrong() {
    let folder = recorded::run_folder();
    let output = folder.path().join("report.html");
    let program = || Command::new(env!("CARGO_BIN_EXE_dpop-studio"));
    let report = |run: &Path| {
        let mut command = program();
        command.args(["report", "--run"]).arg(run).arg("--output").arg(&output);
        command.output().unwrap()
    };
    let done = report(folder.path());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(fs::read_to_string(&output).unwrap().starts_with("<!DOCTYPE html>"));
    let empty = tempfile::tempdir().unwrap();
    let refused = report(empty.path());
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("run.json"), "{message}");
}

/// A real browser, if there is one: it lays the page out, finds no error in it and asks the network for nothing.
#[test]
fn a_browser_opens_the_page() {
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let there = |name: &&&str| Command::new(name).arg("--version").output().is_ok();
    let Some(browser) = browsers.iter().find(there) else {
        eprintln!("SKIPPED: no browser, the page was not opened (apt-get install chromium)");
        return;
    };
    let folder = recorded::run_folder();
    let page_file = folder.path().join("report.html");
    fs::write(&page_file, page::report(folder.path()).unwrap()).unwrap();
    let shot = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report.png");
    let run = |arguments: &[String]| {
        let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
        let usual = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", &profile];
        Command::new(browser)
            .args(usual)
            .args(arguments)
            .arg(format!("file://{}", page_file.display()))
            .output()
            .unwrap()
    };
    let dom = run(&["--dump-dom".into()]);
    let dom = String::from_utf8_lossy(&dom.stdout).into_owned();
    assert_eq!(
        dom.matches("<polyline").count(),
        fs::read_to_string(&page_file).unwrap().matches("<polyline").count()
    );
    run(&[format!("--screenshot={}", shot.display()), "--window-size=1100,2200".into()]);
    let bytes = fs::metadata(&shot).map_or(0, |m| m.len());
    assert!(bytes > 50_000, "the picture of the page has {bytes} bytes: {}", shot.display());
}
