//! Can everything that the window says be drawn, in English and in Polish, and everything that can be pressed be named and
//! reached by keyboard?

mod recorded;
mod window;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use dpop_studio::ui::state::{Dialog, Loaded, Place, Wanted};
use dpop_studio::ui::theme;
use eframe::egui::{self, Key, Modifiers, Theme};
use egui_kittest::kittest::{NodeT, Queryable};
use window::{Bench, SMALL, USUAL, drop_paths, open, open_with, picture, start, wait};

/// What Polish needs beyond English, and the quotation marks and dashes of both.
const POLISH: &str = "ąćęłńóśźżĄĆĘŁŃÓŚŹŻ„”‚’–—…«»";

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Characters beyond ASCII that stand in the product's code, as they are or as `\u{..}`; comments and tests left out.
fn written() -> BTreeSet<char> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeSet::new();
    // The command line speaks to a terminal, which has its own fonts; `data` names marks of tokenizers.
    let elsewhere = ["cli", "data"].map(|folder| root.join(folder));
    let files = rust_files(&root);
    for file in files.iter().filter(|file| !elsewhere.iter().any(|own| file.starts_with(own))) {
        let text = fs::read_to_string(file).unwrap();
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in product.lines() {
            let code = line.split_once("//").map_or(line, |(code, _)| code);
            found.extend(code.chars().filter(|c| !c.is_ascii()));
            for escape in code.split("\\u{").skip(1) {
                let hex = escape.split('}').next().unwrap_or_default();
                let c = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32);
                found.extend(c.filter(|c| !c.is_ascii() && !c.is_control()));
            }
        }
    }
    found
}

/// A context with the bundled fonts alone.
fn fonts() -> egui::Context {
    let ctx = egui::Context::default();
    theme::install(&ctx);
    let _ = ctx.run_ui(egui::RawInput::default(), |_| {});
    ctx
}

#[test]
fn every_character_of_the_programs_own_texts_is_in_its_own_fonts() {
    let ctx = fonts();
    let written = written();
    assert!(written.contains(&'…') && written.contains(&'λ'), "the scanner sees texts");
    let missing: Vec<char> = written
        .into_iter()
        .chain(POLISH.chars())
        .filter(|c| {
            let fonts = [theme::regular(13.0), theme::medium(13.0), theme::semibold(13.0)];
            // A byte order mark is read, never drawn.
            *c != '\u{feff}' && !fonts.iter().all(|font| ctx.fonts_mut(|f| f.has_glyph(font, *c)))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The window panics on a character that it cannot draw.
#[test]
fn pairs_in_polish_chinese_japanese_and_korean_are_drawn() {
    let mut bench = open(USUAL, Theme::Light);
    let texts =
        ["Zażółć gęślą jaźń „dobrze”", "这是一个测试 数学", "これはテストです", "한국어 시험"];
    let drawable = |bench: &Bench, text: &str| {
        let font = theme::regular(13.0);
        bench.ctx.fonts_mut(|fonts| text.chars().all(|c| c == ' ' || fonts.has_glyph(&font, c)))
    };
    let mut rows = String::new();
    for text in texts {
        if drawable(&bench, text) {
            let row = serde_json::json!({
                "prompt": text, "chosen": format!("{text} 1"), "rejected": format!("{text} 2"),
            });
            rows.push_str(&format!("{row}\n"));
        } else {
            eprintln!(
                "SKIPPED: no font of this system draws {text} (apt-get install fonts-noto-cjk)"
            );
        }
    }
    let file = bench.state().runs().parent().unwrap().join("pairs.jsonl");
    fs::write(&file, &rows).unwrap();
    let pairs = rows.lines().count();
    assert!(pairs >= 1, "Polish at least");
    drop_paths(&mut bench, &[&file]);
    wait(&mut bench, "the pairs", |state| state.data.ready().is_some_and(|d| d.usable == pairs));
    bench.state_mut().state().place = Place::Data;
    bench.run_steps(3);
    bench.get_by_label_contains("Zażółć gęślą jaźń „dobrze” 1");
    picture(&mut bench, "data-scripts-light");
}

fn named(bench: &Bench, what: &str) {
    assert_eq!(bench.unnamed_widgets(), Vec::<String>::new(), "{what}");
}

#[test]
fn every_control_has_a_name_in_dialogs_menus_and_beside_other_runs() {
    let run = "2026-11-23T10-15-00-pairs";
    let mut bench = open_with(SMALL, Theme::Dark, Vec::new(), |folders| {
        for name in [run, "2026-11-23T11-15-00-pairs"] {
            recorded::write(&folders.runs.join(name));
            recorded::write_probe(&folders.runs.join(name));
        }
    });
    wait(&mut bench, "the demo", |state| {
        matches!(state.data, Loaded::Ready(_)) && matches!(state.model, Loaded::Ready(_))
    });
    let dialogs = [
        Dialog::CloseDuringRun,
        Dialog::DeleteRun("/runs/a".into()),
        Dialog::Messages,
        Dialog::NameSettings { text: String::new() },
        Dialog::TypePath { wanted: Wanted::Data, text: String::new(), error: Some("no".into()) },
        Dialog::Message { title: "a".into(), text: "b".into() },
    ];
    for dialog in dialogs {
        let what = format!("{dialog:?}");
        bench.state_mut().state().dialog = Some(dialog);
        bench.run_steps(3);
        named(&bench, &what);
    }
    bench.state_mut().state().dialog = None;
    bench.state_mut().state().palette = Some(String::new());
    bench.run_steps(3);
    named(&bench, "the palette");
    bench.state_mut().state().palette = None;
    bench.state_mut().state().tour = Some(1);
    bench.run_steps(3);
    named(&bench, "the tour");
    bench.state_mut().state().tour = None;
    bench.state_mut().state().place = Place::Data;
    bench.state_mut().state().foresight.shown = true;
    bench.run_steps(3);
    named(&bench, "the forecast");
    start(&mut bench, recorded::events());
    bench.get_by_label("Save…").click();
    bench.run_steps(3);
    named(&bench, "the menu of what can be saved");
    bench.key_press(Key::Escape);
    bench.get_by_label("Runs").click();
    wait(&mut bench, "the list", |state| state.runs.ready().is_some_and(|runs| runs.len() == 2));
    for switch in bench.get_all_by_label_contains("Compare pairs").collect::<Vec<_>>() {
        switch.click();
    }
    bench.run_steps(3);
    wait(&mut bench, "both runs", |state| state.compare.opened().len() == 2);
    named(&bench, "runs side by side");
}

/// The label of what has the keyboard's focus.
fn focused(bench: &Bench) -> Option<String> {
    let root = bench.root();
    let node = root.children_recursive().find(|node| node.accesskit_node().is_focused())?;
    let node = node.accesskit_node();
    node.label().or_else(|| node.value())
}

#[test]
fn tab_reaches_what_a_mouse_reaches_and_enter_presses_it() {
    let mut bench = open(USUAL, Theme::Dark);
    let mut reached = BTreeSet::new();
    for _ in 0..90 {
        bench.key_press(Key::Tab);
        bench.run_steps(2);
        reached.extend(focused(&bench));
    }
    for label in [
        "Train",
        "Data",
        "Inspect",
        "Runs",
        "Menu",
        "Light",
        "Open model…",
        "See the pairs",
        "Start",
    ] {
        assert!(reached.contains(label), "Tab does not reach {label}: {reached:?}");
    }
    for _ in 0..90 {
        if focused(&bench).as_deref() == Some("Start") {
            break;
        }
        bench.key_press(Key::Tab);
        bench.run_steps(2);
    }
    assert_eq!(focused(&bench).as_deref(), Some("Start"));
    bench.key_press(Key::Enter);
    bench.run_steps(3);
    assert_eq!(bench.state().script.borrow().jobs.len(), 1, "Enter presses it");
    bench.key_press_modifiers(Modifiers::COMMAND, Key::K);
    bench.run_steps(3);
    assert!(bench.state_mut().state().palette.is_some(), "and the palette has all the rest");
}
