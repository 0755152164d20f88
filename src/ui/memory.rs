//! What the window remembers from one start to the next: files used last, settings saved by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::run::durable;

/// How many of each kind are kept.
const RECENT: usize = 8;

/// Kept in `window.json`, in the platform's folder for application data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Newest first.
    pub data: Vec<PathBuf>,
    pub models: Vec<PathBuf>,
    /// Settings by the name a person gave them: option and text.
    pub presets: BTreeMap<String, BTreeMap<String, String>>,
    /// The tour was seen or waved off.
    pub toured: bool,
}

impl Memory {
    /// What lies at `path`; a missing or damaged file is an empty memory, which costs nobody their work.
    pub fn read(path: &Path) -> Self {
        let text = fs::read(path).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The error is a sentence.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .map_err(|error| format!("{} could not be made: {error}.", folder.display()))?;
        }
        let json = serde_json::to_vec_pretty(self).map_err(|error| error.to_string())?;
        durable::replace_file(path, &json).map_err(|error| error.to_string())
    }

    pub fn used_data(&mut self, path: &Path) {
        put_first(&mut self.data, path);
    }

    pub fn used_model(&mut self, path: &Path) {
        put_first(&mut self.models, path);
    }
}

fn put_first(list: &mut Vec<PathBuf>, path: &Path) {
    list.retain(|own| own != path);
    list.insert(0, path.to_owned());
    list.truncate(RECENT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_read_and_forgives_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/window.json");
        assert_eq!(Memory::read(&path), Memory::default());
        let mut memory = Memory::default();
        for number in 0..10 {
            memory.used_data(&PathBuf::from(format!("{number}.jsonl")));
        }
        memory.used_data(Path::new("5.jsonl"));
        assert_eq!(memory.data.len(), RECENT);
        assert_eq!(memory.data[..2], ["5.jsonl", "9.jsonl"].map(PathBuf::from));
        memory.presets.insert("mine".into(), BTreeMap::from([("beta".into(), "0.2".into())]));
        memory.write(&path).unwrap();
        assert_eq!(Memory::read(&path), memory);
        fs::write(&path, "{").unwrap();
        assert_eq!(Memory::read(&path), Memory::default());
    }
}
