//! House rules that a compiler does not know: layers, file length, shaders, paths named in the documents.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Modules with their rank: a module imports only from lower ranks (or from itself).
const LAYERS: [(&str, usize); 15] = [
    ("gguf", 0),
    ("quant", 0),
    ("config", 0),
    ("data", 1),
    ("loss", 1),
    ("insight", 2),
    ("kernels", 2),
    ("model", 3),
    ("lora", 4),
    ("train", 5),
    ("run", 6),
    ("worker", 7),
    ("report", 7),
    ("cli", 8),
    ("ui", 8),
];

/// Crates that draw: in `ui` and `main` alone.
const WINDOW_CRATES: [&str; 5] = ["egui", "eframe", "egui_plot", "egui_extras", "rfd"];

/// Crates that own a device: never in these modules.
const DEVICE_CRATES: [&str; 5] = ["burn", "burn_backend", "burn_cubecl", "burn_flex", "cubecl"];
const HOST_MODULES: [&str; 8] =
    ["config", "data", "gguf", "loss", "insight", "quant", "report", "ui"];

/// Where files are opened. A prefix of the path below `src/`.
const FILE_MODULES: [&str; 13] = [
    "gguf/",
    "data/source",
    "data/tokenizer",
    "data/template",
    "model/checkpoint",
    "model/config",
    "lora/peft",
    "run/",
    "report/",
    "worker/",
    "cli/",
    "ui/",
    "main.rs",
];

const MAX_LINES: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Rust file below `src/`: its path there, its code without comments, strings and tests.
struct Source {
    path: String,
    code: String,
}

impl Source {
    fn module(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap_or_default()
    }

    /// How many modules lie above an item of this file: 1 for `data/mod.rs`, 2 for `data/pair.rs`.
    fn depth(&self) -> usize {
        let parts = self.path.split('/').count();
        if self.path.ends_with("/mod.rs") { parts - 1 } else { parts }
    }
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<Source> {
    let base = root().join("src");
    files_below(&base, "rs")
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            let path = file.strip_prefix(&base).unwrap().to_string_lossy().replace('\\', "/");
            let product = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            Source { path, code: code_only(product) }
        })
        .collect()
}

/// Blanks comments, string and character literals, so that words in them do not count.
fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let next = chars.get(i + 1).copied();
        match chars[i] {
            '/' if next == Some('/') => {
                while i < chars.len() && chars[i] != '\n' {
                    i += 1;
                }
            }
            '/' if next == Some('*') => {
                let end = (i + 2..chars.len())
                    .find(|&j| chars[j] == '*' && chars.get(j + 1) == Some(&'/'));
                i = end.map_or(chars.len(), |j| j + 2);
            }
            'r' if raw_string_hashes(&chars, i).is_some() => {
                let hashes = raw_string_hashes(&chars, i).unwrap_or_default();
                i = raw_string_end(&chars, i + hashes + 2, hashes);
            }
            '"' => i = string_end(&chars, i + 1),
            // A character literal; a lifetime has no quote two or three places on.
            '\'' if next == Some('\\') || chars.get(i + 2) == Some(&'\'') => {
                let from = if next == Some('\\') { i + 3 } else { i + 2 };
                i = (from..chars.len()).find(|&j| chars[j] == '\'').map_or(chars.len(), |j| j + 1);
            }
            c => {
                out.push(c);
                i += 1;
            }
        }
    }
    out
}

fn raw_string_hashes(chars: &[char], at: usize) -> Option<usize> {
    if at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_') && chars[at - 1] != 'b' {
        return None;
    }
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

fn raw_string_end(chars: &[char], from: usize, hashes: usize) -> usize {
    let closes = |j: usize| {
        chars[j] == '"' && chars[j + 1..].iter().take_while(|&&c| c == '#').count() >= hashes
    };
    (from..chars.len()).find(|&j| closes(j)).map_or(chars.len(), |j| j + 1 + hashes)
}

fn string_end(chars: &[char], mut i: usize) -> usize {
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    i
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Byte offsets just behind each occurrence of `needle` that starts a path (no word character or `:` before).
fn starts_of<'a>(code: &'a str, needle: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(needle).filter_map(move |(at, _)| {
        let before = code[..at].chars().next_back();
        (!before.is_some_and(|c| is_word(c) || c == ':')).then_some(at + needle.len())
    })
}

/// The first segment of every path that follows: `data` of `data::Pair`, both of `{data::Pair, loss}`.
fn heads(rest: &str) -> Vec<String> {
    let rest = rest.trim_start();
    let Some(group) = rest.strip_prefix('{') else {
        return vec![rest.chars().take_while(|&c| is_word(c)).collect()];
    };
    let (mut depth, mut current, mut found) = (0usize, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => found.push(std::mem::take(&mut current)),
            _ => {}
        }
        if depth == 0 && c != ',' && c != '}' {
            current.push(c);
        }
    }
    found.push(current);
    found.iter().map(|f| f.trim().chars().take_while(|&c| is_word(c)).collect()).collect()
}

/// Top-level modules of this crate that `source` names, as `crate::m`, `super::..::m` or `dpop_studio::m`.
fn imported_modules(source: &Source) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for prefix in
        ["crate::".to_owned(), "dpop_studio::".to_owned(), "super::".repeat(source.depth())]
    {
        for at in starts_of(&source.code, &prefix) {
            found.extend(heads(&source.code[at..]));
        }
    }
    found
}

fn uses_crate(code: &str, name: &str) -> bool {
    starts_of(code, name).any(|at| code[at..].starts_with("::") || code[at..].starts_with(';'))
        || starts_of(code, "use ").any(|at| heads(&code[at..]).iter().any(|head| head == name))
}

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

#[test]
fn a_module_imports_only_from_the_layers_before_it() {
    let mut wrong = Vec::new();
    for source in sources() {
        let own = source.module().to_owned();
        if own == "lib" || own == "main" {
            continue;
        }
        let Some(own_rank) = rank(&own) else {
            wrong.push(format!("src/{}: module `{own}` has no place in the layers", source.path));
            continue;
        };
        for module in imported_modules(&source) {
            match rank(&module) {
                Some(other) if module != own && other >= own_rank => {
                    wrong.push(format!("src/{}: `{own}` imports `{module}`", source.path));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_crate_and_each_file_stays_in_its_layer() {
    let mut wrong = Vec::new();
    for source in sources() {
        let module = source.module();
        for name in WINDOW_CRATES {
            if !["ui", "main"].contains(&module) && uses_crate(&source.code, name) {
                wrong.push(format!("src/{}: {name} outside ui and main", source.path));
            }
        }
        for name in DEVICE_CRATES {
            if HOST_MODULES.contains(&module) && uses_crate(&source.code, name) {
                wrong.push(format!("src/{}: {name} in a module of the host", source.path));
            }
        }
        let opens_files = uses_crate(&source.code, "fs")
            || starts_of(&source.code, "std::fs").next().is_some()
            || starts_of(&source.code, "File::").next().is_some();
        if opens_files && !FILE_MODULES.iter().any(|prefix| source.path.starts_with(prefix)) {
            wrong.push(format!("src/{}: opens files", source.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Tracked text files, by git; without git there is nothing to hold.
fn tracked_files() -> Option<Vec<String>> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().ok()?;
    let names = String::from_utf8(output.stdout).ok()?;
    let names: Vec<_> = names.split('\0').filter(|n| !n.is_empty()).map(str::to_owned).collect();
    (output.status.success() && !names.is_empty()).then_some(names)
}

fn is_program(name: &str) -> bool {
    ["rs", "wgsl", "py", "sh", "ps1"].iter().any(|e| name.ends_with(&format!(".{e}")))
        || name == "dev"
        || name == ".ci/run"
}

#[test]
fn no_program_file_is_longer_than_the_house_limit() {
    let Some(names) = tracked_files() else {
        eprintln!("SKIPPED: not a git checkout, no list of tracked files");
        return;
    };
    let mut wrong = Vec::new();
    for name in names.iter().filter(|n| is_program(n)) {
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        let lines = text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{name}: {lines} lines, at most {MAX_LINES}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_tracked_text_names_a_machine_or_a_registry_host() {
    let Some(names) = tracked_files() else {
        eprintln!("SKIPPED: not a git checkout, no list of tracked files");
        return;
    };
    // In two halves, so that this file does not name them either.
    let forbidden = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
        concat!("C:\\Us", "ers\\"),
        concat!("py", "pi.org"),
        concat!("pythonho", "sted.org"),
        concat!("static.cra", "tes.io"),
        concat!("index.cra", "tes.io"),
        concat!("deb.deb", "ian.org"),
        concat!("snapshot.deb", "ian.org"),
        concat!("registry.np", "mjs.org"),
    ];
    let mut wrong = Vec::new();
    for name in &names {
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        for (number, line) in text.lines().enumerate() {
            for word in forbidden.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{name}:{}: {word}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_shader_belongs_to_a_kernel_and_is_validated() {
    let kernels: String = files_below(&root().join("src/kernels"), "rs")
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let validators: Vec<String> = files_below(&root().join("tests"), "rs")
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .filter(|text| text.contains("naga::"))
        .collect();
    let walks_the_folder =
        validators.iter().any(|t| t.contains("read_dir") && t.contains("shaders"));
    let mut wrong = Vec::new();
    for shader in files_below(&root().join("shaders"), "wgsl") {
        let name = shader.file_name().unwrap().to_string_lossy().into_owned();
        // `src/kernels/shader.rs` gives each file a constant of the same name.
        let stem = name.trim_end_matches(".wgsl");
        let constant = format!("shader::{},", stem.to_uppercase());
        // What several shaders share stands before them and is launched with them.
        let shared = kernels.contains(&format!("after \"{stem}\""));
        let launched = kernels.contains(&format!("\"{stem}\"")) && kernels.contains(&constant);
        if !shared && !launched {
            wrong.push(format!("shaders/{name}: no kernel in src/kernels launches it"));
        }
        if !walks_the_folder && !validators.iter().any(|text| text.contains(&name)) {
            wrong.push(format!("shaders/{name}: no test validates it with naga"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `tests/x.rs`, `src/model/`, `tests/x.rs::name` between backticks: the file is there, and the function in it.
#[test]
fn the_documents_name_only_what_exists() {
    let folders = ["src/", "tests/", "shaders/", "benches/", "assets/", "docs/"];
    let mut wrong = Vec::new();
    let documents = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(|name| root().join(name));
    for document in documents.into_iter().chain(files_below(&root().join("docs"), "md")) {
        let Ok(text) = fs::read_to_string(&document) else { continue };
        // Odd pieces stand between backticks.
        for named in
            text.split('`').skip(1).step_by(2).filter(|n| folders.iter().any(|f| n.starts_with(f)))
        {
            if named.contains(['*', '<', '{', ' ', '\n']) {
                continue;
            }
            let (path, function) = named.split_once("::").unwrap_or((named, ""));
            let content = fs::read_to_string(root().join(path)).unwrap_or_default();
            let there = if function.is_empty() {
                root().join(path).exists()
            } else {
                content.contains(&format!("fn {function}("))
            };
            if !there {
                let document = document.strip_prefix(root()).unwrap().display();
                wrong.push(format!("{document}: `{named}` does not exist"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_readme_names_every_option() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let missing: Vec<_> = dpop_studio::config::FIELDS
        .iter()
        .map(|field| field.flag)
        .filter(|flag| !readme.contains(flag))
        .collect();
    assert!(missing.is_empty(), "README.md does not name {missing:?}");
}

#[test]
fn the_scanner_sees_imports_and_skips_text() {
    let source = |path: &str, code: &str| Source { path: path.into(), code: code_only(code) };
    let found = |path, code| imported_modules(&source(path, code)).into_iter().collect::<Vec<_>>();
    assert_eq!(
        found("data/pair.rs", "use crate::{loss::Objective, config::{Target, Budget}};"),
        ["config", "loss"]
    );
    assert_eq!(
        found("data/pair.rs", "fn f() -> super::super::train::X { super::other() }"),
        ["train"]
    );
    assert_eq!(
        found("data/mod.rs", "// crate::ui\nlet s = \"crate::ui\"; let r = r#\"crate::ui \" \"#;"),
        [""; 0]
    );
    assert_eq!(found("data/mod.rs", "let c = '\"'; use crate::run; let d = '\\'';"), ["run"]);
    assert!(uses_crate("use std::path::Path; use burn::Tensor;", "burn"));
    assert!(uses_crate("fn f(d: burn::Device) {}", "burn"));
    assert!(!uses_crate("fn f() { self.burn(); heartburn::x(); }", "burn"));
}
