//! What a dropped or opened path is, told by looking at it.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::gguf;

/// A path that means something to the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dropped {
    Data(PathBuf),
    Model(PathBuf),
    Run(PathBuf),
    Adapter(PathBuf),
}

impl Dropped {
    pub fn path(&self) -> &Path {
        match self {
            Dropped::Data(p) | Dropped::Model(p) | Dropped::Run(p) | Dropped::Adapter(p) => p,
        }
    }

    /// What will happen on release, for the overlay.
    pub fn promise(&self) -> &'static str {
        match self {
            Dropped::Data(_) => "Release to train on these pairs",
            Dropped::Model(_) => "Release to train this model",
            Dropped::Run(_) => "Release to open this run",
            Dropped::Adapter(_) => "Release to start from this adapter",
        }
    }

    /// What it is, in a sentence.
    pub fn what(&self) -> &'static str {
        match self {
            Dropped::Data(_) => "a preference file",
            Dropped::Model(_) => "a model",
            Dropped::Run(_) => "a run",
            Dropped::Adapter(_) => "an adapter",
        }
    }

    /// What was understood, for the notice after the drop.
    pub fn deed(&self) -> &'static str {
        match self {
            Dropped::Data(_) => "Preference file",
            Dropped::Model(_) => "Model",
            Dropped::Run(_) => "Run",
            Dropped::Adapter(_) => "Adapter",
        }
    }
}

/// Looks at `path`. The error is a sentence for people and means that nothing changes.
pub fn classify(path: &Path) -> Result<Dropped, String> {
    let name =
        path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into());
    if path.is_dir() {
        return classify_folder(path, &name);
    }
    if !path.exists() {
        return Err(format!("“{name}” does not exist, or may not be read."));
    }
    let extension =
        path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    match extension.as_str() {
        "jsonl" | "ndjson" => Ok(Dropped::Data(path.to_owned())),
        "json" if ["config.json", "tokenizer.json"].contains(&name.as_str()) => {
            Err(format!("“{name}” is part of a model: drop the folder it lies in."))
        }
        "json" if name == "run.json" => Err("“run.json” is part of a run: drop its folder.".into()),
        "json" if looks_like_json(path) => Ok(Dropped::Data(path.to_owned())),
        "json" => Err(format!(
            "“{name}” holds no JSON. Preference pairs are a JSON array, or one object a line."
        )),
        "gguf" => Ok(Dropped::Model(path.to_owned())),
        "safetensors" | "bin" | "pt" => Err(format!(
            "“{name}” is a file of weights: drop the model's folder, with config.json in it."
        )),
        _ => Err(format!(
            "“{name}” is nothing this window can use. Drop a .jsonl or .json file of preference pairs, \
             a model folder or .gguf file, a run folder or an adapter folder."
        )),
    }
}

fn classify_folder(path: &Path, name: &str) -> Result<Dropped, String> {
    let holds = |file: &str| path.join(file).is_file();
    if holds("run.json") {
        Ok(Dropped::Run(path.to_owned()))
    } else if holds("adapter_config.json") {
        Ok(Dropped::Adapter(path.to_owned()))
    } else if is_model(path) {
        Ok(Dropped::Model(path.to_owned()))
    } else {
        Err(format!(
            "The folder “{name}” holds neither config.json or a .gguf file (a model), adapter_config.json (an \
             adapter) nor run.json (a run)."
        ))
    }
}

/// Whether a model lies there: a folder with config.json, a GGUF file, or a folder of GGUF files (several are the
/// loader's complaint).
pub fn is_model(path: &Path) -> bool {
    match gguf::locate(path) {
        Ok(Some(files)) => files.iter().all(|file| file.is_file()),
        Ok(None) => path.join("config.json").is_file(),
        Err(_) => true,
    }
}

/// The first character that is not space opens an array or an object.
fn looks_like_json(path: &Path) -> bool {
    let Ok(file) = std::fs::File::open(path) else { return false };
    let mut head = Vec::new();
    if file.take(4096).read_to_end(&mut head).is_err() {
        return false;
    }
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&head);
    matches!(text.iter().find(|b| !b.is_ascii_whitespace()), Some(b'[' | b'{'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn each_kind_is_told_by_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = |p: &str| dir.path().join(p);
        for (folder, file) in [
            ("m", "config.json"),
            ("r", "run.json"),
            ("a", "adapter_config.json"),
            ("g", "q4.gguf"),
        ] {
            fs::create_dir(at(folder)).unwrap();
            fs::write(at(folder).join(file), "{}").unwrap();
        }
        fs::create_dir(at("empty")).unwrap();
        fs::write(at("p.jsonl"), "{}").unwrap();
        fs::write(at("p.json"), "\u{feff} [ {} ]").unwrap();
        fs::write(at("bad.json"), "hello").unwrap();
        fs::write(at("photo.png"), "x").unwrap();
        assert_eq!(classify(&at("m")), Ok(Dropped::Model(at("m"))));
        assert_eq!(classify(&at("g")), Ok(Dropped::Model(at("g"))));
        assert_eq!(classify(&at("g/q4.gguf")), Ok(Dropped::Model(at("g/q4.gguf"))));
        assert!(!is_model(&at("g/gone.gguf")) && !is_model(&at("empty")));
        assert_eq!(classify(&at("r")), Ok(Dropped::Run(at("r"))));
        assert_eq!(classify(&at("a")), Ok(Dropped::Adapter(at("a"))));
        assert_eq!(classify(&at("p.jsonl")), Ok(Dropped::Data(at("p.jsonl"))));
        assert_eq!(classify(&at("p.json")), Ok(Dropped::Data(at("p.json"))));
        for (path, word) in [
            (at("empty"), "config.json"),
            (at("bad.json"), "no JSON"),
            (at("photo.png"), "nothing this window can use"),
            (at("gone.jsonl"), "does not exist"),
            (at("m").join("config.json"), "drop the folder"),
        ] {
            let message = classify(&path).unwrap_err();
            assert!(message.contains(word), "{message}");
        }
    }
}
