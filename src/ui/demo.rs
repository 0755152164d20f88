//! The bundled demo: a tiny model and its pairs travel inside the program and are unpacked on first use.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the unpacked demo lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demo {
    pub model: PathBuf,
    pub data: PathBuf,
    pub eval_data: PathBuf,
}

macro_rules! bundled {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../assets/demo/", $path)))),*]
    };
}

const FILES: &[(&str, &[u8])] = bundled![
    "tiny-math-llama/config.json",
    "tiny-math-llama/generation_config.json",
    "tiny-math-llama/model.safetensors",
    "tiny-math-llama/tokenizer.json",
    "tiny-math-llama/tokenizer_config.json",
    "pairs_train.jsonl",
    "pairs_eval.jsonl",
];

impl Demo {
    fn at(root: &Path) -> Self {
        Self {
            model: root.join("tiny-math-llama"),
            data: root.join("pairs_train.jsonl"),
            eval_data: root.join("pairs_eval.jsonl"),
        }
    }
}

/// Unpacks the demo into `root`, unless it lies there already.
pub fn unpack(root: &Path) -> Result<Demo, String> {
    unpack_to(root).map_err(|error| {
        format!(
            "The demo could not be unpacked into {}: {error}. Make room there, or open own pairs.",
            root.display()
        )
    })
}

/// Writes every bundled file; files of the right size are left alone.
fn unpack_to(root: &Path) -> io::Result<Demo> {
    for (name, bytes) in FILES {
        let path = root.join(name);
        if fs::metadata(&path).is_ok_and(|m| m.len() == bytes.len() as u64) {
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        // A torn file must not be taken for a whole one by the next start.
        let part = path.with_extension(format!("part-{}", std::process::id()));
        fs::write(&part, bytes)?;
        fs::rename(&part, &path)?;
    }
    Ok(Demo::at(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacks_once_and_mends_a_torn_file() {
        let dir = tempfile::tempdir().unwrap();
        let demo = unpack_to(dir.path()).unwrap();
        assert!(demo.model.join("config.json").is_file());
        let first = fs::read_to_string(&demo.data).unwrap().lines().count();
        assert_eq!(first, 512);
        fs::write(&demo.data, "torn").unwrap();
        assert_eq!(unpack_to(dir.path()).unwrap(), demo);
        assert_eq!(fs::read_to_string(&demo.data).unwrap().lines().count(), 512);
    }
}
